//! What holds for one logical unit.

use super::key::KeySource;
use super::text::Place;
use crate::scsi::pr::RegisterFlags;
use crate::scsi::{OutAction, PrOut, SenseCode};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The settings of one unit, or of those that no section is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The key that may be registered.
    pub reservation_key: KeySource,
    /// Where that is said; `None` where it is the default.
    pub key_place: Option<Place>,
    /// Registrations of ours are for every target port (ALL_TG_PT), unless the
    /// client's own was not.
    pub all_tg_pt: bool,
    /// What multipathd is told of registrations on the unit's map.
    pub multipathd: Coordination,
    /// Who changes reservations on the unit's map.
    pub engine: Engine,
    /// What becomes of paths without our registration.
    pub path_repair: PathRepair,
    /// A usable path that cannot be registered is kept out of I/O.
    pub strict: bool,
    /// PRGENERATION is read this often while we are registered, from 200 ms to
    /// 10 minutes.
    pub poll_interval: Duration,
}

impl Default for Unit {
    fn default() -> Self {
        Unit {
            reservation_key: KeySource::default(),
            key_place: None,
            all_tg_pt: false,
            multipathd: Coordination::default(),
            engine: Engine::default(),
            path_repair: PathRepair::default(),
            strict: false,
            poll_interval: Duration::from_secs(3),
        }
    }
}

impl Unit {
    /// The flags of a registration that we make by ourselves, where no client's
    /// own are known.
    pub fn flags(&self) -> RegisterFlags {
        RegisterFlags {
            spec_i_pt: false,
            all_tg_pt: self.all_tg_pt,
            aptpl: matches!(self.reservation_key, KeySource::Fixed { aptpl: true, .. }),
        }
    }

    /// Whether a client may send this command here.
    ///
    /// # Errors
    /// 05/26/00 for a registration with another key than the configured one.
    /// What a key of another host could be about (REGISTER AND MOVE, PREEMPT)
    /// is the device's to judge, and a registration may always end.
    pub fn admits(&self, command: &PrOut) -> Result<(), SenseCode> {
        let KeySource::Fixed { key, .. } = self.reservation_key else {
            return Ok(());
        };
        let registers = matches!(
            command.action,
            OutAction::Register | OutAction::RegisterAndIgnore
        );
        let new = command.parameters.service_action_key;
        match registers && !new.is_zero() && new != key {
            true => Err(SenseCode::INVALID_FIELD_IN_PARAMETER_LIST),
            false => Ok(()),
        }
    }
}

/// `multipathd = `
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Coordination {
    /// The key, and to register paths that return.
    #[default]
    Coordinate,
    /// Nothing; it is only asked whether it would.
    Observe,
    /// Nothing, and it is not asked either.
    Exclusive,
}

/// `engine = `: who changes reservations on a multipath map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// libmpathpersist from 0.13 on, where it is there; else our own commands.
    #[default]
    Auto,
    /// libmpathpersist, for all that it does without harm.
    Mpathpersist,
    /// Our own commands, path by path.
    Direct,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Auto => "auto",
            Engine::Mpathpersist => "mpathpersist",
            Engine::Direct => "direct",
        })
    }
}

/// `path_repair = `
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum PathRepair {
    /// They are registered again, given proof that our registration stands.
    #[default]
    Repair,
    /// They are only reported.
    Observe,
}

/// `[[multipath]]`: what is said of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipath {
    /// Which unit.
    pub selector: Selector,
    /// Where the section begins.
    pub place: Place,
    /// What it says.
    pub settings: Settings,
}

/// How a section names its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By its world-wide identity, as multipath writes it.
    Wwid(String),
    /// By the name of its multipath map.
    Alias(String),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Wwid(name) => write!(f, "wwid {name:?}"),
            Selector::Alias(name) => write!(f, "alias {name:?}"),
        }
    }
}

/// What one section says; the rest is as before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "as in `Unit`")]
pub struct Settings {
    pub reservation_key: Option<(KeySource, Place)>,
    pub all_tg_pt: Option<bool>,
    pub multipathd: Option<Coordination>,
    pub engine: Option<Engine>,
    pub path_repair: Option<PathRepair>,
    pub strict: Option<bool>,
    pub poll_interval: Option<Duration>,
}

impl Settings {
    /// Takes the place of what was said before.
    pub(super) fn lay_over(self, unit: &mut Unit) {
        if let Some((source, place)) = self.reservation_key {
            unit.reservation_key = source;
            unit.key_place = Some(place);
        }
        put(&mut unit.all_tg_pt, self.all_tg_pt);
        put(&mut unit.multipathd, self.multipathd);
        put(&mut unit.engine, self.engine);
        put(&mut unit.path_repair, self.path_repair);
        put(&mut unit.strict, self.strict);
        put(&mut unit.poll_interval, self.poll_interval);
    }
}

/// Replaces a setting where there is something to replace it with.
pub(super) fn put<T>(setting: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *setting = said;
    }
}
