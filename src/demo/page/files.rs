//! The files of the page, from the binary.

use http::{HeaderValue, Request, StatusCode, header};

use crate::demo::serve::{self, Answer};

/// Nothing from elsewhere, nothing inline, no form, no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Path, type and text.
const FILES: [(&str, &str, &str); 18] = [
    ("/", HTML, include_str!("index.html")),
    ("/app/style.css", CSS, include_str!("style.css")),
    ("/app/icon.svg", SVG, include_str!("icon.svg")),
    ("/app/tollgate.js", JS, include_str!("../../../docs/tollgate.js")),
    ("/app/about.js", JS, include_str!("about.js")),
    ("/app/calls.js", JS, include_str!("calls.js")),
    ("/app/cookie.js", JS, include_str!("cookie.js")),
    ("/app/expiry.js", JS, include_str!("expiry.js")),
    ("/app/fifty.js", JS, include_str!("fifty.js")),
    ("/app/modes.js", JS, include_str!("modes.js")),
    ("/app/outage.js", JS, include_str!("outage.js")),
    ("/app/page.js", JS, include_str!("page.js")),
    ("/app/revoke.js", JS, include_str!("revoke.js")),
    ("/app/session.js", JS, include_str!("session.js")),
    ("/app/show.js", JS, include_str!("show.js")),
    ("/app/sign_in.js", JS, include_str!("sign_in.js")),
    ("/app/theft.js", JS, include_str!("theft.js")),
    ("/app/wire.js", JS, include_str!("wire.js")),
];

/// The file at `path`.
pub(super) fn answer(path: &str) -> Answer {
    match FILES.iter().find(|(at, ..)| *at == path) {
        Some((_, content_type, text)) => with_policy(serve::answer(StatusCode::OK, content_type, *text)),
        None => with_policy(serve::answer(StatusCode::NOT_FOUND, "text/plain", "there is nothing here\n")),
    }
}

/// The page behind sign-in, which says who the gateway says is there.
pub(super) fn portal<B>(request: &Request<B>) -> Answer {
    let subject = request.headers().get("x-auth-subject").and_then(|value| value.to_str().ok());
    // Percent-encoded by the gateway, so nothing in it is HTML; whoever asks past it may send anything.
    let is_plain =
        |subject: &&str| subject.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.%".contains(&b));
    let subject = subject.filter(is_plain).unwrap_or("nobody");
    let page = include_str!("portal.html").replace("{{ subject }}", subject);
    with_policy(serve::answer(StatusCode::OK, HTML, page))
}

pub(super) fn not_allowed() -> Answer {
    let mut answer = serve::answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "method not allowed\n");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    FILES.into_iter()
}

fn with_policy(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    answer
}
