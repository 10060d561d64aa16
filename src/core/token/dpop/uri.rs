//! The URI that a proof is for (RFC 9449 section 4.2, `htu`): scheme, host and path, without query and
//! fragment, normalised as RFC 3986 sections 6.2.2 and 6.2.3 have it (RFC 9449 section 4.3). Two are compared
//! after that, so that two spellings of one place are equal, and places that a request could not name are
//! equal to none. A request's own path never has dot segments; what a program wrote before its HTTP client
//! took them out may have.

use std::borrow::Cow;

use crate::core::path::{CanonicalPath, EncodedSlash};
use crate::core::request::Origin;

/// An `http` or `https` URI, down to its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUri {
    origin: Origin,
    path: String,
}

impl HttpUri {
    /// The URI of a request, by its one reading.
    pub fn new(origin: Origin, path: &CanonicalPath) -> Self {
        Self { origin, path: path.as_str().to_owned() }
    }

    /// Reads one as somebody wrote it. Query and fragment are cut off (section 4.3, point 9). A path with
    /// more than one reading stays as it is: no request is let in with it, but an endpoint elsewhere may have
    /// it.
    pub fn parse(text: &str) -> Option<Self> {
        // What a browser would mend or pass over is no URI (RFC 3986 section 2).
        if !text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>')) {
            return None;
        }
        let after_scheme = text.find("://")?.checked_add(3)?;
        let rest = text.get(after_scheme..)?;
        let host_ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (origin, rest) = text.split_at_checked(after_scheme.checked_add(host_ends)?)?;
        let path = rest.split(['?', '#']).next().filter(|path| !path.is_empty()).unwrap_or("/");
        let path = without_dot_segments(path);
        let path = match CanonicalPath::parse_with(path.as_bytes(), EncodedSlash::Keep) {
            Ok(canonical) => canonical.as_str().to_owned(),
            Err(_) => path.into_owned(),
        };
        Some(Self { origin: Origin::parse(origin)?, path })
    }
}

/// As RFC 3986 section 5.2.4 has it, of segments that are dots in any spelling (section 6.2.2.2).
fn without_dot_segments(path: &str) -> Cow<'_, str> {
    let dots = |segment: &str| match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
        "." => 1,
        ".." => 2,
        _ => 0,
    };
    let Some(rest) = path.strip_prefix('/').filter(|rest| rest.split('/').any(|segment| dots(segment) > 0))
    else {
        return Cow::Borrowed(path);
    };
    let mut kept = Vec::new();
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        match dots(segment) {
            0 => {
                kept.push(segment);
                continue;
            }
            1 => {}
            _ => drop(kept.pop()),
        }
        if segments.peek().is_none() {
            kept.push(""); // what they stood in is a folder
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> HttpUri {
        let path = CanonicalPath::parse(path.as_bytes()).unwrap();
        HttpUri::new(Origin::parse("https://api.example").unwrap(), &path)
    }

    #[test]
    fn two_spellings_of_one_place_are_equal() {
        for (text, path) in [
            ("https://api.example/a/b", "/a/b"),
            ("HTTPS://API.Example/a/b", "/a/b"),
            ("https://api.example:443/a/b", "/a/b"),
            ("https://api.example:/a/b", "/a/b"),
            ("https://api.example/a/b?x=1#y", "/a/b"),
            ("https://api.example/a/b#y?x", "/a/b"),
            ("https://api.example/%61/%7eb", "/a/~b"),
            ("https://api.example/%c3%a9", "/%C3%A9"),
            ("https://api.example/x/../a/b", "/a/b"),
            ("https://api.example/./a/%2e/x/.%2E/%62?x/../y", "/a/b"),
            ("https://api.example/../a/x/y/../../b", "/a/b"),
            ("https://api.example/a/b/.", "/a/b/"),
            ("https://api.example/a/b/x/..", "/a/b/"),
            ("https://api.example/..", "/"),
            ("https://api.example", "/"),
            ("https://api.example?x", "/"),
            ("https://api.example/", "/"),
        ] {
            assert_eq!(HttpUri::parse(text), Some(at(path)), "{text}");
        }
    }

    /// The route has `encoded_slash: keep`.
    #[test]
    fn an_encoded_slash_has_two_spellings_and_is_no_slash() {
        let path = CanonicalPath::parse_with(b"/a%2fb", EncodedSlash::Keep).unwrap();
        let request = HttpUri::new(Origin::parse("https://api.example").unwrap(), &path);
        for text in ["https://api.example/a%2fb", "https://api.example/%61%2Fb?x"] {
            assert_eq!(HttpUri::parse(text).as_ref(), Some(&request), "{text}");
        }
        assert_ne!(HttpUri::parse("https://api.example/a/b"), Some(request));
    }

    #[test]
    fn other_places_are_not_equal() {
        for text in [
            "http://api.example/a/b",
            "https://api.example:8443/a/b",
            "https://api.example.evil/a/b",
            "https://sub.api.example/a/b",
            "https://api.example/a/B",
            "https://api.example/a/b/",
            "https://api.example/a//b",
            "https://api.example/x/a/b/..",
            "https://api.example/a/b/.",
            "https://api.example/a/.../b",
            "https://api.example/a/..;/a/b",
            "https://api.example/x/%252e%252e/a/b",
            "https://api.example/a%2fb",
            "https://api.example/a/b%3f",
            "https://api.example//a/b",
        ] {
            let read = HttpUri::parse(text);
            assert!(read.is_some() && read != Some(at("/a/b")), "{text}");
        }
    }

    #[test]
    fn what_is_no_http_uri_is_none() {
        for text in [
            "",
            "/a/b",
            "api.example/a/b",
            "//api.example/a/b",
            "https:/api.example/a/b",
            "https:api.example/a/b",
            "https://user@api.example/a/b",
            "https://api.example@evil.example/a/b",
            "wss://api.example/a/b",
            "https://api.example\\a/b",
            "https:\\\\api.example/a/b",
            " https://api.example/a/b",
            "https://api.example/a/b\n",
            "https://api.example/a b",
            "https://api.example/\u{e9}",
            "https:///a/b",
            "https://",
        ] {
            assert_eq!(HttpUri::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_for_a_request_is_equal_to_it_whatever_its_path() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|path| {
            let Ok(path) = CanonicalPath::parse(&[b"/", path.as_slice()].concat()) else { return };
            let request = HttpUri::new(Origin::parse("https://api.example").unwrap(), &path);
            let written = format!("https://api.example{}?x", path.as_str());
            assert_eq!(HttpUri::parse(&written), Some(request), "{written}");
        });
    }
}
