//! The rules of a map's PERSISTENT RESERVE OUT, on the simulator: what each
//! hazard of other implementations ends in here.

#![allow(clippy::unwrap_used, reason = "a test may end at once")]

use reservd::device::Nexus;
use reservd::device::sim::{Fault, SimLun, SimPath, Stuck};
use reservd::engine::direct::Direct;
use reservd::engine::{Gates, Late, Path};
use reservd::lun::plan::round::Round;
use reservd::lun::plan::step::{Answer, Step};
use reservd::lun::state::LunState;
use reservd::scsi::pr::{MoveParameters, RegisterFlags};
use reservd::scsi::{
    OutAction, Outcome, PrOut, ReservationKey, ReservationType, ScopeType, SenseCode,
};
use reservd::simulation::path_id;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

const K1: ReservationKey = ReservationKey(0xa1);
const K2: ReservationKey = ReservationKey(0xa2);
const B: ReservationKey = ReservationKey(0xb1);
const NONE: ReservationKey = ReservationKey::ZERO;
const WERO: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;
const WEAR: ReservationType = ReservationType::WriteExclusiveAllRegistrants;

/// Host A's map of two paths, and host B's first path to the same unit.
struct Lab {
    lun: Arc<SimLun>,
    paths: Vec<Path>,
    nexuses: Vec<Arc<SimPath>>,
    other: Arc<SimPath>,
    state: LunState,
    late: mpsc::UnboundedReceiver<Late>,
    patience: Duration,
}

impl Lab {
    fn new() -> Self {
        let lun = SimLun::new("3600140500000000000000000000000a1");
        let nexuses = lun.paths("host-a");
        let gates = Gates::default();
        let (sender, late) = mpsc::unbounded_channel();
        let paths = nexuses
            .iter()
            .map(|nexus| {
                let dynamic = Arc::clone(nexus) as Arc<dyn Nexus>;
                Path::new(path_id(nexus), dynamic, &gates, sender.clone())
            })
            .collect();
        Lab {
            other: lun.path("host-b", 0).unwrap(),
            lun,
            paths,
            nexuses,
            state: LunState::default(),
            late,
            patience: Duration::from_secs(5),
        }
    }

    async fn run(&mut self, command: PrOut) -> Outcome {
        self.on_paths(0..2, command).await
    }

    /// As if only these paths were in the map.
    async fn on_paths(&mut self, range: std::ops::Range<usize>, command: PrOut) -> Outcome {
        let mut engine = Direct {
            paths: &self.paths[range],
            state: &mut self.state,
            until: Instant::now() + self.patience,
            map: None,
        };
        engine.run(&command).await
    }

    async fn good(&mut self, command: PrOut) {
        let outcome = self.run(command).await;
        assert!(outcome.is_good(), "{outcome}");
    }

    /// Looks, as an actor would.
    async fn settle(&mut self) {
        let engine = Direct {
            paths: &self.paths,
            state: &mut self.state,
            until: Instant::now() + self.patience,
            map: None,
        };
        let present = engine.paths.iter().map(|path| path.id.clone()).collect();
        let mut round = Round::new(present, engine.usable().await, true);
        let mut answer = Answer::Begin;
        loop {
            let step = round.next(engine.state, answer);
            if let Step::End(_) = step {
                return;
            }
            answer = engine.carry_out(&step).await;
        }
    }

    /// As if another engine had brought it to these paths of ours.
    async fn adopt(&mut self, range: std::ops::Range<usize>, command: PrOut) {
        let engine = Direct {
            paths: &self.paths,
            state: &mut self.state,
            until: Instant::now() + self.patience,
            map: None,
        };
        let before = engine.registrations().await;
        for nexus in &self.nexuses[range] {
            good(nexus, &command);
        }
        let mut engine = Direct {
            paths: &self.paths,
            state: &mut self.state,
            until: Instant::now() + self.patience,
            map: None,
        };
        engine.adopt(&command, before.as_ref()).await;
    }

    /// Keys on host A's two paths and host B's first one; `None`, no key.
    fn keys(&self) -> [Option<ReservationKey>; 3] {
        let ours = self.lun.keys("host-a");
        [ours[0], ours[1], self.lun.keys("host-b")[0]]
    }

    /// Who holds: host and path.
    fn holder(&self) -> Option<(String, usize)> {
        let holder = self.lun.holder()?;
        Some((holder.host?, holder.path?))
    }

    fn held_by(&self, host: &str) -> bool {
        self.holder().is_some_and(|(holder, _)| holder == host)
    }
}

fn straight(nexus: &SimPath, command: &PrOut) -> Outcome {
    let (cdb, list) = command.encode();
    let data = reservd::device::Transfer::Out(&list);
    loop {
        let outcome = nexus
            .execute(cdb.as_device_bytes(), data, Duration::from_secs(1))
            .unwrap();
        let attention = outcome
            .sense_code()
            .is_some_and(SenseCode::is_unit_attention);
        if !attention {
            return outcome;
        }
    }
}

fn good(nexus: &SimPath, command: &PrOut) {
    let outcome = straight(nexus, command);
    assert!(outcome.is_good(), "{outcome}");
}

fn register(from: ReservationKey, to: ReservationKey) -> PrOut {
    PrOut::register(from, to, RegisterFlags::default())
}

fn ignore(to: ReservationKey) -> PrOut {
    PrOut::basic(OutAction::RegisterAndIgnore, ScopeType(0), NONE, to)
}

fn act(action: OutAction, kind: ReservationType, key: ReservationKey, on: ReservationKey) -> PrOut {
    PrOut::basic(action, kind.into(), key, on)
}

fn reserve(key: ReservationKey) -> PrOut {
    act(OutAction::Reserve, WERO, key, NONE)
}

fn release(key: ReservationKey) -> PrOut {
    act(OutAction::Release, WERO, key, NONE)
}

fn preempt(key: ReservationKey, victim: ReservationKey) -> PrOut {
    act(OutAction::Preempt, WERO, key, victim)
}

/// Host B registers and takes the reservation.
fn other_reserves(lab: &Lab) {
    good(&lab.other, &register(NONE, B));
    good(&lab.other, &reserve(B));
}

#[tokio::test]
async fn a_registration_reaches_every_path_and_so_do_its_changes() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    assert_eq!(lab.keys(), [Some(K1), Some(K1), None]);
    lab.good(register(K1, K2)).await;
    assert_eq!(lab.keys(), [Some(K2), Some(K2), None]);
    lab.good(ignore(K1)).await;
    assert_eq!(lab.keys(), [Some(K1), Some(K1), None]);
    lab.good(register(K1, NONE)).await;
    assert_eq!(lab.keys(), [None, None, None]);
}

#[tokio::test]
async fn a_second_registration_conflicts_and_touches_nothing() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    let generation = lab.lun.generation();
    assert!(lab.run(register(NONE, K2)).await.is_conflict());
    assert!(lab.run(register(K2, K1)).await.is_conflict());
    assert_eq!(lab.keys(), [Some(K1), Some(K1), None]);
    assert_eq!(lab.lun.generation(), generation);
}

/// Other implementations roll back on the conflict and lose every key.
#[tokio::test]
async fn b3_a_key_change_with_one_odd_path_converges() {
    for odd in [0, 1] {
        let mut lab = Lab::new();
        lab.good(register(NONE, K1)).await;
        good(&lab.nexuses[odd], &register(K1, NONE));
        lab.good(register(K1, K2)).await;
        assert_eq!(lab.keys(), [Some(K2), Some(K2), None], "odd path {odd}");
    }
}

#[tokio::test]
async fn a_foreign_key_on_a_path_is_never_overwritten() {
    let foreign = ReservationKey(0xf0);
    let mut lab = Lab::new();
    good(&lab.nexuses[1], &register(NONE, foreign));
    assert!(lab.run(register(NONE, K1)).await.is_conflict());
    assert_eq!(
        lab.keys(),
        [None, Some(foreign), None],
        "taken back exactly"
    );

    // Changing a key that does stand leaves the foreign one where it is.
    good(&lab.nexuses[0], &register(NONE, K1));
    lab.good(register(K1, K2)).await;
    assert_eq!(lab.keys(), [Some(K2), Some(foreign), None]);
}

#[tokio::test]
async fn registering_with_a_path_down_succeeds_on_the_others() {
    for down in [0, 1] {
        let mut lab = Lab::new();
        lab.nexuses[down].set_fault(Fault::Down);
        lab.good(register(NONE, K1)).await;
        let keys = lab.keys();
        assert_eq!((keys[down], keys[1 - down]), (None, Some(K1)));
        assert_eq!(lab.state.registration().unwrap().key, K1);
    }
}

/// Elsewhere the key stays on the returning path for ever.
#[tokio::test]
async fn unregistering_with_a_path_down_is_finished_when_it_returns() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(register(K1, NONE)).await;
    assert_eq!(lab.keys(), [None, Some(K1), None]);
    lab.settle().await;
    assert_eq!(lab.state.owed().len(), 1, "still down, still owed");
    lab.nexuses[1].set_fault(Fault::Up);
    lab.settle().await;
    assert_eq!(lab.keys(), [None, None, None]);
    assert!(lab.state.owed().is_empty());
}

#[tokio::test]
async fn unregistering_with_a_path_gone_from_the_map_is_remembered_too() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    let outcome = lab.on_paths(0..1, register(K1, NONE)).await;
    assert!(outcome.is_good());
    lab.settle().await;
    assert_eq!(lab.keys(), [None, None, None]);
}

/// B10: the stale key of a returning path is no way back for a fenced host.
#[tokio::test]
async fn b10_an_old_key_on_a_returning_path_is_removed_after_a_fence() {
    let mut lab = Lab::new();
    other_reserves(&lab);
    lab.good(register(NONE, K1)).await;
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(register(K1, K2)).await;
    good(&lab.other, &preempt(B, K2));
    lab.nexuses[1].set_fault(Fault::Up);
    lab.settle().await;
    assert_eq!(lab.keys(), [None, None, Some(B)]);
}

#[tokio::test]
async fn a_debt_never_removes_somebody_elses_key() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(register(K1, NONE)).await;
    lab.nexuses[1].set_fault(Fault::Up);
    good(&lab.nexuses[1], &register(K1, ReservationKey(0xf0)));
    lab.settle().await;
    assert_eq!(lab.keys()[1], Some(ReservationKey(0xf0)));
    assert!(lab.state.owed().is_empty());
}

/// B1: elsewhere this wipes the other host's reservation and key.
#[tokio::test]
async fn b1_a_release_by_a_non_holder_changes_nothing() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    other_reserves(&lab);
    lab.good(release(K1)).await;
    assert!(lab.held_by("host-b"));
    assert_eq!(lab.keys(), [Some(K1), Some(K1), Some(B)]);
}

/// B9: a reservation is ours whichever of our nexuses holds it.
#[tokio::test]
async fn b9_reserving_again_succeeds_over_any_path() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    lab.good(reserve(K1)).await;
    lab.good(reserve(K1)).await;
    let (_, holder) = lab.holder().unwrap();
    lab.nexuses[holder].set_fault(Fault::Down);
    lab.good(reserve(K1)).await;
    assert_eq!(lab.holder().unwrap().1, holder, "nothing had to move");
}

#[tokio::test]
async fn reserving_what_another_host_holds_conflicts() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    other_reserves(&lab);
    assert!(lab.run(reserve(K1)).await.is_conflict());
    assert!(lab.held_by("host-b"));
}

#[tokio::test]
async fn a_holder_with_our_key_on_another_host_is_not_us() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    good(&lab.other, &register(NONE, K1));
    good(&lab.other, &reserve(K1));
    assert!(lab.run(reserve(K1)).await.is_conflict());
    assert!(lab.held_by("host-b"));
}

#[tokio::test]
async fn a_release_with_the_holder_path_lost_releases() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    lab.good(reserve(K1)).await;
    let (_, holder) = lab.holder().unwrap();
    lab.nexuses[holder].set_fault(Fault::Down);
    lab.good(release(K1)).await;
    assert_eq!(lab.holder(), None);
    assert_eq!(lab.keys()[1 - holder], Some(K1));
}

#[tokio::test]
async fn a_release_does_not_take_over_where_another_host_has_the_same_key() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    good(&lab.other, &register(NONE, K1));
    lab.good(reserve(K1)).await;
    let (_, holder) = lab.holder().unwrap();
    lab.nexuses[holder].set_fault(Fault::Down);
    let outcome = lab.run(release(K1)).await;
    assert!(!outcome.is_good(), "it was not released");
    assert_eq!(lab.keys(), [Some(K1), Some(K1), Some(K1)]);
}

#[tokio::test]
async fn unregistering_with_the_holder_path_lost_leaves_no_reservation() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    lab.good(reserve(K1)).await;
    let (_, holder) = lab.holder().unwrap();
    lab.nexuses[holder].set_fault(Fault::Down);
    lab.good(register(K1, NONE)).await;
    assert_eq!(lab.holder(), None);
    assert_eq!(lab.keys(), [None, None, None]);
}

/// B13: elsewhere only the path that preempted keeps its key.
#[tokio::test]
async fn b13_preempting_the_own_key_keeps_every_path() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    lab.good(reserve(K1)).await;
    lab.good(preempt(K1, K1)).await;
    assert_eq!(lab.keys(), [Some(K1), Some(K1), None]);
    assert!(lab.held_by("host-a"));
}

#[tokio::test]
async fn a_migrated_guest_takes_its_reservation_along() {
    // Host B is the source; host A registers the same key and preempts it.
    let mut lab = Lab::new();
    good(&lab.other, &register(NONE, K1));
    good(&lab.other, &reserve(K1));
    lab.good(register(NONE, K1)).await;
    lab.good(preempt(K1, K1)).await;
    assert_eq!(lab.keys(), [Some(K1), Some(K1), None]);
    assert!(lab.held_by("host-a"));
}

#[tokio::test]
async fn preempting_all_registrants_keeps_our_paths() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    good(&lab.other, &register(NONE, B));
    lab.good(act(OutAction::Reserve, WEAR, K1, NONE)).await;
    lab.good(act(OutAction::Preempt, WEAR, K1, NONE)).await;
    assert_eq!(lab.keys(), [Some(K1), Some(K1), None]);
}

#[tokio::test]
async fn aptpl_is_kept_when_paths_are_put_back() {
    let mut lab = Lab::new();
    let aptpl = RegisterFlags {
        aptpl: true,
        ..Default::default()
    };
    lab.good(PrOut::register(NONE, K1, aptpl)).await;
    lab.good(reserve(K1)).await;
    lab.good(preempt(K1, K1)).await;
    assert!(lab.lun.aptpl());
    // The same without a memory of how it was registered.
    lab.state = LunState::default();
    lab.good(preempt(K1, K1)).await;
    assert!(lab.lun.aptpl());
    assert_eq!(lab.keys(), [Some(K1), Some(K1), None]);
}

#[tokio::test]
async fn a_preempt_fails_over_to_the_next_path() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    other_reserves(&lab);
    lab.nexuses[0].set_fault(Fault::Down);
    lab.good(preempt(K1, B)).await;
    assert!(lab.held_by("host-a"));
    assert_eq!(lab.keys(), [Some(K1), Some(K1), None]);
}

#[tokio::test]
async fn a_preempt_goes_round_an_odd_path() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    other_reserves(&lab);
    good(&lab.nexuses[0], &register(K1, NONE));
    lab.good(preempt(K1, B)).await;
    assert!(lab.held_by("host-a"));
}

#[tokio::test]
async fn a_swallowed_preempt_is_sent_again_and_a_lost_answer_is_no_good() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    other_reserves(&lab);
    lab.nexuses[0].script([Fault::Swallowed]);
    lab.good(preempt(K1, B)).await;
    assert!(lab.held_by("host-a"));

    // Executed, but nobody heard: the second path conflicts on the effect.
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    other_reserves(&lab);
    lab.nexuses[0].script([Fault::Lost]);
    let outcome = lab.run(preempt(K1, B)).await;
    assert_eq!(
        outcome.sense_code(),
        Some(SenseCode::TIMEOUT_DURING_PROCESSING)
    );
}

#[tokio::test]
async fn a_reserve_whose_answer_was_lost_is_recognised() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    lab.nexuses[0].script([Fault::Lost]);
    lab.good(reserve(K1)).await;
    assert!(lab.held_by("host-a"));
}

#[tokio::test]
async fn a_clear_forgets_even_what_paths_owe() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(register(K1, K2)).await;
    lab.good(act(OutAction::Clear, WERO, K2, NONE)).await;
    assert!(lab.lun.registrations().is_empty());
    assert!(lab.state.owed().is_empty());
    assert_eq!(lab.state.registration(), None);
}

#[tokio::test]
async fn without_a_path_nothing_is_good() {
    let mut lab = Lab::new();
    for nexus in &lab.nexuses {
        nexus.set_fault(Fault::Down);
    }
    let commands = [
        register(NONE, K1),
        ignore(K1),
        register(K1, NONE),
        reserve(K1),
        release(K1),
        preempt(K1, B),
        preempt(K1, K1),
        act(OutAction::Clear, WERO, K1, NONE),
    ];
    for command in commands {
        let outcome = lab.run(command.clone()).await;
        assert_eq!(
            outcome.sense_code(),
            Some(SenseCode::NO_RESPONSE_TO_SELECTION),
            "{}",
            command.action
        );
        let none = lab.on_paths(0..0, command).await;
        assert!(!none.is_good());
    }
}

#[tokio::test]
async fn the_client_hears_of_its_fence_once() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    other_reserves(&lab);
    good(&lab.other, &preempt(B, K1));
    let outcome = lab.run(register(K1, K2)).await;
    assert_eq!(
        outcome.sense_code(),
        Some(SenseCode::REGISTRATIONS_PREEMPTED)
    );
    assert!(lab.run(register(K1, K2)).await.is_conflict());
    assert_eq!(lab.keys(), [None, None, Some(B)]);
}

#[tokio::test]
async fn a_fence_met_by_a_reserve_is_heard_of_and_only_once() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    lab.good(reserve(K1)).await;
    good(&lab.other, &register(NONE, B));
    good(&lab.other, &preempt(B, K1));
    let outcome = lab.run(reserve(K1)).await;
    assert_eq!(
        outcome.sense_code(),
        Some(SenseCode::REGISTRATIONS_PREEMPTED)
    );
    assert!(lab.run(reserve(K1)).await.is_conflict());
    for nexus in &lab.nexuses {
        assert!(nexus.pending().is_empty());
    }
}

#[tokio::test]
async fn our_own_commands_raise_no_attentions_on_our_other_paths() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    lab.good(reserve(K1)).await;
    lab.good(release(K1)).await;
    lab.good(reserve(K1)).await;
    lab.good(preempt(K1, K1)).await;
    lab.good(act(OutAction::Clear, WERO, K1, NONE)).await;
    for nexus in &lab.nexuses {
        assert!(nexus.pending().is_empty());
    }
}

/// B11, within one client command: a preempt that lands between two paths.
#[tokio::test]
async fn b11_a_preempt_during_registration_wins() {
    let mut lab = Lab::new();
    lab.good(register(NONE, K1)).await;
    lab.good(register(K1, NONE)).await; // the nexuses are known now
    other_reserves(&lab);
    // The second path's REGISTER is held until host B has preempted the first's.
    lab.nexuses[1].script([Fault::Hang(Stuck::Before)]);
    let (slow, other) = (Arc::clone(&lab.nexuses[1]), Arc::clone(&lab.other));
    let rival = std::thread::spawn(move || {
        assert!(slow.wait_until_hanging(Duration::from_secs(5)));
        good(&other, &preempt(B, K1));
        slow.release();
    });
    lab.good(register(NONE, K1)).await;
    rival.join().unwrap();
    assert_eq!(lab.keys(), [None, None, Some(B)], "fenced stays fenced");
    assert_eq!(lab.state.registration(), None);
}

#[tokio::test]
async fn a_command_that_ends_late_is_made_good_again() {
    let mut lab = Lab::new();
    lab.patience = Duration::from_millis(400);
    lab.nexuses[1].script([Fault::Hang(Stuck::Before)]);
    lab.good(register(NONE, K1)).await;
    lab.patience = Duration::from_secs(2);
    // Meanwhile the client gives its registration up; the path is still stuck.
    lab.good(register(K1, NONE)).await;
    lab.nexuses[1].release();
    let late = lab.late.recv().await.unwrap();
    Direct::late(&mut lab.state, &late);
    lab.settle().await;
    assert_eq!(lab.keys(), [None, None, None]);
}

#[tokio::test]
async fn spec_i_pt_is_sent_once_and_every_path_is_registered() {
    let mut lab = Lab::new();
    // Host B must be known to the unit.
    straight(&lab.other, &register(NONE, NONE));
    let id = lab.other.nexus().transport_id.clone();
    let mut command = register(NONE, K1);
    command.parameters.flags.spec_i_pt = true;
    let length = id.bytes().len() as u32;
    command.parameters.transport_ids = length.to_be_bytes().to_vec();
    command.parameters.transport_ids.extend(id.bytes());
    lab.good(command).await;
    assert_eq!(lab.keys(), [Some(K1), Some(K1), Some(K1)]);
}

/// What libmpathpersist did counts as ours.
#[tokio::test]
async fn an_adopted_registration_is_known_and_its_absent_path_owes_the_old_key() {
    let mut lab = Lab::new();
    lab.adopt(0..2, register(NONE, K1)).await;
    let known = |lab: &Lab| lab.state.registration().map(|ours| ours.key);
    assert_eq!(known(&lab), Some(K1));
    assert!(lab.state.owed().is_empty());

    lab.nexuses[1].set_fault(Fault::Down);
    lab.adopt(0..1, register(K1, K2)).await;
    assert_eq!(known(&lab), Some(K2));
    lab.nexuses[1].set_fault(Fault::Up);
    lab.settle().await;
    assert_eq!(lab.keys(), [Some(K2), Some(K2), None]);

    lab.nexuses[1].set_fault(Fault::Down);
    lab.adopt(0..1, ignore(NONE)).await;
    assert_eq!(known(&lab), None);
    assert_eq!(lab.state.owed().len(), 1);
    lab.nexuses[1].set_fault(Fault::Up);
    lab.settle().await;
    assert_eq!(lab.keys(), [None, None, None]);
    assert!(lab.state.owed().is_empty());
}

#[tokio::test]
async fn what_another_engine_did_raises_no_attentions_on_our_paths() {
    let mut lab = Lab::new();
    lab.adopt(0..2, register(NONE, K1)).await;
    lab.adopt(0..1, reserve(K1)).await;
    lab.adopt(0..1, release(K1)).await;
    lab.adopt(0..1, act(OutAction::Clear, WERO, K1, NONE)).await;
    assert_eq!(lab.state.registration(), None);
    for nexus in &lab.nexuses {
        assert!(nexus.pending().is_empty());
    }
}

#[tokio::test]
async fn a_move_is_sent_by_the_path_that_holds_the_reservation() {
    for holder in [0, 1] {
        let mut lab = Lab::new();
        straight(&lab.other, &register(NONE, NONE));
        lab.good(register(NONE, K1)).await;
        good(&lab.nexuses[holder], &reserve(K1));
        let nexus = lab.other.nexus().clone();
        let moved = MoveParameters {
            unregister: false,
            aptpl: false,
            relative_target_port: nexus.relative_target_port,
            transport_id: nexus.transport_id.bytes().to_vec(),
        };
        lab.good(PrOut::register_and_move(K1, B, moved)).await;
        assert!(lab.held_by("host-b"), "path {holder} held it");
        assert_eq!(lab.keys(), [Some(K1), Some(K1), Some(B)]);
    }
}
