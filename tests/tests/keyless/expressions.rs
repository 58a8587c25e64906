//! Differential test of regular expressions with Go: a policy's `subjectRegExp` must mean the same
//! as to cosign and policy-controller, or be refused.
//!
//! `SEALGATE_EXPRESSIONS=1000000` sets the number of expressions.

use sealgate_core::identity::Pattern;
use sealgate_tests::mutate::Random;
use sealgate_tests::oracle;
use serde_json::json;

/// Number of expressions in a test run.
const EXPRESSIONS: u64 = 20_000;

/// Fragments from which expressions are composed: everything with a meaning in either syntax.
const PIECES: &[&str] = &[
    "a",
    "b",
    "A",
    "k",
    "0",
    "_",
    "-",
    ".",
    " ",
    "\n",
    "é",
    "ſ",
    "٣",
    "/",
    ":",
    "=",
    "<",
    ">",
    "&",
    "&&",
    "~~",
    "--",
    "!",
    ",",
    "#",
    "\"",
    "^",
    "$",
    "|",
    "(",
    ")",
    "(?:",
    "(?i)",
    "(?i:",
    "(?s)",
    "(?m)",
    "(?U)",
    "(?x)",
    "(?u)",
    "(?-u:",
    "(?R)",
    "(?is-m:",
    "(?)",
    "(?-)",
    "(?P<n>",
    "(?<n>",
    "(?P<n.m>",
    "(?=",
    "(?!",
    "(?#",
    "(?P=n)",
    "*",
    "+",
    "?",
    "*?",
    "+?",
    "??",
    "++",
    "**",
    "{2}",
    "{1,2}",
    "{,2}",
    "{1,}",
    "{2}?",
    "{0}",
    "{1001}",
    "{ 1 }",
    "{",
    "}",
    "{a}",
    "{,}",
    "[",
    "]",
    "[^",
    "[]",
    "[^]",
    "[]a]",
    "[a-c]",
    "[a-]",
    "[-a]",
    "[c-a]",
    "[a-c-e]",
    "[[:alpha:]]",
    "[[:^alpha:]]",
    "[[:word:]]",
    "[[:foo:]]",
    "[:alpha:]",
    "[a&&b]",
    "[a--b]",
    "[a~~b]",
    "[[a]]",
    "[[a]b]",
    "[\\d]",
    "[\\D]",
    "[\\w-a]",
    "[a-\\d]",
    "[\\]]",
    "[\\^]",
    "[\\-]",
    "[\\b]",
    "[\\n]",
    "[\\x41]",
    "[\\pL]",
    "[^\\w]",
    "[^\\W]",
    "\\d",
    "\\D",
    "\\s",
    "\\S",
    "\\w",
    "\\W",
    "\\b",
    "\\B",
    "\\A",
    "\\z",
    "\\Z",
    "\\G",
    "\\<",
    "\\>",
    "\\b{start}",
    "\\b{2}",
    "\\.",
    "\\/",
    "\\-",
    "\\_",
    "\\é",
    "\\a",
    "\\f",
    "\\v",
    "\\n",
    "\\t",
    "\\r",
    "\\e",
    "\\x41",
    "\\x{41}",
    "\\x{}",
    "\\x{110000}",
    "\\x4",
    "\\u0041",
    "\\u{41}",
    "\\U00000041",
    "\\101",
    "\\0",
    "\\1",
    "\\8",
    "\\Q",
    "\\E",
    "\\Qa.b\\E",
    "\\C",
    "\\X",
    "\\R",
    "\\K",
    "\\pL",
    "\\p{L}",
    "\\p{^L}",
    "\\PL",
    "\\p{Greek}",
    "\\p{sc=Greek}",
    "\\p{ Greek }",
    "\\p{Lowercase}",
    "\\p{any}",
    "\\",
    "\\ ",
];

/// Texts to match.
const TEXTS: &[&str] = &[
    "", "a", "b", "A", "aa", "aab", "ab", "ba", "aaaa", "k", "K", "\u{212a}", "s", "ſ", "é", "É",
    "e", "0", "٣", "_", "-", "--", "&", "&&", "~", "<", ">", "[", "]", "^", "$", ".", "a.b", "axb",
    "/", " ", "\n", "\t", "\r\n", "\u{b}", "a\nb", "a\n", "\na", "{", "{,2}", "a{,2}", "{ 1 }",
    "a{1}", "{a}", ":", "a-c", "c", "d", "e", "#", "\\", "\u{7}", "alph", "λ", "L", "=", "!",
    "\u{85}", "\u{a0}", "x", "1", "a1 b",
];

#[test]
fn expressions_mean_what_they_mean_to_go() {
    let count =
        std::env::var("SEALGATE_EXPRESSIONS").ok().map(|text| text.parse().expect("a number"));
    let count: u64 = count.unwrap_or(EXPRESSIONS);
    let expressions: Vec<String> = (0..count).map(expression).collect();
    let theirs = ask_go(&expressions);
    let ours: Vec<String> = expressions.iter().map(|expression| ask_sealgate(expression)).collect();
    let told = |((expression, ours), theirs): ((&String, &String), &String)| {
        let same = ours == theirs || ours.starts_with("bad: ");
        (!same).then(|| format!("{expression:?}\n  ours:   {ours}\n  theirs: {theirs}"))
    };
    let other: Vec<String> = expressions.iter().zip(&ours).zip(&theirs).filter_map(told).collect();
    assert!(other.is_empty(), "{}:\n{}", other.len(), other.join("\n"));
    let good = |answers: &[String]| answers.iter().filter(|said| !said.starts_with("bad")).count();
    let (ours, theirs) = (good(&ours), good(&theirs));
    println!("{count} expressions: Go reads {theirs}, and we {ours}");
    // Refusing is safe, but must be rare.
    assert!(ours * 5 > theirs * 4, "of {theirs} that Go reads we read {ours}");
}

fn expression(seed: u64) -> String {
    let mut random = Random::new(seed);
    (0..=random.below(5)).map(|_| *random.one_of(PIECES)).collect()
}

fn ask_sealgate(expression: &str) -> String {
    match Pattern::new(expression) {
        Ok(pattern) => {
            TEXTS.iter().map(|text| if pattern.is_found_in(text) { '1' } else { '0' }).collect()
        }
        Err(error) => format!("bad: {error}"),
    }
}

fn ask_go(expressions: &[String]) -> Vec<String> {
    let question = |expression| json!({ "Expression": expression, "Texts": TEXTS });
    oracle::find_expressions(expressions.iter().map(question))
}
