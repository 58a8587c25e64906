//! Oracle in tests/servers: results of Go's own packages, for many questions in one process.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::programs::built;

/// Verdict of sigstore-go on each bundle, with this trusted root.
pub fn judge_bundles(trusted_root: &Path, questions: impl Iterator<Item = Value>) -> Vec<String> {
    let mut oracle = Command::new(built("oracle"));
    oracle.arg("-trusted-root").arg(trusted_root);
    ask(oracle, questions)
}

/// Match positions of Go's regexp for each expression.
pub fn find_expressions(questions: impl Iterator<Item = Value>) -> Vec<String> {
    let mut oracle = Command::new(built("oracle"));
    oracle.arg("-expressions");
    ask(oracle, questions)
}

/// One line of output per question.
fn ask(mut oracle: Command, questions: impl Iterator<Item = Value>) -> Vec<String> {
    let questions: Vec<String> = questions.map(|question| format!("{question}\n")).collect();
    let count = questions.len();
    let mut oracle = oracle
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle of tests/servers");
    let mut input = oracle.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || input.write_all(questions.concat().as_bytes()));
    let output = oracle.wait_with_output().expect("the oracle's answers");
    writer.join().expect("the writer").expect("all questions written");
    assert!(output.status.success(), "{}", output.status);
    let answers = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<String> = answers.lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), count);
    answers
}
