//! The one table of refusals: status, label, OAuth error and words of each.

use http::StatusCode;

use super::rows::{
    Facts, LATER, LogLevel, SERVERS_WORDS, SHORTLY, away, bad, ended, from_server, no_room, proof, refused,
    row, token, too_large, too_many, unproven, unusable,
};
use super::security_event::{Code, RefusedEvent};
use super::{Denial, SessionEnd};

/// What is wrong with a proof of possession (RFC 9449 section 4.3), where one sentence says it.
pub const PROOF_FORGED: &str = "The proof's signature is not valid for the key in its header.";
pub const PROOF_OF_ANOTHER_KEY: &str =
    "The proof was made with another key than the one that the token is bound to.";
pub const PROOF_OUT_OF_TIME: &str =
    "The proof's iat is too old or in the future: make a proof for each request, with a correct clock.";

const REPLAYED: &str = "The proof was used before: make a new one for each request.";
const OPENS_PAGES: &str = "Chrome 80, Firefox 90, Safari 16.4 and later do (Sec-Fetch-Mode, Sec-Fetch-Dest). Service workers do not: have them leave pages that sign in, and /oauth/, to the network.";
const NEWER_COOKIE: &str = "This cookie was exchanged again and again, each time for another token. The browser has a newer one; try again with it.";
const AT_SIGN_IN: &str = "You were signed in, but your access was revoked. Try again; if that does not help, ask whoever runs this application.";
const ITS_SHARE: &str = "This address has as many requests under way as one may have while the gateway is busy. Try again shortly.";
const SESSION_STAYS: &str = "A session stays as it is; try again shortly.";

impl Denial {
    /// The one table of refusals.
    pub fn facts(&self) -> Facts {
        use LogLevel::{Error, Info, Warn};
        match self {
            Self::AmbiguousTarget(why) => bad("ambiguous_target", why),
            Self::BadRequest(why) => bad("bad_request", why),
            Self::UnknownHost => row(
                StatusCode::MISDIRECTED_REQUEST,
                "unknown_host",
                None,
                "This host is not served here",
                "The Host header names neither the host of public_url nor that of a route.",
                Info,
            ),
            Self::NoRoute => row(
                StatusCode::NOT_FOUND,
                "no_route",
                None,
                "Nothing is served at this path",
                "No route of this gateway covers this path.",
                Info,
            ),
            Self::MethodNotAllowed { .. } => row(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                None,
                "This method is not allowed here",
                "The Allow header names the methods of this path.",
                Info,
            ),
            Self::HeaderTooLarge => too_large(
                "header_too_large",
                "The request header is too large",
                "The header of this request exceeds limits.header, or has more than 100 fields.",
            ),
            Self::TokenTooLarge => too_large(
                "token_too_large",
                "The access token is too large",
                "The access token exceeds limits.token.",
            ),
            Self::BodyTooLarge(why) => row(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                None,
                "The request body is too large",
                why,
                Info,
            ),
            Self::BodyTooSlow => row(
                StatusCode::REQUEST_TIMEOUT,
                "body_too_slow",
                None,
                "The request body did not arrive in time",
                "Send the request again.",
                Info,
            ),

            Self::NoCredential => unproven(
                "no_credential",
                "This needs an access token",
                "Send an access token in the Authorization header.",
            ),
            Self::SchemeNotTaken => unproven(
                "scheme_not_taken",
                "This authentication scheme is not accepted",
                "The Authorization header has no access token: only the schemes Bearer and DPoP are accepted here.",
            ),
            Self::SeveralCredentials => bad("several_credentials", "Send one credential, once."),
            Self::TokenInQuery => bad(
                "token_in_query",
                "An access token must not travel in the query; send it as Authorization: Bearer.",
            ),
            Self::TokenMalformed(why) => token("token_malformed", why),
            Self::UnknownIssuer => token("unknown_issuer", "The token's issuer is not accepted here."),
            Self::AlgorithmNotAllowed => {
                token("algorithm_not_allowed", "The token's algorithm is not accepted from its issuer.")
            }
            Self::UnsupportedHeader => {
                token("unsupported_header", "The token's header asks for something that is not supported.")
            }
            Self::WrongTokenType => token(
                "wrong_token_type",
                "This is not an access token: its typ, claims or aud are those of another kind of token, such as an ID token.",
            ),
            Self::UnknownKey => {
                token("unknown_key", "The token was signed with a key that its issuer does not publish.")
            }
            Self::BadSignature => token("bad_signature", "The token's signature is not valid."),
            Self::WrongAudience => token("wrong_audience", "The token was not issued for this API."),
            Self::TokenExpired => token("token_expired", "The token has expired."),
            Self::TokenNotYetValid => token("token_not_yet_valid", "The token is not valid yet."),
            Self::TokenLivesTooLong => {
                token("token_lives_too_long", "The token lives longer than its issuer is allowed to grant.")
            }
            Self::BindingNotSupported => {
                token("proof_required", "The token is bound to a key whose proof cannot be checked here.")
            }
            Self::BoundTokenAsBearer => token(
                "bound_token_as_bearer",
                "The token is bound to a key: send it as Authorization: DPoP, with a proof in the DPoP header.",
            ),
            Self::TokenNotBound => {
                token("token_not_bound", "The token is not bound to a key; send it as Authorization: Bearer.")
            }
            Self::BearerNotAllowed => token(
                "bearer_not_allowed",
                "Only tokens that are bound to a key are accepted here, as Authorization: DPoP with a proof.",
            ),
            Self::ProofMissing => {
                proof("proof_missing", "A token with the scheme DPoP needs a proof in the DPoP header.")
            }
            Self::ProofInvalid(why) => proof("proof_invalid", why),
            Self::ProofOutOfTime => proof("proof_out_of_time", PROOF_OUT_OF_TIME),
            Self::ProofOfAnotherKey => token("proof_of_another_key", PROOF_OF_ANOTHER_KEY),
            Self::ProofReplayed => proof("proof_replayed", REPLAYED),
            Self::IssuerNotAccepted => {
                token("issuer_not_accepted", "Tokens of this issuer are not accepted on this route.")
            }
            Self::ClientNotAccepted => {
                token("client_not_accepted", "Tokens of this client are not accepted on this route.")
            }
            Self::Revoked => token("revoked", "The token was revoked."),
            Self::TokenInactive { .. } => {
                token("token_inactive", "Its issuer does not know the token, or it is no longer valid.")
            }

            Self::NotSignedIn { ended } => not_signed_in(*ended),
            Self::CrossSiteRequest => row(
                StatusCode::FORBIDDEN,
                "cross_site_request",
                None,
                "This page may not do this",
                "Only pages of the client's origins may use a session, and they must send its csrf_header with the value 1; with csrf: fetch_metadata, pages of the gateway's own origin need not.",
                Warn,
            ),
            Self::WindowWithoutSignIn => row(
                StatusCode::FORBIDDEN,
                "window_without_sign_in",
                None,
                "A session cannot open a page here",
                "A navigation can only use a session if the route has sign_in, whatever the client's csrf is: no link sends its csrf_header. If this is a page, its route needs sign_in.",
                Warn,
            ),
            Self::PageLoadNotShown => {
                let (title, error) =
                    ("Your browser does not say that it is opening this page", "invalid_request");
                row(StatusCode::FORBIDDEN, "page_load_not_shown", Some(error), title, OPENS_PAGES, Warn)
            }

            Self::InsufficientScope { .. } => row(
                StatusCode::FORBIDDEN,
                "insufficient_scope",
                Some("insufficient_scope"),
                "The access token lacks a scope",
                "WWW-Authenticate names the scope that this route needs.",
                Info,
            ),
            Self::ClaimMismatch { .. } => row(
                StatusCode::FORBIDDEN,
                "claim_mismatch",
                None,
                "The access token does not allow this",
                "A claim of the token does not have the value that this route needs.",
                Info,
            ),
            Self::ClaimElsewhere { .. } => row(
                StatusCode::FORBIDDEN,
                "claim_elsewhere",
                None,
                "The access token does not allow this",
                "The token lacks a claim that this route needs, and says that it is kept elsewhere (_claim_names or hasgroups), where the gateway does not look: the authorization server must put it into the token.",
                Info,
            ),
            Self::StepUp { .. } => row(
                StatusCode::UNAUTHORIZED,
                "step_up_needed",
                Some("insufficient_user_authentication"),
                "A fresher or stronger sign-in is needed",
                "Sign in again as WWW-Authenticate asks.",
                Info,
            ),

            Self::AddressNotAllowed => row(
                StatusCode::FORBIDDEN,
                "address_not_allowed",
                None,
                "Not from this address",
                "This is not served to the address that the request comes from.",
                Info,
            ),

            Self::OriginNotAllowed => row(
                StatusCode::FORBIDDEN,
                "origin_not_allowed",
                Some("invalid_request"),
                "This origin may not do this",
                "The request does not come from a page of a listed origin.",
                Warn,
            ),
            Self::InvalidRequest(why) => bad("invalid_request", why),
            Self::UnknownClient => refused(
                "unknown_client",
                "invalid_client",
                "Unknown client",
                "client_id names no client of this gateway.",
            ),
            Self::UnauthorizedClient => refused(
                "unauthorized_client",
                "unauthorized_client",
                "The client may not use this grant",
                "This grant type is not among the client's grants.",
            ),
            Self::UnsupportedGrantType => refused(
                "unsupported_grant_type",
                "unsupported_grant_type",
                "Unsupported grant type",
                "Use one of the client's grants, like authorization_code or refresh_token.",
            ),
            Self::InvalidScope => refused(
                "invalid_scope",
                "invalid_scope",
                "The scope is wider than what was granted",
                "scope may narrow what was granted, never widen it.",
            ),
            Self::InvalidDpopProof(why) => {
                refused("invalid_dpop_proof", "invalid_dpop_proof", "The DPoP proof is not valid", why)
            }
            Self::DpopProofForged => refused(
                "dpop_proof_forged",
                "invalid_dpop_proof",
                "The DPoP proof is not valid",
                PROOF_FORGED,
            ),
            Self::DpopProofReplayed => {
                refused("dpop_proof_replayed", "invalid_dpop_proof", "The DPoP proof is not valid", REPLAYED)
            }
            Self::NotANavigation => row(
                StatusCode::FORBIDDEN,
                "not_a_navigation",
                Some("invalid_request"),
                "This is only for browsers that navigate here",
                "A page leads here with a link or location.assign; a script, a frame or a prefetch cannot sign anybody in, \
                 nor can a service worker that asks in a page's place: have it leave /oauth/ to the network.",
                Warn,
            ),
            Self::SignInNotUnderWay => refused(
                "sign_in_not_under_way",
                "invalid_request",
                "This sign-in cannot be continued",
                "It took longer than ten minutes, was already completed, or was begun in another browser.",
            ),
            Self::SignInRefused(_) => row(
                StatusCode::FORBIDDEN,
                "sign_in_refused",
                Some("access_denied"),
                "You were not signed in",
                "The authorization server ended the sign-in.",
                Info,
            ),
            Self::StepUpNotDone => row(
                StatusCode::FORBIDDEN,
                "step_up_not_done",
                Some("access_denied"),
                "A fresher or stronger sign-in was needed",
                "You are signed in, but nothing shows that the authorization server asked you again, as it was told to.",
                Warn,
            ),
            Self::NoRefreshToken => unusable(
                "no_refresh_token",
                "The authorization server gave no refresh token",
                "The gateway's log says what to change in its configuration.",
            ),
            Self::NoSession => refused(
                "no_session",
                "invalid_grant",
                "There is no session",
                "The request has no cookie of this client, or one that cannot be opened. Sign in.",
            ),
            Self::SessionEnded(SessionEnd::IdleTimeout) => {
                ended("idle_timeout", "The session was not used for too long. Sign in.")
            }
            Self::SessionEnded(SessionEnd::AbsoluteTimeout) => {
                ended("absolute_timeout", "The session has reached its maximum age. Sign in.")
            }
            Self::SessionEnded(SessionEnd::Revoked) => {
                ended("session_revoked", "The session was ended. Sign in.")
            }
            Self::SessionEnded(SessionEnd::SignedInAgain | SessionEnd::SignedInAsAnother) => {
                ended("signed_in_again", "A newer sign-in has replaced this session.")
            }
            Self::SessionEnded(SessionEnd::ReuseDetected) => {
                Facts { level: Warn, ..ended("reuse_detected", "The session was ended for safety. Sign in.") }
            }
            Self::SessionEnded(SessionEnd::InvalidGrant) => {
                ended("invalid_grant", "The authorization server has ended the session. Sign in.")
            }
            Self::SignInRevoked => refused("taken_back", "invalid_grant", "Access was revoked", AT_SIGN_IN),
            Self::LogoutTokenRefused(why) => {
                refused("logout_token_refused", "invalid_request", "The logout token is not valid", why)
            }
            Self::LogoutTokenForged(why) => {
                refused("logout_token_forged", "invalid_request", "The logout token is not valid", why)
            }
            Self::LogoutTokenOver(why) => {
                refused("logout_token_over", "invalid_request", "The logout token is no longer valid", why)
            }
            Self::SecurityEventRefused(RefusedEvent { code, why }) => {
                let label = match code {
                    Code::InvalidRequest => "security_event_invalid",
                    Code::InvalidKey => "security_event_key",
                    Code::InvalidIssuer => "security_event_issuer",
                    Code::InvalidAudience => "security_event_audience",
                    Code::AuthenticationFailed => "security_event_unauthenticated",
                    Code::AccessDenied => "security_event_denied",
                };
                refused(label, code.name(), "The security event is not accepted", why)
            }
            Self::ClientCredentialRefused { .. } => row(
                StatusCode::UNAUTHORIZED,
                "client_credential_refused",
                Some("invalid_client"),
                "The authorization server does not accept the client's credentials",
                SERVERS_WORDS,
                Info,
            ),
            Self::FromAuthorizationServer(_) => from_server("from_authorization_server"),
            Self::ProofRefusedThere(_) => from_server("proof_refused_there"),
            Self::AnswerMismatch => unusable(
                "answer_mismatch",
                "The authorization server's answer does not fit the session",
                "No part of it was handed out.",
            ),
            Self::AccessTokenUnusable => unusable(
                "access_token_unusable",
                "The access token would be refused here",
                "The gateway's log says what to change in its configuration.",
            ),
            Self::SessionTooLarge => unusable(
                "session_too_large",
                "The session does not fit a cookie",
                "The gateway's log says which part of it is too large.",
            ),

            Self::KeysUnavailable => {
                away("keys_unavailable", None, "The issuer's keys are not available", SHORTLY)
            }
            Self::KeyNotKnownYet { .. } => {
                let title = "The token's key is not known yet";
                let detail = "The token was signed with a key that its issuer had not published when it was last asked. Try again shortly.";
                row(StatusCode::SERVICE_UNAVAILABLE, "key_not_known_yet", LATER, title, detail, Info)
            }
            Self::IntrospectionUnavailable => {
                let title = "The token's issuer cannot be asked about it";
                away("introspection_unavailable", None, title, SHORTLY)
            }
            Self::AuthorizationServerUnavailable | Self::AuthorizationServerBusy { .. } => {
                away("as_unavailable", LATER, "The authorization server is not available", SESSION_STAYS)
            }
            Self::StoreUnavailable => {
                away("store_unavailable", LATER, "The gateway's store is not available", SESSION_STAYS)
            }
            Self::RevocationsUnavailable => {
                let title = "The gateway does not know what was revoked recently";
                away("revocations_unavailable", LATER, title, SHORTLY)
            }
            Self::UpstreamUnavailable => {
                let title = "The service behind the gateway is not available";
                row(StatusCode::BAD_GATEWAY, "upstream_unavailable", None, title, SHORTLY, Error)
            }
            Self::UpstreamTimeout => {
                let title = "The service behind the gateway did not answer in time";
                row(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", None, title, SHORTLY, Error)
            }
            Self::TooManyRequests { .. } => too_many(
                "too_many_requests",
                "Too many requests",
                "This address asks more often than limits.requests_per_address allows.",
            ),
            Self::TooManyAtOnce => too_many("too_many_at_once", "Too many requests at once", ITS_SHARE),
            Self::TooManyDenials { .. } => too_many(
                "too_many_denials",
                "Too many denials",
                "This address showed more bad credentials than limits.denials_per_address allows.",
            ),
            Self::TooManyExchanges => too_many("too_many_exchanges", "Too many exchanges", NEWER_COOKIE),
            Self::Overloaded => no_room("overloaded", "The gateway is busy"),
            Self::NoRoomForProofs => {
                no_room("no_room_for_proofs", "The gateway cannot take more DPoP proofs now")
            }
            Self::Internal => row(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                Some("server_error"),
                "The gateway failed",
                "The gateway's log has the reason under this request id.",
                Error,
            ),
        }
    }
}

/// A request that needs a session: as `/oauth/token` would say it, except that signing in resolves it.
fn not_signed_in(ended: Option<SessionEnd>) -> Facts {
    let (title, detail) =
        ("Sign-in is needed", "Nobody is signed in here. Sign in, or send an access token.");
    let level = LogLevel::Info;
    let none = Facts {
        status: StatusCode::UNAUTHORIZED,
        label: "no_session",
        oauth_error: None,
        title,
        detail,
        level,
    };
    match ended {
        None => none,
        Some(end) => {
            let Facts { label, detail, level, .. } = Denial::SessionEnded(end).facts();
            Facts { label, detail, level, ..none }
        }
    }
}
