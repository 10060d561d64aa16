//! An access token among the subprotocols of a WebSocket's handshake (RFC 6455 section 1.9): a page can set
//! no other header of it. `Sec-WebSocket-Protocol: chat, tollgate.bearer.<base64url of the token>` stands for
//! the application's `chat` with a token beside it.
//!
//! What is ours goes no further than the gateway, in whatever case it is written. It must never choose one of
//! two tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue};

use crate::core::denial::Denial;
use crate::core::secret::SecretString;
use crate::core::token::b64token::is_b64token;

/// Offered without a token beside the one with it, by pages whose service knows no subprotocol: browsers end
/// a connection for which none was chosen when some were offered (WebSockets Standard, «establish a
/// WebSocket connection»), and the one with the token is not sent back.
pub const WITHOUT_TOKEN: &str = "tollgate.bearer";
const PREFIX: &str = "tollgate.bearer.";

/// The token that was offered, not yet decoded.
#[derive(Clone, Copy)]
pub struct Offered<'a>(&'a [u8]);

impl std::fmt::Debug for Offered<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Offered")
    }
}

impl Offered<'_> {
    /// # Errors
    /// [`Denial::TokenMalformed`] when it is not base64url, without padding, of what `Authorization` could
    /// hold.
    pub fn token(self) -> Result<SecretString, Denial> {
        const MALFORMED: Denial =
            Denial::TokenMalformed("What follows `tollgate.bearer.` must be the token in base64url.");
        let bytes = URL_SAFE_NO_PAD.decode(self.0).map_err(|_| MALFORMED)?;
        let token = String::from_utf8(bytes).map_err(|_| MALFORMED)?;
        if is_b64token(&token) { Ok(SecretString::new(token)) } else { Err(MALFORMED) }
    }
}

/// The one token that is offered, if any.
///
/// # Errors
/// [`Denial::SeveralCredentials`] for two, even when they are equal.
pub fn offered(headers: &HeaderMap) -> Result<Option<Offered<'_>>, Denial> {
    let mut tokens = subprotocols(headers).filter_map(with_token);
    match (tokens.next(), tokens.next()) {
        (token, None) => Ok(token.map(Offered)),
        (_, Some(_)) => Err(Denial::SeveralCredentials),
    }
}

/// Whether the name without a token is offered, so that it may be chosen.
pub fn offers_name(headers: &HeaderMap) -> bool {
    subprotocols(headers).any(|one| one == WITHOUT_TOKEN.as_bytes())
}

/// What an upstream is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForUpstream {
    /// Nothing is ours: as it came.
    Unchanged,
    /// The others, in their order.
    Rest(HeaderValue),
    /// Nothing is left: no such field at all.
    Nothing,
}

/// Takes ours off.
pub fn without(headers: &HeaderMap) -> ForUpstream {
    if !subprotocols(headers).any(is_ours) {
        return ForUpstream::Unchanged;
    }
    let rest: Vec<&[u8]> = subprotocols(headers).filter(|one| !one.is_empty() && !is_ours(one)).collect();
    if rest.is_empty() {
        return ForUpstream::Nothing;
    }
    // The parts were header values, so their join is one; were it not, nothing is the safe answer.
    HeaderValue::from_bytes(&rest.join(&b", "[..])).map_or(ForUpstream::Nothing, ForUpstream::Rest)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// What follows the prefix.
fn with_token(subprotocol: &[u8]) -> Option<&[u8]> {
    let (prefix, token) = subprotocol.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX.as_bytes()).then_some(token)
}

fn is_ours(subprotocol: &[u8]) -> bool {
    with_token(subprotocol).is_some() || subprotocol.eq_ignore_ascii_case(WITHOUT_TOKEN.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(field).unwrap());
        }
        headers
    }

    fn rest(text: &str) -> ForUpstream {
        ForUpstream::Rest(HeaderValue::from_str(text).unwrap())
    }

    #[test]
    fn the_token_is_found_and_the_others_go_on_in_their_order() {
        for (fields, left) in [
            (&["tollgate.bearer.YS5iLmM"][..], ForUpstream::Nothing),
            (&["chat, tollgate.bearer.YS5iLmM"], rest("chat")),
            (&["tollgate.bearer.YS5iLmM,chat"], rest("chat")),
            (&["a,\ttollgate.bearer.YS5iLmM ,b"], rest("a, b")),
            (&["a", "tollgate.bearer.YS5iLmM", "b, c"], rest("a, b, c")),
            (&["b, TollGate.Bearer.YS5iLmM, a"], rest("b, a")),
            (&["tollgate.bearer, tollgate.bearer.YS5iLmM"], ForUpstream::Nothing),
            (&["", "tollgate.bearer.YS5iLmM,,"], ForUpstream::Nothing),
        ] {
            let headers = with(fields);
            let token = offered(&headers).unwrap().unwrap().token().unwrap();
            assert_eq!(token.expose(), "a.b.c", "{fields:?}");
            assert_eq!(without(&headers), left, "{fields:?}");
        }
    }

    #[test]
    fn what_is_not_ours_stays_as_it_came() {
        for fields in
            [&[][..], &["chat"], &["chat ,  x", "y"], &["tollgate, bearer"], &["xtollgate.bearer.YQ"]]
        {
            let headers = with(fields);
            assert!(offered(&headers).unwrap().is_none(), "{fields:?}");
            assert_eq!(without(&headers), ForUpstream::Unchanged, "{fields:?}");
        }
    }

    #[test]
    fn two_tokens_are_one_too_many() {
        for fields in [
            &["tollgate.bearer.YQ, tollgate.bearer.YQ"][..],
            &["tollgate.bearer.YQ", "tollgate.bearer.Yg"],
            &["tollgate.bearer.YQ, chat, TOLLGATE.bearer."],
        ] {
            let headers = with(fields);
            assert_eq!(offered(&headers).unwrap_err(), Denial::SeveralCredentials, "{fields:?}");
            assert!(!format!("{:?}", without(&headers)).contains("earer"), "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_base64url_of_text_is_malformed() {
        for bad in ["YQ==", "YR", "Y", "a.b.c", "a+b", "\"YQ\"", "YQ YQ", "_w"] {
            let headers = with(&[&format!("tollgate.bearer.{bad}")]);
            let token = offered(&headers).unwrap().unwrap().token();
            assert!(matches!(token, Err(Denial::TokenMalformed(_))), "{bad}");
        }
    }

    #[test]
    fn what_authorization_could_not_hold_is_no_token_here_either() {
        for bad in ["", "=", "a b", "a&b", "a,b", "a=b", "a\n", "\u{e9}", "\0"] {
            let headers = with(&[&format!("tollgate.bearer.{}", URL_SAFE_NO_PAD.encode(bad))]);
            let token = offered(&headers).unwrap().unwrap().token();
            assert!(matches!(token, Err(Denial::TokenMalformed(_))), "{bad:?}");
        }
    }

    #[test]
    fn the_name_alone_is_no_token_and_is_told() {
        for (field, told) in [
            ("tollgate.bearer", true),
            ("chat, tollgate.bearer", true),
            ("Tollgate.bearer", false),
            ("x", false),
        ] {
            assert!(offered(&with(&[field])).unwrap().is_none(), "{field}");
            assert_eq!(offers_name(&with(&[field])), told, "{field}");
        }
        assert!(!offers_name(&with(&["tollgate.bearer.YQ"])));
    }

    #[test]
    fn nothing_of_ours_is_left_whatever_comes() {
        bolero::check!().with_type::<Vec<Vec<u8>>>().for_each(|fields| {
            let mut headers = HeaderMap::new();
            for field in fields {
                let text = [b"tollgate.bearer.YQ,", &field[..]].concat();
                let Ok(value) = HeaderValue::from_bytes(&text) else { continue };
                headers.append(SEC_WEBSOCKET_PROTOCOL, value);
            }
            if let ForUpstream::Rest(rest) = without(&headers) {
                let mut left = HeaderMap::new();
                left.insert(SEC_WEBSOCKET_PROTOCOL, rest);
                assert_eq!(without(&left), ForUpstream::Unchanged);
            }
        });
    }
}
