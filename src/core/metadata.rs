//! Authorization server metadata (RFC 8414; OpenID Connect Discovery 1.0): where it is, and what of
//! it counts. A document that names another issuer is refused whole (RFC 8414 section 3.3), so that
//! nobody can put his keys under another's name.

use serde_json::{Map, Value};
use url::Url;

use crate::core::token::json;

/// How clients may prove themselves at an endpoint (RFC 8414 section 2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAuthentication {
    /// `…_endpoint_auth_methods_supported`; none means `client_secret_basic`.
    pub methods: Vec<String>,
    /// `…_endpoint_auth_signing_alg_values_supported`: by what assertions are signed; none means that it is
    /// not said.
    pub algorithms: Vec<String>,
}

/// The endpoints of an authorization server, as it publishes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    pub jwks_uri: Option<Url>,
    /// Where browsers sign in.
    pub authorization: Option<Url>,
    /// Where requests for that are pushed beforehand (RFC 9126 section 5).
    pub pushed_authorization: Option<Url>,
    /// It takes only requests that were pushed.
    pub requires_pushed: bool,
    pub token: Option<Url>,
    pub revocation: Option<Url>,
    /// RFC 7662.
    pub introspection: Option<Url>,
    /// How a transmitter of shared signals delivers, `delivery_methods_supported` (Shared Signals Framework
    /// 1.0 section 7.1).
    pub delivery_methods: Vec<String>,
    /// Where browsers sign out (OpenID Connect RP-Initiated Logout 1.0 section 2.1).
    pub end_session: Option<Url>,
    /// Whether every answer of the authorization endpoint names its issuer (RFC 9207 section 3).
    pub names_itself: bool,
    pub token_auth: ClientAuthentication,
    /// What is absent is as at the token endpoint, and not the `client_secret_basic` of RFC 8414 section 2:
    /// servers that leave it out take the same at both.
    pub revocation_auth: ClientAuthentication,
    /// What is absent is as at the token endpoint.
    pub introspection_auth: ClientAuthentication,
}

/// Why a document does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("the metadata is not a JSON object without repeated members")]
    NotAnObject,
    #[error("the metadata has no `issuer`")]
    NoIssuer,
    #[error("the metadata's `issuer` is {0:?}, which is not byte for byte the configured url")]
    AnotherIssuer(String),
    #[error("the metadata's `{0}` is not a URL that may be called: https, or http where the issuer is http")]
    BadEndpoint(&'static str),
}

impl Endpoints {
    /// Reads a metadata document of the issuer `iss`. Members that Tollgate does not use may be
    /// anything. The caller bounds the size.
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub fn parse(bytes: &[u8], iss: &str) -> Result<Self, MetadataError> {
        let document = json::object(bytes).map_err(|_| MetadataError::NotAnObject)?;
        let issuer = document.get("issuer").and_then(Value::as_str).ok_or(MetadataError::NoIssuer)?;
        if issuer != iss {
            return Err(MetadataError::AnotherIssuer(issuer.chars().take(200).collect()));
        }
        let endpoint = |name| endpoint(&document, name, iss);
        let token_auth = authentication(&document, "token", ClientAuthentication::default());
        let revocation_auth = authentication(&document, "revocation", token_auth.clone());
        let introspection_auth = authentication(&document, "introspection", token_auth.clone());
        Ok(Self {
            jwks_uri: endpoint("jwks_uri")?,
            authorization: endpoint("authorization_endpoint").ok().flatten(),
            pushed_authorization: endpoint("pushed_authorization_request_endpoint").ok().flatten(),
            requires_pushed: document.get("require_pushed_authorization_requests")
                == Some(&Value::Bool(true)),
            token: endpoint("token_endpoint")?,
            revocation: endpoint("revocation_endpoint")?,
            // One that may not be called is as good as none: keys do not depend on it.
            introspection: endpoint("introspection_endpoint").ok().flatten(),
            end_session: endpoint("end_session_endpoint").ok().flatten(),
            delivery_methods: strings(document.get("delivery_methods_supported")),
            names_itself: document.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
            token_auth,
            revocation_auth,
            introspection_auth,
        })
    }
}

impl Endpoints {
    /// What another document of the same issuer says beside this one, which counts where both say something:
    /// some servers publish at the place of RFC 8414 less than at that of OpenID Connect Discovery. How
    /// clients prove themselves belongs to the endpoint where they do.
    #[must_use]
    pub fn completed_by(mut self, other: Self) -> Self {
        if self.token.is_none() {
            self.token_auth = other.token_auth;
        }
        if self.revocation.is_none() {
            self.revocation_auth = other.revocation_auth;
        }
        if self.introspection.is_none() {
            self.introspection_auth = other.introspection_auth;
        }
        if self.authorization.is_none() {
            self.names_itself = other.names_itself;
        }
        if self.delivery_methods.is_empty() {
            self.delivery_methods = other.delivery_methods;
        }
        Self {
            jwks_uri: self.jwks_uri.or(other.jwks_uri),
            authorization: self.authorization.or(other.authorization),
            pushed_authorization: self.pushed_authorization.or(other.pushed_authorization),
            // Whoever says it in one place means it.
            requires_pushed: self.requires_pushed || other.requires_pushed,
            token: self.token.or(other.token),
            revocation: self.revocation.or(other.revocation),
            introspection: self.introspection.or(other.introspection),
            end_session: self.end_session.or(other.end_session),
            ..self
        }
    }
}

/// RFC 8414 section 2: endpoints are https. Where the operator allowed an http issuer, they may be http.
fn endpoint(
    document: &Map<String, Value>,
    name: &'static str,
    iss: &str,
) -> Result<Option<Url>, MetadataError> {
    let Some(text) = document.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let url = text.as_str().and_then(|text| Url::parse(text).ok()).filter(|url| {
        let scheme = match url.scheme() {
            "https" => true,
            "http" => iss.starts_with("http://"),
            _ => false,
        };
        scheme && url.has_host() && url.username().is_empty() && url.password().is_none()
    });
    url.map(Some).ok_or(MetadataError::BadEndpoint(name))
}

/// What is said of this endpoint; `absent`: what counts where nothing is.
fn authentication(
    document: &Map<String, Value>,
    endpoint: &str,
    absent: ClientAuthentication,
) -> ClientAuthentication {
    let said = |what: &str, absent| match document.get(&format!("{endpoint}_endpoint_auth_{what}_supported"))
    {
        None => absent,
        said => strings(said),
    };
    ClientAuthentication {
        methods: said("methods", absent.methods),
        algorithms: said("signing_alg_values", absent.algorithms),
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// Where the metadata of `iss` may be, in the order to ask: RFC 8414 section 3.1 (inserted between
/// host and path), then OpenID Connect Discovery section 4.1 (appended). None when `iss` is no URL.
pub fn locations(iss: &str) -> Vec<Url> {
    let Ok(issuer) = Url::parse(iss) else { return Vec::new() };
    if !issuer.has_host() || issuer.query().is_some() || issuer.fragment().is_some() {
        return Vec::new();
    }
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    vec![
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/openid-configuration")),
    ]
}

/// Where the metadata of a transmitter of shared signals are (Shared Signals Framework 1.0 section 7.2):
/// inserted between host and path. They are read by [`Endpoints::parse`] too.
pub fn ssf_location(issuer: &Url) -> Option<Url> {
    if issuer.query().is_some() || issuer.fragment().is_some() {
        return None;
    }
    let mut url = issuer.clone();
    url.set_path(&format!("/.well-known/ssf-configuration{}", issuer.path().trim_end_matches('/')));
    Some(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISS: &str = "https://as.example/realms/main";

    fn parse(document: &Value, iss: &str) -> Result<Endpoints, MetadataError> {
        Endpoints::parse(document.to_string().as_bytes(), iss)
    }

    #[test]
    fn a_second_document_completes_the_first_and_changes_nothing_of_it() {
        let document = |place: &str, but: &[&str]| {
            let mut document = json!({ "issuer": ISS, "authorization_response_iss_parameter_supported": place == "a",
                "token_endpoint_auth_methods_supported": [place], "introspection_endpoint_auth_methods_supported": [place],
                "revocation_endpoint_auth_methods_supported": [place],
                "token_endpoint_auth_signing_alg_values_supported": [place] });
            for name in [
                "jwks_uri",
                "authorization_endpoint",
                "token_endpoint",
                "revocation_endpoint",
                "introspection_endpoint",
                "end_session_endpoint",
            ] {
                if !but.contains(&name) {
                    document[name] = json!(format!("https://as.example/{place}/{name}"));
                }
            }
            parse(&document, ISS).unwrap()
        };
        let (first, second) = (document("a", &[]), document("b", &[]));
        assert_eq!(first.clone().completed_by(second.clone()), first);
        let without = document("a", &["jwks_uri", "end_session_endpoint"]).completed_by(second.clone());
        let expected = Endpoints {
            jwks_uri: second.jwks_uri.clone(),
            end_session: second.end_session.clone(),
            ..first.clone()
        };
        assert_eq!(without, expected);
        let without = document("a", &["authorization_endpoint", "token_endpoint", "introspection_endpoint"]);
        let completed = without.completed_by(second.clone());
        assert_eq!((&completed.token, &completed.token_auth), (&second.token, &second.token_auth));
        assert_eq!(completed.introspection_auth.methods, ["b"]);
        assert_eq!(completed.introspection_auth.algorithms, ["b"]);
        assert_eq!((&completed.authorization, completed.names_itself), (&second.authorization, false));
        assert_eq!(completed.revocation_auth.methods, ["a"]);
        assert_eq!((completed.revocation, completed.jwks_uri), (first.revocation, first.jwks_uri));
        let completed = document("a", &["revocation_endpoint"]).completed_by(second.clone());
        assert_eq!(
            (&completed.revocation, &completed.revocation_auth),
            (&second.revocation, &second.revocation_auth)
        );
    }

    #[test]
    fn the_endpoints_are_read_and_the_rest_may_be_junk() {
        let endpoints = parse(
            &json!({"issuer": ISS, "jwks_uri": "https://keys.example/jwks", "token_endpoint": "https://as.example/token",
                "revocation_endpoint": null, "token_endpoint_auth_methods_supported": ["client_secret_post", 7],
                "token_endpoint_auth_signing_alg_values_supported": ["PS256", null],
                "authorization_endpoint": 5, "claims_supported": {"x": []}}),
            ISS,
        )
        .unwrap();
        assert_eq!(endpoints.jwks_uri.unwrap().as_str(), "https://keys.example/jwks");
        assert_eq!(endpoints.token.unwrap().as_str(), "https://as.example/token");
        assert_eq!(endpoints.revocation, None);
        assert_eq!(endpoints.token_auth.methods, ["client_secret_post"]);
        assert_eq!(endpoints.token_auth.algorithms, ["PS256"]);
        for own in [&endpoints.revocation_auth, &endpoints.introspection_auth] {
            assert_eq!(*own, endpoints.token_auth, "where it says none of its own");
        }
        assert_eq!(parse(&json!({"issuer": ISS}), ISS).unwrap().jwks_uri, None);
        let own = json!({"issuer": ISS, "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "introspection_endpoint": "https://as.example/introspect",
            "introspection_endpoint_auth_methods_supported": ["private_key_jwt"],
            "introspection_endpoint_auth_signing_alg_values_supported": ["RS256"],
            "revocation_endpoint_auth_signing_alg_values_supported": ["ES256"],
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic"]});
        let endpoints = parse(&own, ISS).unwrap();
        assert_eq!(endpoints.token_auth.methods, ["client_secret_post"]);
        assert!(endpoints.token_auth.algorithms.is_empty());
        assert_eq!(endpoints.revocation_auth.methods, ["client_secret_basic"]);
        assert_eq!(endpoints.revocation_auth.algorithms, ["ES256"]);
        assert_eq!(endpoints.introspection.unwrap().path(), "/introspect");
        assert_eq!(endpoints.introspection_auth.methods, ["private_key_jwt"]);
        assert_eq!(endpoints.introspection_auth.algorithms, ["RS256"]);
    }

    #[test]
    fn a_document_of_another_issuer_is_refused() {
        for other in
            ["https://as.example/realms/main/", "https://AS.example/realms/main", "https://evil.example", ""]
        {
            let document = json!({"issuer": other, "jwks_uri": "https://evil.example/jwks"});
            assert_eq!(parse(&document, ISS), Err(MetadataError::AnotherIssuer(other.to_owned())));
        }
        for none in [json!({}), json!({"issuer": [ISS]}), json!({"issuer": null})] {
            assert_eq!(parse(&none, ISS), Err(MetadataError::NoIssuer));
        }
        let twice = format!(r#"{{"issuer":"https://evil.example","issuer":"{ISS}"}}"#);
        assert_eq!(Endpoints::parse(twice.as_bytes(), ISS), Err(MetadataError::NotAnObject));
        for bad in ["", "<html>", "[]", "{", "\u{feff}{}"] {
            assert_eq!(Endpoints::parse(bad.as_bytes(), ISS), Err(MetadataError::NotAnObject));
        }
    }

    #[test]
    fn endpoints_are_https_unless_the_issuer_is_http() {
        for name in ["jwks_uri", "token_endpoint", "revocation_endpoint"] {
            for bad in [
                json!("http://as.example/x"),
                json!("file:///etc/passwd"),
                json!("ftp://as.example/"),
                json!("https://user:pass@as.example/"),
                json!("/relative"),
                json!(""),
                json!(7),
            ] {
                let refused = parse(&json!({"issuer": ISS, name: bad}), ISS);
                assert_eq!(refused, Err(MetadataError::BadEndpoint(name)), "{bad}");
            }
            let local = "http://127.0.0.1:8082";
            assert!(parse(&json!({"issuer": local, name: "http://127.0.0.1:8082/x"}), local).is_ok());
        }
    }

    #[test]
    fn where_browsers_sign_in_and_out_is_read_and_spoils_nothing_else() {
        let document = json!({"issuer": ISS, "authorization_endpoint": "https://as.example/auth?realm=x",
            "end_session_endpoint": "https://as.example/out", "authorization_response_iss_parameter_supported": true});
        let endpoints = parse(&document, ISS).unwrap();
        assert_eq!(endpoints.authorization.unwrap().as_str(), "https://as.example/auth?realm=x");
        assert_eq!(endpoints.end_session.unwrap().as_str(), "https://as.example/out");
        assert!(endpoints.names_itself);
        let document = json!({"issuer": ISS, "authorization_endpoint": "http://as.example/auth",
            "end_session_endpoint": "javascript:x", "authorization_response_iss_parameter_supported": "true"});
        let endpoints = parse(&document, ISS).unwrap();
        assert_eq!(
            (endpoints.authorization, endpoints.end_session, endpoints.names_itself),
            (None, None, false)
        );
    }

    #[test]
    fn where_requests_are_pushed_is_read_and_so_is_that_they_must_be() {
        let document = |more: Value| {
            let mut document = json!({"issuer": ISS, "jwks_uri": "https://as.example/jwks"});
            document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let endpoints = parse(&document, ISS).unwrap();
            (endpoints.pushed_authorization.as_ref().map(Url::to_string), endpoints.requires_pushed)
        };
        let there = "https://as.example/par";
        let both = json!({"pushed_authorization_request_endpoint": there, "require_pushed_authorization_requests": true});
        assert_eq!(document(both.clone()), (Some(there.to_owned()), true));
        assert_eq!(
            document(json!({"pushed_authorization_request_endpoint": there})),
            (Some(there.to_owned()), false)
        );
        let spoiled = json!({"pushed_authorization_request_endpoint": "http://as.example/par", "require_pushed_authorization_requests": "true"});
        assert_eq!(document(spoiled), (None, false));
        let mut second = both;
        second["issuer"] = json!(ISS);
        let completed =
            parse(&json!({"issuer": ISS}), ISS).unwrap().completed_by(parse(&second, ISS).unwrap());
        assert_eq!((completed.pushed_authorization.is_some(), completed.requires_pushed), (true, true));
    }

    #[test]
    fn an_introspection_endpoint_in_the_clear_is_none_and_spoils_nothing_else() {
        let document = json!({"issuer": ISS, "jwks_uri": "https://as.example/jwks",
            "introspection_endpoint": "http://as.example/introspect"});
        let endpoints = parse(&document, ISS).unwrap();
        assert_eq!((endpoints.introspection, endpoints.jwks_uri.is_some()), (None, true));
    }

    #[test]
    fn the_metadata_of_a_transmitter_are_where_its_framework_has_them() {
        let place = |iss: &str| ssf_location(&Url::parse(iss).unwrap()).map(|url| url.to_string());
        for (iss, there) in [
            ("https://tr.example.com", "https://tr.example.com/.well-known/ssf-configuration"),
            ("https://tr.example.com/", "https://tr.example.com/.well-known/ssf-configuration"),
            (
                "https://tr.example.com/issuer1",
                "https://tr.example.com/.well-known/ssf-configuration/issuer1",
            ),
            (
                "https://tr.example.com/issuer1/",
                "https://tr.example.com/.well-known/ssf-configuration/issuer1",
            ),
        ] {
            assert_eq!(place(iss).as_deref(), Some(there));
        }
        assert_eq!(place("https://tr.example.com/?x"), None);
        let document = json!({"issuer": ISS, "jwks_uri": "https://as.example/jwks",
            "delivery_methods_supported": ["urn:ietf:rfc:8935", 7]});
        assert_eq!(parse(&document, ISS).unwrap().delivery_methods, ["urn:ietf:rfc:8935"]);
    }

    #[test]
    fn the_places_to_ask_follow_rfc_8414_and_then_openid_connect() {
        let places = |iss: &str| locations(iss).iter().map(Url::to_string).collect::<Vec<_>>();
        assert_eq!(
            places(ISS),
            [
                "https://as.example/.well-known/oauth-authorization-server/realms/main",
                "https://as.example/realms/main/.well-known/openid-configuration",
            ]
        );
        for root in ["http://127.0.0.1:8082", "http://127.0.0.1:8082/"] {
            assert_eq!(
                places(root),
                [
                    "http://127.0.0.1:8082/.well-known/oauth-authorization-server",
                    "http://127.0.0.1:8082/.well-known/openid-configuration",
                ]
            );
        }
        for no_url in ["", "demo", "urn:x", "https://as.example/?x=1", "https://as.example/#x"] {
            assert!(locations(no_url).is_empty(), "{no_url}");
        }
    }
}
