//! `issuers:` — whose tokens count, and where their keys come from.
//!
//! - `connection`: how one is reached; `introspection`: how one is asked about opaque tokens

pub(in crate::config) mod connection;
mod introspection;

use std::time::Duration;

use url::Url;

use crate::config::names::valid_name;
use crate::config::network::certificates;
use crate::config::network::{Network, is_trimmed, issuer_url};
use crate::config::settings::{Issuer, KeySource};
use crate::config::text::read::{Keys, Value};
use crate::core::ids::IssuerName;
use crate::core::token::jwks::KeySet;
use crate::core::token::kind::is_of_other_tokens;
use crate::core::token::{Algorithm, ClaimNames, LARGEST_CLOCK_SKEW, LARGEST_IAT_BEHIND, TokenRules};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// The issuers that could be read. Their `client_ids` are filled in when the clients are known.
pub(super) fn read(root: &Keys<'_>, network: &Network) -> Vec<Issuer> {
    let Some(all) = root.get("issuers") else { return Vec::new() };
    let named = all.named("name");
    if named.is_empty() && all.keys().is_some() {
        all.wrong("no issuer is configured, so no token could count; add one");
    }
    let mut issuers: Vec<Issuer> = Vec::new();
    for (name, value) in named {
        if !valid_name(name, &value) {
            continue;
        }
        let Some(issuer) = value.keys().and_then(|keys| issuer(name, &keys, network)) else { continue };
        if let Some((key, message)) =
            issuers.iter().find_map(|other| claimed_twice(&issuer.rules, &other.rules))
        {
            if let Some(keys) = value.keys() {
                keys.wrong(key, message);
            }
            continue;
        }
        issuers.push(issuer);
    }
    issuers
}

/// Which key of `rules` claims an `iss` that is `other`'s, and what is wrong with that.
fn claimed_twice(rules: &TokenRules, other: &TokenRules) -> Option<(&'static str, String)> {
    let name = &other.issuer;
    if rules.iss == other.iss {
        return Some(("url", format!("the issuer `{name}` has this URL too; each `iss` belongs to one")));
    }
    let is_theirs = |iss: &String| other.is_called(iss);
    let claimed = |key| (key, format!("the issuer `{name}` claims this `iss`, too; each belongs to one"));
    let key = if is_theirs(&rules.iss) { Some("url") } else { None };
    key.or_else(|| rules.access_token_iss.iter().any(is_theirs).then_some("access_token_issuer")).map(claimed)
}

/// The issuers that are to be asked about opaque tokens, also those that could not be read.
pub(super) fn introspecting(root: &Keys<'_>) -> Vec<IssuerName> {
    let named = root.get("issuers").map(|all| all.named("name")).unwrap_or_default();
    let asked = |value: &Value<'_>| value.keys().is_some_and(|keys| keys.has("introspection"));
    named.iter().filter(|(_, value)| asked(value)).map(|(name, _)| IssuerName::new(*name)).collect()
}

/// The claims in which the issuer's tokens say what is read here (`claims`).
fn claim_names(keys: &Keys<'_>) -> ClaimNames {
    let claims = keys.section("claims");
    let names = |key, default: Vec<String>| {
        claims.texts(key).map_or(default, |texts| texts.into_iter().map(|(_, text)| text).collect())
    };
    let default = ClaimNames::default();
    ClaimNames {
        scope: names("scope", default.scope),
        client: names("client", default.client),
        session: names("session", default.session),
        id: names("id", default.id),
        access_token: claims.texts("access_token").map(only_in_access_tokens).unwrap_or_default(),
    }
}

/// Refuses keys that are about calls to an issuer which is never called.
fn refuse_without_effect(keys: &Keys<'_>) {
    if !keys.has("shared_secret") && !keys.has("jwks_file") {
        return;
    }
    let is_asked = |key| key != "keys_refresh" && keys.has("introspection");
    for key in ["timeout", "ca", "keys_refresh"].into_iter().chain(connection::KEYS) {
        if keys.has(key) && !is_asked(key) {
            keys.wrong(
                key,
                "has no effect: this issuer is never called for keys, because they are given here; remove it",
            );
        }
    }
}

fn issuer(name: &str, keys: &Keys<'_>, network: &Network) -> Option<Issuer> {
    let iss = keys.get("url").and_then(|value| iss(&value, network));
    let audiences = keys.texts("audience").map(|texts| texts.into_iter().map(|(_, text)| text).collect());
    let shared = keys.has("shared_secret");
    let algorithms = algorithms(keys, shared);
    let source = key_source(keys, network, &algorithms);
    let claims = claim_names(keys);
    let access_token_iss = access_token_iss(keys, iss.as_deref());
    let clients_without_audience = keys.texts("clients_without_audience").unwrap_or_default();
    let token_type = keys.get("token_type").and_then(|value| token_type(&value));
    let clock_skew = keys.duration("clock_skew", 30 * SECOND, Duration::ZERO..=LARGEST_CLOCK_SKEW);
    let iat_behind = keys.duration("iat_behind", Duration::ZERO, Duration::ZERO..=LARGEST_IAT_BEHIND);
    let max_token_lifetime = keys.duration("max_token_lifetime", DAY, SECOND..=366 * DAY);
    let timeout = keys.duration("timeout", 5 * SECOND, SECOND / 10..=MINUTE);
    let keys_refresh = keys.duration("keys_refresh", 10 * MINUTE, 10 * SECOND..=DAY);
    let ca = keys.get("ca").and_then(|value| ca(&value));
    let is_discovered = !["jwks_uri", "jwks_file", "shared_secret"].iter().any(|key| keys.has(key));
    let introspection = introspection::read(keys, is_discovered, network);
    let mut others = source.as_ref().map(named_urls).unwrap_or_default();
    others.extend(
        introspection.as_ref().and_then(|asked| Some(("introspection.endpoint", asked.endpoint.as_ref()?))),
    );
    let own = iss.as_deref().and_then(|iss| Url::parse(iss).ok());
    let connection = connection::read(keys, own.as_ref(), &others);
    refuse_without_effect(keys);
    let issuer = IssuerName::new(name);
    let rules = TokenRules {
        issuer: issuer.clone(),
        iss: iss?,
        access_token_iss,
        audiences: audiences?,
        clients_without_audience: clients_without_audience.into_iter().map(|(_, id)| id).collect(),
        algorithms,
        token_type,
        clock_skew,
        iat_behind,
        max_token_lifetime,
        claims,
        client_ids: Vec::new(),
    };
    if rules.asks_for_rfc_9068() && !rules.clients_without_audience.is_empty() {
        keys.wrong(
            "clients_without_audience",
            "`token_type: at+jwt` asks for the profile of RFC 9068, by which every access token has `aud`; remove one of the two",
        );
    }
    Some(Issuer {
        name: issuer,
        rules,
        keys: source?,
        timeout,
        ca,
        connection: connection?,
        keys_refresh,
        introspection,
        signs_in: false,
    })
}

/// Claims that ID tokens have as well tell nothing apart (OpenID Connect Core 1.0 sections 2, 3.1.3.6 and
/// 3.3.2.11; FAPI 1.0 Advanced section 5.1.1; front-channel logout section 3), nor do two that some servers
/// write into them.
const OF_ID_TOKENS: [&str; 18] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "auth_time",
    "nonce",
    "acr",
    "amr",
    "azp",
    "at_hash",
    "c_hash",
    "s_hash",
    "sid",
    "typ",
    "client_id",
];

fn only_in_access_tokens(names: Vec<(Value<'_>, String)>) -> Vec<String> {
    for (value, name) in &names {
        if OF_ID_TOKENS.contains(&name.as_str()) {
            value.wrong("is in ID tokens, too, and would let them pass; name a claim that access tokens alone have, such as Authentik's `uid`");
        }
    }
    names.into_iter().map(|(_, name)| name).collect()
}

/// What calls itself something else must not pass as an access token (RFC 8725 section 3.11).
fn token_type(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if is_of_other_tokens(&text) {
        value.wrong(
            "is of another kind of token, which is never an access token; an access token's is like `at+jwt`",
        );
    }
    Some(text)
}

fn iss(value: &Value<'_>, network: &Network) -> Option<String> {
    let (text, url) = issuer_url(value, network)?;
    if !is_no_template(value, &text) {
        return None;
    }
    if url.query().is_some() {
        value.wrong("has a query (`?…`), which no issuer has (RFC 8414 section 2); remove it");
        return None;
    }
    if url.path().contains("/.well-known/") {
        value.wrong("is where its metadata are, and not the issuer; write the `issuer` that stands in them");
        return None;
    }
    if is_for_every_tenant(&url) {
        value.wrong("is for every tenant, and no token says so; write the `iss` of one tenant, with its id, and one issuer for each tenant");
        return None;
    }
    Some(text)
}

/// Entra ID's addresses that are nobody's name.
fn is_for_every_tenant(url: &Url) -> bool {
    let tenant = url.path_segments().and_then(|mut segments| segments.next());
    url.host_str() == Some("login.microsoftonline.com")
        && matches!(tenant, Some("common" | "organizations" | "consumers"))
}

/// What Entra ID's metadata for `common` and `organizations` say is no issuer's name: no token has it in
/// `iss`.
fn is_no_template(value: &Value<'_>, text: &str) -> bool {
    let is_one = text.contains(['{', '}']);
    if is_one {
        value.wrong(
            "has a brace in it: it is the template of an issuer for each tenant, and no token says so; write the whole `iss` of one \
             tenant, with its id in place of the braces, and one issuer for each tenant",
        );
    }
    !is_one
}

/// What access tokens say, where it is not `url`. It is compared and never called, so that any text will do.
fn access_token_iss(keys: &Keys<'_>, url: Option<&str>) -> Vec<String> {
    let given = keys.texts("access_token_issuer").unwrap_or_default();
    if let ([(value, only)], Some(url)) = (given.as_slice(), url)
        && only == url
    {
        value.wrong("has no effect: it is `url`, which counts without it; remove it, or write what `iss` of the access tokens is");
    }
    let fits = |(value, text): &(Value<'_>, String)| is_trimmed(value, text) && is_no_template(value, text);
    given.into_iter().filter(fits).map(|(_, text)| text).collect()
}

fn key_source(keys: &Keys<'_>, network: &Network, algorithms: &[Algorithm]) -> Option<KeySource> {
    one_source(keys, &["discovery", "jwks_uri", "jwks_file", "shared_secret"]);
    let discovery = keys.get("discovery").map(|value| issuer_url(&value, network));
    let jwks_uri = keys.get("jwks_uri").map(|value| issuer_url(&value, network));
    let jwks_file = keys.get("jwks_file").map(|value| jwks_file(&value));
    let shared = keys.get("shared_secret").map(|value| shared_secret(&value, algorithms));
    match (discovery, jwks_uri, jwks_file, shared) {
        (Some(url), ..) => url.map(|(_, url)| KeySource::Discovery(Some(url))),
        (_, Some(url), ..) => url.map(|(_, url)| KeySource::JwksUri(url)),
        (_, _, Some(file), _) => file,
        (_, _, _, Some(secret)) => secret,
        (None, None, None, None) => Some(KeySource::Discovery(None)),
    }
}

/// The URLs that say where the keys come from, each with its key.
pub(super) fn named_urls(source: &KeySource) -> Vec<(&'static str, &Url)> {
    match source {
        KeySource::Discovery(Some(url)) => vec![("discovery", url)],
        KeySource::JwksUri(url) => vec![("jwks_uri", url)],
        KeySource::Discovery(None) | KeySource::JwksFile { .. } | KeySource::SharedSecret(_) => Vec::new(),
    }
}

/// Says which of `sources` are too many.
pub(super) fn one_source(keys: &Keys<'_>, sources: &[&str]) {
    let given: Vec<&str> = sources.iter().copied().filter(|key| keys.has(key)).collect();
    for (index, key) in given.iter().enumerate().skip(1) {
        let first = given.get(index - 1).copied().unwrap_or_default();
        keys.wrong(key, format!("`{first}` says already where the keys come from; keep one of the two"));
    }
}

pub(super) fn jwks_file(value: &Value<'_>) -> Option<KeySource> {
    let (path, text) = value.file()?;
    let written = value.written();
    let right = "it must be a JWK set: `{\"keys\": [{…}]}` (RFC 7517 section 5)";
    match KeySet::parse(&text) {
        Err(why) => {
            value.wrong(format!("the file `{written}` cannot be used ({why}); {right}"));
            return None;
        }
        Ok((keys, skipped)) => {
            let reasons: Vec<String> =
                skipped.iter().map(|skipped| format!("keys[{}]: {}", skipped.index, skipped.why)).collect();
            if keys.is_empty() {
                let reasons = reasons.join(", ");
                value.wrong(format!(
                    "the file `{written}` has no key that verifies tokens ({reasons}); {right}"
                ));
                return None;
            }
            for reason in reasons {
                value.warn(format!("in the file `{written}` a key is passed over: {reason}"));
            }
        }
    }
    Some(KeySource::JwksFile { path, text })
}

/// Long enough for each of the algorithms that are listed.
fn shared_secret(value: &Value<'_>, algorithms: &[Algorithm]) -> Option<KeySource> {
    let secret = value.secret()?;
    let length = secret.expose().len();
    let wanted = algorithms.iter().filter_map(|one| one.least_secret().map(|least| (least, one.name())));
    // Where nothing fitting is listed, that is told at the list, and the secret is held to the least.
    let (least, name) = wanted.max().unwrap_or((32, "HS256"));
    if length < least {
        // Longer ones in base64 have a line break in them.
        let maker = if least > 48 { "openssl rand -hex 64" } else { "openssl rand -base64 48" };
        value.wrong(format!(
            "has {length} bytes; {name} needs {least} or more (RFC 7518 section 3.2); `{maker}` makes one"
        ));
        return None;
    }
    let names: Vec<&str> = algorithms.iter().map(|one| one.name()).collect();
    value.warn(format!(
        "{}: whoever can check these tokens can also make them; prefer an issuer with public keys",
        names.join(", ")
    ));
    Some(KeySource::SharedSecret(secret))
}

fn algorithms(keys: &Keys<'_>, shared: bool) -> Vec<Algorithm> {
    let words: Vec<(&str, Algorithm)> = Algorithm::ALL.into_iter().map(|a| (a.name(), a)).collect();
    let default = if shared {
        vec![Algorithm::Hs256]
    } else {
        vec![Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa]
    };
    let Some(texts) = keys.texts("algorithms") else { return default };
    let mut algorithms = Vec::new();
    for (value, _) in texts {
        match value.word(&words) {
            Some(algorithm) if !shared && algorithm.least_secret().is_some() => value.wrong(format!(
                "{} needs `shared_secret`; with public keys it would let anybody make tokens",
                algorithm.name()
            )),
            Some(algorithm) if shared && algorithm.least_secret().is_none() => {
                value.wrong("with `shared_secret` only HS256, HS384 and HS512 can be used; remove this one");
            }
            Some(algorithm) => algorithms.push(algorithm),
            None => {}
        }
    }
    algorithms
}

/// The file as it is, once all in it can be used.
pub(super) fn ca(value: &Value<'_>) -> Option<Vec<u8>> {
    let (_, pem) = value.file()?;
    certificates::authorities_in(value, &pem)?;
    Some(pem)
}
