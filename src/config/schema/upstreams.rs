//! The rows of the table for upstreams, and for what a route may say of its own.

use super::Need::{Default, Otherwise, Required};
use super::ValueForm::{NamedSecrets, One, OneOrKeys, OneOrMany, Section};
use super::{Key, Need, key};

pub(super) const UPSTREAM: &[Key] = &[
    key(
        "url",
        OneOrMany("a URL"),
        Required,
        "Its server, or several that do the same: scheme, host and port, no path. `http`; `https`: HTTP/2 where the server offers it, else HTTP/1.1; `h2c`: HTTP/2 in clear text.",
        "[http://10.0.0.1:3000, http://10.0.0.2:3000]",
    ),
    key(
        "host",
        One("`upstream` or `client`"),
        Default("upstream"),
        "The `Host` that is sent: the server's, or the one that the client asked for.",
        "client",
    ),
    key(
        "case_sensitive",
        One("true or false"),
        Default("false"),
        "`true`: its services tell upper and lower case in paths apart, as routes do. Else a path that would be another route's, or Tollgate's, in another case is 400 (see [security.md](security.md#upper-and-lower-case)).",
        "true",
    ),
    key(
        "balance",
        OneOrKeys("`round_robin` or `random`", BALANCE),
        Default("round_robin"),
        "Which of several servers takes a request.",
        "random",
    ),
    key(
        "health",
        Section(HEALTH),
        Otherwise(
            "servers are not asked how they are; one that cannot be reached is still set aside for a while",
        ),
        "Each server is asked for a page, over and over; while it does not answer with 2xx or 3xx it gets no request.",
        "",
    ),
    key(
        "tls",
        Section(TLS),
        Otherwise("the system's authorities"),
        "How TLS is spoken with `https` servers.",
        "",
    ),
    key(
        "headers",
        NamedSecrets { name: "header" },
        Otherwise("none"),
        "What Tollgate proves itself with to its servers: set last on each request, each retry and each health check, but not on preflights, which are nobody's. A header of such a name is removed from every request that comes in, whatever its route.",
        "{ Authorization: { file: secrets/alertmanager } }",
    ),
    key("timeouts", Section(TIMEOUTS), Otherwise("the defaults below"), "Deadlines towards the servers.", ""),
    key(
        "retries",
        One("a number"),
        Default("1"),
        "How often a request is tried again: only when nothing of it was sent, or its method is idempotent, its body still at hand and nothing was answered. 0 to 5.",
        "0",
    ),
];

const BALANCE: &[Key] = &[key(
    "consistent",
    One("the name of a claim"),
    Required,
    "Callers with the same value of this claim get the same server; without it, callers from the same address.",
    "sub",
)];

const HEALTH: &[Key] = &[
    key("path", One("a path"), Required, "What is asked for, with GET.", "/healthz"),
    key("interval", One("a duration"), Default("10s"), "How often; 100ms to 1h.", "5s"),
    key(
        "timeout",
        One("a duration"),
        Default("2s"),
        "How long an answer may take; at most 1m, and better not longer than `interval`.",
        "1s",
    ),
];

const TLS: &[Key] = &[
    key(
        "ca",
        One("a file"),
        Otherwise("the system's"),
        "The authorities that sign its certificates (PEM).",
        "tls/internal.pem",
    ),
    key(
        "server_name",
        One("a host"),
        Otherwise("the host of the URL"),
        "The name that its certificate must be for, and that is asked for (SNI).",
        "api.internal",
    ),
    key(
        "certificate",
        One("a file"),
        Otherwise("none is shown"),
        "The certificate and its chain (PEM) that Tollgate shows.",
        "tls/gate.pem",
    ),
    key("key", One("a file"), Otherwise("none"), "Its private key (PEM, not encrypted).", "tls/gate.key"),
];

pub(super) const TIMEOUTS: &[Key] = &timeouts([Default("2s"), Default("60s"), Default("60s")]);

/// The deadlines of one route, where its upstream's do not do.
pub(super) const OWN_TIMEOUTS: &[Key] = &timeouts([Otherwise("that of the upstream"); 3]);

const fn timeouts([connect, read, write]: [Need; 3]) -> [Key; 3] {
    [
        key(
            "connect",
            One("a duration"),
            connect,
            "Until a connection stands, TLS included, and as long for a name that is to be resolved first; at most 1m.",
            "500ms",
        ),
        key("read", One("a duration"), read, "How long it may be silent; at most 1d.", "5m"),
        key(
            "write",
            One("a duration"),
            write,
            "How long it may take nothing; then an early answer is waited for as long as `read` says. At most 1d.",
            "30s",
        ),
    ]
}
