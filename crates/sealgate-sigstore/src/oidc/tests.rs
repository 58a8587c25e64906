mod ambient;
mod browser;
mod callback;
mod fixture;
mod given;
mod issuer;
mod login;

use super::*;
use fixture::{TestEnvironment, Variables, token_for};
use serde_json::json;

#[test]
fn names_are_cosigns() {
    for provider in Provider::ALL {
        assert_eq!(provider.name().parse(), Ok(provider));
    }
    assert_eq!("google".parse(), Ok(Provider::GoogleWorkloadIdentity));
    let error = "gitlab".parse::<Provider>().unwrap_err().to_string();
    assert!(error.starts_with("not a valid provider: gitlab (known: envvar, "), "{error}");
    for flow in Flow::ALL {
        assert_eq!(flow.name().parse(), Ok(flow));
    }
    let error = "browser".parse::<Flow>().unwrap_err().to_string();
    assert_eq!(
        error,
        "unsupported oauth flow: browser (known: normal, device, token, client_credentials)"
    );
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let token = token_for(json!({ "aud": "sigstore", "sub": "s", "iss": "https://i" }));
    let env = TestEnvironment::new(Variables::from([("SIGSTORE_ID_TOKEN", token.clone())]));
    let request = TokenRequest {
        identity_token: Some(Secret::new(token.clone())),
        ..TokenRequest::default()
    };
    let obtained = env.ask(&request).await.unwrap();
    let shown = format!("{request:?} {obtained:?} {:?}", env.environment);
    let signature = token.rsplit('.').next().unwrap();
    assert!(!shown.contains(signature), "{shown}");
    assert!(shown.contains("SIGSTORE_ID_TOKEN"), "names of variables may be seen: {shown}");
}
