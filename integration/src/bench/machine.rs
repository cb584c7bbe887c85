//! What was measured on: the processor, its cores, the memory, and how busy others kept it.

use std::fs::read_to_string;
use std::thread::available_parallelism;

/// Processor, cores and memory in one line.
#[must_use]
pub fn kind() -> String {
    let processor = field("/proc/cpuinfo", "model name");
    let cores = available_parallelism().map_or(1, |cores| cores.get());
    let kilobytes = field("/proc/meminfo", "MemTotal");
    let kilobytes = kilobytes.split(' ').next().and_then(|n| n.parse().ok());
    let gigabytes = kilobytes.unwrap_or(0_u64) >> 20;
    format!("{processor}, {cores} cores, {gigabytes} GB")
}

/// The load of the last minute: how many threads ran or wanted to, ours and others'.
#[must_use]
pub fn load() -> f64 {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().and_then(|n| n.parse().ok());
    first.unwrap_or_default()
}

fn field(file: &str, name: &str) -> String {
    let text = read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(
        || "unknown".to_owned(),
        |(_, value)| value.trim().to_owned(),
    )
}
