//! A logical unit as it is shown to people: a plain copy of what its actor
//! knows, which can be looked at without asking the unit or its actor.

use super::actor::Actor;
use super::plan::verdict::Verdict;
use super::state::{Loss, LunState, PathId};
use crate::device::identity::{DeviceNumber, Wwid};
use crate::engine::Path;
use crate::scsi::ReservationKey;
use crate::scsi::pr::{Reservation, ReservationData};
use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;
use tokio::sync::watch;

/// A unit as its actor last saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which unit.
    pub wwid: Wwid,
    /// Its multipath map by name, where it is used by one.
    pub name: Option<String>,
    /// The map's device number.
    pub number: Option<DeviceNumber>,
    /// What became of our registration.
    pub state: State,
    /// Why it is said to be in this state, in words.
    pub reason: String,
    /// The key a client of this host last registered, whether it stands or not.
    pub key: Option<ReservationKey>,
    /// Registered to outlive a power loss of the unit.
    pub aptpl: bool,
    /// PRGENERATION when it was last read.
    pub generation: Option<u32>,
    /// The reservation when it was last read, whoever holds it.
    pub reservation: Option<Reservation>,
    /// The paths, by their addresses.
    pub paths: Vec<PathView>,
    /// multipathd is known to register returning paths.
    pub guarded: bool,
    /// When the unit last told us anything of its registrations.
    pub checked: Option<SystemTime>,
}

/// One path of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathView {
    /// Its address, `2:0:1:0`.
    pub id: PathId,
    /// Kernel name, `sdb`.
    pub name: Option<String>,
    /// Whether our registration is on it.
    pub registered: Registered,
    /// The key it has, as far as that is known.
    pub key: Option<ReservationKey>,
    /// It answered when it was last asked, and is not offline.
    pub usable: bool,
}

/// Whether our registration is on a path, as far as the last reading shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// It is.
    Yes,
    /// No key of ours is there.
    No,
    /// Another key is there.
    Other,
    /// Its nexus is not known, or something happened to it since.
    Unknown,
}

impl fmt::Display for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Registered::Yes => "yes",
            Registered::No => "no",
            Registered::Other => "other",
            Registered::Unknown => "unknown",
        })
    }
}

/// What became of the registration of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It stands on every usable path.
    Ok,
    /// It stands, but not every usable path is known to have it.
    Degraded,
    /// It stands, and a path has a key that we did not put there.
    Conflict,
    /// Nobody here has registered, or who had has unregistered.
    Unregistered,
    /// Used by one path only: what is registered there is the client's own.
    Unmanaged,
    /// Somebody else ended it.
    Ended(Loss),
    /// The unit has not shown whether it stands.
    Unknown,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Ok => "ok",
            State::Degraded => "degraded",
            State::Conflict => "conflict",
            State::Unregistered => "unregistered",
            State::Unmanaged => "unmanaged",
            State::Ended(loss) => return loss.fmt(f),
            State::Unknown => "unknown",
        })
    }
}

impl Snapshot {
    /// Of a unit that nothing is known of yet.
    pub fn new(wwid: Wwid) -> Self {
        let (state, reason) = judge(&LunState::default(), None, &[], false);
        Snapshot {
            wwid,
            name: None,
            number: None,
            state,
            reason,
            key: None,
            aptpl: false,
            generation: None,
            reservation: None,
            paths: Vec::new(),
            guarded: false,
            checked: None,
        }
    }

    /// True unless they differ in more than the time they were taken.
    fn is_like(&self, other: &Snapshot) -> bool {
        let untimed = Snapshot {
            checked: other.checked,
            ..self.clone()
        };
        untimed == *other
    }
}

/// What an actor shows beside its state, and to whom.
#[derive(Debug)]
pub(super) struct View {
    shown: watch::Sender<Snapshot>,
    /// A client used the unit by a single path.
    pub(super) single: bool,
    /// The paths that answered when they were last asked.
    pub(super) usable: Option<BTreeSet<PathId>>,
    /// The last READ RESERVATION, and when.
    read: Option<(ReservationData, SystemTime)>,
}

impl View {
    pub(super) fn new(shown: watch::Sender<Snapshot>) -> Self {
        View {
            shown,
            single: false,
            usable: None,
            read: None,
        }
    }

    /// READ RESERVATION just said this.
    pub(super) fn saw(&mut self, data: Option<ReservationData>) {
        if let Some(data) = data {
            self.read = Some((data, SystemTime::now()));
        }
    }
}

impl Actor {
    /// Shows how things are; watchers hear of it where that is new.
    pub(super) fn publish(&self) {
        let (view, source) = (&self.view, self.source.as_ref());
        let paths = source.and_then(|source| self.shared.cached(source));
        let mut paths: Vec<_> = paths
            .iter()
            .flat_map(|paths| paths.iter())
            .map(|path| see(&self.state, path, view.usable.as_ref()))
            .collect();
        paths.sort_by(|a, b| a.id.cmp(&b.id));
        let single = view.single && source.is_none();
        let (state, reason) = judge(&self.state, self.said, &paths, single);
        let made = self.state.registration().or(self.state.former());
        let ended = self.state.ended().map(|(key, _)| key);
        let read = view.read.as_ref();
        let snapshot = Snapshot {
            wwid: self.wwid.clone(),
            name: source.and_then(|source| source.label()),
            number: source.and_then(|source| source.map()),
            state,
            reason,
            key: made.map(|made| made.key).or(ended),
            aptpl: made.is_some_and(|made| made.flags.aptpl),
            generation: read
                .map(|(data, _)| data.generation)
                .or(self.state.generation()),
            reservation: read.and_then(|(data, _)| data.reservation),
            paths,
            guarded: self.shared.watch.is_confirmed(),
            checked: read.map(|(_, time)| *time),
        };
        view.shown.send_if_modified(|shown| {
            let news = !snapshot.is_like(shown);
            *shown = snapshot;
            news
        });
    }
}

/// A path by what is known of it.
fn see(state: &LunState, path: &Path, usable: Option<&BTreeSet<PathId>>) -> PathView {
    let ours = state.registration().map(|made| made.key);
    let owes = state.owed().iter().any(|(owing, _)| *owing == path.id);
    let last = state.last_key(&path.id).filter(|_| !owes);
    let registered = match last {
        _ if state.is_odd(&path.id) => Registered::Other,
        None => Registered::Unknown,
        Some(key) if Some(key) == ours => Registered::Yes,
        Some(ReservationKey::ZERO) => Registered::No,
        Some(_) => Registered::Other,
    };
    PathView {
        id: path.id.clone(),
        name: path.name.as_deref().map(str::to_owned),
        registered,
        key: last.filter(|key| !key.is_zero()),
        usable: path.ready && usable.is_none_or(|usable| usable.contains(&path.id)),
    }
}

/// The state, and the reason for it.
fn judge(
    state: &LunState,
    said: Option<Verdict>,
    paths: &[PathView],
    single: bool,
) -> (State, String) {
    if state.registration().is_none() {
        let (state, reason) = match state.ended() {
            Some((_, loss)) => (State::Ended(loss), loss.reason()),
            None if state.former().is_some() => (
                State::Unknown,
                "registered before this host was started, and not looked at since",
            ),
            None if single => (
                State::Unmanaged,
                "used by a single path: what is registered there is its client's own",
            ),
            None => (
                State::Unregistered,
                "no client of this host has a key registered",
            ),
        };
        return (state, reason.to_owned());
    }
    if said == Some(Verdict::Unproven) {
        let reason = "nothing shows that the registration stands";
        return (State::Unknown, reason.to_owned());
    }
    let usable = || paths.iter().filter(|path| path.usable);
    let other: Vec<_> = usable()
        .filter(|path| path.registered == Registered::Other)
        .map(|path| path.id.to_string())
        .collect();
    let (with, all) = (
        usable()
            .filter(|path| path.registered == Registered::Yes)
            .count(),
        usable().count(),
    );
    match (other.is_empty(), all) {
        (false, _) => {
            let reason = format!("another key is registered on {}", other.join(", "));
            (State::Conflict, reason)
        }
        (true, 0) => (State::Unknown, "no path can be used".to_owned()),
        (true, _) if with < all => {
            let reason = format!("{with} of {all} usable paths are known to be registered");
            (State::Degraded, reason)
        }
        (true, _) => (State::Ok, "registered on every usable path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::identity::SysFs;
    use crate::journal::{Boot, Loaded};
    use crate::lun::registry::Registry;
    use crate::lun::state::record::Record;
    use crate::scsi::pr::RegisterFlags;
    use std::fs;
    use std::os::unix::fs::symlink;

    const KEY: ReservationKey = ReservationKey(0xa1);

    fn path(number: u32, registered: Registered, usable: bool) -> PathView {
        PathView {
            id: PathId(format!("{number}:0:0:0")),
            name: None,
            registered,
            key: None,
            usable,
        }
    }

    fn registered() -> LunState {
        let mut state = LunState::default();
        let on = [PathId("1:0:0:0".into())];
        state.registered(KEY, RegisterFlags::default(), &on, &on);
        state
    }

    fn judged(state: &LunState, said: Option<Verdict>, paths: &[PathView]) -> String {
        judge(state, said, paths, false).0.to_string()
    }

    #[test]
    fn the_state_follows_from_the_paths() {
        let state = registered();
        let stands = Some(Verdict::Stands);
        let (yes, no, other) = (Registered::Yes, Registered::No, Registered::Other);
        for (paths, expected) in [
            (vec![path(1, yes, true), path(2, yes, true)], "ok"),
            (vec![path(1, yes, true), path(2, no, false)], "ok"),
            (vec![path(1, yes, true), path(2, no, true)], "degraded"),
            (vec![path(1, yes, true), path(2, other, true)], "conflict"),
            (vec![path(1, yes, false)], "unknown"),
        ] {
            assert_eq!(judged(&state, stands, &paths), expected, "{paths:?}");
        }
        let all = [path(1, yes, true)];
        assert_eq!(judged(&state, Some(Verdict::Unproven), &all), "unknown");
    }

    #[test]
    fn an_end_is_named_and_kept() {
        let mut state = registered();
        state.lose(Loss::Fenced, &[]);
        let all = [path(1, Registered::No, true)];
        assert_eq!(judged(&state, None, &all), "fenced");
        state.cleared();
        assert_eq!(judged(&state, None, &all), "unregistered");
        let (single, _) = judge(&LunState::default(), None, &[], true);
        assert_eq!(single, State::Unmanaged);
    }

    /// A unit that nobody has used yet, but that we remember: sysfs is looked at,
    /// no device is.
    #[tokio::test]
    async fn a_map_is_shown_with_its_paths() {
        let sysfs = tempfile::tempdir().unwrap();
        let at = |name: &str| sysfs.path().join(name);
        for (file, text) in [
            ("block/dm-0/dev", "253:0"),
            ("block/dm-0/dm/uuid", "mpath-36001405aaaa"),
            ("block/dm-0/dm/name", "mpatha"),
            ("block/sda/dev", "8:0"),
            ("block/sdb/dev", "8:16"),
            ("scsi/2:0:1:0/state", "offline"),
            ("scsi/3:0:1:0/state", "running"),
        ] {
            fs::create_dir_all(at(file).parent().unwrap()).unwrap();
            fs::write(at(file), text).unwrap();
        }
        for (link, target) in [
            ("block/sda/device", "scsi/2:0:1:0"),
            ("block/sdb/device", "scsi/3:0:1:0"),
            ("block/dm-0/slaves/sda", "block/sda"),
            ("block/dm-0/slaves/sdb", "block/sdb"),
            ("dev/block/253:0", "block/dm-0"),
        ] {
            fs::create_dir_all(at(link).parent().unwrap()).unwrap();
            symlink(at(target), at(link)).unwrap();
        }
        let registry = Registry::new(SysFs::new(sysfs.path()));
        registry.restore(vec![Loaded {
            wwid: "36001405aaaa".into(),
            record: Record::default(),
            boot: Boot::Same,
        }]);
        assert_eq!(*registry.count().borrow(), 1);
        let (_, lun) = registry.units().remove(0);
        let mut shown = lun.snapshot();
        let shown = shown.wait_for(|shown| !shown.paths.is_empty());
        let shown = shown.await.unwrap().clone();
        assert_eq!(shown.name.as_deref(), Some("mpatha"));
        assert_eq!(shown.number.unwrap().to_string(), "253:0");
        assert_eq!(shown.state, State::Unregistered);
        let paths = shown.paths.iter();
        let paths: Vec<_> = paths
            .map(|path| (path.name.as_deref(), path.usable, path.registered))
            .collect();
        assert_eq!(
            paths,
            [
                (Some("sda"), false, Registered::Unknown),
                (Some("sdb"), true, Registered::Unknown)
            ]
        );
    }

    #[test]
    fn the_time_alone_is_no_news() {
        let before = Snapshot::new(Wwid::new("36001405aaaa"));
        let mut after = before.clone();
        after.checked = Some(SystemTime::now());
        assert!(after.is_like(&before));
        after.guarded = true;
        assert!(!after.is_like(&before));
    }
}
