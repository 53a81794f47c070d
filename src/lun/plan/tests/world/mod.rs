//! A unit, our paths to it, other hosts, multipathd, and a daemon that can be
//! killed: everything a round can meet, as one value that can be copied.

mod client;
mod daemon;
mod event;

pub use event::Event;

use crate::device::sim::{Config, LogicalUnit};
use crate::lun::plan::round::Round;
use crate::lun::plan::step::Step;
use crate::lun::state::record::Record;
use crate::lun::state::{LunState, PathId};
use crate::scsi::pr::{FullStatus, NexusId};
use crate::scsi::{
    InAction, OutAction, Outcome, PrIn, PrOut, ReservationKey, ScopeType, SenseCode, TransportId,
};
use std::hash::{Hash, Hasher};

/// What our client registers first, and then.
pub const K1: ReservationKey = ReservationKey(0xa1);
pub const K2: ReservationKey = ReservationKey(0xa2);
/// What somebody puts on one of our own paths.
const FOREIGN: ReservationKey = ReservationKey(0xf0);
const RIVAL: ReservationKey = ReservationKey(0xb1);
/// The generation is at least this before a power cycle, and does not get there
/// again after it: or it would not show it, as on a unit that is hardly used.
const HIGH: u32 = 100;

/// What was learned when our client registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Which path is which nexus.
    Paths,
    /// Which nexuses are ours.
    Nexuses,
    /// Nothing: too much happened at the same time.
    Nothing,
}

/// Everything there is.
#[derive(Debug, Clone)]
pub struct World {
    unit: LogicalUnit,
    nexuses: Vec<NexusId>,
    spare: u64,
    up: Vec<bool>,
    state: LunState,
    round: Option<(Round, Step)>,
    /// The nexuses when the round began: its commands go to these devices.
    devices: Vec<NexusId>,
    written: Record,
    multipathd: Option<(usize, ReservationKey)>,
    notices: Vec<Option<bool>>,
    short_list: bool,
    lost_reply: bool,
    due: bool,
    /// Nothing can be proven for now; the daemon waits for the next poll.
    resting: bool,
    /// Our client's registration was taken away since it was made.
    pub fenced: bool,
    /// The paths that lost it then.
    fenced_off: Vec<usize>,
    /// Our client gave it up.
    pub withdrawn: bool,
    /// The host came back, and no client has registered since.
    rebooted: bool,
    /// A key was put on a path that nobody had asked for.
    pub unasked: bool,
    /// Something happened after which paths may stay unregistered.
    pub excused: bool,
    /// multipathd undid a fence on these paths, in a way that is noticed but
    /// proves nothing.
    pub beyond: Vec<usize>,
    /// It did so in a way that nobody can notice.
    pub unknowable: bool,
    /// Others have changed registrations.
    meddled: bool,
    lost_one: bool,
    /// A key was replaced that we do not know.
    pub trespassed: bool,
    /// What our own rounds have changed, in steps of the generation.
    pub steps: u32,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.unit.reservations().hash(hasher);
        (&self.nexuses, &self.up, &self.state, &self.round).hash(hasher);
        // The record follows from the state it was made of.
        format!("{:?}", self.written).hash(hasher);
        (&self.multipathd, &self.notices, self.short_list).hash(hasher);
        (self.lost_reply, self.due, self.resting).hash(hasher);
        (
            self.fenced,
            &self.fenced_off,
            self.withdrawn,
            self.rebooted,
            self.excused,
            &self.beyond,
        )
            .hash(hasher);
        (self.meddled, self.lost_one).hash(hasher);
    }
}

fn nexus(number: u64) -> NexusId {
    NexusId {
        transport_id: TransportId::sas(number),
        relative_target_port: 1,
    }
}

fn rival() -> NexusId {
    nexus(0xb)
}

fn ignore(to: ReservationKey) -> PrOut {
    let action = OutAction::RegisterAndIgnore;
    PrOut::basic(action, ScopeType(0), ReservationKey::ZERO, to)
}

fn path(index: usize) -> PathId {
    PathId(index.to_string())
}

impl World {
    /// With so many paths, on which our client has registered.
    pub fn new(paths: usize, known: Known) -> Self {
        let nexuses: Vec<_> = (0..paths as u64).map(nexus).collect();
        let mut unit = LogicalUnit::new(Config::new("3600140500000000000000000000000a1"));
        nexuses.iter().for_each(|nexus| unit.attach(nexus));
        let mut world = World {
            unit,
            spare: 0x10,
            up: vec![true; paths],
            state: LunState::default(),
            round: None,
            devices: nexuses.clone(),
            written: Record::default(),
            multipathd: None,
            notices: vec![None; paths],
            nexuses,
            short_list: false,
            lost_reply: false,
            due: false,
            resting: false,
            fenced: false,
            fenced_off: Vec::new(),
            withdrawn: false,
            rebooted: false,
            unasked: false,
            excused: false,
            beyond: Vec::new(),
            unknowable: false,
            meddled: false,
            lost_one: false,
            trespassed: false,
            steps: 0,
        };
        for _ in 0..HIGH {
            world.register_rival();
        }
        world.client_registers(K1, None, known);
        world
    }

    fn send(&mut self, nexus: &NexusId, command: &PrOut) -> Outcome {
        let (cdb, list) = command.encode();
        loop {
            let outcome = self.unit.execute(nexus, cdb.as_device_bytes(), &list);
            let attention = outcome.sense_code();
            if !attention.is_some_and(SenseCode::is_unit_attention) {
                return outcome;
            }
        }
    }

    fn register_rival(&mut self) {
        self.send(&rival(), &ignore(RIVAL));
    }

    fn key_of(&self, index: usize) -> Option<ReservationKey> {
        self.unit.reservations().key_of(&self.nexuses[index])
    }

    fn status(&mut self, through: usize) -> FullStatus {
        let command = PrIn {
            action: InAction::ReadFullStatus,
            allocation_length: 8192,
        };
        let nexus = self.nexuses[through].clone();
        let mut outcome;
        loop {
            let cdb = command.cdb();
            outcome = self.unit.execute(&nexus, cdb.as_device_bytes(), &[]);
            if outcome.is_good() {
                break;
            }
        }
        FullStatus::parse(&outcome.data).expect("of a simulated unit")
    }

    fn some_path(&self) -> Option<usize> {
        self.up.iter().position(|up| *up)
    }

    fn ours(&self) -> Option<ReservationKey> {
        self.state.registration().map(|made| made.key)
    }

    /// The paths that are there, without our client's key.
    pub fn lacking(&self) -> Vec<usize> {
        let key = self.ours();
        let lacks = |index: &usize| self.up[*index] && self.key_of(*index) != key;
        (0..self.up.len()).filter(lacks).collect()
    }

    /// Paths of ours with the key of the registration.
    fn registered(&self) -> Vec<usize> {
        let key = self.ours();
        let registered = |index: &usize| key.is_some() && self.key_of(*index) == key;
        (0..self.up.len()).filter(registered).collect()
    }

    /// Paths of ours with a key of our client's.
    pub fn holding(&self) -> Vec<usize> {
        let ours = |index: &usize| matches!(self.key_of(*index), Some(K1 | K2));
        (0..self.up.len()).filter(ours).collect()
    }

    /// Paths of ours with a key that our client has given up.
    pub fn stale(&self) -> Vec<usize> {
        let key = self.ours();
        let mut stale = self.holding();
        stale.retain(|index| self.key_of(*index) != key);
        stale
    }

    /// True while our client's registration is believed to stand.
    pub fn is_armed(&self) -> bool {
        self.state.registration().is_some()
    }
}
