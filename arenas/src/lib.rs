//! How many arenas the C library's allocator keeps.
//!
//! glibc gives every thread an arena of its own, eight for each core at most. A batch of changes is made on the source's
//! thread and let go on a sink's, and goes back to the arena that it came from, which keeps it until that same thread
//! wants as much again; so do the journal's pages and a file's. While a binlog was drained into Parquet, twelve arenas
//! had 93 MB of the system, of which 66 were in use; one arena took 24 MB less and as much processor time. Small pieces
//! are served from each thread's own cache whatever the number, so the lock that large ones share is seldom waited for.
//!
//! This is a crate of its own because setting it is unsafe to the compiler: it has that one line, and nothing else.

/// Lets all threads share one arena. To be called before there is a second thread; what the environment says
/// (`MALLOC_ARENA_MAX`) goes first. Does nothing where the C library is not glibc.
pub fn share_one() {
    #[cfg(target_env = "gnu")]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        #[expect(
            unsafe_code,
            reason = "the function takes two numbers and only sets what the allocator does from then on, under its lock"
        )]
        // It refuses only numbers that it does not know.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}
