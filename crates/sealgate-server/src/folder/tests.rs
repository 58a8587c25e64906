use std::fs;
use std::time::Duration;

use super::*;

/// A stand-in for policies: a file is a list of words, `!` is a mistake.
fn folder(path: &Path) -> Folder<Vec<String>> {
    let reading = Reading {
        parse: Box::new(|text| match text.contains('!') {
            true => Err("a mistake".to_owned()),
            false => Ok(text.split_whitespace().map(str::to_owned).collect()),
        }),
        defined: Box::new(|words: &Vec<String>| {
            let policies = words.iter().cloned().collect();
            Defined { policies, ..Defined::default() }
        }),
    };
    Folder::new(path, reading, Bounds { settle: Duration::ZERO, ..Bounds::default() })
}

fn words(folder: &Folder<Vec<String>>) -> Vec<String> {
    folder.good().flat_map(|(_, words)| words.iter().cloned()).collect()
}

fn look(folder: &mut Folder<Vec<String>>) -> bool {
    folder.refresh(SystemTime::now())
}

#[test]
fn follows_changes_and_says_when_there_is_none() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let mut folder = folder(place.path());
    fs::write(at("a.yaml"), "one two").unwrap();
    assert!(look(&mut folder));
    assert!(!look(&mut folder));
    fs::write(at("b.yaml"), "three").unwrap();
    assert!(look(&mut folder));
    assert_eq!(words(&folder), ["one", "two", "three"]);
    fs::remove_file(at("a.yaml")).unwrap();
    assert!(look(&mut folder));
    assert_eq!(words(&folder), ["three"]);
    assert_eq!(folder.problems(), []);
}

#[test]
fn a_broken_file_keeps_its_last_good_version() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.yaml");
    let mut folder = folder(place.path());
    fs::write(&path, "one").unwrap();
    look(&mut folder);
    fs::write(&path, "two !").unwrap();
    assert!(look(&mut folder));
    assert_eq!(words(&folder), ["one"]);
    assert_eq!(folder.problems().len(), 1);
    assert!(folder.problems()[0].has_good);
    assert!(!look(&mut folder), "the same problem is told once");
    fs::write(&path, "two three").unwrap();
    assert!(look(&mut folder));
    assert_eq!(words(&folder), ["two", "three"]);
    assert_eq!(folder.problems(), []);
}

#[test]
fn a_file_that_was_never_good_is_a_problem_without_a_version() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a.yaml"), "!").unwrap();
    let mut folder = folder(place.path());
    look(&mut folder);
    assert!(!folder.problems()[0].has_good);
    assert_eq!(words(&folder), [] as [String; 0]);
}

#[test]
fn a_name_belongs_to_one_file_and_may_move() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let mut folder = folder(place.path());
    fs::write(at("a.yaml"), "one").unwrap();
    fs::write(at("b.yaml"), "two").unwrap();
    fs::write(at("c.yaml"), "one").unwrap();
    look(&mut folder);
    assert_eq!(folder.problems()[0].to_string(), "c.yaml: one is already defined in a.yaml");
    fs::write(at("a.yaml"), "two  ").unwrap();
    fs::write(at("b.yaml"), "four").unwrap();
    look(&mut folder);
    assert_eq!(folder.problems(), []);
    assert_eq!(words(&folder), ["two", "four", "one"]);
}

#[test]
fn a_folder_that_goes_away_takes_nothing_with_it() {
    let place = tempfile::tempdir().unwrap();
    let inner = place.path().join("policies");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("a.yaml"), "one").unwrap();
    let mut folder = folder(&inner);
    look(&mut folder);
    fs::rename(&inner, place.path().join("moved")).unwrap();
    assert!(look(&mut folder));
    assert_eq!(words(&folder), ["one"]);
    assert!(folder.problems()[0].has_good);
    fs::rename(place.path().join("moved"), &inner).unwrap();
    assert!(look(&mut folder));
    assert_eq!(folder.problems(), []);
}

const POLICY: &str = "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: \
    {name: NAME}\nspec:\n  images: [{glob: \"**\"}]\n  authorities: [{static: {action: fail}}]\n";
const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\ndata: {a: b}\n";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: NAME}\nstringData: {a: b}\n";
const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\n";

fn stream(documents: &[(&str, &str)]) -> String {
    let texts = documents.iter().map(|(text, name)| text.replace("NAME", name));
    texts.collect::<Vec<_>>().join("---\n")
}

/// Documents of a file: their text, and the name in it.
type Documents<'a> = &'a [(&'a str, &'a str)];

/// Whether a file may go from the one to the other; a file that may not keeps its last good version.
#[test]
fn policies_that_became_something_else_stay() {
    let settings = (CONFIG_MAP, "config-policy-controller");
    let table: &[(Documents<'_>, Documents<'_>, bool)] = &[
        // Became something else.
        (&[(POLICY, "a")], &[(CONFIG_MAP, "a")], false),
        (&[(POLICY, "a")], &[settings], false),
        (&[(POLICY, "a")], &[(SECRET, "a")], false),
        (&[(POLICY, "a")], &[(POD, "a")], false),
        (&[(POLICY, "a")], &[(SECRET, "a"), (CONFIG_MAP, "a")], false),
        (&[(POLICY, "a"), (SECRET, "k")], &[(SECRET, "k")], false),
        (&[(POLICY, "a"), (POLICY, "b")], &[(POLICY, "a"), (POD, "b")], false),
        (&[(POLICY, "a"), (POLICY, "b")], &[(POLICY, "a"), (CONFIG_MAP, "b")], false),
        (&[(SECRET, "k")], &[(CONFIG_MAP, "k")], false),
        (&[settings], &[(CONFIG_MAP, "other")], false),
        // Changed on purpose.
        (&[(POLICY, "a"), (POLICY, "b")], &[(POLICY, "a")], true),
        (&[(POLICY, "a"), (POLICY, "b")], &[(POLICY, "a"), (POLICY, "c")], true),
        (&[(POLICY, "a")], &[(POLICY, "b")], true),
        (&[(POLICY, "a")], &[(POLICY, "b"), (SECRET, "k")], true),
        (&[(POLICY, "a")], &[(POLICY, "a"), (POD, "x")], true),
        (&[(POLICY, "a"), (POLICY, "b"), (POD, "x")], &[(POLICY, "a"), (POD, "x")], true),
        (&[(CONFIG_MAP, "x")], &[(POD, "x")], true),
        (&[(POD, "x")], &[(POLICY, "a")], true),
    ];
    for (before, after, wanted) in table {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.yaml");
        let bounds = Bounds { settle: Duration::ZERO, ..Bounds::default() };
        let mut folder = Folder::new(place.path(), source::reading("cosign-system"), bounds);
        let case = format!("{before:?} to {after:?}");
        fs::write(&path, stream(before)).unwrap();
        folder.refresh(SystemTime::now());
        assert_eq!(folder.problems(), [], "{case}");
        let good = |folder: &Folder<_>| folder.good().map(|(_, all)| Arc::clone(all)).next();
        let first = good(&folder).expect("a version");
        fs::write(&path, stream(after)).unwrap();
        folder.refresh(SystemTime::now());
        let problems = folder.problems();
        assert_eq!(problems.is_empty(), *wanted, "{case}: {problems:?}");
        let kept = Arc::ptr_eq(&first, &good(&folder).expect("a version"));
        assert_eq!(kept, !wanted, "{case}");
        // Deleting the file is how to remove it.
        fs::remove_file(&path).unwrap();
        folder.refresh(SystemTime::now());
        assert_eq!((folder.problems(), good(&folder).is_none()), (Vec::new(), true), "{case}");
    }
}

#[test]
fn trust_roots_that_became_something_else_stay() {
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let file = |policies: &[&str], roots: &[&str], others: &[&str], unread: &[&str]| Defined {
        policies: set(policies),
        roots: set(roots),
        others: set(others),
        unread: set(unread),
    };
    for (before, after, wanted) in [
        (file(&[], &["r"], &[], &[]), file(&[], &[], &["s"], &[]), false),
        (file(&[], &["r"], &[], &[]), file(&[], &[], &[], &["pod"]), false),
        (file(&[], &["r", "q"], &[], &[]), file(&[], &["r"], &[], &["pod"]), false),
        (file(&["p"], &["r"], &[], &[]), file(&["p"], &[], &[], &["pod"]), false),
        (file(&["p"], &["r"], &[], &[]), file(&[], &["r"], &[], &[]), false),
        (file(&["p"], &["r"], &[], &[]), file(&["p"], &[], &[], &[]), true),
        (file(&[], &["r", "q"], &[], &[]), file(&[], &["r"], &[], &[]), true),
        (file(&[], &["r"], &[], &[]), file(&["p"], &[], &[], &[]), true),
    ] {
        assert_eq!(after.check_follows(&before).is_ok(), wanted, "{before:?} to {after:?}");
    }
}
