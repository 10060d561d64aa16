//! The rows of the table about what an upstream learns of the caller.

use super::Need::{Default, Otherwise};
use super::ValueForm::{One, OneOrKeys, Secrets, Section, Values};
use super::{Key, key};

pub(super) const IDENTITY: &[Key] = &[
    key(
        "headers",
        Values { name: "header", value: "the name of a claim" },
        Default("{ X-Auth-Subject: sub, X-Auth-Client: client_id, X-Auth-Scope: scope, X-Auth-Issuer: iss }"),
        "Headers that the upstream gets, and the claims that fill them. Of a list its values, joined by `,`; of an object the names of its members. What a caller sends under these names is removed, on every route.",
        "{ X-User: sub }",
    ),
    key(
        "access_token",
        One("`strip` or `forward`"),
        Default("strip"),
        "Whether `Authorization` goes on to the upstream.",
        "forward",
    ),
    key(
        "assertion",
        Section(ASSERTION),
        Otherwise("off"),
        "A signed statement of who calls, for upstreams that want proof. Its public keys stand at `/.well-known/jwks.json`.",
        "{ bind: upstream }",
    ),
];

const ASSERTION: &[Key] = &[
    key(
        "header",
        One("a header"),
        Default("X-Auth-Assertion"),
        "The header that carries it. What a caller sends under this name is removed, on every route.",
        "X-Identity-Token",
    ),
    key("ttl", One("a duration"), Default("60s"), "How long it is valid; 10s to 1h.", "30s"),
    key(
        "bind",
        One("`upstream` or `request`"),
        Default("upstream"),
        "What it is for. `upstream`: any request to this upstream; made once and reused for half its life. `request`: also names the method and the path; signed for each request.",
        "request",
    ),
    key(
        "keys",
        Secrets,
        Otherwise("one is made and kept in `store` (`assertion.key`)"),
        "Keys that sign, in PKCS#8 PEM: RSA of 2048 bits or more, P-256, P-384 or Ed25519. The first signs, all are published. `tollgate keys assertion` makes one. Required with Redis.",
        "[{ file: keys/assertion.1 }, { file: keys/assertion.2 }]",
    ),
];

/// Those of a route.
pub(super) const ROUTE_IDENTITY: &[Key] = &[
    key(
        "headers",
        Values { name: "header", value: "the name of a claim" },
        Otherwise("`identity.headers`"),
        "Headers that the upstream gets, and the claims that fill them: these and no others; `{}` is none. What a caller sends under these names is removed, on every route.",
        "{ X-User: email }",
    ),
    key(
        "access_token",
        One("`strip` or `forward`"),
        Otherwise("`identity.access_token`"),
        "Whether `Authorization` goes on to the upstream.",
        "forward",
    ),
    key(
        "assertion",
        OneOrKeys("`off`", ROUTE_ASSERTION),
        Otherwise("as `identity.assertion`"),
        "`off`, or how the assertion is made here, also where `identity` has none.",
        "off",
    ),
];

const ROUTE_ASSERTION: &[Key] = &[
    key(
        "header",
        One("a header"),
        Otherwise("`identity.assertion.header`"),
        "The header that carries it. What a caller sends under this name is removed, on every route.",
        "X-Identity-Token",
    ),
    key(
        "ttl",
        One("a duration"),
        Otherwise("`identity.assertion.ttl`"),
        "How long it is valid; 10s to 1h.",
        "30s",
    ),
    key(
        "bind",
        One("`upstream` or `request`"),
        Otherwise("`identity.assertion.bind`"),
        "What it is for: see `identity.assertion.bind`.",
        "request",
    ),
];
