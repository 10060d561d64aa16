//! The browser's side: what a session is, how it is sealed into a cookie, and whose request it is.
//!
//! - `grant`: what stands behind a session
//! - `sealed`: how it is encrypted (AES-256-GCM-SIV, RFC 8452; HKDF, RFC 5869)
//! - `cookie`: how it travels (RFC 6265bis)
//! - `activity`: whether a request is use of it
//! - `exchange`: what becomes of a presented generation, as a state machine
//! - `fetch_metadata`: what a browser says of a request by itself
//! - `origin`: whether a request may use or set a cookie
//! - `csrf`: whether a request may use the session cookie that came with it
//! - `ride`: a new cookie, on the answer of whatever request made it necessary
//! - `way_in`: what a browser is told that has no session, or too weak a one
//! - `pkce`: proof keys (RFC 7636)
//! - `navigation`: whether a request is a navigation of a browser
//! - `return_to`: where a sign-in leads
//! - `transaction`: a sign-in under way, in a cookie of its own; `sign_out`: a sign-out
//! - `authorization`: what is asked of an authorization endpoint, and what comes back (RFC 6749, RFC 9207)
//! - `step_up`: a stronger or fresher sign-in (RFC 9470)
//! - `oauth`: what goes to the AS and what comes back, as allow-lists (RFC 6749)

pub mod activity;
pub mod authorization;
pub mod cookie;
pub mod csrf;
pub mod exchange;
pub mod fetch_metadata;
pub mod grant;
pub mod navigation;
pub mod oauth;
pub mod origin;
pub mod pkce;
pub mod return_to;
pub mod ride;
pub mod sealed;
pub mod sign_out;
pub mod step_up;
pub mod transaction;
pub mod way_in;
