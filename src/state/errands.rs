//! What the gateway still does when the caller has its answer: exchanges whose browser left, revocations at
//! an authorization server, second looks at what was taken back, writes to the store. A stop waits for them,
//! a while.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// The tasks that nobody waits for, counted.
#[derive(Clone, Debug)]
pub struct Errands(Arc<watch::Sender<usize>>);

impl Default for Errands {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Errands {
    /// Runs `task` to its end, whoever leaves meanwhile.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let under_way = UnderWay::begin(self);
        tokio::spawn(async move {
            task.await;
            drop(under_way);
        });
    }

    /// Waits until none is under way, but not longer than `patience`; how many were left then.
    pub async fn finished(&self, patience: Duration) -> usize {
        let mut count = self.0.subscribe();
        let none = count.wait_for(|count| *count == 0);
        if tokio::time::timeout(patience, none).await.is_ok() { 0 } else { *self.0.borrow() }
    }
}

/// One task; also one that panics comes off the count.
struct UnderWay(Errands);

impl UnderWay {
    fn begin(errands: &Errands) -> Self {
        errands.0.send_modify(|count| *count += 1);
        Self(errands.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_stop_waits_for_what_is_under_way_and_not_for_ever() {
        let errands = Errands::default();
        assert_eq!(errands.finished(Duration::ZERO).await, 0);
        let (done, hears) = oneshot::channel::<()>();
        errands.spawn(async move {
            let _ = hears.await;
        });
        assert_eq!(errands.finished(Duration::from_millis(1)).await, 1);
        done.send(()).unwrap();
        assert_eq!(errands.finished(Duration::from_secs(60)).await, 0);
    }

    #[tokio::test]
    async fn a_task_that_panics_is_not_waited_for() {
        let errands = Errands::default();
        errands.spawn(async { panic!("on purpose") });
        assert_eq!(errands.finished(Duration::from_secs(60)).await, 0);
    }
}
