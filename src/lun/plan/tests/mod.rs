//! Every order of events up to a depth, and what must hold after each.

mod search;
mod world;
