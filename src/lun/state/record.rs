//! What a host knows of its registrations, as it is written down.
//!
//! Names and keys are text, so that people can read the file.

use super::{Loss, LunState, PathId, Registration};
use crate::lun::plan::check::{Check, kept};
use crate::scsi::pr::{NexusId, RegisterFlags};
use crate::scsi::{ReservationKey, TransportId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One logical unit's record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    /// The registration our client made, where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<Made>,
    /// What we put on a path was taken away at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub doubted: bool,
    /// It was found there, by the key in the configuration.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub claimed: bool,
    /// One of another boot, until it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former: Option<Made>,
    /// The last one, where it was taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// A REGISTER whose end was not known when this was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// A path was being registered that may be one of `seen`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub probing: bool,
    /// Our paths.
    pub paths: Vec<KnownPath>,
    /// Nexuses of ours that are none of them, as far as is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kin: Vec<Nexus>,
    /// Keys that our client has given up or lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub used: Vec<ReservationKey>,
    /// Those of another boot, or of before a REGISTER that was cut off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<ReservationKey>,
    /// What our nexuses had when they were last read.
    pub seen: Vec<Seen>,
    /// PRGENERATION then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
}

/// A registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Its key.
    pub key: ReservationKey,
    /// Made with ALL_TG_PT.
    pub all_tg_pt: bool,
    /// Made with APTPL.
    pub aptpl: bool,
}

impl From<Registration> for Made {
    fn from(registration: Registration) -> Self {
        Made {
            key: registration.key,
            all_tg_pt: registration.flags.all_tg_pt,
            aptpl: registration.flags.aptpl,
        }
    }
}

impl From<&Made> for Registration {
    fn from(made: &Made) -> Self {
        Registration {
            key: made.key,
            flags: RegisterFlags {
                spec_i_pt: false,
                all_tg_pt: made.all_tg_pt,
                aptpl: made.aptpl,
            },
        }
    }
}

/// How a registration ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// Its key.
    pub key: ReservationKey,
    /// How.
    pub loss: Loss,
}

/// A REGISTER on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// The key before.
    pub from: ReservationKey,
    /// The key after.
    pub to: ReservationKey,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnownPath {
    /// Its name.
    pub path: String,
    /// Which nexus it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nexus: Option<Nexus>,
    /// The key we put there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carries: Option<ReservationKey>,
    /// Keys that are to be taken off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owes: Vec<ReservationKey>,
}

/// A nexus, by the bytes of its TransportID in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nexus {
    /// The initiator port.
    pub transport_id: String,
    /// The relative target port; 0 where the device does not say.
    pub relative_target_port: u16,
}

/// A nexus with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Which nexus.
    pub nexus: Nexus,
    /// Its key.
    pub key: ReservationKey,
}

impl From<&NexusId> for Nexus {
    fn from(nexus: &NexusId) -> Self {
        let bytes = nexus.transport_id.bytes().iter();
        Nexus {
            transport_id: bytes.map(|byte| format!("{byte:02x}")).collect(),
            relative_target_port: nexus.relative_target_port,
        }
    }
}

impl Nexus {
    /// `None` where it is not one: it proves nothing then.
    fn id(&self) -> Option<NexusId> {
        let text = self.transport_id.as_bytes();
        let bytes: Option<Vec<u8>> = text
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let (transport_id, _) = TransportId::parse(&bytes?).ok()?;
        Some(NexusId {
            transport_id,
            relative_target_port: self.relative_target_port,
        })
    }
}

impl From<&LunState> for Record {
    fn from(state: &LunState) -> Self {
        let mut paths = BTreeMap::<&PathId, KnownPath>::new();
        for (id, nexus) in &state.nexuses {
            paths.entry(id).or_default().nexus = Some(nexus.into());
        }
        for (id, key) in &state.carried {
            paths.entry(id).or_default().carries = Some(*key);
        }
        for (id, keys) in &state.owed {
            paths.entry(id).or_default().owes = keys.iter().copied().collect();
        }
        let named = |(id, path): (&PathId, KnownPath)| KnownPath {
            path: id.0.clone(),
            ..path
        };
        Record {
            registration: state.registration.map(Made::from),
            former: state.former.map(Made::from),
            ended: state.ended.map(|(key, loss)| Ended { key, loss }),
            pending: state.pending.map(|(from, to)| Pending { from, to }),
            probing: state.probing,
            doubted: state.doubted,
            claimed: state.claimed,
            paths: paths.into_iter().map(named).collect(),
            kin: state.kin.iter().map(Nexus::from).collect(),
            used: state.used.iter().copied().collect(),
            earlier: state.earlier.iter().copied().collect(),
            seen: state
                .seen
                .iter()
                .map(|(nexus, key)| Seen {
                    nexus: nexus.into(),
                    key: *key,
                })
                .collect(),
            generation: state.generation,
        }
    }
}

impl Record {
    /// The state to go on with. A registration of another boot is none: the host
    /// may have been fenced, and is to come back without its keys. Of a REGISTER
    /// that was cut off nobody knows how far it came; the client sends it again.
    pub fn state(&self, same_boot: bool) -> LunState {
        let mut state = self.state_of_this_boot();
        if !same_boot && kept(Check::SameBoot) {
            let former = state.registration.or(state.former);
            // Keys of ours go from the paths that still have them where the
            // registration was taken away, or turns out to have been.
            let mut earlier = state.earlier;
            let (owed, used) = match former.is_some() || state.ended.is_some() {
                true => (state.owed, state.used),
                false => {
                    earlier.extend(state.used);
                    Default::default()
                }
            };
            state = LunState {
                former,
                ended: state.ended,
                owed,
                used,
                earlier,
                probing: state.probing,
                doubted: state.doubted,
                nexuses: state.nexuses,
                kin: state.kin,
                carried: state.carried,
                seen: state.seen,
                generation: state.generation,
                ..LunState::default()
            };
        }
        // Whatever happened while nobody looked.
        state.disturb_all();
        state
    }

    fn state_of_this_boot(&self) -> LunState {
        let cut_off = self.pending.is_some() && kept(Check::NothingPending);
        let registration = self.registration.as_ref().filter(|_| !cut_off);
        let mut state = LunState {
            registration: registration.map(Registration::from),
            former: self.former.as_ref().map(Registration::from),
            ended: self.ended.as_ref().map(|ended| (ended.key, ended.loss)),
            pending: self
                .pending
                .as_ref()
                .map(|pending| (pending.from, pending.to)),
            probing: self.probing,
            doubted: self.doubted,
            claimed: self.claimed,
            kin: self.kin.iter().filter_map(Nexus::id).collect(),
            used: self.used.iter().copied().collect(),
            earlier: self.earlier.iter().copied().collect(),
            generation: self.generation,
            ..LunState::default()
        };
        for known in &self.paths {
            let path = PathId(known.path.clone());
            if let Some(nexus) = known.nexus.as_ref().and_then(Nexus::id) {
                state.nexuses.insert(path.clone(), nexus);
            }
            if let Some(key) = known.carries {
                state.carried.insert(path.clone(), key);
            }
            for key in &known.owes {
                state.owe(&path, *key);
            }
        }
        for Seen { nexus, key } in &self.seen {
            if let Some(nexus) = nexus.id() {
                state.seen.insert(nexus, *key);
            }
        }
        // Paths that the REGISTER did not reach still have the key of before.
        let before = self.registration.as_ref().filter(|_| cut_off);
        state.earlier.extend(before.map(|made| made.key));
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K1: ReservationKey = ReservationKey(0xa1);

    fn state() -> LunState {
        let paths = [PathId("1:0:0:0".into()), PathId("2:0:0:0".into())];
        let mut state = LunState::default();
        let flags = RegisterFlags {
            aptpl: true,
            ..RegisterFlags::default()
        };
        let nexus = |port| NexusId {
            transport_id: TransportId::sas(port),
            relative_target_port: 1,
        };
        state.nexuses.insert(paths[0].clone(), nexus(1));
        state.kin.insert(nexus(2));
        state.registered(K1, flags, &paths, &paths);
        state.owe(&paths[1], ReservationKey(0xa0));
        state.generation = Some(7);
        state
    }

    #[test]
    fn a_record_is_text_for_people_and_comes_back_whole() {
        let state = state();
        let text = serde_json::to_string_pretty(&Record::from(&state)).unwrap();
        insta::assert_snapshot!(text);
        let record: Record = serde_json::from_str(&text).unwrap();
        let mut back = record.state(true);
        assert!(
            !back.is_covered(&PathId("1:0:0:0".into())),
            "to be looked at"
        );
        back.disturbed.clear();
        back.renewed.clear();
        assert_eq!(back, state);
    }

    #[test]
    fn nothing_is_taken_over_from_another_boot_or_a_register_cut_off() {
        let mut state = state();
        let mut later = Record::from(&state).state(false);
        assert_eq!(later.registration(), None);
        later.retire();
        assert!(later.owed().is_empty());
        state.registering(K1, ReservationKey(0xa2));
        let back = Record::from(&state).state(true);
        assert_eq!(back.registration(), None);
        assert_eq!(back.owed().len(), 1, "what is to go still goes");
    }

    #[test]
    fn the_key_before_a_register_that_was_cut_off_is_known_as_ours() {
        let mut state = state();
        state.registering(ReservationKey::ZERO, ReservationKey(0xa2));
        let mut back = Record::from(&Record::from(&state).state(true)).state(true);
        let [reached, missed] = [PathId("1:0:0:0".into()), PathId("2:0:0:0".into())];
        let present = [reached.clone(), missed.clone()];
        let key = ReservationKey(0xa3);
        back.registering(ReservationKey::ZERO, key);
        back.registered(key, RegisterFlags::default(), &[reached], &present);
        for old in [K1, ReservationKey(0xa2)] {
            assert!(back.old_keys(&missed).contains(&old), "{old}");
        }
    }
}
