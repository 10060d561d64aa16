//! What a configuration does, for the people who run `tollgate check`. Never a secret.

use crate::config::Loaded;
use crate::config::settings::{
    Balance, Client, ClientCertificates, ClientCredential, Identity, Issuer, IssuerConnection, KeySource,
    Listener, NativeClient, OnOutage, Server, Serves, Settings, Signal, SignalKeys, Store, Upstream,
};
use crate::config::text::values::{show_duration, show_size};
use crate::core::assertion::Binding;
use crate::core::route::identity::RouteIdentity;
use crate::core::route::policy::{Access, Alternatives, ClaimRequirement, ClaimValue, Requirements};
use crate::core::route::table::HostPattern;
use crate::core::route::{CorsSpeaker, Dpop, Route, TakesSession};
use crate::core::session::csrf::Csrf;
use crate::core::session::oauth::authentication::Audience;

/// A page of text: what is served, for whom, and the warnings.
pub fn summary(file: &str, loaded: &Loaded) -> String {
    let settings = &loaded.settings;
    let mut out = format!("{file} is valid.\n\n");
    let mut line = |what: &str, text: String| out.push_str(&format!("{what:<10}{text}\n"));
    line("gateway", settings.public_url.as_str().to_owned());
    let mut heading = "listens";
    for listener in &settings.listen {
        line(std::mem::take(&mut heading), show_listener(listener));
    }
    line("admin", settings.admin.address.to_string());
    let mut heading = "issuers";
    for issuer in &settings.issuers {
        line(std::mem::take(&mut heading), show_issuer(issuer));
    }
    let mut heading = "clients";
    for client in &settings.clients {
        line(std::mem::take(&mut heading), show_client(client));
    }
    for client in &settings.native_clients {
        line(std::mem::take(&mut heading), show_native_client(client));
    }
    let mut heading = "signals";
    for signal in &settings.signals {
        line(std::mem::take(&mut heading), show_signal(signal, settings));
    }
    let mut heading = "routes";
    for route in &settings.routes {
        let told = route.is_served().then(|| show_identity(&settings.identity, &route.forwarding.identity));
        let identity = told.unwrap_or_default();
        line(std::mem::take(&mut heading), format!("{}{identity}", show_route(route)));
    }
    let mut heading = "upstreams";
    for upstream in settings.upstreams.iter().filter(|upstream| !upstream.name.as_str().contains("://")) {
        line(std::mem::take(&mut heading), show_upstream(upstream));
    }
    let sessions = &settings.sessions;
    let keys = match sessions.keys.len() {
        0 => "a key of its own in the store".to_owned(),
        1 => "1 configured key".to_owned(),
        several => format!("{several} configured keys, the first seals"),
    };
    line(
        "sessions",
        format!(
            "idle after {}, over after {}, sealed with {keys}",
            show_duration(sessions.idle_timeout),
            show_duration(sessions.absolute_timeout)
        ),
    );
    line("store", show_store(&settings.store));
    let limits = &settings.limits;
    let size = |bytes: usize| show_size(u64::try_from(bytes).unwrap_or(u64::MAX));
    line(
        "limits",
        format!(
            "token {}, header {}, body {}",
            size(limits.token),
            size(limits.header),
            show_size(limits.body)
        ),
    );
    let warnings = warnings(file, loaded);
    if !warnings.is_empty() {
        out.push('\n');
        out.push_str(&warnings);
    }
    out
}

fn warnings(file: &str, loaded: &Loaded) -> String {
    loaded.warnings.iter().map(|warning| format!("warning: {}\n", warning.show(file))).collect()
}

fn show_store(store: &Store) -> String {
    match store.redis.as_ref().map(|redis| redis.on_outage) {
        None => format!("{store}, for one replica"),
        Some(OnOutage::Refuse) => format!("{store}; while it is down, exchanges are refused"),
        Some(OnOutage::Serve) => format!("{store}; while it is down, replicas go on alone"),
    }
}

fn show_listener(listener: &Listener) -> String {
    let does = match &listener.serves {
        Serves::ClearText => "in clear text".to_owned(),
        Serves::RedirectToHttps => "redirects to https".to_owned(),
        Serves::Tls(tls) => {
            let names: Vec<&str> = tls
                .certificates
                .iter()
                .flat_map(|certificate| &certificate.names)
                .map(String::as_str)
                .collect();
            let clients = match tls.clients {
                ClientCertificates::NotAsked => "",
                ClientCertificates::Asked { required: true, .. } => ", clients must show a certificate",
                ClientCertificates::Asked { required: false, .. } => ", clients may show a certificate",
            };
            format!("TLS for {}{clients}", names.join(", "))
        }
    };
    format!("{} {does}", listener.address)
}

fn show_keys(issuer: &Issuer) -> String {
    match &issuer.keys {
        KeySource::Discovery(_) => "discovered".to_owned(),
        KeySource::JwksUri(url) => format!("keys from {url}"),
        KeySource::JwksFile { path, .. } => format!("keys from {}", path.display()),
        KeySource::SharedSecret(_) => {
            let names: Vec<&str> = issuer.rules.algorithms.iter().map(|one| one.name()).collect();
            format!("{} with a shared secret", names.join(" or "))
        }
    }
}

fn show_signal(signal: &Signal, settings: &Settings) -> String {
    let keys = match &signal.keys {
        SignalKeys::OfIssuer(issuer) => format!("keys of {issuer}"),
        SignalKeys::Own(called) => show_keys(called) + &show_connection(&called.connection),
    };
    let proof = if signal.token.is_some() { " and a token" } else { "" };
    let rules = &signal.rules;
    let has_a_say = settings.issuers.iter().filter(|issuer| rules.revokes.contains(&issuer.rules.iss));
    let subjects: Vec<&str> = has_a_say.map(|issuer| issuer.name.as_str()).collect();
    let events: Vec<&str> = rules.events.iter().map(|event| event.name()).collect();
    format!(
        "{}: {}, {keys}{proof}; audience {}; subjects of {}: {}",
        signal.name,
        rules.iss,
        rules.audiences.join(" or "),
        subjects.join(" and "),
        events.join(", ")
    )
}

fn show_issuer(issuer: &Issuer) -> String {
    let keys = show_keys(issuer);
    let audiences = issuer.rules.audiences.join(" or ");
    let asked = issuer.introspection.as_ref().map(|introspection| {
        format!("; asked about opaque tokens, answers remembered for {}", show_duration(introspection.cache))
    });
    let rules = &issuer.rules;
    let own = &rules.access_token_iss;
    let said = (!own.is_empty()).then(|| format!(" (access tokens: {})", own.join(" or ")));
    let without = &rules.clients_without_audience;
    let none = (!without.is_empty()).then(|| format!(", or none with tokens of {}", without.join(" or ")));
    format!(
        "{}: {}{}, {keys}; audience {audiences}{}{}{}",
        issuer.name,
        rules.iss,
        said.unwrap_or_default(),
        none.unwrap_or_default(),
        asked.unwrap_or_default(),
        show_connection(&issuer.connection)
    )
}

fn show_connection(connection: &IssuerConnection) -> String {
    let connect_to =
        connection.connect_to.as_ref().map(|connect_to| format!("; called at {}", connect_to.to));
    let proxy = connection.proxy.as_ref().map(|proxy| {
        let shown = if proxy.credentials.is_some() { ", with a password" } else { "" };
        format!("; called through the proxy {proxy}{shown}")
    });
    connect_to.unwrap_or_default() + &proxy.unwrap_or_default()
}

fn show_native_client(client: &NativeClient) -> String {
    let proof = match show_credential(&client.credential) {
        None => "callers bring their own credentials".to_owned(),
        Some(credential) => format!("lends its {credential}"),
    };
    let grants: Vec<&str> = client.grants.iter().map(|grant| grant.name()).collect();
    format!("{}: mode native, of {}, {proof}, grants {}", client.name, client.issuer, grants.join(", "))
}

fn show_credential(credential: &ClientCredential) -> Option<String> {
    match credential {
        ClientCredential::None => None,
        ClientCredential::Secret(_) => Some("client secret".to_owned()),
        ClientCredential::PrivateKey(key) => {
            let audience = match key.audience {
                Audience::Issuer => "",
                Audience::TokenEndpoint => ", for the token endpoint",
                Audience::Endpoint => ", for the endpoint that is called",
            };
            Some(format!("private_key_jwt ({}{audience})", key.algorithm.name()))
        }
    }
}

fn show_client(client: &Client) -> String {
    let proof = show_credential(&client.credential).unwrap_or_else(|| "public client".to_owned());
    let origins: Vec<&str> = client.origins.iter().map(|origin| origin.as_str()).collect();
    let mode = if client.session.is_some() { "session" } else { "token" };
    let login = match &client.login {
        Some(login) if login.pushed => "the gateway signs in with pushed requests",
        Some(_) => "the gateway signs in",
        None => "the page signs in",
    };
    let told = client.session.as_ref().is_some_and(|session| session.csrf == Csrf::FetchMetadata);
    let told = if told { ", CSRF judged by what browsers say of requests" } else { "" };
    let added = client.login.as_ref().map(|login| login.authorize_from_page.join(", "));
    let added = added.filter(|added| !added.is_empty());
    let added = added.map(|added| format!("; pages may add {added} to a sign-in")).unwrap_or_default();
    format!(
        "{}: mode {mode}, of {}, {proof}, {login}, pages of {}{told}{added}",
        client.name,
        client.issuer,
        origins.join(", ")
    )
}

/// For whom a route is.
pub fn show_access(access: &Access) -> String {
    match access {
        Access::Public => "public".to_owned(),
        Access::PublicOf(issuers) => {
            let names: Vec<&str> = issuers.iter().map(|issuer| issuer.as_str()).collect();
            format!("public, tokens of {}", names.join(" or "))
        }
        Access::Protected(alternatives) => show_alternatives(alternatives),
    }
}

/// A route in one line: what it covers, where it leads, for whom.
pub fn show_route(route: &Route) -> String {
    let methods: Vec<&str> = route.methods.iter().flatten().map(|method| method.as_str()).collect();
    let host = match &route.host {
        None => String::new(),
        Some(HostPattern::Exact(host)) => host.clone(),
        Some(HostPattern::Below(domain)) => format!("*.{domain}"),
    };
    let space = if methods.is_empty() { "" } else { " " };
    let Some(upstream) = &route.upstream else {
        return format!("{host}{} -> none: not served, 404", route.path.as_str());
    };
    let access = show_access(&route.access);
    let session = match &route.session {
        None => String::new(),
        Some(TakesSession { client, signs_in: false, .. }) => format!("; or the session of {client}"),
        Some(TakesSession { client, signs_in: true, .. }) => {
            format!("; or the session of {client}, for which pages lead to sign-in")
        }
    };
    let dpop = if route.dpop == Dpop::Required { "; only tokens bound to a key" } else { "" };
    let slash = if route.path.keeps_encoded_slashes() { "; encoded slashes stay" } else { "" };
    let report_only = if route.report_only { "; report only" } else { "" };
    let from = route.from.as_ref().map(|networks| format!("; from {networks} alone")).unwrap_or_default();
    let others = &route.sharing.without_cookies;
    let pages = if others.is_empty() || route.cors == CorsSpeaker::Upstream {
        String::new()
    } else {
        format!("; for pages of {} without cookies", show_each(others))
    };
    format!(
        "{}{space}{host}{} -> {upstream}: {access}{from}{session}{dpop}{slash}{report_only}{pages}",
        methods.join(","),
        route.path.as_str()
    )
}

/// Each in words, one after the other.
pub fn show_each<T: std::fmt::Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// What the upstream of a route learns of the caller, where `identity` of the file says something else.
fn show_identity(all: &Identity, own: &RouteIdentity) -> String {
    let mut told = Vec::new();
    if own.headers != all.default.headers {
        let names: Vec<&str> = own.headers.of(&all.headers).iter().map(|(name, _)| name.as_str()).collect();
        told.push(if names.is_empty() { "no headers".to_owned() } else { names.join(", ") });
    }
    if own.forwards_access_token != all.default.forwards_access_token {
        let goes = if own.forwards_access_token { "the access token" } else { "no access token" };
        told.push(goes.to_owned());
    }
    if own.assertion != all.default.assertion {
        told.push(own.assertion.as_ref().map_or_else(
            || "no assertion".to_owned(),
            |rules| {
                let each = if rules.binding == Binding::Request { ", one a request" } else { "" };
                format!("an assertion of {} in {}{each}", show_duration(rules.ttl), rules.header)
            },
        ));
    }
    if told.is_empty() { String::new() } else { format!("; tells who calls by {}", told.join(", ")) }
}

fn show_upstream(upstream: &Upstream) -> String {
    let server = |server: &Server| {
        let url = server.url.as_str().trim_end_matches('/');
        if server.prior_knowledge { url.replacen("http:", "h2c:", 1) } else { url.to_owned() }
    };
    let servers: Vec<String> = upstream.servers.iter().map(server).collect();
    let balance = match &upstream.balance {
        _ if servers.len() == 1 => String::new(),
        Balance::RoundRobin => ", each in turn".to_owned(),
        Balance::Random => ", at random".to_owned(),
        Balance::Consistent(claim) => format!(", by the claim {claim}"),
    };
    let health = upstream.health.as_ref();
    let health =
        health.map(|check| format!(", {} asked every {}", check.path, show_duration(check.interval)));
    let case = if upstream.case_sensitive { ", case-sensitive" } else { "" };
    let own: Vec<&str> = upstream.headers.iter().map(|(name, _)| name.as_str()).collect();
    let own =
        if own.is_empty() { String::new() } else { format!(", gets {} of Tollgate's own", own.join(", ")) };
    format!("{}: {}{balance}{}{case}{own}", upstream.name, servers.join(" "), health.unwrap_or_default())
}

fn show_alternatives(alternatives: &Alternatives) -> String {
    let mut all = vec!["a valid token".to_owned()];
    let each: Vec<&Requirements> = alternatives.iter().collect();
    match each.as_slice() {
        [only] => all.extend(each_requirement(only)),
        several => {
            all.extend(each_requirement(&alternatives.shared()));
            let each =
                several.iter().map(|one| format!("({})", each_requirement(&one.unshared()).join(", ")));
            all.push(format!("one of {}", each.collect::<Vec<_>>().join(" or ")));
        }
    }
    all.join(", ")
}

/// What is required beside a valid token, each in words.
pub fn each_requirement(requirements: &Requirements) -> Vec<String> {
    let mut parts = Vec::new();
    let Requirements { scope, any_scope, claims, acr, signed_in_within, issuers, clients } = requirements;
    if !scope.is_empty() {
        parts.push(format!("scope {}", scope.join(" and ")));
    }
    if !any_scope.is_empty() {
        parts.push(format!("scope {}", any_scope.join(" or ")));
    }
    parts.extend(claims.iter().map(show_claim));
    if !acr.is_empty() {
        parts.push(format!("acr {}", acr.join(" or ")));
    }
    parts.extend(signed_in_within.map(|within| format!("signed in within {}", show_duration(within))));
    if let Some(issuers) = issuers {
        let names: Vec<&str> = issuers.iter().map(|issuer| issuer.as_str()).collect();
        parts.push(format!("issuer {}", names.join(" or ")));
    }
    if let Some(clients) = clients {
        let ids: Vec<&str> = clients.iter().map(|(_, id)| id.as_str()).collect();
        parts.push(format!("client {}", ids.join(" or ")));
    }
    parts
}

fn show_claim(claim: &ClaimRequirement) -> String {
    let values: Vec<String> = claim
        .values
        .iter()
        .map(|value| match value {
            ClaimValue::PathParameter(name) => format!("{{{name}}} of the path"),
            ClaimValue::Literal(literal) => literal.to_string(),
        })
        .collect();
    format!("claim {} is {}", claim.name, values.join(" or "))
}
