//! The binary. What it does is in `tollgate::cli`.

/// Requests are many small pieces of memory, and this allocator is the cheapest for those
/// (docs/performance.md). It takes the place of `malloc` itself, for the libraries in C too, so that Rust's
/// default allocator needs nothing else.
#[cfg(feature = "edge")]
use mimalloc as _;

fn main() -> std::process::ExitCode {
    tollgate::cli::main()
}
