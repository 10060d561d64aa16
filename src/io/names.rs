//! The addresses of names that are called from here: authorization servers, Redis. A look-up belongs to its
//! name. The system's resolver asks one nameserver after the other, for 5 seconds each (resolv.conf(5)), and
//! who waited for it may have given up by then: what it finds is for those that come later.
//!
//! It must never let an outage of the resolver take away addresses that are still good.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::net::lookup_host;
use tokio::time::Instant;

/// How long what was found is used as it is; later there is another look-up behind whoever asks.
const FRESH_FOR: Duration = Duration::from_secs(3);
/// When it is looked up again before it is used: an address may be somebody else's by then.
const TOO_OLD_AFTER: Duration = Duration::from_secs(60);
/// How many names are remembered. The configuration has few, but an issuer's metadata may name any.
const MOST_NAMES: usize = 1000;

/// Addresses without a port.
pub(super) type Addresses = Arc<[SocketAddr]>;

type Resolver = dyn Fn(String) -> BoxFuture<'static, io::Result<Addresses>> + Send + Sync;
type LookUp = Shared<BoxFuture<'static, Result<Addresses, Arc<io::Error>>>>;

/// What is known of names. A clone knows the same.
#[derive(Clone)]
pub(super) struct Names {
    resolver: Arc<Resolver>,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

#[derive(Default)]
struct Known {
    found: Option<Found>,
    /// The latest, under way or over.
    look_up: Option<LookUp>,
}

#[derive(Clone)]
struct Found {
    addresses: Addresses,
    at: Instant,
}

impl Default for Names {
    fn default() -> Self {
        Self::with(|name| async move { Ok(lookup_host((name, 0)).await?.collect()) }.boxed())
    }
}

impl Names {
    pub(super) fn with(
        resolver: impl Fn(String) -> BoxFuture<'static, io::Result<Addresses>> + Send + Sync + 'static,
    ) -> Self {
        Self { resolver: Arc::new(resolver), known: Arc::default() }
    }

    /// At least one.
    ///
    /// # Errors
    /// That of the resolver, where nothing is known from before.
    pub(super) async fn addresses(&self, name: &str) -> io::Result<Addresses> {
        if let Ok(literal) = name.parse::<IpAddr>() {
            return Ok(Arc::new([SocketAddr::new(literal, 0)]));
        }
        let found = self.known().get(name).and_then(|known| known.found.clone());
        match found {
            Some(found) if found.at.elapsed() < FRESH_FOR => Ok(found.addresses),
            Some(found) if found.at.elapsed() < TOO_OLD_AFTER => {
                drop(self.look_up(name));
                Ok(found.addresses)
            }
            found => match (self.look_up(name).await, found) {
                (Ok(addresses), _) => Ok(addresses),
                (Err(_), Some(found)) => Ok(found.addresses),
                (Err(error), None) => Err(io::Error::new(error.kind(), error)),
            },
        }
    }

    /// The one that is under way, or a new one. It goes on by itself.
    fn look_up(&self, name: &str) -> LookUp {
        let mut all = self.known();
        if all.len() >= MOST_NAMES && !all.contains_key(name) {
            all.clear();
        }
        let known = all.entry(name.to_owned()).or_default();
        if let Some(look_up) = known.look_up.as_ref().filter(|look_up| look_up.peek().is_none()) {
            return look_up.clone();
        }
        let (names, name) = (self.clone(), name.to_owned());
        let look_up = async move {
            let found = (names.resolver)(name.clone()).await.map_err(Arc::new)?;
            if found.is_empty() {
                return Err(Arc::new(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
            }
            let now = Found { addresses: found.clone(), at: Instant::now() };
            names.known().entry(name).or_default().found = Some(now);
            Ok(found)
        };
        let look_up = look_up.boxed().shared();
        known.look_up = Some(look_up.clone());
        tokio::spawn(look_up.clone());
        look_up
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{advance, sleep, timeout};

    use super::*;

    const SLOW: Duration = Duration::from_secs(5);
    const NAME: &str = "as.test";

    fn at(number: usize) -> Addresses {
        Arc::new([SocketAddr::from(([10, 0, 0, u8::try_from(number).unwrap()], 0))])
    }

    /// The `n`-th look-up takes its time, and finds that address or nothing.
    fn resolving(
        took: impl Fn(usize) -> (Duration, bool) + Clone + Send + Sync + 'static,
    ) -> (Names, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let asked = count.clone();
        let names = Names::with(move |_| {
            let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
            let (time, finds) = took(number);
            let found = if finds { Ok(at(number)) } else { Err(io::ErrorKind::TimedOut.into()) };
            async move {
                sleep(time).await;
                found
            }
            .boxed()
        });
        (names, count)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_when_nobody_waited_any_more_is_for_those_that_come_later() {
        let (names, count) = resolving(|_| (SLOW, true));
        for _ in 0..4 {
            assert!(timeout(Duration::from_secs(1), names.addresses(NAME)).await.is_err());
        }
        sleep(Duration::from_secs(2)).await;
        assert_eq!(names.addresses(NAME).now_or_never().unwrap().unwrap(), at(1));
        assert_eq!(count.load(Ordering::SeqCst), 1, "all waited for one");
    }

    #[tokio::test(start_paused = true)]
    async fn another_look_up_is_behind_whoever_asks_until_what_is_known_is_too_old() {
        let (names, count) = resolving(|_| (SLOW, true));
        assert_eq!(names.addresses(NAME).await.unwrap(), at(1));
        advance(FRESH_FOR).await;
        assert_eq!(names.addresses(NAME).now_or_never().unwrap().unwrap(), at(1));
        sleep(SLOW + Duration::from_secs(1)).await;
        assert_eq!(names.addresses(NAME).now_or_never().unwrap().unwrap(), at(2), "it has moved");
        advance(TOO_OLD_AFTER).await;
        assert!(names.addresses(NAME).now_or_never().is_none(), "it may be somebody else's");
        assert_eq!(names.addresses(NAME).await.unwrap(), at(3));
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_resolver_fails_what_is_known_stays() {
        let (names, _) = resolving(|number| (Duration::ZERO, number == 2));
        assert_eq!(names.addresses(NAME).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(names.addresses(NAME).await.unwrap(), at(2), "a failure is not remembered");
        advance(100 * TOO_OLD_AFTER).await;
        assert_eq!(names.addresses(NAME).await.unwrap(), at(2));
    }

    #[tokio::test]
    async fn an_address_is_its_own_and_a_name_without_one_is_an_error() {
        let names = Names::with(|_| async { Ok(Addresses::from([])) }.boxed());
        assert_eq!(names.addresses("::1").await.unwrap()[0].ip(), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
        assert_eq!(names.addresses(NAME).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
