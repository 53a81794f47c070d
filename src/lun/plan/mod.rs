//! What to do about a registration: pure, from what is known and what the unit
//! says to the next command.
//!
//! [`verdict`] tells whether the registration our client made still stands;
//! [`round`] brings paths in line with that, one [`step`] after another. Neither
//! sends anything: the engine does, and the search in the tests does it against
//! a simulated unit, with everything that can happen in between.

pub mod check;
pub mod round;
pub mod step;
pub mod verdict;

#[cfg(test)]
mod tests;
