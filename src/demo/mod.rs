//! `tollgate demo`: an authorization server, an upstream and the gateway in one process.
