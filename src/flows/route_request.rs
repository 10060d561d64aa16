//! A request to a route: what every step of its judgement needs.

use std::sync::Arc;

use crate::core::request::RequestHead;
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::state::live::Live;

/// A request to a route, and what it is judged with.
#[derive(Clone, Copy, Debug)]
pub(in crate::flows) struct RouteRequest<'a> {
    pub(in crate::flows) gate: &'a Arc<Gate>,
    pub(in crate::flows) live: &'a Arc<Live>,
    pub(in crate::flows) head: &'a RequestHead<'a>,
    /// The time at its arrival.
    pub(in crate::flows) now: Timestamp,
}
