//! Reference pages that are generated from the code. `UPDATE_DOCS=1 cargo test -p sealgate docs`
//! writes them; without it, the test fails if a page is not current.

use std::fmt::Write as _;
use std::path::Path;

use sealgate_core::fault::FaultKind;

use crate::cli;
use crate::command::env::VARIABLES;

#[test]
fn commands_page_is_current() {
    check("commands.md", &commands());
}

#[test]
fn environment_page_is_current() {
    check("environment.md", &environment());
}

/// Every variable that is read for an identity token is in the list that `env` prints and the page
/// shows.
#[test]
fn variables_of_identity_tokens_are_listed() {
    for name in sealgate_sigstore::oidc::VARIABLES {
        assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name}");
    }
    assert!(VARIABLES.is_sorted_by_key(|variable| variable.name));
}

/// The page on exit codes lists every code of a fault, and no other.
#[test]
fn codes_of_faults_are_listed() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/exit-codes.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.split("## Codes of faults").nth(1).unwrap().lines();
    let listed = rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    let codes = FaultKind::ALL.iter().map(|kind| kind.code());
    assert_eq!(listed.collect::<Vec<_>>(), codes.collect::<Vec<_>>());
}

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{name} is not current: run UPDATE_DOCS=1 cargo test -p sealgate docs");
}

fn commands() -> String {
    let mut text = String::from(
        "# Commands\n\n\
         Made from the program (`UPDATE_DOCS=1 cargo test -p sealgate docs`); do not edit.\n\n\
         Every flag can also be set with an environment variable, `COSIGN_<FLAG>` \
         (`--registry-token` is `COSIGN_REGISTRY_TOKEN`), except for `login`, `install`, \
         `uninstall`, `serve`, `demo`, `env`, `completion`, `man` and `version`. Boolean flags \
         take an optional value, `--flag=false`. Flags that cosign has deprecated are accepted: \
         they either work as before or are rejected with a message that gives the reason; none \
         is ignored silently. If the program is called by the name `cosign` (for example through \
         a link), it behaves the same.\n",
    );
    let root = cli::command("sealgate");
    for command in root.get_subcommands() {
        write_command(&mut text, command, "sealgate");
    }
    text
}

fn write_command(text: &mut String, command: &clap::Command, above: &str) {
    if command.is_hide_set() {
        return;
    }
    let name = format!("{above} {}", command.get_name());
    let mut shown = command.clone().term_width(96).bin_name(&name);
    let help = shown.render_long_help().to_string();
    let _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", trim_lines(&help));
    for sub in command.get_subcommands() {
        write_command(text, sub, &name);
    }
}

fn trim_lines(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

fn environment() -> String {
    let mut text = String::from(
        "# Environment\n\n\
         Made from the program (`UPDATE_DOCS=1 cargo test -p sealgate docs`); do not edit.\n\n\
         | Variable | Meaning: the variable … | Value |\n|---|---|---|\n",
    );
    for variable in &VARIABLES {
        let _ =
            writeln!(text, "| `{}` | {} | {} |", variable.name, variable.meaning, variable.expects);
    }
    text.push_str(
        "\nEvery flag also has a variable: `COSIGN_` and the name of the flag in capitals, with `_` \
         for `-` (`COSIGN_YES=true`, `COSIGN_REGISTRY_USERNAME`). A flag on the command line takes \
         precedence. Empty variables count as not set. The exceptions are `login`, `install`, `uninstall`, `serve`, \
         `demo`, `env`, `completion`, `man` and `version`.\n\n\
         `sealgate env` prints the variables that are set; it shows passwords and tokens only with \
         `--show-sensitive-values`.\n",
    );
    text
}
