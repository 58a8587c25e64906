//! Tests of `-o json`: one document with a schema on standard output, no text beside it, and errors
//! as documents, too.

use serde_json::Value;

use crate::fixture::CliFixture;

/// Parses the document, which must be the whole output.
#[track_caller]
fn document(fixture: &CliFixture, schema: &str, arguments: &[&str]) -> Value {
    let ended = fixture.run(arguments).code(0);
    assert_eq!(ended.err, "", "{arguments:?}");
    assert_eq!(ended.out.lines().count(), 1, "{}", ended.out);
    let document = ended.json();
    assert_eq!(document["schema"], format!("sealgate.dev/{schema}/v1"));
    is_described(schema, &document);
    document
}

/// Checks that the reference page documents the schema and each of its fields.
#[track_caller]
pub(crate) fn is_described(schema: &str, document: &Value) {
    let page = include_str!("../../../../docs/reference/output.md");
    assert!(page.contains(&format!("`sealgate.dev/{schema}/v1`")), "{schema}");
    let words: Vec<&str> = page.split(['`', '.', '[', ']', ',', ' ', '\n']).collect();
    let mut below = vec![document];
    while let Some(value) = below.pop() {
        for (field, value) in value.as_object().into_iter().flatten() {
            assert!(words.contains(&field.as_str()), "{schema}: {field} is not described");
            // The content of a signature is defined by cosign; annotations have any names.
            if field != "signatures" && field != "annotations" {
                below.push(value);
            }
        }
        below.extend(value.as_array().into_iter().flatten());
    }
}

/// A fixture with a key and a signed image, its digest and its name.
fn signed() -> (CliFixture, String, String) {
    let fixture = CliFixture::with_key();
    let digest = fixture.image("app", "v1", "one").to_string();
    let image = fixture.name("app:v1");
    fixture.run(&["sign", "--key", "cosign.key", "--format", "both", &image]).code(0);
    (fixture, digest, image)
}

#[test]
fn of_key_pairs() {
    let fixture = CliFixture::new();
    let made = document(&fixture, "generate-key-pair", &["generate-key-pair", "-o", "json"]);
    assert_eq!(made["privateKey"], "cosign.key");
    assert_eq!(made["publicKey"], "cosign.pub");
    assert_eq!(made["key"]["algorithm"], "ecdsa-p256");
    let shown = ["public-key", "--key", "cosign.key", "-o", "json"];
    let shown = document(&fixture, "public-key", &shown);
    assert_eq!(shown["key"], made["key"]);
    assert_eq!(shown["pem"], fixture.read("cosign.pub"));
    assert_eq!(shown["publicKey"], Value::Null);
    let written = ["public-key", "--key", "cosign.key", "--outfile", "p", "-o", "json"];
    assert_eq!(document(&fixture, "public-key", &written)["publicKey"], "p");
    assert_eq!(fixture.read("p"), fixture.read("cosign.pub"));

    fixture.image("app", "v1", "one");
    let image = fixture.name("app:v1");
    fixture.run(&["sign", "--key", "cosign.key", &image]).code(0);
    let verify = ["verify", "--key", "cosign.pub", "-o", "sealgate-json", &image];
    let report = fixture.run(&verify).code(0).json();
    assert_eq!(report["images"][0]["signatures"][0]["key"], made["key"]["fingerprint"]);
}

#[test]
fn of_an_imported_key_pair() {
    let fixture = CliFixture::new();
    let key = ed25519();
    fixture.write("ed25519.pem", key);
    let import = ["import-key-pair", "--key", "ed25519.pem", "-o", "mine", "--output", "json"];
    let made = document(&fixture, "import-key-pair", &import);
    assert_eq!((&made["privateKey"], &made["publicKey"]), (&"mine.key".into(), &"mine.pub".into()));
    assert_eq!(made["key"]["algorithm"], "ed25519");
    assert!(made["key"]["fingerprint"].as_str().unwrap().starts_with("sha256:"));
}

/// An Ed25519 key in PKCS#8: RFC 8410's own example.
fn ed25519() -> &'static str {
    "-----BEGIN PRIVATE KEY-----\n\
     MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
     -----END PRIVATE KEY-----\n"
}

#[test]
fn of_what_is_signed_and_what_hangs_on_it() {
    let fixture = CliFixture::with_key();
    let digest = fixture.image("app", "v1", "one").to_string();
    let image = fixture.name(&format!("app@{digest}"));
    let sign = ["sign", "--key", "cosign.key", "--format", "both", "-o", "json", &image];
    let signed = document(&fixture, "sign", &sign);
    assert_eq!(signed["signed"][0]["digest"], digest);
    let bundle = signed["signed"][0]["bundle"]["stored"].as_str().unwrap();
    let own = ["sign", "--key", "cosign.key", "-o", "json", bundle];
    let countersigned = document(&fixture, "sign", &own);
    let tree = document(&fixture, "tree", &["tree", "-o", "json", &image]);
    let hanging = |value: &Value| {
        let attached = value["attached"].as_array().unwrap().clone();
        attached.into_iter().map(|one| (one["location"].clone(), one)).collect::<Vec<_>>()
    };
    let [(_, legacy), (place, first)] = hanging(&tree["image"]).try_into().unwrap();
    assert_eq!((hanging(&legacy).len(), place), (0, bundle.into()));
    let [(place, second)] = hanging(&first).try_into().unwrap();
    assert_eq!(place, countersigned["signed"][0]["bundle"]["stored"]);
    assert_eq!(hanging(&second).len(), 0);
    // In the text output, attachments are indented below their subject.
    let shown = fixture.run(&["tree", &image]).code(0).out;
    let line = shown.lines().find(|line| line.contains(place.as_str().unwrap())).unwrap();
    assert!(line.starts_with("   └── 🔗 "), "{shown}");
}

#[test]
fn of_what_is_moved() {
    let (fixture, digest, image) = signed();
    let to = fixture.name("mirror/app:v1");
    let copied = document(&fixture, "copy", &["copy", "-o", "json", &image, &to]);
    assert_eq!(copied["source"], image);
    assert_eq!(copied["copied"]["reference"], format!("{to}@{digest}"));
    let counts = |document: &Value, what: &str| {
        ["images", "attachments", "written"].map(|name| document[what][name].as_u64().unwrap())
    };
    assert_eq!(counts(&copied, "copied"), [1, 2, 3]);
    let saved = document(&fixture, "save", &["save", "--dir", "f", "-o", "json", &image]);
    assert_eq!(
        (&saved["folder"], &saved["saved"]["digest"]),
        (&"f".into(), &digest.clone().into())
    );
    assert_eq!(counts(&saved, "saved"), [1, 2, 3]);
    let to = fixture.name("loaded:v1");
    let loaded = document(&fixture, "load", &["load", "--dir", "f", "-o", "json", &to]);
    assert_eq!((&loaded["folder"], &loaded["loaded"]["digest"]), (&"f".into(), &digest.into()));
    assert_eq!(counts(&loaded, "loaded"), [1, 2, 3]);
}

#[test]
fn of_what_uninstalling_would_remove() {
    let fixture = CliFixture::new();
    let plan = document(&fixture, "uninstall", &["uninstall", "--dry-run", "-o", "json"]);
    let planned = plan["planned"].as_array().unwrap();
    assert!(
        planned.iter().any(|what| what == "Deployment cosign-system/policy-controller-webhook")
    );
    assert_eq!(plan["deleted"], Value::Array(vec![]));
}

#[test]
fn of_places() {
    let (fixture, digest, image) = signed();
    let at = |what: &str| {
        document(&fixture, "triangulate", &["triangulate", "--type", what, "-o", "json", &image])
    };
    let tag = digest.replacen(':', "-", 1);
    let signature = at("signature");
    assert_eq!(
        (&signature["type"], &signature["digest"]),
        (&"signature".into(), &digest.clone().into())
    );
    assert_eq!(signature["location"], fixture.name(&format!("app:{tag}.sig")));
    assert_eq!(at("sbom")["location"], fixture.name(&format!("app:{tag}.sbom")));
    assert_eq!(at("digest")["location"], fixture.name(&format!("app@{digest}")));
}

#[test]
fn of_downloaded_signatures() {
    let (fixture, _, image) = signed();
    let download = ["download", "signature", "-o", "json", &image];
    let found = document(&fixture, "download-signature", &download);
    assert_eq!((&found["reference"], &found["faults"]), (&image.into(), &Value::Array(vec![])));
    let signatures = found["signatures"].as_array().unwrap();
    assert_eq!(signatures.len(), 2);
    assert!(signatures[0]["dsseEnvelope"].is_object());
    assert!(signatures[1]["Base64Signature"].is_string());
}

#[test]
fn of_what_is_attached_and_removed() {
    let (fixture, digest, image) = signed();
    let elsewhere = fixture.image("app", "v2", "one").to_string();
    assert_eq!(elsewhere, digest);
    let cleaned = document(&fixture, "clean", &["clean", "--force", "-o", "json", &image]);
    assert_eq!(cleaned["reference"], image);
    assert_eq!(cleaned["removed"].as_array().unwrap().len(), 2);
    let nothing = document(&fixture, "clean", &["clean", "--force", "-o", "json", &image]);
    assert_eq!(nothing["removed"], Value::Array(vec![]));

    let files = ["--upload=false", "--output-signature", "s", "--output-payload", "p"];
    let mut sign = vec!["sign", "--key", "cosign.key", "--format", "legacy"];
    sign.extend(files);
    sign.push(&image);
    fixture.run(&sign).code(0);
    let attach =
        ["attach", "signature", "--signature", "s", "--payload", "p", "-o", "json", &image];
    let first = document(&fixture, "attach", &attach);
    assert_eq!((&first["format"], &first["digest"]), (&"legacy".into(), &digest.into()));
    assert!(first["location"].as_str().unwrap().ends_with(".sig"));
    assert_eq!(first["added"], true);
    assert_eq!(document(&fixture, "attach", &attach)["added"], false);

    let sign = ["sign", "--key", "cosign.key", "--upload=false", "--bundle", "b", &image];
    fixture.run(&sign).code(0);
    let attach = ["attach", "signature", "--payload", "b", "-o", "json", &image];
    let bundle = document(&fixture, "attach", &attach);
    assert_eq!((&bundle["format"], &bundle["added"]), (&"bundle".into(), &true.into()));
    assert!(bundle["location"].as_str().unwrap().contains("@sha256:"));
}

#[test]
fn of_a_login_without_the_password() {
    let fixture = CliFixture::new();
    let login = ["login", "-u", "me", "-p", "s3cret", "-o", "json", "registry.example"];
    let done = document(&fixture, "login", &login);
    assert_eq!((&done["registry"], &done["username"]), (&"registry.example".into(), &"me".into()));
    assert!(done["file"].as_str().unwrap().ends_with(".docker/config.json"));
    assert!(!done.to_string().contains("s3cret"));
}

#[test]
fn of_the_environment_without_secrets() {
    let fixture = CliFixture::new();
    let variables = [("COSIGN_REGISTRY_TOKEN", "s3cret"), ("DOCKER_CONFIG", "/d")];
    let ended = fixture.run_with(&["env", "-o", "json"], &variables).code(0);
    let document = ended.json();
    assert_eq!(document["schema"], "sealgate.dev/env/v1");
    is_described("env", &document);
    let value = |name: &str| {
        let all = document["variables"].as_array().unwrap();
        all.iter().find(|variable| variable["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!(value("DOCKER_CONFIG"), "/d");
    assert_eq!(value("COSIGN_REPOSITORY"), Value::Null);
    assert_eq!(value("COSIGN_PASSWORD"), "******");
    assert_eq!(value("COSIGN_REGISTRY_TOKEN"), "******");
    let shown = ["env", "-o", "json", "--show-sensitive-values"];
    assert!(fixture.run_with(&shown, &variables).code(0).out.contains("s3cret"));
}

/// Every command with `-o json` reports errors in JSON, too, with the exit code.
#[test]
fn of_errors() {
    let fixture = CliFixture::with_key();
    let (gone, there) = (fixture.name("app:gone"), fixture.name("app:v1"));
    for (arguments, code) in [
        (vec!["copy", &gone, &there], 11),
        (vec!["save", "--dir", "f", &gone], 11),
        (vec!["load", "--dir", "nowhere", &there], 1),
        (vec!["clean", "--force", &gone], 11),
        (vec!["triangulate", &gone], 11),
        (vec!["attach", "signature", "--signature", "eA==", &gone], 11),
        (vec!["download", "signature", &gone], 11),
        (vec!["tree", &gone], 11),
        (vec!["sign", "--key", "cosign.key", &gone], 11),
        (vec!["public-key", "--key", "nowhere.key"], 1),
        (vec!["generate-key-pair"], 1),
        (vec!["import-key-pair", "--key", "nowhere.pem"], 1),
        (vec!["login", "registry.example"], 1),
    ] {
        let mut arguments = arguments;
        arguments.extend(["--output", "json"]);
        let error = fixture.run(&arguments).code(code).json();
        assert_eq!(error["schema"], "sealgate.dev/error/v1", "{arguments:?}");
        assert_eq!(error["error"]["exitCode"], code, "{arguments:?}");
        assert!(!error["error"]["message"].as_str().unwrap().is_empty());
    }
}
