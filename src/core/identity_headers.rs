//! The headers that tell an upstream who is calling, and the names that nobody else may set.
//!
//! Values: printable ASCII stays, except `%`, `,` and `"`; everything else is percent-encoded UTF-8
//! (RFC 3986 section 2.1), also a space at either end of a value, where HTTP would drop it (RFC 9110
//! section 5.5). A list is its members joined by `,`, an object the names of its members, in their order by
//! code points, as if they were a list; those whose value is `false` or `null` are left out. No two different
//! texts, and no two different lists of texts, look alike; but a header does not say what kind of value it
//! was: a list of one looks like its member, a number or a truth value like the text of it. An absent claim,
//! `null`, an empty list, an object that says nothing, and a list with an object, list or `null` in it have
//! no header.
//!
//! Names: a header is reserved when it equals a reserved name without regard to case and with every
//! character that is not a letter or digit counting as `-`, because CGI and WSGI make one variable of
//! `X-Auth-Subject` and `x_auth.subject`.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::core::percent;
use crate::core::token::claims::{Claims, said_names};
use crate::core::token::facts::TokenFacts;
use crate::core::token::json::is_exact;

/// Headers, each with the claim that fills it.
pub type HeaderList = Vec<(HeaderName, String)>;

/// One of the lists of a configuration: the first is that of `identity`, the others are those of routes. It
/// means nothing in another configuration, so headers that were made by one must not outlive it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhichList(usize);

impl WhichList {
    /// The one at this place.
    pub const fn nth(at: usize) -> Self {
        Self(at)
    }

    /// What stands in it.
    pub fn of(self, lists: &[HeaderList]) -> &[(HeaderName, String)] {
        lists.get(self.0).map(Vec::as_slice).unwrap_or_default()
    }
}

/// About as long is a value, in bytes.
const USUAL: usize = 32;

/// The identity headers of a caller by each list of a configuration, so that no route makes them anew.
#[derive(Debug)]
pub struct IdentityHeaders {
    /// The headers of one list after the other.
    all: Vec<(HeaderName, HeaderValue)>,
    /// Where those of each list begin, but for the first.
    starts: Box<[usize]>,
}

impl IdentityHeaders {
    /// In the order of `lists` and of each. `scope` and `client_id` are what the issuer's claim names make of
    /// them; a claim that is not there leaves its header out.
    pub fn of(lists: &[HeaderList], token: TokenFacts<'_>) -> Self {
        // In one piece of memory: every request of the caller reads them all.
        let headers = lists.iter().map(Vec::len).sum();
        let mut text = String::with_capacity(USUAL.saturating_mul(headers));
        let mut write = |claim: &str| {
            let start = text.len();
            if write_value(token, claim, &mut text).is_none() {
                text.truncate(start);
                return None;
            }
            Some(start..text.len())
        };
        let mut places = Vec::with_capacity(headers);
        for (list, headers) in lists.iter().enumerate() {
            let written = headers.iter().filter_map(|(name, claim)| Some((list, name, write(claim)?)));
            places.extend(written);
        }
        // Exactly as much is kept.
        let text = Bytes::copy_from_slice(text.as_bytes());
        let (mut all, mut starts) = (Vec::with_capacity(places.len()), Vec::new());
        for (list, name, place) in places {
            starts.resize(list.max(starts.len()), all.len());
            let value = HeaderValue::from_maybe_shared(text.slice(place)).ok();
            all.extend(value.map(|value| (name.clone(), value)));
        }
        starts.resize(lists.len().saturating_sub(1), all.len());
        Self { all, starts: starts.into() }
    }

    /// Those of one list; none where there is no such list.
    pub fn by(&self, WhichList(at): WhichList) -> &[(HeaderName, HeaderValue)] {
        let start = match at.checked_sub(1) {
            None => Some(0),
            Some(before) => self.starts.get(before).copied(),
        };
        let end = self.starts.get(at).copied().unwrap_or(self.all.len());
        start.and_then(|start| self.all.get(start..end)).unwrap_or_default()
    }

    /// How many bytes of memory they take, rather too many than too few.
    pub fn size(&self) -> usize {
        let values = self.all.iter().map(|(_, value)| value.len().saturating_add(120));
        values.fold(size_of_val(&*self.starts), usize::saturating_add)
    }
}

/// Whether these claims of somebody fill a header.
pub fn fills(claims: Claims<'_>, name: &str) -> bool {
    write_claim(claims, name, &mut String::new()).is_some()
}

fn write_value(token: TokenFacts<'_>, name: &str, text: &mut String) -> Option<()> {
    match name {
        "client_id" => write_text(token.client?, text),
        "scope" => write_list(token.scope.iter(), ' ', text, |value, out| {
            // A space separates scope values (RFC 6749 section 3.3); within one it would be two.
            value.split(' ').enumerate().for_each(|(i, part)| {
                out.push_str(if i == 0 { "" } else { "%20" });
                write_text(part, out);
            });
            Some(())
        })?,
        _ => write_claim(token.claims, name, text)?,
    }
    Some(())
}

fn write_claim(claims: Claims<'_>, name: &str, text: &mut String) -> Option<()> {
    match claims.get(name)? {
        Value::Array(members) => write_list(members.iter(), ',', text, write_single),
        Value::Object(members) => write_list(said_names(members), ',', text, |name, out| {
            write_text(name, out);
            Some(())
        }),
        single => write_single(single, text),
    }
}

/// `None` where there is none.
fn write_list<'m, T: ?Sized + 'm>(
    members: impl Iterator<Item = &'m T>,
    separator: char,
    out: &mut String,
    write: impl Fn(&T, &mut String) -> Option<()>,
) -> Option<()> {
    let mut is_empty = true;
    for member in members {
        if !std::mem::take(&mut is_empty) {
            out.push(separator);
        }
        write(member, out)?;
    }
    (!is_empty).then_some(())
}

fn write_single(value: &Value, out: &mut String) -> Option<()> {
    match value {
        Value::String(text) => write_text(text, out),
        // Of another two might make one header.
        Value::Number(number) if is_exact(number) => out.push_str(&number.to_string()),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => return None,
    }
    Some(())
}

fn write_text(text: &str, out: &mut String) {
    let is_end = |at: usize| at == 0 || at + 1 == text.len();
    let stays = |at: usize, byte: u8| match byte {
        b'%' | b',' | b'"' => false,
        b' ' => !is_end(at),
        _ => byte.is_ascii_graphic(),
    };
    // Whole, as nearly all are, or byte by byte.
    if text.bytes().enumerate().all(|(at, byte)| stays(at, byte)) {
        out.push_str(text);
        return;
    }
    for (at, byte) in text.bytes().enumerate() {
        if stays(at, byte) {
            out.push(char::from(byte));
        } else {
            percent::encode(byte, out);
        }
    }
}

/// Reserved whatever is configured. `Authorization` is among them: the caller keeps it only where the permit
/// says that the access token is forwarded. `traceparent` is set by Tollgate on every request. What would
/// make another method of the one that was judged is among them in its three spellings, and what would make
/// another path: servers take off the path what one of these says that it is mounted at, and serve the rest
/// (gunicorn, daphne, mod_wsgi). So is `X-Scheme`, which some believe before `X-Forwarded-Proto` (Tornado),
/// and `Proxy`, which CGI turns into the variable that names an HTTP proxy.
const RESERVED: [&str; 17] = [
    "authorization",
    "forwarded",
    "client-cert",
    "client-cert-chain",
    "x-real-ip",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "script-name",
    "path-info",
    "x-script-name",
    "daphne-root-path",
    "x-scheme",
    "proxy",
    "x-request-id",
    "traceparent",
];

/// What says where an application is mounted. Whoever runs it may want it said of every request.
const MOUNT_POINTS: [&str; 3] = ["script-name", "x-script-name", "daphne-root-path"];

/// Whether a header says where an application is mounted. `folded`: its name, as reserved names are compared.
pub fn says_mount_point(folded: &str) -> bool {
    MOUNT_POINTS.contains(&folded)
}

/// Reserved with whatever follows.
const RESERVED_PREFIXES: [&str; 2] = ["x-forwarded-", "x-original-"];

/// What frames a request. HTTP's own spelling is the transport's to judge; another one
/// (`Transfer_Encoding`) an upstream could take for it.
const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];

/// The header names that are removed from every inbound request, before Tollgate sets its own.
#[derive(Clone, Debug)]
pub struct ReservedHeaders {
    /// Folded: lower case, `-` for everything that is neither letter nor digit.
    names: Vec<Box<[u8]>>,
}

impl ReservedHeaders {
    /// The names that are always reserved, and those that are configured, on whatever route.
    pub fn new<'a>(configured: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        for name in RESERVED.into_iter().chain(configured) {
            let name = name.bytes().map(folded).collect();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Self { names }
    }

    /// Whether a header of this name, in any spelling, must not come from outside. Allocates nothing.
    pub fn is_reserved(&self, name: &str) -> bool {
        let is = |reserved: &[u8], name: &str| name.bytes().map(folded).eq(reserved.iter().copied());
        self.names.iter().any(|reserved| reserved.len() == name.len() && is(reserved, name))
            || FRAMING.iter().any(|frame| is(frame.as_bytes(), name) && !frame.eq_ignore_ascii_case(name))
            || RESERVED_PREFIXES
                .iter()
                .any(|prefix| name.get(..prefix.len()).is_some_and(|start| is(prefix.as_bytes(), start)))
    }
}

const fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::{Map, json};

    use super::*;
    use crate::core::ids::IssuerName;
    use crate::core::token::scope_values::ScopeValues;

    fn headers_of(claims: &Value, names: &[(&'static str, &str)]) -> Vec<(String, String)> {
        headers_with(claims, names, Some("web-app"), &["api:read", "openid"])
    }

    fn headers_with(
        claims: &Value,
        names: &[(&'static str, &str)],
        client: Option<&str>,
        scope: &[&str],
    ) -> Vec<(String, String)> {
        let issuer = IssuerName::new("demo");
        let scope = scope.iter().copied().collect();
        let none = Map::new();
        let token = TokenFacts {
            issuer: &issuer,
            client,
            scope: &scope,
            acr: None,
            signed_in_at: None,
            claims: claims.as_object().unwrap_or(&none).into(),
            is_bound: false,
        };
        let names = list(names);
        let made = IdentityHeaders::of(&[names], token);
        shown(made.by(WhichList::default()))
    }

    fn list(names: &[(&'static str, &str)]) -> HeaderList {
        names.iter().map(|(h, c)| (HeaderName::from_static(h), (*c).to_owned())).collect()
    }

    fn shown(headers: &[(HeaderName, HeaderValue)]) -> Vec<(String, String)> {
        let shown = |(name, value): &(HeaderName, HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        headers.iter().map(shown).collect()
    }

    #[test]
    fn each_list_has_its_own_headers_and_none_of_another() {
        let issuer = IssuerName::new("demo");
        let (scope, claims) = (ScopeValues::default(), json!({ "sub": "alice", "email": "a@x" }));
        let token = TokenFacts {
            issuer: &issuer,
            client: None,
            scope: &scope,
            acr: None,
            signed_in_at: None,
            claims: claims.as_object().unwrap().into(),
            is_bound: false,
        };
        // Of one name, of several, of none, and of what this token does not have; in every order.
        let kinds: [(HeaderList, &[(&str, &str)]); 5] = [
            (list(&[("x-user", "sub")]), &[("x-user", "alice")]),
            (list(&[("x-user", "email"), ("x-id", "sub")]), &[("x-user", "a@x"), ("x-id", "alice")]),
            (list(&[]), &[]),
            (list(&[("x-user", "nick")]), &[]),
            (list(&[("x-gone", "nick"), ("x-id", "sub")]), &[("x-id", "alice")]),
        ];
        let order = |mut at: usize| -> Vec<usize> {
            let mut next = || {
                let next = at % kinds.len();
                at /= kinds.len();
                next
            };
            (0..4).map(|_| next()).collect()
        };
        for at in 0..kinds.len().pow(4) {
            for length in 0..=4 {
                let order = &order(at)[..length];
                let lists: Vec<HeaderList> = order.iter().map(|kind| kinds[*kind].0.clone()).collect();
                let made = IdentityHeaders::of(&lists, token);
                for (which, kind) in order.iter().enumerate() {
                    let expected = kinds[*kind].1.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
                    let expected: Vec<_> = expected.collect();
                    assert_eq!(shown(made.by(WhichList::nth(which))), expected, "{order:?} {which}");
                }
                assert_eq!(made.by(WhichList::nth(length)), []);
                assert_eq!(made.by(WhichList::nth(length + 1)), []);
            }
        }
    }

    fn header_of(claim: &Value) -> Option<String> {
        headers_of(&json!({ "c": claim }), &[("x-c", "c")]).pop().map(|(_, value)| value)
    }

    #[test]
    fn the_default_headers_say_who_calls() {
        let claims = json!({ "iss": "https://as.example", "sub": "alice", "client_id": "not this", "scope": "nor this" });
        let names = [
            ("x-auth-subject", "sub"),
            ("x-auth-client", "client_id"),
            ("x-auth-scope", "scope"),
            ("x-auth-issuer", "iss"),
            ("x-auth-tenant", "tenant"),
        ];
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            headers_of(&claims, &names),
            [
                pair("x-auth-subject", "alice"),
                pair("x-auth-client", "web-app"),
                pair("x-auth-scope", "api:read openid"),
                pair("x-auth-issuer", "https://as.example"),
            ]
        );
        assert_eq!(headers_with(&json!({}), &names, None, &[]), []);
    }

    #[test]
    fn values_are_percent_encoded_where_headers_could_be_read_otherwise() {
        for (claim, expected) in [
            (json!("alice"), Some("alice")),
            (json!("Al Ice"), Some("Al Ice")),
            (json!(" a "), Some("%20a%20")),
            (json!("a,b"), Some("a%2Cb")),
            (json!("100%"), Some("100%25")),
            (json!("say \"x\""), Some("say %22x%22")),
            (json!("x\r\nX-Auth-Subject: root\0"), Some("x%0D%0AX-Auth-Subject: root%00")),
            (json!("Zo\u{eb}"), Some("Zo%C3%AB")),
            (json!(""), Some("")),
            (json!(["a", "b"]), Some("a,b")),
            (json!(["a,b"]), Some("a%2Cb")),
            (json!(["a ", " b"]), Some("a%20,%20b")),
            (json!(["", ""]), Some(",")),
            (json!([1, true, "x"]), Some("1,true,x")),
            (json!(42), Some("42")),
            (json!(false), Some("false")),
            (json!([]), None),
            (json!(null), None),
            (json!({ "a": 1 }), Some("a")),
            (json!({ "viewer": {}, "admin": { "123": "org" } }), Some("admin,viewer")),
            (json!({ "on": true, "off": false, "untold": null, "zero": 0 }), Some("on,zero")),
            (json!({ "a,b": 1, " c": 1, "\u{eb}\r\n": 1 }), Some("%20c,a%2Cb,%C3%AB%0D%0A")),
            (json!({ "off": false }), None),
            (json!({}), None),
            (json!(["a", {}]), None),
            (json!(["a", null]), None),
            (json!(["a", ["b"]]), None),
        ] {
            assert_eq!(header_of(&claim).as_deref(), expected, "{claim}");
        }
    }

    #[test]
    fn a_dotted_name_descends_as_in_policies() {
        let claims = json!({ "realm_access": { "roles": ["a", "b"] }, "x.y": "literal" });
        assert_eq!(headers_of(&claims, &[("x-roles", "realm_access.roles")])[0].1, "a,b");
        assert_eq!(headers_of(&claims, &[("x-y", "x.y")])[0].1, "literal");
    }

    #[test]
    fn a_space_within_a_scope_value_does_not_make_two() {
        let scope =
            |values: &[&str]| headers_with(&json!({}), &[("x-scope", "scope")], None, values)[0].1.clone();
        assert_eq!(scope(&["a b"]), "a%20b");
        assert_eq!(scope(&["a", "b"]), "a b");
    }

    #[test]
    fn different_texts_and_lists_of_texts_never_give_the_same_header() {
        bolero::check!().with_iterations(1_000).with_max_len(128).with_type::<Vec<Vec<String>>>().for_each(
            |lists| {
                let mut seen: HashMap<String, &Vec<String>> = HashMap::new();
                let mut scopes: HashMap<String, &Vec<String>> = HashMap::new();
                for list in lists.iter().filter(|list| !list.is_empty()) {
                    let header = header_of(&json!(list)).unwrap();
                    assert!(header.bytes().all(|b| (0x20..0x7f).contains(&b)) && header.trim() == header);
                    assert_eq!(*seen.entry(header.clone()).or_insert(list), list);
                    let borrowed: Vec<&str> = list.iter().map(String::as_str).collect();
                    if borrowed.iter().copied().collect::<ScopeValues>().iter().eq(borrowed.iter().copied()) {
                        let scope =
                            headers_with(&json!({}), &[("x-scope", "scope")], None, &borrowed)[0].1.clone();
                        assert_eq!(*scopes.entry(scope).or_insert(list), list);
                    }
                    if let [single] = &list[..] {
                        assert_eq!(header_of(&json!(single)).unwrap(), header);
                    }
                }
            },
        );
    }

    #[test]
    fn a_header_does_not_say_what_kind_of_value_it_was() {
        for (one, other) in [
            (json!(1), json!("1")),
            (json!(-1.5), json!("-1.5")),
            (json!(true), json!("true")),
            (json!([1, false]), json!(["1", "false"])),
            (json!(["a"]), json!("a")),
            (json!(["a,b"]), json!("a,b")),
            (json!([1]), json!("1")),
            (json!({ "a": 1, "b": {} }), json!(["a", "b"])),
        ] {
            assert_eq!(header_of(&one), header_of(&other), "{one} {other}");
        }
        for (one, other) in [
            (json!(1), json!(1.0)),
            (json!(["a", "b"]), json!("a,b")),
            (json!([1, 2]), json!("1,2")),
            (json!(["1", "2"]), json!(12)),
            (json!(""), json!(null)),
        ] {
            assert_ne!(header_of(&one), header_of(&other), "{one} {other}");
        }
    }

    /// JSON has numbers of any length; what does not fit 64 bits is read as the next of some that do not lie
    /// close.
    #[test]
    fn a_number_whose_digits_were_lost_makes_no_header() {
        let read = |text: &str| {
            let claims = crate::core::token::json::object(format!("{{\"n\":{text}}}").as_bytes()).unwrap();
            header_of(&claims["n"])
        };
        for lost in [
            "18446744073709551616",
            "18446744073709551617",
            "-9223372036854775809",
            "9007199254740991.0",
            "1e300",
            "-1e15",
        ] {
            assert_eq!(read(lost), None, "{lost}");
            assert_eq!(read(&format!("[\"a\",{lost}]")), None, "{lost}");
        }
        for whole in
            ["18446744073709551615", "-9223372036854775808", "9007199254740993", "-1.5", "999999999999999.0"]
        {
            assert_eq!(read(whole).as_deref(), Some(whole));
        }
    }

    #[test]
    fn small_alphabets_collide_no_more_than_large_ones() {
        const PIECES: [&str; 10] = ["", "a", ",", "%", "%2C", "\"", " ", "2C", "\u{e9}", "\n"];
        bolero::check!().with_iterations(1_000).with_max_len(128).with_type::<[Vec<Vec<u8>>; 2]>().for_each(
            |pair| {
                let [one, other] = pair.each_ref().map(|list| -> Vec<String> {
                    let text = |pieces: &Vec<u8>| {
                        pieces.iter().take(3).map(|p| PIECES[usize::from(*p) % PIECES.len()]).collect()
                    };
                    list.iter().take(3).map(text).collect()
                });
                let same_header = header_of(&json!(one)) == header_of(&json!(other));
                assert_eq!(same_header, one == other, "{one:?} {other:?}");
            },
        );
    }

    fn reserved() -> ReservedHeaders {
        ReservedHeaders::new(["X-Auth-Subject", "remote_user"].into_iter())
    }

    #[test]
    fn ordinary_headers_pass() {
        for name in [
            "host",
            "accept",
            "cookie",
            "content-type",
            "connection",
            "x-auth",
            "x-auth-subjects",
            "x-forwarded",
            "x-originality",
            "forwarded-for",
            "x-http-methods",
            "proxy-connection",
            "tracestate",
            "",
            "x",
            "\u{e9}x-forwarded-",
        ] {
            assert!(!reserved().is_reserved(name), "{name}");
        }
    }

    #[test]
    fn what_frames_a_request_has_one_spelling() {
        for name in ["Transfer_Encoding", "transfer.encoding", "Content_Length", "CONTENT~LENGTH"] {
            assert!(reserved().is_reserved(name), "{name}");
        }
        for name in ["Transfer-Encoding", "content-length", "content_lengths"] {
            assert!(!reserved().is_reserved(name), "{name}");
        }
    }

    #[test]
    fn no_spelling_of_a_reserved_header_passes() {
        const OTHERS: &[u8] = b"-_.!#$%&'*+^`|~";
        let names = [
            "Authorization",
            "Forwarded",
            "Client-Cert",
            "Client-Cert-Chain",
            "X-Real-IP",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "Script-Name",
            "Daphne-Root-Path",
            "X-Request-Id",
            "X-Forwarded-For",
            "X-Forwarded-Anything",
            "X-Original-URL",
            "X-Original-",
            "X-Auth-Subject",
            "Remote-User",
            "traceparent",
        ];
        let reserved = reserved();
        bolero::check!().with_iterations(1_000).with_max_len(128).with_type::<(u8, [u8; 32])>().for_each(
            |(which, choices)| {
                let spelled: String = names[usize::from(*which) % names.len()]
                    .bytes()
                    .zip(choices)
                    .map(|(byte, choice)| match byte {
                        b'-' => char::from(OTHERS[usize::from(*choice) % OTHERS.len()]),
                        _ if choice % 2 == 0 => char::from(byte.to_ascii_uppercase()),
                        _ => char::from(byte.to_ascii_lowercase()),
                    })
                    .collect();
                assert!(reserved.is_reserved(&spelled), "{spelled}");
                assert!(
                    HeaderName::from_bytes(spelled.as_bytes()).is_ok(),
                    "{spelled} could not be sent at all"
                );
            },
        );
    }
}
