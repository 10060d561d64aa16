//! One connection to Redis: calls over it, and what is known of the clock at its other end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, FromRedisValue, RedisError, RedisResult};
use tokio::time::Instant;

use super::CHANGE_AFTER_DEADLINE;
use super::connect::Connection;
use crate::core::time::Timestamp;

/// One connection, and what is known of the clock at its other end.
pub(in crate::io) struct Line {
    /// The how manieth this is.
    pub(super) number: u64,
    pub(super) connection: Connection,
    /// When the server said which time it was. `None`: several servers answer, each with its own clock.
    pub(super) clock: Option<Mutex<(Instant, Timestamp)>>,
    /// How long a call over it may take.
    pub(super) deadline: Duration,
}

impl Line {
    pub(in crate::io) async fn query<T: FromRedisValue>(&self, command: &mut Cmd) -> RedisResult<T> {
        self.connection.query(command).await
    }

    /// Whether each server behind it that takes writes does.
    pub(super) async fn all_answer(&self) -> RedisResult<()> {
        self.connection.all_answer().await
    }

    /// Whether calls over it may be answered by one server and then by another.
    pub(in crate::io) const fn leads_to_several(&self) -> bool {
        matches!(self.connection, Connection::Cluster(_))
    }

    pub(in crate::io) fn clock_says(&self, now: Timestamp) {
        if let Some(clock) = &self.clock {
            *clock.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), now);
        }
    }

    /// Until when, by the server's clock in milliseconds, a change that is asked for now may be made: what a
    /// Redis that hung makes of it later, nobody looks for any more. 0: nobody can say.
    pub(in crate::io) fn latest(&self) -> i64 {
        self.clock_in(self.deadline + CHANGE_AFTER_DEADLINE).map_or(0, Timestamp::as_millis)
    }

    /// What the server's clock will say after `time`, at the earliest.
    fn clock_in(&self, time: Duration) -> Option<Timestamp> {
        let (at, said) = *self.clock.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        (said.as_millis() > 0).then(|| said.plus(at.elapsed()).plus(time))
    }
}

/// As the library's error names the alert of a server that asks for a certificate and is shown none (RFC 8446
/// section 6.2). Of a cluster, and of Sentinels, it keeps no more of it than the text.
const CERTIFICATE_REQUIRED: &str = "CertificateRequired";

/// The error for operators: what the library says, without what was sent, and what would be right.
pub(super) fn told(error: &RedisError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    if text.contains(CERTIFICATE_REQUIRED) {
        text.push_str(
            "; it takes only clients that show a certificate (tls-auth-clients): name one, with its key, as `store.certificate` \
             and `store.key`, or set tls-auth-clients no there",
        );
    }
    text
}
