//! A guest's whole use of persistent reservations, on a plain disk and on a map.

use super::lab::*;
use super::multipathd::WithoutMultipathd;
use reservd::scsi::pr::Capabilities;
use reservd::scsi::{InAction, OutAction, ReservationKey, ReservationType, SenseCode};
use std::fs;
use std::path::{Path, PathBuf};

/// One device of ours, the nexuses it has, and the other host's disk.
struct Cast {
    device: String,
    nexuses: Vec<(String, String)>,
    other: String,
}

impl Cast {
    /// Every disk of the unit sees this many of our registrations with `key`
    /// and these other keys, and nothing else.
    fn registered(&self, lab: &mut Lab, ours: Option<ReservationKey>, others: &[u64]) {
        let mut expected = others.to_vec();
        expected.extend(ours.iter().flat_map(|key| vec![key.0; self.nexuses.len()]));
        expected.sort_unstable();
        for disk in self.disks() {
            assert_eq!(keys(&disk), expected, "READ KEYS on {disk}");
        }
        assert_eq!(lab.read_keys(&self.device), expected, "through reservd");
        if let Some(key) = ours {
            let rows = rows(&self.other);
            for (_, initiator) in &self.nexuses {
                let row = rows.iter().find(|row| row.initiator == *initiator);
                assert_eq!(
                    row.map(|row| row.key),
                    Some(key.0),
                    "{initiator} in {rows:?}"
                );
            }
        }
    }

    fn disks(&self) -> Vec<String> {
        let own = self.nexuses.iter().map(|(disk, _)| disk.clone());
        own.chain([self.other.clone()]).collect()
    }

    fn held(&self, lab: &mut Lab, key: Option<ReservationKey>) {
        for disk in self.disks() {
            assert_eq!(holder_key(&disk), key.map(|key| key.0), "holder on {disk}");
        }
        let reservation = lab.read_reservation(&self.device).reservation;
        assert_eq!(reservation.map(|held| held.key), key);
        if let Some(held) = reservation {
            assert_eq!(held.scope_type.kind(), Some(WERO));
        }
    }
}

fn lifecycle(lab: &mut Lab, cast: &Cast, write_everywhere: impl Fn(&Cast) -> bool) {
    let device = cast.device.as_str();
    cast.registered(lab, None, &[]);

    lab.good(device, &register(NONE, K1));
    cast.registered(lab, Some(K1), &[]);
    assert!(lab.out(device, &register(NONE, K2)).is_conflict());
    cast.registered(lab, Some(K1), &[]);

    lab.good(device, &act(OutAction::Reserve, K1, NONE));
    cast.held(lab, Some(K1));

    let capabilities = lab.data(device, InAction::ReportCapabilities);
    let capabilities = Capabilities::parse(&capabilities).unwrap();
    assert_eq!(capabilities.types(), ReservationType::ALL);
    assert!(capabilities.persist_capable);

    let status = lab.read_full_status(device);
    assert!(status.complete);
    assert_eq!(status.descriptors.len(), cast.nexuses.len());
    let holders = status.descriptors.iter().filter(|row| row.holder.is_some());
    assert_eq!(holders.count(), 1);

    assert!(
        !write_block(&cast.other),
        "an unregistered host cannot write"
    );
    assert!(
        write_everywhere(cast),
        "a registered one can, on every path"
    );

    // Another host fences us.
    witness(&["-o", "-G", "-S", "0xb1"], &cast.other);
    cast.registered(lab, Some(K1), &[B.0]);
    witness(
        &["-o", "-P", "-K", "0xb1", "-S", "0xa1", "-T", "5"],
        &cast.other,
    );
    let outcome = lab.read(device, InAction::ReadKeys, 8192);
    if !outcome.is_good() {
        assert_eq!(
            outcome.sense_code(),
            Some(SenseCode::REGISTRATIONS_PREEMPTED)
        );
    }
    cast.registered(lab, None, &[B.0]);
    cast.held(lab, Some(B));
    assert!(!write_block(device), "a fenced host cannot write");
    assert!(lab.out(device, &register(K1, K2)).is_conflict());
    cast.registered(lab, None, &[B.0]);

    // We come back, and take the reservation from it.
    lab.good(device, &ignore(K2));
    cast.registered(lab, Some(K2), &[B.0]);
    assert!(
        lab.out(device, &act(OutAction::Reserve, K2, NONE))
            .is_conflict()
    );
    // Not PREEMPT AND ABORT: on LIO over tcm_loop it never returns, from whomever
    // it comes (Linux 6.1).
    lab.good(device, &act(OutAction::Preempt, K2, B));
    cast.registered(lab, Some(K2), &[]);
    cast.held(lab, Some(K2));

    lab.good(device, &act(OutAction::Release, K2, NONE));
    cast.held(lab, None);
    cast.registered(lab, Some(K2), &[]);

    witness(&["-o", "-G", "-S", "0xb1"], &cast.other);
    lab.good(device, &act(OutAction::Clear, K2, NONE));
    cast.registered(lab, None, &[]);
    cast.held(lab, None);

    lab.good(device, &register(NONE, K1));
    lab.good(device, &register(K1, NONE));
    cast.registered(lab, None, &[]);
}

#[test]
fn a_plain_disk_from_register_to_clear() {
    let mut lab = lab();
    let cast = Cast {
        device: lab.env("PLAIN").to_owned(),
        nexuses: vec![(lab.env("PLAIN").to_owned(), lab.initiator("NEXUS_PLAIN"))],
        other: lab.env("PLAIN_HOST_B").to_owned(),
    };
    lifecycle(&mut lab, &cast, |cast| write_block(&cast.device));
}

/// libmpathpersist cannot be found for as long as this lives.
struct WithoutLibrary(Vec<(PathBuf, PathBuf)>);

impl WithoutLibrary {
    fn new() -> Self {
        let mut moved = Vec::new();
        for folder in [
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib",
            "/lib/x86_64-linux-gnu",
        ] {
            let library = Path::new(folder).join("libmpathpersist.so.0");
            if library.exists() {
                let away = library.with_extension("away");
                fs::rename(&library, &away).unwrap();
                moved.push((library, away));
            }
        }
        assert!(!moved.is_empty(), "the library is somewhere else");
        WithoutLibrary(moved)
    }
}

impl Drop for WithoutLibrary {
    fn drop(&mut self) {
        for (library, away) in &self.0 {
            fs::rename(away, library).unwrap();
        }
    }
}

#[test]
fn a_host_without_multipath_tools_serves_plain_disks() {
    let mut lab = lab();
    {
        // multipathd needs the library as well: it is back before that starts.
        let _multipathd = WithoutMultipathd::new();
        let _library = WithoutLibrary::new();
        let before = logged("libmpathpersist cannot be used");
        lab.end("TERM");
        lab.start_with("");
        assert!(logged("libmpathpersist cannot be used") > before);
        let cast = Cast {
            device: lab.env("PLAIN").to_owned(),
            nexuses: vec![(lab.env("PLAIN").to_owned(), lab.initiator("NEXUS_PLAIN"))],
            other: lab.env("PLAIN_HOST_B").to_owned(),
        };
        lifecycle(&mut lab, &cast, |cast| write_block(&cast.device));
    }
    lab.end("TERM");
}

#[test]
fn one_path_of_a_map_used_as_a_plain_disk() {
    let mut lab = lab();
    let cast = Cast {
        device: lab.env("PATH_A").to_owned(),
        nexuses: vec![(lab.env("PATH_A").to_owned(), lab.initiator("NEXUS_A"))],
        other: lab.env("HOST_B").to_owned(),
    };
    lifecycle(&mut lab, &cast, |cast| write_block(&cast.device));
}

#[test]
fn a_multipath_map_from_register_to_clear() {
    let mut lab = lab();
    let [a, b] = lab.paths();
    let cast = Cast {
        device: lab.env("MAP").to_owned(),
        nexuses: vec![
            (a.clone(), lab.initiator("NEXUS_A")),
            (b.clone(), lab.initiator("NEXUS_B")),
        ],
        other: lab.env("HOST_B").to_owned(),
    };
    // The map writes through whichever path is left when the other is failed.
    let message = |map: &str, text: &str| run("dmsetup", &["message", map, "0", text]);
    lifecycle(&mut lab, &cast, |cast| {
        [&a, &b].into_iter().all(|failed| {
            let number = major_minor(failed);
            message(&cast.device, &format!("fail_path {number}"));
            let written = write_block(&cast.device);
            message(&cast.device, &format!("reinstate_path {number}"));
            written
        })
    });
}

#[test]
fn reads_are_cut_to_the_allocation_length() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    lab.good(&map, &register(NONE, K1));
    for device in [map, lab.env("PATH_A").to_owned()] {
        for (length, expected) in [(8, 8), (16, 16), (17, 17), (24, 24), (8192, 24)] {
            let outcome = lab.read(&device, InAction::ReadKeys, length);
            assert!(outcome.is_good());
            assert_eq!(outcome.data.len(), expected, "{length} bytes of {device}");
        }
    }
}
