//! stub
/// `routes[].host`: an exact host or `*.example.com`, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    Exact(String),
    /// Any name below this one: one label or more.
    Below(String),
}
