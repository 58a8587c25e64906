//! Tests of the system browser, with scripts in the search path as launchers.
#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use sealgate_engine::ports::Clock;

use crate::http;
use crate::oidc::{Console, Terminal, TokenEnvironment};

struct Silent;

impl Clock for Silent {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
}

impl Console for Silent {
    fn say(&self, _: &str) {}
}

fn script(folder: &Path, name: &str, text: &str) {
    let program = folder.join(name);
    std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

async fn open(folder: &Path, screen: &str) -> Result<(), String> {
    let path = format!("{}:/bin:/usr/bin", folder.display());
    let variables = [("PATH", path), ("DISPLAY", screen.to_owned())];
    let environment = TokenEnvironment::with_variables(
        variables.map(|(name, value)| (name.to_owned(), value)).into(),
        Arc::new(Silent),
        Arc::new(Silent),
        Terminal::Interactive,
        http::Options::default(),
    );
    environment.browser.open(&"https://issuer.example/auth?state=a&x=%27".parse().unwrap()).await
}

#[tokio::test]
async fn the_page_is_opened_by_the_first_program_that_can() {
    let folder = tempfile::tempdir().unwrap();
    let opened = folder.path().join("opened");
    script(folder.path(), "xdg-open", "exit 3");
    let save = format!("printf '%s|' \"$@\" > {}", opened.display());
    script(folder.path(), "x-www-browser", &save);
    open(folder.path(), ":0").await.unwrap();
    let said = std::fs::read_to_string(opened).unwrap();
    assert_eq!(said, "https://issuer.example/auth?state=a&x=%27|");
}

#[tokio::test]
async fn a_browser_that_stays_open_has_opened_the_page() {
    let folder = tempfile::tempdir().unwrap();
    script(folder.path(), "xdg-open", "sleep 5");
    open(folder.path(), ":0").await.unwrap();
}

#[tokio::test]
async fn without_screen_no_program_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let opened = folder.path().join("opened");
    script(folder.path(), "xdg-open", &format!("touch {}", opened.display()));
    let why = open(folder.path(), "").await.unwrap_err();
    assert!(why.contains("no display"), "{why}");
    assert!(!opened.exists());
}
