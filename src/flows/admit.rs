//! stub
use std::sync::Arc;

use crate::core::denial::Denial;
use crate::core::request::RequestHead;
use crate::core::route::Route;
use crate::core::route::path::CanonicalPath;
use crate::core::route::permit::Permit;
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::state::live::Live;

/// A refusal, and the route that it concerns where one was found.
#[derive(Debug)]
pub struct Refusal {
    pub denial: Denial,
    pub route: Option<Arc<Route>>,
}

/// Where a request wants to go, in its one reading.
#[derive(Debug)]
pub struct Target {
    pub path: CanonicalPath,
    /// Without its `?`, as it came.
    pub query: Option<String>,
    /// Set when the path is one of Tollgate's own, under `/oauth` or `/.well-known/`.
    pub own: Option<OwnEndpoint>,
}

/// Tollgate's own paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnEndpoint {
    /// `/oauth/token`
    Token,
    /// Reserved and not served: 404.
    Unknown,
}

/// Reads target and host; refuses what has two readings or is not served here.
pub fn read_target(live: &Live, head: &RequestHead<'_>) -> Result<Target, Denial> {
    let _ = (live, head);
    Err(Denial::NoRoute)
}

/// The judgement: route, credential, token, requirements.
pub async fn admit(
    gate: &Gate,
    live: &Live,
    head: &RequestHead<'_>,
    target: Target,
    now: Timestamp,
) -> Result<Permit, Refusal> {
    let _ = (gate, live, head, target, now);
    Err(Refusal { denial: Denial::NoRoute, route: None })
}
