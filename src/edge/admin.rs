//! The admin listener: `/metrics`, `/livez`, `/readyz`. None needs a token, so none may show a secret.
//!
//! `/metrics` is answered only when `Host` is an IP address literal or `localhost`: a web page that has
//! rebound its own name to this address carries its name. A request that a page of another origin
//! makes is refused whatever it asks for.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde::Serialize;

use crate::edge::connection_guard::Connection;
use crate::edge::drain::Drain;
use crate::flows::Gate;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The app behind the admin listener.
pub(crate) struct Admin {
    pub(crate) gate: Arc<Gate>,
    pub(crate) drain: Arc<Drain>,
}

/// What `/readyz` says. `degraded` names what is missing while requests are still served.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'static str>,
    degraded: Vec<String>,
}

impl Admin {
    fn readiness(&self) -> Readiness {
        let live = self.gate.live.load();
        let without_keys: Vec<_> = live.issuers.iter().filter(|issuer| !issuer.keys_ready()).collect();
        let none_has = !without_keys.is_empty() && without_keys.len() == live.issuers.iter().count();
        let because = if self.drain.has_begun() {
            Some("draining")
        } else if none_has {
            Some("no issuer's keys could be read yet")
        } else {
            None
        };
        let degraded =
            without_keys.iter().map(|issuer| format!("issuer {}: no keys yet", issuer.settings.name));
        Readiness { ready: because.is_none(), because, degraded: degraded.collect() }
    }

    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Vec<u8>> {
        let host = only(headers, header::HOST);
        if is_from_elsewhere(headers, host) {
            return plain(StatusCode::FORBIDDEN, "Pages of other origins are not answered.\n");
        }
        if !matches!(path, "/metrics" | "/livez" | "/readyz") {
            return plain(StatusCode::NOT_FOUND, "There is /metrics, /livez and /readyz.\n");
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "");
            answer.headers_mut().insert(header::ALLOW, http::HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            "/livez" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => {
                let readiness = self.readiness();
                let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                let body = serde_json::to_vec(&readiness).unwrap_or_default();
                typed(status, "application/json", body)
            }
            _ if !host.is_some_and(is_local_or_literal) => plain(
                StatusCode::MISDIRECTED_REQUEST,
                "Ask by IP address or as localhost: a name could be a web page's.\n",
            ),
            _ => match self.gate.metrics.render() {
                Ok(text) => typed(StatusCode::OK, "text/plain; version=0.0.4", text),
                Err(error) => {
                    tracing::error!(%error, "the metrics cannot be written");
                    plain(StatusCode::INTERNAL_SERVER_ERROR, "")
                }
            },
        }
    }
}

/// The one value of a header.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Whether a browser says that another origin's page asks (Fetch Metadata; RFC 6454 section 7).
fn is_from_elsewhere(headers: &HeaderMap, host: Option<&str>) -> bool {
    let foreign_site = headers
        .get_all(&SEC_FETCH_SITE)
        .iter()
        .any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    let own = |origin: &http::HeaderValue| {
        let authority = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        authority.is_some() && authority == host
    };
    foreign_site || !headers.get_all(header::ORIGIN).iter().all(own)
}

/// A rebound name cannot be either.
fn is_local_or_literal(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((literal, port)) => (literal, port.strip_prefix(':').unwrap_or(port)),
        None => host.rsplit_once(':').unwrap_or((host, "")),
    };
    port.bytes().all(|byte| byte.is_ascii_digit())
        && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}

fn plain(status: StatusCode, body: &'static str) -> Response<Vec<u8>> {
    typed(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

fn typed(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let length = body.len();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, http::HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    answer
}

/// Marks its connection busy while it lives.
struct Answering(Option<Arc<Connection>>);

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.request_ended();
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let connection = Connection::of(session.digest());
        if let Some(connection) = &connection {
            connection.request_begins();
        }
        let _answering = Answering(connection);
        // pingora would keep every connection; nobody needs that here.
        session.set_keepalive(None);
        let request = session.req_header();
        let mut answer = self.answer(&request.method, request.uri.path(), &request.headers);
        if request.method == Method::HEAD {
            answer.body_mut().clear();
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_origin_is_told_from_a_tool_and_from_the_address_bar() {
        for (fields, elsewhere) in [
            (&[][..], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-origin"), ("origin", "http://10.1.2.3:8081")], false),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], true),
            (&[("origin", "http://10.1.2.3:8081")], false),
            (&[("origin", "http://10.1.2.3:8082")], true),
            (&[("origin", "null")], true),
            (&[("origin", "http://10.1.2.3:8081"), ("origin", "http://evil.example")], true),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, http::HeaderValue::from_static(value));
            }
            assert_eq!(is_from_elsewhere(&headers, Some("10.1.2.3:8081")), elsewhere, "{fields:?}");
        }
    }

    #[test]
    fn a_name_that_could_be_rebound_is_not_local() {
        for good in
            ["127.0.0.1", "127.0.0.1:8081", "[::1]:8081", "[::1]", "localhost:8081", "LOCALHOST", "10.1.2.3"]
        {
            assert!(is_local_or_literal(good), "{good}");
        }
        for bad in
            ["evil.example", "localhost.evil.example:8081", "127.0.0.1.nip.io", "", "[::1", "localhost:x"]
        {
            assert!(!is_local_or_literal(bad), "{bad}");
        }
    }
}
