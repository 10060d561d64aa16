//! Where the list of revocations is kept: the port [`RevocationLog`](crate::flows::ports::RevocationLog).
//!
//! - `file`: the list on this machine, whoever writes it
//! - `embedded`: that file as the truth, for one replica
//! - `redis`: what several replicas share, each with that file behind it
//! - `reading`: the open file, among those who use it; `loading`: from there into the tables that requests
//!   ask

pub mod embedded;
mod file;
mod loading;
mod reading;
pub mod redis;

#[cfg(test)]
mod tests;
