//! Where Tollgate listens, what it is called, whom it believes, and what it may call.
//!
//! - `listeners`: `listen:`; `admin`: `admin:`; `addresses`: when two are in each other's way
//! - `certificates`: certificates and their keys; `validity`: when they begin and end

pub(in crate::config) mod addresses;
pub(in crate::config) mod admin;
pub(in crate::config) mod certificates;
pub(in crate::config) mod listeners;
pub(in crate::config) mod validity;

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use url::{Host, Url};

use self::addresses::{Overlap, overlap, takes};
use self::admin::DEFAULT_ADMIN;
use crate::config::settings::{Admin, Listener, Serves};
use crate::config::text::read::{Keys, Value};
use crate::core::request::Origin;

/// What other parts must agree with.
pub(super) struct Network {
    pub(super) public_url: Option<Origin>,
    /// The addresses that `listen` could be read to name.
    listen: Vec<SocketAddr>,
    pub(super) admin: Admin,
    pub(super) trusted_proxies: Vec<IpNet>,
}

impl Network {
    /// The network, and the listeners of `listen`.
    pub(super) fn read(root: &Keys<'_>) -> (Self, Vec<Listener>) {
        let public_url = root.get("public_url").and_then(|value| public_url(&value));
        let listeners = listeners::read(root, public_url.as_ref());
        let admin = admin::read(root);
        let overlaps = listeners.iter().find_map(|listener| overlap(listener.address, admin.address));
        if let Some(overlap) = overlaps {
            let key = if root.has("admin") { "admin" } else { "listen" };
            let default = if root.has("admin") { String::new() } else { format!(" ({DEFAULT_ADMIN})") };
            let both = format!("`listen` and `admin`{default}");
            root.wrong(
                key,
                match overlap {
                    Overlap::Same => format!("{both} take the same address; give one another port"),
                    Overlap::BothFamilies => {
                        format!(
                            "`[::]` takes IPv4 too, so {both} take the same address; give one another port"
                        )
                    }
                },
            );
        }
        if public_url.as_ref().is_some_and(Origin::is_https) && !root.has("trusted_proxies") {
            warn_of_unnamed_proxy(root, &listeners);
        }
        let listen = listeners.iter().map(|listener| listener.address).collect();
        let trusted_proxies = trusted_proxies(root);
        warn_of_trusted_balancers(root, &listeners, &trusted_proxies);
        let network = Self { public_url, listen, admin, trusted_proxies };
        (network, listeners)
    }

    /// Whether the gateway is served on loopback alone, where `http` is good enough. A `public_url`
    /// that cannot be read counts as loopback: its own mistake is reported, no other follows from it.
    pub(super) fn on_loopback(&self) -> bool {
        self.public_url.as_ref().and_then(origin_url).is_none_or(|url| is_loopback(&url))
    }

    /// Whether requests to this server would come back to Tollgate itself.
    pub(super) fn is_own(&self, server: &Url) -> Option<&'static str> {
        let origin = server.origin().ascii_serialization();
        let is_public = || self.public_url.as_ref().is_some_and(|public| public.as_str() == origin);
        self.listener_of(server, reaches).or_else(|| is_public().then_some("public_url"))
    }

    /// Whether they may: who listens at all addresses listens at each that the machine has. But another
    /// machine may run this configuration, and a load balancer has addresses of which it sends connections
    /// on.
    pub(super) fn may_be_own(&self, server: &Url, value: &Value<'_>) -> Option<&'static str> {
        let is_here = |ours: IpAddr, ip| takes(ours, ip) && value.is_of_this_machine(ip);
        self.listener_of(server, is_here)
    }

    /// Addresses are those of the listener and of the server.
    fn listener_of(&self, server: &Url, reaches: impl Fn(IpAddr, IpAddr) -> bool) -> Option<&'static str> {
        let port = server.port_or_known_default()?;
        // An IPv4-mapped address (RFC 4291 section 2.5.5.2) is the IPv4 address.
        let reaches = |ours: IpAddr, ip: IpAddr| reaches(ours.to_canonical(), ip.to_canonical());
        let at = |listener: SocketAddr| {
            listener.port() == port
                && match server.host() {
                    Some(Host::Ipv4(ip)) => reaches(listener.ip(), ip.into()),
                    Some(Host::Ipv6(ip)) => reaches(listener.ip(), ip.into()),
                    Some(Host::Domain(name)) => {
                        is_local_name(name) && (listener.ip().is_loopback() || listener.ip().is_unspecified())
                    }
                    None => false,
                }
        };
        if at(self.admin.address) {
            return Some("admin");
        }
        self.listen.iter().copied().any(at).then_some("listen")
    }
}

fn reaches(ours: IpAddr, ip: IpAddr) -> bool {
    ours == ip || ip.is_unspecified() || (ours.is_unspecified() && ip.is_loopback())
}

/// An origin; where it is none, the message ends with `right`. Repeats no password.
pub(super) fn origin(value: &Value<'_>, text: &str, right: &str) -> Option<Origin> {
    let origin = Origin::parse(text);
    if origin.is_none() && text.contains('@') {
        value.wrong(format!("has a user or password in it; {right}"));
    } else if origin.is_none() {
        value.wrong(format!("`{}` is not scheme, host and port alone; {right}", value.written()));
    }
    origin
}

fn public_url(value: &Value<'_>) -> Option<Origin> {
    let text = value.text()?;
    let right = "write it like `https://api.example.com`, without path or `/` at its end";
    let origin = origin(value, &text, right)?;
    let loopback = origin_url(&origin).is_some_and(|url| is_loopback(&url));
    if !origin.is_https() && !loopback {
        value.wrong("must be `https`, except on loopback: browsers keep Secure cookies only there");
        return None;
    }
    Some(origin)
}

/// Where `public_url` is https and nobody else is believed.
fn warn_of_unnamed_proxy(root: &Keys<'_>, listeners: &[Listener]) {
    let speaks_tls = |listener: &Listener| matches!(listener.serves, Serves::Tls(_));
    if listeners.is_empty() || listeners.iter().any(speaks_tls) {
        return;
    }
    let are_known = listeners.iter().all(|listener| !listener.proxy_protocol.is_empty());
    let as_one = if are_known {
        ""
    } else {
        "all clients count as one address (`denials_per_address`, `connections_per_address`), and "
    };
    root.warn(
        "listen",
        format!(
            "no listener has `tls` and `public_url` is https, so a proxy in front speaks it, which `trusted_proxies` does not name: {as_one}upstreams are told `http`; write the proxy's addresses, like `trusted_proxies: [10.0.0.0/8]`, or give a listener `tls`"
        ),
    );
}

/// A balancer writes no `X-Forwarded-For`: what comes in one of its connections is the client's own word.
fn warn_of_trusted_balancers(root: &Keys<'_>, listeners: &[Listener], trusted: &[IpNet]) {
    let overlaps = |one: &IpNet| trusted.iter().any(|other| one.contains(other) || other.contains(one));
    if let Some(both) =
        listeners.iter().flat_map(|listener| &listener.proxy_protocol).find(|one| overlaps(one))
    {
        root.warn(
            "trusted_proxies",
            format!(
                "`{both}` is in a `proxy_protocol` too: a load balancer that says whose a connection is writes no `X-Forwarded-For`, so that of its clients would be believed wherever it says nobody's; leave it out here"
            ),
        );
    }
}

fn trusted_proxies(root: &Keys<'_>) -> Vec<IpNet> {
    networks(root, "trusted_proxies", "believes every address: anybody can then claim any client address")
}

/// The networks and addresses of `key`. `all`: what is to be said of one that every address is in.
pub(super) fn networks(keys: &Keys<'_>, key: &str, all: &str) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (value, text) in keys.texts(key).unwrap_or_default() {
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let network = network.map(canonical);
        match network {
            None => value.wrong(format!(
                "`{}` is neither a network nor an address; write `10.0.0.0/8` or `10.0.0.1`",
                value.written()
            )),
            Some(network) if network.trunc() != network => {
                let written = value.written();
                let right = if written == text {
                    format!("write `{}`", network.trunc())
                } else {
                    "clear them".to_owned()
                };
                value.wrong(format!("`{written}` has bits behind its prefix; {right}"));
            }
            Some(network) => {
                if network.prefix_len() == 0 {
                    value.warn(all);
                }
                networks.push(network);
            }
        }
    }
    networks
}

/// An IPv4-mapped network is the IPv4 network: so peers are compared.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let v4 = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96));
    v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

/// Refuses the origin of pages that anybody between could have written.
pub(super) fn refuse_clear_text(value: &Value<'_>, origin: &Origin) {
    if !origin.is_https() && !origin_url(origin).is_some_and(|url| is_loopback(&url)) {
        value.wrong("must be `https`, except on loopback: a page that came over `http` can be anybody's");
    }
}

/// An origin as a URL.
pub(super) fn origin_url(origin: &Origin) -> Option<Url> {
    Url::parse(origin.as_str()).ok()
}

/// Whether a URL's host is this machine alone (RFC 6761 section 6.3, RFC 9700 section 2.6).
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => is_local_name(name),
        None => false,
    }
}

fn is_local_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// A URL is read without the spaces around it, and then sent and compared with them.
pub(super) fn is_trimmed(value: &Value<'_>, text: &str) -> bool {
    let is = text.trim() == text;
    if !is {
        value.wrong("begins or ends with a space; remove it");
    }
    is
}

/// An absolute `http` or `https` URL without user information and fragment.
pub(super) fn url(value: &Value<'_>) -> Option<(String, Url)> {
    let text = value.text()?;
    let wrong = |why: &str| value.wrong(format!("`{}` {why}", value.written()));
    if !is_trimmed(value, &text) {
        return None;
    }
    let Ok(url) = Url::parse(&text) else {
        wrong("is not a URL; write it whole, like `https://login.example.com/path`");
        return None;
    };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        wrong(
            "is neither an `http` nor an `https` URL; write it whole, like `https://login.example.com/path`",
        );
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        value.wrong("has a user or password in it; remove them");
        return None;
    }
    if url.fragment().is_some() {
        wrong("has a fragment (`#…`); remove it");
        return None;
    }
    Some((text, url))
}

/// A URL of an issuer: `http` only while the gateway itself is on loopback.
pub(super) fn issuer_url(value: &Value<'_>, network: &Network) -> Option<(String, Url)> {
    let (text, url) = url(value)?;
    if url.scheme() == "http" {
        if !network.on_loopback() {
            value.wrong("must be `https`: keys and tokens that come over `http` can be anybody's; `http` works only while `public_url` is on loopback");
            return None;
        }
        if !is_loopback(&url) {
            value.warn("is `http` and not on this machine: whoever is between can make tokens; use `https`");
        }
    }
    Some((text, url))
}

/// Whether pages of `origin` are certainly on another site than `public` (scheme and registrable
/// domain; without a list of public suffixes, only what no list could change).
pub(super) fn certainly_cross_site(origin: &Origin, public: &Origin) -> bool {
    let (Some(a), Some(b)) = (origin_url(origin), origin_url(public)) else { return true };
    if a.scheme() != b.scheme() {
        return true;
    }
    match (a.host(), b.host()) {
        (Some(Host::Domain(a)), Some(Host::Domain(b))) => {
            let common = a.rsplit('.').zip(b.rsplit('.')).take_while(|(a, b)| a == b).count();
            a != b && common < 2
        }
        (a, b) => a != b,
    }
}
