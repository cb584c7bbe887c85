//! Where change data capture loses or bends data silently: one test per trap, named after what must hold.

mod many;
mod position;
mod rows;
mod shapes;
mod snapshot;
mod transactions;
