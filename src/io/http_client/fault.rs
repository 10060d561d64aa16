//! What kept a call from its answer: which of the faults that operators mend in different places.
//!
//! The library tells by texts alone which step of a connection failed, so a look-up and a connection mark
//! their own errors; what is left is of TLS. It must never take a fault for one before the call that may be
//! of it.

use std::error::Error;
use std::io;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiResolver, Name};
use tower_service::Service;

use crate::flows::ports::HttpFault;

/// The system's resolver, whose errors can be told from those of connections.
#[derive(Clone, Debug)]
pub(super) struct Resolver(GaiResolver);

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct NoAddress(#[from] io::Error);

/// No connection, or none to an address of that name.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct NoConnection(pub(super) Box<dyn Error + Send + Sync>);

impl Resolver {
    pub(super) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = NoAddress;
    type Future = BoxFuture<'static, Result<GaiAddrs, NoAddress>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NoAddress>> {
        self.0.poll_ready(context).map_err(NoAddress)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        self.0.call(name).map(|found| found.map_err(NoAddress)).boxed()
    }
}

/// The fault of a call that brought no head of an answer, where no proxy is to blame.
pub(super) fn of(error: &hyper_util::client::legacy::Error) -> HttpFault {
    if !error.is_connect() {
        HttpFault::Broken
    } else if causes(error).any(|cause| cause.is::<NoAddress>()) {
        HttpFault::Dns
    } else if causes(error).any(|cause| cause.is::<NoConnection>()) {
        HttpFault::Connect
    } else if causes(error).any(is_of_the_certificate) {
        HttpFault::Certificate
    } else {
        HttpFault::Tls // the one step that is left, also where the server hangs up in its midst
    }
}

fn is_of_the_certificate(cause: &(dyn Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
}

/// What is below an error, from the top.
pub(super) fn causes<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(below(error), |error| below(*error))
}

/// An `io::Error` leaves out what it was made of when it is asked for its source.
fn below<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let made_of = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    made_of.map(|inner| inner as _).or_else(|| error.source())
}
