//! `tollgate demo`: an authorization server, an upstream and the gateway in one process.
//!
//! The authorization server is on another site than the gateway (`127.0.0.1` beside `localhost`), as it is
//! in production; nothing listens off loopback. The story is told at the public sockets, with a plain
//! HTTP client: it sees what a browser sees.
//!
//! - `authorization_server`, `upstream`: the demo's own servers (`serve`)
//! - `sign_in`, `browser`: how a person and their browser behave
//! - `story`, `terminal`: what is shown, and how
//! - `ports`, `folder`: where it listens, and what it leaves behind: nothing

pub mod authorization_server;
pub mod sign_in;
pub mod upstream;

mod browser;
mod folder;
mod ports;
mod serve;
mod story;
mod terminal;
