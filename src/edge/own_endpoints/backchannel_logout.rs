//! `/oauth/backchannel-logout` on the wire (OpenID Connect Back-Channel Logout 1.0 sections 2.5 and 2.8): for
//! servers, so no page may read its answers. The query is not looked at: a registered address may have one
//! (section 2.2).

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
use crate::flows::backchannel_logout::{SignedOut, backchannel_logout, body_limit};
use crate::flows::own_endpoint::OwnEndpoint;
use crate::state::live::Live;
use crate::state::metrics::RequestOutcome;

const BODY_DEADLINE: Duration = Duration::from_secs(5);
const TOO_LARGE: &str =
    "No logout token within limits.token fills a form as long as the body of this request.";

/// Answers a request to `/oauth/backchannel-logout`.
///
/// # Errors
/// When the client is gone.
pub(crate) async fn answer(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    session: &mut Session,
    who: &Identification,
) -> pingora::Result<EndpointReply> {
    let reply = match signed_out(gate, live, session, who).await {
        Ok(SignedOut { client, subject }) => {
            let answer = Answer::json(StatusCode::OK, Bytes::new()).no_store();
            EndpointReply {
                client,
                subject,
                ..EndpointReply::done(answer, RequestOutcome::BackchannelLogout)
            }
        }
        Err(Unread::ClientGone(error)) => return Err(error),
        Err(Unread::Refused(denial)) => {
            let answer = Answer::refusal(&denial, Form::OAuth, who.ids.request_id.as_str());
            EndpointReply::refused(answer, denial)
        }
    };
    Ok(EndpointReply { readers: Readers::AsItSays, ..reply })
}

async fn signed_out(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    session: &mut Session,
    who: &Identification,
) -> Result<SignedOut, Unread> {
    OwnEndpoint::BackchannelLogout.takes(&session.req_header().method)?;
    let bound = Bound { bytes: body_limit(live), why: TOO_LARGE };
    let body = body::read_whole(session, bound, BODY_DEADLINE).await?;
    let request = session.req_header();
    let host = request_head::host(request)?;
    let head = request_head::head(request, &host, who.client)?;
    Ok(backchannel_logout(gate, live, &head, &body).await?)
}
