//! The tokens of a session whose pages hold none, and the form in which they are sealed and kept.

use serde::{Deserialize, Serialize};

use crate::core::secret::{Secret, SecretString};
use crate::core::time::Timestamp;

/// What a session's requests are served with. None of it is ever in a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTokens {
    pub access_token: SecretString,
    /// The latest that the AS gave: an exchange need not bring one.
    pub id_token: Option<SecretString>,
    /// When the access token ends, as far as anybody said.
    pub expires_at: Timestamp,
}

/// As it is kept. Owned texts go straight into [`SecretString`]s.
#[derive(Serialize, Deserialize)]
struct Form<'a> {
    access_token: &'a str,
    id_token: Option<&'a str>,
    expires_at: Timestamp,
}

impl SessionTokens {
    /// The form that is sealed.
    pub fn to_bytes(&self) -> Secret<Vec<u8>> {
        let form = Form {
            access_token: self.access_token.expose(),
            id_token: self.id_token.as_ref().map(|token| token.expose().as_str()),
            expires_at: self.expires_at,
        };
        let texts = form.access_token.len() + form.id_token.map_or(0, str::len);
        Secret::of_form(&form, 128 + texts)
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let form: Form<'_> = rmp_serde::from_slice(bytes).ok()?;
        Some(Self {
            access_token: form.access_token.into(),
            id_token: form.id_token.map(Into::into),
            expires_at: form.expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_written() {
        for id_token in [None, Some("id".into())] {
            let written =
                SessionTokens { access_token: "at".into(), id_token, expires_at: Timestamp::from_secs(1000) };
            let bytes = written.to_bytes();
            assert_eq!(SessionTokens::from_bytes(bytes.expose()), Some(written));
            assert_eq!(SessionTokens::from_bytes(&bytes.expose()[..bytes.expose().len() - 1]), None);
        }
        bolero::check!().for_each(|bytes: &[u8]| drop(SessionTokens::from_bytes(bytes)));
    }
}
