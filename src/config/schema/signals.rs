//! The table's rows for transmitters of shared signals.

use super::Need::{Default, Otherwise, Required};
use super::ValueForm::{One, OneOrKeys, OneOrMany, Secret};
use super::parties::PROXY;
use super::{Key, key};

pub(super) const SIGNAL: &[Key] = &[
    key(
        "issuer",
        One("a URL"),
        Required,
        "Equals the `iss` of what it sends, byte for byte. Where that is the `url` of one of `issuers`, their keys count for both.",
        "https://login.example.com",
    ),
    key(
        "audience",
        OneOrMany("text"),
        Required,
        "One of these must be in the `aud` of what it sends: what it calls this receiver.",
        "https://api.example.com/oauth/events",
    ),
    key(
        "token",
        Secret,
        Otherwise("its signature alone says who it is"),
        "What it sends as `Authorization: Bearer`: 16 or more visible characters.",
        "{ file: /run/secrets/okta-signals }",
    ),
    key(
        "revokes",
        OneOrMany("the name of an issuer"),
        Otherwise("the only issuer"),
        "Whose subjects it has a say over.",
        "[corp]",
    ),
    key(
        "events",
        OneOrMany("the name of an event"),
        Otherwise("all of these"),
        "What it may use: `session-revoked`, `credential-change`, `account-disabled`, `account-enabled`, `account-purged`, `sessions-revoked`.",
        "[session-revoked, credential-change]",
    ),
    key(
        "discovery",
        One("a URL"),
        Otherwise("found from `issuer` (`/.well-known/ssf-configuration`), where it is none of `issuers`"),
        "The metadata document with its `jwks_uri`. At most one of `discovery`, `jwks_uri`, `jwks_file`.",
        "https://accounts.google.com/.well-known/risc-configuration",
    ),
    key(
        "jwks_uri",
        One("a URL"),
        Otherwise("discovered"),
        "Its keys, from this URL.",
        "https://login.example.com/keys",
    ),
    key(
        "jwks_file",
        One("a file"),
        Otherwise("discovered"),
        "Its keys, from this file (a JWK set).",
        "keys/okta.jwks.json",
    ),
    key(
        "timeout",
        One("a duration"),
        Default("5s"),
        "How long a call for its keys may take in all; at most 60s.",
        "3s",
    ),
    key(
        "ca",
        One("a file"),
        Otherwise("the system's certificates"),
        "Certificates (PEM) that are trusted for it, instead of the system's. After a change its keys are fetched again; those from before count until that works.",
        "tls/corp-ca.pem",
    ),
    key(
        "proxy",
        OneOrKeys("a URL", PROXY),
        Otherwise("it is called straight"),
        "The HTTP proxy through which it is called, as of an issuer.",
        "http://proxy.internal:3128",
    ),
    key(
        "connect_to",
        One("a host and a port"),
        Otherwise("where the URL says"),
        "Where connections to the host and port of `issuer` really go, as of an issuer.",
        "signals.svc:8443",
    ),
];
