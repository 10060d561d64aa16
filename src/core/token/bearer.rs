//! Finds the one access token that a request carries (RFC 6750 section 2, RFC 9449 section 7.1): in
//! `Authorization`, once, or as a WebSocket's subprotocol, and nowhere else. It must never pick one of two
//! credentials, and never take one from the query (RFC 9700 section 4.3.2).

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::core::denial::Denial;
use crate::core::token::b64token::is_b64token;
use crate::core::token::subprotocol::{self, Offered};

/// How whoever sends a token says that it may be used (RFC 9110 section 11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The caller has it (RFC 6750).
    Bearer,
    /// The caller has the key that it is bound to, of which a proof comes along (RFC 9449).
    Dpop,
}

/// Where a request carries its token.
#[derive(Clone, Copy, Debug)]
pub enum Carried<'a> {
    Authorization(Scheme, Spelled<'a>),
    /// Whether it may is not decided here.
    Subprotocol(Offered<'a>),
}

impl Carried<'_> {
    /// # Errors
    /// As [`Spelled::text`], for a token in `Authorization`.
    pub fn check_spelling(self) -> Result<(), Denial> {
        match self {
            Self::Authorization(_, token) => token.text().map(drop),
            Self::Subprotocol(_) => Ok(()),
        }
    }
}

/// A token as somebody spelled it. Whether that is a spelling of any token is looked at where it matters: a
/// text that is remembered as a good token's has been.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Spelled<'a>(&'a [u8]);

impl std::fmt::Debug for Spelled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spelled(..)")
    }
}

impl<'a> From<&'a str> for Spelled<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Spelled<'a> {
    fn from(text: &'a String) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> Spelled<'a> {
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The token's text.
    ///
    /// # Errors
    /// `TokenMalformed` for what is no `b64token` (RFC 6750 section 2.1).
    pub fn text(self) -> Result<&'a str, Denial> {
        std::str::from_utf8(self.0).ok().filter(|text| is_b64token(text)).ok_or(MALFORMED)
    }
}

/// The token of a request, wherever it is; `None` when it carries none at all.
///
/// # Errors
/// As [`authorization`]; `SeveralCredentials` also for a subprotocol beside another, or beside
/// `Authorization`, whatever its scheme.
pub fn carried<'a>(headers: &'a HeaderMap, query: Option<&str>) -> Result<Option<Carried<'a>>, Denial> {
    let offered = subprotocol::offered(headers)?;
    if offered.is_some() && headers.contains_key(AUTHORIZATION) {
        return Err(Denial::SeveralCredentials);
    }
    let token = authorization(headers, query)?;
    let token = token.map(|(scheme, token)| Carried::Authorization(scheme, token));
    Ok(token.or(offered.map(Carried::Subprotocol)))
}

/// That no two credentials stand in `Authorization`, where no access token is taken.
///
/// # Errors
/// `SeveralCredentials`.
pub fn at_most_one(headers: &HeaderMap) -> Result<(), Denial> {
    let second = headers.get_all(AUTHORIZATION).iter().nth(1);
    if second.is_some() { Err(Denial::SeveralCredentials) } else { Ok(()) }
}

/// The scheme by which a request says that it may use its token; `None` when it brings none, or by another
/// scheme.
pub fn scheme(headers: &HeaderMap) -> Option<Scheme> {
    let name = headers.get(AUTHORIZATION)?.as_bytes().split(|byte| *byte == b' ').next()?;
    Scheme::named(name)
}

impl Scheme {
    fn named(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"bearer") {
            Some(Self::Bearer)
        } else if name.eq_ignore_ascii_case(b"dpop") {
            Some(Self::Dpop)
        } else {
            None
        }
    }
}

/// The token in `Authorization`; `None` when there is no such field at all. `query` is without its `?`, as it
/// came.
///
/// # Errors
/// `SeveralCredentials` for two `Authorization` fields; `TokenInQuery` for an `access_token`
/// parameter in any spelling; `SchemeNotTaken` for another scheme (RFC 6750 section 3.1: no error
/// code).
fn authorization<'a>(
    headers: &'a HeaderMap,
    query: Option<&str>,
) -> Result<Option<(Scheme, Spelled<'a>)>, Denial> {
    if query.is_some_and(names_access_token) {
        return Err(Denial::TokenInQuery);
    }
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(Denial::SeveralCredentials);
    }
    let (scheme, rest) = match field.as_bytes().iter().position(|byte| *byte == b' ') {
        Some(at) => field.as_bytes().split_at(at),
        None => (field.as_bytes(), &[][..]),
    };
    let scheme = Scheme::named(scheme).ok_or(Denial::SchemeNotTaken)?;
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    Ok(Some((scheme, Spelled(rest.get(spaces..).unwrap_or_default()))))
}

const MALFORMED: Denial =
    Denial::TokenMalformed("Authorization must be Bearer or DPoP, one space and one token.");

/// What ends a parameter of a query: with some servers `;` too, which HTML 4.01 recommended (appendix B.2.2).
const SEPARATORS: [char; 2] = ['&', ';'];

fn names_access_token(query: &str) -> bool {
    // A name that is not spelled out has a percent sign in it.
    let may_name = query.contains('%')
        || query.as_bytes().split(|b| matches!(b, b'&' | b';')).any(|pair| pair.starts_with(b"access_token"));
    may_name && query.split(SEPARATORS).any(is_access_token)
}

fn is_access_token(pair: &str) -> bool {
    form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| name == "access_token")
}

/// The query without what would be a token in it. The rest stays as it came, in the same pairs for every
/// reader: where there was an `&` beside what is gone, one stands in its place.
pub(in crate::core) fn without_access_token(query: String) -> String {
    if !names_access_token(&query) {
        return query;
    }
    let mut kept = String::with_capacity(query.len());
    let (mut is_first, mut between) = (true, ';');
    for (pair, end) in query.split(SEPARATORS).zip(query.matches(SEPARATORS).chain([""])) {
        if !is_access_token(pair) {
            if !is_first {
                kept.push(between);
            }
            kept.push_str(pair);
            (is_first, between) = (false, ';');
        }
        if end == "&" {
            between = '&';
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(fields: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(field).unwrap());
        }
        headers
    }

    fn text(headers: &HeaderMap) -> Result<Option<&str>, Denial> {
        authorization(headers, None)?.map(|(_, token)| token.text()).transpose()
    }

    #[test]
    fn the_one_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        for spelling in ["Bearer a.b-c_~+/==", "bearer a.b-c_~+/==", "BEARER   a.b-c_~+/=="] {
            let headers = with(&[spelling.as_bytes()]);
            assert_eq!(text(&headers), Ok(Some("a.b-c_~+/==")), "{spelling}");
        }
        assert_eq!(authorization(&HeaderMap::new(), None), Ok(None));
    }

    #[test]
    fn two_authorization_fields_are_refused_even_when_equal() {
        let headers = with(&[b"Bearer a", b"Bearer a"]);
        assert_eq!(authorization(&headers, None), Err(Denial::SeveralCredentials));
        let headers = with(&[b"Basic eDp5", b"Bearer a"]);
        assert_eq!(authorization(&headers, None), Err(Denial::SeveralCredentials));
    }

    #[test]
    fn a_token_in_the_query_is_refused_in_every_spelling_of_its_name() {
        for query in [
            "access_token=x",
            "a=b&access_token",
            "%61ccess_token=x",
            "a=1&access%5ftoken=x",
            "a=1;access_token=x",
            "a=1;%61ccess_token;b",
        ] {
            assert_eq!(authorization(&HeaderMap::new(), Some(query)), Err(Denial::TokenInQuery), "{query}");
            assert_eq!(
                authorization(&with(&[b"Bearer a"]), Some(query)),
                Err(Denial::TokenInQuery),
                "{query}"
            );
        }
        for query in [
            "",
            "access_tokens=x",
            "x=access_token",
            "Access_Token=x",
            "a%3Baccess_token=x",
            "%26access_token",
        ] {
            assert_eq!(authorization(&HeaderMap::new(), Some(query)), Ok(None), "{query}");
        }
    }

    #[test]
    fn a_token_is_taken_out_of_a_query_and_nothing_else() {
        for (query, rest) in [
            ("access_token=x", ""),
            ("a=1&access_token=x&b=%41&&c", "a=1&b=%41&&c"),
            ("%61ccess_token=x&access%5Ftoken&a", "a"),
            ("a=access_token&b=1", "a=access_token&b=1"),
            ("a=1;access_token=x;b=2&c", "a=1;b=2&c"),
            ("a=1;access_token=x&b=2", "a=1&b=2"),
            ("a=1&access_token=x;b=2", "a=1&b=2"),
            ("access_token=x;a&", "a&"),
            ("a%3Baccess_token=x", "a%3Baccess_token=x"),
            ("", ""),
        ] {
            assert_eq!(without_access_token(query.to_owned()), rest, "{query}");
        }
        bolero::check!().with_type::<Vec<(u8, u8)>>().for_each(|choices| {
            const PIECES: [&str; 10] =
                ["access_token", "=", "&", "a", "%61ccess_token", "access", "_token", "+", "%", ";"];
            let query: String =
                choices.iter().map(|(at, _)| PIECES[usize::from(*at) % PIECES.len()]).collect();
            let rest = without_access_token(query.clone());
            assert!(!names_access_token(&rest), "{query}");
            let others = |query: &str| -> Vec<(String, String)> {
                let pairs = query.split(SEPARATORS).flat_map(|pair| form_urlencoded::parse(pair.as_bytes()));
                pairs
                    .filter(|(name, _)| name != "access_token")
                    .map(|(name, value)| (name.into_owned(), value.into_owned()))
                    .collect()
            };
            assert_eq!(others(&query), others(&rest), "{query}");
            // Who reads `&` alone finds what had nothing to do with it as it was.
            for pair in query.split('&').filter(|pair| !names_access_token(pair)) {
                assert!(rest.split('&').any(|kept| kept == pair), "{query}");
            }
        });
    }

    #[test]
    fn another_scheme_is_not_taken_and_never_a_pass() {
        for other in ["Basic eDp5", "DPoPx abc", "DPoP\tabc", "Bearerx abc", "", "Token abc"] {
            let headers = with(&[other.as_bytes()]);
            assert_eq!(authorization(&headers, None), Err(Denial::SchemeNotTaken), "{other}");
        }
    }

    #[test]
    fn what_is_no_b64token_is_malformed() {
        for bad in
            [&b"Bearer"[..], b"Bearer ", b"Bearer =", b"Bearer a b", b"Bearer a, Bearer b", b"Bearer a=b"]
        {
            assert!(matches!(text(&with(&[bad])), Err(Denial::TokenMalformed(_))), "{bad:?}");
        }
        assert!(matches!(text(&with(&[b"Bearer \xff"])), Err(Denial::TokenMalformed(_))));
        assert_eq!(authorization(&with(&[b"Bearer\ta"]), None), Err(Denial::SchemeNotTaken));
    }

    #[test]
    fn a_subprotocol_is_taken_where_there_is_no_other_credential() {
        let mut headers = HeaderMap::new();
        let offer = HeaderValue::from_static("chat, tollgate.bearer.YS5iLmM");
        headers.insert(http::header::SEC_WEBSOCKET_PROTOCOL, offer);
        assert!(matches!(carried(&headers, Some("a=b")), Ok(Some(Carried::Subprotocol(_)))));
        assert_eq!(carried(&headers, Some("access_token=x")).unwrap_err(), Denial::TokenInQuery);
        for other in ["Bearer a.b.c", "Basic eDp5", ""] {
            headers.insert(AUTHORIZATION, HeaderValue::from_static(other));
            assert_eq!(carried(&headers, None).unwrap_err(), Denial::SeveralCredentials, "{other}");
        }
        let headers = with(&[b"Bearer a"]);
        let token = Spelled::from("a");
        assert!(
            matches!(carried(&headers, None), Ok(Some(Carried::Authorization(_, found))) if found == token)
        );
        assert!(carried(&HeaderMap::new(), None).unwrap().is_none());
    }

    #[test]
    fn whatever_is_sent_a_token_found_is_a_b64token() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value);
            if let Ok(Some(token)) = text(&headers) {
                assert!(is_b64token(token) && bytes.ends_with(token.as_bytes()));
            }
        });
    }
}
