//! stub
/// The exchanges that this process knows of, by family.
#[derive(Debug, Default)]
pub struct Exchanges {}
