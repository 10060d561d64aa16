//! WHERE IT MEETS PINGORA. The only layer that names `pingora`: phases in, flows asked, answers out.
//!
//! - `server`: starts and stops a gateway inside the current tokio runtime
//! - `connection`: sockets, TLS, and what happens below HTTP: deadlines, counts, how a connection ends
//! - `request`: what comes from a client: its head, its body, how long it is waited for
//! - `proxy`: the way of a request through pingora's phases
//! - `upstreams`: the servers behind: which one, how it is reached, how it fares
//! - `answers`: what goes back: headers, refusals, pages
//! - `own_endpoints`: which of Tollgate's own endpoints a request goes to, and each of them on the wire
//! - `admin`: what operators ask at the admin listener
//! - `errors`: what errors of pingora's come to for the client; `drain`: whether the gateway is on its way
//!   out

mod admin;
mod answers;
mod connection;
mod drain;
mod errors;
mod own_endpoints;
mod proxy;
mod request;
pub mod server;
mod upstreams;
