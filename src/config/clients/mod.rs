//! `clients:` — the applications that may use `/oauth/*`, what they prove themselves with (RFC 6749,
//! RFC 7523), and what those have whose pages run in browsers. `registration`, `login`,
//! `native` and `cookies` read the rest.
//!
//! - `native`: those in `mode: native`
//! - `registration`: what each says of itself, in every mode
//! - `login`: sign-in by the gateway; `cookies`: the cookie that holds a session

mod cookies;
mod login;
mod native;
pub(in crate::config) mod registration;

use url::Url;

use self::registration::{
    DEFAULT_GRANTS, Mode, Registration, is_password, missing_redirect_uri, resource, scope,
};
use crate::config::keys::{no_private_key, private_key};
use crate::config::names::{unknown, valid_name};
use crate::config::network::{Network, certainly_cross_site, is_loopback, origin, refuse_clear_text, url};
use crate::config::sessions::timeouts;
use crate::config::settings::{
    Client, ClientCredential, CookieSettings, GrantType, Issuer, KeySource, Login, NativeClient, SameSite,
    SessionMode, Sessions,
};
use crate::config::text::read::{Keys, Value};
use crate::core::ids::{ClientName, IssuerName};
use crate::core::request::Origin;
use crate::core::secret::SecretString;
use crate::core::session::grant::Timeouts;
use crate::core::token::TokenRules;

/// A client that was read, and where.
pub(super) struct Read<'a> {
    kind: Kind,
    keys: Keys<'a>,
}

enum Kind {
    Pages(Box<Client>),
    Native(Box<NativeClient>),
}

const MODES: [(&str, Mode); 3] =
    [("token", Mode::Token), ("session", Mode::Session), ("native", Mode::Native)];

/// The `iss` of providers that issue access tokens for their own APIs alone.
const SIGN_IN_ONLY: [&str; 2] = ["https://accounts.google.com", "https://appleid.apple.com"];

/// What the clients are read against.
pub(super) struct ClientContext<'a> {
    pub(super) network: &'a Network,
    pub(super) issuers: &'a [Issuer],
    /// Every name under `issuers`, also of those that could not be read.
    pub(super) issuer_names: &'a [&'a str],
    pub(super) sessions: &'a Sessions,
}

pub(super) fn read<'a>(root: &Keys<'a>, around: &ClientContext<'_>) -> Vec<Read<'a>> {
    let mut clients: Vec<Read<'a>> = Vec::new();
    for (name, value) in root.get("clients").map(|value| value.named("name")).unwrap_or_default() {
        let fits = valid_name(name, &value);
        let Some(keys) = value.keys() else { continue };
        let Some(kind) = client(name, &keys, around).filter(|_| fits) else { continue };
        let read = Read { kind, keys };
        for other in &clients {
            read.differs_from(other);
        }
        clients.push(read);
    }
    clients
}

impl Read<'_> {
    fn name(&self) -> &ClientName {
        match &self.kind {
            Kind::Pages(client) => &client.name,
            Kind::Native(client) => &client.name,
        }
    }

    fn issuer(&self) -> &IssuerName {
        match &self.kind {
            Kind::Pages(client) => &client.issuer,
            Kind::Native(client) => &client.issuer,
        }
    }

    fn client_id(&self) -> &str {
        match &self.kind {
            Kind::Pages(client) => &client.client_id,
            Kind::Native(client) => &client.client_id,
        }
    }

    /// Its provider says who somebody is, and has no access tokens for other people's APIs.
    fn warn_of_mere_sign_in(&self, rules: &TokenRules) {
        let hands_on = matches!(&self.kind, Kind::Pages(client) if client.accept_any_access_token);
        if SIGN_IN_ONLY.contains(&rules.iss.as_str()) && !hands_on {
            self.keys.warn(
                "issuer",
                format!(
                    "`{}` only signs people in: its access tokens are opaque and for its own APIs, so that none is good here; put an \
                     authorization server between that signs people in there (Keycloak, Dex, Zitadel, Authentik; docs/deployment.md)",
                    rules.issuer
                ),
            );
        }
    }

    fn differs_from(&self, other: &Self) {
        let theirs = other.name();
        if let (Kind::Pages(client), Kind::Pages(other)) = (&self.kind, &other.kind)
            && client.cookie.name == other.cookie.name
        {
            self.keys.section("cookie").wrong(
                "name",
                format!("the client `{theirs}` has a cookie of this name too, and both are sent to the same place; give each its own"),
            );
        }
        if self.client_id() == other.client_id() {
            let id = self.client_id();
            let message = format!(
                "the client `{theirs}` has the `client_id` `{id}` too, and Tollgate tells clients apart by it; give each its own"
            );
            let given = self.keys.get("client_id");
            self.keys.wrong("client_id", given.map_or(message.clone(), |value| value.untold(&message, id)));
        }
    }
}

fn client(name: &str, keys: &Keys<'_>, around: &ClientContext<'_>) -> Option<Kind> {
    let client_id = keys.get("client_id").map_or_else(|| Some(name.to_owned()), |value| client_id(&value));
    let issuer = issuer(keys, around);
    let mode = keys.word("mode", &MODES, Mode::Token);
    let credential = credential(keys);
    let registration = || {
        Some(Registration {
            name: ClientName::new(name),
            client_id: client_id?,
            issuer: issuer?,
            credential: credential?,
        })
    };
    match mode {
        Mode::Token | Mode::Session => {
            let pages = Pages::read(name, keys, around, mode);
            Some(Kind::Pages(Box::new(pages.of(registration()?)?)))
        }
        Mode::Native => native::read(keys, registration()).map(Box::new).map(Kind::Native),
    }
}

/// What a client has beside its registration whose pages run in browsers.
struct Pages {
    origins: Vec<Origin>,
    scope: Option<String>,
    resource: Option<String>,
    redirect_uri: Option<String>,
    grants: Vec<GrantType>,
    login: Option<Login>,
    session: Option<SessionMode>,
    cookie: CookieSettings,
    timeouts: Timeouts,
    accept_any_access_token: bool,
}

impl Pages {
    fn read(client: &str, keys: &Keys<'_>, around: &ClientContext<'_>, mode: Mode) -> Self {
        let by_page = login::is_by_page(keys, mode);
        let cookie = cookies::read(client, keys, mode);
        let origins = origins(keys, around.network, cookie.same_site);
        let scope = scope(keys);
        let login = (!by_page).then(|| login::read(keys, around.network));
        let redirect_uri = match by_page {
            true => redirect_uri(keys, around.network, &origins),
            false => login::redirect_uri(client, keys, around.network),
        };
        let session = match mode {
            Mode::Session => Some(login::session(keys, scope.as_deref(), around.network, &origins)),
            Mode::Token | Mode::Native => {
                login::no_session(keys);
                None
            }
        };
        let defaults =
            Timeouts { idle: around.sessions.idle_timeout, absolute: around.sessions.absolute_timeout };
        Self {
            origins,
            scope,
            resource: resource(keys),
            redirect_uri,
            grants: grants(keys, mode, by_page),
            login,
            session,
            cookie,
            timeouts: timeouts(keys, defaults),
            accept_any_access_token: mode == Mode::Token && keys.flag("accept_any_access_token"),
        }
    }

    fn of(self, registration: Registration) -> Option<Client> {
        let Registration { name, client_id, issuer, credential } = registration;
        let Timeouts { idle: idle_timeout, absolute: absolute_timeout } = self.timeouts;
        Some(Client {
            name,
            client_id,
            issuer,
            credential,
            origins: self.origins,
            scope: self.scope,
            resource: self.resource,
            redirect_uri: self.redirect_uri?,
            grants: self.grants,
            login: self.login,
            session: self.session,
            cookie: self.cookie,
            idle_timeout,
            absolute_timeout,
            accept_any_access_token: self.accept_any_access_token,
        })
    }
}

/// RFC 6749 appendix A.1: printable ASCII.
pub(super) fn client_id(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if !text.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
        value.wrong("a `client_id` is printable ASCII (RFC 6749 appendix A.1)");
        return None;
    }
    Some(text)
}

fn issuer(keys: &Keys<'_>, around: &ClientContext<'_>) -> Option<IssuerName> {
    let name = match keys.get("issuer") {
        Some(value) => {
            let name = value.text()?;
            if !around.issuer_names.contains(&name.as_str()) {
                let message = unknown("issuer", &name, around.issuer_names.iter().copied());
                value.wrong(value.untold(&message, &name));
                return None;
            }
            name
        }
        None => match around.issuer_names {
            [] => return None,
            [only] => (*only).to_owned(),
            several => {
                let names: Vec<String> = several.iter().map(|name| format!("`{name}`")).collect();
                keys.wrong(
                    "issuer",
                    format!(
                        "several issuers are configured; say with `issuer` whose client this is: {}",
                        names.join(", ")
                    ),
                );
                return None;
            }
        },
    };
    let source = around.issuers.iter().find(|issuer| issuer.name.as_str() == name).map(|issuer| &issuer.keys);
    if source.is_some_and(|source| !matches!(source, KeySource::Discovery(_))) {
        keys.wrong(
            "issuer",
            format!("the issuer `{name}` has keys and no endpoints, so this client could exchange nothing; let it be discovered"),
        );
    }
    Some(IssuerName::new(name))
}

pub(super) fn credential(keys: &Keys<'_>) -> Option<ClientCredential> {
    if keys.has("secret") && keys.has("private_key") {
        keys.wrong(
            "private_key",
            "`secret` is given too; a client proves itself in one way, keep one of the two",
        );
    }
    let secret = keys.get("secret").map(|value| secret(&value));
    let key = keys.has("private_key").then(|| private_key(keys).map(ClientCredential::PrivateKey));
    if key.is_none() {
        no_private_key(keys);
    }
    secret.or(key).unwrap_or(Some(ClientCredential::None))
}

fn secret(value: &Value<'_>) -> Option<ClientCredential> {
    let bytes = value.secret()?;
    match std::str::from_utf8(bytes.expose()) {
        Ok(text) if !text.chars().any(char::is_control) => {
            Some(ClientCredential::Secret(SecretString::from(text)))
        }
        _ => {
            value.wrong("the secret is not one line of text (UTF-8)");
            None
        }
    }
}

fn origins(keys: &Keys<'_>, network: &Network, same_site: SameSite) -> Vec<Origin> {
    let Some(texts) = keys.texts("origins") else { return network.public_url.iter().cloned().collect() };
    let mut origins = Vec::new();
    for (value, text) in texts {
        let right = "write it like `https://portal.example.com`, without path or `/` at its end";
        if text.contains('*') {
            value.wrong("has a `*`, and pages of a client are listed one by one, because they may use its cookie; `cors.origins`, for pages that bring a token, takes `https://*.preview.example.com`");
            continue;
        }
        let Some(origin) = origin(&value, &text, right) else { continue };
        refuse_clear_text(&value, &origin);
        if let Some(public) = &network.public_url
            && same_site != SameSite::None
            && certainly_cross_site(&origin, public)
        {
            value.wrong(format!(
                    "is on another site than `public_url` ({}), so browsers withhold the cookie; serve both under one domain, or set `cookie: {{ same_site: none }}`",
                    public.as_str()
                ));
        }
        origins.push(origin);
    }
    origins
}

fn redirect_uri(keys: &Keys<'_>, network: &Network, origins: &[Origin]) -> Option<String> {
    let Some(value) = keys.get("redirect_uri") else {
        missing_redirect_uri(keys, "with `login: page`");
        return None;
    };
    let (text, url) = url(&value)?;
    if url.scheme() == "http" && !(network.on_loopback() && is_loopback(&url)) {
        value.wrong("must be `https`, except on loopback: the code in it would travel in the clear");
        return None;
    }
    if !origins.is_empty() && !origins.iter().any(|origin| same_origin(origin, &url)) {
        value.warn(
            "its origin is not among `origins`: the page that gets the code there cannot hand it in itself",
        );
    }
    Some(text)
}

fn same_origin(origin: &Origin, url: &Url) -> bool {
    url.origin().ascii_serialization() == origin.as_str()
}

fn grants(keys: &Keys<'_>, mode: Mode, by_page: bool) -> Vec<GrantType> {
    if mode == Mode::Session {
        return Vec::new();
    }
    let Some(texts) = keys.texts("grants") else {
        return if by_page { DEFAULT_GRANTS.to_vec() } else { vec![GrantType::RefreshToken] };
    };
    let lent: Vec<_> =
        GrantType::NAMES.into_iter().filter(|(_, grant)| grant.may_borrow_the_secret()).collect();
    let mut grants = Vec::new();
    for (value, text) in texts {
        if is_password(&value, &text) {
            continue;
        }
        if GrantType::named(&text).is_some_and(|grant| !grant.may_borrow_the_secret()) {
            value.wrong("this grant is not for pages: the gateway lends its client secret only to `authorization_code` and `refresh_token`");
        } else if !by_page && text == GrantType::AuthorizationCode.name() {
            value.wrong("the gateway itself exchanges the code (`login: gateway`); remove this grant, or set `login: page`");
        } else {
            grants.extend(value.word(&lent));
        }
    }
    grants
}

/// All clients, by mode.
#[derive(Default)]
pub(super) struct Clients {
    /// Those whose pages run in browsers, in `token` and in `session` mode.
    pub(super) pages: Vec<Client>,
    pub(super) native: Vec<NativeClient>,
    /// Name, issuer and `client_id` of each.
    pub(super) known: Vec<(String, IssuerName, String)>,
}

/// Sorts them, and warns of what only the whole shows.
pub(super) fn finish(clients: Vec<Read<'_>>, issuers: &mut [Issuer]) -> Clients {
    let pages: Vec<_> = clients
        .iter()
        .filter_map(|read| match &read.kind {
            Kind::Pages(client) => Some((&read.keys, &**client)),
            Kind::Native(_) => None,
        })
        .collect();
    login::tell_issuers_apart(&pages);
    for client in &clients {
        if let Some(issuer) = issuers.iter_mut().find(|issuer| issuer.name == *client.issuer()) {
            issuer.rules.client_ids.push(client.client_id().to_owned());
            issuer.signs_in |= matches!(&client.kind, Kind::Pages(pages) if pages.login.is_some());
        }
    }
    let mut finished = Clients::default();
    for client in clients {
        let (issuer, client_id) = (client.issuer().clone(), client.client_id().to_owned());
        if let Some(issuer) = issuers.iter().find(|known| known.name == issuer) {
            warn_of_audience(&client.keys, &client_id, &issuer.rules);
            client.warn_of_mere_sign_in(&issuer.rules);
        }
        finished.known.push((client.name().as_str().to_owned(), issuer, client_id));
        match client.kind {
            Kind::Native(native) => finished.native.push(*native),
            Kind::Pages(pages) => {
                if pages.login.is_some() && matches!(pages.credential, ClientCredential::None) {
                    client.keys.warn(
                        "secret",
                        "without `secret` or `private_key` this is a public client: a script that is injected into a page of this origin can run a sign-in with its own verifier and keep the tokens; register it as a confidential client, and write its `secret: { file: … }`",
                    );
                }
                if pages.accept_any_access_token {
                    client.keys.warn(
                        "accept_any_access_token",
                        "access tokens that this gateway would refuse are handed out; it cannot revoke them",
                    );
                }
                finished.pages.push(*pages);
            }
        }
    }
    finished
}

/// A client that is an audience, too: what is for clients alone is taken for an ID token, unless its `typ`
/// says what it is.
fn warn_of_audience(keys: &Keys<'_>, client_id: &str, rules: &TokenRules) {
    let TokenRules { issuer, audiences, .. } = rules;
    if !audiences.iter().any(|audience| audience == client_id) || !rules.takes_unspecific_types() {
        return;
    }
    let also =
        if rules.are_clients(audiences) { ", and every other `audience` there is a client, too" } else { "" };
    keys.warn(
        "client_id",
        format!(
            "is also an `audience` of the issuer `{issuer}`{also}: a JWT for clients alone is taken for an ID token and refused \
             (`wrong_token_type`), unless its `typ` is `at+jwt`; let the authorization server name the API in `aud`, and put \
             that into `issuers.{issuer}.audience`"
        ),
    );
}
