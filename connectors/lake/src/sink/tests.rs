//! The lake against what it promises: the conformance suite, every fault at every step, readers of
//! the folders.

mod conformance;
mod faults;
mod life;
mod reading;
mod script;
