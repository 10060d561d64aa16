//! Ends a request with a body, on its way to a server that may speak HTTP/2, when that server is due to
//! answer and neither side moves for `timeouts.read`.
//!
//! pingora waits for the head of an answer over HTTP/2 with one timer. It starts with the request and is not
//! restarted by the body, so that uploads longer than `timeouts.read` failed. That timer cannot be changed,
//! but pingora reads from the client's session all the while. So the timer is set very long, and a wrapper
//! around the client's session reports when the server is silent.
//!
//! It must never change what passes: except for the waiting, everything is the inner session's. The wrapper
//! is put on when the answer is due, and taken off for code that asks which version of HTTP the client
//! speaks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as Custom;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use crate::edge::request::inflow::Inflow;

/// The watch over one request.
pub(crate) struct Watch {
    inflow: Arc<Inflow>,
    /// How long nothing may pass, either way.
    silence: Duration,
    /// The body has ended, but the session does not say so.
    body_has_ended: bool,
    /// Where the session is put back when the watch is taken off. `None`: the watch is not on.
    within: Option<Arc<Mutex<Option<ServerSession>>>>,
}

impl Watch {
    pub(crate) const fn new(inflow: Arc<Inflow>, silence: Duration) -> Self {
        Self { inflow, silence, body_has_ended: false, within: None }
    }

    /// Wraps the session: the server is waited for from now on.
    pub(crate) fn put_on(&mut self, session: &mut Session) {
        if self.within.is_some() {
            return;
        }
        self.inflow.note_movement();
        let session = &mut *session.downstream_session;
        let within = Arc::new(Mutex::new(None));
        let watched = Watched {
            session: std::mem::replace(session, nobody()),
            inflow: self.inflow.clone(),
            silence: self.silence,
            is_new: true,
            body_has_ended: self.body_has_ended,
            gives_back: within.clone(),
        };
        *session = ServerSession::new_custom(Box::new(watched));
        self.within = Some(within);
    }

    /// Trailers follow the body (RFC 9113 section 8.1). pingora takes them for more of it, which it goes on
    /// asking for: it sends the end twice to a server of HTTP/2, and then looks at the client no more.
    pub(crate) fn end_body(&mut self, session: &mut Session) {
        self.body_has_ended = true;
        self.take_off(session);
        self.put_on(session);
    }

    pub(crate) fn take_off(&mut self, session: &mut Session) {
        let Some(within) = self.within.take() else { return };
        let session = &mut *session.downstream_session;
        drop(std::mem::replace(session, nobody()));
        if let Some(before) = within.lock().take() {
            *session = before;
        }
    }
}

/// A stand-in for the session while that is moved.
fn nobody() -> ServerSession {
    ServerSession::new_custom(Box::new(()))
}

struct Watched {
    session: ServerSession,
    inflow: Arc<Inflow>,
    silence: Duration,
    /// Whether the last piece was handed on only now, however long the server took to take it.
    is_new: bool,
    body_has_ended: bool,
    gives_back: Arc<Mutex<Option<ServerSession>>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.inflow.set_written_to(false);
        *self.gives_back.lock() = Some(std::mem::replace(&mut self.session, nobody()));
    }
}

#[async_trait]
impl Custom for Watched {
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if self.body_has_ended && !no_body_expected {
            return Ok(None);
        }
        if std::mem::take(&mut self.is_new) {
            self.inflow.note_movement();
        }
        let came = tokio::select! {
            biased;
            came = self.session.read_body_or_idle(no_body_expected) => came?,
            () = self.inflow.until_silent(self.silence) => {
                return Error::e_explain(ErrorType::ReadTimedout, "the upstream is silent");
            }
        };
        // pingora asks for the next piece once the server has taken this one.
        self.is_new = true;
        Ok(came)
    }

    /// Does not count the time that the client takes to read.
    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.inflow.set_written_to(true);
        let written = self.session.response_duplex_vec(tasks).await;
        self.inflow.set_written_to(false);
        // Also with a head, or with trailers.
        if matches!(written, Ok(true)) {
            self.inflow.end_answer();
        }
        written
    }

    async fn write_proxy_tasks(&mut self) -> Result<bool> {
        self.inflow.set_written_to(true);
        let written = self.session.write_downstream_proxy_tasks().await;
        self.inflow.set_written_to(false);
        written
    }

    fn req_header(&self) -> &RequestHeader {
        self.session.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.session.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.session.read_request_body().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.session.drain_request_body().await
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, _: bool) -> Result<()> {
        self.session.write_response_header(head).await
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, _: bool) -> Result<()> {
        self.session.write_response_header_ref(head).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.session.write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.session.write_response_trailers(trailers).await
    }

    fn proxy_tasks_enabled(&self) -> bool {
        self.session.supports_proxy_task_api()
    }

    fn send_proxy_task(&mut self, task: HttpTask) {
        self.session.send_downstream_proxy_task(task);
    }

    fn has_pending_proxy_tasks(&self) -> bool {
        self.session.has_pending_downstream_proxy_tasks()
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.session.set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.session.get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.session.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.session.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.session.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.session.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.session.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.session.response_written()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.session.shutdown().await;
    }

    fn is_body_done(&mut self) -> bool {
        self.body_has_ended || self.session.is_body_done()
    }

    /// Finishes the answer's body; the session itself is finished without the watch.
    async fn finish(&mut self) -> Result<()> {
        self.session.finish_body().await
    }

    fn is_body_empty(&mut self) -> bool {
        self.session.is_body_empty()
    }

    fn body_bytes_sent(&self) -> usize {
        self.session.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.session.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.session.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.session.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.session.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.session.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.session.to_h1_raw()
    }

    fn enable_retry_buffering(&mut self) {
        self.session.enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.session.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.session.get_retry_buffer()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }

    fn is_upgrade_req(&self) -> bool {
        self.session.is_upgrade_req()
    }

    fn was_upgraded(&self) -> bool {
        self.session.was_upgraded()
    }
}

/// No protocol of ours has any.
type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;
