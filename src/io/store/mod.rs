//! Where what must outlive a request is kept: the port [`Store`](crate::flows::ports::Store).
//!
//! - `embedded`: a file in the store folder, for one replica
//! - `memory`: in this process alone

pub mod embedded;
pub mod memory;

#[cfg(test)]
mod tests;

use crate::flows::ports::{Version, random};
use crate::io::system::SystemRandomness;

/// A version that no other put has: drawn at random, so that none comes again after a restart, after its
/// key was gone, or from another store.
fn new_version() -> Version {
    Version(u64::from_be_bytes(random(&SystemRandomness)))
}
