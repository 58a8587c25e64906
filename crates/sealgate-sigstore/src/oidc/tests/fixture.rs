//! A world of the tests' own: variables, a clock that stands, a console that remembers.

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
    Browser, Console, Obtained, Pace, Places, Surroundings, Terminal, TokenError, TokenRequest,
    identity_token,
};

/// The tests' time.
pub(super) const NOW: i64 = 1_900_000_000;

pub(super) type Variables = BTreeMap<&'static str, String>;

struct StandingClock;

/// What a person has been told, and how long they have been waited for.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) told: Mutex<Vec<String>>,
    pub(super) pauses: Mutex<Vec<u64>>,
}

/// A browser that is not to be opened.
struct Untouched;

pub(super) struct World {
    pub(super) surroundings: Surroundings,
    pub(super) notes: Arc<Notes>,
    pub(super) folder: tempfile::TempDir,
}

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }
}

impl Console for Notes {
    fn say(&self, text: &str) {
        self.told.lock().unwrap().push(text.to_owned());
    }
}

#[async_trait]
impl Pace for Notes {
    async fn pause(&self, time: Duration) {
        self.pauses.lock().unwrap().push(time.as_secs());
    }
}

#[async_trait]
impl Browser for Untouched {
    async fn open(&self, page: &Url) -> Result<(), String> {
        panic!("nobody should be sent to {page}");
    }
}

impl World {
    pub(super) fn new(variables: Variables) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let notes = Arc::new(Notes::default());
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut http = options();
        http.retries.max = 1;
        http.timeouts.attempt = Duration::from_millis(700);
        let mut surroundings = Surroundings::with_variables(
            variables.collect(),
            Arc::new(StandingClock),
            notes.clone(),
            Terminal::Interactive,
            http,
        );
        surroundings.pace = notes.clone();
        surroundings.browser = Arc::new(Untouched);
        surroundings.places = Places {
            filesystem_token: folder.path().join("oidc-token"),
            product_name: folder.path().join("product_name"),
            spiffe_socket: folder.path().join("api.sock"),
            google_credentials: "https://127.0.0.1:1".to_owned(),
        };
        Self { surroundings, notes, folder }
    }

    pub(super) async fn ask(&self, request: &TokenRequest) -> Result<Obtained, TokenError> {
        identity_token(request, &self.surroundings).await
    }

    /// Everything that a person has been told.
    pub(super) fn told(&self) -> String {
        self.notes.told.lock().unwrap().join("\n")
    }
}

/// A token that says this and for which nobody vouches.
pub(super) fn token_for(claims: Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = URL_SAFE_NO_PAD.encode("a signature that nobody checks");
    format!("{}.{}.{signature}", part(&json!({ "alg": "RS256" })), part(&claims))
}

/// A token as pipelines give them.
pub(super) fn pipeline_token(subject: &str) -> String {
    token_for(json!({ "iss": "https://ci.example", "sub": subject, "aud": "sigstore",
                      "exp": NOW + 300 }))
}

/// One visit, as a browser makes it: the status line and the headers of the answer.
pub(super) async fn visit(url: &Url, method: &str) -> String {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    send(url, &head).await
}

/// Sends these bytes and reads what comes back.
pub(super) async fn send(url: &Url, text: &str) -> String {
    let port = url.port().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The door may close before all has been sent.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}
