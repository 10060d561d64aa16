//! The rows of the table for the store.

use super::Need::{Default, Otherwise, Required};
use super::ValueForm::{One, OneOrKeys, OneOrMany, Secret};
use super::{Key, key};

pub(super) const STORE: &[Key] = &[
    key(
        "url",
        OneOrMany("a URL"),
        Otherwise("everything is kept in `path`, and there is one replica"),
        "A Redis 7 or Valkey that replicas share: `redis://host:6379/0`, or `rediss://` for TLS. The Sentinels with `sentinel`, any of its servers with `cluster`; then a list.",
        "rediss://cache:6379/0",
    ),
    key(
        "path",
        One("a folder"),
        Default("data"),
        "A folder for what this process keeps for itself; made when it is missing. With `url` nothing secret is in it.",
        "/var/lib/tollgate",
    ),
    key("username", One("text"), Otherwise("Redis' user `default`"), "The user of the ACL.", "tollgate"),
    key(
        "password",
        Secret,
        Otherwise("none"),
        "The password. It may also stand in the URL: `redis://:password@host`.",
        "{ file: /run/secrets/redis }",
    ),
    key(
        "ca",
        One("a file"),
        Otherwise("the system's"),
        "The authorities that sign the certificates of its servers and Sentinels (PEM).",
        "tls/internal.pem",
    ),
    key(
        "certificate",
        One("a file"),
        Otherwise("none is shown"),
        "The certificate and its chain (PEM) that Tollgate shows to its servers and Sentinels; Redis asks for one unless it has `tls-auth-clients no`.",
        "tls/gate.pem",
    ),
    key("key", One("a file"), Otherwise("none"), "Its private key (PEM, not encrypted).", "tls/gate.key"),
    key(
        "sentinel",
        OneOrKeys("the name of the master", SENTINEL),
        Otherwise("`url` is the server itself"),
        "`url` names Sentinels; what they call the master, or the keys below.",
        "mymaster",
    ),
    key(
        "cluster",
        One("true or false"),
        Default("false"),
        "`url` names servers of a cluster; the others are found from there.",
        "true",
    ),
    key("prefix", One("text"), Default("\"tollgate:\""), "What every key begins with.", "\"gate-a:\""),
    key(
        "on_outage",
        One("`refuse` or `serve`"),
        Default("refuse"),
        "While Redis is away: `refuse`: exchanges and sign-ins get 503. `serve`: they go on, each replica coordinates alone, and replays are not noticed.",
        "serve",
    ),
    key(
        "max_staleness",
        One("a duration"),
        Default("5m"),
        "How long requests are admitted on the list of revocations that was last read there, also with `serve`; from 10s to 24h. Then they get 503.",
        "1m",
    ),
];

const SENTINEL: &[Key] = &[
    key("master", One("text"), Required, "What the Sentinels call the master.", "mymaster"),
    key(
        "username",
        One("text"),
        Otherwise("Redis' user `default`"),
        "The user of the Sentinels' ACL.",
        "tollgate",
    ),
    key(
        "password",
        Secret,
        Otherwise("none"),
        "The Sentinels' own password.",
        "{ file: /run/secrets/sentinel }",
    ),
];
