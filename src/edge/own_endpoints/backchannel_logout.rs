//! `/oauth/backchannel-logout` on the wire (OpenID Connect Back-Channel Logout 1.0 sections 2.5 and 2.8): for
//! servers, so no page may read its answers. The query is not looked at: a registered address may have one
//! (section 2.2).

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use pingora::proxy::Session;

use crate::core::denial::Denial;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::respond::{self, Form};
use crate::edge::proxy::Proxy;
use crate::edge::proxy::context::Context;
use crate::edge::request::body;
use crate::edge::request::body::Bound;
use crate::edge::request::request_head;
use crate::flows::backchannel_logout::{SignedOut, backchannel_logout, body_limit};
use crate::flows::own_endpoint::OwnEndpoint;

const BODY_DEADLINE: Duration = Duration::from_secs(5);
const TOO_LARGE: &str =
    "No logout token within limits.token fills a form as long as the body of this request.";

impl Proxy {
    /// Answers a request to `/oauth/backchannel-logout`.
    pub(in crate::edge) async fn hear_of_logout(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<()> {
        context.endpoint = OwnEndpoint::BackchannelLogout.label();
        let request_id = context.request_id().to_owned();
        let answer = match self.signed_out(session, context).await {
            Ok(signed_out) => {
                context.outcome = "backchannel_logout";
                context.keep_client(signed_out.client.as_ref());
                context.subject = signed_out.subject;
                Answer::json(StatusCode::OK, Bytes::new()).no_store()
            }
            Err(denial) => {
                self.note(context, &denial);
                Answer::refusal(&denial, Form::OAuth, request_id.as_str())
            }
        };
        self.end_connection_if_draining(session);
        respond::send(session, answer, request_id.as_str()).await
    }

    async fn signed_out(&self, session: &mut Session, context: &Context) -> Result<SignedOut, Denial> {
        let live = context.live();
        let who = context.who.as_ref().ok_or(Denial::Internal)?;
        OwnEndpoint::BackchannelLogout.takes(&session.req_header().method)?;
        let bound = Bound { bytes: body_limit(live), why: TOO_LARGE };
        let body = body::read_whole(session, bound, BODY_DEADLINE).await?;
        let request = session.req_header();
        let host = request_head::host(request)?;
        let head = request_head::head(request, &host, who.client)?;
        backchannel_logout(&self.gate, live, &head, &body).await
    }
}
