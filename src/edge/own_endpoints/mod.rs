//! Which of Tollgate's own endpoints a request goes to, and what is kept of it. What each answers is said in
//! a file of its own, which writes nothing itself.
//!
//! - `token_endpoint`: `/oauth/token` on the wire
//! - `sign_in_endpoints`: `/oauth/login`, `/oauth/callback`, `/oauth/logout` and `/oauth/logout/next` on the
//!   wire
//! - `session_endpoint`: `/oauth/session` on the wire
//! - `backchannel_logout`: `/oauth/backchannel-logout` on the wire
//! - `shared_signals`: `/oauth/events` on the wire
//! - `resource_metadata`: `/.well-known/oauth-protected-resource` on the wire; `assertion_keys`:
//!   `/.well-known/jwks.json`
//! - `receiving`: how a request comes in whole; `reply`: what each of them answers, and says of the request

pub(crate) mod assertion_keys;
pub(crate) mod backchannel_logout;
pub(crate) mod receiving;
pub(crate) mod reply;
pub(crate) mod resource_metadata;
pub(crate) mod session_endpoint;
pub(crate) mod shared_signals;
pub(crate) mod sign_in_endpoints;
pub(crate) mod token_endpoint;

use pingora::proxy::Session;

use crate::core::denial::Denial;
use crate::edge::answers::respond;
use crate::edge::own_endpoints::reply::{EndpointReply, Readers};
use crate::edge::own_endpoints::sign_in_endpoints::EndpointRequest;
use crate::edge::proxy::context::Context;
use crate::edge::proxy::{Proxy, reply};
use crate::flows::admit::Target;
use crate::flows::own_endpoint::OwnEndpoint;
use crate::state::live::Live;

impl Proxy {
    pub(in crate::edge) async fn answer_own(
        &self,
        session: &mut Session,
        context: &mut Context,
        target: &Target,
    ) -> pingora::Result<()> {
        let serving = context.serving.clone();
        let (gate, live) = (&self.gate, &serving.live);
        let Some(endpoint) = target.own.filter(|own| is_served(*own, live)) else {
            return self.refuse(session, context, &Denial::NoRoute).await;
        };
        context.endpoint = endpoint.label();
        let Some(who) = context.downstream.who.clone() else { return Err(context.fail(Denial::Internal)) };
        let reply = match endpoint {
            OwnEndpoint::Token => token_endpoint::answer(gate, live, session, target, &who).await?,
            OwnEndpoint::Login
            | OwnEndpoint::LoginAgain
            | OwnEndpoint::Callback
            | OwnEndpoint::Logout
            | OwnEndpoint::LogoutNext => {
                let (request, pages) = (session.req_header(), &serving.pages);
                let asked = EndpointRequest { gate, live, pages, request, target, who: &who };
                sign_in_endpoints::answer(asked, endpoint).await
            }
            OwnEndpoint::Session => session_endpoint::answer(gate, live, session, target, who.client).await,
            OwnEndpoint::BackchannelLogout => backchannel_logout::answer(gate, live, session, &who).await?,
            OwnEndpoint::Events => shared_signals::answer(gate, live, session, &who).await?,
            OwnEndpoint::ResourceMetadata => {
                resource_metadata::answer(live, session.req_header(), target, &who)
            }
            OwnEndpoint::AssertionKeys => {
                assertion_keys::answer(live, &serving.pages, session.req_header(), &who)
            }
            OwnEndpoint::Unknown => return self.refuse(session, context, &Denial::NoRoute).await,
        };
        self.give(session, context, reply).await
    }

    /// Writes a reply, and keeps for the log what it says of the request.
    async fn give(
        &self,
        session: &mut Session,
        context: &mut Context,
        given: EndpointReply,
    ) -> pingora::Result<()> {
        let EndpointReply {
            answer,
            readers,
            denial,
            outcome,
            client,
            transmitter,
            subject,
            family,
            session: side,
        } = given;
        if let Some(denial) = &denial {
            self.note(context, denial);
        }
        context.log.outcome = outcome;
        context.keep_client(client.as_ref());
        let log = &mut context.log;
        log.client = log.client.take().or(transmitter.map(|signal| signal.to_string()));
        (log.subject, log.family) = (subject, family);
        side.into_iter().for_each(|side| drop(context.keep_session(side)));
        self.end_connection_if_draining(session);
        match readers {
            Readers::ClientPages => reply(session, context, answer).await,
            Readers::AsItSays => respond::send(session, answer, context.downstream.request_id()).await,
        }
    }
}

/// Whether anything is there in this configuration.
fn is_served(endpoint: OwnEndpoint, live: &Live) -> bool {
    match endpoint {
        OwnEndpoint::Events => !live.transmitters.is_empty(),
        OwnEndpoint::AssertionKeys => live.assertions.is_some(),
        endpoint => endpoint != OwnEndpoint::Unknown,
    }
}
