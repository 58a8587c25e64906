//! Output of the demo: numbered steps, commands that can be repeated, responses of the gate.
//! Colours on a terminal, plain text in a pipe.

use anstyle::{AnsiColor, Style};

/// Printer of the demo, which records the results that are not as expected.
#[derive(Default)]
pub(super) struct Output {
    step: usize,
    mismatches: Vec<String>,
}

const TITLE: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();
const COMMAND: Style = AnsiColor::Cyan.on_default();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

impl Output {
    /// Prints the title.
    pub(super) fn title(&self, text: &str) {
        anstream::println!("{TITLE}{text}{TITLE:#}");
    }

    /// Prints the heading of a new step.
    pub(super) fn step(&mut self, title: &str) {
        self.step += 1;
        anstream::println!("\n{TITLE}{:>2}. {title}{TITLE:#}", self.step);
    }

    /// Prints a note.
    pub(super) fn note(&self, text: &str) {
        for line in text.lines() {
            anstream::println!("    {line}");
        }
    }

    /// Prints a command that was run or has the same effect.
    pub(super) fn command(&self, text: &str) {
        anstream::println!("    {QUIET}${QUIET:#} {COMMAND}{text}{COMMAND:#}");
    }

    /// Prints the output of a program.
    pub(super) fn quote(&self, text: &str) {
        for line in text.lines() {
            anstream::println!("    {QUIET}|{QUIET:#} {line}");
        }
    }

    /// Prints a result, and records it if it is not as expected.
    pub(super) fn outcome(&mut self, as_expected: bool, text: &str) {
        if as_expected {
            anstream::println!("    {GOOD}ok{GOOD:#}  {text}");
        } else {
            anstream::println!("    {BAD}UNEXPECTED{BAD:#}  expected: {text}");
            self.mismatches.push(format!("step {}: expected: {text}", self.step));
        }
    }

    /// Returns the results that are not as expected.
    pub(super) fn mismatches(&self) -> &[String] {
        &self.mismatches
    }
}
