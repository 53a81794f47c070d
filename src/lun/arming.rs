//! What multipathd is to be told of a map, and whether it has taken it in.
//!
//! Pure. multipathd registers a path that returns before it is used, if it
//! knows the key (`setprkey`) and was told to (`setprstatus`). That flag is set
//! only for a registration which the unit has shown to be ours: 0.9.4 believes
//! whatever it is told, and a host that was fenced is to stay so.

use super::state::Registration;
use crate::protocol::multipathd::{Flag, MapName, Reply, Request, Verb};
use crate::scsi::{OutAction, Outcome, PrOut, ReservationKey, SenseCode};

/// What multipathd is to do for a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Goal {
    /// What it does already: nothing was registered by us.
    #[default]
    Untouched,
    /// Register returning paths with this.
    Armed(Registration),
    /// Register nothing.
    Disarmed,
}

/// What a command that ended means for multipathd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Nothing,
    /// Pursue this goal.
    Pursue(Goal),
    /// Look whether the registration still stands.
    Verify,
    /// The reservation is ours, or not any more.
    Hold(bool),
    /// Look whether the reservation is ours.
    Holder,
}

/// Decides after a command, given the registration that stands after it and
/// the goal before it.
pub fn decide(
    goal: Goal,
    standing: Option<Registration>,
    command: &PrOut,
    outcome: &Outcome,
) -> Decision {
    if !outcome.is_good() {
        let suspicious = outcome.is_conflict() || outcome.sense_code().is_some_and(tells_of_loss);
        return match goal {
            Goal::Armed(_) if suspicious => Decision::Verify,
            _ => Decision::Nothing,
        };
    }
    let Some(registration) = standing else {
        // Unregistered, cleared, or fenced while it ran.
        let unregisters = matches!(
            command.action,
            OutAction::Register | OutAction::RegisterAndIgnore | OutAction::Clear
        );
        return match goal {
            Goal::Armed(_) => Decision::Pursue(Goal::Disarmed),
            Goal::Untouched if unregisters => Decision::Pursue(Goal::Disarmed),
            _ => Decision::Nothing,
        };
    };
    match command.action {
        // Also where the same is armed already: multipathd may have forgotten.
        OutAction::Register | OutAction::RegisterAndIgnore => {
            Decision::Pursue(Goal::Armed(registration))
        }
        OutAction::Reserve => Decision::Hold(true),
        OutAction::Release => Decision::Hold(false),
        OutAction::Preempt | OutAction::PreemptAndAbort => Decision::Holder,
        OutAction::RegisterAndMove | OutAction::ReplaceLostReservation => Decision::Verify,
        OutAction::Clear => Decision::Nothing,
    }
}

/// True for the unit attentions of a host that may have lost its registration:
/// 2A/03 (also after CLEAR) and 2A/05.
pub fn tells_of_loss(code: SenseCode) -> bool {
    code == SenseCode::RESERVATIONS_PREEMPTED || code == SenseCode::REGISTRATIONS_PREEMPTED
}

/// Where multipathd is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It uses another key, or none.
    #[error(
        "multipathd has key {found} for this map, not {wanted}: does multipath.conf say \
        `reservation_key file`?"
    )]
    WrongKey {
        /// What it has; zero for none.
        found: ReservationKey,
        /// What the client registered.
        wanted: ReservationKey,
    },
    /// It uses the key with APTPL where the client did not, or the reverse.
    #[error("multipathd has the key with another APTPL flag than the client's")]
    WrongFlags,
    /// It does not register returning paths.
    #[error("multipathd will not register returning paths of this map")]
    NotArmed,
    /// It still registers returning paths.
    #[error("multipathd will still register returning paths of this map")]
    StillArmed,
    /// It does not know the map, or cannot say now.
    #[error("multipathd says {0:?}")]
    Refused(String),
}

/// The commands that lead to a goal, each followed by what shows its effect.
pub fn requests(map: &MapName, goal: Goal) -> Vec<Request> {
    let verbs = match goal {
        Goal::Untouched => Vec::new(),
        Goal::Armed(Registration { key, flags }) => vec![
            Verb::SetKey(key, flags.aptpl),
            Verb::GetKey,
            Verb::SetStatus,
            Verb::GetStatus,
        ],
        Goal::Disarmed => vec![Verb::UnsetKey, Verb::UnsetStatus, Verb::GetStatus],
    };
    to(map, &verbs)
}

/// The commands that show whether a goal is still met, and change nothing.
pub fn questions(map: &MapName, goal: Goal) -> Vec<Request> {
    let verbs: &[_] = match goal {
        Goal::Untouched => &[],
        Goal::Armed(_) => &[Verb::GetKey, Verb::GetStatus],
        Goal::Disarmed => &[Verb::GetStatus],
    };
    to(map, verbs)
}

fn to(map: &MapName, verbs: &[Verb]) -> Vec<Request> {
    let request = |verb: &Verb| Request {
        map: map.clone(),
        verb: *verb,
    };
    verbs.iter().map(request).collect()
}

/// What a reply means on the way to a goal. Only what is read counts: a
/// `setprkey` that fails is no fault where the key is right all the same (it
/// stands in multipath.conf), and one that succeeds is no proof.
///
/// # Errors
/// [`Fault`] ends the way: nothing more is to be sent.
pub fn judge(goal: Goal, verb: Verb, reply: &Reply) -> Result<(), Fault> {
    match (goal, verb, reply) {
        (Goal::Armed(_), Verb::GetKey | Verb::GetStatus, Reply::Refused(text)) => {
            Err(Fault::Refused(text.clone()))
        }
        (Goal::Armed(wanted), Verb::GetKey, Reply::Key(found)) => match *found {
            Some((key, aptpl)) if key == wanted.key => match aptpl == wanted.flags.aptpl {
                true => Ok(()),
                false => Err(Fault::WrongFlags),
            },
            other => Err(Fault::WrongKey {
                found: other.map_or(ReservationKey::ZERO, |(key, _)| key),
                wanted: wanted.key,
            }),
        },
        (Goal::Armed(_), Verb::GetStatus, Reply::Flag(flag)) if *flag != Flag::Set => {
            Err(Fault::NotArmed)
        }
        (Goal::Disarmed, Verb::GetStatus, Reply::Flag(Flag::Set)) => Err(Fault::StillArmed),
        // A map that multipathd does not know is not armed either.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::pr::RegisterFlags;
    use crate::scsi::{ReservationType, Status};

    const K1: ReservationKey = ReservationKey(0xa1);
    const NONE: ReservationKey = ReservationKey::ZERO;
    const MADE: Registration = Registration {
        key: K1,
        flags: RegisterFlags {
            spec_i_pt: false,
            all_tg_pt: false,
            aptpl: true,
        },
    };

    fn act(action: OutAction) -> PrOut {
        let kind = ReservationType::WriteExclusiveRegistrantsOnly;
        PrOut::basic(action, kind.into(), K1, NONE)
    }

    #[test]
    fn what_a_command_means_for_multipathd() {
        let good = Outcome::good(Vec::new());
        let conflict = Outcome::conflict();
        let busy = Outcome::status(Status::Busy);
        let fenced = Outcome::check(SenseCode::REGISTRATIONS_PREEMPTED);
        let released = Outcome::check(SenseCode::RESERVATIONS_RELEASED);
        let armed = Goal::Armed(MADE);
        let (untouched, disarmed) = (Goal::Untouched, Goal::Disarmed);
        let stands = Some(MADE);
        let register = PrOut::register(NONE, K1, MADE.flags);
        let unregister = PrOut::register(K1, NONE, MADE.flags);
        let clear = act(OutAction::Clear);
        let reserve = act(OutAction::Reserve);
        let release = act(OutAction::Release);
        let preempt = act(OutAction::Preempt);
        for (goal, standing, command, outcome, decision) in [
            (untouched, stands, &register, &good, Decision::Pursue(armed)),
            (armed, stands, &register, &good, Decision::Pursue(armed)),
            (disarmed, stands, &register, &good, Decision::Pursue(armed)),
            // Preempted while registering.
            (
                untouched,
                None,
                &register,
                &good,
                Decision::Pursue(disarmed),
            ),
            (armed, None, &unregister, &good, Decision::Pursue(disarmed)),
            (
                untouched,
                None,
                &unregister,
                &good,
                Decision::Pursue(disarmed),
            ),
            (disarmed, None, &unregister, &good, Decision::Nothing),
            (armed, None, &clear, &good, Decision::Pursue(disarmed)),
            (armed, None, &preempt, &good, Decision::Pursue(disarmed)),
            // Not our registration: a client that was there before this daemon.
            (untouched, None, &reserve, &good, Decision::Nothing),
            (armed, stands, &reserve, &good, Decision::Hold(true)),
            (armed, stands, &release, &good, Decision::Hold(false)),
            (armed, stands, &preempt, &good, Decision::Holder),
            (armed, stands, &reserve, &conflict, Decision::Verify),
            (armed, stands, &register, &fenced, Decision::Verify),
            (armed, stands, &register, &released, Decision::Nothing),
            (armed, stands, &register, &busy, Decision::Nothing),
            (disarmed, None, &reserve, &conflict, Decision::Nothing),
            (untouched, None, &register, &fenced, Decision::Nothing),
        ] {
            let decided = decide(goal, standing, command, outcome);
            assert_eq!(decided, decision, "{goal:?} {} {outcome}", command.action);
        }
    }

    #[test]
    fn the_way_to_a_goal() {
        let map = MapName::new("mpatha").unwrap();
        let texts = |requests: Vec<Request>| -> Vec<_> {
            requests.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            texts(requests(&map, Goal::Armed(MADE))),
            [
                "setprkey map mpatha key 0xa1:aptpl",
                "getprkey map mpatha",
                "setprstatus map mpatha",
                "getprstatus map mpatha"
            ]
        );
        assert_eq!(
            texts(requests(&map, Goal::Disarmed)),
            [
                "unsetprkey map mpatha",
                "unsetprstatus map mpatha",
                "getprstatus map mpatha"
            ]
        );
        assert!(requests(&map, Goal::Untouched).is_empty());
        for goal in [Goal::Armed(MADE), Goal::Disarmed] {
            let verbs = questions(&map, goal);
            assert!(
                verbs
                    .iter()
                    .all(|request| { matches!(request.verb, Verb::GetKey | Verb::GetStatus) })
            );
        }
    }

    #[test]
    fn only_what_is_read_back_counts() {
        let armed = Goal::Armed(MADE);
        let refused = Reply::Refused("fail".into());
        let key = |key, aptpl| Reply::Key(Some((key, aptpl)));
        for (goal, verb, reply, end) in [
            (armed, Verb::SetKey(K1, true), refused.clone(), Ok(())),
            (armed, Verb::SetStatus, refused.clone(), Ok(())),
            (armed, Verb::GetKey, key(K1, true), Ok(())),
            (armed, Verb::GetKey, key(K1, false), Err(Fault::WrongFlags)),
            (
                armed,
                Verb::GetKey,
                Reply::Key(None),
                Err(Fault::WrongKey {
                    found: NONE,
                    wanted: K1,
                }),
            ),
            (
                armed,
                Verb::GetKey,
                refused.clone(),
                Err(Fault::Refused("fail".into())),
            ),
            (armed, Verb::GetStatus, Reply::Flag(Flag::Set), Ok(())),
            (
                armed,
                Verb::GetStatus,
                Reply::Flag(Flag::Unknown),
                Err(Fault::NotArmed),
            ),
            (
                Goal::Disarmed,
                Verb::GetStatus,
                Reply::Flag(Flag::Set),
                Err(Fault::StillArmed),
            ),
            (Goal::Disarmed, Verb::GetStatus, refused, Ok(())),
        ] {
            assert_eq!(judge(goal, verb, &reply), end, "{verb:?} {reply:?}");
        }
    }
}
