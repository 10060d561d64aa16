//! `signals:` — transmitters of shared signals (RFC 8935, OpenID Shared Signals Framework 1.0): who may say
//! that somebody's access is over, whose subjects that may be, and where the keys come from that show who
//! says it.
//!
//! A transmitter that is also a configured issuer signs with the keys by which that issuer's tokens count:
//! whoever has those can make any token, and so may say of each that it is over.

use std::time::Duration;

use url::Url;

use crate::config::issuers::connection;
use crate::config::issuers::{ca, jwks_file, named_urls, one_source};
use crate::config::names::{unknown, valid_name};
use crate::config::network::admin;
use crate::config::network::{Network, issuer_url};
use crate::config::settings::{Issuer, IssuerConnection, KeySource, Signal, SignalKeys};
use crate::config::text::read::{Keys, Value};
use crate::core::ids::{IssuerName, SignalName};
use crate::core::metadata::ssf_location;
use crate::core::token::security_event::SignalRules;
use crate::core::token::security_event::event::EventType;
use crate::core::token::{Algorithm, ClaimNames, TokenRules};

const SECOND: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(5);
const CLOCK_SKEW: Duration = Duration::from_secs(30);
const KEYS_REFRESH: Duration = Duration::from_secs(600);

/// What a transmitter must agree with.
pub(super) struct SignalContext<'a> {
    pub(super) network: &'a Network,
    /// Those that could be read.
    pub(super) issuers: &'a [Issuer],
    /// The names of all, also of those that could not.
    pub(super) issuer_names: &'a [&'a str],
}

/// The transmitters that could be read.
pub(super) fn read(root: &Keys<'_>, around: &SignalContext<'_>) -> Vec<Signal> {
    let named = root.get("signals").map(|all| all.named("name")).unwrap_or_default();
    let mut signals: Vec<Signal> = Vec::new();
    for (name, value) in named {
        if !valid_name(name, &value) {
            continue;
        }
        let Some(keys) = value.keys() else { continue };
        let Some(signal) = signal(name, &keys, around) else { continue };
        if let Some(other) = signals.iter().find(|other| other.rules.iss == signal.rules.iss) {
            keys.wrong(
                "issuer",
                format!(
                    "`signals.{}` has this issuer too; each transmitter stands here once, with all its audiences",
                    other.name
                ),
            );
            continue;
        }
        signals.push(signal);
    }
    signals
}

fn signal(name: &str, keys: &Keys<'_>, around: &SignalContext<'_>) -> Option<Signal> {
    let issuer = keys.get("issuer").and_then(|value| issuer_url(&value, around.network));
    let audiences = keys.texts("audience").map(|texts| texts.into_iter().map(|(_, text)| text).collect());
    let token = keys.get("token").map(|value| admin::token(&value));
    let revokes = revokes(keys, around);
    let events = events(keys);
    let iss = issuer.as_ref().map(|(text, _)| text.as_str());
    let known = around.issuers.iter().find(|issuer| Some(issuer.rules.iss.as_str()) == iss);
    let source = key_source(keys, issuer.as_ref().map(|(_, url)| url), known, around.network);
    let timeout = keys.duration("timeout", TIMEOUT, SECOND / 10..=60 * SECOND);
    let ca = keys.get("ca").and_then(|value| ca(&value));
    let is_called =
        matches!(source, Some(Source::Own(KeySource::Discovery(_) | KeySource::JwksUri(_))) | None);
    let others = match &source {
        Some(Source::Own(source)) => named_urls(source),
        _ => Vec::new(),
    };
    let connection = connection::read(keys, issuer.as_ref().map(|(_, url)| url), &others);
    for key in ["timeout", "ca"].into_iter().chain(connection::KEYS) {
        if keys.has(key) && !is_called {
            keys.wrong(
                key,
                "has no effect: this transmitter is never called for keys, because they are known without it; remove it",
            );
        }
    }
    let iss = iss?.to_owned();
    let (keys, algorithms, clock_skew) = match source? {
        Source::OfIssuer(issuer) => (
            SignalKeys::OfIssuer(issuer.name.clone()),
            issuer.rules.algorithms.clone(),
            issuer.rules.clock_skew,
        ),
        Source::Own(source) => {
            let algorithms: Vec<_> =
                Algorithm::ALL.into_iter().filter(|one| one.least_secret().is_none()).collect();
            let called =
                Issuer { timeout, ca, connection: connection?, ..called(name, &iss, &algorithms, source) };
            (SignalKeys::Own(called.into()), algorithms, CLOCK_SKEW)
        }
    };
    let token = match token {
        Some(token) => Some(token?),
        None => None,
    };
    let revokes = revokes?;
    let concerned =
        around.issuers.iter().map(|issuer| &issuer.rules).filter(|rules| revokes.contains(&rules.iss));
    let also_called = concerned
        .flat_map(|rules| rules.access_token_iss.iter().map(|said| (said.clone(), rules.iss.clone())))
        .collect();
    let rules = SignalRules {
        iss,
        audiences: audiences?,
        algorithms,
        clock_skew,
        revokes,
        also_called,
        events: events?,
    };
    Some(Signal { name: SignalName::new(name), rules, keys, token })
}

/// Where the keys come from.
enum Source<'a> {
    OfIssuer(&'a Issuer),
    Own(KeySource),
}

fn key_source<'a>(
    keys: &Keys<'_>,
    issuer: Option<&Url>,
    known: Option<&'a Issuer>,
    network: &Network,
) -> Option<Source<'a>> {
    one_source(keys, &["discovery", "jwks_uri", "jwks_file"]);
    let discovery = keys.get("discovery").map(|value| issuer_url(&value, network));
    let jwks_uri = keys.get("jwks_uri").map(|value| issuer_url(&value, network));
    let file = keys.get("jwks_file").map(|value| jwks_file(&value));
    let own = match (discovery, jwks_uri, file) {
        (Some(url), ..) => url.map(|(_, url)| KeySource::Discovery(Some(url))),
        (_, Some(url), _) => url.map(|(_, url)| KeySource::JwksUri(url)),
        (_, _, Some(file)) => file,
        (None, None, None) => {
            if let Some(known) = known {
                if matches!(known.keys, KeySource::SharedSecret(_)) {
                    keys.wrong(
                        "issuer",
                        format!(
                            "the issuer `{}` has a shared secret, and whoever checks with it could end everybody's sessions; give this transmitter keys of its own by `jwks_uri` or `jwks_file`",
                            known.name
                        ),
                    );
                    return None;
                }
                return Some(Source::OfIssuer(known));
            }
            let document = ssf_location(issuer?);
            if document.is_none() {
                keys.wrong(
                    "issuer",
                    "has a query (`?…`), so its metadata are nowhere; give `jwks_uri` or `discovery`",
                );
            }
            Some(KeySource::Discovery(Some(document?)))
        }
    };
    own.map(Source::Own)
}

/// Whom to ask for keys. None of its tokens counts as an access token: it is no issuer.
fn called(name: &str, iss: &str, algorithms: &[Algorithm], keys: KeySource) -> Issuer {
    // No issuer can have this name.
    let name = IssuerName::new(format!("signals/{name}"));
    let rules = TokenRules {
        issuer: name.clone(),
        iss: iss.to_owned(),
        access_token_iss: Vec::new(),
        audiences: Vec::new(),
        clients_without_audience: Vec::new(),
        algorithms: algorithms.to_vec(),
        token_type: None,
        clock_skew: CLOCK_SKEW,
        iat_behind: Duration::ZERO,
        max_token_lifetime: Duration::ZERO,
        claims: ClaimNames::default(),
        client_ids: Vec::new(),
    };
    Issuer {
        name,
        rules,
        keys,
        timeout: TIMEOUT,
        ca: None,
        connection: IssuerConnection::default(),
        keys_refresh: KEYS_REFRESH,
        introspection: None,
        signs_in: false,
    }
}

/// The `iss` of each issuer that is named, by default of the only one.
fn revokes(keys: &Keys<'_>, around: &SignalContext<'_>) -> Option<Vec<String>> {
    let iss_of = |name: &str| {
        let issuer = around.issuers.iter().find(|issuer| issuer.name.as_str() == name);
        issuer.map(|issuer| issuer.rules.iss.clone())
    };
    let Some(value) = keys.get("revokes") else {
        return match around.issuer_names {
            [] => None,
            [only] => iss_of(only).map(|iss| vec![iss]),
            several => {
                let names: Vec<String> = several.iter().map(|name| format!("`{name}`")).collect();
                keys.wrong(
                    "revokes",
                    format!(
                        "several issuers are configured; say with `revokes` whose subjects this transmitter has a say over: {}",
                        names.join(", ")
                    ),
                );
                None
            }
        };
    };
    let mut all = Vec::new();
    for (value, name) in value.texts()? {
        if around.issuer_names.contains(&name.as_str()) {
            // One that could not be read has its mistake told already.
            all.extend(iss_of(&name));
        } else {
            value.wrong(value.untold(&unknown("issuer", &name, around.issuer_names.iter().copied()), &name));
        }
    }
    Some(all)
}

fn events(keys: &Keys<'_>) -> Option<Vec<EventType>> {
    let Some(value) = keys.get("events") else { return Some(EventType::USED.to_vec()) };
    let words = EventType::USED.map(|kind| (kind.name(), kind));
    let events: Vec<EventType> =
        value.texts()?.iter().filter_map(|(value, _): &(Value<'_>, String)| value.word(&words)).collect();
    if events.contains(&EventType::AccountDisabled) && !events.contains(&EventType::AccountEnabled) {
        value.warn(
            "`account-disabled` without `account-enabled`: only operators can let in again whom it blocks",
        );
    }
    Some(events)
}
