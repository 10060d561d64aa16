//! Tollgate's own paths: one table of where each endpoint is, what metrics and log call it, and which methods the preflight of
//! a page is told (Fetch Standard section 4.9). What an endpoint answers is not said here.

use http::Method;

use crate::core::ids::RouteName;
use crate::core::route::resource::WELL_KNOWN;

/// Tollgate's own paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnEndpoint {
    /// `/oauth/token`
    Token,
    /// `/oauth/login`
    Login,
    /// `/oauth/callback`
    Callback,
    /// `/oauth/logout`
    Logout,
    /// `/oauth/session`
    Session,
    /// `/oauth/backchannel-logout`
    BackchannelLogout,
    /// `/oauth/events`: shared signals, where transmitters are configured.
    Events,
    /// `/.well-known/jwks.json`: the keys of the assertions.
    AssertionKeys,
    /// `/.well-known/oauth-protected-resource` and all below (RFC 9728).
    ResourceMetadata,
    /// Reserved and not served: 404.
    Unknown,
}

impl OwnEndpoint {
    /// All that are served: where, and by which methods pages may ask it.
    const SERVED: &'static [(Self, &'static str, &'static [Method])] = &[
        (Self::Token, "/oauth/token", TOKEN_METHODS),
        (Self::Login, "/oauth/login", &[]),
        (Self::Callback, "/oauth/callback", &[]),
        (Self::Logout, "/oauth/logout", LOGOUT_METHODS),
        (Self::Session, "/oauth/session", SESSION_METHODS),
        (Self::BackchannelLogout, "/oauth/backchannel-logout", &[]),
        (Self::Events, "/oauth/events", &[]),
        (Self::AssertionKeys, "/.well-known/jwks.json", &[]),
        (Self::ResourceMetadata, WELL_KNOWN, &[]),
    ];

    /// What is at one of Tollgate's own paths.
    pub(in crate::flows) fn at(path: &str) -> Self {
        match Self::SERVED.iter().find(|(_, at, _)| *at == path) {
            Some((endpoint, ..)) => *endpoint,
            None if is_callback(path) => Self::Callback,
            None if path.starts_with(WELL_KNOWN) => Self::ResourceMetadata,
            None => Self::Unknown,
        }
    }

    fn row(self) -> Option<&'static (Self, &'static str, &'static [Method])> {
        Self::SERVED.iter().find(|(endpoint, ..)| *endpoint == self)
    }

    /// Its path, by which metrics and log name it, whatever follows there. `None` where nothing is.
    pub fn label(self) -> Option<RouteName> {
        self.row().map(|(_, path, _)| RouteName::new(*path))
    }

    /// The methods that the preflight of a page is told; none where pages have no business with scripts.
    pub fn methods_for_pages(self) -> &'static [Method] {
        self.row().map_or(&[], |(.., methods)| methods)
    }
}

/// The methods of `/oauth/token`.
pub const TOKEN_METHODS: &[Method] = &[Method::POST, Method::DELETE];
/// The methods of `/oauth/logout`.
pub const LOGOUT_METHODS: &[Method] = &[Method::POST];
/// The methods of `/oauth/session`.
pub const SESSION_METHODS: &[Method] = &[Method::GET, Method::HEAD];

/// `/oauth/callback`, or that of one client.
fn is_callback(path: &str) -> bool {
    path.strip_prefix("/oauth/callback").is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('/').is_some_and(|client| !client.is_empty() && !client.contains('/'))
    })
}
