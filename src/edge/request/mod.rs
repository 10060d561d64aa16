//! What comes from a client: its head, its body, and how long it is waited for.
//!
//! - `request_head`: reads a head, refuses what has two readings
//! - `request_places`: how many requests are under way, and how many of one address
//! - `body`: bodies that Tollgate reads, and those that nobody reads
//! - `inflow`: bodies that trickle or stop
//! - `watched`: when the upstream of a body is silent for too long
//! - `timeouts`: how long a client is waited for

pub(crate) mod body;
pub(crate) mod inflow;
pub(crate) mod request_head;
pub(crate) mod request_places;
pub(crate) mod timeouts;
pub(crate) mod watched;
