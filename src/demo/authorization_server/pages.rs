//! The pages of the authorization server. No script, no frame, no request to anywhere but back to the
//! application; every value is escaped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use minijinja::{Environment, Value, context};

use super::PEOPLE;
use super::keys::sha256;
use crate::demo::serve::{self, Answer};

const STYLE: &str = include_str!("sign_in.css");

/// The compiled templates.
#[derive(Debug)]
pub(super) struct Pages {
    templates: Environment<'static>,
    /// `style-src` for our one style sheet (CSP Level 3 section 2.3.1).
    style_source: String,
}

/// What the sign-in page says.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignInPage<'a> {
    pub(super) client: &'a str,
    /// What goes along with the form.
    pub(super) carried: &'a [(&'a str, &'a str)],
    /// An old sign-in does not count.
    pub(super) anew: bool,
    /// An old sign-in is proposed.
    pub(super) stale: bool,
    /// What `form-action` must allow beside this server.
    pub(super) target: &'a str,
}

impl Pages {
    pub(super) fn new() -> Result<Self, minijinja::Error> {
        let mut templates = Environment::new();
        templates.add_template("sign_in.html", include_str!("sign_in.html"))?;
        templates.add_template("stopped.html", include_str!("stopped.html"))?;
        let style_source = format!("'sha256-{}'", STANDARD.encode(sha256(STYLE.as_bytes())));
        Ok(Self { templates, style_source })
    }

    /// Who are you?
    pub(super) fn sign_in(&self, page: &SignInPage<'_>) -> Answer {
        let SignInPage { client, carried, anew, stale, target } = *page;
        let people: Vec<_> = PEOPLE
            .iter()
            .map(|person| context! { subject => person.subject, name => person.name, about => person.about })
            .collect();
        let carried: Vec<_> =
            carried.iter().map(|(name, value)| context! { name => *name, value => *value }).collect();
        let values = context! { style => STYLE, client, carried, anew, stale, people };
        self.render("sign_in.html", StatusCode::OK, values, &format!("'self' {target}"))
    }

    /// This goes no further, and why.
    pub(super) fn stopped(&self, status: StatusCode, text: &str) -> Answer {
        self.render("stopped.html", status, context! { style => STYLE, text }, "'none'")
    }

    fn render(&self, name: &str, status: StatusCode, values: Value, form_action: &str) -> Answer {
        let page = self.templates.get_template(name).and_then(|template| template.render(values));
        let policy = HeaderValue::try_from(format!(
            "default-src 'none'; style-src {}; form-action {form_action}; base-uri 'none'; frame-ancestors 'none'",
            self.style_source
        ));
        let (Ok(page), Ok(policy)) = (page, policy) else {
            return serve::answer(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                "the page cannot be shown\n",
            );
        };
        let mut answer = serve::answer(status, "text/html; charset=utf-8", page);
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        answer
    }
}
