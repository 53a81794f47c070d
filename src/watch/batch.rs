//! Hints that came close together.

use super::event::Hint;

/// A flood of more different hints than this is worth a walk over everything.
const MOST: usize = 1024;

/// What came since the last batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Each of them once, in the order in which they came last.
    pub hints: Vec<Hint>,
    /// Messages were lost: everything is to be looked at.
    pub overflow: bool,
}

impl Batch {
    /// Nothing happened.
    pub fn is_empty(&self) -> bool {
        self.hints.is_empty() && !self.overflow
    }

    /// Adds what came now.
    pub fn push(&mut self, hint: Hint) {
        self.hints.retain(|known| *known != hint);
        if self.hints.len() < MOST {
            self.hints.push(hint);
        } else {
            self.overflow = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::identity::DeviceNumber;
    use crate::watch::event::{Change, UnitName};

    fn hint(minor: u32, change: Change) -> Hint {
        let number = DeviceNumber { major: 253, minor };
        let unit = UnitName::Map { number, wwid: None };
        Hint {
            unit,
            path: None,
            change,
        }
    }

    #[test]
    fn a_repeated_hint_counts_once_and_where_it_came_last() {
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        for change in [
            Change::PathFailed,
            Change::PathReinstated,
            Change::PathFailed,
        ] {
            batch.push(hint(0, change));
        }
        batch.push(hint(1, Change::PathFailed));
        let expected = [
            hint(0, Change::PathReinstated),
            hint(0, Change::PathFailed),
            hint(1, Change::PathFailed),
        ];
        assert_eq!(batch.hints, expected);
        assert!(!batch.overflow && !batch.is_empty());
    }

    #[test]
    fn a_flood_is_an_overflow_of_bounded_size() {
        let mut batch = Batch::default();
        for _ in 0..2 {
            (0..1024).for_each(|minor| batch.push(hint(minor, Change::MapChanged)));
        }
        assert!(!batch.overflow, "repetitions are none");
        batch.push(hint(1024, Change::MapChanged));
        assert!(batch.overflow);
        assert_eq!(batch.hints.len(), 1024);
    }
}
