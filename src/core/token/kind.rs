//! What kind of JWT a token is, by its `typ` and, where that says nothing, by its claims: RFC 8725 sections 3.11 and 3.12
//! want kinds told apart, and issuers give their tokens of all kinds one key.

use serde_json::{Map, Value};

use crate::core::assertion;

/// Whether its claims say that it is none for an API, and its header does not say what it is.
pub(super) fn is_of_another_kind(typ: Option<&str>, claims: &Map<String, Value>) -> bool {
    let is_by_claims =
        || has_marks_of_id_token(claims) || claims.contains_key("events") || says_another_kind(claims);
    is_unspecific(typ) && is_by_claims()
}

/// What servers write into the claims of their refresh tokens and ID tokens, which may have issuer, key and audience of
/// their access tokens (RFC 8725 section 2.8).
const OTHER_KINDS: [(&str, &[&str]); 6] = [
    ("typ", &["ID", "Refresh", "Offline", "Logout"]), // Keycloak
    ("token_use", &["id", "id_token", "refresh", "refresh_token"]), // Amazon Cognito, Ory Hydra
    ("token_type", &["id", "id_token", "refresh", "refresh_token"]), // Simple JWT
    ("type", &["refresh", "refresh_token"]),          // Flask-JWT-Extended
    ("tokenName", &["id_token", "refresh_token"]),    // ForgeRock AM
    ("purpose", &["id", "id_token", "refresh_token"]), // Curity
];

pub(super) fn says_another_kind(claims: &Map<String, Value>) -> bool {
    OTHER_KINDS.iter().any(|(name, words)| {
        let said = claims.get(*name).and_then(Value::as_str);
        said.is_some_and(|said| words.iter().any(|word| word.eq_ignore_ascii_case(said)))
    })
}

/// Whether it has a member that OpenID Connect gives to ID tokens alone. Where `typ` says nothing, such a token is none
/// for an API. Keycloak before 25, and its «Nonce backwards compatible» mapper since, write the `nonce` of the sign-in into
/// access tokens too; by another claim its tokens say what they are, and its ID tokens say `ID` there. A hash of an access
/// token or of a code is in no access token whatever it says.
pub(super) fn has_marks_of_id_token(claims: &Map<String, Value>) -> bool {
    ["at_hash", "c_hash", "s_hash"].iter().any(|name| claims.contains_key(*name))
        || claims.contains_key("nonce") && !says_access_token(claims)
}

/// Whether it says that it is an access token, in the claim by which Keycloak tells its tokens apart.
fn says_access_token(claims: &Map<String, Value>) -> bool {
    let said = claims.get("typ").and_then(Value::as_str);
    said.is_some_and(|said| said.eq_ignore_ascii_case("Bearer") || said.eq_ignore_ascii_case("DPoP"))
}

/// A `typ` that does not say what kind of JWT it is.
pub(super) fn is_unspecific(typ: Option<&str>) -> bool {
    typ.is_none_or(|typ| is_type(typ, "jwt"))
}

/// What JWTs of other kinds are called, of Tollgate's own too (its assertions): OpenID Connect Back-Channel Logout section 2.4,
/// RFC 8417 section 2.3, RFC 9449 section 4.2, RFC 9701 section 5, RFC 9101 section 10.8.
const OTHER_TYPES: [&str; 6] = [
    assertion::TYPE,
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
