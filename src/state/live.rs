//! One configuration at work. A request takes the snapshot once and keeps it to its end; a reload
//! swaps the whole.

use std::sync::Arc;

use crate::config::settings::Settings;
use crate::core::assertion::Assertions;
use crate::core::route::table::RouteTable;
use crate::core::secret::Secret;
use crate::core::session::sealed::KeyRing;
use crate::state::issuer_keys::Issuers;
use crate::state::transmitters::Transmitters;

/// The settings and what was built from them.
#[derive(Debug)]
pub struct Live {
    pub settings: Arc<Settings>,
    pub routes: RouteTable,
    pub issuers: Issuers,
    /// The transmitters whose word takes access back.
    pub transmitters: Transmitters,
    pub cookie_keys: Arc<KeyRing>,
    /// What is signed for upstreams, where that is on.
    pub assertions: Option<Arc<Assertions>>,
}

impl Live {
    /// A configuration that nobody is served by: with keys that are given in it or still to be fetched, and
    /// no cookie that could be opened.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub fn to_look_at(settings: Settings) -> Result<Self, String> {
        let routes = RouteTable::build(&settings.routes).map_err(|conflicts| {
            conflicts.into_iter().map(|conflict| conflict.why).collect::<Vec<_>>().join("; ")
        })?;
        let issuers = Issuers::new(&settings.issuers, None);
        let transmitters = Transmitters::new(&settings.signals, &issuers, None);
        let cookie_keys = Arc::new(KeyRing::new(vec![Secret::new(vec![0; 32])])?);
        let settings = Arc::new(settings);
        Ok(Self { settings, routes, issuers, transmitters, cookie_keys, assertions: None })
    }
}
