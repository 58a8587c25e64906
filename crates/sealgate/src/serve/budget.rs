//! Flags for the budget of all evaluations under way.

use clap::Args;
use sealgate_engine::budget::{BudgetLimits, PoolLimits};

/// Budget.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Budget for all evaluations in progress")]
pub(crate) struct BudgetFlags {
    /// Maximum number of evaluations that need a registry, in total; a namespace gets at most half
    /// of them, or fewer while others wait
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(2..))]
    max_evaluations: u32,

    /// Maximum number of requests to registries, in total; a namespace and a registry get at most
    /// half of them
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(2..))]
    max_registry_requests: u32,

    /// Memory for responses of registries and the evidence in them, in MiB, in total; a namespace
    /// gets at most two thirds of it
    #[arg(long, value_name = "MIB", default_value = "24", value_parser = clap::value_parser!(u32).range(24..))]
    evidence_memory: u32,
}

impl BudgetFlags {
    /// The limits.
    pub(crate) fn limits(&self) -> BudgetLimits {
        let half = |total: u64| PoolLimits { total, namespace: total / 2, host: u64::MAX };
        let requests = half(self.max_registry_requests.into());
        let bytes = u64::from(self.evidence_memory) << 20;
        BudgetLimits {
            evaluations: half(self.max_evaluations.into()),
            requests: PoolLimits { host: requests.namespace, ..requests },
            bytes: PoolLimits { total: bytes, namespace: bytes / 3 * 2, host: u64::MAX },
            ..BudgetLimits::default()
        }
    }
}
