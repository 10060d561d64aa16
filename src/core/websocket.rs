//! The handshake by which a connection becomes a WebSocket (RFC 6455 sections 4.1 and 4.2.2), the one switch
//! of protocols that the gateway passes on.
//!
//! What comes after a switch is looked at by nobody: it goes to the upstream as it is. So a client that asks
//! for no WebSocket gets none, and an answer that does not accept the client's key is no switch, whatever its
//! status says. Else whoever gets some upstream to answer 101 could write requests of their own to it, past
//! every route and with any identity header.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{Engine as _, alphabet};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName};

/// What the standard appends to a key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The bytes of a nonce in a key.
const NONCE: usize = 16;
/// Takes bits behind the last byte, too: the example of RFC 6455 section 4.1 has some.
const NONCES: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Whether these fields of a request ask for a WebSocket (RFC 6455 section 4.1, items 5 to 9). The method,
/// the version of HTTP and the body are the caller's to look at.
pub fn is_asked_for(request: &HeaderMap) -> bool {
    names_websocket(request)
        && one(request, &SEC_WEBSOCKET_VERSION) == Some(b"13")
        && one(request, &SEC_WEBSOCKET_KEY).is_some_and(is_key)
}

/// Whether these fields of an answer with status 101 accept what those of the request asked for (RFC 6455
/// section 4.1, the client's checks 2 to 4).
pub fn is_accepted(request: &HeaderMap, answer: &HeaderMap) -> bool {
    let Some(key) = one(request, &SEC_WEBSOCKET_KEY).filter(|_| is_asked_for(request)) else { return false };
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID.as_bytes()].concat()));
    names_websocket(answer) && one(answer, &SEC_WEBSOCKET_ACCEPT) == Some(accept.as_bytes())
}

fn names_websocket(fields: &HeaderMap) -> bool {
    let mut options =
        fields.get_all(CONNECTION).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    one(fields, &UPGRADE).is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

fn is_key(key: &[u8]) -> bool {
    NONCES.decode(key).is_ok_and(|nonce| nonce.len() == NONCE)
}

/// The value of a field that is there once.
fn one<'f>(fields: &'f HeaderMap, name: &HeaderName) -> Option<&'f [u8]> {
    let mut all = fields.get_all(name).iter();
    let one = all.next()?;
    all.next().is_none().then(|| one.as_bytes().trim_ascii())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The key of RFC 6455 section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in all {
            fields.append(*name, HeaderValue::from_static(value));
        }
        fields
    }

    #[test]
    fn a_wish_has_one_protocol_one_key_and_the_one_version() {
        let wish = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        assert!(is_asked_for(&fields(&wish)));
        let mut example = wish;
        example[3].1 = "AQIDBAUGBwgJCgsMDQ4PEC==";
        assert!(is_asked_for(&fields(&example)), "of RFC 6455 section 4.1");
        for (at, other) in [
            (0, "close"),
            (0, "upgraded"),
            (1, "h2c"),
            (1, "websocket, h2c"),
            (2, "8"),
            (2, "13, 8"),
            (3, ""),
            (3, "dGhlIHNhbXBsZQ=="),
            (3, "no base64 of anything.."),
        ] {
            let mut wish = wish;
            wish[at].1 = other;
            assert!(!is_asked_for(&fields(&wish)), "{other}");
        }
        for (at, (name, value)) in wish.iter().enumerate() {
            let without: Vec<_> =
                wish.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, f)| *f).collect();
            assert!(!is_asked_for(&fields(&without)), "without {name}");
            let twice = [wish.as_slice(), &[(*name, *value)]].concat();
            assert_eq!(is_asked_for(&fields(&twice)), *name == "connection", "{name} twice");
        }
    }

    #[test]
    fn an_answer_accepts_the_key_that_was_sent() {
        let wish = fields(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ]);
        let switch = [("connection", "upgrade"), ("upgrade", "WebSocket"), ("sec-websocket-accept", ACCEPT)];
        assert!(is_accepted(&wish, &fields(&switch)));
        assert!(!is_accepted(&HeaderMap::new(), &fields(&switch)), "nobody asked");
        for (at, other) in [(0, "close"), (1, "h2c"), (2, ""), (2, KEY), (2, "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=")]
        {
            let mut switch = switch;
            switch[at].1 = other;
            assert!(!is_accepted(&wish, &fields(&switch)), "{other}");
        }
        for (at, (name, value)) in switch.iter().enumerate() {
            let without: Vec<_> =
                switch.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, f)| *f).collect();
            assert!(!is_accepted(&wish, &fields(&without)), "without {name}");
            let twice = [switch.as_slice(), &[(*name, *value)]].concat();
            assert_eq!(is_accepted(&wish, &fields(&twice)), *name == "connection", "{name} twice");
        }
    }
}
