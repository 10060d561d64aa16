//! A route for unit tests: what a test is about is said there, and the rest here.

use super::resource::Resource;
use super::{CorsSpeaker, Dpop, Route, forwarding, policy};
use crate::core::cors::Sharing;
use crate::core::ids::{RouteName, UpstreamName};
use crate::core::path::PathPattern;

/// A public route of this path and name, about which the configuration says nothing else.
pub(crate) fn route(path: &str) -> Route {
    Route {
        name: RouteName::new(path),
        path: PathPattern::parse(path).unwrap(),
        host: None,
        methods: None,
        access: policy::Access::Public,
        from: None,
        session: None,
        report_only: false,
        dpop: Dpop::Allowed,
        resource: Resource::default(),
        upstream: Some(UpstreamName::new("upstream")),
        cors: CorsSpeaker::Gateway,
        sharing: Sharing::default(),
        forwarding: forwarding::Forwarding::default(),
    }
}
