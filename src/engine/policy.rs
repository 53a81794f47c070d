//! Which engine runs which command: one table, with its reasons.
//!
//! Pure. `auto` takes libmpathpersist where it is 0.13 or newer, the first whose
//! handling of reservations is sound on several paths, and where nothing is lost
//! by it; `mpathpersist` takes it wherever it does no harm. What it cannot
//! express, or gets wrong, never goes through it, whatever the setting.

use crate::config::Engine;
use crate::scsi::{InAction, OutAction, PrOut};
use serde::Serialize;
use std::fmt;

/// A version of multipath-tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The first version whose reservation code is the new one.
pub const SOUND: Version = Version(0, 13, 0);
/// Versions that may hold the old code whatever they say end before this one.
const UNPROVEN: Version = Version(0, 12, 0);

/// What the library said of itself, as one version to decide by: a number that
/// the code contradicts is not believed. A library that says nothing is the
/// oldest.
pub fn effective_version(said: Option<[u32; 3]>, has_update_map_pr: bool) -> Version {
    let said = said.map_or(Version(0, 0, 0), |[major, minor, patch]| {
        Version(major, minor, patch)
    });
    match has_update_map_pr && said >= SOUND {
        true => UNPROVEN,
        false => said,
    }
}

/// A kind of command, as far as the choice of an engine goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// READ KEYS, READ RESERVATION and REPORT CAPABILITIES.
    Read,
    /// READ FULL STATUS.
    ReadFullStatus,
    /// REGISTER where the client is not registered.
    Register,
    /// REGISTER that replaces the client's key with another.
    ChangeKey,
    /// REGISTER, with or without IGNORE EXISTING KEY, to zero.
    Unregister,
    /// REGISTER AND IGNORE EXISTING KEY.
    RegisterAndIgnore,
    /// RESERVE.
    Reserve,
    /// RELEASE.
    Release,
    /// CLEAR.
    Clear,
    /// PREEMPT, with or without AND ABORT, of another's key.
    Preempt,
    /// PREEMPT of the sender's own key, or of key zero.
    PreemptOwn,
    /// REGISTER with TransportIDs (SPEC_I_PT).
    RegisterOthers,
    /// REGISTER AND MOVE.
    RegisterAndMove,
    /// REPLACE LOST RESERVATION.
    ReplaceLostReservation,
    /// RESERVE, RELEASE or PREEMPT of something else than the logical unit.
    OtherScope,
}

impl Operation {
    /// All of them, in the order of the table.
    pub const ALL: [Operation; 15] = [
        Operation::Read,
        Operation::ReadFullStatus,
        Operation::Register,
        Operation::ChangeKey,
        Operation::Unregister,
        Operation::RegisterAndIgnore,
        Operation::Reserve,
        Operation::Release,
        Operation::Clear,
        Operation::Preempt,
        Operation::PreemptOwn,
        Operation::RegisterOthers,
        Operation::RegisterAndMove,
        Operation::ReplaceLostReservation,
        Operation::OtherScope,
    ];

    /// The kind of a PERSISTENT RESERVE IN.
    pub fn of_read(action: InAction) -> Self {
        match action {
            InAction::ReadFullStatus => Operation::ReadFullStatus,
            InAction::ReadKeys | InAction::ReadReservation | InAction::ReportCapabilities => {
                Operation::Read
            }
        }
    }

    /// The kind of a PERSISTENT RESERVE OUT.
    pub fn of(command: &PrOut) -> Self {
        let parameters = &command.parameters;
        let (key, other) = (parameters.key, parameters.service_action_key);
        let registers = matches!(
            command.action,
            OutAction::Register | OutAction::RegisterAndIgnore
        );
        if parameters.flags.spec_i_pt || (registers && !parameters.transport_ids.is_empty()) {
            return Operation::RegisterOthers;
        }
        let whole_unit = command.scope_type.0 >> 4 == 0;
        match command.action {
            OutAction::Register | OutAction::RegisterAndIgnore if other.is_zero() => {
                Operation::Unregister
            }
            OutAction::Register if key.is_zero() => Operation::Register,
            OutAction::Register => Operation::ChangeKey,
            OutAction::RegisterAndIgnore => Operation::RegisterAndIgnore,
            OutAction::Clear => Operation::Clear,
            OutAction::RegisterAndMove => Operation::RegisterAndMove,
            OutAction::ReplaceLostReservation => Operation::ReplaceLostReservation,
            _ if !whole_unit => Operation::OtherScope,
            OutAction::Reserve => Operation::Reserve,
            OutAction::Release => Operation::Release,
            OutAction::Preempt | OutAction::PreemptAndAbort => {
                match other == key || other.is_zero() {
                    true => Operation::PreemptOwn,
                    false => Operation::Preempt,
                }
            }
        }
    }

    /// Its row of the table.
    fn rule(self) -> Rule {
        use Rule::{From, Never, OnDemand};
        match self {
            Operation::Read => Never("slow, and waits for dead paths"),
            Operation::ReadFullStatus => {
                Never("every version corrupts memory from 31 registrations on")
            }
            Operation::Register => OnDemand(
                Version(0, 8, 6),
                "on demand: nobody learns which nexuses are ours; before 0.13 one odd path takes \
                 all back",
            ),
            Operation::ChangeKey => {
                Never("preempts a key that hosts share where the holding path is lost")
            }
            Operation::Unregister => OnDemand(
                Version(0, 8, 6),
                "on demand: refused while multipathd is away; before 0.13 a holder's paths go in \
                 no order",
            ),
            Operation::RegisterAndIgnore => OnDemand(
                Version(0, 8, 6),
                "on demand: as REGISTER; before 0.13 a path that appears meanwhile is missed",
            ),
            Operation::Reserve => From(
                Version(0, 8, 6),
                "before 0.12 one path only, whether it works or not",
            ),
            Operation::Release => Never(
                "preempts a key that hosts share where the holding path is lost; before 0.12 may \
                 clear other hosts",
            ),
            Operation::Clear => From(
                Version(0, 8, 6),
                "before 0.12 one path only, whether it works or not",
            ),
            Operation::Preempt => From(
                Version(0, 8, 6),
                "before 0.12 one path only, whether it works or not",
            ),
            Operation::PreemptOwn => {
                From(SOUND, "before 0.13 our other paths lose their registration")
            }
            Operation::RegisterOthers => Never("its list overflows at 33 TransportIDs"),
            Operation::RegisterAndMove => Never("the library cannot express it"),
            Operation::ReplaceLostReservation => Never("the library cannot express it"),
            Operation::OtherScope => Never("the library knows the logical unit only"),
        }
    }

    /// From which version on the library may run it at all.
    pub fn library_from(self) -> Option<Version> {
        match self.rule() {
            Rule::From(version, _) | Rule::OnDemand(version, _) => Some(version),
            Rule::Never(_) => None,
        }
    }

    /// What is wrong with the library, or with its older versions.
    pub fn reason(self) -> &'static str {
        match self.rule() {
            Rule::From(_, reason) | Rule::OnDemand(_, reason) | Rule::Never(reason) => reason,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Operation::Read => "READ KEYS, RESERVATION, CAPABILITIES",
            Operation::ReadFullStatus => "READ FULL STATUS",
            Operation::Register => "REGISTER",
            Operation::ChangeKey => "REGISTER, another key",
            Operation::Unregister => "REGISTER, key zero",
            Operation::RegisterAndIgnore => "REGISTER AND IGNORE EXISTING KEY",
            Operation::Reserve => "RESERVE",
            Operation::Release => "RELEASE",
            Operation::Clear => "CLEAR",
            Operation::Preempt => "PREEMPT, PREEMPT AND ABORT",
            Operation::PreemptOwn => "PREEMPT, own key or zero",
            Operation::RegisterOthers => "REGISTER with TransportIDs",
            Operation::RegisterAndMove => "REGISTER AND MOVE",
            Operation::ReplaceLostReservation => "REPLACE LOST RESERVATION",
            Operation::OtherScope => "other scope than the unit",
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    /// The library does no harm from this version on; why not before, or what
    /// its older versions lack.
    From(Version, &'static str),
    /// Likewise, but our own commands do more: only by the setting
    /// `mpathpersist`.
    OnDemand(Version, &'static str),
    /// Not in any version, and why.
    Never(&'static str),
}

/// Who runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// libmpathpersist, in its worker.
    Library,
    /// Our own commands on each path.
    Direct,
    /// Nobody: the library was demanded and is not there.
    Refuse,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Choice::Library => "library",
            Choice::Direct => "direct",
            Choice::Refuse => "refuse",
        })
    }
}

/// Who runs an operation, given the setting and the library that was found.
pub fn decide(setting: Engine, library: Option<Version>, operation: Operation) -> Choice {
    let (from, on_demand) = match operation.rule() {
        Rule::From(version, _) => (version, false),
        Rule::OnDemand(version, _) => (version, true),
        Rule::Never(_) => return Choice::Direct,
    };
    match (setting, library) {
        (Engine::Direct, _) | (Engine::Auto, None) => Choice::Direct,
        (Engine::Mpathpersist, None) => Choice::Refuse,
        (Engine::Auto, Some(version)) if on_demand || version < SOUND => Choice::Direct,
        (_, Some(version)) if version < from => Choice::Direct,
        (_, Some(_)) => Choice::Library,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::pr::RegisterFlags;
    use crate::scsi::{ReservationKey, ScopeType};

    const BOOKWORM: Option<Version> = Some(Version(0, 9, 4));
    const TWELVE: Option<Version> = Some(Version(0, 12, 2));
    const SID: Option<Version> = Some(Version(0, 15, 1));

    fn through(setting: Engine, library: Option<Version>) -> Vec<Operation> {
        let library = |operation: &Operation| decide(setting, library, *operation);
        let mut all = Operation::ALL.to_vec();
        all.retain(|operation| library(operation) == Choice::Library);
        all
    }

    #[test]
    fn auto_takes_the_library_from_0_13_on() {
        for old in [None, BOOKWORM, TWELVE] {
            assert_eq!(through(Engine::Auto, old), []);
        }
        for sound in [Some(SOUND), SID] {
            assert_eq!(
                through(Engine::Auto, sound),
                [
                    Operation::Reserve,
                    Operation::Clear,
                    Operation::Preempt,
                    Operation::PreemptOwn
                ]
            );
        }
        assert_eq!(through(Engine::Direct, SID), []);
    }

    #[test]
    fn registrations_take_the_library_on_demand_only() {
        for library in [BOOKWORM, TWELVE, SID] {
            let demanded = through(Engine::Mpathpersist, library);
            for operation in [
                Operation::Register,
                Operation::Unregister,
                Operation::RegisterAndIgnore,
            ] {
                assert!(demanded.contains(&operation), "{operation} in {library:?}");
                assert_eq!(decide(Engine::Auto, library, operation), Choice::Direct);
            }
        }
    }

    #[test]
    fn an_old_library_never_preempts_itself() {
        for (library, may) in [(BOOKWORM, false), (TWELVE, false), (SID, true)] {
            let allowed = through(Engine::Mpathpersist, library);
            assert_eq!(allowed.contains(&Operation::PreemptOwn), may, "{library:?}");
        }
    }

    #[test]
    fn some_things_are_never_the_librarys() {
        for operation in [
            Operation::Read,
            Operation::ReadFullStatus,
            Operation::ChangeKey,
            Operation::Release,
            Operation::RegisterOthers,
            Operation::RegisterAndMove,
            Operation::ReplaceLostReservation,
            Operation::OtherScope,
        ] {
            for setting in [Engine::Auto, Engine::Mpathpersist, Engine::Direct] {
                for library in [None, BOOKWORM, SID] {
                    assert_eq!(decide(setting, library, operation), Choice::Direct);
                }
            }
        }
    }

    #[test]
    fn a_demanded_library_that_is_missing_is_refused_not_replaced() {
        assert_eq!(
            decide(Engine::Mpathpersist, None, Operation::Reserve),
            Choice::Refuse
        );
        // One that says no version is there, and old.
        let mute = Some(effective_version(None, true));
        assert_eq!(
            decide(Engine::Mpathpersist, mute, Operation::Reserve),
            Choice::Direct
        );
    }

    #[test]
    fn a_version_that_the_code_contradicts_is_not_believed() {
        assert_eq!(
            effective_version(Some([0, 13, 1]), false),
            Version(0, 13, 1)
        );
        assert!(effective_version(Some([0, 13, 1]), true) < SOUND);
        assert_eq!(effective_version(Some([0, 9, 4]), true), Version(0, 9, 4));
        // A distribution that carries the new code under an old number.
        assert_eq!(effective_version(Some([0, 8, 7]), false), Version(0, 8, 7));
    }

    #[test]
    fn commands_are_told_apart() {
        let key = ReservationKey;
        let register = |from, to, flags| PrOut::register(key(from), key(to), flags);
        let plain = RegisterFlags::default();
        let spec_i_pt = RegisterFlags {
            spec_i_pt: true,
            ..plain
        };
        let basic = |action, scope_type, own, other| {
            PrOut::basic(action, ScopeType(scope_type), key(own), key(other))
        };
        for (command, operation) in [
            (register(0, 1, plain), Operation::Register),
            (register(1, 2, plain), Operation::ChangeKey),
            (register(1, 1, plain), Operation::ChangeKey),
            (register(1, 0, plain), Operation::Unregister),
            (register(0, 1, spec_i_pt), Operation::RegisterOthers),
            (
                basic(OutAction::RegisterAndIgnore, 0, 0, 0),
                Operation::Unregister,
            ),
            (basic(OutAction::Preempt, 5, 1, 2), Operation::Preempt),
            (
                basic(OutAction::PreemptAndAbort, 5, 1, 1),
                Operation::PreemptOwn,
            ),
            (basic(OutAction::Preempt, 7, 1, 0), Operation::PreemptOwn),
            (basic(OutAction::Reserve, 0x15, 1, 0), Operation::OtherScope),
            (basic(OutAction::Clear, 0x15, 1, 0), Operation::Clear),
        ] {
            assert_eq!(Operation::of(&command), operation, "{command:?}");
        }
    }
}
