//! `/oauth/events` on the wire (RFC 8935 section 2): for servers, so no page may read its answers. The query
//! is not looked at: whoever configures a stream may have put one into the address.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use pingora::proxy::Session;

use crate::edge::answers::answer::Answer;
use crate::edge::answers::request_headers::Identification;
use crate::edge::answers::respond::Form;
use crate::edge::own_endpoints::reply::{EndpointReply, Readers};
use crate::edge::request::body;
use crate::edge::request::body::{Bound, Unread};
use crate::edge::request::request_head;
use crate::flows::Gate;
use crate::flows::hear_signal::{HeardSignal, body_limit, hear_signal};
use crate::flows::own_endpoint::OwnEndpoint;
use crate::state::live::Live;
use crate::state::metrics::RequestOutcome;

const BODY_DEADLINE: Duration = Duration::from_secs(5);
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
    let reply = match heard(gate, live, session, who).await {
        Ok(HeardSignal { signal, subject }) => {
            let answer = Answer::json(StatusCode::ACCEPTED, Bytes::new()).no_store();
            let transmitter = Some(signal);
            EndpointReply {
                transmitter,
                subject,
                ..EndpointReply::done(answer, RequestOutcome::SharedSignal)
            }
        }
        Err(Unread::ClientGone(error)) => return Err(error),
        Err(Unread::Refused(denial)) => {
            let answer = Answer::refusal(&denial, Form::SecurityEvent, who.ids.request_id.as_str());
            EndpointReply::refused(answer, denial)
        }
    };
    Ok(EndpointReply { readers: Readers::AsItSays, ..reply })
}

async fn heard(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    session: &mut Session,
    who: &Identification,
) -> Result<HeardSignal, Unread> {
    OwnEndpoint::Events.takes(&session.req_header().method)?;
    let bound = Bound { bytes: body_limit(live), why: TOO_LARGE };
    let body = body::read_whole(session, bound, BODY_DEADLINE).await?;
    let request = session.req_header();
    let host = request_head::host(request)?;
    let head = request_head::head(request, &host, who.client)?;
    Ok(hear_signal(gate, live, &head, &body).await?)
}
