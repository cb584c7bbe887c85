//! The binary `cdc`: parse, run, exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    cdc::cli::main()
}
