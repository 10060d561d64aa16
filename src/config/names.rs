//! Names that the operator chooses for issuers and clients, and how other places refer to them.

use crate::config::text::read::Value;
use crate::config::text::values::meant;

/// What `to` says of a route that serves nothing. No upstream is called so.
pub(super) const NO_UPSTREAM: &str = "none";

/// A name goes into cookie names, metrics and logs: letters, digits, `-`, `_`, `.`, at most 64.
pub(super) fn valid_name(name: &str, value: &Value<'_>) -> bool {
    let fits = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !fits {
        value.wrong(
            "this name does not fit: letters, digits, `-`, `_` and `.`, a letter or digit first, at most 64",
        );
    }
    fits
}

/// What a reference to a name that is not there should say.
pub(super) fn unknown<'n>(
    kind: &str,
    written: &str,
    known: impl IntoIterator<Item = &'n str> + Clone,
) -> String {
    let remedy = match meant(written, known.clone()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => {
            let known: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
            if known.is_empty() {
                format!("no {kind} is configured")
            } else {
                format!("configured: {}", known.join(", "))
            }
        }
    };
    format!("there is no {kind} `{written}`; {remedy}")
}
