//! `tollgate demo`: an authorization server, an upstream and the gateway in one process.

pub mod authorization_server;
pub mod sign_in;
pub mod upstream;

mod browser;
mod serve;
