//! Tollgate's own endpoints in one table: where each is, its label in metrics and log, which methods it
//! takes, and whether pages may call it by script (their preflights are answered, Fetch Standard section
//! 4.9). What an endpoint answers is decided elsewhere.

use http::Method;

use crate::core::denial::Denial;
use crate::core::ids::RouteName;
use crate::core::route::resource::WELL_KNOWN;
use crate::core::session::authorization::AGAIN;
use crate::core::session::sign_out::NEXT;

/// Tollgate's own paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnEndpoint {
    /// `/oauth/token`
    Token,
    /// `/oauth/login`
    Login,
    /// `/oauth/login/again`
    LoginAgain,
    /// `/oauth/callback`
    Callback,
    /// `/oauth/logout`
    Logout,
    /// `/oauth/logout/next`
    LogoutNext,
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

/// One that is served.
struct Row {
    endpoint: OwnEndpoint,
    path: &'static str,
    methods: &'static [Method],
    /// Whether pages call it by script.
    is_for_pages: bool,
}

const fn row(
    endpoint: OwnEndpoint,
    path: &'static str,
    methods: &'static [Method],
    is_for_pages: bool,
) -> Row {
    Row { endpoint, path, methods, is_for_pages }
}

const POST: &[Method] = &[Method::POST];
const GET: &[Method] = &[Method::GET];
const READ: &[Method] = &[Method::GET, Method::HEAD];

impl OwnEndpoint {
    /// All that are served.
    const SERVED: &'static [Row] = &[
        row(Self::Token, "/oauth/token", &[Method::POST, Method::DELETE], true),
        row(Self::Login, "/oauth/login", GET, false),
        row(Self::LoginAgain, AGAIN, GET, false),
        row(Self::Callback, "/oauth/callback", GET, false),
        row(Self::Logout, "/oauth/logout", POST, true),
        row(Self::LogoutNext, NEXT, GET, false),
        row(Self::Session, "/oauth/session", READ, true),
        row(Self::BackchannelLogout, "/oauth/backchannel-logout", POST, false),
        row(Self::Events, "/oauth/events", POST, false),
        row(Self::AssertionKeys, "/.well-known/jwks.json", READ, false),
        row(Self::ResourceMetadata, WELL_KNOWN, &[Method::GET, Method::HEAD, Method::OPTIONS], false),
    ];

    /// The endpoint at one of Tollgate's own paths.
    pub(in crate::flows) fn at(path: &str) -> Self {
        match Self::SERVED.iter().find(|row| row.path == path) {
            Some(row) => row.endpoint,
            None if is_callback(path) => Self::Callback,
            None if path.starts_with(WELL_KNOWN) => Self::ResourceMetadata,
            None => Self::Unknown,
        }
    }

    fn row(self) -> Option<&'static Row> {
        Self::SERVED.iter().find(|row| row.endpoint == self)
    }

    /// Its path as metrics and log name it, without what may follow. `None`: nothing is served there.
    pub fn label(self) -> Option<RouteName> {
        self.row().map(|row| RouteName::new(row.path))
    }

    /// The methods named in answer to a page's preflight; none where pages have no business by script.
    pub fn methods_for_pages(self) -> &'static [Method] {
        self.row().filter(|row| row.is_for_pages).map_or(&[], |row| row.methods)
    }

    /// # Errors
    /// `MethodNotAllowed`; `NoRoute` where nothing is served.
    pub fn takes(self, method: &Method) -> Result<(), Denial> {
        let row = self.row().ok_or(Denial::NoRoute)?;
        if row.methods.contains(method) {
            return Ok(());
        }
        Err(Denial::MethodNotAllowed { allow: row.methods.to_vec() })
    }
}

/// `/oauth/callback`, or that of one client.
fn is_callback(path: &str) -> bool {
    path.strip_prefix("/oauth/callback").is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('/').is_some_and(|client| !client.is_empty() && !client.contains('/'))
    })
}
