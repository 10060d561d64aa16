//! What a client gets of the trailers of an upstream's answer (RFC 9110 section 6.5.1). They pass over HTTP/2
//! alone, as gRPC needs them; pingora drops all others.
//!
//! Fields that say how an answer is framed, kept, read or who somebody is have no meaning there: the gateway
//! has judged the head, and what a proxy on the way merges into it must not undo that.

use http::{HeaderMap, HeaderName, header};

use crate::core::forwarded::X_REQUEST_ID;

/// Leaves what only the head of an answer may say out.
pub(crate) fn to_client(trailers: &mut HeaderMap) {
    let gone: Vec<HeaderName> = trailers.keys().filter(|name| is_of_the_head(name)).cloned().collect();
    for name in gone {
        trailers.remove(name);
    }
}

fn is_of_the_head(name: &HeaderName) -> bool {
    const OF_THE_HEAD: [HeaderName; 10] = [
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::LOCATION,
        header::PROXY_AUTHENTICATE,
        header::SET_COOKIE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::VARY,
        header::WWW_AUTHENTICATE,
    ];
    OF_THE_HEAD.contains(name) || *name == X_REQUEST_ID || name.as_str().starts_with("access-control-")
}
