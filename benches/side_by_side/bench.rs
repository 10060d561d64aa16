//! What all parts share.

use crate::asked::Asked;
use crate::place::Upstream;
use crate::tokens::Tokens;

pub(crate) struct Bench<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) tokens: Tokens,
    pub(crate) upstream: Upstream,
}
