//! What a caller wants changed: a verb and its options, parsed.

use super::authority::Action;
use super::caller::{present_key, reservation_type};
use super::error::Error;
use crate::lun::state::PathId;
use crate::scsi::{ReservationKey, ReservationType};
use std::collections::HashMap;
use std::time::Duration;
use zbus::OwnedVariant;

/// Options as they arrive: `a{sv}`.
pub type Given = HashMap<String, OwnedVariant>;

/// What is to be done to a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// REGISTER this key.
    Register(ReservationKey),
    /// REGISTER none.
    Unregister,
    /// RESERVE.
    Reserve(ReservationType),
    /// RELEASE.
    Release,
    /// PREEMPT.
    Preempt(ReservationKey, ReservationType),
    /// PREEMPT AND ABORT.
    PreemptAndAbort(ReservationKey, ReservationType),
    /// CLEAR.
    Clear,
    /// Look after a key that is registered here already.
    Adopt(ReservationKey),
    /// Register again what was taken away.
    Rearm,
    /// Know nothing of the unit any more.
    Forget,
    /// Bring the paths in line, or this one.
    Repair(Option<PathId>),
    /// Read the registrations and the reservation.
    Refresh,
}

impl Verb {
    /// The method's name.
    pub fn name(&self) -> &'static str {
        match self {
            Verb::Register(_) => "Register",
            Verb::Unregister => "Unregister",
            Verb::Reserve(_) => "Reserve",
            Verb::Release => "Release",
            Verb::Preempt(..) => "Preempt",
            Verb::PreemptAndAbort(..) => "PreemptAndAbort",
            Verb::Clear => "Clear",
            Verb::Adopt(_) => "Adopt",
            Verb::Rearm => "Rearm",
            Verb::Forget => "Forget",
            Verb::Repair(None) => "Repair",
            Verb::Repair(Some(_)) => "Reapply",
            Verb::Refresh => "Refresh",
        }
    }

    /// What the caller has to be allowed.
    pub fn action(&self) -> Action {
        match self {
            Verb::Register(_)
            | Verb::Unregister
            | Verb::Reserve(_)
            | Verb::Release
            | Verb::Adopt(_)
            | Verb::Repair(_) => Action::Manage,
            Verb::Preempt(..) | Verb::PreemptAndAbort(..) | Verb::Clear | Verb::Rearm => {
                Action::Preempt
            }
            Verb::Forget => Action::Configure,
            Verb::Refresh => Action::Refresh,
        }
    }

    /// By the name of its method, with its arguments taken out of `given`: `key`,
    /// `victim`, `type`. Case and dashes do not matter.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for another name or an argument that is not
    /// there; those of the arguments.
    pub fn named(name: &str, given: &mut Given) -> Result<Self, Error> {
        let plain: String = name
            .chars()
            .filter(|letter| *letter != '-')
            .flat_map(char::to_lowercase)
            .collect();
        let mut text = |argument: &str| {
            let value = given.remove(argument);
            let value = value.ok_or_else(|| invalid(argument, "is missing"))?;
            String::try_from(value).map_err(|_| invalid(argument, "is no string"))
        };
        Ok(match plain.as_str() {
            "register" => Verb::Register(present_key(&text("key")?)?),
            "unregister" => Verb::Unregister,
            "reserve" => Verb::Reserve(reservation_type(&text("type")?)?),
            "release" => Verb::Release,
            "preempt" => Verb::Preempt(
                present_key(&text("victim")?)?,
                reservation_type(&text("type")?)?,
            ),
            "preemptandabort" => Verb::PreemptAndAbort(
                present_key(&text("victim")?)?,
                reservation_type(&text("type")?)?,
            ),
            "clear" => Verb::Clear,
            "adopt" => Verb::Adopt(present_key(&text("key")?)?),
            "rearm" => Verb::Rearm,
            "forget" => Verb::Forget,
            "repair" => Verb::Repair(None),
            "refresh" => Verb::Refresh,
            _ => return Err(Error::InvalidArgument(format!("{name:?} is no verb"))),
        })
    }

    /// Whether an option beside those for all means anything to it.
    fn takes(&self, option: &str) -> bool {
        let registers = matches!(self, Verb::Register(_) | Verb::Adopt(_) | Verb::Rearm);
        match option {
            "aptpl" | "all-target-ports" => registers,
            "existing-key" => matches!(
                self,
                Verb::Register(_)
                    | Verb::Unregister
                    | Verb::Reserve(_)
                    | Verb::Release
                    | Verb::Preempt(..)
                    | Verb::PreemptAndAbort(..)
                    | Verb::Clear
            ),
            _ => false,
        }
    }
}

/// How it is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Do not wait for the end.
    pub no_wait: bool,
    /// Why, for the log.
    pub reason: String,
    /// How long it may take.
    pub timeout: Duration,
    /// The key that this host has, where reservd does not know it.
    pub existing_key: Option<ReservationKey>,
    /// Registered to outlive a power loss; where nothing is said, as the unit is.
    pub aptpl: Option<bool>,
    /// Registered on every target port.
    pub all_target_ports: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            dry_run: false,
            no_wait: false,
            reason: String::new(),
            timeout: Duration::from_secs(19),
            existing_key: None,
            aptpl: None,
            all_target_ports: false,
        }
    }
}

/// A reason is no longer than this, in bytes.
const REASON: usize = 1024;
/// Nothing takes longer than this.
const LONGEST: Duration = Duration::from_secs(600);

/// A verb and its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub verb: Verb,
    /// How.
    pub options: Options,
}

impl From<Verb> for Change {
    /// Without any options.
    fn from(verb: Verb) -> Self {
        Change {
            verb,
            options: Options::default(),
        }
    }
}

impl Change {
    /// A verb with the options given.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for one that is not known, or that means nothing
    /// to this verb, or has another type or a value that makes no sense;
    /// [`Error::InvalidKey`].
    pub fn new(verb: Verb, given: Given) -> Result<Self, Error> {
        let mut options = Options::default();
        for (name, value) in given {
            let general = ["dry-run", "no-wait", "reason", "timeout-ms"];
            if !general.contains(&name.as_str()) && !verb.takes(&name) {
                return Err(Error::InvalidArgument(format!(
                    "{name:?} is no option of {}",
                    verb.name()
                )));
            }
            options.set(&name, value)?;
        }
        Ok(Change { verb, options })
    }

    /// What the caller has to be allowed: who only wants to know changes nothing.
    pub fn action(&self) -> Action {
        match self.options.dry_run {
            true => Action::Refresh,
            false => self.verb.action(),
        }
    }
}

impl Options {
    fn set(&mut self, name: &str, value: OwnedVariant) -> Result<(), Error> {
        let flag = |value: OwnedVariant| {
            bool::try_from(value).map_err(|_| invalid(name, "is no boolean (b)"))
        };
        let text = |value: OwnedVariant| {
            String::try_from(value).map_err(|_| invalid(name, "is no string (s)"))
        };
        match name {
            "dry-run" => self.dry_run = flag(value)?,
            "no-wait" => self.no_wait = flag(value)?,
            "aptpl" => self.aptpl = Some(flag(value)?),
            "all-target-ports" => self.all_target_ports = flag(value)?,
            "existing-key" => self.existing_key = Some(present_key(&text(value)?)?),
            "reason" => {
                self.reason = text(value)?;
                if self.reason.len() > REASON || self.reason.contains(char::is_control) {
                    return Err(invalid(name, "is one line of at most 1024 bytes"));
                }
            }
            "timeout-ms" => {
                let milliseconds = u32::try_from(value);
                let milliseconds = milliseconds.map_err(|_| invalid(name, "is no number (u)"))?;
                self.timeout = Duration::from_millis(milliseconds.into());
                if self.timeout.is_zero() || self.timeout > LONGEST {
                    return Err(invalid(name, "is from 1 to 600000"));
                }
            }
            _ => return Err(invalid(name, "is not known")),
        }
        Ok(())
    }
}

fn invalid(name: &str, what: &str) -> Error {
    Error::InvalidArgument(format!("{name} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Variant;

    fn given(options: &[(&str, Variant<'_>)]) -> Given {
        let own = |value: &Variant<'_>| value.try_to_owned().unwrap();
        options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), own(value)))
            .collect()
    }

    fn error(verb: Verb, options: &[(&str, Variant<'_>)]) -> String {
        match Change::new(verb, given(options)) {
            Ok(change) => panic!("{change:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn options_are_parsed() {
        let options = given(&[
            ("dry-run", true.into()),
            ("reason", "node2 is dead".into()),
            ("timeout-ms", 1500u32.into()),
            ("existing-key", "0xA1".into()),
            ("aptpl", false.into()),
        ]);
        let verb = Verb::Register(ReservationKey(0xa2));
        let change = Change::new(verb, options).unwrap();
        assert_eq!(change.action(), Action::Refresh);
        assert_eq!(
            change.options,
            Options {
                dry_run: true,
                reason: "node2 is dead".into(),
                timeout: Duration::from_millis(1500),
                existing_key: Some(ReservationKey(0xa1)),
                aptpl: Some(false),
                ..Options::default()
            }
        );
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (name, value) in [
            ("aptpl", Variant::from(true)),
            ("dryrun", true.into()),
            ("dry-run", "yes".into()),
            ("timeout-ms", 0u32.into()),
            ("timeout-ms", 600_001u32.into()),
            ("timeout-ms", 5i64.into()),
            ("reason", "two\nlines".into()),
            ("reason", "x".repeat(1025).into()),
        ] {
            let text = error(Verb::Clear, &[(name, value)]);
            assert!(text.contains("InvalidArgument"), "{text}");
        }
        let text = error(Verb::Clear, &[("existing-key", "a1".into())]);
        assert!(text.contains("InvalidKey"), "{text}");
    }

    #[test]
    fn verbs_have_names() {
        let mut arguments = given(&[("victim", "0xb1".into()), ("type", "5".into())]);
        let verb = Verb::named("preempt-and-abort", &mut arguments).unwrap();
        assert_eq!(verb.name(), "PreemptAndAbort");
        assert!(arguments.is_empty());
        for name in [
            "Unregister",
            "Release",
            "Clear",
            "Rearm",
            "Forget",
            "Repair",
            "Refresh",
        ] {
            let verb = Verb::named(name, &mut Given::new()).unwrap();
            assert_eq!(verb.name(), name);
        }
        assert!(Verb::named("Register", &mut Given::new()).is_err());
        assert!(Verb::named("Explode", &mut Given::new()).is_err());
    }
}
