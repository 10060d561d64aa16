//! `/oauth/events` on the wire (RFC 8935 section 2): for servers, so no page may read its answers. The query
//! is not looked at: whoever configures a stream may have put one into the address.

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
use crate::flows::hear_signal::{HeardSignal, body_limit, hear_signal};
use crate::flows::own_endpoint::OwnEndpoint;

const BODY_DEADLINE: Duration = Duration::from_secs(5);
const TOO_LARGE: &str =
    "The body of this request exceeds limits.token: it is no security event token that is taken here.";

impl Proxy {
    /// Answers a request to `/oauth/events`.
    pub(in crate::edge) async fn hear_signal(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<()> {
        context.endpoint = OwnEndpoint::Events.label();
        let request_id = context.request_id().to_owned();
        let answer = match self.heard(session, context).await {
            Ok(heard) => {
                context.outcome = "shared_signal";
                context.client = Some(heard.signal.to_string());
                context.subject = heard.subject;
                Answer::json(StatusCode::ACCEPTED, Bytes::new()).no_store()
            }
            Err(denial) => {
                self.note(context, &denial);
                Answer::refusal(&denial, Form::SecurityEvent, request_id.as_str())
            }
        };
        self.end_connection_if_draining(session);
        respond::send(session, answer, request_id.as_str()).await
    }

    async fn heard(&self, session: &mut Session, context: &Context) -> Result<HeardSignal, Denial> {
        let live = context.live();
        let who = context.who.as_ref().ok_or(Denial::Internal)?;
        OwnEndpoint::Events.takes(&session.req_header().method)?;
        let bound = Bound { bytes: body_limit(live), why: TOO_LARGE };
        let body = body::read_whole(session, bound, BODY_DEADLINE).await?;
        let request = session.req_header();
        let host = request_head::host(request)?;
        let head = request_head::head(request, &host, who.client)?;
        hear_signal(&self.gate, live, &head, &body).await
    }
}
