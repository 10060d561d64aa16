//! What goes back to a client.
//!
//! - `answer`: Tollgate's own answers; `respond`: how a refusal becomes one, and how it is written
//! - `pages`: what a person sees of a refusal; `offer`: what they may do about it
//! - `request_headers`: what the upstream gets
//! - `response_headers`: what of its answer the client gets; `trailers`: what of its trailers

pub(crate) mod answer;
pub(crate) mod offer;
pub(crate) mod pages;
pub(crate) mod request_headers;
pub(crate) mod respond;
pub(crate) mod response_headers;
pub(crate) mod trailers;
