//! A panic on the bus' thread, which only a test build lets anybody provoke.

use super::{Bus, Desk, ROOT, start};
use crate::device::identity::SysFs;
use crate::lun::registry::Registry;
use crate::panics;
use crate::server::Service;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use zbus::{Connection, interface};

/// Panics on request.
pub struct Saboteur;

#[interface(name = "org.reservd1.Saboteur")]
impl Saboteur {
    fn panic(&self) {
        panic!("a test wants it");
    }
}

/// A bus that ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn call(client: &Connection, interface: &str, method: &str) -> zbus::Result<()> {
    let name = Some(super::NAME);
    let reply = client.call_method(name, ROOT, Some(interface), method, &());
    reply.await.map(drop)
}

#[tokio::test]
async fn a_panic_on_the_bus_ends_the_connection_and_no_more() {
    // A failing test is not to end all others.
    panics::contain_or(|| ());
    let mut process = Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--print-address"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("dbus-daemon (tests/setup.sh test installs it)");
    let output = process.stdout.take().unwrap();
    let _process = Daemon(process);
    let mut address = String::new();
    BufReader::new(output).read_line(&mut address).unwrap();
    let bus = Bus::At(address.trim().to_owned());
    let registry = Registry::new(SysFs::new("/nonexistent"));
    let service = Arc::new(Service::new(registry, Duration::from_secs(6), 1));
    let (reload, _) = mpsc::channel(1);
    let desk = Desk::new(service, PathBuf::new(), false, reload);
    let (_stop, stopping) = watch::channel(false);
    start(bus.clone(), desk, stopping).unwrap();
    let client = bus.builder().build().await.unwrap();
    let peer = "org.freedesktop.DBus.Peer";
    let until = Instant::now() + Duration::from_secs(20);
    let there = async || {
        while call(&client, peer, "Ping").await.is_err() {
            assert!(Instant::now() < until, "not on the bus");
            sleep(Duration::from_millis(20)).await;
        }
    };
    for _ in 0..2 {
        there().await;
        let end = call(&client, "org.reservd1.Saboteur", "Panic").await;
        assert!(end.is_err(), "the bus says that nobody will answer");
    }
    there().await;
}
