//! An answer of Tollgate's own, whole.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::core::challenge;
use crate::core::cors::Sharing;
use crate::core::denial::Denial;
use crate::core::request::Origin;
use crate::core::route::Route;
use crate::core::token::bearer::Scheme;

/// Who may read an answer depends on who asks (Fetch section 3.3.5).
pub(crate) const VARY_BY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, body: Bytes) -> Self {
        let mut answer = Self { status, headers: Vec::with_capacity(6), body };
        if !answer.body.is_empty() {
            answer.set(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        answer
    }

    /// Says what would have to come along instead. `refused_by`: the route, where one was found, and the
    /// gateway's origin as it was asked. `used`: the scheme of the request's token.
    pub(crate) fn challenge(
        &mut self,
        denial: &Denial,
        refused_by: Option<(&Route, &Origin)>,
        used: Option<Scheme>,
    ) {
        if let Some(challenges) = challenge::www_authenticate(denial, refused_by, used) {
            self.set(header::WWW_AUTHENTICATE, challenges);
        }
    }

    /// The answer to a preflight.
    pub(crate) fn preflight(headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        let mut answer = Self { status: StatusCode::NO_CONTENT, headers, body: Bytes::new() };
        answer.set(header::VARY, VARY_BY_ORIGIN);
        answer
    }

    /// To the same place elsewhere, with the same method and body (RFC 9110 section 15.4.9).
    pub(crate) fn permanent_redirect(location: &str) -> Self {
        let mut answer =
            Self { status: StatusCode::PERMANENT_REDIRECT, headers: Vec::new(), body: Bytes::new() };
        if let Ok(location) = HeaderValue::from_str(location) {
            answer.set(header::LOCATION, location);
        }
        answer
    }

    /// To another place, with `GET` (RFC 9110 section 15.4.4). Nobody there learns where from.
    pub(crate) fn see_other(location: &str) -> Self {
        let mut answer =
            Self { status: StatusCode::SEE_OTHER, headers: Vec::with_capacity(8), body: Bytes::new() };
        if let Ok(location) = HeaderValue::from_str(location) {
            answer.set(header::LOCATION, location);
        }
        answer.set(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        answer.no_store()
    }

    /// Lets the pages that may read it do so. `request`: the headers of the request.
    pub(crate) fn share(&mut self, sharing: &Sharing, request: &HeaderMap) {
        self.set(header::VARY, VARY_BY_ORIGIN);
        if let Some(reader) = sharing.reader(request) {
            self.headers.extend(reader.headers([]));
        }
    }

    /// A session's cookie goes out with it, whatever it is: nobody may store it then.
    pub(crate) fn set_session_cookie(&mut self, cookie: HeaderValue) {
        self.headers.retain(|(name, _)| name != header::CACHE_CONTROL);
        self.set(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.set(header::SET_COOKIE, cookie);
    }

    pub(crate) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.push((name, value));
    }

    pub(crate) fn no_store(mut self) -> Self {
        self.set(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self
    }
}
