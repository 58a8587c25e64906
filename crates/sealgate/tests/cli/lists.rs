//! Tests of many images in one call: each has its own outcome, and the exit code is the highest.

use crate::fixture::CliFixture;

#[test]
fn one_bad_image_does_not_hide_the_others() {
    let fixture = CliFixture::with_key();
    for tag in ["a", "b", "c"] {
        fixture.image("app", tag, tag);
    }
    let (a, b, c) = (fixture.name("app:a"), fixture.name("app:b"), fixture.name("app:c"));
    fixture.run(&["sign", "--key", "cosign.key", &a, &c]).code(0);
    let ended = fixture.run(&["verify", "--key", "cosign.pub", &a, &b, &c, "not a name"]).code(10);
    assert_eq!(ended.out.matches("docker-manifest-digest").count(), 2, "{}", ended.out);
    assert_eq!(ended.err.matches("Verification for ").count(), 2);
    assert!(
        ended.err.contains("could not parse reference") || ended.err.contains("can only contain")
    );
    let last = "error during command execution: 2 images were not verified: no signatures found";
    assert_eq!(ended.frame().1, last);
}

#[test]
fn a_list_may_come_from_a_file_or_standard_input() {
    let fixture = CliFixture::with_key();
    let mut list = String::from("# images of the release\n\n");
    for number in 0..30 {
        fixture.image("app", &format!("t{number}"), &format!("content {}", number % 3));
        list.push_str(&format!("  {}  \n", fixture.name(&format!("app:t{number}"))));
    }
    fixture.write("images", &list);
    let signed: Vec<String> = (0..3).map(|n| fixture.name(&format!("app:t{n}"))).collect();
    let mut arguments = vec!["sign", "--key", "cosign.key"];
    arguments.extend(signed.iter().map(String::as_str));
    fixture.run(&arguments).code(0);

    fixture.served.clear_log();
    let arguments = ["verify", "--key", "cosign.pub", "-o", "sealgate-json", "--images-file"];
    let mut from_file = arguments.to_vec();
    from_file.push("images");
    let report = fixture.run(&from_file).code(0).json();
    let images = report["images"].as_array().unwrap();
    assert_eq!(images.len(), 30);
    assert!(images[7]["asked"].as_str().unwrap().ends_with("app:t7"), "the order of the list");
    assert_eq!(fixture.served.count("GET", "/referrers/"), 3, "each digest is looked up once");

    let mut from_stdin = arguments.to_vec();
    from_stdin.push("-");
    assert_eq!(
        fixture.run_fed(&from_stdin, &list).code(0).json()["images"].as_array().unwrap().len(),
        30
    );
    fixture.run_fed(&from_stdin, "# nothing\n").code(1);
}
