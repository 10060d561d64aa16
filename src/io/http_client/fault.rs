//! What kept a call from its answer: which of the faults that operators mend in different places.
//!
//! The library tells by texts alone which step of a connection failed, so a look-up and a connection mark
//! their own errors; what is left is of TLS. It must never take a fault for one before the call that may be
//! of it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::vec;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::flows::ports::HttpFault;
use crate::io::names::Names;

/// Finds addresses, with errors that can be told from those of connections.
#[derive(Clone, Debug)]
pub(super) struct Resolver(pub(super) Names);

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct NoAddress(#[from] io::Error);

/// No connection, or none to an address of that name.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct NoConnection(pub(super) Box<dyn Error + Send + Sync>);

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = NoAddress;
    type Future = BoxFuture<'static, Result<Self::Response, NoAddress>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoAddress>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.0.clone();
        async move { Ok(names.addresses(name.as_str()).await?.to_vec().into_iter()) }.boxed()
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
