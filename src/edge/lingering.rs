//! How a connection of HTTP/1.x ends while its client may still be sending: in stages (RFC 9112 section 9.6).

use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::AsyncReadExt;

/// How much is still read of what a client sends after its last answer.
const MOST: usize = 1024 * 1024;

/// Reads on for a moment after the last answer, until the client closes.
pub(crate) async fn read_on(io: &mut Stream, patience: Duration) {
    let reading = async {
        let (mut seen, mut piece) = (0_usize, [0; 1024]);
        while let Ok(count @ 1..) = io.read(&mut piece).await {
            seen = seen.saturating_add(count);
            if seen > MOST {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(patience, reading).await;
}
