//! Whose key is that? From the hosts that the configuration names, and from
//! the shapes that programs give to the keys they choose.
//!
//! Pure. A shape is a guess, for anybody may register any key, so only those are
//! read that hardly come about by chance; all else has no known owner.

use crate::scsi::ReservationKey;
use std::collections::BTreeMap;
use std::fmt;

/// `[hosts]`: who has which keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hosts(BTreeMap<ReservationKey, String>);

/// A key that two hosts are said to have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is the key of {other:?} already")]
pub struct Shared {
    /// The key.
    pub key: ReservationKey,
    /// Who has it already.
    pub other: String,
}

impl Hosts {
    /// This host has this key, among others.
    ///
    /// # Errors
    /// [`Shared`] where another one has it.
    pub fn add(&mut self, host: &str, key: ReservationKey) -> Result<(), Shared> {
        match self.0.get(&key) {
            Some(other) if other != host => Err(Shared {
                key,
                other: other.clone(),
            }),
            _ => {
                self.0.insert(key, host.to_owned());
                Ok(())
            }
        }
    }

    /// The host with this key.
    pub fn name_of(&self, key: ReservationKey) -> Option<&str> {
        self.0.get(&key).map(String::as_str)
    }

    /// The owner of a key that is registered on a unit; `local` where that is on
    /// a nexus of this host. `None` where nothing tells.
    pub fn owner(&self, key: ReservationKey, local: bool) -> Option<Owner> {
        match self.name_of(key) {
            _ if key.is_zero() => None,
            Some(name) => Some(Owner::Host(name.to_owned())),
            None if local => Some(Owner::ThisHost),
            None => Owner::by_shape(key),
        }
    }
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// That of a host that the configuration names.
    Host(String),
    /// This host's, which the configuration does not name.
    ThisHost,
    /// LVM's for a host of a volume group (LVM2's `lib/device/persist.c`):
    /// `0x100000`, six digits of the host's sanlock generation, four of its id.
    Lvm {
        /// `host_id` in lvmlocal.conf.
        host: u16,
        /// Of its lease; 0 without sanlock.
        generation: u32,
    },
    /// fence_scsi's for a node: four digits of a hash of the cluster's name, and
    /// the number of the node in four decimal digits.
    FenceScsi {
        /// The hash.
        cluster: u16,
        /// The node, from 0 or 1 on.
        node: u16,
    },
    /// Veritas I/O fencing's on a coordinator disk, in text: `VF`, four digits of
    /// the cluster, two of the node (Cluster Server guide, "I/O fencing
    /// registration key format").
    VeritasCoordinator {
        /// Number of the cluster.
        cluster: u16,
        /// Number of the node.
        node: u8,
    },
    /// Veritas's on a data disk: `A` for node 0, `B` for node 1 and so on, then
    /// `VCS` or `PGR`.
    VeritasData {
        /// Number of the node.
        node: u8,
    },
    /// Windows failover clustering's: the lower half is always the same.
    Windows {
        /// The upper half tells nodes apart.
        node: u32,
    },
    /// Eight characters, which somebody has chosen to be read.
    Text(String),
}

/// What LVM's keys have in front.
const LVM: u64 = 0x10_0000;
/// The lower half of the keys of Windows, `sMSF`.
const WINDOWS: u32 = 0x734d_5346;
/// fence_scsi's own nodes are numbered from 0 or 1; so many are taken for one.
const NODES: u16 = 256;
/// Veritas clusters have up to 64 nodes, from `A` on.
const VERITAS_NODES: u8 = 64;

impl Owner {
    fn by_shape(key: ReservationKey) -> Option<Self> {
        Owner::lvm(key)
            .or_else(|| Owner::windows(key))
            .or_else(|| Owner::fence_scsi(key))
            .or_else(|| Owner::text(key))
    }

    fn lvm(ReservationKey(key): ReservationKey) -> Option<Self> {
        let host = key as u16;
        (key >> 40 == LVM && host != 0).then_some(Owner::Lvm {
            host,
            generation: (key >> 16 & 0xff_ffff) as u32,
        })
    }

    fn windows(ReservationKey(key): ReservationKey) -> Option<Self> {
        let node = (key >> 32) as u32;
        (key as u32 == WINDOWS && node != 0).then_some(Owner::Windows { node })
    }

    fn fence_scsi(ReservationKey(key): ReservationKey) -> Option<Self> {
        let cluster = u16::try_from(key >> 16).ok().filter(|hash| *hash != 0)?;
        // Its digits are decimal ones, read as hexadecimal.
        let node: u16 = format!("{:04x}", key as u16).parse().ok()?;
        (node < NODES).then_some(Owner::FenceScsi { cluster, node })
    }

    fn text(key: ReservationKey) -> Option<Self> {
        let bytes = key.to_be_bytes();
        let text = std::str::from_utf8(&bytes).ok()?;
        if !text.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
            return None;
        }
        let text = text.trim_end();
        let veritas = Owner::veritas(text);
        veritas.or_else(|| Some(Owner::Text(text.to_owned())).filter(|_| text.len() > 3))
    }

    fn veritas(text: &str) -> Option<Self> {
        let hex = |digits: Option<&str>| {
            let digits = digits.filter(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()))?;
            u16::from_str_radix(digits, 16).ok()
        };
        if text.starts_with("VF")
            && let (Some(cluster), Some(node)) = (hex(text.get(2..6)), hex(text.get(6..8)))
        {
            let node = node as u8;
            return Some(Owner::VeritasCoordinator { cluster, node });
        }
        let node = text.bytes().next()?.checked_sub(b'A')?;
        let rest = text.get(1..)?;
        let is_data = rest.trim_end_matches('-') == "VCS"
            || rest
                .strip_prefix("PGR")
                .is_some_and(|count| hex(Some(count)).is_some());
        (is_data && node < VERITAS_NODES).then_some(Owner::VeritasData { node })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Host(name) => f.write_str(name),
            Owner::ThisHost => f.write_str("this host"),
            Owner::Lvm {
                host,
                generation: 0,
            } => write!(f, "LVM host {host}"),
            Owner::Lvm { host, generation } => write!(f, "LVM host {host}, start {generation}"),
            Owner::FenceScsi { cluster, node } => {
                write!(f, "fence_scsi node {node} of cluster {cluster:04x}")
            }
            Owner::VeritasCoordinator { cluster, node } => {
                write!(f, "Veritas node {node} of cluster {cluster}")
            }
            Owner::VeritasData { node } => write!(f, "Veritas node {node}"),
            Owner::Windows { node } => write!(f, "Windows cluster node {node:08x}"),
            Owner::Text(text) => write!(f, "{text:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(key: u64) -> String {
        let owner = Hosts::default().owner(ReservationKey(key), false);
        owner.map_or_else(String::new, |owner| owner.to_string())
    }

    fn of_text(text: &[u8; 8]) -> String {
        owner(u64::from_be_bytes(*text))
    }

    #[test]
    fn shapes_tell_the_owner() {
        for (key, expected) in [
            (0x1000_0000_0000_0007, "LVM host 7"),
            (0x1000_0000_0003_0007, "LVM host 7, start 3"),
            (0xbb1d_5f52_734d_5346, "Windows cluster node bb1d5f52"),
            (0x8a1f_0002, "fence_scsi node 2 of cluster 8a1f"),
            (0x8a1f_0012, "fence_scsi node 12 of cluster 8a1f"),
        ] {
            assert_eq!(owner(key), expected, "{key:#x}");
        }
        for (text, expected) in [
            (b"VFDEED0A", "Veritas node 10 of cluster 57069"),
            (b"BPGR0001", "Veritas node 1"),
            (b"AVCS----", "Veritas node 0"),
            (b"oracle-1", "\"oracle-1\""),
            (b"rac2    ", "\"rac2\""),
        ] {
            assert_eq!(of_text(text), expected);
        }
    }

    #[test]
    fn what_has_no_shape_has_no_owner() {
        for key in [
            0,
            0xa1,
            0x12_3abc,
            0x1000_0000_0000_0000,
            0x734d_5346,
            // No node has a letter in its number, or so high a one.
            0x8a1f_000a,
            0x8a1f_9999,
            0xbb1d_5f52_734d_5347,
            u64::MAX,
        ] {
            assert_eq!(owner(key), "", "{key:#x}");
        }
    }

    #[test]
    fn names_and_our_own_nexuses_go_before_shapes() {
        let mut hosts = Hosts::default();
        let (a, b) = (ReservationKey(0x8a1f_0001), ReservationKey(0x8a1f_0002));
        hosts.add("node1", a).unwrap();
        hosts.add("node1", a).unwrap();
        let shared = hosts.add("node2", a).unwrap_err();
        assert_eq!(
            shared.to_string(),
            "0x8a1f0001 is the key of \"node1\" already"
        );
        let owner = |key, local| hosts.owner(key, local).unwrap().to_string();
        assert_eq!(owner(a, false), "node1");
        assert_eq!(owner(a, true), "node1");
        assert_eq!(owner(b, true), "this host");
        assert_eq!(owner(b, false), "fence_scsi node 2 of cluster 8a1f");
        assert_eq!(hosts.owner(ReservationKey::ZERO, true), None);
    }

    proptest! {
        /// What is read out of a key is what was put into it.
        #[test]
        fn shapes_are_read_as_they_are_made(
            host in 1..=u16::MAX,
            generation in 0..1u32 << 24,
            cluster in 1..=u16::MAX,
            node in 0..NODES,
            half in 1..=u32::MAX,
        ) {
            let shape = |text: &str| {
                let key = format!("0x{text}").parse().unwrap();
                Owner::by_shape(key).unwrap()
            };
            prop_assert_eq!(
                shape(&format!("100000{generation:06x}{host:04x}")),
                Owner::Lvm { host, generation }
            );
            prop_assert_eq!(
                shape(&format!("{cluster:04x}{node:04}")),
                Owner::FenceScsi { cluster, node }
            );
            prop_assert_eq!(shape(&format!("{half:x}734d5346")), Owner::Windows { node: half });
            let text = format!("VF{cluster:04X}{:02X}", node as u8);
            let key = u64::from_be_bytes(text.as_bytes().try_into().unwrap());
            prop_assert_eq!(
                Owner::by_shape(ReservationKey(key)),
                Some(Owner::VeritasCoordinator { cluster, node: node as u8 })
            );
        }

        /// Any key has an owner or none, and one that can be shown in a line.
        #[test]
        fn every_key_can_be_shown(key: u64, local: bool) {
            let owner = Hosts::default().owner(ReservationKey(key), local);
            let text = owner.map_or_else(String::new, |owner| owner.to_string());
            prop_assert!(text.len() < 64 && !text.contains(char::is_control), "{}", text);
        }

        /// Eight random bytes are hardly ever taken for somebody's.
        #[test]
        fn chance_has_no_owner(key in 1u64 << 40..) {
            let owner = Owner::by_shape(ReservationKey(key));
            let shaped = key >> 40 == LVM || key as u32 == WINDOWS;
            let text = key.to_be_bytes().iter().all(|byte| (0x20..0x7f).contains(byte));
            prop_assert!(owner.is_none() || shaped || text, "{:?}", owner);
        }
    }
}
