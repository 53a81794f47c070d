//! What an actor shows of its unit: it alone changes the
//! [`Snapshot`], and tells what that comes to.

use super::actor::Actor;
use super::history::{Event, between};
use super::plan::verdict::Verdict;
use super::snapshot::{PathView, Registered, Registrant, Registrations, Snapshot, judge};
use super::state::{LunState, PathId};
use crate::config::Coordination;
use crate::device::identity::{Product, SysFs};
use crate::device::maps::Hctl;
use crate::engine::Path;
use crate::scsi::ReservationKey;
use crate::scsi::pr::{FullStatus, ReservationData};
use std::collections::BTreeSet;
use std::time::SystemTime;
use tokio::sync::watch;

/// What an actor shows beside its state, and to whom.
#[derive(Debug)]
pub(super) struct View {
    shown: watch::Sender<Snapshot>,
    /// A client used the unit by this path alone.
    pub(super) single: Option<PathId>,
    /// The paths that answered when they were last asked.
    pub(super) usable: Option<BTreeSet<PathId>>,
    /// Registrations are read even if none of them can be ours.
    pub(super) curious: bool,
    /// The last PERSISTENT RESERVE OUT that did not end GOOD.
    pub(super) failure: Option<String>,
    /// What multipathd is told.
    policy: Coordination,
    product: Option<Product>,
    /// The last READ RESERVATION, and when.
    read: Option<(ReservationData, SystemTime)>,
    /// The last READ FULL STATUS, or else the last READ KEYS.
    listed: Option<Listed>,
    /// What READ RESERVATION said when those were last asked for.
    listed_at: Option<ReservationData>,
}

/// Who is registered, as the unit says.
#[derive(Debug, Clone)]
pub(super) enum Listed {
    /// READ FULL STATUS.
    Status(FullStatus),
    /// READ KEYS, of a unit that knows no more.
    Keys(Vec<ReservationKey>),
}

impl View {
    pub(super) fn new(shown: watch::Sender<Snapshot>, policy: Coordination) -> Self {
        View {
            shown,
            single: None,
            usable: None,
            curious: false,
            failure: None,
            policy,
            product: None,
            read: None,
            listed: None,
            listed_at: None,
        }
    }

    /// READ RESERVATION just said this.
    pub(super) fn saw(&mut self, data: Option<ReservationData>) {
        if let Some(data) = data {
            self.read = Some((data, SystemTime::now()));
        }
    }

    /// READ FULL STATUS just said this.
    pub(super) fn saw_status(&mut self, status: &FullStatus) {
        self.listed = Some(Listed::Status(status.clone()));
        self.listed_at = None;
    }

    /// True where the registrations are to be read once more to be those of
    /// this moment. A RESERVE moves no generation, and makes another holder.
    fn is_behind(&mut self, now: &ReservationData) -> bool {
        if self.listed_at.as_ref() == Some(now) {
            return false;
        }
        self.listed_at = Some(*now);
        match &self.listed {
            Some(Listed::Status(status)) => !agrees(status, now),
            Some(Listed::Keys(_)) | None => true,
        }
    }

    fn find_product(&mut self, sysfs: &SysFs, paths: &[PathView]) {
        if self.product.is_some() {
            return;
        }
        let ids = paths.iter().map(|path| &path.id).chain(&self.single);
        let mut real = ids.filter(|id| Hctl::parse(&id.0).is_some());
        self.product = real.next().and_then(|id| sysfs.product(&id.0));
    }
}

/// True where a list of registrations can be of the same moment as this.
fn agrees(status: &FullStatus, now: &ReservationData) -> bool {
    let mut holders = status
        .descriptors
        .iter()
        .filter_map(|row| Some((row.key, row.holder?)));
    let same = match now.reservation {
        None => holders.next().is_none(),
        Some(held) => holders.next().is_some_and(|(key, scope_type)| {
            let by_all = held.key.is_zero();
            scope_type == held.scope_type && (by_all || key == held.key)
        }),
    };
    same && status.generation == now.generation
}

impl Actor {
    /// READ RESERVATION said this, after what was read before: what is shown of
    /// the registrations is brought up to it.
    pub(super) async fn show_registrations(
        &mut self,
        source: &super::route::Source,
        paths: &[Path],
        now: Option<ReservationData>,
        until: tokio::time::Instant,
    ) {
        self.view.saw(now);
        let behind = now.is_some_and(|now| self.view.is_behind(&now));
        if !behind {
            return;
        }
        let engine = self.engine(paths, source, until);
        let listed = match engine.registrations().await {
            Some(status) => Some(Listed::Status(status)),
            None => engine.keys().await.map(|list| Listed::Keys(list.keys)),
        };
        self.view.listed = listed.or_else(|| self.view.listed.take());
    }

    /// Remembers something that happened, and tells those who listen.
    pub(super) fn tell(&self, event: Event) {
        self.shared.history.add(event);
    }

    /// Shows how things are; watchers hear of it where that is new.
    pub(super) fn publish(&mut self) {
        let source = self.source.as_ref();
        let paths = source.and_then(|source| self.shared.cached(source));
        let mut paths: Vec<_> = paths
            .iter()
            .flat_map(|paths| paths.iter())
            .map(|path| see(&self.state, path, self.view.usable.as_ref()))
            .collect();
        paths.sort_by(|a, b| a.id.cmp(&b.id));
        self.view.find_product(&self.sysfs, &paths);
        let view = &self.view;
        let single = view.single.is_some() && source.is_none();
        let (state, reason) = judge(&self.state, self.said, &paths, single);
        let made = self.state.registration().or(self.state.former());
        let ended = self.state.ended().map(|(key, _)| key);
        let read = view.read.as_ref();
        let mut settings = self.settings.borrow().clone();
        settings.multipathd = view.policy;
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
            registrations: view.listed.as_ref().map(|listed| list(&self.state, listed)),
            paths,
            guarded: self.shared.watch.is_confirmed(),
            settings,
            product: view.product.clone(),
            failure: view.failure.clone(),
            checked: read.map(|(_, time)| *time),
            changed: None,
        };
        let mut events = Vec::new();
        view.shown.send_if_modified(|shown| {
            let news = !snapshot.is_like(shown);
            if news {
                events = between(shown, &snapshot);
            }
            let changed = match news {
                true => Some(SystemTime::now()),
                false => shown.changed,
            };
            *shown = Snapshot {
                changed,
                ..snapshot
            };
            news
        });
        for event in events {
            self.tell(event);
        }
    }

    /// What the last verdict keeps from being registered, and why.
    pub(super) fn tell_unproven(&self, verdict: Verdict) {
        let Some(source) = self
            .source
            .as_ref()
            .filter(|_| verdict == Verdict::Unproven)
        else {
            return;
        };
        let paths = self.shared.cached(source);
        let paths = paths.iter().flat_map(|paths| paths.iter());
        for path in paths.filter(|path| !self.state.is_covered(&path.id)) {
            self.tell(Event::Refused {
                path: path.id.clone(),
                reason: "nothing shows that the registration stands".into(),
            });
        }
    }
}

/// The registrations, with what we know of them.
fn list(state: &LunState, listed: &Listed) -> Registrations {
    let status = match listed {
        Listed::Status(status) => status,
        Listed::Keys(keys) => {
            let keys = keys.clone();
            return Registrations {
                keys,
                registrants: Vec::new(),
            };
        }
    };
    let rows = status.descriptors.iter().map(|row| Registrant {
        key: row.key,
        nexus: row.nexus.clone(),
        all_tg_pt: row.all_tg_pt,
        holder: row.holder.is_some(),
        local: state.is_own(&row.nexus),
        path: state.path_of(&row.nexus).cloned(),
    });
    Registrations {
        keys: status.descriptors.iter().map(|row| row.key).collect(),
        registrants: rows.collect(),
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
        offline: !path.ready,
        nexus: state.nexus(&path.id).cloned(),
        sense: path.last_sense(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::pr::{FullDescriptor, NexusId, Reservation};
    use crate::scsi::{ReservationType, ScopeType, TransportId};

    const KEY: ReservationKey = ReservationKey(0xa1);

    fn status(holder: Option<ScopeType>) -> FullStatus {
        let nexus = NexusId {
            transport_id: TransportId::sas(1),
            relative_target_port: 1,
        };
        let row = FullDescriptor {
            key: KEY,
            all_tg_pt: false,
            holder,
            nexus,
        };
        FullStatus::new(7, vec![row])
    }

    fn now(generation: u32, held: Option<(ReservationKey, ScopeType)>) -> ReservationData {
        let reservation = held.map(|(key, scope_type)| Reservation { key, scope_type });
        ReservationData {
            generation,
            reservation,
        }
    }

    #[test]
    fn a_list_of_another_moment_is_known_to_be_one() {
        let wero = ReservationType::WriteExclusiveRegistrantsOnly.into();
        let wear: ScopeType = ReservationType::WriteExclusiveAllRegistrants.into();
        let (none, held) = (status(None), status(Some(wero)));
        assert!(agrees(&none, &now(7, None)));
        assert!(agrees(&held, &now(7, Some((KEY, wero)))));
        assert!(agrees(
            &status(Some(wear)),
            &now(7, Some((ReservationKey::ZERO, wear)))
        ));
        assert!(!agrees(&none, &now(8, None)));
        assert!(!agrees(&held, &now(7, None)));
        assert!(!agrees(&none, &now(7, Some((KEY, wero)))));
        assert!(!agrees(&held, &now(7, Some((ReservationKey(0xb1), wero)))));
    }

    #[test]
    fn a_unit_is_asked_once_for_each_moment() {
        let shown = watch::channel(Snapshot::new(crate::device::identity::Wwid::new("3"))).0;
        let mut view = View::new(shown, Coordination::default());
        assert!(view.is_behind(&now(7, None)));
        // Whatever came of it.
        assert!(!view.is_behind(&now(7, None)));
        assert!(view.is_behind(&now(8, None)));
        view.saw_status(&status(None));
        assert!(!view.is_behind(&now(7, None)));
        assert!(!view.is_behind(&now(7, None)));
    }
}
