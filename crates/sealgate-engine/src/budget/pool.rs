//! Fair pool of one resource. Amounts are acquired and given back; limits apply in total, per
//! namespace and per registry host.
//!
//! The state has counters and queues; no lock is held across an await.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

/// Limits of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// The amount in total.
    pub total: u64,
    /// The amount of one namespace.
    pub namespace: u64,
    /// The amount for one registry host.
    pub host: u64,
}

/// A resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Evaluations that need more than memory.
    Evaluations,
    /// Requests to registries.
    Requests,
    /// Bytes from outsiders.
    Bytes,
    /// Verifications of evidence.
    Verifications,
}

/// A share that was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// The amount in total.
    Total,
    /// The share of a namespace.
    Namespace,
    /// The share of a registry host.
    Host,
    /// The lease was revoked in favor of a namespace with a smaller share.
    Revoked,
}

/// The use of one resource.
#[derive(Clone, Debug)]
pub struct PoolStats {
    /// The resource.
    pub resource: Resource,
    /// The amount that is in use.
    pub used: u64,
    /// The amount in total.
    pub limit: u64,
    /// The callers that wait.
    pub waiting: u64,
    /// The refusals so far, by the share that was used up.
    pub refused: [(Share, u64); 4],
}

/// The reason why an evaluation ends without its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Busy {
    resource: Resource,
    share: Share,
    limit: u64,
    /// The namespace, or the host whose share is used up.
    of: Arc<str>,
}

/// A lease as the pools see it: the namespace that pays, and whether it was revoked.
pub(super) struct LeaseState {
    pub(super) namespace: Arc<str>,
    revoked: watch::Sender<Option<Busy>>,
}

/// A request for an amount.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) lease: &'a Arc<LeaseState>,
    pub(super) host: Option<&'a str>,
    pub(super) amount: u64,
}

/// A fair pool.
pub(super) struct Pool {
    resource: Resource,
    limits: PoolLimits,
    /// The most callers that wait, in total and per namespace.
    waiting: (usize, usize),
    state: Mutex<State>,
    refused: [AtomicU64; 4],
}

/// An amount that is held; given back when this is dropped.
pub(super) struct Permit {
    pool: Arc<Pool>,
    number: u64,
}

/// A place in the queue, which is left when this is dropped.
struct Place<'a> {
    pool: &'a Arc<Pool>,
    namespace: Arc<str>,
    number: u64,
}

#[derive(Default)]
struct State {
    used: u64,
    /// The part of `used` whose leases were revoked and that is not given back yet.
    returning: u64,
    waiting: usize,
    /// The number of the last holding or waiter.
    last_number: u64,
    /// By number, so that the oldest is first.
    holdings: BTreeMap<u64, Holding>,
    namespaces: HashMap<Arc<str>, Namespace>,
    hosts: HashMap<Arc<str>, u64>,
    revoked_at: Option<Instant>,
}

struct Holding {
    lease: Arc<LeaseState>,
    host: Option<Arc<str>>,
    amount: u64,
    since: Instant,
    returning: bool,
}

struct Namespace {
    used: u64,
    served: Served,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    number: u64,
    lease: Arc<LeaseState>,
    host: Option<Arc<str>>,
    amount: u64,
    grant: oneshot::Sender<Permit>,
}

/// The first waiter of a namespace that may be served.
struct Turn {
    used: u64,
    served: f64,
    namespace: Arc<str>,
    /// Its place among the waiters of the namespace.
    place: usize,
}

/// The service that a namespace got lately: amount times seconds, halved every [`HALF_LIFE`].
#[derive(Clone, Copy)]
struct Served {
    amount: f64,
    at: Instant,
}

const HALF_LIFE: Duration = Duration::from_secs(10);
/// The time that a lease holds an amount before it can be revoked for a namespace with a smaller
/// share.
const SHORTEST_TENURE: Duration = Duration::from_millis(100);
/// The same where the other one uses more, but not more than the waiting one would.
const SIMILAR_TENURE: Duration = Duration::from_secs(2);
/// The time between two looks for a lease to revoke.
const LOOK: Duration = Duration::from_millis(20);
/// The waiters of which each looks that often.
const LOOKERS: u32 = 8;
/// The most namespaces without use whose recent service is remembered.
const REMEMBERED: usize = 4096;

impl Resource {
    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Evaluations => "evaluations",
            Self::Requests => "requests",
            Self::Bytes => "bytes",
            Self::Verifications => "verifications",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Evaluations => "concurrent evaluations",
            Self::Requests => "concurrent registry requests",
            Self::Bytes => "bytes of memory for evidence",
            Self::Verifications => "concurrent verifications",
        }
    }
}

impl Share {
    const ALL: [Self; 4] = [Self::Total, Self::Namespace, Self::Host, Self::Revoked];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Namespace => "namespace",
            Self::Host => "host",
            Self::Revoked => "revoked",
        }
    }
}

impl From<Busy> for Fault {
    fn from(busy: Busy) -> Self {
        let Busy { resource, share, limit, of } = busy;
        let noun = resource.noun();
        let detail = match share {
            Share::Total => format!("all {limit} {noun} are in use"),
            Share::Namespace => format!("namespace {of} uses its share of {limit} {noun}"),
            Share::Host => format!("registry {of} takes its share of {limit} {noun}"),
            Share::Revoked => format!("ended early, because other namespaces wait for {noun}"),
        };
        Fault::new(FaultKind::Busy, "the gate is busy", detail)
    }
}

impl LeaseState {
    pub(super) fn new(namespace: &str) -> Arc<Self> {
        Arc::new(Self { namespace: namespace.into(), revoked: watch::Sender::new(None) })
    }

    /// Waits until the lease is revoked.
    pub(super) async fn revoked(&self) -> Busy {
        let mut revoked = self.revoked.subscribe();
        match revoked.wait_for(Option::is_some).await.map(|busy| busy.clone()) {
            Ok(Some(busy)) => busy,
            // The sender lives as long as `self`.
            _ => std::future::pending().await,
        }
    }
}

impl Pool {
    /// A pool of which nothing is used, with the most callers that wait.
    pub(super) fn new(
        resource: Resource,
        limits: PoolLimits,
        waiting: (usize, usize),
    ) -> Arc<Self> {
        Arc::new(Self {
            resource,
            limits,
            waiting,
            state: Mutex::default(),
            refused: Default::default(),
        })
    }

    /// Acquires an amount when its turn comes.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        ask: Ask<'_>,
        deadline: Instant,
    ) -> Result<Permit, Busy> {
        let (mut granted, place) = match self.enter(ask) {
            Ok(Entered::Granted(permit)) => return Ok(permit),
            Ok(Entered::Waiting(granted, place)) => (granted, place),
            Err(share) => return Err(self.refuse(ask, share)),
        };
        let mut revoked = std::pin::pin!(ask.lease.revoked());
        loop {
            self.revoke_for_waiters(Instant::now());
            tokio::select! {
                biased;
                granted = &mut granted => return granted.map_err(|_| self.refuse(ask, Share::Total)),
                busy = &mut revoked => return Err(busy),
                () = sleep_until(deadline.min(Instant::now() + self.pause())) => {}
            }
            if Instant::now() >= deadline {
                // A grant that came at this moment is given back with the receiver.
                let share = self.state().used_up(&self.limits, ask).unwrap_or(Share::Total);
                drop(place);
                return Err(self.refuse(ask, share));
            }
        }
    }

    fn enter<'p>(self: &'p Arc<Self>, ask: Ask<'_>) -> Result<Entered<'p>, Share> {
        let now = Instant::now();
        let mut state = self.state();
        if ask.amount > self.limits.namespace.min(self.limits.host).min(self.limits.total) {
            return Err(Share::Namespace);
        }
        // A waiter that only the total keeps from its turn goes first: a large amount must not wait
        // for ever behind smaller ones.
        let first = state.waiting == 0 || state.next(&self.limits, now).is_none();
        if first && state.used_up(&self.limits, ask).is_none() {
            let number = state.hold(ask.lease, ask.host.map(Arc::from), ask.amount, now);
            return Ok(Entered::Granted(Permit { pool: Arc::clone(self), number }));
        }
        let own = state.namespaces.get(&ask.lease.namespace).map_or(0, |it| it.waiters.len());
        if own >= self.waiting.1 {
            return Err(Share::Namespace);
        }
        if state.waiting >= self.waiting.0 && !state.drop_waiter(own) {
            return Err(Share::Total);
        }
        let (grant, granted) = oneshot::channel();
        let number = state.wait(ask, grant, now);
        let namespace = Arc::clone(&ask.lease.namespace);
        Ok(Entered::Waiting(granted, Place { pool: self, namespace, number }))
    }

    /// The time until a waiter looks for a lease to revoke: the more wait, the rarer each looks.
    fn pause(&self) -> Duration {
        let waiting = u32::try_from(self.state().waiting).unwrap_or(u32::MAX);
        LOOK * (waiting / LOOKERS).clamp(1, 50)
    }

    /// Revokes leases for waiters with a smaller share.
    fn revoke_for_waiters(&self, now: Instant) {
        if self.resource == Resource::Verifications {
            // A verification does not wait: it cannot be interrupted, and ends soon.
            return;
        }
        let mut state = self.state();
        if state.revoked_at.is_some_and(|at| now < at + LOOK) {
            return;
        }
        state.revoked_at = Some(now);
        let victims = state.victims(&self.limits, now);
        drop(state);
        for lease in victims {
            let busy = self.busy(&lease.namespace, Share::Revoked);
            let first = lease.revoked.send_if_modified(|revoked| {
                let first = revoked.is_none();
                revoked.get_or_insert(busy);
                first
            });
            // Another pool may have revoked it.
            if first {
                self.count(Share::Revoked);
            }
        }
    }

    fn give_back(self: &Arc<Self>, number: u64) {
        self.change(|state, now| state.release(number, now));
    }

    /// Changes the state, and grants what is free then.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State, Instant)) {
        let now = Instant::now();
        let mut state = self.state();
        change(&mut state, now);
        let grants = state.grants(&self.limits, now);
        drop(state);
        for (grant, number) in grants {
            // Dropped if the waiter has gone: given back.
            let _ = grant.send(Permit { pool: Arc::clone(self), number });
        }
    }

    fn refuse(&self, ask: Ask<'_>, share: Share) -> Busy {
        self.count(share);
        match (share, ask.host) {
            (Share::Host, Some(host)) => self.busy(&host.into(), share),
            _ => self.busy(&ask.lease.namespace, share),
        }
    }

    fn busy(&self, of: &Arc<str>, share: Share) -> Busy {
        let limit = match share {
            Share::Total | Share::Revoked => self.limits.total,
            Share::Namespace => self.limits.namespace,
            Share::Host => self.limits.host,
        };
        Busy { resource: self.resource, share, limit, of: Arc::clone(of) }
    }

    fn count(&self, share: Share) {
        for (known, count) in Share::ALL.iter().zip(&self.refused) {
            if *known == share {
                count.fetch_add(1, Relaxed);
            }
        }
    }

    /// The use of the pool.
    pub(super) fn stats(&self) -> PoolStats {
        let state = self.state();
        let (used, waiting) = (state.used, state.waiting as u64);
        drop(state);
        let refused =
            std::array::from_fn(|place| (Share::ALL[place], self.refused[place].load(Relaxed)));
        PoolStats { resource: self.resource, used, limit: self.limits.total, waiting, refused }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entered<'p> {
    Granted(Permit),
    Waiting(oneshot::Receiver<Permit>, Place<'p>),
}

impl State {
    /// The share that keeps an amount from being granted now.
    fn used_up(&self, limits: &PoolLimits, ask: Ask<'_>) -> Option<Share> {
        let namespace = self.namespaces.get(&ask.lease.namespace).map_or(0, |it| it.used);
        let host = ask.host.and_then(|host| self.hosts.get(host)).copied().unwrap_or(0);
        self.own_share_used_up(limits, namespace, host, ask.amount)
            .or((self.used + ask.amount > limits.total).then_some(Share::Total))
    }

    fn own_share_used_up(
        &self,
        limits: &PoolLimits,
        namespace: u64,
        host: u64,
        amount: u64,
    ) -> Option<Share> {
        if namespace + amount > limits.namespace {
            return Some(Share::Namespace);
        }
        (host + amount > limits.host).then_some(Share::Host)
    }

    /// The next waiter of each namespace: the first whose own shares allow its amount. The namespace
    /// that uses least is first, then the one that was served least.
    fn turns(&self, limits: &PoolLimits, now: Instant) -> Vec<(Arc<str>, usize)> {
        let mut turns: Vec<_> = self.first_waiters(limits, now).collect();
        turns.sort_by(Turn::order);
        turns.into_iter().map(|turn| (turn.namespace, turn.place)).collect()
    }

    /// The waiter whose turn is next.
    fn next(&self, limits: &PoolLimits, now: Instant) -> Option<(Arc<str>, usize)> {
        let next = self.first_waiters(limits, now).min_by(Turn::order)?;
        Some((next.namespace, next.place))
    }

    fn first_waiters(&self, limits: &PoolLimits, now: Instant) -> impl Iterator<Item = Turn> {
        let waiting = self.namespaces.iter().filter(|(_, it)| !it.waiters.is_empty());
        waiting.filter_map(move |(name, namespace)| {
            let place = namespace.waiters.iter().position(|waiter| {
                let host = waiter.host.as_ref().and_then(|host| self.hosts.get(host));
                let host = host.copied().unwrap_or(0);
                self.own_share_used_up(limits, namespace.used, host, waiter.amount).is_none()
            })?;
            let (used, served) = (namespace.used, namespace.served.now(now));
            Some(Turn { used, served, namespace: Arc::clone(name), place })
        })
    }

    fn hold(
        &mut self,
        lease: &Arc<LeaseState>,
        host: Option<Arc<str>>,
        amount: u64,
        now: Instant,
    ) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        self.used += amount;
        self.namespace(&lease.namespace, now).used += amount;
        if let Some(host) = &host {
            *self.hosts.entry(Arc::clone(host)).or_default() += amount;
        }
        let lease = Arc::clone(lease);
        let holding = Holding { lease, host, amount, since: now, returning: false };
        self.holdings.insert(number, holding);
        number
    }

    fn release(&mut self, number: u64, now: Instant) {
        let Some(holding) = self.holdings.remove(&number) else { return };
        let Holding { lease, host, amount, since, returning } = holding;
        self.used -= amount;
        if returning {
            self.returning -= amount;
        }
        if let Some(host) = host
            && let Some(used) = self.hosts.get_mut(&host)
        {
            *used -= amount;
            if *used == 0 {
                self.hosts.remove(&host);
            }
        }
        let namespace = self.namespace(&lease.namespace, now);
        namespace.used -= amount;
        namespace.served.add(amount as f64 * now.duration_since(since).as_secs_f64(), now);
    }

    fn wait(&mut self, ask: Ask<'_>, grant: oneshot::Sender<Permit>, now: Instant) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        self.waiting += 1;
        let (lease, host) = (Arc::clone(ask.lease), ask.host.map(Arc::from));
        let waiter = Waiter { number, lease, host, amount: ask.amount, grant };
        self.namespace(&ask.lease.namespace, now).waiters.push_back(waiter);
        number
    }

    fn leave(&mut self, namespace: &str, number: u64) {
        let Some(namespace) = self.namespaces.get_mut(namespace) else { return };
        let before = namespace.waiters.len();
        namespace.waiters.retain(|waiter| waiter.number != number);
        self.waiting -= before - namespace.waiters.len();
    }

    /// Ends the wait of the oldest waiter of the namespace that has most of them, if that is more
    /// than `own`.
    fn drop_waiter(&mut self, own: usize) -> bool {
        let most = self.namespaces.values_mut().max_by_key(|namespace| namespace.waiters.len());
        match most.filter(|namespace| namespace.waiters.len() > own) {
            Some(namespace) => {
                self.waiting -= usize::from(namespace.waiters.pop_front().is_some());
                true
            }
            None => false,
        }
    }

    /// Grants what is free to the waiters whose turn it is.
    fn grants(&mut self, limits: &PoolLimits, now: Instant) -> Vec<(oneshot::Sender<Permit>, u64)> {
        let mut grants = Vec::new();
        while self.waiting > 0
            && let Some((name, place)) = self.next(limits, now)
        {
            let namespace = self.namespace(&name, now);
            let Some(amount) = namespace.waiters.get(place).map(|waiter| waiter.amount) else {
                break;
            };
            if self.used + amount > limits.total {
                break;
            }
            let Some(waiter) = self.namespace(&name, now).waiters.remove(place) else { break };
            self.waiting -= 1;
            let number = self.hold(&waiter.lease, waiter.host, amount, now);
            grants.push((waiter.grant, number));
        }
        grants
    }

    /// The leases to revoke: for the next waiter of each namespace, as long as the total keeps it
    /// waiting, and one for each host whose share keeps a waiter waiting.
    fn victims(&mut self, limits: &PoolLimits, now: Instant) -> Vec<Arc<LeaseState>> {
        let mut victims = Vec::new();
        let mut needed = 0;
        for (name, place) in self.turns(limits, now) {
            let Some(amount) = self.amount(&name, place) else { continue };
            needed += amount;
            while self.used - self.returning + needed > limits.total {
                match self.victim(&name, None, amount, now) {
                    Some(victim) => victims.push(victim),
                    None => break,
                }
            }
        }
        for (name, host) in self.waiting_for_hosts(limits) {
            victims.extend(self.victim(&name, Some(&host), 1, now));
        }
        victims
    }

    fn amount(&self, name: &Arc<str>, place: usize) -> Option<u64> {
        Some(self.namespaces.get(name)?.waiters.get(place)?.amount)
    }

    /// For each host whose share is used up, the namespace that waits for it and uses least of it.
    fn waiting_for_hosts(&self, limits: &PoolLimits) -> Vec<(Arc<str>, Arc<str>)> {
        let full =
            |host: &&Arc<str>| self.hosts.get(*host).is_some_and(|used| *used >= limits.host);
        let mut least: HashMap<&Arc<str>, (u64, &Arc<str>)> = HashMap::new();
        for (name, namespace) in &self.namespaces {
            for host in namespace.waiters.iter().filter_map(|waiter| waiter.host.as_ref()) {
                if !full(&host) {
                    continue;
                }
                let used = self.use_of(name, Some(host));
                let entry = least.entry(host).or_insert((used, name));
                *entry = (*entry).min((used, name));
            }
        }
        least.into_iter().map(|(host, (_, name))| (Arc::clone(name), Arc::clone(host))).collect()
    }

    /// The use of a namespace, of everything or for one host; without what is returning.
    fn use_of(&self, name: &str, host: Option<&Arc<str>>) -> u64 {
        let counted = self.holdings.values().filter(|it| {
            !it.returning
                && *it.lease.namespace == *name
                && (host.is_none() || it.host.as_ref() == host)
        });
        counted.map(|it| it.amount).sum()
    }

    /// The longest-running lease of the namespace that uses most (for `host`), if that is more than
    /// `waiting` would use with `amount`.
    fn victim(
        &mut self,
        waiting: &Arc<str>,
        host: Option<&Arc<str>>,
        amount: u64,
        now: Instant,
    ) -> Option<Arc<LeaseState>> {
        let mut use_of: HashMap<&Arc<str>, u64> = HashMap::new();
        for it in self.holdings.values() {
            if host.is_some() && it.host.as_ref() == host && it.returning {
                // What one waiter needs is on its way back.
                return None;
            }
            if !it.returning && (host.is_none() || it.host.as_ref() == host) {
                *use_of.entry(&it.lease.namespace).or_default() += it.amount;
            }
        }
        let own = use_of.get(waiting).copied().unwrap_or(0);
        let most = use_of.values().copied().max()?;
        let tenure = match () {
            () if most > own.saturating_add(amount) => SHORTEST_TENURE,
            () if most > own => SIMILAR_TENURE,
            () => return None,
        };
        let oldest = self.holdings.values().find(|it| {
            !it.returning
                && (host.is_none() || it.host.as_ref() == host)
                && use_of.get(&it.lease.namespace) == Some(&most)
        })?;
        if now < oldest.since + tenure {
            return None;
        }
        let lease = Arc::clone(&oldest.lease);
        for holding in self.holdings.values_mut() {
            if Arc::ptr_eq(&holding.lease, &lease) && !holding.returning {
                holding.returning = true;
                self.returning += holding.amount;
            }
        }
        Some(lease)
    }

    fn namespace(&mut self, name: &Arc<str>, now: Instant) -> &mut Namespace {
        if !self.namespaces.contains_key(name) && self.namespaces.len() >= REMEMBERED {
            self.namespaces.retain(|_, it| it.used > 0 || !it.waiters.is_empty());
        }
        self.namespaces.entry(Arc::clone(name)).or_insert_with(|| Namespace {
            used: 0,
            served: Served { amount: 0.0, at: now },
            waiters: VecDeque::new(),
        })
    }
}

impl Turn {
    fn order(&self, other: &Self) -> Ordering {
        self.used.cmp(&other.used).then(self.served.total_cmp(&other.served))
    }
}

impl Served {
    fn now(&self, now: Instant) -> f64 {
        let halves = now.duration_since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.amount * (-halves).exp2()
    }

    fn add(&mut self, amount: f64, now: Instant) {
        *self = Self { amount: self.now(now) + amount, at: now };
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.give_back(self.number);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool.change(|state, _| state.leave(&self.namespace, self.number));
    }
}
