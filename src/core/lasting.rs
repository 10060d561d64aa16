//! Which answers go on until somebody ends them: conversations and feeds, unlike a download, however long
//! that takes. They outlive the moment in which their request was judged, and so they are judged again.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

/// Feeds, by their media types: server-sent events (HTML, section 9.2), JSON in lines and sequences (RFC
/// 7464), pictures that replace each other.
const FEEDS: [&str; 4] =
    ["text/event-stream", "application/x-ndjson", "application/json-seq", "multipart/x-mixed-replace"];
/// gRPC and its dialects.
const CALLS: &str = "application/grpc";

/// Whether an answer of this status, with these fields, goes on until somebody ends it. One whose length is
/// known does not.
pub fn lasts(status: StatusCode, fields: &HeaderMap) -> bool {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return true;
    }
    if fields.contains_key(CONTENT_LENGTH) {
        return false;
    }
    let Some(media_type) = fields.get(CONTENT_TYPE) else { return false };
    let essence = media_type.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let starts = |with: &str| {
        essence.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with.as_bytes()))
    };
    starts(CALLS) || FEEDS.iter().any(|feed| essence.eq_ignore_ascii_case(feed.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn conversations_and_feeds_last_and_downloads_do_not() {
        let fields = |media_type: &'static str, length: Option<&'static str>| {
            let mut fields = HeaderMap::new();
            fields.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
            if let Some(length) = length {
                fields.insert(CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            fields
        };
        for lasting in [
            "text/event-stream",
            "Text/Event-Stream; charset=utf-8",
            "application/grpc",
            "application/grpc+proto",
            "application/grpc-web+proto",
            "application/x-ndjson",
            "application/json-seq",
            "multipart/x-mixed-replace;boundary=frame",
        ] {
            assert!(lasts(StatusCode::OK, &fields(lasting, None)), "{lasting}");
            assert!(!lasts(StatusCode::OK, &fields(lasting, Some("10"))), "{lasting} of a known length");
        }
        for other in ["application/json", "text/event-streams", "text/plain", "video/mp4", ""] {
            assert!(!lasts(StatusCode::OK, &fields(other, None)), "{other}");
        }
        assert!(!lasts(StatusCode::OK, &HeaderMap::new()));
        assert!(lasts(StatusCode::SWITCHING_PROTOCOLS, &HeaderMap::new()));
    }
}
