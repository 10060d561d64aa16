//! Fetching over real connections, with time that stands.

mod key_fetching;
