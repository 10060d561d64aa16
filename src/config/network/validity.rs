//! When the certificates that Tollgate shows begin and end (RFC 5280 section 4.1.2.5), and what is to be said
//! of it. One that has ended is no mistake of the configuration: some clients do not look, and the rest of
//! the gateway must serve.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Loaded;
use crate::config::error::Mistake;
use crate::config::settings::ShownCertificate;
use crate::config::text::read::Value;
use crate::core::time::Timestamp;

/// What ends within this time is to be renewed now, and what lives for less than three times as long within a
/// third of its life: whoever renews such certificates begins no sooner.
const RENEW_WITHIN: Duration = Duration::from_secs(14 * 86_400);

/// Notes the dates of the first certificate of the file that `value` names, and returns them. One that cannot
/// be read is told elsewhere.
pub(in crate::config) fn note(
    value: &Value<'_>,
    certificate: &CertificateDer<'_>,
) -> Option<ShownCertificate> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    let shown = ShownCertificate {
        file: value.written().to_owned(),
        begins_at: Timestamp::from_secs(validity.not_before.timestamp()),
        ends_at: Timestamp::from_secs(validity.not_after.timestamp()),
    };
    value.shows(shown.clone());
    Some(shown)
}

impl Loaded {
    /// Adds what is to be said at `now` of certificates that have ended, end soon or do not count yet.
    #[must_use]
    pub fn with_dates_at(mut self, now: Timestamp) -> Self {
        for (place, certificate) in &self.dated {
            if let Some(message) = said(certificate, now) {
                self.warnings.push(Mistake { message, ..place.clone() });
            }
        }
        // What has no line stands last: how many more there are.
        self.warnings.sort_by_key(|warning| (warning.line == 0, warning.line, warning.column));
        self.warnings.dedup();
        self
    }
}

fn said(certificate: &ShownCertificate, now: Timestamp) -> Option<String> {
    let ShownCertificate { begins_at, ends_at, .. } = certificate;
    let left = ends_at.since(now);
    if left.is_zero() {
        return Some(format!(
            "ended on {}, so it is refused by whoever looks; renew it",
            ends_at.to_rfc3339()
        ));
    }
    if now < *begins_at {
        let begins_at = begins_at.to_rfc3339();
        return Some(format!(
            "counts from {begins_at} on, and is refused until then by whoever looks; take one that counts now, or set the clock of this machine"
        ));
    }
    let soon = RENEW_WITHIN.min(ends_at.since(*begins_at) / 3);
    (left < soon).then(|| {
        let days = left.as_secs() / 86_400;
        let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        format!("ends on {}, in {days}; renew it", ends_at.to_rfc3339())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_ends_soon_or_does_not_count_yet_is_told() {
        let day = |day: i64| Timestamp::from_secs(day * 86_400);
        let said = |ends_at, now| {
            let certificate = ShownCertificate { file: "a.pem".to_owned(), begins_at: day(10), ends_at };
            said(&certificate, now).unwrap_or_default()
        };
        for (now, told) in [
            (day(9), "counts from 1970-01-11T00:00:00Z on"),
            (day(10), ""),
            (day(86), ""),
            (day(86).plus(Duration::from_millis(1)), "ends on 1970-04-11T00:00:00Z, in 13 days"),
            (day(99), "in 1 day;"),
            (day(100).minus(Duration::from_millis(1)), "in 0 days"),
            (day(100), "ended on 1970-04-11T00:00:00Z"),
            (day(200), "ended on"),
        ] {
            let said = said(day(100), now);
            assert!(said.contains(told) && said.is_empty() == told.is_empty(), "{said}");
        }
        // Of six days, which are renewed every four.
        for (now, told) in [
            (day(11), ""),
            (day(14), ""),
            (day(15), "ends on 1970-01-17T00:00:00Z, in 1 day; renew it"),
            (day(16), "ended on"),
        ] {
            let said = said(day(16), now);
            assert!(said.contains(told) && said.is_empty() == told.is_empty(), "{said}");
        }
    }
}
