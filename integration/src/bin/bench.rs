//! Placeholder for compilation.
fn main() {}
