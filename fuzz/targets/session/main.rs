//! Whole sessions: a client that does anything, over a real socket, with the
//! service on simulated paths that may fail.
//!
//! Each run has its own service and units, so that a finding can be repeated;
//! the runtime, its threads and the files that stand for devices stay.

#![no_main]

mod client;
mod host;
mod script;

use client::Client;
use host::{Host, World};
use libfuzzer_sys::fuzz_target;
use script::Script;
use std::cell::RefCell;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// No run has a reason to take this long.
const STUCK: Duration = Duration::from_secs(20);

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::start());
}

fuzz_target!(|input: &[u8]| {
    HOST.with_borrow_mut(|host| {
        let world = World::new(&host.devices);
        let script = Script::read(input, &world);
        host.runtime.block_on(async {
            let ended = timeout(STUCK, run(&world, &host.devices, script)).await;
            assert!(ended.is_ok(), "the session does not end");
        });
    });
});

async fn run(world: &World, devices: &host::Devices, script: Script<'_>) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let (_stop, stopping) = watch::channel(false);
    let client = async move {
        let mut client = Client::new(ours, devices);
        client.play(script).await;
        client.check().await;
    };
    tokio::join!(world.service.attend(theirs, 1, stopping), client);
}
