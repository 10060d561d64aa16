//! stub
/// The keys of one issuer, as last read.
#[derive(Debug, Default)]
pub struct KeySet {}
