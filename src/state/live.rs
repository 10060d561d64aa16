//! One configuration at work. A request takes the snapshot once and keeps it to its end; a reload
//! swaps the whole.

use std::sync::Arc;

use crate::config::settings::Settings;
use crate::core::assertion::Assertions;
use crate::core::route::table::RouteTable;
use crate::core::session::sealed::KeyRing;
use crate::state::issuer_keys::Issuers;

/// The settings and what was built from them.
#[derive(Debug)]
pub struct Live {
    pub settings: Arc<Settings>,
    pub routes: RouteTable,
    pub issuers: Issuers,
    pub cookie_keys: Arc<KeyRing>,
    /// What is signed for upstreams, where that is on.
    pub assertions: Option<Arc<Assertions>>,
}
