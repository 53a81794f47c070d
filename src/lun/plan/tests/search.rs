//! The search: every order of events, with the steps of the daemon in between.
//!
//! After each, everything is given time: the daemon works until it has nothing
//! to do, once with the paths as they are and once with all of them back. Then
//!
//! 1. a fence stands: where our client's registration was taken away, or it gave
//!    it up, no path of ours that can be reached has its key;
//! 2. every path that can be reached has the key, while the registration stands;
//! 3. no path keeps a key that the client has given up;
//! 4. nobody else's key was replaced;
//! 5. PRGENERATION moved by no more than what was missing.
//!
//! An event is a choice, the daemon's steps are free: at each point either the
//! daemon takes its next step or something happens, until the events are used up.

use super::super::check::{Check, without};
use super::world::{Event, Known, World};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What was found wrong, and how to get there.
#[derive(Debug)]
struct Found {
    what: String,
    trail: Vec<String>,
}

#[derive(Debug, Default)]
struct Search {
    /// States, with the most events that were left there.
    visited: HashMap<u64, usize>,
    trail: Vec<String>,
}

impl Search {
    fn explore(&mut self, world: &World, left: usize) -> Result<(), Found> {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        let known = self.visited.insert(hasher.finish(), left + 1);
        if let Some(before) = known
            && before > left
        {
            self.visited.insert(hasher.finish(), before);
            return Ok(());
        }
        if known.is_none() {
            self.judge(world)?;
        }
        if world.is_busy() {
            let mut next = world.clone();
            next.step();
            self.descend(&next, left, "step".into())?;
        }
        if left > 0 {
            for event in world.events() {
                let mut next = world.clone();
                if next.happen(event) {
                    self.descend(&next, left - 1, format!("{event:?}"))?;
                }
            }
        }
        Ok(())
    }

    fn descend(&mut self, world: &World, left: usize, what: String) -> Result<(), Found> {
        self.trail.push(what);
        self.explore(world, left)?;
        self.trail.pop();
        Ok(())
    }

    fn judge(&self, world: &World) -> Result<(), Found> {
        let wrong = |what: &str, world: &World| {
            Err(Found {
                what: format!("{what}: {world:?}"),
                trail: self.trail.clone(),
            })
        };
        for back in [false, true] {
            let mut world = world.clone();
            if back {
                world.bring_all_up();
            }
            let rests = world.settle() && world.happen(Event::Poll) && world.settle();
            if !rests {
                return wrong("the daemon never comes to rest", &world);
            }
            if world.trespassed {
                return wrong("a foreign key was replaced", &world);
            }
            if world.unasked {
                return wrong("a key was put on a path without being asked for", &world);
            }
            if back && world.withdrawn && !world.excused && !world.holding().is_empty() {
                return wrong("a key stays that the client gave up", &world);
            }
            let ours = |index: &usize| !world.beyond.contains(index);
            let known = world.fenced && !world.unknowable;
            if back && known && world.holding().iter().any(ours) {
                return wrong("a fence was undone", &world);
            }
            if back && !world.excused && !world.stale().is_empty() {
                return wrong("an old key stays", &world);
            }
            let ended = world.fenced || world.withdrawn || world.excused;
            let stands = world.is_armed() && !ended;
            if stands && !world.lacking().is_empty() {
                return wrong("a path stays unregistered", &world);
            }
            if !ended && !world.is_armed() {
                return wrong("a registration was given up", &world);
            }
            let steps = world.steps;
            let to_go = world.fenced && !world.holding().is_empty();
            let in_order = world.lacking().is_empty() && world.stale().is_empty() && !to_go;
            world.happen(Event::Poll);
            world.settle();
            if in_order && world.steps != steps {
                return wrong("PRGENERATION is stepped for nothing", &world);
            }
        }
        Ok(())
    }
}

fn search(paths: usize, events: usize) -> Result<usize, Found> {
    let mut search = Search::default();
    for known in [Known::Paths, Known::Nexuses, Known::Nothing] {
        search.explore(&World::new(paths, known), events)?;
    }
    Ok(search.visited.len())
}

/// The sizes to search: paths, and events. One event more, by this variable,
/// takes ten times as long.
const MORE: &str = "RESERVD_SEARCH_MORE";

#[test]
fn no_order_of_events_undoes_a_fence() {
    let more = std::env::var(MORE).ok().and_then(|more| more.parse().ok());
    let more: usize = more.unwrap_or(0);
    let mut total = 0;
    for (paths, events) in [(1, 4), (2, 3), (3, 2)] {
        let events = events + more;
        let states = search(paths, events).unwrap_or_else(|found| {
            panic!("after {}: {}", found.trail.join(", "), found.what);
        });
        println!("{paths} paths, {events} events in any order: {states} states");
        total += states;
    }
    assert!(total > 10_000, "{total} states are too few to mean much");
}

/// Each check left out in turn, with the size at which that shows.
#[test]
fn every_check_is_needed() {
    for (check, paths, events) in [
        (Check::OwnNexus, 1, 2),
        (Check::WholeList, 1, 2),
        (Check::MissingIsGone, 1, 2),
        (Check::Anchor, 1, 2),
        (Check::Explained, 2, 3),
        (Check::ReadAgain, 1, 2),
        (Check::NoteFirst, 1, 3),
        (Check::FromNothing, 2, 2),
        (Check::TakeBackAfterLoss, 2, 3),
        (Check::PayDebts, 1, 2),
        (Check::SameBoot, 1, 2),
        (Check::NothingPending, 2, 3),
    ] {
        let found = without(check, || search(paths, events)).err();
        let found = found.unwrap_or_else(|| panic!("{check:?} is not missed"));
        let what = found.what.split(':').next().unwrap_or_default();
        println!(
            "without {check:?}: {what}, after {}",
            found.trail.join(", ")
        );
    }
}
