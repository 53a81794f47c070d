//! What a request costs on the simulator, over the real socket: everything of
//! the service but the device. `benches/roundtrip_vs_qemu.sh` compares with
//! qemu-pr-helper.

#[path = "../tests/rig/mod.rs"]
mod rig;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{OutAction, PrOut, ReservationKey, ScopeType};
use rig::{Bounds, Client, Rig, read_keys};
use std::fs::File;

const KEY: ReservationKey = ReservationKey(0xa1);
const CROWD: usize = 64;

/// A registered client with its device.
fn registered(rig: &Rig, name: &str) -> (Client, File) {
    let (mut client, device) = (rig.client(), rig.device(name));
    let register = PrOut::register(ReservationKey::ZERO, KEY, RegisterFlags::default());
    let reply = client.out(&register, &device).expect("a reply");
    assert!(reply.is_good(), "{reply}");
    (client, device)
}

fn read(criterion: &mut Criterion) {
    for (title, name) in [
        ("READ KEYS, one path", "lun0/host-a.0"),
        ("READ KEYS, map of two paths", "lun0/host-a"),
    ] {
        let rig = Rig::start(Bounds::default());
        let (mut client, device) = registered(&rig, name);
        criterion.bench_function(title, |bencher| {
            bencher.iter(|| client.read_keys(&device).expect("a reply"));
        });
    }
}

fn reserve(criterion: &mut Criterion) {
    let rig = Rig::start(Bounds::default());
    let (mut client, device) = registered(&rig, "lun0/host-a");
    let command = |action| PrOut::basic(action, ScopeType(5), KEY, ReservationKey::ZERO);
    let (reserve, release) = (command(OutAction::Reserve), command(OutAction::Release));
    let client = std::cell::RefCell::new(&mut client);
    let send = |command| {
        let reply = client.borrow_mut().out(command, &device).expect("a reply");
        assert!(reply.is_good(), "{reply}");
    };
    criterion.bench_function("RESERVE, map of two paths", |bencher| {
        bencher.iter_batched(
            || send(&release),
            |()| send(&reserve),
            BatchSize::PerIteration,
        );
    });
}

fn crowd(criterion: &mut Criterion) {
    let rig = Rig::start(Bounds::default());
    let (_first, device) = registered(&rig, "lun0/host-a");
    let mut clients: Vec<_> = (0..CROWD).map(|_| rig.client()).collect();
    let mut group = criterion.benchmark_group("64 clients at once");
    group.throughput(Throughput::Elements(CROWD as u64));
    group.bench_function("READ KEYS, map of two paths", |bencher| {
        bencher.iter(|| {
            for client in &clients {
                client.send_cdb(&read_keys(), &device);
            }
            for client in &mut clients {
                assert!(client.reply().expect("a reply").is_good());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, read, reserve, crowd);
criterion_main!(benches);
