//! OIDC issuer on loopback: tokens for any identity, and the three ways to obtain one (given
//! directly, browser login with PKCE, device flow).
//!
//! It is two issuers, as two realms of one server: one for people with e-mail addresses, and one
//! for GitHub workflows with claims.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::der::{Element, children};
use crate::service::{Answer, Request, Service, value};

/// User of the browser.
pub const SIGNED_IN: &str = "ada@example.com";
/// Audience of Sigstore tokens, which is also the client ID.
pub const CLIENT: &str = "sigstore";

/// Commit of the signing workflow.
pub const COMMIT: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c";
/// Its identity in the certificate.
pub const WORKFLOW: &str =
    "https://github.com/example/app/.github/workflows/release.yml@refs/tags/v1.2.3";

/// Lifetime of a token, in seconds.
const LIFETIME: u64 = 600;

/// Running issuer.
#[derive(Clone)]
pub struct Issuer {
    host: String,
    key: Arc<RsaKeyPair>,
    /// Pending browser and device logins, by code.
    begun: Arc<Mutex<HashMap<String, PendingLogin>>>,
}

/// Pending login.
#[derive(Clone, Default)]
struct PendingLogin {
    nonce: Option<String>,
    challenge: Option<String>,
    /// True once a device has polled: the first poll is answered with "pending".
    has_asked: bool,
}

impl Issuer {
    /// Starts the issuer, which runs until the test process ends.
    pub fn start() -> anyhow::Result<Self> {
        let service = Service::bind()?;
        let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let host = service.host.clone();
        let issuer = Self { host, key: Arc::new(key), begun: Arc::default() };
        let answering = issuer.clone();
        service.answer_with(move |request| answering.answer(request));
        Ok(issuer)
    }

    /// Issuer URL for people.
    pub fn people(&self) -> String {
        format!("http://{}/people", self.host)
    }

    /// Issuer URL for workflows.
    pub fn workflows(&self) -> String {
        format!("http://{}/workflows", self.host)
    }

    /// Token of a person.
    pub fn token(&self, email: &str) -> String {
        self.sign(person(&self.people(), email))
    }

    /// Token of [`WORKFLOW`], in GitHub's form.
    pub fn workflow_token(&self) -> String {
        self.sign(workflow(&self.workflows()))
    }

    /// Token with exactly these claims.
    pub fn sign(&self, claims: Value) -> String {
        // The only algorithm with which cosign recognises a token.
        let header = json!({ "alg": "RS256", "kid": "tests", "typ": "JWT" });
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .expect("a signature");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn answer(&self, request: &Request) -> Answer {
        let realms = [("/people", self.people()), ("/workflows", self.workflows())];
        for (prefix, issuer) in realms {
            if let Some(path) = request.path.strip_prefix(prefix) {
                return self.answer_in(&issuer, path, request);
            }
        }
        Answer::not_found()
    }

    fn answer_in(&self, issuer: &str, path: &str, request: &Request) -> Answer {
        match (request.method.as_str(), path) {
            ("GET", "/.well-known/openid-configuration") => Answer::json(&discovery(issuer)),
            ("GET", "/keys") => Answer::json(&self.keys()),
            ("GET", "/auth") => self.authorize(request),
            ("POST", "/device/code") => self.begin_device(issuer, request),
            ("POST", "/token") => self.exchange(issuer, request),
            _ => Answer::not_found(),
        }
    }

    fn keys(&self) -> Value {
        let numbers = rsa_numbers(self.key.public_key().as_ref()).expect("an RSA key");
        let [n, e] = numbers.map(|number| URL_SAFE_NO_PAD.encode(number));
        json!({ "keys": [{
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": "tests", "n": n, "e": e,
        }] })
    }

    /// Authorization endpoint: the user is already logged in, and is redirected with a code.
    fn authorize(&self, request: &Request) -> Answer {
        let text = |name| request.asked(name).map(str::to_owned);
        let Some(back) = text("redirect_uri") else { return Answer::not_found() };
        let code = self.begin(PendingLogin {
            nonce: text("nonce"),
            challenge: text("code_challenge"),
            has_asked: true,
        });
        let sign = if back.contains('?') { '&' } else { '?' };
        let state = text("state").unwrap_or_default();
        let location = format!("{back}{sign}code={code}&state={state}");
        Answer { status: "302 Found", headers: vec![("Location", location)], body: Vec::new() }
    }

    fn begin_device(&self, issuer: &str, request: &Request) -> Answer {
        let form = request.form();
        let text = |name| value(&form, name).map(str::to_owned);
        let code = self.begin(PendingLogin {
            nonce: text("nonce"),
            challenge: text("code_challenge"),
            has_asked: false,
        });
        Answer::json(&json!({
            "device_code": code,
            "user_code": "ABCD-EFGH",
            "verification_uri": format!("{issuer}/device"),
            "verification_uri_complete": format!("{issuer}/device?user_code=ABCD-EFGH"),
            "interval": 1,
            "expires_in": 60,
        }))
    }

    /// Exchanges a code for a token.
    fn exchange(&self, issuer: &str, request: &Request) -> Answer {
        let form = request.form();
        let code = value(&form, "code").or(value(&form, "device_code")).unwrap_or_default();
        let mut all = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let refuse = |error| Answer::refusal("400 Bad Request", &json!({ "error": error }));
        let Some(begun) = all.get_mut(code) else { return refuse("invalid_grant") };
        if !std::mem::replace(&mut begun.has_asked, true) {
            return refuse("authorization_pending");
        }
        let verifier = value(&form, "code_verifier");
        let shown = verifier.map(|text| URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes())));
        if shown != begun.challenge {
            return refuse("invalid_grant");
        }
        let mut claims = person(issuer, SIGNED_IN);
        if let Some(nonce) = &begun.nonce {
            claims["nonce"] = json!(nonce);
        }
        // A code is valid once.
        all.remove(code);
        let token = self.sign(claims);
        Answer::json(&json!({ "access_token": "none", "token_type": "Bearer", "id_token": token }))
    }

    fn begin(&self, begun: PendingLogin) -> String {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
        let code = hex::encode(bytes);
        let mut all = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(code.clone(), begun);
        code
    }
}

/// Claims of a person.
pub fn person(issuer: &str, email: &str) -> Value {
    let now = now();
    json!({
        "iss": issuer,
        "sub": format!("id-of-{email}"),
        "aud": CLIENT,
        "iat": now,
        "exp": now + LIFETIME,
        "email": email,
        "email_verified": true,
    })
}

/// Claims of [`WORKFLOW`].
pub fn workflow(issuer: &str) -> Value {
    let now = now();
    json!({
        "iss": issuer,
        "sub": "repo:example/app:ref:refs/tags/v1.2.3",
        "aud": CLIENT,
        "iat": now,
        "exp": now + LIFETIME,
        "event_name": "push",
        "job_workflow_ref": "example/app/.github/workflows/release.yml@refs/tags/v1.2.3",
        "job_workflow_sha": COMMIT,
        "ref": "refs/tags/v1.2.3",
        "repository": "example/app",
        "repository_id": "11",
        "repository_owner": "example",
        "repository_owner_id": "12",
        "repository_visibility": "public",
        "run_attempt": "1",
        "run_id": "13",
        "runner_environment": "github-hosted",
        "sha": COMMIT,
        "workflow": "release",
        "workflow_ref": "example/app/.github/workflows/release.yml@refs/tags/v1.2.3",
        "workflow_sha": COMMIT,
    })
}

/// Modulus and exponent of a key, without leading zeros.
fn rsa_numbers(key: &[u8]) -> anyhow::Result<[Vec<u8>; 2]> {
    let numbers = children(Element::read(key)?.0.content)?;
    let digits = |number: &Element<'_>| {
        number.content.iter().copied().skip_while(|digit| *digit == 0).collect::<Vec<u8>>()
    };
    let [modulus, exponent] = numbers.as_slice() else { anyhow::bail!("no RSA key") };
    Ok([digits(modulus), digits(exponent)])
}

fn discovery(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/auth"),
        "device_authorization_endpoint": format!("{issuer}/device/code"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
    })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
