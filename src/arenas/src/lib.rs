//! How many arenas the C library's allocator keeps.
//!
//! glibc gives every thread an arena of its own, eight for each core at most. A batch of changes is made on the source's
//! thread and let go on a sink's, and goes back to the arena that it came from, which keeps it until that same thread
//! wants as much again; so do the journal's pages and a file's. While a binlog was drained into Parquet, twelve arenas
//! had 93 MB of the system, of which 66 were in use. With two the peak is 98 MB instead of 117; with one it is 92, but
//! into Kafka, whose client takes each record from it on one thread and gives it back on another, a quarter more time and
//! processor time go into waiting for its lock.
//!
//! This is a crate of its own because setting it is unsafe to the compiler: it has that one line, and nothing else.

/// How many.
#[cfg(target_env = "gnu")]
const ARENAS: std::ffi::c_int = 2;

/// Lets all threads share two arenas. To be called before there is a second thread; what the environment says
/// (`MALLOC_ARENA_MAX`) goes first. Does nothing where the C library is not glibc.
pub fn share() {
    #[cfg(target_env = "gnu")]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        #[expect(
            unsafe_code,
            reason = "the function takes two numbers and only sets what the allocator does from then on, under its lock"
        )]
        // It refuses only numbers that it does not know.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
    }
}
