//! One configuration as the proxy works with it. A request takes it once and keeps it to its end; a
//! reload swaps the whole, so that no request sees parts of two.

use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;
use http::{HeaderName, StatusCode};

use crate::core::identity_headers::ReservedHeaders;
use crate::core::ids::RouteName;
use crate::edge::answers::pages::Pages;
use crate::edge::connection::listen_error::ListenError;
use crate::edge::proxy::access_log::AccessLog;
use crate::edge::upstreams::Upstreams;
use crate::edge::upstreams::authorities::PeerAuthorities;
use crate::state::live::Live;
use crate::state::metrics::{Metrics, RouteCounts};

/// A configuration, and what the edge built from it.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) live: Arc<Live>,
    pub(crate) upstreams: Upstreams,
    pub(crate) reserved: ReservedHeaders,
    pub(crate) pages: Pages,
    pub(crate) log: Arc<AccessLog>,
    /// The counts of its routes.
    counts: HashMap<RouteName, RouteCounts>,
}

impl Serving {
    /// `before`: what a reload takes over from; upstreams that did not change stay.
    ///
    /// # Errors
    /// When an upstream cannot be used.
    pub(crate) fn new(
        live: Arc<Live>,
        metrics: &Metrics,
        log: Arc<AccessLog>,
        before: Option<&Self>,
        brought: Option<&PeerAuthorities>,
    ) -> Result<Self, ListenError> {
        let settings = &live.settings;
        let before_them = before.map(|before| &before.upstreams);
        let upstreams = Upstreams::new(&settings.upstreams, metrics, before_them, brought)
            .map_err(ListenError::Upstream)?;
        let reserved = ReservedHeaders::new(settings.reserved_names().map(HeaderName::as_str));
        let https = settings.public_url.is_https();
        let pages = match before {
            Some(before) => before.pages.over(https),
            None => Pages::new(https),
        };
        let served = settings.routes.iter().filter(|route| route.is_served());
        let counts = served.map(|route| (route.name.clone(), RouteCounts::new(route.name.clone())));
        let counts = counts.collect();
        Ok(Self { live, upstreams, reserved, pages, log, counts })
    }

    /// Counts an answer. `route`: one of ours, or what stands for none.
    pub(crate) fn count(&self, metrics: &Metrics, route: &RouteName, status: StatusCode, took: Duration) {
        match self.counts.get(route) {
            Some(counts) => counts.answered(metrics, status, took),
            None => metrics.request_answered(route, status, took),
        }
    }
}
