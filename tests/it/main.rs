//! The gateway as one process: real sockets, a recording upstream, tokens signed here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)]

mod admin;
mod answers;
mod assertion;
mod attacks;
mod backchannel_logout;
mod bad_tokens;
mod broken_bodies;
mod calls;
mod check_live;
mod cookies;
mod cors;
mod csrf;
mod dpop;
mod drain;
mod edges;
mod encoded_slash;
mod ended;
mod explain;
mod floods;
mod gateway;
mod gateway_sign_in;
mod handover;
mod http2_upstreams;
mod keys;
mod limits;
mod listeners;
mod oauth_endpoints;
mod reload;
mod report_only;
mod resource_metadata;
mod revocations;
mod route_identity;
mod sessions;
mod shared_secrets;
mod shared_signals;
mod smuggling;
mod spellings;
mod start;
mod store;
mod streams;
mod support;
mod upstreams;
mod websocket_tokens;
