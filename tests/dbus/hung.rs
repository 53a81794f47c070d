//! A service in this process, whose unit can be watched and made to hang.

use crate::bus::{Bus, Client, DEVICE, PROPERTIES, UNIT};
use crate::daemon::WWID;
use reservd::config::{SimulatedLun, Simulator};
use reservd::dbus::{self, Desk};
use reservd::device::identity::SysFs;
use reservd::device::sim::{Fault, SimLun, Stuck};
use reservd::lun::registry::Registry;
use reservd::server::Service;
use reservd::simulation::Simulation;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

pub struct Lab {
    folder: TempDir,
    simulation: Simulation,
    stop: watch::Sender<bool>,
}

impl Lab {
    /// One unit, in use but not registered.
    pub fn start(bus: &Bus) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let simulator = Simulator {
            directory: folder.path().to_owned(),
            lun: vec![SimulatedLun {
                name: "lun0".into(),
                wwid: WWID.into(),
                hosts: vec!["host-a".into()],
                paths: 2,
            }],
        };
        let mut registry = Registry::new(SysFs::new(folder.path().join("no-sysfs")));
        let simulation = Simulation::start(&simulator, &mut registry).unwrap();
        let service = Arc::new(Service::new(registry, Duration::from_secs(15), 16));
        let device = File::open(folder.path().join("lun0/host-a")).unwrap();
        service.registry.resolve(device.into()).unwrap();
        let (reload, _) = mpsc::channel(1);
        let desk = Desk::new(service, PathBuf::new(), true, reload);
        let (stop, stopping) = watch::channel(false);
        dbus::start(dbus::Bus::At(bus.address()), desk, stopping).unwrap();
        Lab {
            folder,
            simulation,
            stop,
        }
    }

    fn unit(&self) -> &SimLun {
        &self.simulation.luns[0]
    }

    pub fn received(&self) -> u64 {
        let paths = self.unit().paths("host-a");
        paths.iter().map(|path| path.received()).sum()
    }

    pub fn set_fault(&self, fault: &Fault) {
        for path in self.unit().paths("host-a") {
            path.set_fault(fault.clone());
        }
    }

    pub fn device(&self) -> String {
        let path = self.folder.path().join("lun0/host-a");
        path.display().to_string()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.set_fault(&Fault::Up);
        // It may have ended already.
        let _ = self.stop.send(true);
    }
}

async fn look_at_all(client: &Client) {
    client
        .call(UNIT, PROPERTIES, "GetAll", &DEVICE)
        .await
        .unwrap();
}

#[tokio::test]
async fn properties_ask_no_device() {
    let bus = Bus::started();
    let lab = Lab::start(&bus);
    let client = bus.client().await;
    let before = lab.received();
    for _ in 0..50 {
        look_at_all(&client).await;
    }
    assert_eq!(lab.received(), before);
    client.manager("ReadKeys", &lab.device()).await.unwrap();
    assert_eq!(lab.received(), before + 1, "this one does");
}

#[tokio::test]
async fn a_hung_unit_is_shown_and_holds_a_bounded_number_of_calls() {
    let bus = Bus::started();
    let lab = Lab::start(&bus);
    let client = Arc::new(bus.client().await);
    lab.set_fault(&Fault::Hang(Stuck::Before));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (client, device) = (Arc::clone(&client), lab.device());
        calls.spawn(async move { client.error("ReadKeys", &device).await });
    }
    let mut busy = 0;
    while busy < 4 {
        let first = calls.join_next().await.unwrap().unwrap();
        assert_eq!(first, "Busy");
        busy += 1;
    }
    let started = Instant::now();
    look_at_all(&client).await;
    assert!(started.elapsed() < Duration::from_secs(1));
    lab.set_fault(&Fault::Up);
    // Those that hung have their answers, and there is room again.
    while let Some(end) = calls.join_next().await {
        assert_eq!(end.unwrap(), "none");
    }
    client.manager("ReadKeys", &lab.device()).await.unwrap();
}
