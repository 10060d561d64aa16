//! WHAT WE REMEMBER. Memory only; each piece has one owner, built in `app`, swapped whole or
//! changed by key.
//!
//! One configuration, and what belongs to it:
//!
//! - `live`: the snapshot that a request keeps to its end
//! - `issuer_keys`: keys and endpoints of issuers; `transmitters`: those of transmitters of signals
//! - `introspections`: what issuers said of opaque tokens
//!
//! Tokens and sessions:
//!
//! - `verified_tokens`: tokens that were found good, with all that was found; `known_tokens`: the same by
//!   fingerprint alone
//! - `token_memory`: how much room each has of what tokens may take
//! - `used_proofs`: proofs of possession that were used; `assertions`: statements for upstreams that are
//!   still fresh
//! - `sessions`: what is known here of sessions in `session` mode; `exchanges`: who waits here for which
//!   flight
//!
//! What was taken back, and what is still to do:
//!
//! - `revocations`: the list, as requests ask it; `open_requests`: what is under way for somebody
//! - `backlog`: what is to be done, by what it concerns; `errands`: what goes on when the caller has its
//!   answer
//!
//! For operators, and against those who ask too often:
//!
//! - `metrics`: every series; `refusals`: the latest of each kind; `lines`: lines of logs on their way to a
//!   reader
//! - `log_targets`: what is told at every `log.level`
//! - `debts`: how often addresses asked, or were denied, lately

pub mod assertions;
pub mod backlog;
pub mod debts;
pub mod errands;
pub mod exchanges;
pub mod introspections;
pub mod issuer_keys;
pub mod known_tokens;
pub mod lines;
pub mod live;
pub mod log_targets;
pub mod metrics;
pub mod open_requests;
pub mod refusals;
pub mod revocations;
pub mod sessions;
pub mod token_memory;
pub mod transmitters;
pub mod used_proofs;
pub mod verified_tokens;
