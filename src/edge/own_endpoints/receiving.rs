//! How a request to one of Tollgate's own endpoints is received whole, and how the endpoints that are for
//! servers alone receive and answer theirs.
//!
//! It must never wait for a body without a deadline, nor let a page read what is for a server.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::core::denial::Denial;
use crate::core::request::RequestHead;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::request_headers::Identification;
use crate::edge::answers::respond::Form;
use crate::edge::own_endpoints::reply::{EndpointReply, Readers};
use crate::edge::request::body;
use crate::edge::request::body::{Bound, Unread};
use crate::edge::request::request_head;
use crate::flows::own_endpoint::OwnEndpoint;

const BODY_DEADLINE: Duration = Duration::from_secs(5);

/// A request, all of it.
pub(super) struct Received<'a> {
    request: &'a RequestHeader,
    host: Cow<'a, str>,
    /// The client's.
    address: IpAddr,
    pub(super) body: Bytes,
}

impl Received<'_> {
    /// # Errors
    /// As [`request_head::head`].
    pub(super) fn head(&self) -> Result<RequestHead<'_>, Denial> {
        request_head::head(self.request, &self.host, self.address)
    }
}

/// Receives a request to an endpoint that takes one method, with a body. `address`: the client's.
///
/// # Errors
/// As [`OwnEndpoint::takes`], [`receive_body`] and [`request_head::host`].
pub(super) async fn receive(
    session: &mut Session,
    endpoint: OwnEndpoint,
    bound: Bound,
    address: IpAddr,
) -> Result<Received<'_>, Unread> {
    endpoint.takes(&session.req_header().method)?;
    let body = receive_body(session, bound).await?;
    let request = session.req_header();
    let host = request_head::host(request)?;
    Ok(Received { request, host, address, body })
}

/// # Errors
/// As [`body::read_whole`].
pub(super) async fn receive_body(session: &mut Session, bound: Bound) -> Result<Bytes, Unread> {
    body::read_whole(session, bound, BODY_DEADLINE).await
}

/// What a server is answered: no page may read it. `form`: the one of refusals.
///
/// # Errors
/// When the client is gone.
pub(super) fn reply_to_server(
    done: Result<EndpointReply, Unread>,
    form: Form<'_>,
    who: &Identification,
) -> pingora::Result<EndpointReply> {
    let reply = match done {
        Ok(reply) => reply,
        Err(Unread::ClientGone(error)) => return Err(error),
        Err(Unread::Refused(denial)) => {
            let answer = Answer::refusal(&denial, form, who.ids.request_id.as_str());
            EndpointReply::refused(answer, denial)
        }
    };
    Ok(EndpointReply { readers: Readers::AsItSays, ..reply })
}
