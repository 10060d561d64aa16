//! Every denial there is, and whether it counts against the address that it was said to.

use std::time::Duration;

use http::Method;

use super::*;
use crate::core::server_error::ServerError;
use crate::core::session_end::SessionEnd;
use crate::core::token::security_event::RefusedEvent;

/// One of each kind, with whether it counts. A kind that has no place here does not compile.
macro_rules! each {
    ($($kind:pat => $counts:literal $denial:expr;)*) => {{
        const fn has_a_place(denial: &Denial) {
            match denial { $($kind => {})* }
        }
        [$({
            let denial = $denial;
            assert!(matches!(denial, $kind), "{denial:?} is in the place of another");
            has_a_place(&denial);
            (denial, $counts)
        }),*]
    }};
}

fn said(error: &str) -> Box<ServerError> {
    Box::new(ServerError { error: error.to_owned(), description: None, uri: None, dpop_nonce: None })
}

const SOON: Duration = Duration::from_secs(1);

/// One of each kind, with whether it counts.
pub(crate) fn every_denial() -> Vec<(Denial, bool)> {
    use Denial::*;
    let every = each! {
        AmbiguousTarget(_) => false AmbiguousTarget("");
        BadRequest(_) => false BadRequest("");
        UnknownHost => false UnknownHost;
        NoRoute => false NoRoute;
        MethodNotAllowed { .. } => false MethodNotAllowed { allow: vec![Method::GET] };
        HeaderTooLarge => false HeaderTooLarge;
        TokenTooLarge => false TokenTooLarge;
        BodyTooLarge(_) => false BodyTooLarge("");
        BodyTooSlow => false BodyTooSlow;
        NoCredential => false NoCredential;
        SchemeNotTaken => false SchemeNotTaken;
        SeveralCredentials => false SeveralCredentials;
        TokenInQuery => false TokenInQuery;
        TokenMalformed(_) => true TokenMalformed("");
        UnknownIssuer => true UnknownIssuer;
        AlgorithmNotAllowed => true AlgorithmNotAllowed;
        UnsupportedHeader => true UnsupportedHeader;
        WrongTokenType => true WrongTokenType;
        UnknownKey => true UnknownKey;
        BadSignature => true BadSignature;
        WrongAudience => true WrongAudience;
        TokenExpired => false TokenExpired;
        TokenNotYetValid => true TokenNotYetValid;
        TokenLivesTooLong => true TokenLivesTooLong;
        BindingNotSupported => true BindingNotSupported;
        BoundTokenAsBearer => true BoundTokenAsBearer;
        TokenNotBound => true TokenNotBound;
        BearerNotAllowed => false BearerNotAllowed;
        ProofMissing => false ProofMissing;
        ProofInvalid(_) => true ProofInvalid("");
        ProofOutOfTime => false ProofOutOfTime;
        ProofOfAnotherKey => true ProofOfAnotherKey;
        ProofReplayed => true ProofReplayed;
        IssuerNotAccepted => false IssuerNotAccepted;
        ClientNotAccepted => false ClientNotAccepted;
        Revoked => false Revoked;
        TokenInactive { was_good: false } => true TokenInactive { was_good: false };
        TokenInactive { was_good: true } => false TokenInactive { was_good: true };
        NotSignedIn { .. } => false NotSignedIn { ended: Some(SessionEnd::Revoked) };
        CrossSiteRequest => false CrossSiteRequest;
        WindowWithoutSignIn => false WindowWithoutSignIn;
        PageLoadNotShown => false PageLoadNotShown;
        AddressNotAllowed => false AddressNotAllowed;
        InsufficientScope { .. } => false InsufficientScope { needed: vec![] };
        ClaimMismatch { .. } => false ClaimMismatch { claim: String::new() };
        ClaimElsewhere { .. } => false ClaimElsewhere { claim: String::new() };
        StepUp { .. } => false StepUp { acr_values: vec![], max_age: None };
        OriginNotAllowed => false OriginNotAllowed;
        InvalidRequest(_) => false InvalidRequest("");
        UnknownClient => false UnknownClient;
        UnauthorizedClient => false UnauthorizedClient;
        UnsupportedGrantType => false UnsupportedGrantType;
        InvalidScope => false InvalidScope;
        InvalidDpopProof(_) => false InvalidDpopProof("");
        DpopProofForged => true DpopProofForged;
        DpopProofReplayed => true DpopProofReplayed;
        NotANavigation => false NotANavigation;
        SignInNotUnderWay => false SignInNotUnderWay;
        SignInRefused(_) => false SignInRefused(said("access_denied"));
        StepUpNotDone => false StepUpNotDone;
        SignInRevoked => false SignInRevoked;
        NoRefreshToken => false NoRefreshToken;
        NoSession => false NoSession;
        SessionEnded(_) => false SessionEnded(SessionEnd::ReuseDetected);
        LogoutTokenRefused(_) => false LogoutTokenRefused("");
        LogoutTokenForged(_) => true LogoutTokenForged("");
        LogoutTokenOver(_) => false LogoutTokenOver("");
        SecurityEventRefused(_) => true SecurityEventRefused(RefusedEvent::new(Code::InvalidKey, ""));
        FromAuthorizationServer(_) => true FromAuthorizationServer(said("invalid_grant"));
        ProofRefusedThere(_) => true ProofRefusedThere(said("invalid_dpop_proof"));
        ClientCredentialRefused { .. } => true ClientCredentialRefused { said: said("invalid_client"), by_basic: true };
        AnswerMismatch => false AnswerMismatch;
        AccessTokenUnusable => false AccessTokenUnusable;
        SessionTooLarge => false SessionTooLarge;
        KeysUnavailable => false KeysUnavailable;
        KeyNotKnownYet { .. } => true KeyNotKnownYet { retry_after: SOON };
        IntrospectionUnavailable => false IntrospectionUnavailable;
        AuthorizationServerUnavailable => false AuthorizationServerUnavailable;
        AuthorizationServerBusy { .. } => false AuthorizationServerBusy { retry_after: SOON };
        StoreUnavailable => false StoreUnavailable;
        RevocationsUnavailable => false RevocationsUnavailable;
        UpstreamUnavailable => false UpstreamUnavailable;
        UpstreamTimeout => false UpstreamTimeout;
        TooManyRequests { .. } => false TooManyRequests { retry_after: SOON };
        TooManyAtOnce => false TooManyAtOnce;
        TooManyDenials { .. } => false TooManyDenials { retry_after: SOON, only_reported: false };
        TooManyExchanges => false TooManyExchanges;
        Overloaded => false Overloaded;
        NoRoomForProofs => false NoRoomForProofs;
        Internal => false Internal;
    };
    every.into()
}

#[test]
fn what_pretends_to_be_a_credential_counts_and_nothing_that_honest_callers_meet() {
    for (denial, is_counted) in every_denial() {
        assert_eq!(counts(&denial), is_counted, "{denial:?}");
    }
}

#[test]
fn of_what_others_say_only_that_counts_which_a_guess_brings() {
    for (code, is_counted) in [
        (Code::InvalidRequest, false),
        (Code::InvalidKey, true),
        (Code::InvalidIssuer, false),
        (Code::InvalidAudience, false),
        (Code::AuthenticationFailed, true),
        (Code::AccessDenied, false),
    ] {
        assert_eq!(
            counts(&Denial::SecurityEventRefused(RefusedEvent::new(code, ""))),
            is_counted,
            "{code:?}"
        );
    }
    for error in ["invalid_scope", "invalid_target", "unauthorized_client", "use_dpop_nonce"] {
        assert!(!counts(&Denial::FromAuthorizationServer(said(error))), "{error}");
    }
    for by_basic in [true, false] {
        assert!(counts(&Denial::ClientCredentialRefused { said: said("invalid_client"), by_basic }));
    }
}
