//! Where the list of revocations is kept: the port [`RevocationLog`](crate::flows::ports::RevocationLog).
//!
//! - `file`: the list on this machine, whoever writes it
//! - `embedded`: that file as the truth, for one replica

pub mod embedded;
mod file;
mod reading;

#[cfg(test)]
mod tests;
