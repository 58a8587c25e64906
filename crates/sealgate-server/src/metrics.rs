//! Metrics. The table of names is `docs/reference/metrics.md`; a test compares.
//!
//! Every label has a bounded number of values, also where a client chooses the text (the name of a
//! registry, a resource).

use std::collections::HashSet;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use sealgate_engine::budget::PoolStats;
use sealgate_policy::scope::Scope;

use crate::hook::Hook;

/// Registries with a label of their own; further ones count as `other`.
const REGISTRIES: usize = 64;
/// The label value for texts without a value of their own.
const OTHER: &str = "other";
/// The label value for texts that could not be read.
const UNKNOWN: &str = "unknown";

/// Every value of the label `reason`, as documented; any other counts as `other`.
const REASONS: [&str; 21] = [
    "pass",
    "fail",
    "fault",
    "busy",
    "no-match",
    "not-pinned",
    "placeholder",
    "unreadable",
    "nothing",
    "unchanged",
    "being-deleted",
    "subresource",
    "starts-nothing",
    "pinned",
    "answered",
    "invalid",
    "not-ready",
    "malformed",
    "timeout",
    "internal",
    OTHER,
];

/// The metrics of the gate.
pub struct Metrics {
    registry: Registry,
    admissions: Family<AdmissionLabels, Counter>,
    seconds: Family<HookLabels, Histogram, Buckets>,
    images: Family<ImageLabels, Counter>,
    unauthenticated: Family<HookLabels, Counter>,
    records: Family<ResultLabels, Counter>,
    validations: Family<ResultLabels, Counter>,
    requests: Family<RequestLabels, Gauge>,
    calls: Family<CallLabels, Counter>,
    faults: Family<FaultLabels, Counter>,
    call_seconds: Family<RegistryLabels, Histogram, Buckets>,
    budget_used: Family<ResourceLabels, Gauge>,
    budget_limit: Family<ResourceLabels, Gauge>,
    budget_waiting: Family<ResourceLabels, Gauge>,
    budget_refusals: Family<RefusalLabels, Counter>,
    names: RwLock<HashSet<String>>,
    cache_hits: Counter,
    cache_misses: Counter,
    cache_size: Gauge,
    /// Policies that are enforced.
    pub policies: Gauge,
    /// 1 while policies are loaded and compiled.
    pub ready: Gauge,
    /// Policy files or objects that cannot be used as they are written.
    pub policy_problems: Gauge,
    /// Reloads of the policies.
    pub reloads: Counter,
    /// Policy files or objects that could not be loaded.
    pub reload_errors: Counter,
    /// The expiry of the certificate, in Unix seconds.
    pub certificate_expiry: Gauge<f64, AtomicU64>,
    /// Replacements of the certificate.
    pub certificate_rotations: Counter,
    /// Panics of the handler.
    pub panics: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AdmissionLabels {
    hook: &'static str,
    operation: &'static str,
    resource: &'static str,
    allowed: &'static str,
    dry_run: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HookLabels {
    hook: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ImageLabels {
    verdict: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// The labels of policy-controller's `request_count` that have few values.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    request_operation: &'static str,
    resource_resource: &'static str,
    admission_allowed: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    registry: String,
    call: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResourceLabels {
    resource: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusalLabels {
    resource: &'static str,
    share: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FaultLabels {
    registry: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RegistryLabels {
    registry: String,
}

/// Buckets from half a millisecond to half a minute.
#[derive(Clone)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new([
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            30.0,
        ])
    }
}

/// A review that was answered.
pub struct AnsweredReview<'a> {
    /// The webhook.
    pub hook: Hook,
    /// The object; `None` if the review could not be read.
    pub scope: Option<&'a Scope>,
    /// The decision.
    pub allowed: bool,
    /// True for requests that store nothing: `kubectl apply --dry-run=server`.
    pub dry_run: bool,
    /// The reason, one of a fixed list.
    pub reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that are all zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            admissions: Family::default(),
            seconds: Family::new_with_constructor(Buckets),
            images: Family::default(),
            unauthenticated: Family::default(),
            records: Family::default(),
            validations: Family::default(),
            requests: Family::default(),
            calls: Family::default(),
            faults: Family::default(),
            call_seconds: Family::new_with_constructor(Buckets),
            budget_used: Family::default(),
            budget_limit: Family::default(),
            budget_waiting: Family::default(),
            budget_refusals: Family::default(),
            names: RwLock::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            cache_size: Gauge::default(),
            policies: Gauge::default(),
            ready: Gauge::default(),
            policy_problems: Gauge::default(),
            reloads: Counter::default(),
            reload_errors: Counter::default(),
            certificate_expiry: Gauge::default(),
            certificate_rotations: Counter::default(),
            panics: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("sealgate_admissions", "Reviews answered", self.admissions.clone());
        r.register("sealgate_admission_seconds", "Time to the response", self.seconds.clone());
        r.register("sealgate_images", "Images evaluated, by verdict", self.images.clone());
        r.register("sealgate_unauthenticated_requests", "Requests without a client certificate", {
            self.unauthenticated.clone()
        });
        r.register("sealgate_decision_records", "Decision records, by result", {
            self.records.clone()
        });
        r.register("sealgate_registry_calls", "Requests to registries", self.calls.clone());
        r.register(
            "sealgate_registry_faults",
            "Requests to registries that failed",
            self.faults.clone(),
        );
        r.register(
            "sealgate_registry_call_seconds",
            "Time of a request to a registry",
            self.call_seconds.clone(),
        );
        r.register(
            "sealgate_verdict_cache_hits",
            "Images judged by cached facts",
            self.cache_hits.clone(),
        );
        r.register(
            "sealgate_verdict_cache_misses",
            "Images whose signatures had to be read",
            self.cache_misses.clone(),
        );
        r.register("sealgate_verdict_cache_entries", "Facts in the cache", self.cache_size.clone());
        r.register("sealgate_panics", "Panics of the handler", self.panics.clone());
        self.register_budget();
        self.register_policies();
        self.register_certificate();
        self.register_policy_controller();
    }

    fn register_budget(&mut self) {
        let r = &mut self.registry;
        r.register("sealgate_budget_used", "Use of a resource", self.budget_used.clone());
        r.register("sealgate_budget_limit", "Limit of a resource", self.budget_limit.clone());
        r.register("sealgate_budget_waiting", "Callers that wait for a resource", {
            self.budget_waiting.clone()
        });
        r.register("sealgate_budget_refusals", "Refusals of a resource", {
            self.budget_refusals.clone()
        });
    }

    fn register_policies(&mut self) {
        let r = &mut self.registry;
        r.register("sealgate_policies", "Policies enforced", self.policies.clone());
        r.register("sealgate_ready", "1 when policies are loaded", self.ready.clone());
        r.register("sealgate_policy_problems", "Policies that cannot be used as written", {
            self.policy_problems.clone()
        });
        r.register("sealgate_policy_reloads", "Reloads of the policies", self.reloads.clone());
        r.register("sealgate_policy_reload_errors", "Policies that could not be loaded", {
            self.reload_errors.clone()
        });
    }

    fn register_certificate(&mut self) {
        let r = &mut self.registry;
        r.register("sealgate_certificate_expiry_timestamp_seconds", "Expiry of the certificate", {
            self.certificate_expiry.clone()
        });
        r.register("sealgate_certificate_rotations", "Replacements of the certificate", {
            self.certificate_rotations.clone()
        });
    }

    /// Registers the names that alerts written for policy-controller use.
    fn register_policy_controller(&mut self) {
        let r = &mut self.registry;
        r.register("policy_controller_validations", "Validations by result", {
            self.validations.clone()
        });
        r.register("policy_controller_request_count", "Reviews by object and outcome", {
            self.requests.clone()
        });
        // An alert on a counter that does not exist yet misses the first denial.
        for result in ["allow", "deny"] {
            drop(self.validations.get_or_create(&ResultLabels { result }));
        }
    }

    /// Counts one answered review.
    pub fn review(&self, review: &AnsweredReview<'_>) {
        let operation = review.scope.map_or(UNKNOWN, |scope| operation_label(&scope.operation));
        let resource = review.scope.map_or(UNKNOWN, |scope| resource_label(&scope.resource));
        let (allowed, dry_run) = (truth(review.allowed), truth(review.dry_run));
        let reason = REASONS.into_iter().find(|known| *known == review.reason).unwrap_or(OTHER);
        let hook = review.hook.name();
        let labels = AdmissionLabels { hook, operation, resource, allowed, dry_run, reason };
        self.admissions.get_or_create(&labels).inc();
        // Alerts on denials use these: a denied dry run has kept no object out.
        if review.hook == Hook::Validate && !review.dry_run {
            let result = if review.allowed { "allow" } else { "deny" };
            self.validations.get_or_create(&ResultLabels { result }).inc();
        }
        let labels = RequestLabels {
            request_operation: operation,
            resource_resource: resource,
            admission_allowed: allowed,
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Records the time of a response, from the end of the request's body.
    pub fn answered(&self, hook: Hook, took: Duration) {
        let labels = HookLabels { hook: hook.name() };
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts one request that was refused for want of an accepted client certificate.
    pub(crate) fn unauthenticated(&self, hook: Hook) {
        self.unauthenticated.get_or_create(&HookLabels { hook: hook.name() }).inc();
    }

    /// Sets the counters of the cache, which count since it was made.
    pub fn cache(&self, hits: u64, misses: u64, entries: u64) {
        self.cache_hits.inner().store(hits, Ordering::Relaxed);
        self.cache_misses.inner().store(misses, Ordering::Relaxed);
        self.cache_size.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// Sets the use of the budget, whose refusals count since it was made.
    pub fn budget(&self, pools: &[PoolStats]) {
        let number = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        for PoolStats { resource, used, limit, waiting, refused } in pools {
            let resource = resource.name();
            let labels = ResourceLabels { resource };
            self.budget_used.get_or_create(&labels).set(number(*used));
            self.budget_limit.get_or_create(&labels).set(number(*limit));
            self.budget_waiting.get_or_create(&labels).set(number(*waiting));
            for (share, count) in refused {
                let labels = RefusalLabels { resource, share: share.name() };
                let counter = self.budget_refusals.get_or_create(&labels);
                counter.inner().store(*count, Ordering::Relaxed);
            }
        }
    }

    /// Counts one evaluated image.
    pub fn image(&self, verdict: &'static str) {
        self.images.get_or_create(&ImageLabels { verdict }).inc();
    }

    /// Counts one decision record: `written`, `dropped` or `failed`.
    pub(crate) fn record(&self, result: &'static str) {
        self.records.get_or_create(&ResultLabels { result }).inc();
    }

    /// Counts one request to a registry, and its fault if it had one.
    pub(crate) fn registry_call(
        &self,
        registry: &str,
        call: &'static str,
        took: Duration,
        fault: Option<&'static str>,
    ) {
        let registry = self.registry_label(registry);
        self.call_seconds
            .get_or_create(&RegistryLabels { registry: registry.clone() })
            .observe(took.as_secs_f64());
        self.calls.get_or_create(&CallLabels { registry: registry.clone(), call }).inc();
        if let Some(kind) = fault {
            self.faults.get_or_create(&FaultLabels { registry, kind }).inc();
        }
    }

    /// The metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut page = String::with_capacity(16 << 10);
        // Writing to a String does not fail; a page without its EOF mark is rejected by clients.
        let _ = text::encode(&mut page, &self.registry);
        page
    }

    fn registry_label(&self, name: &str) -> String {
        let known = self.names.read().is_ok_and(|names| names.contains(name));
        if known {
            return name.to_owned();
        }
        match self.names.write() {
            Ok(mut names) if names.len() < REGISTRIES => {
                names.insert(name.to_owned());
                name.to_owned()
            }
            _ => OTHER.to_owned(),
        }
    }
}

fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn operation_label(operation: &str) -> &'static str {
    match operation {
        "CREATE" => "CREATE",
        "UPDATE" => "UPDATE",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        _ => OTHER,
    }
}

fn resource_label(resource: &str) -> &'static str {
    const KNOWN: [&str; 11] = [
        "pods",
        "replicasets",
        "deployments",
        "statefulsets",
        "daemonsets",
        "jobs",
        "cronjobs",
        "replicationcontrollers",
        "clusterimagepolicies",
        "trustroots",
        "podtemplates",
    ];
    KNOWN.into_iter().find(|known| *known == resource).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use sealgate_engine::budget::{Budget, BudgetLimits};

    use super::*;

    const TABLE: &str = include_str!("../../../docs/reference/metrics.md");

    fn everything() -> Metrics {
        let metrics = Metrics::new();
        let scope =
            Scope { resource: "pods".into(), operation: "CREATE".into(), ..Scope::default() };
        for allowed in [true, false] {
            metrics.review(&AnsweredReview {
                hook: Hook::Validate,
                scope: Some(&scope),
                allowed,
                dry_run: false,
                reason: "pass",
            });
        }
        metrics.answered(Hook::Validate, Duration::from_millis(2));
        metrics.image("pass");
        metrics.budget(&Budget::new(&BudgetLimits::default()).stats());
        metrics.record("written");
        metrics.unauthenticated(Hook::Validate);
        metrics.registry_call("ghcr.io", "manifest", Duration::from_millis(3), Some("timeout"));
        metrics
    }

    #[test]
    fn every_name_is_in_the_documented_table_and_the_other_way_round() {
        let page = everything().render();
        let kinds: Vec<(&str, &str)> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split_once(' '))
            .collect();
        let mut names: Vec<String> = kinds
            .iter()
            .map(|(name, kind)| match *kind {
                "counter" => format!("{name}_total"),
                _ => (*name).to_owned(),
            })
            .collect();
        let mut documented: Vec<String> = TABLE
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|line| line.split_once('`'))
            .map(|(name, _)| name.to_owned())
            .collect();
        names.sort();
        documented.sort();
        assert_eq!(names, documented);
    }

    #[test]
    fn every_reason_is_documented_and_the_other_way_round() {
        let section = TABLE.split("## ").find(|section| section.starts_with("Reasons")).unwrap();
        let mut documented: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("- `"))
            .filter_map(|line| line.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        let mut reasons = REASONS.to_vec();
        documented.sort_unstable();
        reasons.sort_unstable();
        assert_eq!(reasons, documented);
    }

    #[test]
    fn no_label_is_empty_and_dry_runs_have_a_label() {
        let metrics = everything();
        let scope = Scope::default();
        for (scope, dry_run, reason) in
            [(None, false, "malformed"), (Some(&scope), true, "fail"), (None, true, "new-word")]
        {
            let (hook, allowed) = (Hook::Validate, false);
            metrics.review(&AnsweredReview { hook, scope, allowed, dry_run, reason });
        }
        let page = metrics.render();
        assert!(!page.contains("=\"\""), "{page}");
        for line in [
            "sealgate_admissions_total{hook=\"validate\",operation=\"unknown\",resource=\"unknown\",allowed=\"false\",dry_run=\"false\",reason=\"malformed\"} 1",
            "sealgate_admissions_total{hook=\"validate\",operation=\"other\",resource=\"other\",allowed=\"false\",dry_run=\"true\",reason=\"fail\"} 1",
            "sealgate_admissions_total{hook=\"validate\",operation=\"unknown\",resource=\"unknown\",allowed=\"false\",dry_run=\"true\",reason=\"other\"} 1",
            "policy_controller_validations_total{result=\"deny\"} 2",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn has_the_counter_of_the_usual_alert_from_the_start() {
        let metrics = Metrics::new();
        assert!(
            metrics.render().contains("policy_controller_validations_total{result=\"deny\"} 0")
        );
        assert!(
            everything()
                .render()
                .contains("policy_controller_validations_total{result=\"deny\"} 1")
        );
    }

    #[test]
    fn a_client_cannot_make_labels_without_bound() {
        let metrics = Metrics::new();
        for number in 0..1000 {
            let name = format!("registry-{number}.example");
            metrics.registry_call(&name, "manifest", Duration::ZERO, None);
        }
        let page = metrics.render();
        let labels =
            page.lines().filter(|l| l.starts_with("sealgate_registry_calls_total")).count();
        assert_eq!(labels, REGISTRIES + 1);
        assert!(
            page.contains(
                "sealgate_registry_calls_total{registry=\"other\",call=\"manifest\"} 936"
            )
        );
        assert_eq!(resource_label("../../x"), OTHER);
    }
}
