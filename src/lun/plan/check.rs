//! The safety checks by name, so that the search can leave one out and show
//! that it is needed.

/// A check that keeps a fence from being undone, or a key from being lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The key's value is no proof: a nexus of ours must have it.
    OwnNexus,
    /// A list that was cut off is no proof.
    WholeList,
    /// A key that is missing from the unit was taken away.
    MissingIsGone,
    /// What we wrote ourselves, or a path that was away, does not show that the
    /// registration stood all along.
    Anchor,
    /// More happened to the unit than the loss of one path.
    Explained,
    /// Registrations are read again after each write.
    ReadAgain,
    /// A write that could restore the very proof that we stand is noted first.
    NoteFirst,
    /// A path is registered only from no key at all.
    FromNothing,
    /// After a loss, no path of ours keeps the key.
    TakeBackAfterLoss,
    /// Old keys go from paths that return.
    PayDebts,
    /// What was written down in another boot arms nothing.
    SameBoot,
    /// A REGISTER that was cut off by our own end arms nothing.
    NothingPending,
}

/// True, but for the one check that a search leaves out.
#[cfg(not(test))]
#[inline]
pub const fn kept(_: Check) -> bool {
    true
}

#[cfg(test)]
pub use mutation::{kept, without};

#[cfg(test)]
mod mutation {
    use super::Check;
    use std::cell::Cell;

    thread_local! {
        static LEFT_OUT: Cell<Option<Check>> = const { Cell::new(None) };
    }

    /// True, but for the one check that a search leaves out.
    pub fn kept(check: Check) -> bool {
        LEFT_OUT.get() != Some(check)
    }

    /// Runs `work` without this check.
    pub fn without<T>(check: Check, work: impl FnOnce() -> T) -> T {
        LEFT_OUT.set(Some(check));
        let result = work();
        LEFT_OUT.set(None);
        result
    }
}
