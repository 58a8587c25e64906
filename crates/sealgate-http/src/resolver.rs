//! Resolver of names for processes that contact hosts which others choose.
//!
//! The resolver of the operating system blocks a thread for each name, for as long as the name
//! servers are silent: names that do not resolve would delay all others. This one is asynchronous,
//! gives each look-up one short time limit, and bounds the look-ups in flight. It follows
//! `/etc/resolv.conf`, which it reads again when the file changes, and `/etc/hosts`, but not
//! `/etc/nsswitch.conf`. Names in `/etc/hosts` and addresses in memory do not wait for others, and
//! names that resolved before do not wait for names that never did.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::Semaphore;

use crate::limits::is_own_limit;

/// Time limit of one look-up, all name servers, search domains and attempts included.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// Longest wait for one response of a name server.
const RESPONSE_LIMIT: Duration = Duration::from_millis(1400);
/// Maximum number of attempts at one name.
const MAX_ATTEMPTS: usize = 2;
/// Maximum number of look-ups in flight, of names that resolved before and of others each.
const MAX_IN_FLIGHT: usize = 64;
/// Maximum number of remembered names.
const MAX_NAMES: u64 = 1024;
/// Maximum number of addresses of one name.
const MAX_ADDRESSES: usize = 16;
/// Longest time for which addresses are remembered.
const LONGEST: Duration = Duration::from_secs(60);
/// Time for which it is remembered that a name has no addresses.
const ABSENT: Duration = Duration::from_secs(5);
/// Time for which it is remembered that a name resolved.
const RESOLVED: Duration = Duration::from_secs(3600);
/// Time between two looks at the time stamps of the system's files.
const FILE_CHECK: Duration = Duration::from_secs(5);

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// Asynchronous resolver of host names.
pub struct Resolver {
    source: Source,
    current: Mutex<Option<Loaded>>,
    names: moka::future::Cache<String, LookedUp>,
    /// Names that resolved before.
    resolved: moka::future::Cache<String, ()>,
    in_flight: Semaphore,
    in_flight_again: Semaphore,
}

/// Source of the configuration.
enum Source {
    /// The files of the system.
    System,
    /// Fixed name servers, and no search domains.
    #[cfg(test)]
    Fixed(Vec<std::net::SocketAddr>, &'static str),
}

/// Configuration in use.
#[derive(Clone)]
struct Loaded {
    dns: TokioResolver,
    hosts: Arc<Hosts>,
    /// Modification times of the files.
    stamps: [Option<SystemTime>; 2],
    checked: Instant,
}

/// Result of a look-up, and the time for which it is remembered.
#[derive(Clone)]
struct LookedUp {
    addresses: Result<Arc<[IpAddr]>, LookupError>,
    keep: Duration,
}

/// Failed look-up of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupError {
    name: String,
    pub(crate) cause: LookupCause,
}

/// Cause of a failed look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LookupCause {
    /// The text is not a host name.
    Invalid,
    /// The name does not exist, or has no address.
    Absent,
    /// No answer within the time limit.
    TimedOut,
    /// A limit of this process, such as the number of file descriptors.
    OwnLimit,
    /// Any other failure.
    Failed(String),
}

/// Lifetime of remembered names.
struct Lifetime;

impl moka::Expiry<String, LookedUp> for Lifetime {
    fn expire_after_create(&self, _: &String, found: &LookedUp, _: Instant) -> Option<Duration> {
        Some(found.keep)
    }
}

impl Resolver {
    /// Resolver that follows the files of the system. They are read when the first name is looked
    /// up.
    pub fn from_system() -> Self {
        Self::new(Source::System)
    }

    fn new(source: Source) -> Self {
        let names =
            moka::future::Cache::builder().max_capacity(MAX_NAMES).expire_after(Lifetime).build();
        let resolved =
            moka::future::Cache::builder().max_capacity(MAX_NAMES).time_to_live(RESOLVED).build();
        Self {
            source,
            current: Mutex::new(None),
            names,
            resolved,
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            in_flight_again: Semaphore::new(MAX_IN_FLIGHT),
        }
    }

    /// Addresses of a host name, never empty. The same name is looked up once at a time.
    ///
    /// # Errors
    /// [`LookupError`] when there are none, or they could not be found in time. The wait for other
    /// look-ups has no limit of its own.
    pub async fn addresses(&self, name: &str) -> Result<Arc<[IpAddr]>, LookupError> {
        let name = name.to_ascii_lowercase();
        let parsed = Name::from_ascii(&name)
            .map_err(|_| LookupError { name: name.clone(), cause: LookupCause::Invalid })?;
        let loaded = self.loaded().map_err(|error| LookupError {
            name: name.clone(),
            cause: LookupCause::Failed(error.to_string()),
        })?;
        if let Some(listed) = in_hosts(&loaded.hosts, &parsed) {
            return Ok(listed);
        }
        let look_up = self.look_up(&loaded.dns, &name, parsed);
        self.names.get_with(name.clone(), look_up).await.addresses
    }

    async fn look_up(&self, dns: &TokioResolver, text: &str, name: Name) -> LookedUp {
        let share = match self.resolved.get(text).await.is_some() {
            true => &self.in_flight_again,
            false => &self.in_flight,
        };
        // A semaphore is never closed.
        let _permit = share.acquire().await;
        let result = tokio::time::timeout(TIME_LIMIT, dns.lookup_ip(name)).await;
        let cause = match result {
            Ok(Ok(found)) => match LookedUp::of(&found) {
                Some(found) => {
                    self.resolved.insert(text.to_owned(), ()).await;
                    return found;
                }
                None => LookupCause::Absent,
            },
            Ok(Err(error)) => LookupCause::of(&error),
            Err(_) => LookupCause::TimedOut,
        };
        let keep = if cause == LookupCause::Absent { ABSENT } else { Duration::ZERO };
        LookedUp { addresses: Err(LookupError { name: text.to_owned(), cause }), keep }
    }

    /// The configuration, read again if a file has changed.
    fn loaded(&self) -> Result<Loaded, NetError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &mut *current {
            if loaded.checked.elapsed() < FILE_CHECK {
                return Ok(loaded.clone());
            }
            loaded.checked = Instant::now();
            if loaded.stamps == self.source.stamps() {
                return Ok(loaded.clone());
            }
        }
        Ok(current.insert(self.source.load()?).clone())
    }
}

impl Source {
    fn stamps(&self) -> [Option<SystemTime>; 2] {
        let stamp = |path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        match self {
            Self::System => [stamp(RESOLV_CONF), stamp(HOSTS)],
            #[cfg(test)]
            Self::Fixed(..) => [None, None],
        }
    }

    fn load(&self) -> Result<Loaded, NetError> {
        // Before reading: a file that changes meanwhile is read again.
        let stamps = self.stamps();
        let (config, options, hosts) = match self {
            Self::System => system(),
            #[cfg(test)]
            Self::Fixed(servers, hosts) => {
                let server = |at: &std::net::SocketAddr| {
                    let mut server = NameServerConfig::udp(at.ip());
                    server.connections.iter_mut().for_each(|one| one.port = at.port());
                    server
                };
                let servers = servers.iter().map(server).collect();
                let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                (config, ResolverOpts::default(), read_hosts(hosts.as_bytes()))
            }
        };
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let dns = builder.with_options(bounded(options)).build()?;
        Ok(Loaded { dns, hosts: Arc::new(hosts), stamps, checked: Instant::now() })
    }
}

/// Configuration in the files of the system. As for the C library, a missing file means a name
/// server on this machine.
fn system() -> (ResolverConfig, ResolverOpts, Hosts) {
    let local = || {
        let servers = vec![NameServerConfig::udp_and_tcp([127, 0, 0, 1].into())];
        (ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default())
    };
    let read = |path: &str| std::fs::read(Path::new(path)).unwrap_or_default();
    let (config, options) = parse_resolv_conf(read(RESOLV_CONF)).unwrap_or_else(|_| local());
    // `domain` is the domain of this machine even where `search` replaces it.
    let (_, search, servers) = config.into_parts();
    (ResolverConfig::from_parts(None, search, servers), options, read_hosts(&read(HOSTS)))
}

fn read_hosts(text: &[u8]) -> Hosts {
    let mut hosts = Hosts::default();
    if let Err(error) = hosts.read_hosts_conf(text) {
        tracing::warn!(%error, "{HOSTS} not read");
    }
    hosts
}

fn bounded(mut options: ResolverOpts) -> ResolverOpts {
    options.timeout = options.timeout.min(RESPONSE_LIMIT);
    // The first attempt does not count here.
    options.attempts = options.attempts.clamp(1, MAX_ATTEMPTS) - 1;
    options.use_hosts_file = ResolveHosts::Never;
    // Responses can be large; `Resolver::names` remembers their addresses.
    options.cache_size = 0;
    // Of one connection; more than there are look-ups.
    options.max_active_requests = 8 * MAX_IN_FLIGHT;
    options
}

fn in_hosts(hosts: &Hosts, name: &Name) -> Option<Arc<[IpAddr]>> {
    let of = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [of(RecordType::A), of(RecordType::AAAA)].into_iter().flatten();
    let addresses: Arc<[IpAddr]> = found.flat_map(LookupIp::from).take(MAX_ADDRESSES).collect();
    (!addresses.is_empty()).then_some(addresses)
}

impl LookedUp {
    fn of(found: &LookupIp) -> Option<Self> {
        let addresses: Arc<[IpAddr]> = found.iter().take(MAX_ADDRESSES).collect();
        let keep = found.valid_until().saturating_duration_since(Instant::now()).min(LONGEST);
        (!addresses.is_empty()).then_some(Self { addresses: Ok(addresses), keep })
    }
}

impl LookupCause {
    fn of(error: &NetError) -> Self {
        match error {
            NetError::Timeout => Self::TimedOut,
            NetError::Busy => Self::OwnLimit,
            NetError::Io(io) if is_own_limit(io) => Self::OwnLimit,
            _ if error.is_no_records_found() => Self::Absent,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver(…)")
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, cause } = self;
        match cause {
            LookupCause::Invalid => write!(f, "{name} is not a host name"),
            LookupCause::Absent => write!(f, "the name {name} does not resolve to an address"),
            LookupCause::TimedOut => {
                write!(f, "the name servers did not resolve {name} within {TIME_LIMIT:?}")
            }
            LookupCause::OwnLimit => write!(f, "{name} was not resolved: no descriptor is left"),
            LookupCause::Failed(why) => write!(f, "{name} was not resolved: {why}"),
        }
    }
}

impl std::error::Error for LookupError {}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use super::*;

    const NAMED: &str = "192.0.2.7 listed.test Other.test\n2001:db8::7 listed.test\n";

    fn resolver(servers: &[SocketAddr]) -> Resolver {
        Resolver::new(Source::Fixed(servers.to_vec(), NAMED))
    }

    /// Name server that answers each query for an A record with 192.0.2.9, and others with none.
    /// Queries for names that begin with `silent` get no answer.
    fn server(answers: bool) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                if answers && !bytes[12..length].windows(6).any(|part| part == b"silent") {
                    let _ = socket.send_to(&answer(&bytes[..length]), from);
                }
            }
        });
        address
    }

    /// Response to a query with one question.
    fn answer(query: &[u8]) -> Vec<u8> {
        let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let is_a = query[end - 3] == 1;
        let exists = !query[12..end].windows(6).any(|part| part == b"absent");
        let mut reply = query[..end].to_vec();
        reply[2..4].copy_from_slice(&[0x81, if exists { 0x80 } else { 0x83 }]);
        reply[4..12].copy_from_slice(&[0, 1, 0, u8::from(is_a && exists), 0, 0, 0, 0]);
        if is_a && exists {
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 9]);
        }
        reply
    }

    #[tokio::test]
    async fn names_resolve_by_hosts_and_by_name_server() {
        let resolver = resolver(&[server(true)]);
        let found = resolver.addresses("LISTED.test").await.unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            *resolver.addresses("other.test").await.unwrap(),
            ["192.0.2.7".parse::<IpAddr>().unwrap()]
        );
        let by_server = resolver.addresses("some.test").await.unwrap();
        assert_eq!(*by_server, ["192.0.2.9".parse::<IpAddr>().unwrap()]);
        let absent = resolver.addresses("absent.test").await.unwrap_err();
        assert_eq!(absent.cause, LookupCause::Absent, "{absent}");
        let invalid = resolver.addresses("a..b").await.unwrap_err();
        assert_eq!(invalid.cause, LookupCause::Invalid, "{invalid}");
    }

    /// Look-ups that get no answer end in time, and delay neither a name in the hosts file nor one
    /// that was resolved before. No thread waits for them: the runtime has one.
    #[tokio::test]
    async fn silent_name_servers_delay_their_own_names_only() {
        let silent = Arc::new(resolver(&[server(false)]));
        let started = Instant::now();
        let outstanding: Vec<_> = (0..70)
            .map(|number| {
                let silent = Arc::clone(&silent);
                tokio::spawn(async move { silent.addresses(&format!("n{number}.test")).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(silent.in_flight.available_permits(), 0);
        let listed = Instant::now();
        assert!(silent.addresses("listed.test").await.is_ok());
        assert!(listed.elapsed() < Duration::from_millis(200), "{:?}", listed.elapsed());
        let answering = resolver(&[server(true)]);
        assert!(answering.addresses("some.test").await.is_ok());
        assert!(listed.elapsed() < Duration::from_millis(500), "{:?}", listed.elapsed());
        for one in outstanding {
            let error = one.await.unwrap().unwrap_err();
            assert_eq!(error.cause, LookupCause::TimedOut, "{error}");
        }
        assert!(started.elapsed() < 2 * TIME_LIMIT + Duration::from_secs(1));
        assert_eq!(silent.in_flight.available_permits(), MAX_IN_FLIGHT);
    }

    #[tokio::test]
    async fn a_name_that_resolved_before_does_not_wait_for_others() {
        let resolver = Arc::new(resolver(&[server(true)]));
        assert!(resolver.addresses("some.test").await.is_ok());
        resolver.names.invalidate("some.test").await;
        for number in 0..70 {
            let resolver = Arc::clone(&resolver);
            tokio::spawn(async move { resolver.addresses(&format!("silent{number}.test")).await });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(resolver.in_flight.available_permits(), 0);
        let started = Instant::now();
        assert!(resolver.addresses("some.test").await.is_ok());
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn a_second_name_server_answers_for_a_silent_one() {
        let resolver = resolver(&[server(false), server(true)]);
        let started = Instant::now();
        assert!(resolver.addresses("some.test").await.is_ok());
        assert!(started.elapsed() < TIME_LIMIT, "{:?}", started.elapsed());
    }
}
