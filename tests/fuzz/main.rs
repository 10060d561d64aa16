//! What reads bytes that anybody may send, against bytes that nobody would: each target makes an input of
//! them and knows, by rules of its own, what must come of it. `make test` replays the corpus
//! (`__fuzz__/<target>/corpus`) and samples; `make fuzz` goes on for as long as it is told to. Built without
//! pingora, and so in seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod choices;
mod config;
mod cookie;
mod dpop;
mod forms;
mod headers;
mod jwks;
mod jwt;
mod logout;
mod path;
mod proxy_protocol;
mod security_event;
