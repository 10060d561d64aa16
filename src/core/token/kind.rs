//! What kind of JWT a token is, by its `typ` and, where that says nothing, by its claims: RFC 8725 sections
//! 3.11 and 3.12 want kinds told apart, and issuers give their tokens of all kinds one key.

use serde_json::{Map, Value};

use crate::core::token::TokenRules;
use crate::core::token::audience::audiences;

/// The claim by which it shows that it is none for an API, where its header does not say what it is.
pub(super) fn mark_of_another_kind(
    typ: Option<&str>,
    claims: &Map<String, Value>,
    rules: &TokenRules,
) -> Option<&'static str> {
    let mark = || {
        let is_event = claims.contains_key("events").then_some("events");
        mark_of_id_token(claims, rules).or(is_event).or_else(|| said_of_another_kind(claims))
    };
    is_unspecific(typ).then(mark).flatten()
}

/// What servers write into the claims of their refresh tokens and ID tokens, which may have issuer, key and
/// audience of their access tokens (RFC 8725 section 2.8).
const OTHER_KINDS: [(&str, &[&str]); 7] = [
    ("typ", &["ID", "Refresh", "Offline", "Logout"]), // Keycloak
    ("token_use", &["id", "id_token", "refresh", "refresh_token"]), // Amazon Cognito, Ory Hydra
    ("token_type", &["id", "id_token", "refresh", "refresh_token"]), // Simple JWT
    ("type", &["refresh", "refresh_token"]),          // Flask-JWT-Extended
    ("tokenName", &["id_token", "refresh_token"]),    // ForgeRock AM
    ("purpose", &["id", "id_token", "refresh_token"]), // Curity
    ("tokenType", &["id-token", "refresh-token"]),    // Casdoor
];

pub(super) fn says_another_kind(claims: &Map<String, Value>) -> bool {
    said_of_another_kind(claims).is_some()
}

/// The claim that says so.
fn said_of_another_kind(claims: &Map<String, Value>) -> Option<&'static str> {
    let says = |name: &str, words: &[&str]| {
        let said = claims.get(name).and_then(Value::as_str);
        said.is_some_and(|said| words.iter().any(|word| word.eq_ignore_ascii_case(said)))
    };
    OTHER_KINDS.iter().find(|(name, words)| says(name, words)).map(|(name, _)| *name)
}

/// A member that OpenID Connect gives to ID tokens alone. Where `typ` says nothing, a token that has one is
/// none for an API.
///
/// A hash of an access token or of a code is in no access token. `nonce` is in many: Keycloak before 25, and
/// its «Nonce backwards compatible» mapper since, Azure AD B2C, PingAM and Authentik copy that of the
/// sign-in. So it is no mark where something else shows an access token: its own word, a claim that the
/// operator knows to be in no ID token, or whom it is for ([`is_for_another`]).
pub(super) fn mark_of_id_token(claims: &Map<String, Value>, rules: &TokenRules) -> Option<&'static str> {
    let has = |name: &&str| claims.contains_key(*name);
    let is_access_token = || {
        let own = &rules.claims.access_token;
        says_access_token(claims)
            || own.iter().any(|name| claims.get(name).is_some_and(|value| !value.is_null()))
            || is_for_another(claims, rules)
    };
    let hash = ["at_hash", "c_hash", "s_hash"].into_iter().find(has);
    hash.or_else(|| Some("nonce").filter(has).filter(|_| !is_access_token()))
}

/// What servers write into the claims of their access tokens. `token_type` is not among them: Simple JWT
/// calls so what it is to be used for.
const ACCESS_TOKENS: [(&str, &[&str]); 2] = [
    ("typ", &["Bearer", "DPoP"]),     // Keycloak
    ("tokenName", &["access_token"]), // ForgeRock AM, PingAM
];

/// Whether it says that it is an access token.
fn says_access_token(claims: &Map<String, Value>) -> bool {
    ACCESS_TOKENS.iter().any(|(name, words)| {
        let said = claims.get(*name).and_then(Value::as_str);
        said.is_some_and(|said| words.iter().any(|word| word.eq_ignore_ascii_case(said)))
    })
}

/// Whether it says that it is an access token where that is all there is to go by, since it names nobody in
/// `aud`: in its `typ` (RFC 9068 section 2.1), or as Amazon Cognito does.
pub(super) fn calls_itself_access_token(typ: Option<&str>, claims: &Map<String, Value>) -> bool {
    let is_cognitos = || claims.get("token_use").and_then(Value::as_str) == Some("access");
    (typ.is_some_and(|typ| is_type(typ, "at+jwt")) || is_cognitos()) && !says_another_kind(claims)
}

/// Whether it was issued to one client and is for somebody else. The `aud` of an ID token names the client
/// that it was issued to (OpenID Connect Core 1.0 section 2), so one whose client is there and not in `aud`
/// is none.
///
/// But for those of servers that let one client ask for ID tokens that are for another (Google: `azp` is the
/// application on the device, `aud` that of its server). So nobody in `aud` may be a client here either, and
/// no name of the client, by the issuer's claims or by `azp`, may be in it: a server has no use for one of
/// two clients that nobody knows.
fn is_for_another(claims: &Map<String, Value>, rules: &TokenRules) -> bool {
    let Ok(audiences) = audiences(claims) else { return false };
    let names = rules.claims.client.iter().map(String::as_str).chain(["azp"]);
    let mut clients = names.filter_map(|name| claims.get(name)).filter(|value| !value.is_null()).peekable();
    let is_elsewhere = |client: &Value| {
        client.as_str().is_some_and(|client| !client.is_empty() && !audiences.contains(&client))
    };
    clients.peek().is_some()
        && clients.all(is_elsewhere)
        && !audiences.iter().any(|name| rules.client_ids.iter().any(|client| client == name))
}

/// A `typ` that does not say what kind of JWT it is.
pub(super) fn is_unspecific(typ: Option<&str>) -> bool {
    typ.is_none_or(|typ| is_type(typ, "jwt"))
}

/// `typ` of every assertion that the gateway makes: one that no access token has.
pub(in crate::core) const ASSERTION_TYPE: &str = "tollgate+jwt";
/// What JWTs of other kinds are called, of Tollgate's own too (its assertions): OpenID Connect Back-Channel
/// Logout section 2.4, RFC 8417 section 2.3, RFC 9449 section 4.2, RFC 9701 section 5, RFC 9101 section 10.8.
const OTHER_TYPES: [&str; 6] = [
    ASSERTION_TYPE,
    "logout+jwt",
    "secevent+jwt",
    "dpop+jwt",
    "token-introspection+jwt",
    "oauth-authz-req+jwt",
];

/// Whether a `typ` is that of a JWT which is never an access token.
pub fn is_of_other_tokens(typ: &str) -> bool {
    OTHER_TYPES.iter().any(|other| is_type(typ, other))
}

/// `typ` values compare without case, and `application/` may be left out (RFC 7515 section 4.1.9).
pub(super) fn is_type(typ: &str, wanted: &str) -> bool {
    fn short(typ: &str) -> &str {
        match typ.split_once('/') {
            Some((top, sub)) if top.eq_ignore_ascii_case("application") && !sub.contains('/') => sub,
            _ => typ,
        }
    }
    short(typ).eq_ignore_ascii_case(short(wanted))
}
