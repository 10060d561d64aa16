//! The story's HTTP client: it behaves like a browser where that matters. It keeps cookies and sends
//! each one only under its path (RFC 6265 section 5.4), follows no redirect by itself, and talks to the
//! public sockets like anybody else.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::iter::{Once, once};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tower_service::Service;
use url::Url;

/// How long one request may take in all; `NoAnswer::Late` says it too.
const DEADLINE: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const LIMIT: usize = 1024 * 1024;

/// One cookie, as the jar keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    host: String,
    path: String,
    pub(super) name: String,
    pub(super) value: String,
    /// `None`: until the browser ends.
    until: Option<Instant>,
}

impl Cookie {
    fn is_kept(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// A browser with one cookie jar.
#[derive(Debug)]
pub(super) struct Browser {
    client: Client<HttpConnector<Loopback>, Full<Bytes>>,
    jar: Mutex<Vec<Cookie>>,
}

/// As browsers do, it asks nobody where `localhost` is (RFC 6761 section 6.3), and no other name is called
/// here: not every container's system knows it.
#[derive(Clone, Copy, Debug)]
struct Loopback;

impl Service<Name> for Loopback {
    type Response = Once<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        // The port is that of the URL.
        ready(Ok(once((Ipv4Addr::LOCALHOST, 0).into())))
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("{0} is not a URL that a request can be sent to")]
    Url(String),
    #[error("no answer from {0}: {1}")]
    Broken(String, String),
    #[error("no answer from {0} within 10 seconds")]
    Late(String),
}

impl Answer {
    /// The body as JSON; `null` when it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A header as text; empty when there is none.
    pub(super) fn header(&self, name: &HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Browser {
    pub(super) fn new() -> Self {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new_with_resolver(Loopback));
        Self { client, jar: Mutex::new(Vec::new()) }
    }

    pub(super) async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, url, headers, None).await
    }

    pub(super) async fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> Result<Answer, NoAnswer> {
        self.send(Method::POST, url, headers, Some(form)).await
    }

    /// Sends one request with the cookies that belong to it, unless `headers` bring a `Cookie` of their
    /// own, and keeps those that come back.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        form: Option<&[(&str, &str)]>,
    ) -> Result<Answer, NoAnswer> {
        let mut headers = headers.to_vec();
        let mut body = Bytes::new();
        if let Some(form) = form {
            headers.push(("Content-Type", "application/x-www-form-urlencoded"));
            body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish().into();
        }
        self.send_body(method, url, &headers, body).await
    }

    /// The same with a body of any type.
    pub(super) async fn send_body(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, NoAnswer> {
        let parsed = Url::parse(url).map_err(|_| NoAnswer::Url(url.to_owned()))?;
        let mut request = Request::builder().method(method).uri(parsed.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let by_hand = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("cookie"));
        if let Some(cookies) = self.cookies_for(&parsed).filter(|_| !by_hand) {
            request = request.header(header::COOKIE, cookies);
        }
        let request = request.body(Full::new(body)).map_err(|_| NoAnswer::Url(url.to_owned()))?;
        let answer = tokio::time::timeout(DEADLINE, self.receive(request, url))
            .await
            .map_err(|_| NoAnswer::Late(url.to_owned()))??;
        for value in answer.headers.get_all(header::SET_COOKIE) {
            self.keep(&parsed, value);
        }
        Ok(answer)
    }

    async fn receive(&self, request: Request<Full<Bytes>>, url: &str) -> Result<Answer, NoAnswer> {
        let broken = |why: String| NoAnswer::Broken(url.to_owned(), why);
        let answer: Response<_> = self.client.request(request).await.map_err(|why| broken(causes(&why)))?;
        let (head, body) = answer.into_parts();
        let body =
            Limited::new(body, LIMIT).collect().await.map_err(|why| broken(why.to_string()))?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// The cookie with this name, when the jar holds it.
    pub(super) fn cookie(&self, name: &str) -> Option<Cookie> {
        self.jar().iter().find(|cookie| cookie.name == name).cloned()
    }

    fn cookies_for(&self, url: &Url) -> Option<String> {
        let jar = self.jar();
        let sent: Vec<String> = jar
            .iter()
            .filter(|cookie| url.host_str() == Some(&cookie.host) && under(url.path(), &cookie.path))
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        (!sent.is_empty()).then(|| sent.join("; "))
    }

    fn keep(&self, url: &Url, set_cookie: &HeaderValue) {
        let Some(cookie) = SetCookie::read(set_cookie) else { return };
        let host = url.host_str().unwrap_or_default().to_owned();
        let path = cookie.attribute("path").filter(|path| path.starts_with('/')).unwrap_or("/").to_owned();
        let mut jar = self.jar();
        jar.retain(|kept| kept.name != cookie.name || kept.path != path || kept.host != host);
        let max_age = cookie.attribute("max-age").and_then(|age| age.parse::<i64>().ok());
        // One that is too far away to be told is as good as none.
        let until = max_age.and_then(|age| {
            Instant::now().checked_add(Duration::from_secs(u64::try_from(age).unwrap_or_default()))
        });
        jar.push(Cookie { host, path, name: cookie.name, value: cookie.value, until });
    }

    /// What is in it; whose time is over is forgotten (RFC 6265 section 5.3).
    fn jar(&self) -> MutexGuard<'_, Vec<Cookie>> {
        let mut jar = self.jar.lock().unwrap_or_else(PoisonError::into_inner);
        jar.retain(Cookie::is_kept);
        jar
    }
}

/// A `Set-Cookie` header (RFC 6265 section 5.2).
#[derive(Debug)]
pub(super) struct SetCookie {
    pub(super) name: String,
    pub(super) value: String,
    /// As they came: `Path=/oauth/token`, `HttpOnly`.
    pub(super) attributes: Vec<String>,
}

impl SetCookie {
    pub(super) fn read(header: &HeaderValue) -> Option<Self> {
        let mut parts = header.to_str().ok()?.split(';').map(str::trim);
        let (name, value) = parts.next()?.split_once('=')?;
        let attributes = parts.map(str::to_owned).collect();
        Some(Self { name: name.to_owned(), value: value.to_owned(), attributes })
    }

    /// The value of an attribute, `""` for one without a value; names are compared without case.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .map(|attribute| attribute.split_once('=').unwrap_or((attribute, "")))
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// RFC 6265 section 5.1.4.
fn under(path: &str, cookie_path: &str) -> bool {
    path.strip_prefix(cookie_path)
        .is_some_and(|rest| rest.is_empty() || cookie_path.ends_with('/') || rest.starts_with('/'))
}

/// An error with what lies behind it; hyper's own text says only that it failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(browser: &Browser, url: &str) -> Option<String> {
        browser.cookies_for(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_cookie_is_sent_to_its_host_under_its_path_until_it_is_cleared() {
        let browser = Browser::new();
        let url = Url::parse("http://localhost:8080/oauth/token").unwrap();
        let set = |text| browser.keep(&url, &HeaderValue::from_static(text));
        set("s=1; Path=/oauth/token; HttpOnly; Secure; SameSite=Strict; Max-Age=60");
        assert_eq!(sent(&browser, "http://localhost:8080/oauth/token?a=b"), Some("s=1".into()));
        assert_eq!(sent(&browser, "http://localhost:8080/oauth/token/x"), Some("s=1".into()));
        for elsewhere in [
            "http://localhost:8080/api",
            "http://localhost:8080/oauth/tokens",
            "http://127.0.0.1:8080/oauth/token",
        ] {
            assert_eq!(sent(&browser, elsewhere), None, "{elsewhere}");
        }
        set("s=2; path=/oauth/token");
        assert_eq!(sent(&browser, "http://localhost:8080/oauth/token"), Some("s=2".into()));
        set("s=; Path=/oauth/token; Max-Age=0");
        assert_eq!(sent(&browser, "http://localhost:8080/oauth/token"), None);
    }

    #[tokio::test]
    async fn no_system_is_asked_where_localhost_is() {
        let demo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = demo.local_addr().unwrap().port();
        let browser = Browser::new();
        // A name that no system knows (RFC 6761 section 6.4) stands for one that lacks `localhost`.
        let url = format!("http://demo.invalid:{port}/");
        let asks = browser.get(&url, &[]);
        tokio::select! {
            came = demo.accept() => assert!(came.is_ok()),
            answer = asks => panic!("{:?}", answer.err()),
        }
    }

    #[test]
    fn a_cookie_is_forgotten_when_its_time_is_over() {
        let browser = Browser::new();
        let url = Url::parse("http://localhost:8080/").unwrap();
        browser.keep(&url, &HeaderValue::from_static("a=1; Path=/; Max-Age=60"));
        browser.keep(&url, &HeaderValue::from_static("b=2; Path=/"));
        assert_eq!(sent(&browser, url.as_str()), Some("a=1; b=2".into()));
        // Its minute is over.
        browser.jar()[0].until = Some(Instant::now());
        assert_eq!(sent(&browser, url.as_str()), Some("b=2".into()));
    }
}
