//! WHERE IT MEETS PINGORA. The only layer that names `pingora`: phases in, flows asked, answers out.
//!
//! - `server`: starts and stops a gateway inside the current tokio runtime
//! - `listening`: listening sockets, and one listener to its last answer; `listen_error`: why a gateway does not start
//! - `addresses`: what one client address may have
//! - `door`: what clients meet before HTTP: TLS, or nothing
//! - `life`: how long connections may go on that came in on the same terms
//! - `guarded_app`: takes connections, the last ones too
//! - `cut_off`: connections that a drain does not wait for
//! - `connection_guard`, `connections`: what happens below HTTP: deadlines, counts
//! - `unread`: clients that read nothing of their answers; `confirmed`: what the kernel says of that
//! - `lingering`: how a connection ends while its client is still sending
//! - `pipelining`: what a client says before it has its answer
//! - `recurring`: what the requests of one connection share
//! - `proxy`: the way of a request through pingora's phases
//! - `context`: what is known of one request
//! - `request_head`: reads a head, refuses what has two readings
//! - `request_places`: how many requests are under way, and how many of one address
//! - `headers`: what the upstream gets, what of its answer the client gets
//! - `refusing`: a refusal is counted, logged and answered
//! - `answer`: Tollgate's own answers; `respond`: how a refusal becomes one, and how it is written
//! - `pages`: what a person sees of a refusal
//! - `body`: bodies that Tollgate reads, and those that nobody reads
//! - `inflow`: bodies that trickle or stop
//! - `watched`: when the upstream of a body is silent for too long
//! - `endable_app`: requests that are ended from outside
//! - `own_endpoints`: which of Tollgate's own endpoints a request goes to
//! - `oauth_endpoints`: `/oauth/token` on the wire
//! - `sign_in_endpoints`: `/oauth/login`, `/oauth/callback` and `/oauth/logout` on the wire
//! - `backchannel_logout`: `/oauth/backchannel-logout` on the wire
//! - `shared_signals`: `/oauth/events` on the wire
//! - `session_endpoint`: `/oauth/session` on the wire
//! - `resource_metadata`: `/.well-known/oauth-protected-resource` on the wire; `published`: documents that anybody may read
//! - `serving`: one configuration as the proxy works with it
//! - `timeouts`: how long a client is waited for
//! - `upstreams`: the servers behind: which one, how it is reached, how it fares
//! - `attempt`: one try to send a request to a server, and whether another is safe; `turn`: the tries at one server
//! - `admin`: what operators ask at the admin listener
//! - `access_log`: one line a request
//! - `drain`: whether the gateway is on its way out

mod access_log;
mod addresses;
mod admin;
mod answer;
mod attempt;
mod backchannel_logout;
mod body;
mod confirmed;
mod connection_guard;
mod connections;
mod context;
mod cut_off;
mod door;
mod drain;
mod endable_app;
mod guarded_app;
mod headers;
mod inflow;
mod life;
mod lingering;
mod listen_error;
mod listening;
mod oauth_endpoints;
mod own_endpoints;
mod pages;
mod pipelining;
mod proxy;
mod published;
mod recurring;
mod refusing;
mod request_head;
mod request_places;
mod resource_metadata;
mod respond;
pub mod server;
mod serving;
mod session_endpoint;
mod shared_signals;
mod sign_in_endpoints;
mod timeouts;
mod turn;
mod unread;
mod upstreams;
mod watched;
