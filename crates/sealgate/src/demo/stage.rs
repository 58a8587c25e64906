//! How the demo speaks: numbered acts, commands to repeat, what the gate said. Colours on a
//! terminal, plain text in a pipe.

use anstyle::{AnsiColor, Style};

/// The terminal, and what went otherwise than announced.
#[derive(Default)]
pub(super) struct Stage {
    act: usize,
    surprises: Vec<String>,
}

const TITLE: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();
const COMMAND: Style = AnsiColor::Cyan.on_default();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

impl Stage {
    /// The headline.
    pub(super) fn open(&self, text: &str) {
        anstream::println!("{TITLE}{text}{TITLE:#}");
    }

    /// A new act.
    pub(super) fn act(&mut self, title: &str) {
        self.act += 1;
        anstream::println!("\n{TITLE}{:>2}. {title}{TITLE:#}", self.act);
    }

    /// What happens, in plain words.
    pub(super) fn note(&self, text: &str) {
        for line in text.lines() {
            anstream::println!("    {line}");
        }
    }

    /// A command that was run, or that does the same by hand.
    pub(super) fn command(&self, text: &str) {
        anstream::println!("    {QUIET}${QUIET:#} {COMMAND}{text}{COMMAND:#}");
    }

    /// What a program said, word for word.
    pub(super) fn quote(&self, text: &str) {
        for line in text.lines() {
            anstream::println!("    {QUIET}|{QUIET:#} {line}");
        }
    }

    /// Something came as announced, or not.
    pub(super) fn outcome(&mut self, as_announced: bool, text: &str) {
        if as_announced {
            anstream::println!("    {GOOD}ok{GOOD:#}  {text}");
        } else {
            anstream::println!("    {BAD}UNEXPECTED{BAD:#}  announced was: {text}");
            self.surprises.push(format!("act {}: announced was: {text}", self.act));
        }
    }

    /// What went otherwise than announced.
    pub(super) fn surprises(&self) -> &[String] {
        &self.surprises
    }
}
