//! What a browser says of a request by itself (Fetch Metadata Request Headers), and how such a header is
//! read: one that is given twice has two readings, and whoever decides by it decides against both.

use http::{HeaderMap, HeaderName, HeaderValue};

pub const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
pub const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
pub const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
pub const PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");

/// It was given more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoReadings;

/// The one value of a header, if it came.
///
/// # Errors
/// [`TwoReadings`]
pub fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, TwoReadings> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(TwoReadings) } else { Ok(first.map(HeaderValue::as_bytes)) }
}
