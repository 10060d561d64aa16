//! Where a sign-in leads when it is done: a path of the gateway's own origin, or an address at an origin that
//! the client lists. Nobody else's, or a link to us would be a link to anywhere (RFC 9700 section 4.11).
//!
//! The text is kept as a browser would read it (WHATWG URL Standard), so that what is judged here is what a
//! browser would follow.

use url::{Position, Url};

use crate::core::denial::Denial;
use crate::core::path::{CanonicalPath, EncodedSlash};
use crate::core::request::Origin;

/// The longest, in bytes: it travels in a cookie.
pub const LONGEST_RETURN_TO: usize = 1_500;

const ELSEWHERE: Denial = Denial::InvalidRequest(
    "return_to must be a path of this gateway, like /app, or an address at an origin that the client lists.",
);

/// Where a client's sign-ins may lead.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The gateway as browsers see it.
    pub own: &'a Origin,
    /// The client's pages; never empty.
    pub pages: &'a [Origin],
    /// Those that it lists for sign-ins; none: its pages.
    pub listed: &'a [Origin],
}

impl Places<'_> {
    /// Where it leads when nobody says: to the client's pages.
    pub fn default(&self) -> String {
        match self.pages.first() {
            Some(first) if !self.pages.contains(self.own) => format!("{}/", first.as_str()),
            _ => "/".to_owned(),
        }
    }

    /// Reads what somebody asked for. What is too long is cut down to its path, and then to the default.
    ///
    /// # Errors
    /// [`Denial::InvalidRequest`] when it leads elsewhere, to an endpoint of Tollgate's own, or can be read
    /// in two ways.
    pub fn read(&self, asked: Option<&str>) -> Result<String, Denial> {
        let Some(text) = asked else { return Ok(self.default()) };
        let place = if text.starts_with('/') { self.path(text)? } else { self.address(text)? };
        if place.len() <= LONGEST_RETURN_TO {
            return Ok(place);
        }
        let path = place.split(['?', '#']).next().unwrap_or_default();
        Ok(if path.len() <= LONGEST_RETURN_TO { path.to_owned() } else { self.default() })
    }

    fn path(&self, text: &str) -> Result<String, Denial> {
        let is_plain = !text.starts_with("//") && has_one_reading(text);
        let base = Url::parse(self.own.as_str()).ok().filter(|_| is_plain);
        let url = base.and_then(|base| base.join(text).ok()).ok_or(ELSEWHERE)?;
        self.own_path(&url)
    }

    fn address(&self, text: &str) -> Result<String, Denial> {
        let url = Url::parse(text).ok().filter(|_| has_one_reading(text)).ok_or(ELSEWHERE)?;
        let is_web = matches!(url.scheme(), "http" | "https")
            && text.get(url.scheme().len()..).is_some_and(|rest| rest.starts_with("://"))
            && url.username().is_empty()
            && url.password().is_none();
        let origin = url.origin().ascii_serialization();
        let listed = if self.listed.is_empty() { self.pages } else { self.listed };
        if !is_web {
            return Err(ELSEWHERE);
        }
        if origin == self.own.as_str() {
            return self.own_path(&url);
        }
        if listed.iter().any(|listed| listed.as_str() == origin) { Ok(url.into()) } else { Err(ELSEWHERE) }
    }

    /// A path of ours that the gateway itself would serve: to one of its endpoints nothing leads.
    fn own_path(&self, url: &Url) -> Result<String, Denial> {
        let path = CanonicalPath::parse_with(url.path().as_bytes(), EncodedSlash::Keep);
        let is_served = path.is_ok_and(|path| !path.is_own());
        if url.origin().ascii_serialization() != self.own.as_str() || !is_served {
            return Err(ELSEWHERE);
        }
        Ok(url[Position::BeforePath..].to_owned())
    }
}

/// A browser drops tabs and line breaks, trims the rest of the controls and spaces, and reads `\` as `/`
/// before the query.
fn has_one_reading(text: &str) -> bool {
    let before_query = text.split(['?', '#']).next().unwrap_or_default();
    !text.chars().any(|character| character.is_control() || character == ' ') && !before_query.contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "https://gate.example";

    fn read(pages: &[&str], listed: &[&str], asked: Option<&str>) -> Option<String> {
        let origins =
            |texts: &[&str]| texts.iter().map(|text| Origin::parse(text).unwrap()).collect::<Vec<_>>();
        let (own, pages, listed) = (Origin::parse(OWN).unwrap(), origins(pages), origins(listed));
        Places { own: &own, pages: &pages, listed: &listed }.read(asked).ok()
    }

    #[test]
    fn a_sign_in_leads_to_a_path_of_ours_or_to_a_listed_origin() {
        const PAGES: [&str; 2] = [OWN, "https://app.example"];
        for (asked, leads_to) in [
            ("/", "/"),
            ("/app?x=1&y=%2F#part", "/app?x=1&y=%2F#part"),
            ("/app?x=//evil.example", "/app?x=//evil.example"),
            // Its route says whether it takes it.
            ("/app/a%2Fb", "/app/a%2Fb"),
            ("/app?x=a\\b", "/app?x=a\\b"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/a/../b", "/b"),
            ("/@evil.example", "/@evil.example"),
            ("/https://evil.example", ""),
            ("https://gate.example", "/"),
            ("https://gate.example/app?x#y", "/app?x#y"),
            ("https://GATE.example:443/app", "/app"),
            ("https://app.example", "https://app.example/"),
            ("https://app.example/a?b#c", "https://app.example/a?b#c"),
            ("https://APP.example/a", "https://app.example/a"),
        ] {
            let leads_to = (!leads_to.is_empty()).then(|| leads_to.to_owned());
            assert_eq!(read(&PAGES, &[], Some(asked)), leads_to, "{asked}");
        }
    }

    #[test]
    fn it_leads_nowhere_else() {
        for elsewhere in [
            "",
            "app",
            "?x",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /app",
            "/app ",
            "/..//evil.example",
            "/a/..//evil.example",
            "/%2e%2e//evil.example",
            "/.//evil.example",
            "https://evil.example/",
            "https://gate.example.evil.example/",
            "https://gate.example@evil.example/",
            "https://app.example:8443/",
            "https://app.example\\@evil.example/",
            "http://app.example/",
            "https:/app.example/",
            "https:app.example/",
            "https:\\\\app.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "blob:https://app.example/x",
            "/oauth/login?client_id=web",
            "/oauth/token",
            "/%6fauth/logout",
            "/x/../oauth/logout",
            "/.well-known/jwks.json",
            "https://gate.example/oauth/logout",
            "/%2fevil.example",
            "/a%2f..%2fb",
            "/oauth/a%2fb",
        ] {
            assert_eq!(read(&[OWN, "https://app.example"], &[], Some(elsewhere)), None, "{elsewhere:?}");
        }
    }

    #[test]
    fn without_a_wish_it_leads_to_the_clients_pages() {
        assert_eq!(read(&["https://app.example", OWN], &[], None).unwrap(), "/");
        assert_eq!(read(&["https://app.example"], &[], None).unwrap(), "https://app.example/");
    }

    #[test]
    fn a_list_for_sign_ins_takes_the_place_of_the_pages_and_never_of_the_gateway() {
        let listed = ["https://portal.example"];
        let to = |asked| read(&["https://app.example"], &listed, Some(asked));
        assert!(to("https://portal.example/x").is_some() && to("/x").is_some());
        assert_eq!(to("https://app.example/x"), None);
    }

    #[test]
    fn what_is_too_long_for_a_cookie_loses_its_query_and_then_all() {
        let query = format!("/app?{}", "q".repeat(LONGEST_RETURN_TO));
        assert_eq!(read(&[OWN], &[], Some(&query)).unwrap(), "/app");
        let path = format!("/{}", "p".repeat(LONGEST_RETURN_TO));
        assert_eq!(read(&[OWN], &[], Some(&path)).unwrap(), "/");
        let fits = format!("/{}", "p".repeat(LONGEST_RETURN_TO - 1));
        assert_eq!(read(&[OWN], &[], Some(&fits)).unwrap(), fits);
    }

    #[test]
    fn wherever_it_leads_a_browser_reads_it_as_one_of_the_allowed_origins() {
        let pieces = [
            "/",
            "\\",
            "evil.example",
            "https:",
            "gate.example",
            "@",
            "?",
            "#",
            "..",
            "%2e",
            "\t",
            ".",
            ":",
            "a",
        ];
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let text: String =
                bytes.iter().take(12).map(|byte| pieces[usize::from(*byte) % pieces.len()]).collect();
            if let Some(place) = read(&[OWN], &[], Some(&text)) {
                let base = Url::parse("https://gate.example/oauth/callback?code=x").unwrap();
                assert_eq!(base.join(&place).unwrap().origin().ascii_serialization(), OWN, "{text} {place}");
            }
        });
    }
}
