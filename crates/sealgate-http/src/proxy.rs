//! Proxies named by the environment, by the rules of Go's `golang.org/x/net/http/httpproxy`, so
//! that `NO_PROXY` means the same as to cosign and kubectl.
//!
//! The proxy is chosen for each URL: requests to hosts in `NO_PROXY`, to `localhost` and to
//! loopback addresses never go through a proxy.

use std::net::IpAddr;

use reqwest::Url;
use sealgate_core::fault::{Fault, FaultKind};

use crate::host::Host;
use crate::network::Network;

/// Use of the proxies named by the environment. Loopback hosts never go through a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxies {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case.
    #[default]
    Environment,
    /// No proxy.
    Off,
}

/// Proxy of each scheme, and the hosts reached without one.
pub(crate) struct ProxyRules {
    http: Option<Url>,
    https: Option<Url>,
    exempt: Vec<Exemption>,
}

/// Entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exemption {
    /// `*`.
    All,
    /// `10.0.0.0/8`, for every port.
    Network(Network),
    /// `10.1.2.3`, `10.1.2.3:5000`, `[2001:db8::1]:443`.
    Address(IpAddr, Port),
    /// `example.com` covers the domain and all subdomains; `.example.com` and `*.example.com` cover
    /// the subdomains only.
    Domain { name: String, itself: bool, port: Port },
}

/// Port of an entry; `None` covers every port.
type Port = Option<String>;

impl ProxyRules {
    /// Rules of the process's environment; `None` when it names no proxy.
    ///
    /// # Errors
    /// `Config` when a variable names an unusable proxy: connecting directly instead would override
    /// the user's choice.
    pub(crate) fn from_env() -> Result<Option<Self>, Fault> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Fault> {
        let first = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_lowercase()];
            names.into_iter().find_map(|name| {
                let value = variable(&name).filter(|value| !value.is_empty())?;
                Some((name, value))
            })
        };
        let proxy = |name: &str| {
            let named = first(name).or_else(|| first("ALL_PROXY"));
            named.map(|(name, text)| address(&text).ok_or_else(|| unusable(&name))).transpose()
        };
        // In a CGI program, HTTP_PROXY holds the request's `Proxy:` header, which its sender
        // controls (CVE-2016-5385).
        let is_cgi = first("REQUEST_METHOD").is_some();
        let rules = Self {
            http: if is_cgi { None } else { proxy("HTTP_PROXY")? },
            https: proxy("HTTPS_PROXY")?,
            exempt: first("NO_PROXY").map(|(_, text)| exemptions(&text)).unwrap_or_default(),
        };
        Ok((rules.http.is_some() || rules.https.is_some()).then_some(rules))
    }

    /// Proxy for a request to `url`, if any.
    pub(crate) fn proxy_for(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref()?,
            "http" => self.http.as_ref()?,
            _ => return None,
        };
        let host = url.host_str()?;
        let port = url.port_or_known_default()?.to_string();
        // As in Go, an IPv4-mapped IPv6 address is treated as IPv4.
        let host = Host::parse(host).canonical();
        let direct = host.is_loopback() || self.exempt.iter().any(|e| e.fits(&host, &port));
        (!direct).then_some(proxy)
    }
}

impl Exemption {
    fn fits(&self, host: &Host<'_>, port: &str) -> bool {
        let at = |wanted: &Port| wanted.as_deref().is_none_or(|wanted| wanted == port);
        match (self, host) {
            (Self::All, _) => true,
            (Self::Network(network), Host::Address(host)) => network.contains(*host),
            (Self::Address(address, wanted), Host::Address(host)) => address == host && at(wanted),
            (Self::Domain { name, itself, port: wanted }, Host::Name(host)) => {
                let above = host.strip_suffix(name.as_str());
                let below = above.is_some_and(|above| above.ends_with('.'));
                (below || (*itself && above == Some(""))) && at(wanted)
            }
            _ => false,
        }
    }
}

/// Entries of `NO_PROXY`. Invalid entries are skipped, as in Go.
fn exemptions(text: &str) -> Vec<Exemption> {
    let entries = text.split(',').map(|entry| entry.trim().to_lowercase());
    let entries: Vec<String> = entries.filter(|entry| !entry.is_empty()).collect();
    if entries.iter().any(|entry| entry == "*") {
        return vec![Exemption::All];
    }
    entries.iter().filter_map(|entry| exemption(entry)).collect()
}

fn exemption(entry: &str) -> Option<Exemption> {
    if let Ok(network) = entry.parse() {
        return Some(Exemption::Network(network));
    }
    let (host, port) = split_port(entry);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(Exemption::Address(address.to_canonical(), port));
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    let (name, itself) = host.strip_prefix('.').map_or((host, true), |name| (name, false));
    (!name.is_empty()).then(|| Exemption::Domain { name: ascii(name), itself, port })
}

/// Splits `HOST:PORT` or `[IPV6]:PORT`; any other text is a host without a port.
fn split_port(entry: &str) -> (&str, Port) {
    let port = |port: &str| (!port.is_empty()).then(|| port.to_owned());
    match entry.rsplit_once(':') {
        Some((host, after)) if !host.contains(':') => (host, port(after)),
        Some((host, after)) => match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(host) => (host, port(after)),
            None => (entry, None),
        },
        None => (entry, None),
    }
}

/// Domain name in the ASCII form of URLs (RFC 3490).
fn ascii(name: &str) -> String {
    let url = (!name.is_ascii()).then(|| Url::parse(&format!("http://{name}/")).ok()).flatten();
    url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| name.to_owned())
}

/// Proxy address: a URL, or `HOST:PORT` for plain HTTP; `None` when invalid or of an unsupported
/// scheme.
fn address(text: &str) -> Option<Url> {
    let text = text.trim();
    let whole = match text.contains("://") {
        true => Url::parse(text),
        false => Url::parse(&format!("http://{text}")),
    };
    whole.ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"))
}

/// Omits the value, which may hold a password.
fn unusable(variable: &str) -> Fault {
    let detail = "is not a usable proxy address: expected HOST:PORT, http://... or \
                  https://...";
    Fault::new(FaultKind::Config, format!("environment variable {variable}"), detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<ProxyRules>, Fault> {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name);
        ProxyRules::read(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    fn proxy_of(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let url = Url::parse(url).unwrap();
        read(variables).unwrap()?.proxy_for(&url).map(ToString::to_string)
    }

    /// Returns whether `url` is reached directly with `NO_PROXY` set to `exempt`.
    fn is_direct(exempt: &str, url: &str) -> bool {
        let proxies = [("HTTP_PROXY", "proxy:1"), ("HTTPS_PROXY", "proxy:1")];
        proxy_of(&[&proxies[..], &[("NO_PROXY", exempt)]].concat(), url).is_none()
    }

    /// Expectations taken from `httpproxy.Config.ProxyFunc`.
    #[test]
    fn no_proxy_matches_as_in_go() {
        let list = "foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, \
                    192.168.1.3:80, 10.0.0.0/30, 2001:db8::52:0:1, [2001:db8::52:0:2]:443, \
                    [2001:db8::52:0:3]:80, 2002:db8:a::45/64";
        for (host, direct) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.0.0.2", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("[::2]", false),
            ("192.168.1.1", true),
            ("[::ffff:192.168.1.1]", true),
            ("192.168.1.2", false),
            ("192.168.1.2:81", true),
            ("192.168.1.3", true),
            ("192.168.1.4", false),
            ("10.0.0.2", true),
            ("10.0.0.2:5000", true),
            ("10.0.0.4", false),
            ("[2001:db8::52:0:1]", true),
            ("[2001:db8::52:0:2]", false),
            ("[2001:db8::52:0:3]", true),
            ("[2002:db8:a::123]", true),
            ("[2002:db8:b::123]", false),
            ("barbaz.net", false),
            ("www.barbaz.net", true),
            ("barbarbaz.net", false),
            ("foobar.com", true),
            ("FooBar.com", true),
            ("www.foobar.com", true),
            ("foofoobar.com", false),
            ("localhost.net", false),
            ("local.localhost", false),
            ("wildcard.io", false),
            ("nested.wildcard.io", true),
            ("a.nested.wildcard.io", true),
            ("awildcard.io", false),
        ] {
            assert_eq!(is_direct(list, &format!("http://{host}/")), direct, "{host}");
        }
    }

    #[test]
    fn entries_have_ports_and_invalid_ones_are_skipped() {
        for (exempt, url, direct) in [
            ("*.corp.example", "https://reg.corp.example/v2/", true),
            ("*.corp.example:5000", "https://reg.corp.example:5000/", true),
            ("*.corp.example:5000", "https://reg.corp.example/", false),
            ("10.1.2.3:5000", "http://10.1.2.3:5000/v2/", true),
            ("10.1.2.3:5000", "https://10.1.2.3:5000/v2/", true),
            ("10.1.2.3:5000", "http://10.1.2.3/v2/", false),
            ("10.1.2.3", "http://10.1.2.3:5000/v2/", true),
            ("10.1.2.0/24", "http://10.1.2.3:5000/v2/", true),
            ("0.0.0.0/0", "http://10.1.2.3/", true),
            ("0.0.0.0/0", "http://[2001:db8::1]/", false),
            ("::/0", "http://[2001:db8::1]/", true),
            ("::/0", "http://10.1.2.3/", false),
            ("::ffff:10.1.2.0/120", "http://10.1.2.3/", true),
            ("10.1.2.0/33", "http://10.1.2.3/", false),
            ("reg.io:443", "https://reg.io/", true),
            ("reg.io:443", "http://reg.io/", false),
            ("reg.io:", "http://reg.io/", true),
            ("example.com", "http://[1000::]:123/", false),
            ("*", "https://anything.io/", true),
            ("a.io,*,b.io", "https://anything.io/", true),
            ("", "https://reg.io/", false),
            (" , ,:80,*.,.", "https://reg.io/", false),
            ("*reg.io", "https://reg.io/", false),
            ("http://reg.io", "https://reg.io/", false),
            ("REG.IO", "https://reg.io/", true),
            (".示例.com", "http://www.示例.com/", true),
            ("xn--fsq092h.com", "http://www.示例.com/", true),
            ("示例.com", "http://www.xn--fsq092h.com/", true),
        ] {
            assert_eq!(is_direct(exempt, url), direct, "NO_PROXY={exempt} {url}");
        }
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let (http, https) = (("HTTP_PROXY", "a.io"), ("HTTPS_PROXY", "https://b.io:8443"));
        for (variables, url, proxy) in [
            (&[http, https][..], "http://reg.io/", Some("http://a.io/")),
            (&[http, https], "https://reg.io/", Some("https://b.io:8443/")),
            (&[http], "https://reg.io/", None),
            (&[("http_proxy", "127.0.0.1:8080")], "http://reg.io/", Some("http://127.0.0.1:8080/")),
            (
                &[("HTTP_PROXY", ""), ("http_proxy", "c.io:1")],
                "http://reg.io/",
                Some("http://c.io:1/"),
            ),
            (&[("HTTP_PROXY", "localhost")], "http://reg.io/", Some("http://localhost/")),
            (&[("HTTP_PROXY", "proxy:3128")], "http://reg.io/", Some("http://proxy:3128/")),
            (&[("ALL_PROXY", "d.io:1"), http], "https://reg.io/", Some("http://d.io:1/")),
            (&[("ALL_PROXY", "d.io:1"), http], "http://reg.io/", Some("http://a.io/")),
            (&[("REQUEST_METHOD", "GET"), http, https], "http://reg.io/", None),
            (
                &[("REQUEST_METHOD", "GET"), http, https],
                "https://reg.io/",
                Some("https://b.io:8443/"),
            ),
            (&[https, ("no_proxy", "reg.io")], "https://reg.io/", None),
            (&[("NO_PROXY", "reg.io")], "https://other.io/", None),
            (&[https], "ftp://reg.io/", None),
        ] {
            assert_eq!(proxy_of(variables, url).as_deref(), proxy, "{variables:?} {url}");
        }
    }

    /// Falling back to a direct connection would override the user's choice.
    #[test]
    fn a_proxy_that_cannot_be_used_is_a_fault() {
        for value in [
            "socks://eve:hunter2@proxy:1080",
            "socks5://proxy:1080",
            "htp://proxy",
            "http://",
            "https://:443",
            "http://proxy:99999",
            "://proxy",
            " ",
            "a b",
        ] {
            for (variables, named) in [
                (&[("HTTPS_PROXY", value)][..], "HTTPS_PROXY"),
                (&[("https_proxy", value)], "https_proxy"),
                (&[("HTTP_PROXY", value), ("HTTPS_PROXY", "a.io")], "HTTP_PROXY"),
                (&[("ALL_PROXY", value), ("HTTP_PROXY", "a.io")], "ALL_PROXY"),
            ] {
                let Err(fault) = read(variables) else { panic!("{variables:?}") };
                assert_eq!(fault.kind, FaultKind::Config);
                assert!(fault.target.ends_with(named), "{fault}");
                assert!(!format!("{fault:?}").contains("hunter2"), "{fault}");
            }
        }
        // An unused `ALL_PROXY` may be invalid.
        let both = [("HTTP_PROXY", "a.io"), ("HTTPS_PROXY", "a.io"), ("ALL_PROXY", "socks://b.io")];
        assert!(read(&both).unwrap().is_some());
        let cgi = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "htp://a.io")];
        assert!(read(&cgi).unwrap().is_none());
        let with_password = [("HTTPS_PROXY", "ada:pw@proxy:3128")];
        let asked = proxy_of(&with_password, "https://reg.io/");
        assert_eq!(asked.as_deref(), Some("http://ada:pw@proxy:3128/"));
    }
}
