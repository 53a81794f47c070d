//! Many clients.

use crate::rig::{Bounds, Client, Rig};
use reservd::scsi::pr::{KeyList, RegisterFlags};
use reservd::scsi::{PrOut, ReservationKey};

#[test]
fn seventy_clients_are_served_at_once() {
    let rig = Rig::start(Bounds::default());
    let mut clients: Vec<_> = (0..70).map(|_| rig.client()).collect();
    let device = rig.device("lun0/host-a");
    let registered = clients[0].out(
        &PrOut::register(
            ReservationKey::ZERO,
            ReservationKey(0xa1),
            RegisterFlags::default(),
        ),
        &device,
    );
    assert!(registered.expect("a reply").is_good());
    for _ in 0..3 {
        for client in &clients {
            client.send_cdb(&crate::rig::read_keys(), &device);
        }
        for client in &mut clients {
            let reply = client.reply().expect("a reply");
            let keys = KeyList::parse(&reply.data).expect("keys").keys;
            assert_eq!(keys, [ReservationKey(0xa1); 2], "{reply}");
        }
    }
}

#[test]
fn clients_above_the_maximum_wait_their_turn() {
    let rig = Rig::start(Bounds {
        connections: 3,
        ..Bounds::default()
    });
    let device = rig.device("lun0/host-a");
    let mut served: Vec<_> = (0..3).map(|_| rig.client()).collect();
    let mut waiting: Vec<_> = (0..3).map(|_| Client::connect(&rig.socket())).collect();
    for client in &mut served {
        // A round trip through the event loop, which could have accepted more.
        assert!(client.read_keys(&device).expect("a reply").is_good());
    }
    assert!(waiting.iter_mut().all(Client::hears_nothing));
    for mut client in waiting {
        served.remove(0);
        client.handshake([0; 4]);
        assert!(client.read_keys(&device).expect("a reply").is_good());
        served.push(client);
    }
}
