//! An app whose requests can be ended from outside, also while nothing passes, where no hook of pingora's
//! reaches them: those that were let in and whose access was taken back, and those that stop in the midst of
//! their body over HTTP/2.
//!
//! A request ends by being dropped. Over HTTP/2 its stream is reset, and the others of its connection live;
//! over HTTP/1.1 its connection closes; the upstream's closes too, or its stream is reset. Nobody takes that
//! for a whole answer (RFC 9112 section 8, RFC 9113 section 8.1), but a client of HTTP/1.0, whose answers
//! without a length end just so.

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

/// What has a place for one request at a time: a connection of HTTP/1.1, a stream of HTTP/2.
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

/// One request being served. Small: an idle connection has one, too.
struct UntilEnded<'all> {
    /// `None`: it was ended.
    serving: Option<Serving<'all>>,
    place: Option<Place>,
    open: Option<Arc<OpenRequest>>,
    /// Ends when its body, of HTTP/1.1, has stopped.
    stops: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl UntilEnded<'_> {
    fn has_stopped(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(inflow) = self.place.as_ref().and_then(|place| place.let_in().take_body()) {
            self.stops = Some(Box::pin(async move { inflow.until_stopped().await }));
        }
        self.stops.as_mut().is_some_and(|stops| stops.as_mut().poll(cx).is_ready())
    }

    /// Else it is heard of when it is.
    fn is_ended(&self, cx: &Context<'_>) -> bool {
        self.open.as_ref().is_some_and(|open| open.poll_ending(cx).is_ready())
    }

    /// Takes what it was let in by. Returns whether that was just now.
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
