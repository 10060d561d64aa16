//! The targets of log messages that are written at every `log.level`: who revoked what, and what looks like
//! theft. `io::log` leaves these targets on.

/// Every message with `event = "audit"`: who asked for what, and what became of it.
pub const AUDIT: &str = "tollgate::audit";

/// Every message with `event = "security"`.
pub const SECURITY: &str = "tollgate::security";
