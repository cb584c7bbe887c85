//! How many arenas several threads have, in a process that shares two and in one whose environment says otherwise.
//!
//! Runs itself: a process's arenas are settled before it has a second thread.

use std::process::{Command, exit};
use std::sync::{Arc, Barrier};
use std::thread;

const THREADS: usize = 3;

fn main() {
    if std::env::args().any(|argument| argument == "count") {
        cdc_arenas::share();
        exit(arenas_of_threads());
    }
    let count = |most: Option<&str>| {
        let program = std::env::current_exe().expect("the program has a path");
        let mut command = Command::new(program);
        command.arg("count").env_remove("MALLOC_ARENA_MAX");
        command.envs(most.map(|most| ("MALLOC_ARENA_MAX", most)));
        command.status().expect("the program runs").code()
    };
    if cfg!(all(target_os = "linux", target_env = "gnu")) {
        assert_eq!(
            count(None),
            Some(1),
            "all share one beside the first thread's"
        );
        assert_eq!(count(Some("3")), Some(2), "the environment goes first");
    }
}

/// Arenas beside the first thread's, while threads hold what they have allocated.
fn arenas_of_threads() -> i32 {
    let meeting = Arc::new(Barrier::new(THREADS + 1));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || {
                let held = vec![1u8; 64 << 10];
                meeting.wait();
                meeting.wait();
                held.len()
            })
        })
        .collect();
    meeting.wait();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the process has maps");
    meeting.wait();
    for thread in threads {
        thread.join().expect("the thread ends");
    }
    // Each begins at a multiple of what one of its parts may grow to.
    let begin = |line: &str| u64::from_str_radix(line.split('-').next()?, 16).ok();
    let arenas = maps.lines().filter(|line| {
        let whole = begin(line).is_some_and(|begin| begin % (64 << 20) == 0);
        whole && line.contains(" rw-p 00000000 00:00 0")
    });
    i32::try_from(arenas.count()).unwrap_or(i32::MAX)
}
