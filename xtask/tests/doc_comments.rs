//! Doc comments begin with a noun phrase or a verb, as CONTRIBUTING.md asks: never with a question
//! word.

use std::fs;
use std::path::Path;

const QUESTION_WORDS: [&str; 8] =
    ["What", "Who", "Whom", "Where", "Whether", "How", "Why", "Which"];

#[test]
fn no_doc_comment_begins_with_a_question_word() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for folder in ["crates", "xtask", "tests", "bench", "fuzz"] {
        read(&root.join(folder), &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Collects the doc comments that do, as `path:line: text`. The second line of a comment is none.
fn read(path: &Path, found: &mut Vec<String>) {
    if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
        for entry in fs::read_dir(path).unwrap() {
            read(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let text = fs::read_to_string(path).unwrap();
        let mut before = "";
        for (number, line) in text.lines().enumerate() {
            let comment = |line: &str| -> Option<String> {
                let line = line.trim_start();
                let text = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?;
                Some(text.trim().to_owned())
            };
            let is_first = comment(before).is_none_or(|text| text.is_empty());
            let first_word = comment(line).and_then(|text| {
                let word = text.split(|c: char| !c.is_alphabetic()).next()?.to_owned();
                is_first.then_some(word)
            });
            if first_word.is_some_and(|word| QUESTION_WORDS.contains(&word.as_str())) {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
            before = line;
        }
    }
}
