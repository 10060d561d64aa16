//! To which key a token is bound (`cnf`, RFC 7800 section 3.1): to none, or to one by its thumbprint (`jkt`,
//! RFC 9449 section 6), whose holder shows it with a proof of each request ([`super::dpop`]).
//!
//! It must never take a token for unbound, or for bound to less, because it does not understand what it is
//! bound to: another member beside `jkt` is a binding that cannot be checked here.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::core::denial::Denial;

/// The thumbprint of a public key: SHA-256 over its JWK (RFC 7638 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Reads what `jkt` holds: 43 characters of base64url, in their one spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (length == bytes.len()).then_some(Self(bytes))
    }

    /// Wraps a digest that is a thumbprint already.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

impl From<Thumbprint> for String {
    fn from(thumbprint: Thumbprint) -> Self {
        thumbprint.to_string()
    }
}

impl TryFrom<String> for Thumbprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not a thumbprint of a key (RFC 7638)")
    }
}

/// The key that these claims bind their token to; `None` when they bind it to nothing.
///
/// # Errors
/// [`Denial::BindingNotSupported`] for every other binding than one `jkt` alone.
pub(super) fn bound_to(claims: &Map<String, Value>) -> Result<Option<Thumbprint>, Denial> {
    let Some(confirmation) = claims.get("cnf") else { return Ok(None) };
    let methods = confirmation.as_object().filter(|methods| methods.len() == 1);
    let jkt = methods.and_then(|methods| methods.get("jkt")).and_then(Value::as_str);
    jkt.and_then(Thumbprint::parse).map(Some).ok_or(Denial::BindingNotSupported)
}

/// Whether the claims of a token that nobody verified name a key, and not this one.
pub fn names_another(claims: &Map<String, Value>, key: Option<Thumbprint>) -> bool {
    let jkt = claims.get("cnf").and_then(|confirmation| confirmation.get("jkt"));
    jkt.is_some_and(|jkt| key.is_none() || jkt.as_str().and_then(Thumbprint::parse) != key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 9449 section 6.1, figure 9.
    const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

    fn of(claims: &Value) -> Result<Option<String>, Denial> {
        bound_to(claims.as_object().unwrap()).map(|key| key.map(String::from))
    }

    #[test]
    fn a_token_is_bound_by_the_thumbprint_of_one_key_or_not_at_all() {
        assert_eq!(of(&json!({ "cnf": { "jkt": JKT } })), Ok(Some(JKT.to_owned())));
        assert_eq!(of(&json!({ "sub": "alice", "jkt": JKT })), Ok(None));
    }

    #[test]
    fn what_it_is_bound_to_otherwise_cannot_be_checked() {
        for cnf in [
            json!(null),
            json!({}),
            json!(JKT),
            json!([{ "jkt": JKT }]),
            json!({ "x5t#S256": JKT }),
            json!({ "jkt": JKT, "x5t#S256": JKT }),
            json!({ "jkt": JKT, "kid": "k" }),
            json!({ "jwk": {} }),
            json!({ "JKT": JKT }),
            json!({ "jkt": null }),
            json!({ "jkt": [JKT] }),
            json!({ "jkt": "" }),
            json!({ "jkt": &JKT[..42] }),
            json!({ "jkt": format!("{JKT}=") }),
            json!({ "jkt": format!("{}J", &JKT[..42]) }), // bits behind the last byte
            json!({ "jkt": JKT.replace('-', "+") }),
        ] {
            assert_eq!(of(&json!({ "cnf": cnf })), Err(Denial::BindingNotSupported), "{cnf}");
        }
    }

    #[test]
    fn a_token_names_another_key_where_it_does_not_name_this_one_alone() {
        let key = Thumbprint::parse(JKT);
        for (claims, of_key, of_none) in [
            (json!({ "sub": "alice" }), false, false),
            (json!({ "cnf": { "x5t#S256": JKT } }), false, false),
            (json!({ "cnf": { "jkt": JKT } }), false, true),
            (json!({ "cnf": { "jkt": format!("A{}", &JKT[1..]) } }), true, true),
            (json!({ "cnf": { "jkt": null } }), true, true),
        ] {
            let names = |key| names_another(claims.as_object().unwrap(), key);
            assert_eq!((names(key), names(None)), (of_key, of_none), "{claims}");
        }
    }

    #[test]
    fn a_thumbprint_is_written_as_it_is_read() {
        let read = Thumbprint::parse(JKT).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), json!(JKT));
        assert_eq!(serde_json::from_value::<Thumbprint>(json!(JKT)).unwrap(), read);
        assert!(serde_json::from_value::<Thumbprint>(json!("x")).is_err());
        bolero::check!().with_type::<String>().for_each(|text| {
            if let Some(read) = Thumbprint::parse(text) {
                assert_eq!(read.to_string(), *text);
            }
        });
    }
}
