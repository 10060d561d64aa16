//! Requests of a client in `session` mode: its pages hold a cookie alone, and the gateway has their tokens.
//!
//! - `tokens`: where the tokens of a session are kept

pub(in crate::flows) mod tokens;
