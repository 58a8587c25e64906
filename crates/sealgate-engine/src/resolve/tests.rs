use std::sync::Mutex;

use async_trait::async_trait;
use sealgate_core::fault::FaultKind;
use sealgate_policy::assemble::{Object, PolicySource};
use sealgate_policy::cip::ClusterImagePolicy;
use sealgate_policy::cip::trust_root::Spec;
use serde_json::{Value, json};

use super::*;
use crate::ports::{Clock, PullSecret, RootRepositories, RootRepository};

/// A P-256 public key.
const PEM: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
";

/// Answers every fetch with the same result, and counts them.
struct Answers {
    data: Mutex<Result<SecretData, Fault>>,
    fetched: Mutex<Vec<String>>,
}

#[async_trait]
impl SecretSource for Answers {
    async fn secret(&self, namespace: &str, name: &str) -> Result<SecretData, Fault> {
        assert_eq!(namespace, "cosign-system");
        self.fetched.lock().unwrap().push(name.to_owned());
        self.data.lock().unwrap().clone()
    }

    async fn pull_secrets(
        &self,
        _namespace: &str,
        _service_account: &str,
        _names: &[String],
    ) -> Result<Vec<PullSecret>, Fault> {
        unreachable!("policies have no pull secrets")
    }
}

struct NoRepositories;

impl RootRepositories for NoRepositories {
    fn open(&self, _: &Spec) -> Result<Box<dyn RootRepository>, Fault> {
        Err(Fault::new(FaultKind::Config, "repository", "there is none"))
    }
}

struct Epoch;

impl Clock for Epoch {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
}

struct Fixture {
    source: Arc<Answers>,
    resolver: Resolver,
    policies: Vec<ClusterImagePolicy>,
}

impl Fixture {
    fn new(policies: Vec<ClusterImagePolicy>) -> Self {
        let (data, fetched) = (Mutex::new(Ok(None)), Mutex::default());
        let source = Arc::new(Answers { data, fetched });
        let own = Err(Fault::new(FaultKind::Config, "trust root", "there is none"));
        let roots = Roots::new(own, Arc::new(NoRepositories), Arc::new(Epoch));
        let resolver = Resolver::new(Arc::clone(&source) as _, roots);
        Self { source, resolver, policies }
    }

    /// Assembles with `data` in every Secret; gives the Secrets fetched for it, and whether the
    /// first policy is ready.
    async fn assemble(&mut self, data: Result<SecretData, Fault>) -> (Vec<String>, bool) {
        *self.source.data.lock().unwrap() = data;
        self.source.fetched.lock().unwrap().clear();
        let object =
            |policy| Object { name: "p", place: "cluster", content: Result::<_, &str>::Ok(policy) };
        let objects = Objects {
            source: PolicySource::Cluster,
            system_namespace: "cosign-system",
            config: BTreeMap::new(),
            no_match: None,
            policies: self.policies.iter().map(object).collect(),
            trust_roots: Vec::new(),
        };
        let assembly = self.resolver.assemble(&objects).await;
        let ready = assembly.policies.first().is_some_and(|status| {
            status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.holds)
        });
        assert_eq!(assembly.problems.is_empty(), ready || self.policies.is_empty());
        (self.source.fetched.lock().unwrap().clone(), ready)
    }
}

fn policy(authority: Value) -> ClusterImagePolicy {
    ClusterImagePolicy::from_json(&json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "p" },
        "spec": { "images": [{ "glob": "**" }], "authorities": [authority] },
    }))
    .unwrap()
}

fn by_secret() -> ClusterImagePolicy {
    policy(json!({ "key": { "secretRef": { "name": "cosign-pub" } } }))
}

fn data(pem: &str) -> Result<SecretData, Fault> {
    Ok(Some([("cosign.pub".to_owned(), pem.as_bytes().to_vec())].into()))
}

fn fault() -> Result<SecretData, Fault> {
    Err(Fault::new(FaultKind::Timeout, "secret", "no answer"))
}

#[tokio::test]
async fn a_secret_is_read_when_a_policy_names_it_and_when_it_changes() {
    let mut fixture = Fixture::new(vec![by_secret()]);
    let named = vec!["cosign-pub".to_owned()];
    assert_eq!(fixture.assemble(data(PEM)).await, (named.clone(), true));
    assert_eq!(fixture.assemble(Ok(None)).await, (vec![], true));
    fixture.resolver.secret_changed("other");
    assert_eq!(fixture.assemble(Ok(None)).await, (vec![], true));
    fixture.resolver.secret_changed("cosign-pub");
    assert_eq!(fixture.assemble(Ok(None)).await, (named.clone(), false));
    fixture.resolver.all_secrets_changed();
    assert_eq!(fixture.assemble(data(PEM)).await, (named, true));
}

#[tokio::test]
async fn a_key_goes_only_when_the_cluster_says_so() {
    let mut fixture = Fixture::new(vec![by_secret()]);
    for (answer, ready, what) in [
        (fault(), false, "never read"),
        (data(PEM), true, "read"),
        (fault(), true, "the last good one stays"),
        (Ok(None), false, "deleted"),
        (data(PEM), true, "read again"),
        (data("junk"), false, "overwritten"),
        (fault(), false, "and a fault brings nothing back"),
    ] {
        fixture.resolver.all_secrets_changed();
        assert_eq!(fixture.assemble(answer).await.1, ready, "{what}");
    }
}

#[tokio::test]
async fn keys_that_nobody_names_are_forgotten() {
    let mut fixture = Fixture::new(vec![by_secret()]);
    fixture.assemble(data(PEM)).await;
    fixture.policies.clear();
    assert_eq!(fixture.assemble(fault()).await.0, Vec::<String>::new());
    assert!(fixture.resolver.fetched.is_empty());
}

#[tokio::test]
async fn a_secret_may_hold_the_certificates_of_an_authority() {
    let identity = json!({ "issuer": "i", "subject": "s" });
    let ca = json!({ "secretRef": { "name": "ca" } });
    let keyless = json!({ "keyless": { "ca-cert": ca, "identities": [identity] } });
    let mut fixture = Fixture::new(vec![policy(keyless)]);
    assert_eq!(fixture.assemble(Ok(None)).await.0, ["ca"]);
}
