use std::fs;
use std::time::Duration;

use super::*;
use crate::folder::definitions::Definitions;

/// A folder whose files are lists of words instead of policies; `!` is a mistake.
fn folder(path: &Path) -> Folder<Vec<String>> {
    let format = FileFormat {
        parse: Box::new(|text| match text.contains('!') {
            true => Err("a mistake".to_owned()),
            false => Ok(text.split_whitespace().map(str::to_owned).collect()),
        }),
        define: Box::new(|words: &Vec<String>| {
            let policies = words.iter().cloned().collect();
            Definitions { policies, ..Definitions::default() }
        }),
    };
    Folder::new(path, format, Bounds { settle: Duration::ZERO, ..Bounds::default() })
}

fn words(folder: &Folder<Vec<String>>) -> Vec<String> {
    folder.good().flat_map(|(_, words)| words.iter().cloned()).collect()
}

fn scan(folder: &mut Folder<Vec<String>>) -> bool {
    folder.refresh(SystemTime::now())
}

#[test]
fn follows_changes_and_reports_when_there_is_none() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let mut folder = folder(place.path());
    fs::write(at("a.yaml"), "one two").unwrap();
    assert!(scan(&mut folder));
    assert!(!scan(&mut folder));
    fs::write(at("b.yaml"), "three").unwrap();
    assert!(scan(&mut folder));
    assert_eq!(words(&folder), ["one", "two", "three"]);
    fs::remove_file(at("a.yaml")).unwrap();
    assert!(scan(&mut folder));
    assert_eq!(words(&folder), ["three"]);
    assert_eq!(folder.problems(), []);
}

#[test]
fn a_broken_file_keeps_its_last_good_version() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.yaml");
    let mut folder = folder(place.path());
    fs::write(&path, "one").unwrap();
    scan(&mut folder);
    fs::write(&path, "two !").unwrap();
    assert!(scan(&mut folder));
    assert_eq!(words(&folder), ["one"]);
    assert_eq!(folder.problems().len(), 1);
    assert!(folder.problems()[0].has_good);
    assert!(!scan(&mut folder), "the same problem is no change");
    fs::write(&path, "two three").unwrap();
    assert!(scan(&mut folder));
    assert_eq!(words(&folder), ["two", "three"]);
    assert_eq!(folder.problems(), []);
}

#[test]
fn a_file_that_was_never_good_is_a_problem_without_a_version() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a.yaml"), "!").unwrap();
    let mut folder = folder(place.path());
    scan(&mut folder);
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
    scan(&mut folder);
    assert_eq!(folder.problems()[0].to_string(), "c.yaml: one is already defined in a.yaml");
    fs::write(at("a.yaml"), "two  ").unwrap();
    fs::write(at("b.yaml"), "four").unwrap();
    scan(&mut folder);
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
    scan(&mut folder);
    fs::rename(&inner, place.path().join("moved")).unwrap();
    assert!(scan(&mut folder));
    assert_eq!(words(&folder), ["one"]);
    assert!(folder.problems()[0].has_good);
    fs::rename(place.path().join("moved"), &inner).unwrap();
    assert!(scan(&mut folder));
    assert_eq!(folder.problems(), []);
}
