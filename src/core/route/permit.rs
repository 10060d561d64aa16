//! stub
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::core::route::Route;
use crate::core::route::path::CanonicalPath;
use crate::core::token::jwt::VerifiedToken;

/// Leave to go to an upstream. Only this module makes one; `edge` cannot name an upstream without it.
#[derive(Debug)]
pub struct Permit {
    route: Arc<Route>,
    path: CanonicalPath,
    query: Option<String>,
    token: Option<Arc<VerifiedToken>>,
    identity: Vec<(HeaderName, HeaderValue)>,
    forward_access_token: bool,
}

impl Permit {
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }
    /// The path that was judged, which is the path that is sent.
    pub fn path(&self) -> &CanonicalPath {
        &self.path
    }
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
    pub fn token(&self) -> Option<&Arc<VerifiedToken>> {
        self.token.as_ref()
    }
    /// The identity headers to set, after every reserved one was removed.
    pub fn identity(&self) -> &[(HeaderName, HeaderValue)] {
        &self.identity
    }
    /// Whether `Authorization` goes on to the upstream.
    pub fn forwards_access_token(&self) -> bool {
        self.forward_access_token
    }
}
