//! The gateway as one process: real sockets, a recording upstream, tokens signed here.
//!
//! - `support`: what they need around it
//!
//! Who is let in:
//!
//! - `admission`: who passes, what the upstream sees, how a refusal looks, the access log
//! - `bad_tokens`: the attacks that RFC 8725 lists; `shared_secrets`: issuers that sign with a shared secret
//! - `claims`: groups and roles, several alternatives; `addresses`: routes with `from`
//! - `dpop`: tokens that are bound to a key
//! - `websocket_tokens`: a page's token as subprotocol
//! - `report_only`: routes on trial; `holes`: `to: none`; `encoded_slash`: what `%2F` is
//! - `resource_metadata`: whom clients should ask for a token (RFC 9728)
//! - `random_spellings`: paths and header names that were made at random
//!
//! Issuers, their keys and the way to them:
//!
//! - `keys`: rotation, withdrawal, caching and unknown names of keys
//! - `issuer_changes`: what a reload does to an issuer; `issuer_proxies`: `proxy` and `connect_to`
//! - `silent_networks`: connections that die in silence, and calls over them
//!
//! What upstreams are told:
//!
//! - `route_identity`: headers, in the way of each route; `assertion`: the gateway's signed statement
//! - `upstream_credentials`: what the gateway proves itself with; `stripped_prefix`: what `strip_prefix` took
//!   off
//! - `cookies`: ours stay here, and no upstream sets one
//!
//! Browsers and sign-in:
//!
//! - `oauth_endpoints`: methods, queries, sizes and slow bodies at `/oauth/*`
//! - `csrf`: whose request it is there
//! - `gateway_sign_in`: sign-in and sign-out by redirects; `sessions`: requests with a session cookie
//! - `cors`: pages of clients, and preflights; `cors_origins`: pages that are no client's
//!
//! Taking access back:
//!
//! - `revocations`: the list at the admin listener, and what it does to requests
//! - `access_ends`: what is under way when its access ends
//! - `backchannel_logout`: what an issuer says; `shared_signals`: what a transmitter says
//!
//! HTTP/1:
//!
//! - `http1_edges`: HTTP/1.0, sizes, framing, `Expect`, kept connections, upstreams that fail
//! - `smuggling`: requests with two readings or within others, also of HTTP/2
//! - `ambiguous_answers`: answers with two readings
//! - `pipelining`: a next request that comes before the answer; `interim`: answers 1xx, over both versions
//! - `lingering`: whoever still sends when it has its answer reads it, and of no reset
//! - `unread`: clients that do not read answers, or read them slowly
//!
//! HTTP/2, and both versions:
//!
//! - `http2_upstreams`: upstreams that are slow, silent, or refuse; what is sent again
//! - `http2_conversations`: both sides speak at once, trailers
//! - `broken_bodies`: bodies that break, stop, or are answered before they end
//! - `streams`: WebSockets (also half-closed), event streams, gRPC, trailers, large bodies
//!
//! Listeners, load and limits:
//!
//! - `listeners`: TLS, client certificates, HTTP/2, redirects to https
//! - `proxy_protocol`: listeners behind a balancer of layer 4
//! - `floods`: slow headers, slow bodies, rapid resets, small frames
//! - `limits`: rates, connections and denials of one address
//!
//! Servers behind the gateway:
//!
//! - `upstreams`: TLS, deadlines, spreading, retries, health checks
//!
//! Operation:
//!
//! - `start`: what is said when it cannot; `reload`: another configuration while it runs
//! - `drain`: a stop; `handover`: one process takes over from another
//! - `store`: a folder or Redis, and outages; `logs`: lines, and readers of them that are slow
//! - `admin`: the token, `/status`, health, and who else gets nothing
//! - `explain`: the command says what the gateway does; `check_live`: `check --live`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)]

mod access_ends;
mod addresses;
mod admin;
mod admission;
mod ambiguous_answers;
mod assertion;
mod backchannel_logout;
mod bad_tokens;
mod broken_bodies;
mod check_live;
mod claims;
mod cookies;
mod cors;
mod cors_origins;
mod csrf;
mod dpop;
mod drain;
mod encoded_slash;
mod explain;
mod floods;
mod gateway_sign_in;
mod handover;
mod holes;
mod http1_edges;
mod http2_conversations;
mod http2_upstreams;
mod interim;
mod issuer_changes;
mod issuer_proxies;
mod keys;
mod limits;
mod lingering;
mod listeners;
mod logs;
mod oauth_endpoints;
mod pipelining;
mod proxy_protocol;
mod random_spellings;
mod reload;
mod report_only;
mod resource_metadata;
mod revocations;
mod route_identity;
mod sessions;
mod shared_secrets;
mod shared_signals;
mod silent_networks;
mod smuggling;
mod start;
mod store;
mod streams;
mod stripped_prefix;
mod support;
mod unread;
mod upstream_credentials;
mod upstreams;
mod websocket_tokens;
