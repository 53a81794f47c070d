//! What a helper does when clients misbehave, descriptors run out or a disk hangs.

use std::fs;
use std::os::fd::AsFd;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::lab::{Helper, Lab, Target};
use crate::process::{READ_KEYS, answers_good, ask, serves, want};
use crate::script::padded;
use crate::wire::{Answer, Client};

pub fn no_leak(lab: &Lab) -> Result<(), String> {
    let helper = lab.start();
    let open = || {
        fs::read_dir(format!("/proc/{}/fd", helper.pid()))
            .expect("/proc/PID/fd")
            .count()
    };
    let disk = lab.open(Target::Disk);
    let run = |times: usize| {
        for _ in 0..times {
            for fds in [
                &[][..],
                &[disk.as_fd(); 2],
                &[disk.as_fd(); 16],
                &[disk.as_fd(); 40],
            ] {
                let mut client = helper.client();
                client.send(&padded(&READ_KEYS), fds).expect("send");
                client.answer();
            }
        }
        sleep(Duration::from_millis(200));
    };
    run(1);
    let before = open();
    run(50);
    let after = open();
    want(after <= before + 4, || {
        format!("{before} descriptors before, {after} after")
    })
}

/// The flag belongs to the open file, which client and helper share.
pub fn nonblocking(lab: &Lab) -> Result<(), String> {
    let helper = lab.start();
    let disk = lab.open_nonblocking();
    let mut client = helper.client();
    client
        .send(&padded(&READ_KEYS), &[disk.as_fd()])
        .expect("send");
    answers_good(&mut client)?;
    let flags = OFlag::from_bits_retain(fcntl(&disk, FcntlArg::F_GETFL).expect("F_GETFL"));
    want(flags.contains(OFlag::O_NONBLOCK), || "cleared".into())
}

pub fn exhausted(lab: &Lab) -> Result<(), String> {
    let socket = lab.path("socket");
    let child = lab
        .bash(r#"ulimit -n 64; exec "$0" -k "$1""#)
        .arg(&socket)
        .spawn()
        .expect("bash starts");
    let mut helper = Helper::adopt(child, socket);
    serves(&mut helper)?;
    // The backlog is short, so that a plain connect would wait when it is full: each of these has a thread of its own.
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let socket = helper.socket.clone();
            thread::spawn(move || {
                let client = Client::connect(&socket);
                sleep(Duration::from_secs(2));
                drop(client);
            })
        })
        .collect();
    sleep(Duration::from_millis(700));
    let before = cpu_ticks(helper.pid());
    sleep(Duration::from_secs(1));
    let ticks = cpu_ticks(helper.pid()) - before;
    crowd
        .into_iter()
        .for_each(|thread| thread.join().expect("a client thread"));
    let mut client = helper.client();
    ask(&mut client, lab, Target::Disk);
    answers_good(&mut client)?;
    want(ticks < 20, || {
        format!("{ticks} of 100 ticks spent while nothing could be done")
    })
}

/// User and system time of a process, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("/proc/PID/stat");
    let after_name = stat.rsplit_once(") ").expect("a stat line").1;
    after_name
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum()
}

pub fn isolation(lab: &Lab) -> Result<(), String> {
    let helper = lab.start();
    lab.set_fault("SHIM_ONLY=8:240\nSHIM_DELAY_US=4000000\n");
    let crowd: Vec<Client> = (0..70)
        .map(|_| {
            let mut client = helper.client();
            ask(&mut client, lab, Target::Disk);
            client
        })
        .collect();
    sleep(Duration::from_millis(300));
    let started = Instant::now();
    let mut client = helper.client();
    ask(&mut client, lab, Target::OtherDisk);
    answers_good(&mut client)?;
    let took = started.elapsed();
    drop(crowd);
    want(took < Duration::from_secs(1), || {
        format!("it took {:.1} s", took.as_secs_f32())
    })
}

pub fn deadline(lab: &Lab) -> Result<(), String> {
    let helper = lab.start();
    lab.set_fault("SHIM_DELAY_US=25000000");
    let mut client = helper.client();
    ask(&mut client, lab, Target::Disk);
    match client.answer_within(Duration::from_secs(16)) {
        Answer::Reply { status: 2, .. } => Ok(()),
        other => Err(other.to_string()),
    }
}
