//! Whose pages `cors.origins` names: those of one origin, those of every name right below a domain (preview
//! deployments), or everybody's. Compared with what browsers send, byte for byte: they have one spelling for
//! each origin (HTML Standard section 7.1.1), and any other comes from something else.
//!
//! It must never say who may use a cookie: an origin is listed whole for that (`clients.<name>.origins`).

use std::fmt;

use crate::core::request::Origin;

/// The longest label of a name (RFC 1035 section 2.3.4).
const LONGEST_LABEL: usize = 63;
/// Stands for the label while the rest is read.
const ANY_LABEL: &str = "a.";

/// One item of `cors.origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagePattern(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Exact(Origin),
    /// `https://*.preview.example.com`: what stands before the label, and what behind it.
    Below {
        scheme: String,
        domain: String,
    },
    Everybody,
}

impl PagePattern {
    pub const EVERYBODY: Self = Self(Kind::Everybody);

    /// Reads an origin, or one whose first label is `*`. Returns an origin that is meant, too.
    pub fn parse(text: &str) -> Option<(Self, Origin)> {
        let Some((scheme, domain)) = text.split_once("://*.") else {
            let origin = Origin::parse(text)?;
            return Some((Self(Kind::Exact(origin.clone())), origin));
        };
        let one = Origin::parse(&format!("{scheme}://{ANY_LABEL}{domain}"))?;
        one.host_name().strip_prefix(ANY_LABEL).filter(|domain| !domain.is_empty())?;
        let (scheme, domain) = one.as_str().split_once(ANY_LABEL)?;
        Some((Self(Kind::Below { scheme: scheme.to_owned(), domain: format!(".{domain}") }), one))
    }

    /// Whether it may stand for more than one origin.
    pub fn is_wildcard(&self) -> bool {
        !matches!(self.0, Kind::Exact(_))
    }

    /// Whether pages of this origin are meant. `header`: as a browser sends it. `null`, which tells nobody
    /// from anybody, is everybody's alone.
    pub fn covers(&self, header: &[u8]) -> bool {
        match &self.0 {
            Kind::Exact(origin) => origin.is_sent_as(header),
            Kind::Below { scheme, domain } => header
                .strip_prefix(scheme.as_bytes())
                .and_then(|rest| rest.strip_suffix(domain.as_bytes()))
                .is_some_and(is_label),
            Kind::Everybody => true,
        }
    }
}

impl fmt::Display for PagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exact(origin) => f.write_str(origin.as_str()),
            Kind::Below { scheme, domain } => write!(f, "{scheme}*{domain}"),
            Kind::Everybody => f.write_str("every origin"),
        }
    }
}

/// One label of a host's name, as browsers write it: without a dot or what ends a host.
fn is_label(text: &[u8]) -> bool {
    let is_of_label =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=LONGEST_LABEL).contains(&text.len()) && text.iter().all(is_of_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, origin: &str) -> bool {
        PagePattern::parse(pattern).unwrap().0.covers(origin.as_bytes())
    }

    #[test]
    fn a_wildcard_stands_for_one_label_and_for_nothing_else() {
        const PREVIEWS: &str = "https://*.preview.example.com";
        for (origin, is_meant) in [
            ("https://pr-7.preview.example.com", true),
            ("https://a_b.preview.example.com", true),
            ("https://xn--bcher-kva.preview.example.com", true),
            ("https://preview.example.com", false),
            ("https://.preview.example.com", false),
            ("https://a.b.preview.example.com", false),
            ("https://apreview.example.com", false),
            ("http://pr-7.preview.example.com", false),
            ("https://pr-7.preview.example.com:8443", false),
            ("https://pr-7.preview.example.com:443", false),
            ("https://pr-7.preview.example.com/", false),
            ("https://PR-7.preview.example.com", false),
            ("https://pr-7.preview.example.com.", false),
            ("https://pr-7.preview.example.com.evil.example", false),
            ("https://evil.example/.preview.example.com", false),
            ("https://evil/.preview.example.com", false),
            ("https://evil?.preview.example.com", false),
            ("https://evil#.preview.example.com", false),
            ("https://evil:80#.preview.example.com", false),
            ("https://evil\\.preview.example.com", false),
            ("https://u@a.preview.example.com", false),
            ("https://*.preview.example.com", false),
            ("https://a%2eb.preview.example.com", false),
            ("https://a b.preview.example.com", false),
            ("https://a\u{e9}.preview.example.com", false),
            ("https://https://a.preview.example.com", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(covers(PREVIEWS, origin), is_meant, "{origin}");
        }
        let label = |length| format!("https://{}.preview.example.com", "a".repeat(length));
        assert_eq!((covers(PREVIEWS, &label(63)), covers(PREVIEWS, &label(64))), (true, false));
        assert!(covers("HTTPS://*.Preview.Example.com:443", "https://a.preview.example.com"));
        assert!(covers("http://*.localhost:3000", "http://a.localhost:3000"));
        assert!(!covers("http://*.localhost:3000", "http://a.localhost"));
        assert!(covers("https://*.b\u{fc}cher.example", "https://a.xn--bcher-kva.example"));
        assert!(!covers("https://*.b\u{fc}cher.example", "https://a.b\u{fc}cher.example"));
    }

    #[test]
    fn a_wildcard_is_a_whole_label_at_the_left() {
        for bad in [
            "https://pr-*.example.com",
            "https://*",
            "https://*.",
            "https://*.:8443",
            "https://*.*.example.com",
            "https://a.*.example.com",
            "https://*a.example.com",
            "https://*.example.com/",
            "https://*.example.com/x",
            "https://u@*.example.com",
            "https://*.u@example.com",
            "https://*.example.com:*",
            "https://*.example.com?",
            "https://*.127.0.0.1",
            "https://*.[::1]",
            "https://*.example..com",
            "*.example.com",
            "*://*.example.com",
            "ftp://*.example.com",
            "https:*.example.com",
            "null",
            "*",
        ] {
            assert!(PagePattern::parse(bad).is_none(), "{bad}");
        }
        let (pattern, _) = PagePattern::parse("https://*.Example.com:8443").unwrap();
        assert_eq!(pattern.to_string(), "https://*.example.com:8443");
        let everybody = PagePattern::EVERYBODY;
        assert!(everybody.covers(b"null") && everybody.covers(b"https://a.example"));
    }
}
