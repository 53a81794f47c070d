//! A logical unit as it is shown to people: a plain copy of what its actor
//! knows, which can be looked at without asking the unit or its actor.

use super::plan::verdict::Verdict;
use super::state::{Loss, LunState, PathId};
use crate::config::Unit;
use crate::device::identity::{DeviceNumber, Product, Wwid};
use crate::scsi::pr::{NexusId, Reservation};
use crate::scsi::{ReservationKey, SenseCode};
use std::fmt;
use std::time::SystemTime;

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
    /// The registrations of all hosts when they were last read; `None` before
    /// that.
    pub registrations: Option<Registrations>,
    /// The paths, by their addresses.
    pub paths: Vec<PathView>,
    /// multipathd is known to register returning paths.
    pub guarded: bool,
    /// What is configured for the unit, with what multipathd is told in truth:
    /// that does not change while the unit is in use.
    pub settings: Unit,
    /// Vendor and model, where sysfs has them.
    pub product: Option<Product>,
    /// The last PERSISTENT RESERVE OUT that did not end GOOD, in words.
    pub failure: Option<String>,
    /// When the unit last told us anything of its registrations.
    pub checked: Option<SystemTime>,
    /// When anything of this last became other than it was.
    pub changed: Option<SystemTime>,
}

/// All registrations on a unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registrations {
    /// The keys, one for each registration.
    pub keys: Vec<ReservationKey>,
    /// Who has them; empty where the unit does not support READ FULL STATUS.
    pub registrants: Vec<Registrant>,
}

/// A registration, of whichever host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrant {
    /// Its key.
    pub key: ReservationKey,
    /// The initiator and target port that have it.
    pub nexus: NexusId,
    /// For every target port (ALL_TG_PT).
    pub all_tg_pt: bool,
    /// It holds the reservation.
    pub holder: bool,
    /// It is known to be this host's.
    pub local: bool,
    /// Which of our paths it is, where that is known.
    pub path: Option<PathId>,
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
    /// The kernel fails its commands at once.
    pub offline: bool,
    /// Which nexus it is, once that is known.
    pub nexus: Option<NexusId>,
    /// What a command on it last ended with that was not GOOD.
    pub sense: Option<SenseCode>,
}

impl PathView {
    /// One that nothing is known of.
    pub fn new(id: PathId) -> Self {
        PathView {
            id,
            name: None,
            registered: Registered::Unknown,
            key: None,
            usable: true,
            offline: false,
            nexus: None,
            sense: None,
        }
    }
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

impl State {
    /// The registration of this host stands, on some path at least.
    pub fn stands(self) -> bool {
        matches!(self, State::Ok | State::Degraded | State::Conflict)
    }
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
            registrations: None,
            paths: Vec::new(),
            guarded: false,
            settings: Unit::default(),
            product: None,
            failure: None,
            checked: None,
            changed: None,
        }
    }

    /// True where a nexus of this host holds the reservation.
    pub fn is_held_here(&self) -> bool {
        let (Some(held), Some(all)) = (self.reservation, &self.registrations) else {
            return false;
        };
        match all.registrants.is_empty() {
            false => all.registrants.iter().any(|row| row.holder && row.local),
            true => !held.key.is_zero() && self.state.stands() && self.key == Some(held.key),
        }
    }

    /// True unless they differ in more than times.
    pub(super) fn is_like(&self, other: &Snapshot) -> bool {
        let untimed = Snapshot {
            checked: other.checked,
            changed: other.changed,
            ..self.clone()
        };
        untimed == *other
    }
}

/// The state, and the reason for it.
pub(super) fn judge(
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
            registered,
            usable,
            ..PathView::new(PathId(format!("{number}:0:0:0")))
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
