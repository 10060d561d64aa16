//! Routes: which requirement stands before a path, and the [`permit::Permit`] that only this folder makes.
//!
//! - `path`: one canonical reading of a request target, or a refusal
//! - `table`: the most specific route for host, path and method (a segment trie)
//! - `policy`: what a route requires of a token
//! - `permit`: the only way to an upstream

pub mod path;
pub mod permit;
pub mod policy;
pub mod table;

use http::Method;

use crate::core::ids::{RouteName, UpstreamName};

/// One entry of `routes:`.
#[derive(Clone, Debug)]
pub struct Route {
    pub name: RouteName,
    pub path: path::PathPattern,
    pub host: Option<table::HostPattern>,
    /// `None`: every method.
    pub methods: Option<Vec<Method>>,
    pub access: policy::Access,
    pub upstream: UpstreamName,
}
