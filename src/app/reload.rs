//! A running gateway takes over another configuration: all of it or nothing, and no request notices.
//!
//! Everything that can fail is built before anything is swapped. A request keeps the configuration that
//! it began with. What did not change keeps its keys and its connections.

use std::sync::Arc;

use super::{App, StartError, begin_counting, live};
use crate::config::settings::{Listener, Settings};

impl App {
    /// Takes over `settings`. Returns the keys that changed and count only after a restart.
    ///
    /// # Errors
    /// As [`App::start`]; the configuration is then what it was.
    pub fn reload(&self, mut settings: Settings) -> Result<Vec<&'static str>, StartError> {
        let before = self.gate.live.load_full();
        let started_with = &self.running.started_with;
        let restart = needs_restart(started_with, &settings);
        // Both are also read where a request or a revocation is judged; half of a change must not count
        // before the rest.
        settings.limits.header = started_with.limits.header;
        settings.log.subject = started_with.log.subject;
        let store = &started_with.store.folder;
        let settings = Arc::new(settings);
        let live = Arc::new(live(settings.clone(), store, &*self.gate.random, Some(&before))?);
        let prepared = self.running.prepare(live.clone())?;
        self.gate.http.set_issuers(&settings.called()).map_err(StartError::Issuers)?;
        let now = self.gate.clock.now();
        live.issuers.doubt_changed(&before.issuers, now);
        live.transmitters.own().doubt_changed(before.transmitters.own(), now);
        self.gate.keep_to(&settings);
        begin_counting(&self.gate, &settings);
        self.gate.metrics.forget_what_is_no_more(&before.settings, &settings);
        self.gate.live.store(live);
        self.running.adopt(prepared);
        Ok(restart)
    }
}

/// The keys whose change a running gateway cannot follow.
fn needs_restart(before: &Settings, after: &Settings) -> Vec<&'static str> {
    let admin = |settings: &Settings| (settings.admin.address, settings.admin.token.clone());
    let log = |settings: &Settings| (settings.log.format, settings.log.level, settings.log.subject);
    [
        ("listen", Listener::have_moved(&before.listen, &after.listen)),
        ("admin", admin(before) != admin(after)),
        ("store", before.store != after.store),
        ("limits.header", before.limits.header != after.limits.header),
        ("limits.connections", before.limits.connections != after.limits.connections),
        // It counts at once for who the client is, not for whose connections are counted.
        ("trusted_proxies", before.trusted_proxies != after.trusted_proxies),
        (
            "limits.connections_per_address",
            before.limits.connections_per_address != after.limits.connections_per_address,
        ),
        ("timeouts.keep_alive", before.patience.next_request != after.patience.next_request),
        ("log", log(before) != log(after)),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}
