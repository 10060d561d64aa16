//! WHAT IS TRUE. Pure functions and types: no server, no runtime, no clock, no randomness, no
//! lock, no log. `now` and random bytes are arguments, so every rule here can be tested by arithmetic.

pub mod address;
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
pub mod percent;
pub mod request;
pub mod revocation;
pub mod route;
pub mod secret;
pub mod session;
pub mod signing;
pub mod time;
pub mod token;
