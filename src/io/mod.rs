//! WHOM WE TALK TO. Implementations of the ports: HTTP client, system clock and randomness, files.
