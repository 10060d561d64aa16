//! stub
/// Every configured issuer with its keys and endpoints.
#[derive(Debug, Default)]
pub struct Issuers {}
