//! stub: X-Forwarded-*, Forwarded, and who the client is behind trusted proxies.
