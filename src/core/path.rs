//! One canonical reading of a request's path, or a refusal (RFC 3986 sections 3.3 and 6.2.2; RFC 9110
//! section 4.2.3). The spelling that was judged is the spelling that is sent, so that no upstream can
//! find another path in it than the one whose policy was applied.
//!
//! Refused is what readers disagree about: empty and dot segments in any spelling, escaped slashes and
//! backslashes, control characters, the double encoding of all these, and whatever RFC 3986 does not let into
//! a path. Two spellings stay possible, and the path is looked up once more in each reading that others may
//! give it: `;parameters`, which some upstreams cut off (see [`CanonicalPath::lenient_reading`]), and some
//! with all of the path behind them (see [`CanonicalPath::cut_readings`]); and harmless double encoding,
//! which some decode twice. All readings must lead to the same route.
//!
//! An escaped slash is refused too, unless the caller leaves it to the route (see [`EncodedSlash`]).
//!
//! One trailing slash makes no difference to judging: many upstreams serve `/x/` as `/x`.
//!
//! This module must never repair a path: it normalises the spelling of what has one reading, and
//! refuses the rest.

use std::borrow::Cow;

use crate::core::denial::Denial;
use crate::core::percent;

mod encoded_slash;
mod letter_case;
pub mod own;

pub use encoded_slash::EncodedSlash;
pub(in crate::core) use letter_case::{is_lower_case, lower_case};

/// A request's path in its one canonical spelling: what is judged is what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath {
    text: String,
    /// No upstream reads anything else in it, but for what it makes of an encoded slash.
    one_reading: bool,
    encoded_slash: bool,
}

const START: &str = "The path must start with a slash.";
const EMPTY_SEGMENT: &str = "The path must not contain an empty segment.";
const DOT_SEGMENT: &str = "The path must not contain a dot segment, in any spelling.";
/// Said of an encoded slash by whoever does not take it.
pub const SLASH: &str = "The path must not contain an encoded slash, or a backslash in any spelling.";
const CONTROL: &str = "The path must not contain a control character, in any spelling.";
const FRAGMENT: &str = "The request target must not contain a fragment.";
const RAW: &str = "The path contains a character that must be percent-encoded.";
const ESCAPE: &str = "A percent sign in the path must be followed by two hexadecimal digits.";
const UTF8: &str = "The path is not valid UTF-8 after decoding.";
const TOO_OFTEN: &str = "The path is percent-encoded more than twice.";
const SLASH_IN_DOUBT: &str =
    "Beside an encoded slash the path must not contain a semicolon or double encoding.";

impl CanonicalPath {
    /// Reads the path part of a request target, without its query.
    ///
    /// # Errors
    /// [`Denial::AmbiguousTarget`] with what is wrong, when the path has not exactly one reading.
    pub fn parse(path: &[u8]) -> Result<Self, Denial> {
        Self::parse_with(path, EncodedSlash::Refuse)
    }

    /// Reads it likewise. With [`EncodedSlash::Keep`] an escaped slash is part of its segment, and whoever
    /// takes such a path must see to [`Self::has_encoded_slash`].
    ///
    /// # Errors
    /// As [`Self::parse`] does.
    pub fn parse_with(path: &[u8], slash: EncodedSlash) -> Result<Self, Denial> {
        match std::str::from_utf8(path) {
            Ok(plain) if is_plain(path) => {
                Ok(Self { text: plain.to_owned(), one_reading: true, encoded_slash: false })
            }
            _ => Self::parse_segments(path, slash),
        }
    }

    /// Reads segment by segment, whatever is in them.
    fn parse_segments(path: &[u8], slash: EncodedSlash) -> Result<Self, Denial> {
        let Some((b'/', rest)) = path.split_first() else {
            return Err(Denial::AmbiguousTarget(START));
        };
        let mut text = String::with_capacity(path.len());
        let mut one_reading = true;
        let mut segments = rest.split(|&b| b == b'/').peekable();
        while let Some(segment) = segments.next() {
            text.push('/');
            if segment.is_empty() {
                if segments.peek().is_some() {
                    return Err(Denial::AmbiguousTarget(EMPTY_SEGMENT));
                }
                break;
            }
            one_reading &= write_segment(segment, slash, &mut text).map_err(Denial::AmbiguousTarget)?;
        }
        let encoded_slash = text.contains(encoded_slash::SPELLED);
        if encoded_slash && !one_reading {
            return Err(Denial::AmbiguousTarget(SLASH_IN_DOUBT));
        }
        Ok(Self { text, one_reading, encoded_slash })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The segments, percent-decoded; a trailing slash adds none. Borrowed where nothing is escaped.
    pub fn segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        raw_segments(&self.text).map(decoded)
    }

    /// A path of these canonical segments, each after a slash; with a trailing slash if this one has one.
    /// It has one reading where this one has, or whoever made it sees to that.
    pub(in crate::core) fn with_segments(&self, mut text: String) -> Self {
        if text.is_empty() || self.text.ends_with('/') {
            text.push('/');
        }
        let encoded_slash = text.contains(encoded_slash::SPELLED);
        Self { text, one_reading: self.one_reading, encoded_slash }
    }

    /// What the most lenient upstream would read: decoded twice, `;parameters` cut off. `None` for
    /// nearly every path.
    ///
    /// One look-up of this reading answers for all that lie between it and the canonical one (decoded
    /// twice but nothing cut off, one segment cut and another not, and so on): no literal of a pattern
    /// can have a spelling that changes between readings, so a segment that does change is matched by
    /// `{name}` or `*` in every reading but this one, where a literal may match too. A route that wins
    /// in both therefore wins in between.
    pub(in crate::core) fn lenient_reading(&self) -> Option<Self> {
        if self.one_reading {
            return None;
        }
        let mut text = String::with_capacity(self.text.len());
        for segment in raw_segments(&self.text) {
            let twice = percent::decode(&percent::decode(segment.as_bytes()));
            text.push('/');
            without_parameters(&twice).iter().for_each(|&byte| push_escaped(byte, &mut text));
        }
        Some(Self { text, one_reading: true, encoded_slash: false })
    }

    /// What upstreams read that cut the whole path off at its first semicolon, segments too (Jetty before
    /// 9.3, Shiro): one that they find before they decode, after that, or after decoding twice. `lenient` is
    /// the reading of that name, and these are beginnings of it. None for a path without semicolons.
    ///
    /// They answer for those between them and the beginnings of the canonical path as
    /// [`Self::lenient_reading`] does: what changes in the segments that are left is matched by no literal of
    /// a route that won in both whole readings.
    pub(in crate::core) fn cut_readings(&self, lenient: &Self) -> impl Iterator<Item = Self> {
        let mut ends: Vec<usize> = (0..=2_u8)
            .filter_map(|decodings| {
                raw_segments(&self.text).position(|segment| {
                    let spelled = segment.as_bytes().to_vec();
                    (0..decodings).fold(spelled, |bytes, _| percent::decode(&bytes)).contains(&b';')
                })
            })
            .collect();
        ends.dedup();
        ends.into_iter().map(|end| {
            let kept = raw_segments(&lenient.text).take(end.saturating_add(1));
            let text = kept.flat_map(|segment| ["/", segment]).collect();
            Self { text, one_reading: true, encoded_slash: false }
        })
    }
}

/// Whether a path is what nearly all are: segments that need no escape anywhere, none of them empty or with a
/// dot in front. Such a path has no second spelling, and is its own canonical one.
fn is_plain(path: &[u8]) -> bool {
    let mut after_slash = false;
    let is_plain = |byte: &u8| {
        let is_slash = *byte == b'/';
        let fits = if after_slash { !is_slash && *byte != b'.' } else { true };
        after_slash = is_slash;
        fits && (is_slash || is_unreserved(*byte))
    };
    path.first() == Some(&b'/') && path.iter().all(is_plain)
}

/// The segments of a canonical path as they are spelled.
pub(in crate::core) fn raw_segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        while let Some(after) = rest.strip_prefix('/') {
            rest = after;
        }
        let end = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
        let (segment, after) = rest.split_at_checked(end)?;
        rest = after;
        (!segment.is_empty()).then_some(segment)
    })
}

/// A canonical segment, percent-decoded.
pub(in crate::core) fn decoded(segment: &str) -> Cow<'_, str> {
    if segment.as_bytes().contains(&b'%') {
        Cow::Owned(String::from_utf8_lossy(&percent::decode(segment.as_bytes())).into_owned())
    } else {
        Cow::Borrowed(segment)
    }
}

/// What a segment holds that may have a second reading.
#[derive(Clone, Copy, Default)]
struct Doubts {
    /// Escaped bytes that are not ASCII.
    escaped_bytes: bool,
    /// An escaped percent sign: the beginning of a double encoding.
    percent: bool,
    semicolon: bool,
    /// An escaped slash that the caller keeps.
    slash: bool,
}

/// Appends one segment in its canonical spelling. Returns whether it has only one reading.
fn write_segment(segment: &[u8], slash: EncodedSlash, out: &mut String) -> Result<bool, &'static str> {
    // Most segments are plain, also beside one that is not.
    if segment.iter().all(|byte| is_unreserved(*byte))
        && let Ok(plain) = std::str::from_utf8(segment)
        && !plain.starts_with('.')
    {
        out.push_str(plain);
        return Ok(true);
    }
    let start = out.len();
    let mut doubts = Doubts::default();
    let mut bytes = segment.iter();
    while let Some(&byte) = bytes.next() {
        let (byte, escaped) = if byte == b'%' {
            let digits = (
                bytes.next().copied().and_then(percent::digit),
                bytes.next().copied().and_then(percent::digit),
            );
            let (Some(high), Some(low)) = digits else { return Err(ESCAPE) };
            (high << 4 | low, true)
        } else {
            (byte, false)
        };
        match (byte, slash) {
            (b'/', EncodedSlash::Keep) => doubts.slash = true,
            _ => never_in_a_segment(byte)?,
        }
        doubts.semicolon |= byte == b';';
        match (byte, escaped) {
            (_, _) if is_unreserved(byte) => out.push(char::from(byte)),
            (_, true) => {
                doubts.escaped_bytes |= byte >= 0x80;
                doubts.percent |= byte == b'%';
                percent::encode(byte, out);
            }
            // Allowed as they are (RFC 3986 section 3.3, `pchar`).
            (_, false) if is_sub_delim(byte) => out.push(char::from(byte)),
            // Not allowed, but browsers send them as they are; they have one reading.
            (b'[' | b']' | b'|' | b'^', false) => percent::encode(byte, out),
            (b'#', false) => return Err(FRAGMENT),
            (_, false) => return Err(RAW),
        }
    }
    has_one_reading(out.get(start..).unwrap_or_default(), doubts)
}

/// Whether a segment, in its canonical spelling, has only one reading, rather than a harmless second one.
///
/// # Errors
/// What is wrong with a reading that an upstream may give it.
fn has_one_reading(segment: &str, doubts: Doubts) -> Result<bool, &'static str> {
    let Doubts { escaped_bytes, percent, semicolon, slash } = doubts;
    if !escaped_bytes && !percent && !semicolon && !slash && !segment.starts_with('.') {
        return Ok(true);
    }
    let once = percent::decode(segment.as_bytes());
    if escaped_bytes && std::str::from_utf8(&once).is_err() {
        return Err(UTF8);
    }
    once.split(|&b| b == b'/').try_for_each(no_dot_segment)?;
    let twice = percent::decode(&once);
    if twice == once {
        return Ok(!semicolon);
    }
    if slash {
        return Err(SLASH_IN_DOUBT);
    }
    // A reader that decodes twice may find more in invalid UTF-8, such as dots in overlong forms (RFC 3629
    // section 10).
    std::str::from_utf8(&twice).map_err(|_| UTF8)?;
    twice.iter().try_for_each(|&byte| never_in_a_segment(byte))?;
    no_dot_segment(&twice)?;
    if percent::decode(&twice) != twice {
        return Err(TOO_OFTEN);
    }
    Ok(false)
}

/// What no segment may hold, however it is spelled.
fn never_in_a_segment(byte: u8) -> Result<(), &'static str> {
    match byte {
        b'/' | b'\\' => Err(SLASH),
        0..=0x1f | 0x7f => Err(CONTROL),
        _ => Ok(()),
    }
}

/// Refuses `.`, `..` and nothing, also with `;parameters` behind them.
fn no_dot_segment(segment: &[u8]) -> Result<(), &'static str> {
    match without_parameters(segment) {
        b"" => Err(EMPTY_SEGMENT),
        b"." | b".." => Err(DOT_SEGMENT),
        _ => Ok(()),
    }
}

fn without_parameters(segment: &[u8]) -> &[u8] {
    segment.split(|&b| b == b';').next().unwrap_or_default()
}

/// RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 section 2.2, with `:` and `@`, which a segment may hold too.
const fn is_sub_delim(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

pub(in crate::core) fn push_escaped(byte: u8, out: &mut String) {
    if is_unreserved(byte) || is_sub_delim(byte) {
        out.push(char::from(byte));
    } else {
        percent::encode(byte, out);
    }
}

/// `routes[].path`: literals, `{name}`s and a final `*`. It covers a path with and without a trailing
/// slash; `/x/*` covers `/x`, `/x/` and everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<PatternSegment>,
    slash: EncodedSlash,
}

/// One segment of a pattern; in the order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::core) enum PatternSegment {
    /// Percent-decoded.
    Literal(String),
    Parameter(String),
    /// Any number of segments, none too; always last.
    Rest,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong and what would be right, as one sentence for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_with(text, EncodedSlash::Refuse)
    }

    /// Reads a pattern, and whether its paths may have encoded slashes.
    ///
    /// # Errors
    /// As [`Self::parse`] does.
    pub fn parse_with(text: &str, slash: EncodedSlash) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("a path starts with `/`: write `/{text}`"));
        };
        let mut segments: Vec<PatternSegment> = Vec::new();
        if rest.is_empty() {
            return Ok(Self { text: text.to_owned(), segments, slash });
        }
        let mut spelled = rest.split('/').peekable();
        while let Some(segment) = spelled.next() {
            let is_last = spelled.peek().is_none();
            let segment = match segment {
                "" if is_last => {
                    let without = text.trim_end_matches('/');
                    return Err(format!(
                        "drop the last `/`: `{without}` covers `{without}/` too, `{without}/*` also everything below"
                    ));
                }
                "" => return Err("a path has no empty segment: write one `/` instead of `//`".to_owned()),
                "*" if is_last => PatternSegment::Rest,
                "*" => {
                    return Err(
                        "`*` can only be the last segment: write `{name}` for one segment in the middle"
                            .to_owned(),
                    );
                }
                _ if segment.contains(['{', '}']) => parameter(segment, &segments)?,
                _ if segment.contains('*') => {
                    return Err(format!(
                        "`*` stands for whole segments: write `*` or `{{name}}` instead of `{segment}`"
                    ));
                }
                _ => literal(segment, slash)?,
            };
            segments.push(segment);
        }
        Ok(Self { text: text.to_owned(), segments, slash })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its `{name}`s, from the left.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            PatternSegment::Parameter(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// What a path that this pattern covers has at `{name}`, percent-decoded.
    pub fn parameter<'p>(&self, path: &'p CanonicalPath, name: &str) -> Option<Cow<'p, str>> {
        let at =
            self.segments.iter().position(|s| matches!(s, PatternSegment::Parameter(own) if own == name))?;
        path.segments().nth(at)
    }

    /// Its first segments up to a `{name}` or `*`, in their canonical spelling; empty where there are none.
    pub fn literal_prefix(&self) -> String {
        let mut text = String::new();
        for segment in &self.segments {
            let PatternSegment::Literal(literal) = segment else { break };
            text.push('/');
            literal.bytes().for_each(|byte| push_escaped(byte, &mut text));
        }
        text
    }

    pub(in crate::core) fn segments(&self) -> &[PatternSegment] {
        &self.segments
    }
}

fn parameter(segment: &str, before: &[PatternSegment]) -> Result<PatternSegment, String> {
    let name = segment
        .strip_prefix('{')
        .and_then(|s| s.strip_suffix('}'))
        .filter(|name| !name.contains(['{', '}']))
        .ok_or_else(|| format!("a parameter is a whole segment, `/{{name}}/`, but this is `{segment}`"))?;
    let well_named = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !well_named {
        return Err(format!(
            "the name of a parameter has only a-z, 0-9 and `_` and does not start with a digit, but this is `{segment}`"
        ));
    }
    let made = PatternSegment::Parameter(name.to_owned());
    if before.contains(&made) {
        return Err(format!("`{segment}` is there twice: give each parameter a name of its own"));
    }
    Ok(made)
}

fn literal(segment: &str, slash: EncodedSlash) -> Result<PatternSegment, String> {
    let mut canonical = String::with_capacity(segment.len());
    match write_segment(segment.as_bytes(), slash, &mut canonical) {
        Ok(_) if canonical != segment => {
            Err(format!("write `{canonical}` instead of `{segment}`: one path has one spelling"))
        }
        Ok(true) => Ok(PatternSegment::Literal(decoded(segment).into_owned())),
        Ok(false) => Err(format!(
            "`{segment}` has two readings, because some upstreams cut off what follows `;` or decode twice: use `{{name}}` or `*` here"
        )),
        Err(RAW) => {
            let mut escaped = String::new();
            let mut bytes = segment.as_bytes();
            while let Some((&byte, behind)) = bytes.split_first() {
                if byte == b'%' {
                    escaped.push('%')
                } else {
                    push_escaped(byte, &mut escaped)
                }
                bytes = behind;
            }
            Err(format!("write `{escaped}` instead of `{segment}`: a path is percent-encoded"))
        }
        Err(FRAGMENT) => Err("a path has no fragment: drop `#` and what follows".to_owned()),
        Err(SLASH) if write_segment(segment.as_bytes(), EncodedSlash::Keep, &mut String::new()).is_ok() => {
            Err(format!(
                "`{segment}` has an encoded slash, which is refused: add `encoded_slash: keep` to the route"
            ))
        }
        Err(why) => Err(format!("no request could have `{segment}`. {why}")),
    }
}

#[cfg(test)]
pub(in crate::core) mod tests {
    use super::*;

    fn canonical(path: &str) -> Option<String> {
        CanonicalPath::parse(path.as_bytes()).ok().map(|path| path.as_str().to_owned())
    }

    #[test]
    fn every_ambiguous_spelling_is_refused() {
        for bad in [
            "",
            "x",
            "*",
            "http://a/x",
            "//",
            "//x",
            "/x//",
            "/x//y",
            "/.",
            "/..",
            "/x/.",
            "/x/..",
            "/./x",
            "/../x",
            "/%2e",
            "/%2E%2e/x",
            "/.%2e",
            "/%2e.",
            "/x/..;a=b/y",
            "/..;",
            "/.;x",
            "/%2e%2e;x",
            "/..%3b",
            "/..%3Bx",
            "/;x",
            "/x/;a/y",
            "/%3Bx",
            "/x%2fy",
            "/x%2Fy",
            "/x\\y",
            "/x%5cy",
            "/x%5Cy",
            "/%00",
            "/x%1f",
            "/x%7f",
            "/x%0d%0ay",
            "/x%252fy",
            "/x%252Fy",
            "/x%25%32%66y",
            "/%252e%252e/x",
            "/%252e",
            "/.%252e",
            "/x%255cy",
            "/%2500",
            "/x%250a",
            "/x%257f",
            "/x%25252fy",
            "/%252e%252e%253bx",
            "/%253bx",
            "/%2525252e",
            "/x#y",
            "/x%",
            "/x%2",
            "/x%zz",
            "/x%u002f",
            "/%ff",
            "/%c3",
            "/%c0%ae%c0%ae/x",
            "/%ed%a0%80",
            "/%25ff",
            "/%25c3",
            "/%25c3%25",
            "/%25c3x%25a9",
            "/public/%25c0%25ae%25c0%25ae/admin/x",
            "/%25ed%25a0%2580",
            "/%25%63%33",
            "/50%25ab",
            "/x y",
            "/x\"y",
            "/x<y",
            "/x`y",
            "/{x}",
            "/x?y",
            "/\u{e9}",
            "/x\ty",
            "/x\0y",
            "/x\x7fy",
            "/x\r\ny",
            "/%252525",
        ] {
            let refused = CanonicalPath::parse(bad.as_bytes());
            assert!(matches!(refused, Err(Denial::AmbiguousTarget(_))), "{bad:?} gave {refused:?}");
        }
        assert!(CanonicalPath::parse(b"/\xc3\xa9").is_err(), "raw bytes above 0x7f");
    }

    #[test]
    fn one_path_has_one_spelling() {
        for (spelled, expected) in [
            ("/", "/"),
            ("/x/", "/x/"),
            ("/%61pi/%7Euser/%2D%5f", "/api/~user/-_"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/a[0]|b^", "/a%5B0%5D%7Cb%5E"),
            ("/a!$&'()*+,=:@b", "/a!$&'()*+,=:@b"),
            ("/a%40b", "/a%40b"),
            ("/100%25", "/100%25"),
            ("/50%25zz", "/50%25zz"),
            ("/50%2541", "/50%2541"),
            ("/caf%25c3%25a9", "/caf%25c3%25a9"),
            ("/x;v=1", "/x;v=1"),
            ("/...", "/..."),
            ("/.hidden/a..b", "/.hidden/a..b"),
            ("/.%77ell-known/x", "/.well-known/x"),
            ("/%2561", "/%2561"),
        ] {
            assert_eq!(canonical(spelled).as_deref(), Some(expected), "{spelled}");
        }
    }

    #[test]
    fn segments_are_decoded_and_a_trailing_slash_adds_none() {
        let segments = |path: &str| -> Vec<String> {
            CanonicalPath::parse(path.as_bytes()).unwrap().segments().map(Cow::into_owned).collect()
        };
        assert_eq!(segments("/"), [""; 0]);
        assert_eq!(segments("/x/"), ["x"]);
        assert_eq!(segments("/a%20b/caf%C3%A9/c%40d"), ["a b", "caf\u{e9}", "c@d"]);
    }

    #[test]
    fn another_reading_is_looked_for_only_where_there_can_be_one() {
        for (path, lenient) in [
            ("/a/b%20c/100%25", None),
            ("/admin;x/y/", Some("/admin/y")),
            ("/%2561dmin", Some("/admin")),
            ("/a%253Bb/%25C3%25A9", Some("/a/%C3%A9")),
        ] {
            let path = CanonicalPath::parse(path.as_bytes()).unwrap();
            assert_eq!(path.lenient_reading().as_ref().map(CanonicalPath::as_str), lenient, "{path:?}");
        }
    }

    #[test]
    fn a_path_may_end_at_its_first_semicolon_as_it_stands_or_decoded() {
        for (path, ends) in [
            ("/a/b%20c", &[][..]),
            ("/a/%2561b", &[]),
            ("/a/b;x", &["/a/b"]),
            ("/a/b;x/", &["/a/b"]),
            ("/a/b;x/c;y/d", &["/a/b"]),
            ("/a/b%3Bx/c", &["/a/b"]),
            ("/a/%2562%253Bx/c", &["/a/b"]),
            ("/a/b%253Bx/c%3By/d;z/e", &["/a/b/c/d", "/a/b/c", "/a/b"]),
            ("/%2561/b;x/c", &["/a/b"]),
        ] {
            let path = CanonicalPath::parse(path.as_bytes()).unwrap();
            let lenient = path.lenient_reading();
            let cut: Vec<_> = lenient.iter().flat_map(|lenient| path.cut_readings(lenient)).collect();
            assert_eq!(cut.iter().map(CanonicalPath::as_str).collect::<Vec<_>>(), ends, "{path:?}");
        }
    }

    /// Texts made of the pieces that attacks are made of, besides arbitrary bytes.
    pub(in super::super) fn spelled(pieces: &[u8]) -> Vec<u8> {
        const PIECES: [&str; 36] = [
            "/", "/", "/", ".", "..", "%", "%2", "25", "2e", "2E", "2f", "5c", "5C", "3b", "%25", "%2e",
            "%2f", ";", ";x=y", "a", "admin", "%61", "%C3%A9", "%c3", "\\", "%00", "#", "?", "%40", "@", "[",
            " ", "%25c3", "%25A9", "%25c0", "%25ff",
        ];
        let mut out = vec![b'/'];
        for piece in pieces {
            match PIECES.get(usize::from(*piece)) {
                Some(piece) => out.extend_from_slice(piece.as_bytes()),
                None => out.push(*piece),
            }
        }
        out
    }

    #[test]
    fn parsing_what_was_parsed_changes_nothing() {
        bolero::check!().with_iterations(5_000).with_max_len(128).with_type::<Vec<u8>>().for_each(|pieces| {
            let folded: Vec<u8> = pieces.iter().map(|b| if *b < 200 { b % 36 } else { *b }).collect();
            for text in [spelled(&folded), pieces.clone()] {
                let by_segment = CanonicalPath::parse_segments(&text, EncodedSlash::Refuse);
                assert_eq!(CanonicalPath::parse(&text), by_segment);
                let Ok(path) = CanonicalPath::parse(&text) else { continue };
                assert_eq!(CanonicalPath::parse(path.as_str().as_bytes()).as_ref(), Ok(&path));
                assert!(path.as_str().starts_with('/') && path.as_str().is_ascii());
            }
        });
    }

    /// What an upstream takes off for parameters.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum Cut {
        Nothing,
        /// What follows a semicolon in its segment.
        InSegments,
        /// What follows the first semicolon, segments too (Jetty before 9.3, Shiro).
        Path,
    }

    impl Cut {
        fn off(self, bytes: Vec<u8>) -> Vec<u8> {
            match self {
                Self::Nothing => bytes,
                Self::InSegments => {
                    let kept: Vec<&[u8]> = bytes.split(|&b| b == b'/').map(without_parameters).collect();
                    kept.join(&b'/')
                }
                Self::Path => without_parameters(&bytes).to_vec(),
            }
        }
    }

    /// An upstream that decodes so many times less one, and cuts off before each time and after the last;
    /// then it resolves what it finds.
    pub(in super::super) fn upstream_reads(path: &str, cuts: &[Cut]) -> Vec<Vec<u8>> {
        let (first, then) = cuts.split_first().unwrap();
        let bytes = first.off(path.as_bytes().to_vec());
        let bytes = then.iter().fold(bytes, |bytes, cut| cut.off(percent::decode(&bytes)));
        let mut resolved: Vec<Vec<u8>> = Vec::new();
        for segment in bytes.split(|b| matches!(b, b'/' | b'\\')) {
            match segment {
                b"" | b"." => {}
                b".." => drop(resolved.pop()),
                _ => resolved.push(segment.to_vec()),
            }
        }
        resolved
    }

    /// Those that decode once, twice or three times, and cut off before that, after it, both or never; and
    /// those that cut the path off in between.
    pub(in super::super) fn upstreams() -> Vec<Vec<Cut>> {
        use Cut::{InSegments, Nothing, Path};
        let mut all = vec![vec![Nothing, Path, Nothing], vec![Nothing, Path, Nothing, Nothing]];
        for decodings in 1..=3 {
            for first in [Nothing, InSegments, Path] {
                for last in [Nothing, InSegments, Path] {
                    let mut cuts = vec![Nothing; decodings + 1];
                    (cuts[0], cuts[decodings]) = (first, last);
                    all.push(cuts);
                }
            }
        }
        all
    }

    #[test]
    fn no_upstream_finds_other_segments_than_were_judged() {
        bolero::check!().with_iterations(5_000).with_max_len(128).with_type::<Vec<u8>>().for_each(|pieces| {
            let folded: Vec<u8> = pieces.iter().map(|b| b % 36).collect();
            let Ok(path) = CanonicalPath::parse(&spelled(&folded)) else { return };
            let bytes = |path: &CanonicalPath| -> Vec<Vec<u8>> {
                raw_segments(path.as_str()).map(|segment| percent::decode(segment.as_bytes())).collect()
            };
            let most_lenient = path.lenient_reading();
            let (strict, lenient) = (bytes(&path), bytes(most_lenient.as_ref().unwrap_or(&path)));
            let ends: Vec<usize> = most_lenient
                .iter()
                .flat_map(|lenient| path.cut_readings(lenient))
                .map(|cut| bytes(&cut).len())
                .collect();
            for cuts in upstreams() {
                let read = upstream_reads(path.as_str(), &cuts);
                let ends_early = cuts.contains(&Cut::Path) && ends.contains(&read.len());
                assert!(read.len() == strict.len() || ends_early, "{path:?} reads {read:?}");
                for (at, segment) in read.iter().enumerate() {
                    assert!(std::str::from_utf8(segment).is_ok(), "{path:?} reads {segment:?}");
                    let judged = *segment == strict[at] || *segment == lenient[at];
                    // In between lies only what no literal of a pattern can be.
                    assert!(judged || literal_is_impossible(segment), "{path:?} reads {read:?}");
                }
            }
        });
    }

    fn literal_is_impossible(segment: &[u8]) -> bool {
        segment.contains(&b';') || percent::decode(segment) != segment
    }

    #[test]
    fn two_spellings_of_one_path_are_judged_alike() {
        bolero::check!().with_iterations(5_000).with_max_len(128).with_type::<(String, Vec<u8>)>().for_each(
            |(text, choices)| {
                let spell = |offset: usize| -> Vec<u8> {
                    let mut out = String::from("/");
                    for (i, byte) in text.bytes().enumerate() {
                        let choice = choices.get((i + offset) % choices.len().max(1)).copied().unwrap_or(0);
                        match choice.wrapping_add(u8::try_from(offset).unwrap()) % 3 {
                            0 => percent::encode(byte, &mut out),
                            1 if byte.is_ascii() && byte != b'%' => out.push(char::from(byte)),
                            _ => out.push_str(&format!("%{byte:02x}")),
                        }
                    }
                    out.into_bytes()
                };
                if let (Ok(one), Ok(other)) =
                    (CanonicalPath::parse(&spell(0)), CanonicalPath::parse(&spell(1)))
                {
                    assert!(one.segments().eq(other.segments()), "{one:?} {other:?}");
                    if text.bytes().all(is_unreserved) {
                        assert_eq!(one, other);
                    }
                }
            },
        );
    }

    #[test]
    fn patterns_say_what_is_wrong_and_what_would_be_right() {
        for good in
            ["/", "/*", "/x", "/api/*", "/api/users/{id}/*", "/{a}/{b_2}", "/caf%C3%A9", "/100%25", "/a@b"]
        {
            assert_eq!(PathPattern::parse(good).unwrap().as_str(), good);
        }
        for (bad, remedy) in [
            ("", "write `/`"),
            ("api", "write `/api`"),
            ("/x/", "`/x` covers `/x/` too"),
            ("//", "no empty segment"),
            ("/x//y", "`//`"),
            ("/*/x", "only be the last segment"),
            ("/x*", "whole segments"),
            ("/x{id}", "whole segment"),
            ("/{id}x", "whole segment"),
            ("/{}", "name of a parameter"),
            ("/{Id}", "name of a parameter"),
            ("/{1}", "name of a parameter"),
            ("/{a}/{a}", "twice"),
            ("/caf\u{e9}", "write `caf%C3%A9`"),
            ("/a b", "write `a%20b`"),
            ("/%61", "write `a`"),
            ("/caf%c3%a9", "write `caf%C3%A9`"),
            ("/a;b", "two readings"),
            ("/x%2561", "two readings"),
            ("/x/../y", "no request could have `..`"),
            ("/x%2fy", "add `encoded_slash: keep`"),
            ("/x%2f..", "no request could have"),
            ("/x#y", "fragment"),
            ("/x?y", "write `x%3Fy`"),
            ("/%zz", "hexadecimal"),
        ] {
            let error = PathPattern::parse(bad).unwrap_err();
            assert!(error.contains(remedy), "{bad}: {error}");
        }
    }

    #[test]
    fn only_patterns_under_our_own_paths_are_ours() {
        for (text, ours) in [
            ("/oauth", true),
            ("/oauth/*", true),
            ("/oauth/{x}", true),
            ("/.well-known/jwks.json", true),
            ("/.well-known/jwks.json/*", true),
            ("/.well-known/oauth-protected-resource", true),
            ("/.well-known/oauth-protected-resource/*", true),
            ("/.well-known/oauth-protected-resource/{x}/y", true),
            ("/.well-known/security.txt", false),
            ("/.well-known/jwks.json/x", false),
            ("/.well-known/{x}", false),
            ("/.well-known/*", false),
            ("/.well-known", false),
            ("/*", false),
            ("/{x}/token", false),
            ("/oauth2/*", false),
            ("/x/oauth", false),
        ] {
            assert_eq!(PathPattern::parse(text).unwrap().covers_own_paths(), ours, "{text}");
        }
        for (text, ours) in [
            ("/oauth/", true),
            ("/%6fauth/token", true),
            ("/.well-known/jwks.json", true),
            ("/.well-known/jwks.json/", true),
            ("/.well-known/oauth-protected-resource", true),
            ("/.well%2dknown/oauth-protected-resource/api/x", true),
            ("/.well-known/oauth-protected-resources", false),
            ("/.well-known/jwks.json/x", false),
            ("/.well-known/security.txt", false),
            ("/.well-known", false),
            ("/Oauth", false),
            ("/", false),
        ] {
            assert_eq!(CanonicalPath::parse(text.as_bytes()).unwrap().is_own(), ours, "{text}");
        }
    }

    #[test]
    fn a_parameter_is_what_the_path_has_there_decoded() {
        let pattern = PathPattern::parse("/users/{id}/{part}/*").unwrap();
        let path = CanonicalPath::parse(b"/users/alice%40x/b/c/d").unwrap();
        assert_eq!(pattern.parameter(&path, "id").as_deref(), Some("alice@x"));
        assert_eq!(pattern.parameter(&path, "part").as_deref(), Some("b"));
        assert_eq!(pattern.parameter(&path, "none"), None);
        assert_eq!(pattern.parameters().collect::<Vec<_>>(), ["id", "part"]);
    }
}
