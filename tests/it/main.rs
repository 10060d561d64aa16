//! The gateway as one process: real sockets, a recording upstream, tokens signed here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)]

mod admin;
mod attacks;
mod bad_tokens;
mod cookies;
mod cors;
mod csrf;
mod drain;
mod edges;
mod gateway;
mod limits;
mod listeners;
mod oauth_endpoints;
mod reload;
mod start;
mod support;
mod upstreams;
