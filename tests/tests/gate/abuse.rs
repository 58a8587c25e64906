//! Gate beside hostile tenants: honest reviews are answered in time and none is refused, health
//! probes succeed, and memory and descriptors stay within limits. `cargo xtask bench abuse` measures
//! the same with all attacks at once on a release build.
//!
//! The limits of time are those of a machine with two cores that runs other tests, too.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealgate_tests::hostile::client::{Answer, Client, Version};
use sealgate_tests::hostile::honest::{
    DelayProxy, HonestFigures, HonestTenants, Rates, clients, signed_images,
};
use sealgate_tests::hostile::latency::{Probes, probe};
use sealgate_tests::hostile::names::SilentNameServer;
use sealgate_tests::hostile::policies;
use sealgate_tests::hostile::process::{GateProcess, Options, Usage, raise_descriptor_limit};
use sealgate_tests::hostile::registry::Behaviour;
use sealgate_tests::hostile::tenants::Targets;
use sealgate_tests::registries;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::sandbox_with_key;

/// Duration of an attack, and the timeout of its reviews.
const ATTACK: Duration = Duration::from_secs(6);
/// Hostile tenants.
const HOSTILE: usize = 10;
/// Honest tenants and their reviews a second, each.
const TENANTS: usize = 2;
const RATES: Rates = Rates { warm: 5.0, cold: 1.0 };
/// Signed images, of which each cold review takes one.
const IMAGES: usize = 30;
/// Delay of the honest tenants' registry.
const DELAY: Duration = Duration::from_millis(20);
/// Time after which the registry closes a connection, so that the gate looks up its name again.
const IDLE: Duration = Duration::from_millis(150);
/// Time in which nine of ten honest reviews must be answered. All of them must be answered before the
/// API server's timeout.
const IN_TIME: Duration = Duration::from_secs(2);
/// Probes that may be missed: a kubelet restarts a container after three in a row.
const MISSED: usize = 1;
/// Memory of the gate under any attack, in MiB, without the pages of the program's file.
const MEMORY: f64 = 128.0;
/// Memory that may remain after an attack beyond that before it, in MiB.
const REMAINING: f64 = 32.0;
/// Time in which memory is returned.
const RETURN: Duration = Duration::from_secs(10);
/// Descriptors of the gate under any attack; its hard limit is 4,096.
const DESCRIPTORS: usize = 3_000;

/// One attack at a time: each uses all that it can get.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Gate, honest tenants and the targets of hostile ones.
struct Setup {
    gate: GateProcess,
    honest: HonestTenants,
    targets: Arc<Targets>,
    /// Client for hostile reviews.
    client: Client,
    registry: DelayProxy,
    /// Memory of the gate before the attack, in MiB, without the pages of the program's file.
    before: f64,
}

/// Observations during an attack.
struct Observed {
    honest: HonestFigures,
    probes: Probes,
    usage: Usage,
    /// Highest number at any moment.
    descriptors: usize,
}

/// Runs a test with a gate whose one policy requires a signature of every image.
fn with_gate(name: &str, options: Options, test: impl AsyncFnOnce(&mut Setup)) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    raise_descriptor_limit().unwrap();
    let sandbox = sandbox_with_key();
    let policy = json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "signed" },
        "spec": {
            "images": [{ "glob": "**" }],
            "authorities": [{ "key": { "data": sandbox.read("cosign.pub") } }],
        },
    });
    sandbox.write("policies/policy.yaml", policy.to_string());
    let images = signed_images(&sandbox, registries::referrers(), name, IMAGES);
    let options = Options { policies: 1, ..options };
    let gate = GateProcess::start(name, &sandbox, &options).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let upstream = &registries::referrers().host;
        let registry = DelayProxy::closing_idle(upstream, DELAY, IDLE).await.unwrap();
        let images = images.iter().map(|image| image.at(&registry.host)).collect();
        let clients = clients(None, gate.port, TENANTS).unwrap();
        let honest = HonestTenants::new(clients, RATES, images).await.unwrap();
        let targets = Targets::new(gate.port, None).await.unwrap();
        let client = Client::new(gate.port, Version::Http1).unwrap().with_timeout(ATTACK);
        let before = gate.allocated_below(0.0, Duration::ZERO).unwrap();
        test(&mut Setup { gate, honest, targets, client, registry, before }).await;
    });
}

impl Setup {
    /// Sends hostile reviews, all at once, with honest ones beside them.
    async fn attack(&mut self, path: &'static str, reviews: Vec<String>) -> Observed {
        self.paced_attack(path, reviews, Duration::ZERO).await
    }

    /// Variant with a pause between two hostile reviews.
    async fn paced_attack(
        &mut self,
        path: &'static str,
        reviews: Vec<String>,
        pause: Duration,
    ) -> Observed {
        self.gate.reset_peak().unwrap();
        let mut hostile = JoinSet::new();
        for (number, review) in (0..).zip(reviews) {
            let (client, targets) = (self.client.clone(), Arc::clone(&self.targets));
            hostile.spawn(async move {
                tokio::time::sleep(pause * number).await;
                targets.count(&client.post(path, review).await);
            });
        }
        let end = Instant::now() + ATTACK;
        let url = format!("http://127.0.0.1:{}/healthz", self.gate.metrics_port);
        let probes = tokio::spawn(probe(url, end));
        let watch = async {
            let mut most = 0;
            while Instant::now() < end {
                most = most.max(self.gate.usage().unwrap().descriptors);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            most
        };
        let (honest, descriptors) = tokio::join!(self.honest.run(end), watch);
        let usage = self.gate.usage().unwrap();
        hostile.join_all().await;
        let probes = probes.await.unwrap().unwrap();
        println!("{}", self.targets.answers());
        Observed { honest, probes, usage, descriptors }
    }

    /// Reviews by ten tenants in turn. (Anyone who can reach the port of a gate without `--client-ca`
    /// can make up namespaces without end, which no share by namespace withstands.)
    fn by_tenants(&self, count: usize, review: impl Fn(&Targets, &str) -> String) -> Vec<String> {
        let review = |number| review(&self.targets, &format!("hostile-{}", number % HOSTILE));
        (0..count).map(review).collect()
    }

    /// Asserts that memory is bounded after an attack. Of many small allocations, the allocator
    /// keeps what is fragmented.
    #[track_caller]
    fn memory_is_bounded(&self) {
        let usage = self.gate.usage().unwrap();
        assert!(usage.memory - usage.program < MEMORY, "{usage:?}");
    }

    /// Asserts that memory is returned after an attack, when its connections have ended.
    #[track_caller]
    fn memory_is_returned(&mut self) {
        self.client = Client::new(self.gate.port, Version::Http1).unwrap().with_timeout(ATTACK);
        let before = self.before;
        let memory = self.gate.allocated_below(before + REMAINING, RETURN).unwrap();
        let usage = self.gate.usage().unwrap();
        let remaining = format!("{memory:.1} MiB remain, {before:.1} MiB before; {usage:?}");
        assert!(memory <= before + REMAINING, "{remaining}");
    }

    /// Asserts that no fault is attributed to the honest tenants' registry.
    #[track_caller]
    fn the_innocent_registry_is_not_blamed(&self) {
        let metrics = self.gate.metrics().unwrap();
        let label = format!("registry=\"{}\"", self.registry.host);
        let blames = |line: &&str| {
            line.starts_with("sealgate_registry_faults_total") && line.contains(&label)
        };
        let faults: Vec<&str> = metrics.lines().filter(blames).collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

impl Observed {
    /// Asserts that honest tenants were served, and that memory and descriptors were limited.
    #[track_caller]
    fn honest_tenants_are_served(&self) {
        let Self { honest, probes, usage, descriptors } = self;
        for (kind, latencies) in [("warm", &honest.warm), ("cold", &honest.cold)] {
            let (count, max) = (latencies.count(), latencies.max());
            println!("{kind}: {count}, max {max:?}, refused: {}", latencies.refused_by_code());
        }
        println!("{probes:?}\n{usage:?}, at most {descriptors} descriptors");
        for (kind, latencies) in [("warm", &honest.warm), ("cold", &honest.cold)] {
            let refused = latencies.refused.first();
            assert!(refused.is_none(), "{kind}: {} refused: {refused:?}", latencies.refused.len());
            assert!(latencies.quantile(0.9) < IN_TIME, "{kind}: {:?}", latencies.quantile(0.9));
            assert!(latencies.count() > 5, "{kind}: {}", latencies.count());
        }
        assert!(probes.missed <= MISSED, "{probes:?}");
        assert!(usage.peak - usage.program < MEMORY, "{usage:?}");
        assert!(*descriptors < DESCRIPTORS, "{descriptors} descriptors");
    }
}

/// C1 of the field reports: anyone who can reach the port may post policies.
#[test]
fn costly_policies_delay_nobody() {
    with_gate("abuse-policies", Options::default(), async |setup| {
        let reviews = vec![policies::expressions(), policies::expressions(), policies::globs()];
        setup.attack("/validate-policies", reviews).await.honest_tenants_are_served();
        setup.memory_is_bounded();
    });
}

/// C2: eight pods of eight images, each with fifteen layers of 1 MiB and one that stalls.
#[test]
fn stalled_layers_do_not_fill_the_memory() {
    with_gate("abuse-layers", Options::default(), async |setup| {
        for behaviour in [Behaviour::StalledLayer, Behaviour::StalledLayers] {
            let reviews = setup.by_tenants(8, |targets, name| targets.pod(name, behaviour, 8));
            setup.attack("/validate", reviews).await.honest_tenants_are_served();
        }
        setup.the_innocent_registry_is_not_blamed();
        setup.memory_is_returned();
    });
}

/// C3: more large reviews under judgement than bodies may be buffered. They arrive one after another,
/// so that only a gate that keeps them runs out of space.
#[test]
fn large_reviews_under_judgement_do_not_keep_others_out() {
    with_gate("abuse-reviews", Options::default(), async |setup| {
        let reviews = setup.by_tenants(40, |targets, name| targets.large_pod(name, 2 << 20));
        let pause = Duration::from_millis(150);
        let observed = setup.paced_attack("/validate", reviews, pause).await;
        observed.honest_tenants_are_served();
        let unread = setup.targets.answers().0.get("503").copied();
        assert_eq!(unread, None, "reviews that were not read");
        setup.memory_is_returned();
    });
}

/// C4: a review under judgement on each of more connections than the gate accepts.
#[test]
fn busy_connections_do_not_shut_out_the_api_server() {
    with_gate("abuse-connections", Options::default(), async |setup| {
        let reviews =
            setup.by_tenants(1_100, |targets, name| targets.pod(name, Behaviour::Silent, 1));
        let pause = Duration::from_millis(2);
        let observed = setup.paced_attack("/validate", reviews, pause).await;
        observed.honest_tenants_are_served();
        // A client that has no connection yet.
        let client = Client::new(setup.gate.port, Version::Http1).unwrap();
        let unsigned = setup.targets.pod("team-0", Behaviour::Missing, 1);
        let start = Instant::now();
        let answer = client.validate(unsigned).await;
        assert!(matches!(answer, Answer::Denied(_)), "{answer:?}");
        assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
        setup.memory_is_bounded();
    });
}

/// C5: one registry that stalls with sixteen answers of 4 MiB.
#[test]
fn one_stalled_registry_does_not_use_up_the_buffers() {
    with_gate("abuse-manifests", Options::default(), async |setup| {
        let stalled = Behaviour::StalledManifests;
        let reviews = (0..4).map(|_| setup.targets.pod_of_host("hostile", stalled, 8)).collect();
        setup.attack("/validate", reviews).await.honest_tenants_are_served();
        setup.the_innocent_registry_is_not_blamed();
        setup.memory_is_returned();
    });
}

/// C6: 1,500 images, each on a host of its own.
#[test]
fn distinct_hosts_do_not_use_up_the_descriptors() {
    with_gate("abuse-hosts", Options::default(), async |setup| {
        let reviews = setup.by_tenants(6, |targets, name| targets.pod_of_hosts(name, 250));
        setup.attack("/validate", reviews).await.honest_tenants_are_served();
        assert!(!setup.gate.log().contains("Too many open files"), "{}", setup.gate.log());
        setup.the_innocent_registry_is_not_blamed();
        setup.memory_is_returned();
    });
}

/// C7: thousands of repositories that do not exist.
#[test]
fn made_up_paths_are_not_remembered() {
    with_gate("abuse-paths", Options::default(), async |setup| {
        let reviews = setup.by_tenants(6, |targets, name| targets.pod_of_paths(name, 1_000));
        setup.attack("/validate", reviews).await.honest_tenants_are_served();
        setup.memory_is_returned();
    });
}

/// C9: 640 names that do not resolve, at a name server that never answers: more look-ups than threads
/// for blocking work. The honest tenants' registry has a name as well.
#[test]
fn names_that_do_not_resolve_delay_no_other_look_up() {
    let server = SilentNameServer::start().unwrap();
    let options =
        Options { resolv_conf: Some(server.resolv_conf().unwrap()), ..Options::default() };
    with_gate("abuse-names", options, async |setup| {
        let reviews = setup.by_tenants(80, |targets, name| targets.pod_of_names(name, 8));
        setup.attack("/validate", reviews).await.honest_tenants_are_served();
        setup.the_innocent_registry_is_not_blamed();
        setup.memory_is_returned();
    });
}
