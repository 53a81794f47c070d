//! What is said of a change.

use super::*;
use crate::device::identity::Wwid;
use crate::scsi::TransportId;
use crate::scsi::pr::{FullDescriptor, NexusId, RegisterFlags};

const A: ReservationKey = ReservationKey(0xa1);
const B: ReservationKey = ReservationKey(0xb1);
const NONE: ReservationKey = ReservationKey::ZERO;
const WERO: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;

/// A on two paths, one of them away; B on one; A holds WERO.
fn known() -> Known {
    let mut seen = Snapshot::new(Wwid::new("36001405aaaa"));
    seen.paths = [(1, true), (2, true), (3, false)]
        .map(|(number, usable)| PathView {
            registered: match number {
                1 => Registered::Yes,
                _ => Registered::No,
            },
            usable,
            ..PathView::new(PathId(format!("{number}:0:0:0")))
        })
        .into();
    let row = |port, key| FullDescriptor {
        key,
        all_tg_pt: false,
        holder: None,
        nexus: NexusId {
            transport_id: TransportId::sas(port),
            relative_target_port: 1,
        },
    };
    let status = FullStatus::new(7, vec![row(1, A), row(2, A), row(9, B)]);
    let held = Reservation {
        key: A,
        scope_type: WERO.into(),
    };
    let order = [2, 1, 3].map(|number| PathId(format!("{number}:0:0:0")));
    Known::new(Some(A), &seen, &order, Some(&status), Some(held))
}

fn act(action: OutAction, victim: ReservationKey) -> Vec<Step> {
    let command = PrOut::basic(action, WERO.into(), A, victim);
    preview(&Deed::Send(command), &known())
}

#[test]
fn a_registration_goes_to_every_path() {
    let command = PrOut::register(NONE, A, RegisterFlags::default());
    let steps = preview(&Deed::Send(command), &known());
    let sent: Vec<_> = steps
        .iter()
        .map(|step| (step.path.as_str(), step.cdb.as_str()))
        .collect();
    let cdb = "5f000000000000001800";
    assert_eq!(sent, [("2:0:0:0", cdb), ("1:0:0:0", cdb), ("3:0:0:0", "")]);
    assert_eq!(steps[0].what, "REGISTER 0xa1 from no key");
    assert_eq!(steps[0].risk, "");
}

#[test]
fn what_others_lose_is_said() {
    let preempt = act(OutAction::Preempt, B);
    assert_eq!(preempt.len(), 1);
    assert_eq!(preempt[0].cdb, "5f040500000000001800");
    assert_eq!(
        preempt[0].risk,
        "removes 0xb1 on 1 nexus: its host is fenced"
    );
    let clear = act(OutAction::Clear, NONE);
    assert_eq!(
        clear[0].risk,
        "ends the reservation (WERO of 0xa1); removes from other hosts: 0xb1 on 1 nexus; \
         from this host: 0xa1 on 2 nexuses"
    );
    let own = act(OutAction::PreemptAndAbort, A);
    let to: Vec<_> = own.iter().map(|step| step.path.as_str()).collect();
    assert_eq!(to, ["2:0:0:0", "1:0:0:0"]);
    assert!(own[0].risk.contains("takes the reservation (WERO)"));
    assert!(own[0].risk.ends_with("aborts its commands in flight"));
    assert_eq!(own[1].what, "REGISTER 0xa1 from no key");
}

#[test]
fn a_conflict_is_foretold() {
    let command = PrOut::basic(OutAction::Reserve, WERO.into(), B, NONE);
    let steps = preview(&Deed::Send(command), &known());
    assert!(steps[0].risk.contains("0xa1 holds WERO"), "{steps:?}");
    let same = act(OutAction::Reserve, NONE);
    assert_eq!(
        same[0].risk,
        "hosts that are not registered can no longer write"
    );
}

#[test]
fn upkeep_has_steps_too() {
    let repair = preview(&Deed::Tend(Upkeep::Repair(None)), &known());
    assert!(repair[0].cdb.starts_with("5e03"));
    let to: Vec<_> = repair[1..].iter().map(|step| step.path.as_str()).collect();
    assert_eq!(to, ["2:0:0:0"], "the only one that lacks it and answers");
    let rearm = Upkeep::Rearm(RegisterFlags::default());
    let rearm = preview(&Deed::Tend(rearm), &known());
    assert!(rearm[1].risk.contains("although"), "{rearm:?}");
    let forget = preview(&Deed::Tend(Upkeep::Forget), &known());
    assert_eq!((forget.len(), forget[0].cdb.as_str()), (1, ""));
}

#[test]
fn what_all_registrants_hold_stays_with_those_that_are_left() {
    let mut known = known();
    let all = ReservationType::WriteExclusiveAllRegistrants;
    known.held = Some(Reservation {
        key: NONE,
        scope_type: all.into(),
    });
    let risk = |action, kind: ReservationType, victim| {
        let command = PrOut::basic(action, kind.into(), A, victim);
        preview(&Deed::Send(command), &known).remove(0).risk
    };
    let one = risk(OutAction::Preempt, all, B);
    assert_eq!(one, "removes 0xb1 on 1 nexus: its host is fenced");
    let everybody = risk(OutAction::Preempt, all, NONE);
    assert!(everybody.contains("takes the reservation (WEAR)"));
    let other = risk(OutAction::Reserve, WERO, NONE);
    assert!(other.contains("all registrants hold WEAR"), "{other}");
    let same = risk(OutAction::Reserve, all, NONE);
    assert!(!same.contains("CONFLICT"), "{same}");
}
