//! A connection below HTTP, from the socket that takes it to its last byte.
//!
//! - `listening`: listening sockets, and one listener to its last answer; `listen_error`: why a gateway does
//!   not start
//! - `addresses`: how many connections one client address has; `connections`: how many there are
//! - `door`: what clients meet before HTTP: TLS, or nothing; `life`: until when its connections go on
//! - `proxy_protocol`: load balancers that say whose a connection is
//! - `guarded_app`: takes connections, the last ones too; `endable_app`: requests that are ended from outside
//! - `connection_guard`: deadlines below HTTP
//! - `cut_off`: connections that a drain does not wait for
//! - `unread`: clients that read nothing of their answers; `confirmed`: what the kernel says of that
//! - `lingering`: how a connection ends while its client is still sending
//! - `pipelining`: what a client says before it has its answer
//! - `recurring`: what the requests of one connection share

pub(crate) mod addresses;
pub(crate) mod confirmed;
pub(crate) mod connection_guard;
pub(crate) mod connections;
pub(crate) mod cut_off;
pub(crate) mod door;
pub(crate) mod endable_app;
pub(crate) mod guarded_app;
pub(crate) mod life;
pub(crate) mod lingering;
pub(crate) mod listen_error;
pub(crate) mod listening;
pub(crate) mod pipelining;
pub(crate) mod proxy_protocol;
pub(crate) mod recurring;
pub(crate) mod unread;
