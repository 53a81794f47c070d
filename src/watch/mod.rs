//! What happens to maps and their paths, as the kernel and udev tell it.
//!
//! [`monitor`] hears their messages, [`event`] makes a [`Hint`] of those that
//! matter, [`walk`] finds the unit that a hint is about. A hint may be late,
//! repeated, lost or out of order, so nothing is done because of what it says:
//! it only says what to look at again. Another host's command on a unit has no
//! event at all.
//!
//! [`Hint`]: event::Hint

#![forbid(unsafe_code)]

pub mod batch;
pub mod event;
pub mod monitor;
pub mod walk;
