//! A small OIDC issuer on loopback, which does what it should or one thing wrong; and the people
//! who log in there.

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

use super::fixture::{NOW, send, token_for, visit};
use crate::http::fixture::{Seen, Service, answer, with};
use crate::oidc::Browser;

pub(super) const CODE: &str = "c0de-for-one-use";
pub(super) const DEVICE_CODE: &str = "d3vice-c0de";
pub(super) const CLIENT_SECRET: &str = "cl1ent s3cret:&";

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Twist {
    Nothing,
    /// A field of the discovery document, `null` to leave it out.
    Discovery(&'static str, Value),
    /// All of the discovery document.
    Document(u16, String),
    /// A claim of the tokens.
    Claim(&'static str, Value),
    /// What the token endpoint says.
    Token(u16, String),
    /// It was told another challenge: somebody else began this login.
    OtherChallenge,
    /// The token endpoint refuses and repeats all that it was sent.
    Echo,
    /// The token endpoint does not end its answer.
    Slow,
    /// The person refuses.
    Refuse,
    /// The browser is sent back with another issuer's name, or with this one's.
    Name(&'static str),
    /// What the device endpoint says.
    Device(u16, String),
}

#[derive(Default)]
struct Begun {
    challenge: String,
    nonce: Option<String>,
    redirect: String,
}

pub(super) struct Issuer {
    pub(super) service: Service,
}

struct State {
    twist: Twist,
    begun: Mutex<BTreeMap<String, Begun>>,
    polls: Mutex<VecDeque<&'static str>>,
}

type Fields = BTreeMap<String, String>;

impl Issuer {
    pub(super) async fn start(twist: Twist) -> Self {
        Self::with_polls(twist, &[]).await
    }

    /// An issuer whose device flow first says this.
    pub(super) async fn with_polls(twist: Twist, polls: &[&'static str]) -> Self {
        let polls = Mutex::new(polls.iter().copied().collect());
        let state = State { twist, begun: Mutex::default(), polls };
        Self { service: Service::start(move |_, seen| state.answer(seen)).await }
    }

    pub(super) fn url(&self) -> String {
        format!("{}/realm", self.service.url)
    }

    /// What was asked at this path.
    pub(super) fn asked(&self, path: &str) -> Vec<Fields> {
        let seen = self.service.seen().into_iter();
        seen.filter(|seen| seen.path == path).map(|seen| fields(&seen.body)).collect()
    }
}

fn fields(encoded: &[u8]) -> Fields {
    form_urlencoded::parse(encoded).into_owned().collect()
}

impl State {
    fn answer(&self, seen: &Seen) -> Response {
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
        match &self.twist {
            Twist::Document(status, text) => return answer(*status, text.clone()),
            Twist::Discovery(name, value) => document[*name] = value.clone(),
            _ => {}
        }
        answer(200, document.to_string())
    }

    /// The page to log in at: whoever comes is logged in at once.
    fn authorize(&self, fields: &Fields, base: &str) -> Response {
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        assert_eq!(field("response_type"), "code");
        assert_eq!(field("client_id"), "sigstore");
        assert_eq!(field("scope"), "openid email");
        assert_eq!(field("code_challenge_method"), "S256");
        self.begin(CODE, fields);
        let mut back = Url::parse(&field("redirect_uri")).unwrap();
        back.query_pairs_mut().append_pair("state", &field("state"));
        match &self.twist {
            Twist::Refuse => {
                let said = [("error", "access_denied"), ("error_description", "not\nyou")];
                back.query_pairs_mut().extend_pairs(said);
            }
            Twist::Name(name) => {
                let name = if name.is_empty() { base } else { name };
                back.query_pairs_mut().append_pair("code", CODE).append_pair("iss", name);
            }
            _ => drop(back.query_pairs_mut().append_pair("code", CODE)),
        }
        with(answer(303, ""), "location", back.as_str())
    }

    fn begin(&self, code: &str, fields: &Fields) {
        let field = |name: &str| fields.get(name).cloned();
        let challenge = match self.twist {
            Twist::OtherChallenge => URL_SAFE_NO_PAD.encode(digest(&SHA256, b"another verifier")),
            _ => field("code_challenge").unwrap_or_default(),
        };
        let begun = Begun {
            challenge,
            nonce: field("nonce"),
            redirect: field("redirect_uri").unwrap_or_default(),
        };
        self.begun.lock().unwrap().insert(code.to_owned(), begun);
    }

    fn device(&self, fields: &Fields, base: &str) -> Response {
        if let Twist::Device(status, text) = &self.twist {
            return answer(*status, text.clone());
        }
        self.begin(DEVICE_CODE, fields);
        let document = json!({
            "device_code": DEVICE_CODE, "user_code": "ABCD-EFGH", "expires_in": 60,
            "verification_uri": format!("{base}/type"), "interval": 7,
        });
        answer(200, document.to_string())
    }

    fn token(&self, seen: &Seen, base: &str) -> Response {
        let fields = fields(&seen.body);
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        match &self.twist {
            Twist::Token(status, text) => return answer(*status, text.clone()),
            Twist::Slow => {
                let never = futures::stream::pending::<Result<String, String>>();
                return Response::new(Body::from_stream(never));
            }
            Twist::Echo => {
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

    /// A code is good once, for who knows the verifier.
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
        if let Twist::Claim(name, value) = &self.twist {
            claims[*name] = value.clone();
        }
        answer(200, json!({ "access_token": "a", "id_token": token_for(claims) }).to_string())
    }
}

fn knows_secret(seen: &Seen, fields: &Fields) -> bool {
    let pair = "sigstore:cl1ent+s3cret%3A%26";
    let basic = format!("Basic {}", STANDARD.encode(pair));
    let header = seen.headers.get("authorization");
    header.is_some_and(|value| value == basic.as_str())
        || fields.get("client_secret").is_some_and(|secret| secret == CLIENT_SECRET)
}

/// With the status that some issuers give it.
fn refusal(error: &str) -> Response {
    let status = if error == "authorization_pending" { 401 } else { 400 };
    answer(status, json!({ "error": error }).to_string())
}

/// Who sits before the browser.
#[derive(Clone, Debug)]
pub(super) enum Person {
    /// Logs in.
    Willing,
    /// Logs in after others have been at the door: their requests, with `STATE` for the login's.
    Late(Vec<String>),
    /// Looks at the page and goes away.
    Absent,
    /// Has no browser.
    Without,
}

/// A browser that remembers where it was sent, and what every visit to the door came to.
pub(super) struct Visits {
    person: Person,
    pub(super) page: Mutex<Option<Url>>,
    pub(super) answers: Arc<Mutex<Vec<String>>>,
}

impl Visits {
    pub(super) fn of(person: Person) -> Arc<Self> {
        Arc::new(Self { person, page: Mutex::default(), answers: Arc::default() })
    }

    /// What the first visit came to. The login may be over before its visitor has read that.
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
impl Browser for Visits {
    async fn open(&self, page: &Url) -> Result<(), String> {
        *self.page.lock().unwrap() = Some(page.clone());
        let (page, answers) = (page.clone(), self.answers.clone());
        let others = match &self.person {
            Person::Willing => Vec::new(),
            Person::Late(others) => others.clone(),
            Person::Absent => return Ok(()),
            Person::Without => return Err("there is no screen".to_owned()),
        };
        // The door answers while it is waited at.
        tokio::spawn(async move {
            let fields: Fields = page.query_pairs().into_owned().collect();
            let door = Url::parse(&fields["redirect_uri"]).unwrap();
            for other in others {
                let answer = send(&door, &other.replace("STATE", &fields["state"])).await;
                answers.lock().unwrap().push(answer);
            }
            let sent = visit(&page, "GET").await;
            let back = sent.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
            let answer = visit(&Url::parse(back).unwrap(), "GET").await;
            answers.lock().unwrap().push(answer);
        });
        Ok(())
    }
}
