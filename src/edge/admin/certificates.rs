//! Which certificates are shown now, and when they end. A listener that waits for a restart goes on with
//! those that it was started with, or took over last, whatever a reload names by then.

use crate::config::settings::{Settings, ShownCertificate};
use crate::edge::connection::door::Door;

/// Those of the listeners (`doors`) and of calls out, each file once. Where a file was read at two times, and
/// one of the two certificates waits for a restart to go, the one counts that ends first.
pub(super) fn shown<'a>(
    doors: impl IntoIterator<Item = &'a Door>,
    settings: &Settings,
) -> Vec<ShownCertificate> {
    let of_doors = doors.into_iter().flat_map(Door::certificates);
    first_of_each(of_doors.chain(settings.certificates.iter().cloned()))
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
