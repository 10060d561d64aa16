//! Whether an issuer, or a transmitter of shared signals, gives what this configuration needs of it:
//! `tollgate check --live`. Asks once, for keys and endpoints, as a gateway does at its start; nothing is
//! sent in anybody's name.

use crate::config::settings::{ClientCredential, KeySource, Settings, SignalKeys};
use crate::core::metadata::{ClientAuthentication, Endpoints};
use crate::core::session::oauth::authentication::Credential;
use crate::flows::fitting_keys::no_key_fits;
use crate::flows::keep_keys_fresh::{Means, fetch_now};
use crate::state::issuer_keys::IssuerState;
use crate::state::transmitters::Transmitter;

/// What it has, in words.
///
/// # Errors
/// What it lacks, and what to do.
pub(crate) async fn ask_issuer(
    means: Means<'_>,
    settings: &Settings,
    issuer: &IssuerState,
) -> Result<String, String> {
    if !issuer.is_fetched() {
        return Ok("its keys are given, so it is not asked".to_owned());
    }
    let name = &issuer.settings.name;
    let keys = fetch_now(means, issuer).await.map_err(|why| {
        format!("{why}; see that the URLs of `issuers.{name}` are right and this machine may go there")
    })?;
    if let KeySource::Discovery(_) = issuer.settings.keys {
        let endpoints = issuer.endpoints().ok_or("its metadata could not be read")?;
        let mut lacks = lacking(settings, issuer, &endpoints);
        lacks.extend(unsigned(settings, issuer, &endpoints));
        if !lacks.is_empty() {
            return Err(lacks.join("; "));
        }
    }
    if let Some(lack) = no_key_fits(&issuer.settings, &keys) {
        return Err(lack);
    }
    let keys = match keys.len() {
        0 => "no keys: its tokens are opaque".to_owned(),
        several => count(several),
    };
    let ends_there = issuer.endpoints().is_some_and(|endpoints| endpoints.end_session.is_some());
    if issuer.settings.signs_in && !ends_there {
        return Ok(format!(
            "{keys}; its metadata has no end_session_endpoint, so a sign-out ends the session here only"
        ));
    }
    Ok(keys)
}

/// How a transmitter delivers that `POST /oauth/events` takes: RFC 8935, and the name of it in RISC before
/// that.
const PUSH: [&str; 2] =
    ["urn:ietf:rfc:8935", "https://schemas.openid.net/secevent/risc/delivery-method/push"];

/// The same of a transmitter of shared signals.
///
/// # Errors
/// What it lacks, and what to do.
pub(crate) async fn ask_transmitter(means: Means<'_>, transmitter: &Transmitter) -> Result<String, String> {
    let (name, signer) = (&transmitter.settings.name, &transmitter.signer);
    if let SignalKeys::OfIssuer(issuer) = &transmitter.settings.keys {
        return Ok(format!("it has the keys of the issuer {issuer}"));
    }
    if !signer.is_fetched() {
        return Ok("its keys are given, so it is not asked".to_owned());
    }
    let keys = fetch_now(means, signer).await.map_err(|why| {
        format!("{why}; see that the URLs of `signals.{name}` are right and this machine may go there")
    })?;
    // Whoever does not say how it delivers may do so in any way.
    let methods = signer.endpoints().map(|endpoints| endpoints.delivery_methods.clone()).unwrap_or_default();
    if !methods.is_empty() && !methods.iter().any(|method| PUSH.contains(&method.as_str())) {
        return Err(format!(
            "its metadata's delivery_methods_supported has no {}, so it sends nothing to `POST /oauth/events`",
            PUSH[0]
        ));
    }
    Ok(count(keys.len()))
}

fn count(keys: usize) -> String {
    if keys == 1 { "1 key".to_owned() } else { format!("{keys} keys") }
}

fn lacking(settings: &Settings, issuer: &IssuerState, endpoints: &Endpoints) -> Vec<String> {
    let name = &issuer.settings.name;
    let clients = || settings.clients.iter().filter(|client| client.issuer == *name);
    let has_clients =
        clients().next().is_some() || settings.native_clients.iter().any(|client| client.issuer == *name);
    let is_asked = issuer.settings.introspection.as_ref().is_some_and(|asking| asking.endpoint.is_none());
    let mut lacks = Vec::new();
    let mut needs = |is_needed: bool, is_there: bool, endpoint: &str, remedy: String| {
        if is_needed && !is_there {
            lacks.push(format!("its metadata has no {endpoint}, and {remedy}"));
        }
    };
    needs(
        is_asked,
        endpoints.introspection.is_some(),
        "introspection_endpoint",
        format!(
            "it is to be asked about opaque tokens; set `issuers.{name}.introspection.endpoint`, or remove `introspection`"
        ),
    );
    needs(
        has_clients,
        endpoints.token.is_some(),
        "token_endpoint",
        "its clients exchange tokens there; see `discovery`".to_owned(),
    );
    needs(
        clients().any(|client| client.login.is_some()),
        endpoints.authorization.is_some(),
        "authorization_endpoint",
        "the gateway signs people in there; see `discovery`".to_owned(),
    );
    let signs_in = || clients().filter_map(|client| Some((client, client.login.as_ref()?)));
    let asked = signs_in().find(|(_, login)| login.pushed);
    let why = match asked {
        Some((client, _)) => format!("`clients.{0}.pushed` wants requests pushed there; remove it", client.name),
        None => "it takes only requests that were pushed there (require_pushed_authorization_requests), so nobody can sign in; see `discovery`".to_owned(),
    };
    needs(
        asked.is_some() || (endpoints.requires_pushed && signs_in().next().is_some()),
        endpoints.pushed_authorization.is_some(),
        "pushed_authorization_request_endpoint",
        why,
    );
    lacks
}

/// The clients whose way to sign an assertion is not among those that the issuer lists. Where it lists none,
/// none is reported.
fn unsigned(settings: &Settings, issuer: &IssuerState, endpoints: &Endpoints) -> Vec<String> {
    let name = &issuer.settings.name;
    let clients = settings.clients.iter().filter(|client| client.issuer == *name);
    let native = settings.native_clients.iter().filter(|client| client.issuer == *name);
    let clients: Vec<_> =
        clients.map(|client| (format!("clients.{}", client.name), &client.credential)).collect();
    let native = native.map(|client| (format!("clients.{}", client.name), &client.credential));
    let asks = issuer.settings.introspection.as_ref();
    let asks = asks.map(|asking| (format!("issuers.{name}.introspection"), &asking.credential));
    let (token, revocation) = (&endpoints.token_auth, &endpoints.revocation_auth);
    let is_another = endpoints.revocation.is_some() && revocation.algorithms != token.algorithms;
    let revoking = clients.iter().filter(|_| is_another);
    let at_revocation = revoking.filter_map(|(whose, by)| not_taken(whose, by, "revocation", revocation));
    let at_token = clients.iter().cloned().chain(native);
    at_token
        .filter_map(|(whose, by)| not_taken(&whose, by, "token", token))
        .chain(at_revocation)
        .chain(
            asks.and_then(|(whose, by)| {
                not_taken(&whose, by, "introspection", &endpoints.introspection_auth)
            }),
        )
        .collect()
}

fn not_taken(
    whose: &str,
    credential: &ClientCredential,
    endpoint: &str,
    takes: &ClientAuthentication,
) -> Option<String> {
    let (listed, credential) = (&takes.algorithms, Credential::from(credential));
    let algorithm = credential.algorithm(takes)?;
    if listed.is_empty() || listed.iter().any(|listed| listed == algorithm.name()) {
        return None;
    }
    let own: Vec<_> = credential.algorithms().map(|algorithm| algorithm.name()).collect();
    Some(format!(
        "its metadata's {endpoint}_endpoint_auth_signing_alg_values_supported has {}, and `{whose}.private_key` signs by {}; register a key of another kind",
        listed.join(", "),
        own.join(" or "),
    ))
}
