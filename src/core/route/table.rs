//! stub
use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;

use crate::core::route::Route;
use crate::core::route::path::CanonicalPath;

/// `routes[].host`: an exact host or `*.example.com`, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    Exact(String),
    /// Any name below this one: one label or more.
    Below(String),
}

impl HostPattern {
    /// The error says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::Exact(text.to_owned()))
    }
}

/// Finds the most specific route.
#[derive(Debug, Default)]
pub struct RouteTable {}

/// Two routes of equal rank that could match one request: their indices, and what they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub first: usize,
    pub second: usize,
    pub why: String,
}

/// What the table says of a request.
#[derive(Debug)]
pub enum Found {
    Route { route: Arc<Route>, parameters: BTreeMap<String, String> },
    MethodNotAllowed { allow: Vec<Method> },
    Nothing,
}

impl RouteTable {
    pub fn build(routes: &[Arc<Route>]) -> Result<Self, Vec<Conflict>> {
        let _ = routes;
        Ok(Self {})
    }
    pub fn find(&self, host: &str, method: &Method, path: &CanonicalPath) -> Found {
        let _ = (host, method, path);
        Found::Nothing
    }
    /// Whether some route names this host (without port, lower case).
    pub fn names_host(&self, host: &str) -> bool {
        let _ = host;
        false
    }
}
