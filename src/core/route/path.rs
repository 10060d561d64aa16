//! stub
use crate::core::denial::Denial;

/// A request's path in its one canonical spelling: what is judged is what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath(String);

impl CanonicalPath {
    /// Reads the path part of a request target (PRODUCT section 5: ambiguous targets are refused).
    pub fn parse(path: &[u8]) -> Result<Self, Denial> {
        let _ = path;
        Err(Denial::AmbiguousTarget("stub"))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `routes[].path`: literals, `{name}`s and a final `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(String);

impl PathPattern {
    /// The error says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
