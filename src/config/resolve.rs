//! The whole file into settings: reads every part, in an order in which each knows what it refers
//! to, and stops for nothing. Only a report without a mistake yields settings.

use std::sync::{Arc, OnceLock};

use http::HeaderName;

use crate::config::clients;
use crate::config::cors::Allowed;
use crate::config::identity;
use crate::config::issuers;
use crate::config::issuers::connection;
use crate::config::network::Network;
use crate::config::routes;
use crate::config::routes::context::RouteContext;
use crate::config::sessions;
use crate::config::settings::{Settings, identity_names};
use crate::config::signals;
use crate::config::store;
use crate::config::text::read::Keys;
use crate::config::upstreams;
use crate::core::cors::Sharing;
use crate::core::identity_headers::ReservedHeaders;

/// `None` where something that everything needs could not be read; the report says what.
pub(super) fn settings(root: &Keys<'_>, shown: serde_json::Value) -> Option<Settings> {
    let (network, listen) = Network::read(root);
    let sessions = sessions::sessions(root);
    let limits = sessions::limits(root);
    let (patience, lame_duck) = sessions::patience(root);
    let log = sessions::log(root);
    let mut identity = identity::read(root);
    let store = store::read(root);
    let mut issuers = issuers::read(root, &network);
    let issuer_names = names(root, "issuers");
    let around = clients::ClientContext {
        network: &network,
        issuers: &issuers,
        issuer_names: &issuer_names,
        sessions: &sessions,
    };
    let clients = clients::read(root, &around);
    let clients = clients::finish(clients, &mut issuers);
    let around = signals::SignalContext { network: &network, issuers: &issuers, issuer_names: &issuer_names };
    let signals = signals::read(root, &around);
    connection::warn_of_environment(root, &issuers, &signals);
    let native_names: Vec<&str> = clients.native.iter().map(|client| client.name.as_str()).collect();
    let cors = Allowed::read(root);
    let around = RouteContext {
        network: &network,
        issuers: &issuers,
        issuer_names: &issuer_names,
        client_names: &names(root, "clients"),
        introspecting: &issuers::introspecting(root),
        clients: &clients.known,
        pages: &clients.pages,
        natives: &native_names,
        cors: &cors,
    };
    let (routes, upstreams) = routes::read(root, &around, &mut identity);
    let sessions_of_clients = clients.pages.iter().filter_map(|client| client.session.as_ref());
    let pages = cors.everywhere().clone();
    let elsewhere =
        Sharing { credentials: true, ..routes::sharing(&clients.pages, sessions_of_clients, pages) };
    let identity = identity.finish();
    upstreams::check_headers(root, &upstreams, &routes, &identity);
    let own = upstreams.iter().flat_map(|upstream| &upstream.headers).map(|(name, _)| name);
    let reserved = identity_names(&identity, &routes).chain(own).map(HeaderName::as_str);
    cors.check(root, &ReservedHeaders::new(reserved));
    Some(Settings {
        public_url: network.public_url?,
        listen,
        admin: network.admin,
        trusted_proxies: network.trusted_proxies,
        issuers: issuers.into_iter().map(Arc::new).collect(),
        clients: clients.pages.into_iter().map(Arc::new).collect(),
        native_clients: clients.native.into_iter().map(Arc::new).collect(),
        sharing: Sharing { without_cookies: Vec::new(), ..elsewhere.clone() },
        sharing_elsewhere: elsewhere,
        upstreams,
        routes,
        identity,
        sessions,
        signals: signals.into_iter().map(Arc::new).collect(),
        store: store?,
        limits,
        patience,
        lame_duck,
        trace_sampled: root.section("trace").flag("sampled"),
        log,
        certificates: root.certificates_beside(&["listen", "store"]),
        shown,
        reads: OnceLock::new(),
    })
}

fn names<'a>(root: &Keys<'a>, key: &str) -> Vec<&'a str> {
    let named = root.get(key).map(|value| value.named("name")).unwrap_or_default();
    named.into_iter().map(|(name, _)| name).collect()
}
