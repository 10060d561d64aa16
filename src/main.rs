//! The binary. What it does is in `tollgate::cli`.

/// Requests are many small pieces of memory, and this allocator is the cheapest for those (docs/performance.md).
#[cfg(feature = "edge")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tollgate::cli::main()
}
