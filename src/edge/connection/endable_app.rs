//! An app whose requests can be ended from outside, also while no byte passes and no hook of pingora's runs:
//! requests whose access was taken back, and requests over HTTP/2 whose body stops.
//!
//! A request is ended by dropping its future. Over HTTP/2 its stream is reset, and other streams of the
//! connection live on; over HTTP/1.1 its connection closes. The upstream's connection closes too, or its
//! stream is reset. No client takes that for a whole answer (RFC 9112 section 8, RFC 9113 section 8.1),
//! except one of HTTP/1.0, whose answers without a length always end this way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;

use crate::config::settings::Patience;
use crate::edge::connection::connections::Connection;
use crate::edge::request::inflow::{Inflow, LetIn};
use crate::state::open_requests::OpenRequest;

type Reusable = Option<ReusedHttpStream>;
type Serving<'all> = Pin<Box<dyn Future<Output = Reusable> + Send + 'all>>;

/// An app whose requests can be ended.
pub(crate) struct Endable<A> {
    pub(crate) inner: Arc<A>,
    pub(crate) patience: Patience,
}

/// Where a request announces itself: its connection over HTTP/1.1, its stream over HTTP/2.
enum Place {
    Connection(Arc<Connection>),
    Stream(Arc<Inflow>),
}

impl Place {
    fn let_in(&self) -> &LetIn {
        match self {
            Self::Connection(connection) => &connection.let_in,
            Self::Stream(inflow) => &inflow.let_in,
        }
    }
}

/// One request being served. Kept small, because an idle connection has one, too.
struct UntilEnded<'all> {
    /// `None`: the request was ended.
    serving: Option<Serving<'all>>,
    place: Option<Place>,
    open: Option<Arc<OpenRequest>>,
    /// Completes when the request's body, over HTTP/1.1, has stopped.
    stops: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl UntilEnded<'_> {
    fn has_stopped(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(inflow) = self.place.as_ref().and_then(|place| place.let_in().take_body()) {
            self.stops = Some(Box::pin(async move { inflow.until_stopped().await }));
        }
        self.stops.as_mut().is_some_and(|stops| stops.as_mut().poll(cx).is_ready())
    }

    /// Whether the request was ended. If not, `cx` is woken when it is.
    fn is_ended(&self, cx: &Context<'_>) -> bool {
        self.open.as_ref().is_some_and(|open| open.poll_ending(cx).is_ready())
    }

    /// Takes up the request's entry among the open requests, once there is one. Returns whether it just did.
    fn take_let_in(&mut self) -> bool {
        if self.open.is_some() {
            return false;
        }
        self.open = self.place.as_ref().and_then(|place| place.let_in().take());
        self.open.is_some()
    }
}

impl Future for UntilEnded<'_> {
    type Output = Reusable;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reusable> {
        if !self.is_ended(cx) {
            let Some(serving) = &mut self.serving else { return Poll::Ready(None) };
            if let Poll::Ready(reusable) = serving.as_mut().poll(cx) {
                return Poll::Ready(reusable);
            }
            let ends = self.has_stopped(cx) || (self.take_let_in() && self.is_ended(cx));
            if !ends {
                return Poll::Pending;
            }
        }
        self.serving = None;
        Poll::Ready(None)
    }
}

impl<A> HttpServerApp for Endable<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    fn process_new_http<'me, 'shutdown, 'all>(
        self: &'me Arc<Self>,
        mut session: ServerSession,
        shutdown: &'shutdown ShutdownWatch,
    ) -> Pin<Box<dyn Future<Output = Reusable> + Send + 'all>>
    where
        'me: 'all,
        'shutdown: 'all,
        Self: 'all,
    {
        if !session.is_http2() {
            let place = Connection::of(session.digest()).map(Place::Connection);
            if let Some(place) = &place {
                place.let_in().forget();
            }
            let serving = Some(self.inner.process_new_http(session, shutdown));
            return Box::pin(UntilEnded { serving, place, open: None, stops: None });
        }
        let inflow = Inflow::new(self.patience, Instant::now());
        session.req_header_mut().extensions_mut().insert(inflow.clone());
        let place = Some(Place::Stream(inflow.clone()));
        let has_body = !session.is_body_done();
        let serving = self.inner.process_new_http(session, shutdown);
        let serving: Serving<'all> = if has_body {
            Box::pin(async move {
                tokio::select! {
                    biased;
                    reusable = serving => reusable,
                    () = inflow.until_stopped() => None,
                }
            })
        } else {
            serving
        };
        Box::pin(UntilEnded { serving: Some(serving), place, open: None, stops: None })
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.inner.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.inner.server_options()
    }

    fn http_cleanup<'me, 'all>(&'me self) -> Pin<Box<dyn Future<Output = ()> + Send + 'all>>
    where
        'me: 'all,
        Self: 'all,
    {
        self.inner.http_cleanup()
    }
}
