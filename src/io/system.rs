//! The machine's clock and randomness, its environment and its addresses.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::machine::Machine;
use crate::core::time::Timestamp;
use crate::flows::ports::{Clock, Randomness};

/// How long whoever writes our messages has for the last one.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    /// Whoever connects to an address of their own does it from there. Nothing is sent: UDP connects by a
    /// choice of the kernel's (RFC 6724 section 5, rule 1) alone.
    fn has_address(&self, address: IpAddr) -> bool {
        let any = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let from = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect((address, 9))?;
            socket.local_addr()
        });
        from.is_ok_and(|from| from.ip() == address)
    }
}

/// The random generator of aws-lc-rs, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    /// Ends the process when there is no randomness: a key or a state of zeros would be worse.
    fn fill(&self, bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            tracing::error!("the operating system has no randomness; Tollgate ends");
            std::thread::sleep(LAST_WORDS);
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::ports::random;

    #[test]
    fn the_clock_is_this_centurys() {
        assert!(SystemClock.now() > Timestamp::from_secs(1_700_000_000));
    }

    #[test]
    fn an_address_of_its_own_is_known_from_any_other() {
        let has = |address: &str| ThisMachine.has_address(address.parse().unwrap());
        assert!(has("127.0.0.1"));
        // Reserved, and set aside for examples (RFC 1112 section 4, RFC 3849 section 2).
        assert!(!has("240.0.0.1") && !has("2001:db8::ffff:1"));
        // One that is not of loopback, where this machine has one.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            assert!(ThisMachine.has_address(socket.local_addr().unwrap().ip()));
        }
    }

    #[test]
    fn randomness_does_not_repeat() {
        assert_ne!(random::<32>(&SystemRandomness), random::<32>(&SystemRandomness));
    }
}
