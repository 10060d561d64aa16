//! `store:` — where what must outlive a request is kept: a folder, or a Redis that replicas share.
//!
//! Must never repeat a URL of Redis in a message: a password may stand in it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use crate::config::identity;
use crate::config::network::certificates;
use crate::config::settings::{OnOutage, Redis, RedisCredentials, RedisServer, RedisTls, Store, Topology};
use crate::config::text::read::{Keys, Value};
use crate::core::percent;
use crate::core::secret::SecretString;

const FOLDER: &str = "data";
const MAX_STALENESS: Duration = Duration::from_secs(300);
const STALENESS: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(86_400);
const PREFIX: &str = "tollgate:";
const LONGEST_PREFIX: usize = 64;
/// The keys that say how TLS is spoken.
const OF_TLS: [&str; 3] = ["ca", "certificate", "key"];
const RIGHT: &str = "write it like `redis://cache:6379/0`, or `rediss://…` for TLS; a password with signs in it goes into `password`";

pub(super) fn read(root: &Keys<'_>) -> Option<Store> {
    let default = || root.default_path(FOLDER);
    let Some(value) = root.get("store") else { return Some(Store::folder(default())) };
    match value.keys() {
        Some(keys) => {
            if keys.has("url") {
                needs_what_replicas_share(&value, root);
            }
            let folder = keys.get("path").map_or_else(|| Some(default()), |value| folder(&value));
            let redis = redis(&keys);
            Some(Store { folder: folder?, redis: if keys.has("url") { Some(redis?) } else { None } })
        }
        None => {
            let text = value.text();
            if !is_url(text.as_deref().unwrap_or_else(|| value.written())) {
                return text.and_then(|_| folder(&value)).map(Store::folder);
            }
            needs_what_replicas_share(&value, root);
            let server = server(&value, &text?)?;
            Some(Store { folder: default(), redis: Some(single(&value, server)) })
        }
    }
}

/// Replicas that each have a folder, where one Redis is meant, would know nothing of each other.
fn folder(value: &Value<'_>) -> Option<PathBuf> {
    let text = value.text()?;
    let first = text.split(['/', '?', '#']).next().unwrap_or_default();
    let port = first.rsplit_once(':').map(|(_, port)| port);
    let has_port =
        port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let lacks_colon =
        ["redis//", "rediss//", "valkey//", "valkeys//"].iter().any(|scheme| text.starts_with(scheme));
    if has_port || lacks_colon || text.contains("://") {
        value.wrong("names a host; write `redis://cache:6379` for a Redis (as `url` beside other keys), or `./cache:6379` for a folder of that name");
        return None;
    }
    value.path()
}

/// Whether a URL is meant, and not a folder.
fn is_url(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    text.contains("://") || matches!(scheme.as_deref(), Some("redis" | "rediss" | "valkey" | "valkeys"))
}

/// What one replica made for itself the others would not know.
fn needs_what_replicas_share(value: &Value<'_>, root: &Keys<'_>) {
    if !root.section("sessions").has("keys") {
        value.wrong("with Redis `sessions.keys` must be given, the same on every replica; otherwise none can open the cookies of another; `tollgate keys cookie` makes one");
    }
    let asserts = root.section("identity").has("assertion") || identity::is_asserted_on_a_route(root);
    if asserts && !root.section("identity").section("assertion").has("keys") {
        value.wrong("with Redis `identity.assertion.keys` must be given, or every replica would sign with its own; `tollgate keys assertion` makes one");
    }
    if !root.section("admin").has("token") {
        value.wrong("with Redis `admin.token` must be given, or every replica would make its own; `openssl rand -hex 32` makes one");
    }
}

/// One server, as a URL alone says it.
fn single(value: &Value<'_>, server: Place) -> Redis {
    warn_of_clear_text(value, &server);
    Redis {
        topology: Topology::Single,
        tls: server.tls.then(RedisTls::default),
        database: server.database.unwrap_or_default(),
        credentials: server.credentials,
        servers: vec![server.server],
        prefix: PREFIX.to_owned(),
        on_outage: OnOutage::Refuse,
        max_staleness: MAX_STALENESS,
    }
}

/// The keys beside `path`. `None` where they cannot be read, and without `url`.
fn redis(keys: &Keys<'_>) -> Option<Redis> {
    let places = keys.get("url").map(|value| places(&value));
    let topology = topology(keys, places.as_deref());
    let credentials = credentials(keys, "username", "password");
    let ca = keys.get("ca").map(|value| certificates::authorities(&value));
    let identity = certificates::client_identity(keys);
    let prefix = keys.get("prefix").map(|value| prefix(&value));
    let words = [("refuse", OnOutage::Refuse), ("serve", OnOutage::Serve)];
    let max_staleness = keys.duration("max_staleness", MAX_STALENESS, STALENESS);
    let on_outage = keys.word("on_outage", &words, OnOutage::Refuse);
    let Some(places) = places else {
        for key in ["username", "password", "sentinel", "cluster", "prefix", "on_outage", "max_staleness"]
            .into_iter()
            .chain(OF_TLS)
        {
            if keys.has(key) {
                keys.wrong(key, "belongs to a Redis, and there is no `url`; add one, or remove this");
            }
        }
        return None;
    };
    let first = places.first()?;
    let (tls, database) = (first.tls, places.iter().find_map(|place| place.database));
    for key in OF_TLS.into_iter().filter(|key| keys.has(key) && !tls) {
        keys.wrong(key, "has no effect without TLS; write `rediss://` in `url`, or remove this");
    }
    let of_urls: Vec<_> =
        places.iter().map(|place| &place.credentials).filter(|given| given.is_some()).collect();
    let credentials = match of_urls.first() {
        None => credentials?,
        Some(_) if credentials.as_ref().is_none_or(RedisCredentials::is_some) => {
            keys.wrong("url", "has a user or password in it, and `username` or `password` says one too; keep one of the two");
            return None;
        }
        Some(_) if matches!(topology, Some(Topology::Sentinel { .. })) => {
            keys.wrong("url", "has a user or password in it, which could be the Sentinels' or the servers'; use `password`, and `sentinel.password`");
            return None;
        }
        Some(first) if of_urls.iter().any(|other| other != first) => {
            keys.wrong(
                "url",
                "the URLs have different users or passwords; give them once, as `username` and `password`",
            );
            return None;
        }
        Some(first) => (*first).clone(),
    };
    Some(Redis {
        topology: topology?,
        tls: if tls {
            Some(RedisTls { authorities: ca.unwrap_or(Some(Vec::new()))?, identity })
        } else {
            None
        },
        database: database.unwrap_or_default(),
        credentials,
        servers: places.into_iter().map(|place| place.server).collect(),
        prefix: prefix.unwrap_or_else(|| Some(PREFIX.to_owned()))?,
        on_outage,
        max_staleness,
    })
}

fn topology(keys: &Keys<'_>, places: Option<&[Place]>) -> Option<Topology> {
    let cluster = keys.flag("cluster");
    let sentinel = keys.get("sentinel").map(|value| match value.keys() {
        Some(keys) => {
            let credentials = credentials(&keys, "username", "password");
            Some(Topology::Sentinel { master: keys.text("master")?, credentials: credentials? })
        }
        None => Some(Topology::Sentinel { master: value.text()?, credentials: RedisCredentials::default() }),
    });
    let places = places?;
    if cluster && sentinel.is_some() {
        keys.wrong("cluster", "a cluster has no Sentinels; keep `cluster` or `sentinel`");
    }
    if cluster && places.iter().any(|place| place.database.is_some_and(|database| database != 0)) {
        keys.wrong("url", "a cluster has only the database 0; write the URL without one");
    }
    if !cluster && sentinel.is_none() && places.len() > 1 {
        keys.wrong("url", "several servers are those of a cluster (`cluster: true`) or Sentinels (`sentinel: <the name of their master>`); add one of these, or keep one URL");
    }
    match sentinel {
        Some(sentinel) => sentinel,
        None if cluster => Some(Topology::Cluster),
        None => Some(Topology::Single),
    }
}

fn credentials(keys: &Keys<'_>, username: &str, password: &str) -> Option<RedisCredentials> {
    let (named, proven) = (keys.get(username), keys.get(password));
    if named.is_some() && proven.is_none() {
        keys.wrong(username, format!("has no `{password}` beside it; add it, or remove this"));
        return None;
    }
    // Both are read before one of them ends it.
    let username = named.map_or(Some(None), |value| value.text().map(Some));
    let password = proven.map_or(Some(None), |value| password_text(&value).map(Some));
    Some(RedisCredentials { username: username?, password: password? })
}

fn password_text(value: &Value<'_>) -> Option<SecretString> {
    let secret = value.secret()?;
    let text = std::str::from_utf8(secret.expose());
    text.map_err(|_| value.wrong("is not UTF-8 text; Redis takes no other here")).ok().map(SecretString::from)
}

fn prefix(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let fits = |byte: u8| {
        byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'*' | b'?' | b'[' | b']' | b'\\')
    };
    if text.len() > LONGEST_PREFIX || !text.bytes().all(fits) {
        value.wrong(format!("must be at most {LONGEST_PREFIX} visible ASCII characters without spaces, brackets, `*`, `?` and `\\`, like `{PREFIX}`"));
        return None;
    }
    Some(text)
}

/// What one URL says.
struct Place {
    server: RedisServer,
    tls: bool,
    database: Option<u32>,
    credentials: RedisCredentials,
    /// Nobody else can be between.
    on_loopback: bool,
}

/// The servers of `url`, each once, all with or all without TLS.
fn places(value: &Value<'_>) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let items = value.items();
    if items.is_empty() {
        value.wrong(format!("the list is empty; {RIGHT}"));
    }
    for value in items {
        let Some(place) = value.text().and_then(|text| server(&value, &text)) else { continue };
        if places.iter().any(|other| other.server == place.server) {
            value.wrong("names a server that is in this list already; remove one");
        }
        if places.iter().any(|other| other.tls != place.tls) {
            value.wrong("`redis://` and `rediss://` stand in one list; speak TLS with all or with none");
        }
        let database = places.iter().find_map(|place| place.database);
        if database.is_some() && place.database.is_some() && place.database != database {
            value.wrong("names another database than a URL before it; all must name the same");
        }
        warn_of_clear_text(&value, &place);
        places.push(place);
    }
    places
}

fn warn_of_clear_text(value: &Value<'_>, place: &Place) {
    if !place.tls && !place.on_loopback {
        value.warn("is not encrypted and not on this machine: whoever is between can sign users out and make replays go unnoticed; use `rediss://`, or a network of your own");
    }
}

fn server(value: &Value<'_>, text: &str) -> Option<Place> {
    let wrong = |why: &str| value.wrong(format!("{why}; {RIGHT}"));
    let Some(url) = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "redis" | "rediss")) else {
        wrong("is not a URL of Redis");
        return None;
    };
    let host = match url.host() {
        Some(Host::Domain(name)) if is_name(name) => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        _ => {
            wrong("names no host");
            return None;
        }
    };
    if url.query().is_some() || url.fragment().is_some() {
        wrong("has a query or a fragment; remove it");
        return None;
    }
    let database = match url.path().trim_matches('/') {
        "" => None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 5 => {
            digits.parse().ok()
        }
        _ => {
            wrong("has a path that is not the number of a database");
            return None;
        }
    };
    let decoded = |text: &str| String::from_utf8(percent::decode(text.as_bytes())).ok();
    let username = decoded(url.username()).filter(|name| !name.is_empty());
    let password = url.password().and_then(decoded).map(SecretString::new);
    if password.is_some() && value.has_default_before('@') {
        value.wrong("a URL with a password in it must not have a default before its `@`; write `${NAME}` and set the variable, or use `password`");
        return None;
    }
    if username.is_some() && password.is_none() {
        wrong("has a user and no password (a password alone is written `redis://:password@…`)");
        return None;
    }
    let on_loopback =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    Some(Place {
        server: RedisServer { host, port: url.port().unwrap_or(6379) },
        tls: url.scheme() == "rediss",
        database,
        credentials: RedisCredentials { username, password },
        on_loopback,
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}
