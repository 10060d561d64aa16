//! Whom a token is for: `aud`, one name or a list of them (RFC 7519 section 4.1.3).

use serde_json::{Map, Value};

use crate::core::denial::Denial;

/// All whom it is meant for.
pub(super) fn audiences(claims: &Map<String, Value>) -> Result<Vec<&str>, Denial> {
    const MALFORMED: Denial = Denial::TokenMalformed("aud must be a string or a list of strings.");
    let audiences = match claims.get("aud") {
        None => return Err(Denial::WrongAudience),
        Some(Value::Array(list)) => list.as_slice(),
        Some(single) => std::slice::from_ref(single),
    };
    audiences.iter().map(Value::as_str).collect::<Option<_>>().ok_or(MALFORMED)
}
