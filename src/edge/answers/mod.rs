//! What goes back to a client.
//!
//! - `answer`: Tollgate's own answers; `respond`: how a refusal becomes one, and how it is written
//! - `pages`: what a person sees of a refusal
//! - `headers`: what the upstream gets, what of its answer the client gets; `trailers`: what of its trailers

pub(crate) mod answer;
pub(crate) mod headers;
pub(crate) mod pages;
pub(crate) mod respond;
pub(crate) mod trailers;
