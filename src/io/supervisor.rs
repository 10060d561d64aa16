//! Tells the service manager that started us, if there is one that asked (sd_notify(3)), what it cannot see.

use sd_notify::NotifyState;

/// Requests are taken.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// This process is on its way out.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service from here on; this one ends soon, and that is not the end of the service.
pub fn main_process_is(id: u32) {
    tell(&[NotifyState::MainPid(id), NotifyState::Ready]);
}

fn tell(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::warn!(%error, "the service manager cannot be told how this process fares");
    }
}
