//! OIDC issuer on loopback, correct or with one defect, and users who log in there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::fixture::{NOW, http_request, send, token_for};
use crate::http::fixture::{ReceivedRequest, Service, answer, with};
use crate::oidc::Browser;

pub(super) const CODE: &str = "c0de-for-one-use";
pub(super) const DEVICE_CODE: &str = "d3vice-c0de";
pub(super) const CLIENT_SECRET: &str = "cl1ent s3cret:&";

/// Defect of the issuer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Defect {
    Nothing,
    /// Field of the discovery document; `null` removes it.
    Discovery(&'static str, Value),
    /// Status and body of the discovery document.
    Document(u16, String),
    /// Claim of issued tokens.
    Claim(&'static str, Value),
    /// Status and body of the token response.
    Token(u16, String),
    /// PKCE challenge of another login: the login was started by someone else.
    OtherChallenge,
    /// The token endpoint refuses, and repeats everything that was sent.
    Echo,
    /// The token endpoint never completes its response.
    Slow,
    /// The user denies the login.
    Refuse,
    /// `iss` parameter with this issuer name in the redirect.
    Name(&'static str),
    /// Status and body of the device authorization response.
    Device(u16, String),
}

#[derive(Default)]
struct StartedLogin {
    challenge: String,
    nonce: Option<String>,
    redirect: String,
}

pub(super) struct Issuer {
    pub(super) service: Service,
}

struct State {
    defect: Defect,
    begun: Mutex<BTreeMap<String, StartedLogin>>,
    polls: Mutex<VecDeque<&'static str>>,
}

type Fields = BTreeMap<String, String>;

impl Issuer {
    pub(super) async fn start(defect: Defect) -> Self {
        Self::with_polls(defect, &[]).await
    }

    /// Issuer whose token endpoint first returns these codes in the device flow.
    pub(super) async fn with_polls(defect: Defect, polls: &[&'static str]) -> Self {
        let polls = Mutex::new(polls.iter().copied().collect());
        let state = State { defect, begun: Mutex::default(), polls };
        Self { service: Service::start(move |_, seen| state.answer(seen)).await }
    }

    pub(super) fn url(&self) -> String {
        format!("{}/realm", self.service.url)
    }

    /// Requests received at this path.
    pub(super) fn asked(&self, path: &str) -> Vec<Fields> {
        let seen = self.service.seen().into_iter();
        seen.filter(|seen| seen.path == path).map(|seen| fields(&seen.body)).collect()
    }
}

fn fields(encoded: &[u8]) -> Fields {
    form_urlencoded::parse(encoded).into_owned().collect()
}

impl State {
    fn answer(&self, seen: &ReceivedRequest) -> Response {
        let host = seen.headers.get("host").unwrap().to_str().unwrap();
        let base = format!("http://{host}/realm");
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        match path {
            "/realm/.well-known/openid-configuration" => self.discovery(&base),
            "/realm/auth" => self.authorize(&fields(query.as_bytes()), &base),
            "/realm/device" => self.device(&fields(&seen.body), &base),
            "/realm/token" => self.token(seen, &base),
            _ => answer(404, ""),
        }
    }

    fn discovery(&self, base: &str) -> Response {
        let mut document = json!({
            "issuer": base,
            "authorization_endpoint": format!("{base}/auth"),
            "token_endpoint": format!("{base}/token"),
            "device_authorization_endpoint": format!("{base}/device"),
            "code_challenge_methods_supported": ["S256", "plain"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        });
        match &self.defect {
            Defect::Document(status, text) => return answer(*status, text.clone()),
            Defect::Discovery(name, value) => document[*name] = value.clone(),
            _ => {}
        }
        answer(200, document.to_string())
    }

    /// Authorization endpoint: logs every visitor in at once.
    fn authorize(&self, fields: &Fields, base: &str) -> Response {
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        assert_eq!(field("response_type"), "code");
        assert_eq!(field("client_id"), "sigstore");
        assert_eq!(field("scope"), "openid email");
        assert_eq!(field("code_challenge_method"), "S256");
        self.begin(CODE, fields);
        let mut back = Url::parse(&field("redirect_uri")).unwrap();
        back.query_pairs_mut().append_pair("state", &field("state"));
        match &self.defect {
            Defect::Refuse => {
                let said = [("error", "access_denied"), ("error_description", "not\nyou")];
                back.query_pairs_mut().extend_pairs(said);
            }
            Defect::Name(name) => {
                let name = if name.is_empty() { base } else { name };
                back.query_pairs_mut().append_pair("code", CODE).append_pair("iss", name);
            }
            _ => drop(back.query_pairs_mut().append_pair("code", CODE)),
        }
        with(answer(303, ""), "location", back.as_str())
    }

    fn begin(&self, code: &str, fields: &Fields) {
        let field = |name: &str| fields.get(name).cloned();
        let challenge = match self.defect {
            Defect::OtherChallenge => URL_SAFE_NO_PAD.encode(digest(&SHA256, b"another verifier")),
            _ => field("code_challenge").unwrap_or_default(),
        };
        let begun = StartedLogin {
            challenge,
            nonce: field("nonce"),
            redirect: field("redirect_uri").unwrap_or_default(),
        };
        self.begun.lock().unwrap().insert(code.to_owned(), begun);
    }

    fn device(&self, fields: &Fields, base: &str) -> Response {
        if let Defect::Device(status, text) = &self.defect {
            return answer(*status, text.clone());
        }
        self.begin(DEVICE_CODE, fields);
        let document = json!({
            "device_code": DEVICE_CODE, "user_code": "ABCD-EFGH", "expires_in": 60,
            "verification_uri": format!("{base}/type"), "interval": 7,
        });
        answer(200, document.to_string())
    }

    fn token(&self, seen: &ReceivedRequest, base: &str) -> Response {
        let fields = fields(&seen.body);
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        match &self.defect {
            Defect::Token(status, text) => return answer(*status, text.clone()),
            Defect::Slow => {
                let never = futures::stream::pending::<Result<String, String>>();
                return Response::new(Body::from_stream(never));
            }
            Defect::Echo => {
                let said = format!("{fields:?} {:?}", seen.headers);
                let said = json!({ "error": "invalid_grant", "error_description": said });
                return answer(400, said.to_string());
            }
            _ => {}
        }
        match field("grant_type") {
            "authorization_code" => self.redeem(field("code"), &fields, base),
            "urn:ietf:params:oauth:grant-type:device_code" => {
                match self.polls.lock().unwrap().pop_front() {
                    Some("500") => answer(500, ""),
                    Some(error) => refusal(error),
                    None => self.redeem(field("device_code"), &fields, base),
                }
            }
            "client_credentials" if knows_secret(seen, &fields) => self.issue(None, base),
            "client_credentials" => refusal("invalid_client"),
            _ => refusal("unsupported_grant_type"),
        }
    }

    /// Redeems a code once, for the holder of the verifier.
    fn redeem(&self, code: &str, fields: &Fields, base: &str) -> Response {
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let Some(begun) = self.begun.lock().unwrap().remove(code) else {
            return refusal("invalid_grant");
        };
        let verifier = field("code_verifier");
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let bound = (43..=128).contains(&verifier.len()) && challenge == begun.challenge;
        if !bound || field("redirect_uri") != begun.redirect || field("client_id") != "sigstore" {
            return refusal("invalid_grant");
        }
        self.issue(begun.nonce, base)
    }

    fn issue(&self, nonce: Option<String>, base: &str) -> Response {
        let mut claims = json!({
            "iss": base, "aud": "sigstore", "sub": "ada", "exp": NOW + 60,
            "email": "ada@example.com", "email_verified": true, "nonce": nonce,
        });
        if let Defect::Claim(name, value) = &self.defect {
            claims[*name] = value.clone();
        }
        answer(200, json!({ "access_token": "a", "id_token": token_for(claims) }).to_string())
    }
}

fn knows_secret(seen: &ReceivedRequest, fields: &Fields) -> bool {
    let pair = "sigstore:cl1ent+s3cret%3A%26";
    let basic = format!("Basic {}", STANDARD.encode(pair));
    let header = seen.headers.get("authorization");
    header.is_some_and(|value| value == basic.as_str())
        || fields.get("client_secret").is_some_and(|secret| secret == CLIENT_SECRET)
}

/// Error response with the status that some issuers use.
fn refusal(error: &str) -> Response {
    let status = if error == "authorization_pending" { 401 } else { 400 };
    answer(status, json!({ "error": error }).to_string())
}

/// Behaviour of the user.
#[derive(Clone, Debug)]
pub(super) enum User {
    /// Logs in.
    Willing,
    /// Logs in after other requests have reached the listener; `STATE` in them stands for the
    /// login's state.
    Late(Vec<String>),
    /// Opens the page and leaves.
    Absent,
    /// Has no browser.
    Without,
}

/// Browser that records the opened page and the responses of the listener.
pub(super) struct TestBrowser {
    person: User,
    pub(super) page: Mutex<Option<Url>>,
    pub(super) answers: Arc<Mutex<Vec<String>>>,
}

impl TestBrowser {
    pub(super) fn of(person: User) -> Arc<Self> {
        Arc::new(Self { person, page: Mutex::default(), answers: Arc::default() })
    }

    /// Response to the first request. The login may finish before the browser has read it.
    pub(super) async fn first_answer(&self) -> String {
        let read = async {
            loop {
                let first = self.answers.lock().unwrap().first().cloned();
                match first {
                    Some(answer) => return answer,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), read).await.expect("a visit is answered")
    }
}

#[async_trait]
impl Browser for TestBrowser {
    async fn open(&self, page: &Url) -> Result<(), String> {
        *self.page.lock().unwrap() = Some(page.clone());
        let (page, answers) = (page.clone(), self.answers.clone());
        let others = match &self.person {
            User::Willing => Vec::new(),
            User::Late(others) => others.clone(),
            User::Absent => return Ok(()),
            User::Without => return Err("no display available".to_owned()),
        };
        // The listener responds only while it is being awaited.
        tokio::spawn(async move {
            let fields: Fields = page.query_pairs().into_owned().collect();
            let callback = Url::parse(&fields["redirect_uri"]).unwrap();
            for other in others {
                let answer = send(&callback, &other.replace("STATE", &fields["state"])).await;
                answers.lock().unwrap().push(answer);
            }
            let sent = http_request(&page, "GET").await;
            let back = sent.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
            let answer = http_request(&Url::parse(back).unwrap(), "GET").await;
            answers.lock().unwrap().push(answer);
        });
        Ok(())
    }
}
