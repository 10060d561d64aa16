//! What one of Tollgate's own endpoints answers, and what is kept of the request.

use crate::core::denial::Denial;
use crate::core::ids::FamilyId;
use crate::core::ids::{ClientName, SignalName};
use crate::edge::answers::answer::Answer;
use crate::flows::session::SessionSide;
use crate::state::metrics::RequestOutcome;

/// What became of a request to one of Tollgate's own endpoints.
#[derive(Debug)]
pub(crate) struct EndpointReply {
    pub(crate) answer: Answer,
    pub(crate) readers: Readers,
    /// Where the answer is a refusal: which.
    pub(crate) denial: Option<Denial>,
    // For the log.
    pub(crate) outcome: RequestOutcome,
    pub(crate) client: Option<ClientName>,
    /// Who sent a signal, in the place of a client.
    pub(crate) transmitter: Option<SignalName>,
    pub(crate) subject: Option<String>,
    pub(crate) family: Option<FamilyId>,
    /// What the session cookie came to, where it was the credential; it says subject and family then.
    pub(crate) session: Option<SessionSide>,
}

/// Which pages may read an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Those of the clients.
    ClientPages,
    /// Those that its own headers name; none where they name none.
    AsItSays,
}

impl EndpointReply {
    /// What was asked for was done.
    pub(crate) const fn done(answer: Answer, outcome: RequestOutcome) -> Self {
        Self {
            answer,
            readers: Readers::ClientPages,
            denial: None,
            outcome,
            client: None,
            transmitter: None,
            subject: None,
            family: None,
            session: None,
        }
    }

    pub(crate) fn refused(answer: Answer, denial: Denial) -> Self {
        let outcome = RequestOutcome::from(&denial);
        Self { denial: Some(denial), ..Self::done(answer, outcome) }
    }
}
