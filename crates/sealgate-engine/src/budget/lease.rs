//! Lease of one evaluation: what it draws from the budget, until its last reference is dropped.

use std::sync::Arc;

use sealgate_core::fault::{Fault, FaultKind};
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio::time::Instant;

use super::BudgetLimits;
use super::pool::{Ask, LeaseState, Permit, Pool, PoolLimits, Resource};

/// The most requests of one evaluation at a time.
const REQUESTS: usize = 16;
/// The most evaluations that wait, in total and per namespace.
const WAITING_EVALUATIONS: (usize, usize) = (1024, 256);
/// The most callers that wait for bytes: evaluations that begin, and requests of leases.
const WAITING_FOR_BYTES: (usize, usize) = (4096, 1024);
/// No limit: the callers are the requests of leases, whose number is bounded.
const ANY: (usize, usize) = (usize::MAX, usize::MAX);
/// Documents of more bytes can take long.
const SMALL: usize = 16 << 10;

/// The pools of all resources.
pub(super) struct Pools {
    evaluations: Arc<Pool>,
    requests: Arc<Pool>,
    bytes: Arc<Pool>,
    verifications: Arc<Pool>,
}

/// The lease of one evaluation. Clones share it.
#[derive(Clone)]
pub struct Lease(Arc<Shared>);

struct Shared {
    pools: Arc<Pools>,
    state: Arc<LeaseState>,
    deadline: Option<Instant>,
    requests: Semaphore,
    _permits: Vec<Permit>,
}

/// The permit for one request to a registry.
pub struct RequestPermit<'a> {
    _own: tokio::sync::SemaphorePermit<'a>,
    _permit: Permit,
}

/// Bytes that are held.
#[derive(Default)]
pub struct ByteShare(Vec<Permit>);

impl Pools {
    pub(super) fn new(limits: &BudgetLimits) -> Self {
        let BudgetLimits { evaluations, requests, bytes, verifications } = *limits;
        Self {
            evaluations: Pool::new(Resource::Evaluations, evaluations, WAITING_EVALUATIONS),
            requests: Pool::new(Resource::Requests, requests, ANY),
            bytes: Pool::new(Resource::Bytes, bytes, WAITING_FOR_BYTES),
            verifications: Pool::new(Resource::Verifications, verifications, ANY),
        }
    }

    pub(super) fn each(&self) -> [&Pool; 4] {
        [&self.evaluations, &self.requests, &self.bytes, &self.verifications]
    }
}

impl Lease {
    /// A lease for a process that serves one user: only bytes are limited.
    pub fn standalone(bytes: u64) -> Self {
        let any = PoolLimits { total: u64::MAX, namespace: u64::MAX, host: u64::MAX };
        let bytes = PoolLimits { total: bytes, namespace: bytes, host: bytes };
        let limits = BudgetLimits { evaluations: any, requests: any, bytes, verifications: any };
        Self::of(Arc::new(Pools::new(&limits)), LeaseState::new(""), None, Vec::new())
    }

    pub(super) async fn begin(
        pools: &Arc<Pools>,
        namespace: &str,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Self, Fault> {
        let state = LeaseState::new(namespace);
        let ask = |amount| Ask { lease: &state, host: None, amount };
        let bytes = pools.bytes.acquire(ask(bytes as u64), deadline).await?;
        let evaluation = pools.evaluations.acquire(ask(1), deadline).await?;
        let (pools, permits) = (Arc::clone(pools), vec![bytes, evaluation]);
        Ok(Self::of(pools, Arc::clone(&state), Some(deadline), permits))
    }

    fn of(
        pools: Arc<Pools>,
        state: Arc<LeaseState>,
        deadline: Option<Instant>,
        permits: Vec<Permit>,
    ) -> Self {
        let requests = Semaphore::new(REQUESTS);
        Self(Arc::new(Shared { pools, state, deadline, requests, _permits: permits }))
    }

    /// Waits for the permit for a request to `host`.
    ///
    /// # Errors
    /// `Busy`.
    pub async fn request(&self, host: &str) -> Result<RequestPermit<'_>, Fault> {
        let Shared { pools, requests, .. } = &*self.0;
        // Never closed.
        let own = requests.acquire().await.map_err(|_| self.closed())?;
        let permit = pools.requests.acquire(self.ask(Some(host), 1), self.deadline()).await?;
        Ok(RequestPermit { _own: own, _permit: permit })
    }

    /// Waits for `amount` more bytes of a response of `registry` in `share`.
    ///
    /// # Errors
    /// `Busy`. A standalone lease does not wait: `TooMany`.
    pub async fn grow(
        &self,
        share: &mut ByteShare,
        amount: usize,
        registry: &str,
    ) -> Result<(), Fault> {
        let ask = self.ask(None, amount as u64);
        let more = self.0.pools.bytes.acquire(ask, self.deadline()).await;
        share.0.push(more.map_err(|busy| match self.0.deadline {
            Some(_) => busy.into(),
            None => {
                let detail = "memory limit for buffered responses reached; try again later";
                Fault::new(FaultKind::TooMany, registry, detail)
            }
        })?);
        Ok(())
    }

    /// Waits for the turn to verify evidence of `size` bytes, and does.
    ///
    /// # Errors
    /// `Busy`.
    pub async fn verify<T: Send + 'static>(
        &self,
        size: usize,
        verify: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let ask = self.ask(None, 1);
        let turn = self.0.pools.verifications.acquire(ask, self.deadline()).await?;
        if size <= SMALL {
            return Ok(verify());
        }
        // Large evidence can take long: this thread serves other admissions meanwhile. The turn
        // lasts as long as the work, even if nobody waits for it any more.
        let work = tokio::task::spawn_blocking(move || (verify(), turn));
        match work.await.map_err(JoinError::try_into_panic) {
            Ok((verified, _turn)) => Ok(verified),
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => Err(self.closed()),
        }
    }

    /// Parses a document of `size` bytes: a large one waits for its turn, as a verification does.
    ///
    /// # Errors
    /// `Busy`.
    pub async fn parse<T: Send + 'static>(
        &self,
        size: usize,
        parse: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        match size > SMALL {
            true => self.verify(size, parse).await,
            false => Ok(parse()),
        }
    }

    /// Waits until the lease is revoked; the fault says in whose favor.
    pub async fn revoked(&self) -> Fault {
        self.0.state.revoked().await.into()
    }

    fn ask<'a>(&'a self, host: Option<&'a str>, amount: u64) -> Ask<'a> {
        Ask { lease: &self.0.state, host, amount }
    }

    fn deadline(&self) -> Instant {
        // A standalone lease does not wait: only its bytes are limited.
        self.0.deadline.unwrap_or_else(Instant::now)
    }

    fn closed(&self) -> Fault {
        Fault::new(FaultKind::Cancelled, "the gate", "the lease has ended")
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lease(…)")
    }
}
