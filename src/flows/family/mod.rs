//! One session as the store and its cookie record it, for the flows that sign in, exchange, serve and sign
//! out.
//!
//! - `record`: the state of the family, which all replicas change
//! - `session_cookie`: the grant in its cookie
//! - `tokens`: the tokens of a session whose pages hold none

pub(in crate::flows) mod record;
pub(in crate::flows) mod session_cookie;
pub(in crate::flows) mod tokens;
