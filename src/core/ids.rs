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

/// How long a `traceparent` of version 00 is, and what every later one begins with.
const KNOWN: usize = 55;

/// `traceparent` (W3C Trace Context, section 3.2): which trace a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// A new trace from 192 random bits: 128 of trace id, 64 of parent id. Tollgate records no spans of its
    /// own; `sampled` says to whoever decides by it that they should (W3C Trace Context section 3.2.2.5.1).
    pub fn from_random(trace: [u8; 16], parent: [u8; 8], sampled: bool) -> Self {
        let trace = u128::from_be_bytes(trace).max(1).to_be_bytes();
        let parent = u64::from_be_bytes(parent).max(1).to_be_bytes();
        let mut text = String::with_capacity(KNOWN);
        text.push_str("00-");
        // Writing to a String cannot fail.
        let _ = hex::write(&mut text, &trace);
        text.push('-');
        let _ = hex::write(&mut text, &parent);
        text.push_str(if sampled { "-01" } else { "-00" });
        Self(text)
    }

    /// A `traceparent` that a trusted proxy sent, with ids that are not all zero. Of a later version only
    /// what version 00 has is read, and written on as that, with the one flag that it knows (W3C Trace
    /// Context sections 3.2.2.5 and 3.2.4).
    pub fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(KNOWN)?;
        let mut parts = known.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |s: &str, len: usize| {
            s.len() == len && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let zero = |s: &str| s.bytes().all(|b| b == b'0');
        let fits = hex(version, 2)
            && version != "ff"
            && (rest.is_empty() || (version != "00" && rest.starts_with('-')))
            && hex(trace, 32)
            && hex(parent, 16)
            && hex(flags, 2)
            && !zero(trace)
            && !zero(parent);
        if !fits {
            return None;
        }
        if version == "00" {
            return Some(Self(known.to_owned()));
        }
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
        Some(Self(format!("00-{trace}-{parent}-{sampled:02x}")))
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
    fn of_a_later_traceparent_what_is_known_goes_on_as_version_00() {
        let ids = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        for (sent, goes_on) in [
            (format!("01-{ids}-01"), format!("00-{ids}-01")),
            (format!("fe-{ids}-00-what-comes"), format!("00-{ids}-00")),
            (format!("cc-{ids}-01-"), format!("00-{ids}-01")),
            (format!("01-{ids}-fe"), format!("00-{ids}-00")),
            (format!("01-{ids}-03"), format!("00-{ids}-01")),
            (format!("00-{ids}-03"), format!("00-{ids}-03")),
        ] {
            let read = TraceParent::parse(&sent);
            assert_eq!(read.as_ref().map(TraceParent::as_str), Some(&*goes_on), "{sent}");
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
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "01-00000000000000000000000000000000-b7ad6b7169203331-01",
            "0A-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "1-00af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0é",
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
