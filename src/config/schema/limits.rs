//! What clients may take: how large, how many, how long.

use super::Need::Default;
use super::ValueForm::One;
use super::{Key, key};

pub(super) const LIMITS: &[Key] = &[
    key(
        "token",
        One("a size"),
        Default("8KiB"),
        "The largest access token; 256 bytes to 64KiB, and no larger than `header`.",
        "4KiB",
    ),
    key(
        "header",
        One("a size"),
        Default("32KiB"),
        "The largest request header in all; 1KiB to 64KiB. It has at most 100 fields.",
        "16KiB",
    ),
    key(
        "body",
        One("a size"),
        Default("10MiB"),
        "The largest request body, all of it together: a client that streams (gRPC) is cut off where one request has sent more. `body_limit` of a route lifts it; WebSockets have no limit.",
        "1MiB",
    ),
    key(
        "token_memory",
        One("a size"),
        Default("64MiB"),
        "For access tokens that were verified and are not verified again. `0`: each is, every time. Half as much each may be taken by the tokens of sessions with what upstreams are told of them, by assertions, and by the proofs of possession that were used with tokens, and an eighth by those at `/oauth/token`.",
        "256MiB",
    ),
    key(
        "connections",
        One("a number"),
        Default("20000"),
        "Connections open at once; more are closed unanswered. Fewer where the system allows fewer open files.",
        "5000",
    ),
    key(
        "connections_per_address",
        One("a number"),
        Default("1000"),
        "The same from one address (IPv6: one /64). `trusted_proxies` are not counted.",
        "100",
    ),
    key(
        "requests_per_address",
        One("a rate"),
        Default("0"),
        "How often one address (IPv6: one /64) may ask, behind `trusted_proxies` the client's; then 429. `0`: no limit.",
        "600/m",
    ),
    key(
        "denials_per_address",
        One("a rate"),
        Default("120/m"),
        "How often one address may show bad credentials; then work for it is refused with 429. `0`: no limit.",
        "30/m",
    ),
];

pub(super) const TIMEOUTS: &[Key] = &[
    key(
        "keep_alive",
        One("a duration"),
        Default("75s"),
        "How long a client's connection may be open without a request; at most 1d. Longer than a balancer in front keeps its connections without one.",
        "620s",
    ),
    key(
        "lame_duck",
        One("a duration"),
        Default("1s"),
        "How long new connections are still served after SIGTERM, while `/readyz` is 503 already, so that balancers can notice; at most 5m. See docs/deployment.md.",
        "15s",
    ),
];
