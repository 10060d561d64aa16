//! What clients say of themselves in every mode, and the keys that are read in the same way in several.

use url::Url;

use crate::config::network::is_trimmed;
use crate::config::routes::requirements::scope_values;
use crate::config::settings::{ClientCredential, GrantType};
use crate::config::text::read::{Keys, Value};
use crate::core::ids::{ClientName, IssuerName};

/// What a client may ask for when the file does not say.
pub(in crate::config) const DEFAULT_GRANTS: [GrantType; 2] =
    [GrantType::AuthorizationCode, GrantType::RefreshToken];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Mode {
    Token,
    Session,
    Native,
}

/// What every client says of itself.
pub(in crate::config) struct Registration {
    pub(in crate::config) name: ClientName,
    pub(in crate::config) client_id: String,
    pub(in crate::config) issuer: IssuerName,
    pub(in crate::config) credential: ClientCredential,
}

pub(in crate::config) fn missing_redirect_uri(keys: &Keys<'_>, why: &str) {
    keys.wrong(
        "redirect_uri",
        format!("the key `redirect_uri` is missing ({why}); add it, like `redirect_uri: https://portal.example.com/signed-in`"),
    );
}

/// One text with spaces, or a list; joined by one space.
pub(in crate::config) fn scope(keys: &Keys<'_>) -> Option<String> {
    let values = scope_values(keys.get("scope")?);
    (!values.is_empty()).then(|| values.join(" "))
}

/// RFC 8707 section 2: an absolute URI without fragment.
pub(in crate::config) fn resource(keys: &Keys<'_>) -> Option<String> {
    let value = keys.get("resource")?;
    let text = value.text()?;
    if !is_trimmed(&value, &text) {
        return None;
    }
    let uri = Url::parse(&text);
    if !uri.is_ok_and(|uri| uri.fragment().is_none()) {
        value.wrong(format!(
            "`{}` is not an absolute URI without fragment (RFC 8707 section 2); write it like `https://api.example.com`",
            value.written()
        ));
        return None;
    }
    Some(text)
}

/// Whether it is the grant that no client may have; it was told then.
pub(in crate::config) fn is_password(value: &Value<'_>, text: &str) -> bool {
    let is = text == "password";
    if is {
        value
            .wrong("the gateway does not pass passwords on (RFC 9700 section 2.4); use `authorization_code`");
    }
    is
}
