//! What happened to a map's paths, until its actor looks.

use super::route::Source;
use super::state::{LunState, PathId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// multipathd, where it guards a map, registers a path that returns within
/// this time; we look at what it has left.
const SETTLE: Duration = Duration::from_millis(300);

/// Something that happened to the paths of a map, as far as anybody knows: the
/// actor looks for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// This path went away, came back, or was written to.
    Path {
        /// Which.
        path: PathId,
        /// It is a new device under this name.
        renewed: bool,
        /// multipathd has let I/O through again: where it guards the map, it
        /// has seen to the path itself.
        reinstated: bool,
    },
    /// Paths were added or removed.
    Paths,
    /// Anything may have happened to any path.
    Anything,
}

/// What was noticed and not looked at yet; bounded by the number of paths.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// Paths, and whether they are new under their name.
    paths: BTreeMap<PathId, bool>,
    all: bool,
    /// Where the paths are found now, if that is new.
    pub(super) source: Option<Source>,
    /// When to look.
    pub(super) at: Option<Instant>,
}

impl Notices {
    /// Adds one. Where multipathd guards the map, it is given time.
    pub(super) fn add(&mut self, notice: &Notice, source: Option<Source>, guarded: bool) {
        let settle = match notice {
            Notice::Path {
                reinstated: true, ..
            } if guarded => SETTLE,
            _ => Duration::ZERO,
        };
        let at = Instant::now() + settle;
        match notice {
            Notice::Path { path, renewed, .. } => {
                *self.paths.entry(path.clone()).or_default() |= renewed;
            }
            Notice::Paths => {}
            Notice::Anything => self.all = true,
        }
        self.source = source.or_else(|| self.source.take());
        self.at = Some(self.at.map_or(at, |before| before.min(at)));
    }

    /// True where anything may have happened.
    pub(super) fn is_about_all(&self) -> bool {
        self.all
    }

    /// What is known of the paths suffers from it.
    pub(super) fn tell(&self, state: &mut LunState) {
        if self.all {
            state.disturb_all();
        }
        for (path, renewed) in &self.paths {
            state.disturb(path, *renewed);
        }
    }
}
