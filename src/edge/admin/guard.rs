//! Who may ask the admin listener, and for what. Any web page can send a request to 127.0.0.1, and one
//! that has rebound its own name to this address can read the answer: so a browser must say that the
//! request is the listener's own, `Host` must be a name that cannot be rebound, and all but health and
//! metrics needs the token, on loopback too.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::config::settings::Admin;
use crate::core::secret::Secret;
use crate::edge::admin::revocations;

/// So much may come where nothing is to be said, as `{}`.
const LONGEST_EMPTY_BODY: usize = 1024;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Livez,
    Readyz,
    Metrics,
    /// A page for people.
    StatusPage,
    Status,
    Config,
    Reload,
    /// Fetch the keys of this issuer now.
    RefreshIssuer(String),
    /// The list of revocations.
    Revocations,
    /// The revocation of this id.
    Revocation(String),
}

impl Endpoint {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/livez" => Self::Livez,
            "/readyz" => Self::Readyz,
            "/metrics" => Self::Metrics,
            "/" => Self::StatusPage,
            "/status" => Self::Status,
            "/config" => Self::Config,
            "/reload" => Self::Reload,
            "/revocations" => Self::Revocations,
            _ => {
                let plain = |name: &&str| !name.is_empty() && !name.contains(['/', '%']);
                if let Some(id) = path.strip_prefix("/revocations/") {
                    return Some(id).filter(plain).map(|id| Self::Revocation(id.to_owned()));
                }
                let name = path.strip_prefix("/issuers/")?.strip_suffix("/refresh")?;
                Some(name).filter(plain).map(|name| Self::RefreshIssuer(name.to_owned()))?
            }
        })
    }

    const fn methods(&self) -> &'static str {
        match self {
            Self::Reload | Self::RefreshIssuer(_) => "POST",
            Self::Revocations => "GET, HEAD, POST",
            Self::Revocation(_) => "DELETE",
            _ => "GET, HEAD",
        }
    }

    /// How much of a body is read, of somebody who may ask. What needs no token reads nothing: anybody could
    /// fill the memory.
    pub(super) fn most_of_body(&self, method: &Method) -> usize {
        match self {
            Self::Revocations if *method == Method::POST => revocations::BODY,
            Self::Reload | Self::RefreshIssuer(_) | Self::Revocation(_) => LONGEST_EMPTY_BODY,
            _ => 0,
        }
    }

    /// What probes and Prometheus ask for: nothing secret, and no token at hand.
    const fn is_open(&self) -> bool {
        matches!(self, Self::Livez | Self::Readyz | Self::Metrics)
    }

    /// What probes ask for, by whatever name they know.
    const fn takes_any_host(&self) -> bool {
        matches!(self, Self::Livez | Self::Readyz)
    }
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// Whether a token was brought, and is not the one.
    pub(super) fn is_of_a_token(&self, headers: &HeaderMap) -> bool {
        self.status == StatusCode::UNAUTHORIZED && headers.contains_key(header::AUTHORIZATION)
    }
}

const fn refusal(status: StatusCode, why: &'static str) -> Refusal {
    Refusal { status, why, header: None }
}

/// What is asked for, by somebody who may.
pub(super) fn admitted(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    settings: &Admin,
    token: Option<&Secret<Vec<u8>>>,
) -> Result<Endpoint, Refusal> {
    let host = only(headers, header::HOST);
    if is_from_elsewhere(headers, host) {
        return Err(refusal(StatusCode::FORBIDDEN, "Pages of other origins are not answered.\n"));
    }
    let endpoint = Endpoint::at(path)
        .ok_or(refusal(StatusCode::NOT_FOUND, "There is nothing here. / says what there is.\n"))?;
    if !endpoint.methods().split(", ").any(|allowed| allowed == method.as_str()) {
        let allow = (header::ALLOW, HeaderValue::from_static(endpoint.methods()));
        let refused = refusal(StatusCode::METHOD_NOT_ALLOWED, "This method is not allowed here.\n");
        return Err(Refusal { header: Some(allow), ..refused });
    }
    if !endpoint.takes_any_host() && !host.is_some_and(|host| is_known(host, &settings.hosts)) {
        let why = "Ask by IP address, as localhost, or by a name of admin.hosts: any other could be a web page's.\n";
        return Err(refusal(StatusCode::MISDIRECTED_REQUEST, why));
    }
    if !endpoint.is_open() && !token.is_some_and(|token| is_proven(headers, token)) {
        let challenge =
            HeaderValue::from_static("Bearer realm=\"tollgate admin\", Basic realm=\"tollgate admin\"");
        let why = "Send the token of the admin listener: admin.token, or the file admin.token in the store folder.\n";
        let refused = refusal(StatusCode::UNAUTHORIZED, why);
        return Err(Refusal { header: Some((header::WWW_AUTHENTICATE, challenge)), ..refused });
    }
    let writes = !matches!(*method, Method::GET | Method::HEAD);
    if writes && !is_json_or_nothing(headers) {
        let why = "Send application/json, or no body.\n";
        return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    Ok(endpoint)
}

/// The token as Bearer (RFC 6750), or as the password of Basic (RFC 7617), which browsers ask for.
fn is_proven(headers: &HeaderMap, token: &Secret<Vec<u8>>) -> bool {
    let Some((scheme, rest)) = authorization(headers) else { return false };
    let given = if scheme.eq_ignore_ascii_case("bearer") {
        Secret::new(rest.trim().as_bytes().to_vec())
    } else if let Some((_, password)) = basic(scheme, rest) {
        password
    } else {
        return false;
    };
    // Equality of secrets takes the same time wherever they differ.
    given == *token
}

fn authorization(headers: &HeaderMap) -> Option<(&str, &str)> {
    only(headers, header::AUTHORIZATION).and_then(|value| value.split_once(' '))
}

/// Name and password.
fn basic(scheme: &str, rest: &str) -> Option<(Vec<u8>, Secret<Vec<u8>>)> {
    let both = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(rest.trim()).ok())?;
    let both = both.map(Secret::new)?;
    let colon = both.expose().iter().position(|byte| *byte == b':')?;
    let (name, password) = both.expose().split_at_checked(colon)?;
    Some((name.to_vec(), Secret::new(password.get(1..)?.to_vec())))
}

/// The name that somebody gives beside the token, where it is one that a log can hold. Nobody proves it.
pub(super) fn name_of(headers: &HeaderMap) -> Option<String> {
    let (scheme, rest) = authorization(headers)?;
    let (name, _) = basic(scheme, rest)?;
    let name = String::from_utf8(name).ok()?;
    let is_plain = (1..=64).contains(&name.len()) && !name.chars().any(char::is_control);
    is_plain.then_some(name)
}

/// A form can send neither (Fetch Standard, CORS-safelisted request headers).
fn is_json_or_nothing(headers: &HeaderMap) -> bool {
    match only(headers, header::CONTENT_TYPE) {
        Some(kind) => {
            kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        }
        None => {
            !headers.contains_key(header::CONTENT_TYPE)
                && !headers.contains_key(header::TRANSFER_ENCODING)
                && headers.get(header::CONTENT_LENGTH).is_none_or(|length| length.as_bytes() == b"0")
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
    let own = |origin: &HeaderValue| {
        let authority = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        authority.is_some() && authority == host
    };
    foreign_site || !headers.get_all(header::ORIGIN).iter().all(own)
}

/// A rebound name is none of these.
fn is_known(host: &str, hosts: &[String]) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((literal, port)) => (literal, port.strip_prefix(':').unwrap_or(port)),
        None => host.rsplit_once(':').unwrap_or((host, "")),
    };
    port.bytes().all(|byte| byte.is_ascii_digit())
        && (name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok()
            || hosts.iter().any(|known| known.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123";

    /// Status of the refusal, or 200.
    fn asked(method: Method, path: &str, fields: &[(&'static str, &str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let settings = Admin {
            address: "127.0.0.1:8081".parse().unwrap(),
            token: None,
            hosts: vec!["gate-admin.internal".to_owned()],
        };
        let token = Secret::new(TOKEN.as_bytes().to_vec());
        admitted(&method, path, &headers, &settings, Some(&token))
            .map_or_else(|refusal| refusal.status.as_u16(), |_| 200)
    }

    #[test]
    fn health_and_metrics_are_open_and_the_rest_needs_the_token() {
        let bearer = format!("Bearer {TOKEN}");
        let basic = |both: &str| format!("Basic {}", STANDARD.encode(both));
        let (good, named) = (basic(&format!("anybody:{TOKEN}")), basic(TOKEN));
        let host = ("host", "127.0.0.1:8081");
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(asked(Method::GET, path, &[host]), 200);
        }
        for path in ["/", "/status", "/config"] {
            for (authorization, status) in [
                (bearer.as_str(), 200),
                (&good, 200),
                ("", 401),
                ("Bearer ", 401),
                ("Bearer 0123456789abcdef0124", 401),
                (&named, 401),
                ("Basic !", 401),
                (TOKEN, 401),
            ] {
                assert_eq!(asked(Method::GET, path, &[host, ("authorization", authorization)]), status);
            }
            assert_eq!(asked(Method::GET, path, &[host]), 401);
            let twice = [host, ("authorization", &bearer), ("authorization", &bearer)];
            assert_eq!(asked(Method::GET, path, &twice), 401);
        }
        assert_eq!(asked(Method::GET, "/nothing", &[host]), 404);
        assert_eq!(asked(Method::GET, "/issuers//refresh", &[host]), 404);
        assert_eq!(asked(Method::GET, "/reload", &[host]), 405);
        assert_eq!(asked(Method::POST, "/status", &[host]), 405);
    }

    #[test]
    fn a_write_is_json_or_has_no_body() {
        let bearer = format!("Bearer {TOKEN}");
        let fields = [("host", "localhost:8081"), ("authorization", bearer.as_str())];
        for path in ["/reload", "/issuers/corp/refresh"] {
            let with = |more: &[(&'static str, &'static str)]| {
                let more = more.iter().map(|(name, value)| (*name, *value));
                asked(Method::POST, path, &fields.into_iter().chain(more).collect::<Vec<_>>())
            };
            assert_eq!(with(&[]), 200);
            assert_eq!(with(&[("content-length", "0")]), 200);
            assert_eq!(with(&[("content-type", "application/json; charset=utf-8")]), 200);
            assert_eq!(with(&[("content-type", "text/plain")]), 415);
            assert_eq!(with(&[("content-type", "application/x-www-form-urlencoded")]), 415);
            assert_eq!(with(&[("content-length", "3")]), 415);
            assert_eq!(with(&[("transfer-encoding", "chunked")]), 415);
            assert_eq!(with(&[("content-type", "application/json"), ("content-type", "text/plain")]), 415);
        }
    }

    #[test]
    fn a_page_of_another_origin_is_told_from_a_tool_and_from_the_address_bar() {
        let host = ("host", "10.1.2.3:8081");
        for (fields, status) in [
            (&[][..], 200),
            (&[("sec-fetch-site", "none")], 200),
            (&[("sec-fetch-site", "same-origin"), ("origin", "http://10.1.2.3:8081")], 200),
            (&[("sec-fetch-site", "cross-site")], 403),
            (&[("sec-fetch-site", "same-site")], 403),
            (&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], 403),
            (&[("origin", "http://10.1.2.3:8081")], 200),
            (&[("origin", "http://10.1.2.3:8082")], 403),
            (&[("origin", "null")], 403),
            (&[("origin", "http://10.1.2.3:8081"), ("origin", "http://evil.example")], 403),
        ] {
            let fields: Vec<_> = [host].into_iter().chain(fields.iter().copied()).collect();
            for path in ["/livez", "/metrics"] {
                assert_eq!(asked(Method::GET, path, &fields), status, "{fields:?}");
            }
        }
    }

    #[test]
    fn a_name_that_could_be_rebound_is_not_answered_but_for_health() {
        let good = [
            "127.0.0.1",
            "127.0.0.1:8081",
            "[::1]:8081",
            "[::1]",
            "localhost:8081",
            "LOCALHOST",
            "10.1.2.3",
            "Gate-Admin.internal:8081",
        ];
        let bad =
            ["evil.example", "localhost.evil.example:8081", "127.0.0.1.nip.io", "", "[::1", "localhost:x"];
        for (hosts, status) in [(&good[..], 200), (&bad[..], 421)] {
            for host in hosts {
                assert_eq!(asked(Method::GET, "/metrics", &[("host", host)]), status, "{host}");
                assert_eq!(asked(Method::GET, "/readyz", &[("host", host)]), 200, "{host}");
            }
        }
    }
}
