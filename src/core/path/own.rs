//! Which paths are Tollgate's own: no route may lie under them, and what a service may take for one of them
//! is sent to none.

use super::{CanonicalPath, PathPattern, PatternSegment, raw_segments};

/// Whether the path with these segments, percent-decoded, belongs to Tollgate.
pub(super) fn is_own<S: AsRef<str>>(
    mut segments: impl Iterator<Item = S>,
    is_same: impl Fn(&str, &str) -> bool,
) -> bool {
    let is = |segment: &Option<S>, own| segment.as_ref().is_some_and(|text| is_same(text.as_ref(), own));
    let first = segments.next();
    if !is(&first, ".well-known") {
        return is(&first, "oauth");
    }
    let (second, third) = (segments.next(), segments.next());
    is(&second, "oauth-protected-resource") || (is(&second, "jwks.json") && third.is_none())
}

/// Whether a target that was not read yet is surely at none of Tollgate's own paths.
pub fn is_surely_elsewhere(target: &[u8]) -> bool {
    target.starts_with(b"/") && !target.starts_with(b"/oauth") && !target.starts_with(b"/.well-known/")
}

impl CanonicalPath {
    /// Whether the path is Tollgate's own and so never routed: `/oauth`,
    /// `/.well-known/oauth-protected-resource` (RFC 9728) and all below them, `/.well-known/jwks.json`. The
    /// rest of `/.well-known/` (RFC 8615) is the applications'.
    pub fn is_own(&self) -> bool {
        is_own(raw_segments(&self.text), str::eq)
    }
}

impl PathPattern {
    /// Whether it lies under paths of Tollgate's own (see [`CanonicalPath::is_own`]): no route may. (`/*`
    /// and `/.well-known/*` do not lie under them; Tollgate's own endpoints simply come first.)
    pub fn covers_own_paths(&self) -> bool {
        is_own(self.first_literals(), str::eq)
    }

    /// Those before a `{name}` or `*`, as a service finds them that takes encoded slashes for slashes.
    pub(super) fn first_literals(&self) -> impl Iterator<Item = &str> {
        let literals = self.segments.iter().map_while(|segment| match segment {
            PatternSegment::Literal(text) => Some(text.split('/')),
            _ => None,
        });
        literals.flatten()
    }
}
