//! Which certificates are shown now, and when they end. A listener that waits for a restart goes on with
//! those that it was started with, or took over last, and the way to Redis with the one that it was started
//! with, whatever a reload names by then.

use crate::config::settings::{Settings, ShownCertificate, Store};
use crate::edge::connection::door::Door;

/// Those of the listeners (`doors`), of calls out, and towards the `store` that is used, each file once.
/// Where a file was read at two times, and one of the two certificates waits for a restart to go, the one
/// counts that ends first.
pub(super) fn shown<'a>(
    doors: impl IntoIterator<Item = &'a Door>,
    settings: &Settings,
    store: &Store,
) -> Vec<ShownCertificate> {
    let of_doors = doors.into_iter().flat_map(Door::certificates);
    let tls = store.redis.as_ref().and_then(|redis| redis.tls.as_ref());
    let of_store = tls.and_then(|tls| tls.identity.as_ref()).map(|(_, shown)| shown);
    first_of_each(of_doors.chain(settings.certificates.iter().chain(of_store).cloned()))
}

fn first_of_each(shown: impl IntoIterator<Item = ShownCertificate>) -> Vec<ShownCertificate> {
    let mut all: Vec<ShownCertificate> = Vec::new();
    for shown in shown {
        match all.iter_mut().find(|other| other.file == shown.file) {
            Some(other) if other.ends_at <= shown.ends_at => {}
            Some(other) => *other = shown,
            None => all.push(shown),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Timestamp;

    #[test]
    fn of_one_file_that_was_read_twice_the_certificate_counts_that_ends_first() {
        let shown = |file: &str, end| ShownCertificate {
            file: file.to_owned(),
            begins_at: Timestamp::from_secs(0),
            ends_at: Timestamp::from_secs(end),
        };
        let all = [shown("a.pem", 7), shown("b.pem", 9), shown("a.pem", 5), shown("b.pem", 11)];
        assert_eq!(first_of_each(all), [shown("a.pem", 5), shown("b.pem", 9)]);
    }
}
