//! Tollgate: a reverse-proxy auth gateway.

pub mod cli;
pub mod config;
pub mod core;
pub mod flows;
pub mod io;
pub mod state;

#[cfg(feature = "edge")]
pub mod edge;

pub mod demo;
