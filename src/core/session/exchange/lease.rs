//! How replicas agree that an exchange is under way without comparing clocks (see the folder's own header).
//! Whoever flies gives up before any watcher breaks the lease, each by its own clock: so one refresh token is
//! never sent twice while its first answer may still come.

use std::time::Duration;

/// How long the gateway itself waits for a token endpoint; browsers are answered long before.
pub const FLIGHT: Duration = Duration::from_secs(60);
/// How long a flight whose request has not left may go without a beat before others take it for dead.
pub const LEASE: Duration = Duration::from_secs(6);
/// The same once its request has left: longer than any answer may take, for its replica alone may have lost
/// the store.
pub const SENT_LEASE: Duration = FLIGHT.saturating_add(Duration::from_secs(5));
/// How long whoever flies goes on without a beat that the store took; what comes later is not put there any
/// more.
pub const OWN_LEASE: Duration = FLIGHT;
/// How often whoever flies shows that it lives.
pub const BEAT: Duration = Duration::from_millis(1_500);
/// How often a flight of another replica is looked at: soon at first, then less.
pub const LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
