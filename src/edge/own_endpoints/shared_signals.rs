//! `/oauth/events` on the wire (RFC 8935 section 2): for servers, so no page may read its answers. The query
//! is not looked at: whoever configures a stream may have put one into the address.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use pingora::proxy::Session;

use crate::edge::answers::answer::Answer;
use crate::edge::answers::request_headers::Identification;
use crate::edge::answers::respond::Form;
use crate::edge::own_endpoints::receiving::{receive, reply_to_server};
use crate::edge::own_endpoints::reply::EndpointReply;
use crate::edge::request::body::{Bound, Unread};
use crate::flows::Gate;
use crate::flows::hear_signal::{HeardSignal, body_limit, hear_signal};
use crate::flows::own_endpoint::OwnEndpoint;
use crate::state::live::Live;
use crate::state::metrics::RequestOutcome;

const TOO_LARGE: &str =
    "The body of this request exceeds limits.token: it is no security event token that is taken here.";

/// Answers a request to `/oauth/events`.
///
/// # Errors
/// When the client is gone.
pub(crate) async fn answer(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    session: &mut Session,
    who: &Identification,
) -> pingora::Result<EndpointReply> {
    let heard = heard(gate, live, session, who).await;
    reply_to_server(heard.map(done), Form::SecurityEvent, who)
}

fn done(HeardSignal { signal, subject }: HeardSignal) -> EndpointReply {
    let answer = Answer::json(StatusCode::ACCEPTED, Bytes::new()).no_store();
    let transmitter = Some(signal);
    EndpointReply { transmitter, subject, ..EndpointReply::done(answer, RequestOutcome::SharedSignal) }
}

async fn heard(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    session: &mut Session,
    who: &Identification,
) -> Result<HeardSignal, Unread> {
    let bound = Bound { bytes: body_limit(live), why: TOO_LARGE };
    let received = receive(session, OwnEndpoint::Events, bound, who.client).await?;
    Ok(hear_signal(gate, live, &received.head()?, &received.body).await?)
}
