//! The store that replicas share: Redis 7 or Valkey; one server, the master that Sentinels name, or a
//! cluster.
//!
//! Under a key stand the version (8 bytes) and the bytes. Each verb is one script over one key, which Redis
//! runs whole and alone, with its own clock. A put draws its version here, so that a repetition by the client
//! library (in a cluster it follows moved slots) recognises what it did itself; and it names the latest
//! moment at which it may be done, so that a Redis that hung does nothing of what was given up long ago.
//!
//! - `connect`: connections, as the configuration says
//! - `line`: one connection, and calls over it; `link`: the way to Redis, and whether it holds
//! - `rights`: whether its user may do all that is needed

mod connect;
pub(in crate::io) mod line;
pub(in crate::io) mod link;
mod rights;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redis::{Cmd, RedisResult};

use super::new_version;
use crate::config::settings::Redis;
use crate::core::time::Timestamp;
use crate::flows::ports::{Clock, Store, StoreFault, StoreHealth, StoreKey, Stored, Value, Version};
use line::Line;
use link::KeptLink;

/// How long after its deadline a change may still be made: the server's clock is known as of the latest
/// answer.
const CHANGE_AFTER_DEADLINE: Duration = Duration::from_secs(1);
/// The longest lifetime that is asked for.
const LONGEST_LIFETIME: Duration = Duration::from_secs(10 * 366 * 86_400);

/// KEYS: the key. Returns what is there, and the clock.
const GET: &str = "local t = redis.call('TIME') return {redis.call('GET', KEYS[1]), t[1], t[2]}";

/// KEYS: the key. ARGV: the version that is expected, or nothing; the new one; the bytes; the lifetime, in
/// ms; the latest moment, in ms, or 0. Returns what became of it, and the clock.
pub(super) const PUT: &str = "
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local there = redis.call('GETRANGE', KEYS[1], 0, 7)
if there == ARGV[2] then return {1, now} end
local latest = tonumber(ARGV[5])
if latest > 0 and latest < now then return {2, now} end
if there ~= ARGV[1] then return {0, now} end
redis.call('SET', KEYS[1], ARGV[2] .. ARGV[3], 'PX', ARGV[4])
return {1, now}
";

/// The port [`Store`] over Redis. Starts at once, whether Redis is there or not.
pub struct RedisStore {
    link: Arc<KeptLink>,
}

impl RedisStore {
    /// Must be called inside a runtime.
    pub fn start(settings: Redis, clock: Arc<dyn Clock>) -> Self {
        Self::over(KeptLink::start(settings, clock))
    }

    /// Over a way that others may use too.
    pub(in crate::io) const fn over(link: Arc<KeptLink>) -> Self {
        Self { link }
    }

    /// Grows by one each time that Redis is back.
    pub(super) fn times_reached(&self) -> u64 {
        self.link.times_reached()
    }
}

/// What a `get` over this line finds.
async fn get(line: &Line, key: &str) -> RedisResult<Result<Stored, StoreFault>> {
    let mut command = script(GET, key);
    let (value, seconds, micros): (Option<Vec<u8>>, i64, i64) = line.query(&mut command).await?;
    let now = Timestamp::from_millis(seconds.saturating_mul(1000).saturating_add(micros / 1000));
    line.clock_says(now);
    let value = match value.map(Bytes::from) {
        None => None,
        Some(mut value) if value.len() >= 8 => {
            let bytes = value.split_off(8);
            let version = value.first_chunk().map(|version| Version(u64::from_be_bytes(*version)));
            version.map(|version| (version, bytes))
        }
        Some(_) => {
            let why = format!("what is under {key} was not written by Tollgate");
            return Ok(Err(StoreFault::Unavailable(why)));
        }
    };
    Ok(Ok(Stored { value, now }))
}

/// What becomes of a put over this line.
async fn put(
    line: &Line,
    key: &str,
    expected: Option<Version>,
    value: &Value,
) -> RedisResult<Result<Option<Version>, StoreFault>> {
    let version = new_version();
    let expected = expected.map(|version| version.0.to_be_bytes().to_vec()).unwrap_or_default();
    let lifetime = value.lifetime.clamp(Duration::from_millis(1), LONGEST_LIFETIME).as_millis();
    let mut command = script(PUT, key);
    command.arg(expected).arg(&version.0.to_be_bytes()).arg(&*value.bytes);
    command.arg(u64::try_from(lifetime).unwrap_or(u64::MAX)).arg(line.latest());
    let (outcome, now): (u8, i64) = line.query(&mut command).await?;
    line.clock_says(Timestamp::from_millis(now));
    Ok(match outcome {
        0 => Ok(None),
        1 => Ok(Some(version)),
        _ => Err(StoreFault::Deadline),
    })
}

fn script(script: &str, key: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(1).arg(key);
    command
}

impl Store for RedisStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>> {
        async {
            let key = self.link.name(key.as_str());
            self.link.ask(async |line| get(line, &key).await).await
        }
        .boxed()
    }

    fn put_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        value: Value,
    ) -> BoxFuture<'a, Result<Option<Version>, StoreFault>> {
        async move {
            let key = self.link.name(key.as_str());
            self.link.ask(async |line| put(line, &key, expected, &value).await).await
        }
        .boxed()
    }

    fn health(&self) -> StoreHealth {
        self.link.health()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("health", &self.health()).finish_non_exhaustive()
    }
}
