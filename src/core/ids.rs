//! Names that the operator gave in config.yaml, and the ids that Tollgate gives to requests and sessions.
//! Each kind is a type of its own, so that a client's name cannot be used where an issuer's is meant.

use std::fmt;
use std::sync::Arc;

use crate::core::hex;

/// What metrics and the log call requests that find no route.
pub const NO_ROUTE: &str = "-";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of an issuer in config.yaml (`issuers.<name>`), not its `iss`.
    IssuerName
);
name!(
    /// The name of a client in config.yaml (`clients.<name>`), not its `client_id` at the AS.
    ClientName
);
name!(
    /// The name of a transmitter of shared signals in config.yaml (`signals.<name>`).
    SignalName
);
name!(
    /// The name of a route, or its pattern where it has none; a label of metrics.
    RouteName
);
name!(
    /// The name of an upstream, or its URL where it has none; a label of metrics.
    UpstreamName
);
name!(
    /// `X-Request-Id`: names one request in logs, in refusals and at the upstream.
    RequestId
);

impl RequestId {
    /// A new id from 128 random bits.
    pub fn from_random(bits: [u8; 16]) -> Self {
        let mut text = String::with_capacity(32);
        // Writing to a String cannot fail.
        let _ = hex::write(&mut text, &bits);
        Self::new(text)
    }

    /// An id that a trusted proxy sent: 8 to 128 letters, digits, `-`, `_` or `.`.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (8..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        fits.then(|| Self::new(text))
    }
}

/// `traceparent` (W3C Trace Context, section 3.2): which trace a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// A new trace from 192 random bits: 128 of trace id, 64 of parent id. Tollgate records no spans of its
    /// own; `sampled` says to whoever decides by it that they should (W3C Trace Context section 3.2.2.5.1).
    pub fn from_random(trace: [u8; 16], parent: [u8; 8], sampled: bool) -> Self {
        let trace = u128::from_be_bytes(trace).max(1).to_be_bytes();
        let parent = u64::from_be_bytes(parent).max(1).to_be_bytes();
        let mut text = String::with_capacity(55);
        text.push_str("00-");
        // Writing to a String cannot fail.
        let _ = hex::write(&mut text, &trace);
        text.push('-');
        let _ = hex::write(&mut text, &parent);
        text.push_str(if sampled { "-01" } else { "-00" });
        Self(text)
    }

    /// A `traceparent` that a trusted proxy sent, version 00, with ids that are not all zero.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |s: &str, len: usize| {
            s.len() == len && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let zero = |s: &str| s.bytes().all(|b| b == b'0');
        let fits = parts.next().is_none()
            && version == "00"
            && hex(trace, 32)
            && hex(parent, 16)
            && hex(flags, 2)
            && !zero(trace)
            && !zero(parent);
        fits.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// All generations of one sign-in share it: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FamilyId([u8; 16]);

impl FamilyId {
    pub const fn from_random(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// 32 hexadecimal digits, as [`fmt::Display`] writes them.
    pub fn parse(text: &str) -> Option<Self> {
        hex::read(text).map(Self)
    }
}

impl fmt::Debug for FamilyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl fmt::Display for FamilyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_from_outside_are_kept_only_when_well_formed() {
        assert!(RequestId::parse("0af7651916cd43dd").is_some());
        for bad in ["", "short", "has space in it", "line\r\nbreak-line", &"x".repeat(129)] {
            assert!(RequestId::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn traceparent_is_the_w3c_form_or_nothing() {
        assert!(TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").is_some());
        for bad in [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(TraceParent::parse(bad).is_none(), "{bad}");
        }
        for (sampled, flags) in [(false, "-00"), (true, "-01")] {
            let made = TraceParent::from_random([7; 16], [9; 8], sampled);
            assert!(made.as_str().ends_with(flags));
            assert_eq!(TraceParent::parse(made.as_str()), Some(made));
        }
    }
}
