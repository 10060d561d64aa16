//! stub: authorization server metadata (RFC 8414; OpenID Connect Discovery 1.0).
use url::Url;

/// The endpoints of an authorization server, as it publishes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    pub jwks_uri: Option<Url>,
    pub token: Option<Url>,
    pub revocation: Option<Url>,
    /// `token_endpoint_auth_methods_supported`; empty means `client_secret_basic`.
    pub token_auth_methods: Vec<String>,
}
