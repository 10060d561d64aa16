//! What the flows need of the world outside, as traits; `io` implements them, tests may too.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};

use crate::config::settings::Issuer;
use crate::core::ids::IssuerName;
use crate::core::time::Timestamp;

/// Reads the wall clock.
pub trait Clock: Debug + Send + Sync {
    fn now(&self) -> Timestamp;
}

/// Fills with bytes that nobody can predict.
pub trait Randomness: Debug + Send + Sync {
    fn fill(&self, bytes: &mut [u8]);
}

/// Fills an array with bytes that nobody can predict.
pub fn random<const N: usize>(source: &dyn Randomness) -> [u8; N] {
    let mut bytes = [0; N];
    source.fill(&mut bytes);
    bytes
}

/// Calls an authorization server. Never repeats a request by itself, follows no redirect, and reads
/// no more than it was told to. `issuer` chooses which certificates are trusted.
pub trait HttpClient: Debug + Send + Sync {
    fn send(
        &self,
        issuer: &IssuerName,
        request: Request<Bytes>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpFault>>;

    /// From here on it calls these issuers; calls under way end as they began.
    ///
    /// # Errors
    /// What cannot be used of them, as text; nothing changes then.
    fn serve(&self, issuers: &[Arc<Issuer>]) -> Result<(), String> {
        let _ = issuers;
        Ok(())
    }
}

/// How long a call may take in all, and how many bytes its answer may have.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub deadline: Duration,
    pub answer_bytes: usize,
}

/// Why a call brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpFault {
    #[error("no connection could be made")]
    Connect,
    #[error("no complete answer within the deadline")]
    Deadline,
    #[error("the connection broke before the answer was complete")]
    Broken,
    #[error("the answer is larger than allowed")]
    TooLarge,
}
