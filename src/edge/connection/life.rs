//! Ends all connections that came in under one TLS configuration: when their listener stops, or when the
//! configuration (its certificates, for one) changes.
//!
//! pingora gives an app a single shutdown signal, and then ends a connection gently: its next answer is the
//! last, and over HTTP/2 a GOAWAY says so at once (RFC 9113 section 6.8). So both ends are merged into one
//! signal here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pingora::server::ShutdownWatch;
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Life {
    ended: watch::Sender<bool>,
    /// Whether a task already passes on the listener's shutdown.
    hears: AtomicBool,
}

impl Default for Life {
    fn default() -> Self {
        Self { ended: watch::Sender::new(false), hears: AtomicBool::new(false) }
    }
}

impl Life {
    /// Ends the connections, because the configuration has changed.
    pub(in crate::edge) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// A signal that is set when the listener stops or [`Self::end`] is called. `shutdown`: the listener's
    /// own, the same for all of its connections.
    pub(in crate::edge) fn until(self: &Arc<Self>, shutdown: ShutdownWatch) -> ShutdownWatch {
        let mut watch = self.ended.subscribe();
        if *watch.borrow() {
            // Over HTTP/2 pingora waits only for a change, and a new subscriber has already seen the current
            // value.
            watch.mark_changed();
        }
        if !self.hears.swap(true, Ordering::AcqRel) {
            tokio::spawn(hear(self.clone(), shutdown, watch.clone()));
        }
        watch
    }
}

async fn hear(life: Arc<Life>, mut shutdown: ShutdownWatch, mut ended: ShutdownWatch) {
    tokio::select! {
        told = shutdown.wait_for(|told| *told) => if told.is_ok() {
            life.end();
        },
        _ = ended.wait_for(|ended| *ended) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn either_end_is_told_to_all() {
        for by_listener in [true, false] {
            let (listener, shutdown) = watch::channel(false);
            let life = Arc::new(Life::default());
            let mut both = [life.until(shutdown.clone()), life.until(shutdown)];
            assert!(!*both[0].borrow() && !*both[1].borrow());
            if by_listener {
                listener.send_replace(true);
            } else {
                life.end();
            }
            for watch in &mut both {
                watch.wait_for(|told| *told).await.unwrap();
            }
        }
    }

    /// The connection's handshake took longer than its life.
    #[tokio::test]
    async fn whoever_comes_when_it_has_ended_is_told_of_a_change() {
        let (_listener, shutdown) = watch::channel(false);
        let life = Arc::new(Life::default());
        let _first = life.until(shutdown.clone());
        life.end();
        let mut late = life.until(shutdown);
        assert!(late.has_changed().unwrap() && *late.borrow_and_update());
    }

    #[tokio::test]
    async fn that_nobody_can_tell_of_the_listener_any_more_is_no_end() {
        let (listener, shutdown) = watch::channel(false);
        let life = Arc::new(Life::default());
        let told = life.until(shutdown.clone());
        drop(listener);
        hear(life, shutdown, told.clone()).await;
        assert!(!*told.borrow());
    }
}
