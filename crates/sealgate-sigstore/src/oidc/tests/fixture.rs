//! Test environment: variables, a fixed clock, and a recording console.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sealgate_engine::ports::Clock;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use crate::http::fixture::options;
use crate::oidc::{
    Browser, Console, ObtainedToken, Paths, Sleep, Terminal, TokenEnvironment, TokenError,
    TokenRequest, identity_token,
};

/// Time of the tests.
pub(super) const NOW: i64 = 1_900_000_000;

pub(super) type Variables = BTreeMap<&'static str, String>;

struct FixedClock;

/// Recorded console output and sleep times.
#[derive(Default)]
pub(super) struct ConsoleLog {
    pub(super) told: Mutex<Vec<String>>,
    pub(super) pauses: Mutex<Vec<u64>>,
}

/// Browser that must not be opened.
struct UnusedBrowser;

pub(super) struct TestEnvironment {
    pub(super) environment: TokenEnvironment,
    pub(super) notes: Arc<ConsoleLog>,
    pub(super) folder: tempfile::TempDir,
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }
}

impl Console for ConsoleLog {
    fn say(&self, text: &str) {
        self.told.lock().unwrap().push(text.to_owned());
    }
}

#[async_trait]
impl Sleep for ConsoleLog {
    async fn sleep(&self, time: Duration) {
        self.pauses.lock().unwrap().push(time.as_secs());
    }
}

#[async_trait]
impl Browser for UnusedBrowser {
    async fn open(&self, page: &Url) -> Result<(), String> {
        panic!("nobody should be sent to {page}");
    }
}

impl TestEnvironment {
    pub(super) fn new(variables: Variables) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let notes = Arc::new(ConsoleLog::default());
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut http = options();
        http.retries.max = 1;
        http.timeouts.attempt = Duration::from_millis(700);
        let mut environment = TokenEnvironment::with_variables(
            variables.collect(),
            Arc::new(FixedClock),
            notes.clone(),
            Terminal::Interactive,
            http,
        );
        environment.sleep = notes.clone();
        environment.browser = Arc::new(UnusedBrowser);
        environment.paths = Paths {
            filesystem_token: folder.path().join("oidc-token"),
            product_name: folder.path().join("product_name"),
            spiffe_socket: folder.path().join("api.sock"),
            google_credentials: "https://127.0.0.1:1".to_owned(),
        };
        Self { environment, notes, folder }
    }

    pub(super) async fn ask(&self, request: &TokenRequest) -> Result<ObtainedToken, TokenError> {
        identity_token(request, &self.environment).await
    }

    /// All console output.
    pub(super) fn output(&self) -> String {
        self.notes.told.lock().unwrap().join("\n")
    }
}

/// Token with these claims and no valid signature.
pub(super) fn token_for(claims: Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = URL_SAFE_NO_PAD.encode("a signature that nobody checks");
    format!("{}.{}.{signature}", part(&json!({ "alg": "RS256" })), part(&claims))
}

/// Token as CI systems issue it.
pub(super) fn pipeline_token(subject: &str) -> String {
    token_for(json!({ "iss": "https://ci.example", "sub": subject, "aud": "sigstore",
                      "exp": NOW + 300 }))
}

/// One HTTP request, as a browser sends it; returns the status line and headers of the response.
pub(super) async fn http_request(url: &Url, method: &str) -> String {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    send(url, &head).await
}

/// Sends these bytes and returns the response.
pub(super) async fn send(url: &Url, text: &str) -> String {
    let port = url.port().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The listener may close the connection before everything has been sent.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}
