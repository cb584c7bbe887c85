//! Records to the letter.
