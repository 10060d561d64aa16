//! `routes[].encoded_slash`: what an escaped slash (`%2F`) in a path is. RFC 3986 section 2.2 makes it data,
//! which is not the delimiter `/`; many services decode it before they look for delimiters. So it is refused,
//! unless a route says that its upstream takes it for data.
//!
//! A path that keeps it is cut into segments as it is spelled, so that no route is found by decoding. What a
//! service that decodes would make of it is looked at only to find doubt: no piece between slashes, encoded
//! or not, is empty or a dot segment, nothing else in the path has a second reading, and the table refuses
//! what such a service would find under a route of its own.

use super::{CanonicalPath, PathPattern, PatternSegment, push_escaped};

/// How an encoded slash stands in a canonical path; nothing else there looks like it.
pub(super) const SPELLED: &str = "%2F";

/// What an encoded slash in a path is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlash {
    #[default]
    Refuse,
    /// Part of its segment.
    Keep,
}

impl CanonicalPath {
    /// Whether a segment holds a slash: such a path is only for routes that keep it.
    pub fn has_encoded_slash(&self) -> bool {
        self.encoded_slash
    }

    /// What an upstream reads that takes encoded slashes for slashes.
    pub(in crate::core) fn split_reading(&self) -> Self {
        Self { text: self.text.replace(SPELLED, "/"), one_reading: self.one_reading, encoded_slash: false }
    }
}

impl PathPattern {
    /// Whether paths with encoded slashes are among those that it covers.
    pub fn keeps_encoded_slashes(&self) -> bool {
        self.slash == EncodedSlash::Keep
    }

    pub(in crate::core) fn encoded_slash(&self) -> EncodedSlash {
        self.slash
    }

    /// A path that it covers, as [`CanonicalPath::split_reading`] has it, with no literal at any `{name}`;
    /// `None` where no literal of its own has an encoded slash.
    pub(in crate::core) fn split_example(&self) -> Option<CanonicalPath> {
        let mut text = String::new();
        let mut has_slash = false;
        for segment in &self.segments {
            match segment {
                PatternSegment::Literal(literal) => {
                    has_slash |= literal.contains('/');
                    text.push('/');
                    literal.bytes().for_each(|byte| push_escaped(byte, &mut text));
                }
                // No literal has a control character in it.
                PatternSegment::Parameter(_) => text.push_str("/%00"),
                PatternSegment::Rest => {}
            }
        }
        let example = CanonicalPath { text, one_reading: true, encoded_slash: true };
        has_slash.then(|| example.split_reading())
    }

    /// Whether it covers every path that the other covers.
    pub(in crate::core) fn covers_all_of(&self, other: &Self) -> bool {
        self.covers_all_of_by(other, str::eq)
    }

    /// The same, where literals are compared so.
    pub(super) fn covers_all_of_by(&self, other: &Self, is_same: impl Fn(&str, &str) -> bool) -> bool {
        let mut others = other.segments.iter();
        for mine in &self.segments {
            match (mine, others.next()) {
                (PatternSegment::Rest, _) => return true,
                (
                    PatternSegment::Parameter(_),
                    Some(PatternSegment::Literal(_) | PatternSegment::Parameter(_)),
                ) => {}
                (PatternSegment::Literal(mine), Some(PatternSegment::Literal(other)))
                    if is_same(mine, other) => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::tests::{Cut, upstream_reads, upstreams};
    use super::super::{raw_segments, without_parameters};
    use super::*;
    use crate::core::denial::Denial;
    use crate::core::percent;

    fn kept(path: &str) -> Result<CanonicalPath, Denial> {
        CanonicalPath::parse_with(path.as_bytes(), EncodedSlash::Keep)
    }

    #[test]
    fn where_it_is_kept_it_is_part_of_its_segment() {
        for (spelled, canonical, segments) in [
            ("/a%2fb", "/a%2Fb", &["a/b"][..]),
            ("/%40scope%2Fname/", "/%40scope%2Fname/", &["@scope/name"]),
            ("/a%2F%62%2fc/d/100%25", "/a%2Fb%2Fc/d/100%25", &["a/b/c", "d", "100%"]),
            ("/caf%c3%a9%2F%20", "/caf%C3%A9%2F%20", &["caf\u{e9}/ "]),
            ("/a%2F...%2F.b%2Fc..", "/a%2F...%2F.b%2Fc..", &["a/.../.b/c.."]),
        ] {
            let path = kept(spelled).unwrap();
            assert!(path.has_encoded_slash());
            assert_eq!(path.as_str(), canonical);
            assert!(path.segments().eq(segments.iter().copied()), "{path:?}");
            assert_eq!(kept(canonical), Ok(path));
            assert!(CanonicalPath::parse(spelled.as_bytes()).is_err(), "{spelled}");
        }
        assert!(!kept("/a/b%20c").unwrap().has_encoded_slash());
    }

    #[test]
    fn what_hides_behind_it_is_refused_as_ever() {
        for bad in [
            "/a%2f..%2fb",
            "/..%2f",
            "/..%2fa",
            "/a%2f..",
            "/%2e%2e%2f",
            "/%2e%2e%2fa",
            "/a%2f%2e%2e",
            "/a%2f.%2fb",
            "/a%2f.",
            "/.%2fa",
            "/%2f",
            "/%2fa",
            "/a%2f",
            "/a/%2f/b",
            "/a%2f%2fb",
            "/a%2f/b",
            "/a%2f%5cb",
            "/a\\%2fb",
            "/a%2f%00",
            "/a%2fb%0d%0a",
            "/a%2f..;x",
            "/a;x%2fb",
            "/a%2fb/c;x",
            "/a;x/b%2fc",
            "/a%2fb%3bx",
            "/a%2f;x",
            "/a%252fb",
            "/a%2f%252e%252e",
            "/a%2f%252fb",
            "/a%252f%2fb",
            "/a%2fb%2561",
            "/a%2fb/%2561",
            "/%2561/a%2fb",
            "/a%25%32%66b",
            "/a%2f%ff",
            "/a%c0%afb",
            "/a%2f%c0%ae%c0%ae%2fb",
            "a%2fb",
            "%2fa",
            "/a%2fb#c",
            "/a%2fb?c",
        ] {
            let refused = kept(bad);
            assert!(matches!(refused, Err(Denial::AmbiguousTarget(_))), "{bad:?} gave {refused:?}");
        }
    }

    /// An upstream that looks for delimiters first, then decodes `times` times each segment that it found.
    fn takes_it_for_data(path: &CanonicalPath, times: usize, cut: bool) -> Vec<Vec<u8>> {
        let decoded =
            |segment: &str| (0..times).fold(segment.as_bytes().to_vec(), |bytes, _| percent::decode(&bytes));
        let segments = raw_segments(path.as_str()).map(decoded);
        segments.map(|segment| if cut { without_parameters(&segment).to_vec() } else { segment }).collect()
    }

    /// Who takes it for data finds the segments that are judged, who takes it for a slash those of the other
    /// reading that is looked up; and nobody finds a third.
    #[test]
    fn every_upstream_finds_one_of_the_two_readings_that_are_looked_at() {
        const PIECES: [&str; 24] = [
            "/", "/", "/", "a", "b", "c", "a", "b", "%61", "%20", "%C3%A9", "%25", "%2f", "%2F", "%2f",
            "a%2Fb", "a%2fb", ".", "..", "%2e", "%252f", "%2561", ";", "%5c",
        ];
        let found = AtomicU32::new(0);
        bolero::check!().with_iterations(20_000).with_type::<[u8; 8]>().for_each(|pieces| {
            let text: String = pieces.iter().map(|p| PIECES[usize::from(*p) % PIECES.len()]).collect();
            let text = format!("/{text}").into_bytes();
            let strict = CanonicalPath::parse(&text);
            let Ok(path) = CanonicalPath::parse_with(&text, EncodedSlash::Keep) else {
                assert!(strict.is_err(), "what is refused where it is kept is refused everywhere");
                return;
            };
            if !path.has_encoded_slash() {
                assert_eq!(strict.as_ref(), Ok(&path));
                return;
            }
            assert!(strict.is_err());
            found.fetch_add(1, Ordering::Relaxed);
            let again = CanonicalPath::parse_with(path.as_str().as_bytes(), EncodedSlash::Keep);
            assert_eq!(again.as_ref(), Ok(&path));
            let judged: Vec<Vec<u8>> = path.segments().map(|s| s.as_bytes().to_vec()).collect();
            let split = path.split_reading();
            assert_eq!(CanonicalPath::parse(split.as_str().as_bytes()).as_ref(), Ok(&split));
            let other: Vec<Vec<u8>> = split.segments().map(|s| s.as_bytes().to_vec()).collect();
            for cuts in upstreams() {
                let cuts_off = cuts.iter().any(|cut| *cut != Cut::Nothing);
                assert_eq!(takes_it_for_data(&path, cuts.len() - 1, cuts_off), judged, "{path:?}");
                assert_eq!(upstream_reads(path.as_str(), &cuts), other, "{path:?}");
            }
        });
        assert!(found.into_inner() > 500, "too few encoded slashes were kept to prove anything");
    }

    #[test]
    fn a_pattern_has_an_encoded_slash_where_the_route_keeps_it() {
        let kept = |text: &str| PathPattern::parse_with(text, EncodedSlash::Keep);
        let pattern = kept("/projects/group%2Fname/{part}/*").unwrap();
        assert!(pattern.keeps_encoded_slashes());
        assert_eq!(pattern.literal_prefix(), "/projects/group%2Fname");
        let path = CanonicalPath::parse_with(b"/projects/group%2fname/a%2Fb", EncodedSlash::Keep).unwrap();
        assert_eq!(pattern.parameter(&path, "part").as_deref(), Some("a/b"));
        for (bad, remedy) in [
            ("/a%2fb", "write `a%2Fb`"),
            ("/a%2F..", "no request could have"),
            ("/%2Fa", "no request could have"),
            ("/a%2Fb;c", "two readings"),
            ("/a%252Fb", "no request could have"),
        ] {
            let error = kept(bad).unwrap_err();
            assert!(error.contains(remedy), "{bad}: {error}");
        }
        for (text, ours) in [
            ("/oauth%2Ftoken", true),
            ("/oauth%2Fx/*", true),
            ("/.well-known%2Fjwks.json", true),
            ("/.well-known/oauth-protected-resource%2Fx", true),
            ("/x/oauth%2Ftoken", false),
            ("/oauth2%2Fx", false),
        ] {
            assert_eq!(kept(text).unwrap().covers_own_paths(), ours, "{text}");
        }
    }

    #[test]
    fn a_pattern_covers_all_of_another_only_where_no_path_of_that_is_left_over() {
        for (one, other, covers) in [
            ("/*", "/a/{b}/*", true),
            ("/*", "/", true),
            ("/a/*", "/a", true),
            ("/a/*", "/a/{b}", true),
            ("/{x}/*", "/a/b", true),
            ("/{x}", "/{y}", true),
            ("/a/{x}/*", "/a/*", false),
            ("/a/{x}", "/a", false),
            ("/a", "/a/*", false),
            ("/a", "/{x}", false),
            ("/b/*", "/a/*", false),
            ("/{x}", "/*", false),
        ] {
            let pattern = |text| PathPattern::parse(text).unwrap();
            assert_eq!(pattern(one).covers_all_of(&pattern(other)), covers, "{one} {other}");
        }
    }
}
