//! WHOM WE TALK TO. Implementations of the ports: HTTP client, stores, system clock and randomness,
//! files, the log, other processes.
//!
//! Ports:
//!
//! - `http_client`: calls authorization servers
//! - `system`: clock, randomness, environment and addresses; `watched_clock`: the clock by which things are
//!   thrown away
//! - `store`: what must outlive a request; `revocations`: the list of what was taken back; `open_store`:
//!   both, opened as the settings say
//! - `handover`: the other process of a hand-over, and what the two say to each other
//!
//! Files and the machine:
//!
//! - `names`: the addresses of names
//! - `store_file`: a file in the store folder; `key_files`: keys that nobody configured
//! - `folder`: folders that are there after a loss of power, too
//! - `log`: where our own messages go; `line_writer`: the thread that writes a log
//! - `supervisor`: what the service manager is told
//!
//! For the commands:
//!
//! - `admin_client`: asks the admin listener of a gateway that runs
//! - `upstream_reach`: whether a server of an upstream can be reached

pub mod admin_client;
mod folder;
pub mod handover;
pub mod http_client;
pub mod key_files;
pub mod line_writer;
pub mod log;
mod names;
pub mod open_store;
pub mod revocations;
pub mod store;
pub mod store_file;
pub mod supervisor;
pub mod system;
pub mod upstream_reach;
mod watched_clock;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

/// Makes aws-lc-rs the one cryptography of this process, for rustls and for jsonwebtoken. Every entry point
/// calls it before anything uses TLS or keys: whoever installs first wins, and the server's own choice would
/// be `ring`. Calling it again changes nothing.
pub fn install_crypto_providers() {
    // Both fail only when a provider is there already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}
