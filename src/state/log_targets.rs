//! What is said at every `log.level`: who took what back, and what looks like theft. Such a message has a
//! target of its own, which `io::log` leaves on; where it is said makes no difference.

/// Of every `event = "audit"`: who asked for what, and what became of it.
pub const AUDIT: &str = "tollgate::audit";

/// Of every `event = "security"`.
pub const SECURITY: &str = "tollgate::security";
