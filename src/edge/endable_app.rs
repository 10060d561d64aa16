//! An app whose requests can be ended from outside, where no hook of pingora's reaches them: what was let in and whose
//! access was taken back, also while nothing passes, and what stops in the midst of its body over HTTP/2.
//!
//! A request ends by being dropped. Over HTTP/2 its stream is reset, and the others of its connection live; over HTTP/1.1
//! its connection closes; the upstream's closes too, or its stream is reset. Nobody takes that for a whole answer (RFC
//! 9112 section 8, RFC 9113 section 8.1).

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;

use crate::config::settings::Patience;
use crate::edge::inflow::Inflow;
use crate::state::open_requests::OpenRequest;

type Reusable = Option<ReusedHttpStream>;
type Serving<'all> = Pin<Box<dyn Future<Output = Reusable> + Send + 'all>>;

/// An app whose requests can be ended.
pub(crate) struct Endable<A> {
    pub(crate) inner: Arc<A>,
    pub(crate) patience: Patience,
}

thread_local! {
    /// What the request that is being polled was let in as, on its way to who polls it.
    static LET_IN: Cell<Option<Arc<OpenRequest>>> = const { Cell::new(None) };
}

/// The request that is being served was let in: whoever serves it hears from `open` when it must end.
pub(crate) fn let_in(open: Arc<OpenRequest>) {
    LET_IN.set(Some(open));
}

/// One request being served. Small: an idle connection has one, too.
struct UntilEnded<'all> {
    /// `None`: it was ended.
    serving: Option<Serving<'all>>,
    open: Option<Arc<OpenRequest>>,
}

impl Future for UntilEnded<'_> {
    type Output = Reusable;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reusable> {
        let Self { serving: Some(serving), open } = &mut *self else { return Poll::Ready(None) };
        if !is_ended(open, cx) {
            LET_IN.set(None);
            if let Poll::Ready(reusable) = serving.as_mut().poll(cx) {
                return Poll::Ready(reusable);
            }
            let Some(new) = LET_IN.take() else { return Poll::Pending };
            *open = Some(new);
            if !is_ended(open, cx) {
                return Poll::Pending;
            }
        }
        self.serving = None;
        Poll::Ready(None)
    }
}

/// Else it is heard of when it is.
fn is_ended(open: &Option<Arc<OpenRequest>>, cx: &Context<'_>) -> bool {
    open.as_ref().is_some_and(|open| open.poll_ending(cx).is_ready())
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
        let serving: Serving<'all> = if session.is_http2() && !session.is_body_done() {
            let inflow = Inflow::new(self.patience);
            session.req_header_mut().extensions_mut().insert(inflow.clone());
            Box::pin(async move {
                tokio::select! {
                    biased;
                    reusable = self.inner.process_new_http(session, shutdown) => reusable,
                    () = inflow.stops() => None,
                }
            })
        } else {
            self.inner.process_new_http(session, shutdown)
        };
        Box::pin(UntilEnded { serving: Some(serving), open: None })
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
