//! How an answer of Tollgate's own leaves: with the session's next cookie, and readable for the pages that
//! may read it.

use pingora::proxy::Session;

use crate::edge::answers::answer::Answer;
use crate::edge::answers::respond;
use crate::edge::proxy::context::Context;

/// Writes an answer of Tollgate's own, so that the pages that may read it can. A session's next cookie goes
/// along.
pub(in crate::edge) async fn reply(
    session: &mut Session,
    context: &mut Context,
    mut answer: Answer,
) -> pingora::Result<()> {
    if let Some(cookie) = context.cookie_that_leaves().await {
        answer.set_session_cookie(cookie);
    }
    answer.share(context.sharing(), &session.req_header().headers);
    respond::send(session, answer, context.downstream.request_id()).await
}
