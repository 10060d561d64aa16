//! Where what must outlive a request is kept: the port [`Store`](crate::flows::ports::Store).
//!
//! - `embedded`: a file in the store folder, for one replica
//! - `redis`: what several replicas share
//! - `alone`: this process's memory while Redis is away (`on_outage: serve`)
//! - `memory`: in this process alone
//! - `reach`: whether it can be used, for whoever asks once

pub mod alone;
pub mod embedded;
pub mod memory;
mod reach;
pub mod redis;

pub use reach::reach;

#[cfg(test)]
pub(in crate::io) mod tests;

use crate::flows::ports::{Version, random};
use crate::io::system::SystemRandomness;

/// A version that no other put has: drawn at random, so that none comes again after a restart, after its
/// key was gone, or from another store.
fn new_version() -> Version {
    Version(u64::from_be_bytes(random(&SystemRandomness)))
}
