//! `introspection:` of an issuer — how it is asked about opaque tokens (RFC 7662), and who says so: the
//! gateway proves itself there like a client, because an endpoint that answers anybody could be searched for
//! tokens (section 2.1).

use std::time::Duration;

use crate::config::clients::{client_id, credential};
use crate::config::network::{Network, issuer_url};
use crate::config::settings::{ClientCredential, Introspection};
use crate::config::text::read::Keys;
use crate::core::session::oauth::authentication::Audience;

const CACHE: Duration = Duration::from_secs(30);
const LONGEST_CACHE: Duration = Duration::from_secs(600);

/// `issuer`: the keys of the issuer. `is_discovered`: it has a metadata document.
pub(in crate::config) fn read(
    issuer: &Keys<'_>,
    is_discovered: bool,
    network: &Network,
) -> Option<Introspection> {
    let keys = issuer.get("introspection")?.keys()?;
    let client_id = keys.get("client_id").and_then(|value| client_id(&value));
    let credential = credential(&keys);
    if !keys.has("secret") && !keys.has("private_key") {
        keys.wrong(
            "secret",
            "neither `secret` nor `private_key` is given, and no authorization server answers everybody (RFC 7662 \
             section 2.1); add one, like `secret: { file: introspection.txt }`",
        );
    }
    let cache = keys.duration("cache", CACHE, Duration::ZERO..=LONGEST_CACHE);
    let endpoint = keys.get("endpoint").map(|value| issuer_url(&value, network));
    if endpoint.is_none() && !is_discovered {
        keys.wrong(
            "endpoint",
            "the key `endpoint` is missing: this issuer has keys and no metadata in which it would stand; add it, like \
             `endpoint: https://login.example.com/introspect`",
        );
    }
    if let Some(ClientCredential::PrivateKey(key)) = &credential
        && key.audience == Audience::TokenEndpoint
        && !is_discovered
    {
        keys.wrong(
            "assertion_audience",
            "this issuer has keys and no metadata in which its token endpoint would stand; write `endpoint`, or `issuer`",
        );
    }
    let endpoint = match endpoint {
        Some(given) => Some(given?.1),
        None => None,
    };
    let credential = credential.filter(|credential| !matches!(credential, ClientCredential::None))?;
    Some(Introspection { client_id: client_id?, credential, endpoint, cache })
}
