//! The pages that a person sees: of a refused navigation, of the gateway's status, and the one that sends a
//! browser on. No script, no frame, no request to anywhere, nothing stored; every value is escaped.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::Serialize;

use crate::core::denial::Denial;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::offer::Offer;

const STYLE: &str = include_str!("pages.css");
const REFUSAL: &str = "refusal.html";
const STATUS: &str = "status.html";
const GOES_ON: &str = "goes_on.html";
const TEMPLATES: [(&str, &str); 3] = [
    (REFUSAL, include_str!("refusal.html")),
    (STATUS, include_str!("status.html")),
    (GOES_ON, include_str!("goes_on.html")),
];
/// `Cross-Origin-Opener-Policy` (HTML section 7.1.3).
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
/// A year, in seconds.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The pages and the headers that guard them.
#[derive(Debug)]
pub(crate) struct Pages {
    /// Compiled for the first page that somebody sees: they are as large as all the rest of a small
    /// configuration, and most gateways are asked by programs alone. The listeners share them, and a reload
    /// keeps them.
    templates: Arc<LazyLock<Environment<'static>>>,
    policy: HeaderValue,
    /// The same, of a page whose form goes to the gateway itself.
    policy_with_form: HeaderValue,
    /// Whether browsers come by https (RFC 6797 section 7.2: over http the header must not be sent).
    https: bool,
}

impl Pages {
    pub(crate) fn new(https: bool) -> Self {
        // `style-src` for our one style sheet (CSP Level 3 section 2.3.1).
        let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
        let policy = |forms: &str| {
            let policy = format!(
                "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action {forms}; frame-ancestors 'none'"
            );
            HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
        };
        let (policy, policy_with_form) = (policy("'none'"), policy("'self'"));
        Self { templates: Arc::new(LazyLock::new(compile)), policy, policy_with_form, https }
    }

    /// The same for browsers that come so.
    pub(crate) fn over(&self, https: bool) -> Self {
        let (policy, policy_with_form) = (self.policy.clone(), self.policy_with_form.clone());
        Self { templates: self.templates.clone(), policy, policy_with_form, https }
    }

    /// What went wrong, for a person. Empty when it cannot be rendered: the status says enough then.
    pub(crate) fn refusal(&self, denial: &Denial, offer: Offer<'_>, request_id: &str) -> Answer {
        let (again, sign_out) = match offer {
            Offer::Nothing => (None, None),
            Offer::SignIn(at) => (Some(at), None),
            Offer::SignOut(at) => (None, Some(at)),
        };
        let facts = denial.facts();
        let said = match denial {
            Denial::SignInRefused(said)
            | Denial::FromAuthorizationServer(said)
            | Denial::ProofRefusedThere(said) => Some(
                said.description
                    .as_ref()
                    .map_or_else(|| said.error.clone(), |more| format!("{}: {more}", said.error)),
            ),
            _ => None,
        };
        // What the gateway sets is `Secure`, and WebKit keeps nothing of that over http.
        let kept_no_cookie = !self.https && matches!(denial, Denial::SignInNotUnderWay);
        let values = context! {
            style => STYLE, status => facts.status.as_u16(), title => facts.title, detail => facts.detail, said, again,
            kept_no_cookie, sign_out, request_id,
        };
        let policy = if sign_out.is_some() { &self.policy_with_form } else { &self.policy };
        let mut page = self.page_under(policy, facts.status, REFUSAL, values);
        // Whoever opened the window loses it: in its address there may be a code.
        page.set(OPENER_POLICY, HeaderValue::from_static("same-origin"));
        page
    }

    /// Sends the browser on to `to` from a page of ours: what it asks for next comes from the gateway's own
    /// origin, and brings the `SameSite=Strict` cookies that it withholds all along a chain of redirects that
    /// began on another site. `to`: a URL, or a path.
    pub(crate) fn goes_on(&self, to: &str) -> Answer {
        self.page(StatusCode::OK, GOES_ON, context! { style => STYLE, to })
    }

    fn page(&self, status: StatusCode, template: &str, values: Value) -> Answer {
        self.page_under(&self.policy, status, template, values)
    }

    fn page_under(&self, policy: &HeaderValue, status: StatusCode, template: &str, values: Value) -> Answer {
        let body = Bytes::from(self.render(template, values));
        let mut answer = Answer { status, headers: Vec::with_capacity(8), body }.no_store();
        answer.set(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        answer.headers.extend(self.guards(policy));
        answer
    }

    /// What `status` says, for a person, and the headers that guard the page.
    pub(crate) fn status(&self, status: &impl Serialize) -> (String, Vec<(HeaderName, HeaderValue)>) {
        let values = context! { style => STYLE, ..Value::from(Serde(status)) };
        (self.render(STATUS, values), self.guards(&self.policy))
    }

    fn render(&self, template: &str, values: Value) -> String {
        self.templates.get_template(template).and_then(|page| page.render(values)).unwrap_or_default()
    }

    fn guards(&self, policy: &HeaderValue) -> Vec<(HeaderName, HeaderValue)> {
        let mut guards = vec![
            (header::CONTENT_SECURITY_POLICY, policy.clone()),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        if self.https {
            guards.push((header::STRICT_TRANSPORT_SECURITY, HSTS));
        }
        guards
    }
}

/// A mistake in a template leaves it out; the tests render each.
fn compile() -> Environment<'static> {
    let mut templates = Environment::new();
    for (name, text) in TEMPLATES {
        if let Err(error) = templates.add_template(name, text) {
            tracing::error!(%error, "a page cannot be shown");
        }
    }
    templates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::server_error::ServerError;

    #[test]
    fn the_page_that_goes_on_does_so_without_a_script_and_shows_where_to() {
        let page = Pages::new(true).goes_on(r#"/a?b=c&d="><script>"#);
        let text = std::str::from_utf8(&page.body).unwrap();
        let to = "&#x2f;a?b=c&amp;d=&quot;&gt;&lt;script&gt;";
        assert!(text.contains(&format!(r#"<meta http-equiv="refresh" content="0; url={to}">"#)), "{text}");
        assert!(text.contains(&format!(r#"<a href="{to}">"#)) && !text.contains("<script"), "{text}");
        assert_eq!(page.status, StatusCode::OK);
        let has = |name, value: &str| page.headers.iter().any(|(given, is)| given == name && is == value);
        assert!(has(header::CACHE_CONTROL, "no-store") && has(header::REFERRER_POLICY, "no-referrer"));
        assert!(page.headers.iter().any(|(name, _)| name == header::CONTENT_SECURITY_POLICY));
    }

    #[test]
    fn a_sign_in_that_failed_says_why_and_begins_again_with_a_click() {
        let said = ServerError::read("access_denied", Some("No <b>way</b>")).unwrap();
        let denial = Denial::SignInRefused(Box::new(said));
        let page =
            Pages::new(true).refusal(&denial, Offer::SignIn("/oauth/login?client_id=a&return_to=%2F"), "id");
        let text = std::str::from_utf8(&page.body).unwrap();
        assert!(text.contains("access_denied: No &lt;b&gt;way"), "{text}");
        assert!(
            text.contains(r#"<a href="&#x2f;oauth&#x2f;login?client_id=a&amp;return_to=%2F">"#),
            "{text}"
        );
        let other = Pages::new(true).refusal(&Denial::NoRoute, Offer::Nothing, "id");
        let text = std::str::from_utf8(&other.body).unwrap();
        assert!(!text.contains("<a ") && !text.contains("It said"), "{text}");
    }

    #[test]
    fn a_page_whose_person_may_not_open_it_signs_them_out_by_a_form_to_the_gateway_alone() {
        let denial = Denial::ClaimMismatch { claim: "groups".into() };
        let page =
            Pages::new(true).refusal(&denial, Offer::SignOut("/oauth/logout?client_id=a&b=\"><i>"), "id");
        let text = std::str::from_utf8(&page.body).unwrap();
        let action = "&#x2f;oauth&#x2f;logout?client_id=a&amp;b=&quot;&gt;&lt;i&gt;";
        assert!(text.contains(&format!(r#"<form method="post" action="{action}">"#)), "{text}");
        let policy = |page: &Answer| {
            let header = page.headers.iter().find(|(name, _)| name == header::CONTENT_SECURITY_POLICY);
            header.unwrap().1.to_str().unwrap().to_owned()
        };
        assert!(policy(&page).contains("form-action 'self';"), "{}", policy(&page));
        let other = Pages::new(true).refusal(&denial, Offer::SignIn("/oauth/login"), "id");
        assert!(!std::str::from_utf8(&other.body).unwrap().contains("<form"));
        assert_eq!(policy(&other), policy(&page).replace("'self'", "'none'"));
    }

    #[test]
    fn over_http_a_sign_in_of_which_nothing_is_known_may_be_one_whose_cookie_the_browser_did_not_keep() {
        for (denial, https, says) in [
            (Denial::SignInNotUnderWay, false, true),
            (Denial::SignInNotUnderWay, true, false),
            (Denial::NoRoute, false, false),
        ] {
            let page = Pages::new(https).refusal(&denial, Offer::Nothing, "id");
            let text = std::str::from_utf8(&page.body).unwrap();
            assert_eq!(
                text.contains("Safari keeps no cookie of the gateway"),
                says,
                "{denial:?} {https} {text}"
            );
        }
    }

    #[test]
    fn a_page_is_guarded_and_escapes_what_it_shows() {
        let page = Pages::new(true).refusal(&Denial::NoRoute, Offer::Nothing, "<script>alert(1)</script>");
        let text = std::str::from_utf8(&page.body).unwrap();
        assert!(text.contains("Nothing is served at this path") && !text.contains("<script"), "{text}");
        let header = |name| page.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value);
        let policy = header(header::CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(header(header::CACHE_CONTROL).unwrap(), "no-store");
        assert_eq!(header(header::REFERRER_POLICY).unwrap(), "no-referrer");
        assert!(header(header::STRICT_TRANSPORT_SECURITY).is_some());
        let plain = Pages::new(false).refusal(&Denial::NoRoute, Offer::Nothing, "id");
        assert!(plain.headers.iter().all(|(name, _)| name != header::STRICT_TRANSPORT_SECURITY));
    }
}
