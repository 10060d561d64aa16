//! A request that concerns one client: what every step of an exchange, a sign-in or a sign-out needs.

use std::sync::Arc;
use std::time::Duration;

use crate::config::settings::Client;
use crate::core::request::RequestHead;
use crate::flows::Gate;
use crate::state::live::Live;

/// A request that concerns one client, and what it is handled with.
#[derive(Clone, Copy, Debug)]
pub(in crate::flows) struct ClientRequest<'a> {
    pub(in crate::flows) gate: &'a Arc<Gate>,
    pub(in crate::flows) live: &'a Arc<Live>,
    pub(in crate::flows) client: &'a Arc<Client>,
    pub(in crate::flows) head: &'a RequestHead<'a>,
}

impl ClientRequest<'_> {
    /// How long the browser waits for its answer.
    pub(in crate::flows) fn patience(&self) -> Duration {
        let issuer = self.live.issuers.by_name(&self.client.issuer);
        issuer.map_or(Duration::from_secs(5), |issuer| issuer.settings.timeout)
    }
}
