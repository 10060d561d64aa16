//! WHAT IS TRUE. Pure functions and types: no server, no runtime, no clock, no randomness, no
//! lock, no log. `now` and random bytes are arguments, so every rule here can be tested by arithmetic.
//!
//! What a request is, and what becomes of it:
//!
//! - `request`: what the rules need to know of a request; `address`: whose address it came from, as limits
//!   count
//! - `proxy_protocol`: whose connection it is, as a balancer of layer 4 says
//! - `path`: one canonical reading of a request target, or a refusal
//! - `route`: which requirement stands before a path, and the permit
//! - `denial`: every reason to refuse, one table; `challenge`: what a refused caller is told to bring
//! - `brake`: which denials count against an address; `allowance`: how often it may do something
//! - `pace`: whether a body comes fast enough
//! - `cors`: which pages of other origins may read an answer; `lasting`: which answers go on until somebody
//!   ends them; `websocket`: which of them have switched protocols
//!
//! Who is calling, and what upstreams are told:
//!
//! - `token`: from bytes to a verified token; `metadata`: where an authorization server's endpoints and keys
//!   are
//! - `caller`: a verified token with what upstreams are told of it
//! - `identity_headers`, `assertion`, `forwarded`: the headers, the signed statement, the client's address
//!   and ids
//!
//! Sessions, and taking access back:
//!
//! - `session`: the browser's side: grant, cookie, exchange, sign-in; `session_end`: why one is over
//! - `server_error`: what an authorization server says when it refuses
//! - `revocation`: what was taken back, and what that refuses; `clock_watch`: when what has ended may be
//!   thrown away
//!
//! What all of these are made of:
//!
//! - `time`: a moment; `ids`: names that operators and the gateway give; `secret`: what never prints and is
//!   wiped
//! - `signing`: keys that the gateway signs with; `digest`: one hash of several texts
//! - `kept`: the form in which a store keeps things; `hex`, `percent`: spellings of bytes

pub mod address;
pub mod allowance;
pub mod assertion;
pub mod brake;
pub mod caller;
pub mod challenge;
pub mod clock_watch;
pub mod cors;
pub mod denial;
pub mod digest;
pub mod forwarded;
pub mod hex;
pub mod identity_headers;
pub mod ids;
mod kept;
pub mod lasting;
pub mod metadata;
pub mod pace;
pub mod path;
pub mod percent;
pub mod proxy_protocol;
pub mod request;
pub mod revocation;
pub mod route;
pub mod secret;
pub mod server_error;
pub mod session;
pub mod session_end;
pub mod signing;
pub mod time;
pub mod token;
pub mod websocket;
