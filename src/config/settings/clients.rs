//! The applications that may use `/oauth/*`.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::Settings;
use crate::core::ids::{ClientName, IssuerName};
use crate::core::request::Origin;
use crate::core::secret::{Secret, SecretString};
use crate::core::session::csrf::Csrf;
use crate::core::session::oauth::authentication::{Audience, KeyNames};
use crate::core::session::oauth::grant_type::GrantType;

impl Settings {
    /// The client with a cookie that config.yaml calls so.
    pub fn client(&self, name: &ClientName) -> Option<&Arc<Client>> {
        self.clients.iter().find(|client| client.name == *name)
    }

    /// The client with a cookie that its authorization server calls so.
    pub fn client_by_id(&self, client_id: &str) -> Option<&Arc<Client>> {
        self.clients.iter().find(|client| client.client_id == client_id)
    }

    /// The client without a cookie that its authorization server calls so.
    pub fn native_client_by_id(&self, client_id: &str) -> Option<&Arc<NativeClient>> {
        self.native_clients.iter().find(|client| client.client_id == client_id)
    }

    /// Every client, those with a cookie first.
    pub fn registered_clients(&self) -> impl Iterator<Item = RegisteredClient<'_>> + Clone {
        let with_cookies = self.clients.iter().map(|client| RegisteredClient {
            name: &client.name,
            client_id: &client.client_id,
            issuer: &client.issuer,
        });
        let native = self.native_clients.iter().map(|client| RegisteredClient {
            name: &client.name,
            client_id: &client.client_id,
            issuer: &client.issuer,
        });
        with_cookies.chain(native)
    }

    /// The `client_id` of the client, with a cookie or without, that config.yaml calls so.
    pub fn client_id(&self, name: &ClientName) -> Option<&str> {
        self.registered_clients().find(|client| client.name == name).map(|client| client.client_id)
    }
}

/// What a client is called, in config.yaml and at its authorization server.
#[derive(Clone, Copy, Debug)]
pub struct RegisteredClient<'a> {
    pub name: &'a ClientName,
    pub client_id: &'a str,
    pub issuer: &'a IssuerName,
}

/// A client of pages, with a cookie: in `token` or in `session` mode.
#[derive(Debug)]
pub struct Client {
    pub name: ClientName,
    pub client_id: String,
    pub issuer: IssuerName,
    pub credential: ClientCredential,
    /// Origins whose pages may use it; never empty.
    pub origins: Vec<Origin>,
    /// Asked for at sign-in and at every exchange.
    pub scope: Option<String>,
    /// RFC 8707, sent at sign-in and with every exchange.
    pub resource: Option<String>,
    /// The one `redirect_uri` of its sign-ins.
    pub redirect_uri: String,
    /// What its pages may ask `POST /oauth/token` for; nothing in `session` mode.
    pub grants: Vec<GrantType>,
    /// How the gateway signs people in; `None`: a page does it (`login: page`).
    pub login: Option<Login>,
    /// `None`: `token` mode.
    pub session: Option<SessionMode>,
    pub cookie: CookieSettings,
    pub idle_timeout: Duration,
    pub absolute_timeout: Duration,
    /// Hand out access tokens that this gateway would itself refuse.
    pub accept_any_access_token: bool,
}

/// Sign-in by the gateway.
#[derive(Debug, PartialEq, Eq)]
pub struct Login {
    /// Parameters for the authorization endpoint beside ours; none of ours is among them.
    pub authorize: Vec<(String, String)>,
    /// Names of parameters that go on to it where `/oauth/login` is asked with them; none of ours is among
    /// them.
    pub authorize_from_page: Vec<String>,
    /// Every authorization request is pushed (RFC 9126), and not those alone whose server takes no others.
    pub pushed: bool,
    /// Origins where a sign-in may lead beside the gateway's own.
    pub return_to: Vec<Origin>,
    /// Where the authorization server sends browsers after a sign-out.
    pub post_logout_redirect_uri: Option<String>,
    /// Parameters for the end-session endpoint beside ours; none of ours is among them.
    pub end_session: Vec<(String, String)>,
}

/// What a client has in `session` mode: its pages hold no token.
#[derive(Debug, PartialEq, Eq)]
pub struct SessionMode {
    /// The header that shows, with the value `1`, that a page sends a request by script, which no foreign
    /// page can.
    pub csrf_header: HeaderName,
    /// Whether the browser's word does where a page sends no such header.
    pub csrf: Csrf,
    pub identity: IdentityFrom,
}

/// Where the identity headers of a session come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityFrom {
    #[default]
    AccessToken,
    IdToken,
}

/// A client in `native` mode: it holds its refresh token itself, and there is no session here.
#[derive(Debug)]
pub struct NativeClient {
    pub name: ClientName,
    pub client_id: String,
    pub issuer: IssuerName,
    /// `None`: each caller brings the client's credentials along, if it has any. Else the gateway lends
    /// these, and `grants` holds nothing but `authorization_code` and `refresh_token`.
    pub credential: ClientCredential,
    /// The only one that a code exchange may name. There is one where the gateway lends a credential to
    /// code exchanges.
    pub redirect_uri: Option<String>,
    pub grants: Vec<GrantType>,
    /// Asked for where the caller names none and the grant has none of its own.
    pub scope: Option<String>,
    /// RFC 8707, sent where the caller names none.
    pub resource: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum ClientCredential {
    None,
    /// `client_secret_basic` unless the AS offers only `client_secret_post`.
    Secret(SecretString),
    /// `private_key_jwt` (RFC 7523); the signing algorithm follows from the key.
    PrivateKey(PrivateKey),
}

/// A key that signs client assertions, in PKCS#8 PEM.
#[derive(Debug, PartialEq, Eq)]
pub struct PrivateKey {
    pub pem: Secret<Vec<u8>>,
    pub algorithm: crate::core::token::Algorithm,
    pub names: KeyNames,
    pub audience: Audience,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieSettings {
    pub name: String,
    pub path: String,
    pub same_site: SameSite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}
