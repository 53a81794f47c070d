//! From what a caller wants changed to what is done, or would be.

use super::change::{Change, Options, Verb};
use super::errand::Errand;
use super::error::Error;
use crate::lun::preview::{Deed, Known, Step, preview};
use crate::lun::registry::Target;
use crate::lun::route::Route;
use crate::lun::state::Registration;
use crate::lun::upkeep::{Unmet, Upkeep};
use crate::scsi::pr::RegisterFlags;
use crate::scsi::{OutAction, PrOut, ReservationKey, ScopeType};

const NONE: ReservationKey = ReservationKey::ZERO;

impl Errand {
    /// What this change comes to. The unit is read where that depends on it.
    ///
    /// # Errors
    /// Where it cannot be done at all, or the unit cannot be read.
    pub async fn deed(&self, target: &Target, change: &Change) -> Result<Deed, Error> {
        let Change { verb, options } = change;
        let single = matches!(target.route, Route::Single(..));
        if single && !matches!(verb, Verb::Refresh | Verb::Forget) {
            return Err(Error::NotSupported(format!(
                "{} is a single path, whose registration is its client's own; use reservctl pr",
                target.name
            )));
        }
        let own = || own_key(target, options);
        let act = |action, kind: ScopeType, victim| {
            Ok(Deed::Send(PrOut::basic(action, kind, own()?, victim)))
        };
        match verb {
            Verb::Register(key) => {
                let from = options.existing_key.unwrap_or(NONE);
                let flags = self.flags(target, options).await;
                Ok(Deed::Send(PrOut::register(from, *key, flags)))
            }
            Verb::Unregister => {
                let (key, flags) = (own()?, self.flags(target, options).await);
                Ok(Deed::Send(PrOut::register(key, NONE, flags)))
            }
            Verb::Reserve(kind) => act(OutAction::Reserve, (*kind).into(), NONE),
            Verb::Release => {
                own()?;
                match self.reservation(target).await?.reservation {
                    Some(held) => act(OutAction::Release, held.scope_type, NONE),
                    None => Ok(Deed::Nothing("there is no reservation")),
                }
            }
            Verb::Preempt(victim, kind) => act(OutAction::Preempt, (*kind).into(), *victim),
            Verb::PreemptAndAbort(victim, kind) => {
                act(OutAction::PreemptAndAbort, (*kind).into(), *victim)
            }
            Verb::Clear => act(OutAction::Clear, ScopeType(0), NONE),
            Verb::Adopt(key) => {
                let (key, flags) = (*key, self.flags(target, options).await);
                Ok(Deed::Tend(Upkeep::Adopt(Registration { key, flags })))
            }
            Verb::Rearm => {
                let flags = self.flags(target, options).await;
                Ok(Deed::Tend(Upkeep::Rearm(flags)))
            }
            Verb::Forget => Ok(Deed::Tend(Upkeep::Forget)),
            Verb::Repair(path) => Ok(Deed::Tend(Upkeep::Repair(path.clone()))),
            Verb::Refresh => Ok(Deed::Tend(Upkeep::Refresh)),
        }
    }

    /// The steps of a deed. With `ask`, by what the unit says now.
    pub async fn steps(&self, target: &Target, deed: &Deed, ask: bool) -> Vec<Step> {
        let (mut status, mut held) = (None, None);
        if ask {
            status = self.full_status(target).await;
            held = self.reservation(target).await.ok();
        }
        let order = target.lun.paths(&target.route);
        let snapshot = target.lun.snapshot();
        let seen = snapshot.borrow();
        let held = held.map_or(seen.reservation, |data| data.reservation);
        let own = target.lun.registered_key();
        let known = Known::new(own, &seen, &order, status.as_ref(), held);
        preview(deed, &known)
    }

    /// Does it.
    ///
    /// # Errors
    /// What the unit, or its actor, says to it.
    pub async fn carry_out(&self, target: &Target, deed: Deed) -> Result<(), Error> {
        match deed {
            Deed::Nothing(_) => Ok(()),
            Deed::Send(command) => self.write(target, command).await,
            Deed::Tend(upkeep) => {
                let (lun, route) = (&target.lun, target.route.clone());
                let end: Result<(), Unmet> = lun.tend(route, upkeep, self.until).await;
                Ok(end?)
            }
        }
    }

    async fn flags(&self, target: &Target, options: &Options) -> RegisterFlags {
        RegisterFlags {
            spec_i_pt: false,
            all_tg_pt: options.all_target_ports,
            aptpl: match options.aptpl {
                Some(aptpl) => aptpl,
                None => self.persists(target).await,
            },
        }
    }
}

fn own_key(target: &Target, options: &Options) -> Result<ReservationKey, Error> {
    let key = options.existing_key.or(target.lun.registered_key());
    key.ok_or_else(|| {
        let text = format!("{}: no key of this host is registered", target.name);
        Error::NotRegistered(text)
    })
}
