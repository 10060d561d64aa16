//! What a configuration asks of the machine that it is read on.

use std::ffi::OsString;
use std::net::IpAddr;

/// The machine, as `config` sees it.
pub trait Machine {
    /// A variable of the environment, whatever is in it.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// Whether whoever connects to this address from here comes to this machine itself.
    fn has_address(&self, address: IpAddr) -> bool;
}

/// Variables alone, of a machine that has no address.
#[allow(missing_debug_implementations)] // a closure
pub struct Variables<'a>(pub &'a dyn Fn(&str) -> Option<String>);

impl Machine for Variables<'_> {
    fn variable(&self, name: &str) -> Option<OsString> {
        (self.0)(name).map(OsString::from)
    }

    fn has_address(&self, _: IpAddr) -> bool {
        false
    }
}
