//! WHAT WE REMEMBER. Memory only; each piece has one owner, built in `app`, swapped whole or
//! changed by key.

pub mod assertions;
pub mod backlog;
pub mod denials;
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
pub mod transmitters;
pub mod used_proofs;
pub mod verified_tokens;
