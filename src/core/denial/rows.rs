//! A row of the table of refusals, and the kinds of them: what those of a kind have in common.

use http::StatusCode;

use LogLevel::{Error, Info, Warn};

/// How loudly a refusal is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Ordinary traffic.
    Info,
    /// Somebody should look: set-up or attack.
    Warn,
    /// Tollgate or something that it needs is broken.
    Error,
}

/// What a refusal looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub status: StatusCode,
    /// The value of the metrics' `reason` label and of the log's `outcome`; stable.
    pub label: &'static str,
    /// The RFC 6750 or RFC 6749 error code; `None` where neither has one.
    pub oauth_error: Option<&'static str>,
    pub title: &'static str,
    pub detail: &'static str,
    pub level: LogLevel,
}

/// The OAuth error of what may do in a moment.
pub(super) const LATER: Option<&str> = Some("temporarily_unavailable");
pub(super) const SHORTLY: &str = "Try again shortly.";
pub(super) const SERVERS_WORDS: &str = "error and error_description are the authorization server's.";

pub(super) const fn row(
    status: StatusCode,
    label: &'static str,
    oauth_error: Option<&'static str>,
    title: &'static str,
    detail: &'static str,
    level: LogLevel,
) -> Facts {
    Facts { status, label, oauth_error, title, detail, level }
}

/// An access token that is not good.
pub(super) const fn token(label: &'static str, detail: &'static str) -> Facts {
    let (error, title) = (Some("invalid_token"), "The access token is not valid");
    row(StatusCode::UNAUTHORIZED, label, error, title, detail, Info)
}

/// A proof of possession that is not good.
pub(super) const fn proof(label: &'static str, detail: &'static str) -> Facts {
    let (error, title) = (Some("invalid_dpop_proof"), "The DPoP proof is not valid");
    row(StatusCode::UNAUTHORIZED, label, error, title, detail, Info)
}

/// What has two readings, or none.
pub(super) const fn bad(label: &'static str, detail: &'static str) -> Facts {
    let (error, title) = (Some("invalid_request"), "This request is not valid");
    row(StatusCode::BAD_REQUEST, label, error, title, detail, Info)
}

/// A request to an endpoint of ours that is refused for what it says.
pub(super) const fn refused(
    label: &'static str,
    error: &'static str,
    title: &'static str,
    detail: &'static str,
) -> Facts {
    row(StatusCode::BAD_REQUEST, label, Some(error), title, detail, Info)
}

/// Nobody proved who they are.
pub(super) const fn unproven(label: &'static str, title: &'static str, detail: &'static str) -> Facts {
    row(StatusCode::UNAUTHORIZED, label, None, title, detail, Info)
}

pub(super) const fn too_large(label: &'static str, title: &'static str, detail: &'static str) -> Facts {
    row(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, label, None, title, detail, Info)
}

/// A session that is over.
pub(super) const fn ended(label: &'static str, detail: &'static str) -> Facts {
    refused(label, "invalid_grant", "The session has ended", detail)
}

/// Something that the gateway needs does not answer.
pub(super) const fn away(
    label: &'static str,
    error: Option<&'static str>,
    title: &'static str,
    detail: &'static str,
) -> Facts {
    row(StatusCode::SERVICE_UNAVAILABLE, label, error, title, detail, Error)
}

pub(super) const fn too_many(label: &'static str, title: &'static str, detail: &'static str) -> Facts {
    row(StatusCode::TOO_MANY_REQUESTS, label, LATER, title, detail, Info)
}

/// All places are taken.
pub(super) const fn no_room(label: &'static str, title: &'static str) -> Facts {
    row(StatusCode::SERVICE_UNAVAILABLE, label, LATER, title, SHORTLY, Warn)
}

/// What an authorization server answered is of no use.
pub(super) const fn unusable(label: &'static str, title: &'static str, detail: &'static str) -> Facts {
    row(StatusCode::BAD_GATEWAY, label, Some("server_error"), title, detail, Error)
}

/// An authorization server refused, and says why itself.
pub(super) const fn from_server(label: &'static str) -> Facts {
    row(StatusCode::BAD_REQUEST, label, None, "The authorization server refused", SERVERS_WORDS, Info)
}
