//! How a permitted request is sent on: which path, how long each phase may take, how large its body may
//! be, what is said of the caller. All of it acts after judging; the judged path stays what requirements saw.
//!
//! The sent path is put together from whole segments of the judged path and of the configuration, each in
//! its canonical spelling, so that it is as unambiguous as what came.

use std::time::Duration;

use crate::core::path::{CanonicalPath, PathPattern, PatternSegment, raw_segments};
use crate::core::route::identity::RouteIdentity;

/// What `routes[]` says of sending a request on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// `None`: the path that was judged.
    pub path: Option<SentPath>,
    pub timeouts: PhaseTimeouts,
    /// The largest body, in bytes, where it differs from `limits.body`.
    pub body_limit: Option<u64>,
    pub identity: RouteIdentity,
    /// Its upstream takes paths that differ by case for different ones, as routes do.
    pub case_sensitive: bool,
}

/// Deadlines of one route where they differ from its upstream's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimeouts {
    pub connect: Option<Duration>,
    pub read: Option<Duration>,
    pub write: Option<Duration>,
}

/// `strip_prefix` or `rewrite`: the path that is sent, made of the path that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentPath {
    parts: Vec<Part>,
    /// How many segments `strip_prefix` takes off; none where `rewrite` says the path.
    stripped: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// In its canonical spelling.
    Literal(String),
    /// The segment of the judged path with this index.
    Segment(usize),
    /// All segments of the judged path from this index on.
    Rest(usize),
}

impl SentPath {
    /// Without the first segments, which are `prefix`.
    ///
    /// # Errors
    /// What is wrong and what would be right, when the paths of `pattern` do not begin with `prefix`.
    pub fn strip(prefix: &str, pattern: &PathPattern) -> Result<Self, String> {
        let prefix = PathPattern::parse_with(prefix, pattern.encoded_slash())?;
        let count = prefix.segments().len();
        if count == 0 {
            return Err("there is nothing to take off in `/`: remove the key".to_owned());
        }
        if prefix.segments().contains(&PatternSegment::Rest) {
            return Err(format!("a prefix has no `*`: `path` is `{}`", pattern.as_str()));
        }
        if !pattern.segments().starts_with(prefix.segments()) {
            return Err(format!(
                "the route's `path` (`{}`) does not begin with it: write the first segments of `path` as they stand there",
                pattern.as_str()
            ));
        }
        Ok(Self { parts: vec![Part::Rest(count)], stripped: count })
    }

    /// `template`: literals, `{name}`s of `pattern`, and `*` at its end for what `pattern`'s covers.
    ///
    /// # Errors
    /// What is wrong and what would be right.
    pub fn rewrite(template: &str, pattern: &PathPattern) -> Result<Self, String> {
        let template = PathPattern::parse_with(template, pattern.encoded_slash())?;
        let parts = template.segments().iter().map(|segment| match segment {
            PatternSegment::Literal(text) => Ok(Part::Literal(spelled(text))),
            PatternSegment::Parameter(name) => {
                let at = pattern.segments().iter().position(|own| own == segment);
                at.map(Part::Segment).ok_or_else(|| {
                    let known: Vec<String> =
                        pattern.parameters().map(|name| format!("`{{{name}}}`")).collect();
                    let has = if known.is_empty() { "no parameter".to_owned() } else { known.join(", ") };
                    format!("`path` has no `{{{name}}}`; it has {has}")
                })
            }
            PatternSegment::Rest => match pattern.segments().last() {
                Some(PatternSegment::Rest) => Ok(Part::Rest(pattern.segments().len().saturating_sub(1))),
                _ => Err(format!(
                    "`*` stands for what the `*` of `path` covers, and `{}` has none",
                    pattern.as_str()
                )),
            },
        });
        Ok(Self { parts: parts.collect::<Result<_, _>>()?, stripped: 0 })
    }

    /// What is sent for this path, which the pattern covers. A trailing slash stays.
    pub fn of(&self, judged: &CanonicalPath) -> CanonicalPath {
        let mut text = String::with_capacity(judged.as_str().len());
        let mut push = |segment: &str| {
            text.push('/');
            text.push_str(segment);
        };
        let segments = || raw_segments(judged.as_str());
        for part in &self.parts {
            match part {
                Part::Literal(literal) => push(literal),
                Part::Segment(at) => segments().skip(*at).take(1).for_each(&mut push),
                Part::Rest(from) => segments().skip(*from).for_each(&mut push),
            }
        }
        judged.with_segments(text)
    }

    /// What `strip_prefix` takes off this path, as a list has it: its one member has no comma.
    pub fn prefix_of(&self, judged: &CanonicalPath) -> Option<String> {
        let segments = raw_segments(judged.as_str()).take(self.stripped);
        let prefix: String = segments.flat_map(|segment| ["/", segment]).collect();
        (!prefix.is_empty()).then(|| prefix.replace(',', "%2C"))
    }
}

/// A literal of a pattern as it stands in a path.
fn spelled(literal: &str) -> String {
    let mut text = String::new();
    literal.bytes().for_each(|byte| super::path::push_escaped(byte, &mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::path::EncodedSlash;

    fn sent(made: Result<SentPath, String>, path: &str) -> String {
        let judged = CanonicalPath::parse(path.as_bytes()).unwrap();
        made.unwrap().of(&judged).as_str().to_owned()
    }

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn a_prefix_is_taken_off_by_whole_segments_and_the_trailing_slash_stays() {
        let strip =
            |prefix: &str, path: &str| sent(SentPath::strip(prefix, &pattern("/api/{tenant}/*")), path);
        assert_eq!(strip("/api", "/api/a/b"), "/a/b");
        assert_eq!(strip("/api", "/api/a/b/"), "/a/b/");
        assert_eq!(strip("/api/{tenant}", "/api/a"), "/");
        assert_eq!(strip("/api/{tenant}", "/api/a/"), "/");
        assert_eq!(
            strip("/api/{tenant}", "/api/%25/%7Ex;p=1/é%20".replace('é', "%C3%A9").as_str()),
            "/~x;p=1/%C3%A9%20"
        );
    }

    #[test]
    fn what_is_taken_off_is_told_as_it_stands_in_the_path_and_a_rewrite_takes_nothing_off() {
        let told = |made: Result<SentPath, String>, path: &str| {
            made.unwrap().prefix_of(&CanonicalPath::parse(path.as_bytes()).unwrap())
        };
        let covering = pattern("/api/{tenant}/*");
        for (prefix, path, expected) in [
            ("/api", "/api/a/b/", "/api"),
            ("/api/{tenant}", "/api/a/b", "/api/a"),
            ("/api/{tenant}", "/api/%61%7E%20;p/", "/api/a~%20;p"),
            // Applications read a list and put its members together.
            ("/api/{tenant}", "/api/a,b/c", "/api/a%2Cb"),
        ] {
            assert_eq!(told(SentPath::strip(prefix, &covering), path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(
            told(SentPath::rewrite("/*", &covering), "/api/a/b"),
            None,
            "the same is sent as for /api/a"
        );
        assert_eq!(told(SentPath::rewrite("/v2", &covering), "/api/a/b"), None);
    }

    #[test]
    fn a_template_puts_segments_of_the_path_together() {
        let rewrite =
            |template: &str, path: &str| sent(SentPath::rewrite(template, &pattern("/t/{t}/u/{u}/*")), path);
        assert_eq!(rewrite("/v2/{u}/of/{t}/*", "/t/a/u/b%2Cc/x/y/"), "/v2/b%2Cc/of/a/x/y/");
        assert_eq!(rewrite("/v2/*", "/t/a/u/b"), "/v2");
        assert_eq!(rewrite("/v2/*", "/t/a/u/b/"), "/v2/");
        assert_eq!(rewrite("/fixed%20text", "/t/a/u/b/x"), "/fixed%20text");
        assert_eq!(rewrite("/", "/t/a/u/b/x/"), "/");
        assert_eq!(sent(SentPath::rewrite("/v2/*", &pattern("/*")), "/"), "/v2/");
    }

    #[test]
    fn an_encoded_slash_stays_in_its_segment() {
        let keep = |text: &str| PathPattern::parse_with(text, EncodedSlash::Keep).unwrap();
        let sent = |made: Result<SentPath, String>, path: &str| {
            let judged = CanonicalPath::parse_with(path.as_bytes(), EncodedSlash::Keep).unwrap();
            made.unwrap().of(&judged).as_str().to_owned()
        };
        let pattern = keep("/api/a%2Fb/{id}/*");
        let path = "/api/a%2fb/g%2Fn/x%2Fy/";
        assert_eq!(sent(SentPath::strip("/api", &pattern), path), "/a%2Fb/g%2Fn/x%2Fy/");
        assert_eq!(sent(SentPath::strip("/api/a%2Fb", &pattern), path), "/g%2Fn/x%2Fy/");
        assert_eq!(sent(SentPath::strip("/api/a%2Fb/{id}", &pattern), path), "/x%2Fy/");
        assert_eq!(sent(SentPath::rewrite("/v2/{id}/*", &pattern), path), "/v2/g%2Fn/x%2Fy/");
        assert_eq!(sent(SentPath::rewrite("/v%2F2/{id}", &pattern), path), "/v%2F2/g%2Fn/");
        assert!(SentPath::strip("/api/a/b", &pattern).unwrap_err().contains("does not begin with it"));
        let strict = SentPath::rewrite("/v%2F2/{id}", &super::tests::pattern("/api/{id}"));
        assert!(strict.unwrap_err().contains("`encoded_slash: keep`"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_remedy() {
        let strip = |prefix: &str| SentPath::strip(prefix, &pattern("/api/{tenant}/*")).unwrap_err();
        assert!(strip("/other").contains("does not begin with it"));
        assert!(strip("/api/{other}").contains("does not begin with it"));
        assert!(strip("/").contains("nothing to take off"));
        assert!(strip("/api/{tenant}/*").contains("no `*`"));
        assert!(strip("api").contains("write `/api`"));
        let rewrite = |template: &str| SentPath::rewrite(template, &pattern("/api/{tenant}")).unwrap_err();
        assert!(rewrite("/{other}").contains("it has `{tenant}`"));
        assert!(rewrite("/*").contains("has none"));
        assert!(rewrite("/../x").contains("no request could have"));
    }

    /// Whatever comes and is judged: what is sent has one spelling too, and no segment that was not in the
    /// path or the configuration.
    #[test]
    fn what_is_sent_is_as_unambiguous_as_what_came() {
        let covering = pattern("/a/{x}/*");
        let ways: Vec<SentPath> = ["/a", "/a/{x}"]
            .iter()
            .map(|prefix| SentPath::strip(prefix, &covering))
            .chain(
                ["/v2/*", "/{x}/*", "/{x}", "/n%25/{x}/w/*"]
                    .iter()
                    .map(|to| SentPath::rewrite(to, &covering)),
            )
            .collect::<Result<_, _>>()
            .unwrap();
        bolero::check!().with_type::<(Vec<u8>, Vec<u8>, bool, bool)>().for_each(
            |(first, rest, slash, kept)| {
                let end: &[u8] = if *slash { b"/" } else { b"" };
                let inner: &[u8] = if *kept { b"/a%2fb" } else { b"" };
                let path = [b"/a/", first.as_slice(), inner, b"/", rest.as_slice(), end].concat();
                let Ok(judged) = CanonicalPath::parse_with(&path, EncodedSlash::Keep) else { return };
                for way in &ways {
                    let sent = way.of(&judged);
                    let again = CanonicalPath::parse_with(sent.as_str().as_bytes(), EncodedSlash::Keep);
                    assert!(again.as_ref() == Ok(&sent) || judged.lenient_reading().is_some(), "{judged:?}");
                    // What is cut off may have been all that had a second reading; then it is still said to
                    // have one.
                    assert_eq!(again.as_ref().map(CanonicalPath::as_str), Ok(sent.as_str()), "{judged:?}");
                    assert!(
                        judged.lenient_reading().is_some() || sent.lenient_reading().is_none(),
                        "{judged:?}"
                    );
                    let known: Vec<&str> = raw_segments(judged.as_str()).chain(["v2", "n%25", "w"]).collect();
                    assert!(
                        raw_segments(sent.as_str()).all(|segment| known.contains(&segment)),
                        "{judged:?} {sent:?}"
                    );
                    assert_eq!(
                        sent.as_str().ends_with('/'),
                        judged.as_str().ends_with('/') || sent.as_str() == "/",
                        "{judged:?} {sent:?}"
                    );
                }
            },
        );
    }
}
