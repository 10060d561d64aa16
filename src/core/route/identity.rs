//! What the upstream of a route learns of the caller: as `identity` says, or `routes[].identity` in its
//! place. It is complete before the first request, so that no request waits while it is put together.

use crate::core::assertion::AssertionRules;
use crate::core::identity_headers::WhichList;

/// What is said of who calls. The default says it by the first list of headers, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteIdentity {
    /// The identity headers.
    pub headers: WhichList,
    /// Whether `Authorization` goes on.
    pub forwards_access_token: bool,
    /// `None`: no assertion is made.
    pub assertion: Option<AssertionRules>,
}
