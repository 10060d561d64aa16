//! Which of Tollgate's own endpoints a request goes to, and what the log keeps of it. What each answers is
//! said in a file of its own.
//!
//! - `oauth_endpoints`: `/oauth/token` on the wire
//! - `sign_in_endpoints`: `/oauth/login`, `/oauth/callback`, `/oauth/logout` and `/oauth/logout/next` on the
//!   wire
//! - `session_endpoint`: `/oauth/session` on the wire
//! - `backchannel_logout`: `/oauth/backchannel-logout` on the wire
//! - `shared_signals`: `/oauth/events` on the wire
//! - `resource_metadata`: `/.well-known/oauth-protected-resource` on the wire; `published`: documents that
//!   anybody may read

pub(crate) mod backchannel_logout;
pub(crate) mod oauth_endpoints;
pub(crate) mod published;
pub(crate) mod resource_metadata;
pub(crate) mod session_endpoint;
pub(crate) mod shared_signals;
pub(crate) mod sign_in_endpoints;

use pingora::proxy::Session;

use crate::core::denial::Denial;
use crate::edge::answers::respond;
use crate::edge::own_endpoints::oauth_endpoints::Outcome;
use crate::edge::own_endpoints::sign_in_endpoints::EndpointRequest;
use crate::edge::proxy::context::Context;
use crate::edge::proxy::{Proxy, reply};
use crate::flows::admit::Target;
use crate::flows::own_endpoint::OwnEndpoint;

impl Proxy {
    pub(in crate::edge) async fn answer_own(
        &self,
        session: &mut Session,
        context: &mut Context,
        target: &Target,
    ) -> pingora::Result<()> {
        match target.own {
            Some(OwnEndpoint::Token) => self.answer_token_request(session, context, target).await,
            Some(
                endpoint @ (OwnEndpoint::Login
                | OwnEndpoint::Callback
                | OwnEndpoint::Logout
                | OwnEndpoint::LogoutNext),
            ) => self.answer_sign_in_or_out(session, context, target, endpoint).await,
            Some(OwnEndpoint::Session) => self.answer_session_request(session, context, target).await,
            Some(OwnEndpoint::BackchannelLogout) => self.hear_of_logout(session, context).await,
            Some(OwnEndpoint::Events) if !context.live().transmitters.is_empty() => {
                self.hear_signal(session, context).await
            }
            Some(OwnEndpoint::ResourceMetadata) => self.describe_resource(session, context, target).await,
            Some(OwnEndpoint::AssertionKeys) => {
                context.endpoint =
                    OwnEndpoint::AssertionKeys.label().filter(|_| context.live().assertions.is_some());
                match published::assertion_keys(context.live(), &session.req_header().method) {
                    Ok(answer) => reply(session, context, answer).await,
                    Err(denial) => self.refuse(session, context, &denial).await,
                }
            }
            Some(OwnEndpoint::Unknown | OwnEndpoint::Events) | None => {
                self.refuse(session, context, &Denial::NoRoute).await
            }
        }
    }

    async fn describe_resource(
        &self,
        session: &mut Session,
        context: &mut Context,
        target: &Target,
    ) -> pingora::Result<()> {
        context.endpoint = OwnEndpoint::ResourceMetadata.label();
        let request_id = context.request_id().to_owned();
        let (answer, denial) =
            resource_metadata::answer(context.live(), session, target, request_id.as_str());
        if let Some(denial) = &denial {
            self.note(context, denial);
        }
        respond::send(session, answer, request_id.as_str()).await
    }

    async fn answer_token_request(
        &self,
        session: &mut Session,
        context: &mut Context,
        target: &Target,
    ) -> pingora::Result<()> {
        let Some(who) = context.who.take() else { return Err(context.fail(Denial::Internal)) };
        context.endpoint = OwnEndpoint::Token.label();
        let live = context.live().clone();
        let outcome = oauth_endpoints::answer(&self.gate, &live, session, target, &who).await;
        context.who = Some(who);
        self.reply_with(session, context, outcome).await
    }

    async fn answer_sign_in_or_out(
        &self,
        session: &mut Session,
        context: &mut Context,
        target: &Target,
        endpoint: OwnEndpoint,
    ) -> pingora::Result<()> {
        let Some(who) = context.who.take() else { return Err(context.fail(Denial::Internal)) };
        context.endpoint = endpoint.label();
        let serving = context.serving.clone();
        let asked = EndpointRequest {
            gate: &self.gate,
            live: &serving.live,
            pages: &serving.pages,
            request: session.req_header(),
            target,
            who: &who,
        };
        let outcome = sign_in_endpoints::answer(asked, endpoint).await;
        context.who = Some(who);
        self.reply_with(session, context, outcome).await
    }

    /// Answers for an OAuth endpoint, and keeps for the log what became of the request.
    async fn reply_with(
        &self,
        session: &mut Session,
        context: &mut Context,
        outcome: Outcome,
    ) -> pingora::Result<()> {
        if let Some(denial) = &outcome.denial {
            self.note(context, denial);
        }
        context.outcome = outcome.label;
        context.keep_client(outcome.client.as_ref());
        context.subject = outcome.subject;
        context.family = outcome.family;
        self.end_connection_if_draining(session);
        reply(session, context, outcome.answer).await
    }

    async fn answer_session_request(
        &self,
        session: &mut Session,
        context: &mut Context,
        target: &Target,
    ) -> pingora::Result<()> {
        context.endpoint = OwnEndpoint::Session.label();
        let live = context.live().clone();
        let client = context.client_address();
        let outcome = session_endpoint::answer(&self.gate, &live, session, target, client).await;
        if let Some(denial) = &outcome.denial {
            self.note(context, denial);
        }
        context.keep_client(outcome.client.as_ref());
        context.keep_session(outcome.side);
        self.end_connection_if_draining(session);
        reply(session, context, outcome.answer).await
    }
}
