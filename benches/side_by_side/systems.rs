//! What is compared: each system, what it claims to check, and what it is asked. How each is set up is in
//! `config/`, as its own people would write it; `place.rs` starts it.

use crate::Failure;
use crate::tokens::{Algorithm, Bad, MANY};

pub(crate) const NGINX: &str = "nginx, plain proxy";
pub(crate) const HAPROXY: &str = "HAProxy, plain proxy";
pub(crate) const BARE: &str = "pingora, bare proxy";
pub(crate) const EXCHANGES: &str = "Tollgate, an exchange answered again";
pub(crate) const KNOWN: &str = "Tollgate, tokens seen before";
pub(crate) const NEW: &str = "Tollgate, every token new, RS256";
pub(crate) const NEW_WITH_ASSERTION: &str = "Tollgate, every token new, RS256, an assertion each";
pub(crate) const APACHE: &str = "Apache mod_auth_openidc, RS256";

const SIGNATURE: &[Bad] = &[Bad::Absent, Bad::Forged, Bad::Unsigned, Bad::Confused];
const POLICY: &[Bad] = &[
    Bad::Absent,
    Bad::Forged,
    Bad::Unsigned,
    Bad::Confused,
    Bad::Expired,
    Bad::NotYetValid,
    Bad::OfAnotherIssuer,
    Bad::ForAnotherAudience,
];
/// `nbf` is not looked at.
const POLICY_OF_APACHE: &[Bad] = &[
    Bad::Absent,
    Bad::Forged,
    Bad::Unsigned,
    Bad::Confused,
    Bad::Expired,
    Bad::OfAnotherIssuer,
    Bad::ForAnotherAudience,
];

/// Under which heading a system stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    PassesOn,
    Tollgate,
    Others,
}

/// A system under measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) program: Program,
    /// Of the tokens it gets.
    pub(crate) algorithm: Algorithm,
    /// What it must have refused before it is measured.
    pub(crate) refuses: &'static [Bad],
    pub(crate) loads: &'static [Load],
    /// Whether it is spoken to over TLS.
    pub(crate) tls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Nginx,
    HaProxy { checks: &'static [&'static str] },
    Apache,
    Bare,
    Tollgate { identity: &'static str, remembers: bool, routes: usize },
    TollgateExchanges,
}

/// Routes of Tollgate in `config/tollgate.yaml`.
pub(crate) const FEW_ROUTES: usize = 3;
pub(crate) const MANY_ROUTES: usize = 100;

impl System {
    /// Whether it verifies a signature for each request, though it could remember.
    pub(crate) const fn verifies_each(&self) -> bool {
        matches!(self.program, Program::Tollgate { remembers: false, .. })
    }

    /// Tollgate says how many tokens it has verified. Those it remembers it must not verify again, and those
    /// that are to be new to it must be.
    ///
    /// # Errors
    /// When what was measured is not what the name says.
    pub(crate) fn expect_verified(&self, sent: u64, verified: u64) -> Result<(), Failure> {
        let Program::Tollgate { remembers, .. } = self.program else { return Ok(()) };
        let as_named = if remembers { verified * 100 <= sent } else { verified * 100 >= sent * 95 };
        if as_named {
            return Ok(());
        }
        Err(format!("{}: of {sent} requests' tokens {verified} were verified anew", self.name).into())
    }
}

/// All, in the order of the tables.
pub(crate) fn all() -> Vec<System> {
    const SIGNED: &[&str] = &[include_str!("config/haproxy-signature.cfg")];
    const FULL: &[&str] =
        &[include_str!("config/haproxy-signature.cfg"), include_str!("config/haproxy-policy.cfg")];
    use Algorithm::{EdDsa, Es256, Rs256};
    let plain = |name, program| System {
        name,
        group: Group::PassesOn,
        program,
        algorithm: Es256,
        refuses: &[],
        loads: Load::BOTH,
        tls: false,
    };
    let other = |name, program, algorithm, refuses| System {
        name,
        group: Group::Others,
        program,
        algorithm,
        refuses,
        loads: Load::BOTH,
        tls: false,
    };
    let tollgate = |name, identity, remembers, algorithm| System {
        name,
        group: Group::Tollgate,
        program: Program::Tollgate { identity, remembers, routes: FEW_ROUTES },
        algorithm,
        refuses: POLICY,
        loads: if remembers { Load::BOTH } else { &[Load::Many] },
        tls: false,
    };
    vec![
        plain(NGINX, Program::Nginx),
        plain(HAPROXY, Program::HaProxy { checks: &[] }),
        plain(BARE, Program::Bare),
        // What was made for a token is to serve in all rounds, which are minutes apart, as it does where each
        // comes often.
        tollgate(KNOWN, "{ assertion: { ttl: 1h } }", true, Es256),
        tollgate(
            "Tollgate, seen before, an assertion a request",
            "{ assertion: { bind: request } }",
            true,
            Es256,
        ),
        // As the others: without an assertion for the upstream, which is a signature more.
        tollgate(NEW, "{}", false, Rs256),
        tollgate("Tollgate, every token new, EdDSA", "{}", false, EdDsa),
        tollgate("Tollgate, every token new, ES256", "{}", false, Es256),
        tollgate(NEW_WITH_ASSERTION, "{ assertion: {} }", false, Rs256),
        other("HAProxy, RS256, only the signature", Program::HaProxy { checks: SIGNED }, Rs256, SIGNATURE),
        other("HAProxy, RS256, all claims", Program::HaProxy { checks: FULL }, Rs256, POLICY),
        other("HAProxy, ES256, only the signature", Program::HaProxy { checks: SIGNED }, Es256, SIGNATURE),
        other("HAProxy, ES256, all claims", Program::HaProxy { checks: FULL }, Es256, POLICY),
        other(APACHE, Program::Apache, Rs256, POLICY_OF_APACHE),
    ]
}

/// Those of which more is measured than requests with many tokens: the plain proxies, and Tollgate with a
/// known token.
pub(crate) fn few() -> impl Iterator<Item = System> {
    all().into_iter().filter(|system| [NGINX, HAPROXY, BARE, KNOWN].contains(&system.name))
}

/// An exchange, beside a request that is only passed on.
pub(crate) fn exchanging() -> Vec<System> {
    let exchanges = System {
        name: EXCHANGES,
        group: Group::Tollgate,
        program: Program::TollgateExchanges,
        algorithm: Algorithm::Es256,
        refuses: &[],
        loads: &[Load::Exchanges],
        tls: false,
    };
    let bare = all().into_iter().filter(|system| system.name == BARE);
    bare.map(|bare| System { loads: &[Load::One], ..bare }).chain([exchanges]).collect()
}

/// The same over TLS.
pub(crate) fn few_over_tls() -> impl Iterator<Item = System> {
    few().map(|system| System { tls: true, loads: Load::OVER_TLS, ..system })
}

/// The same with as many routes as a large installation has, where there are routes.
pub(crate) fn few_with_many_routes() -> impl Iterator<Item = System> {
    few().map(|mut system| {
        if let Program::Tollgate { routes, .. } = &mut system.program {
            *routes = MANY_ROUTES;
        }
        system
    })
}

/// Whether the others are divided by it.
pub(crate) fn is_measure(name: &str) -> bool {
    name == NGINX || name == BARE
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// One token again and again.
    One,
    /// [`MANY`] tokens in turn, over 256 paths.
    Many,
    /// One token, over TLS.
    Https,
    /// The same by HTTP/2, [`STREAMS`] requests at a time on each of fewer connections.
    Http2,
    /// An exchange that is answered again.
    Exchanges,
    /// A connection with a full handshake for each request, on [`STREAMS`] times fewer threads.
    Handshakes,
}

/// Requests at a time on one connection of HTTP/2.
pub(crate) const STREAMS: usize = 4;

impl Load {
    pub(crate) const BOTH: &[Self] = &[Self::One, Self::Many];
    pub(crate) const OVER_TLS: &[Self] = &[Self::Https, Self::Http2, Self::Handshakes];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::One => "one token",
            Self::Many => "10,000 tokens",
            Self::Https => "kept connections",
            Self::Http2 => "HTTP/2",
            Self::Handshakes => "a handshake each",
            Self::Exchanges => "an exchange",
        }
    }

    pub(crate) const fn tokens(self) -> u64 {
        match self {
            Self::Many => MANY as u64,
            _ => 1,
        }
    }
}
