//! The devices of `/run/lab.env`, the daemon under test, and the witness.

use super::sandbox::Daemon;
use nix::unistd::Pid;
use reservd::client::Client;
use reservd::config::Engine;
use reservd::engine::policy::Version;
use reservd::scsi::pr::{FullStatus, KeyList, RegisterFlags, ReservationData};
use reservd::scsi::{
    Cdb, InAction, OutAction, Outcome, PrIn, PrOut, ReservationKey, ReservationType, ScopeType,
    SenseCode,
};
use reservd::sys::sg::{self, Data};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub const SOCKET: &str = "/run/reservd/pr-helper.sock";
/// As tests/vm/nursery.sh has it.
const CONFIG: &str = "/run/reservd.toml";
pub const LOG: &str = "/results/reservd.log";
pub const DEADLINE: Duration = Duration::from_secs(6);
pub const K1: ReservationKey = ReservationKey(0xa1);
pub const K2: ReservationKey = ReservationKey(0xa2);
pub const B: ReservationKey = ReservationKey(0xb1);
pub const NONE: ReservationKey = ReservationKey::ZERO;
pub const WERO: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;

/// The lab, and the daemon that runs in it.
pub struct Lab {
    env: HashMap<String, String>,
    client: Client,
    daemon: Daemon,
    /// What `[defaults]` of its configuration says.
    defaults: String,
    /// How often in a row it could not be brought back to its start.
    unusable: u32,
}

/// A registration as sg_persist shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub key: u64,
    pub initiator: String,
    pub holder: bool,
}

/// The lab for one test, its LUNs without registrations and its paths up.
pub fn lab() -> MutexGuard<'static, Lab> {
    static LAB: OnceLock<Mutex<Lab>> = OnceLock::new();
    let lab = LAB.get_or_init(|| Mutex::new(Lab::start()));
    let mut lab = lab.lock().unwrap_or_else(PoisonError::into_inner);
    // Waiting for it takes its time: not once more in every test.
    assert!(lab.unusable < 2, "a test before this one broke the lab");
    lab.unusable += 1;
    lab.reset();
    lab.unusable = 0;
    lab
}

impl Lab {
    fn start() -> Self {
        let text = fs::read_to_string("/run/lab.env").expect("lab.sh has run in this machine");
        let env = parse(&text);
        for name in ["PATH_A", "PATH_B", "HOST_B", "PLAIN", "PLAIN_HOST_B"] {
            check_ours(&env[name]);
        }
        fs::create_dir_all("/results").unwrap();
        File::create(LOG).unwrap();
        let defaults = with_engine(Engine::default());
        let (daemon, client) = launch(&defaults);
        Lab {
            env,
            client,
            daemon,
            defaults,
            unusable: 0,
        }
    }

    /// Has the daemon read its configuration again, with this engine in it.
    pub fn use_engine(&mut self, engine: Engine) {
        self.use_defaults(&with_engine(engine));
    }

    /// Has the daemon read its configuration again, with this in `[defaults]`.
    pub fn use_defaults(&mut self, defaults: &str) {
        if self.defaults == defaults {
            return;
        }
        configure(defaults);
        let before = logged("configuration reloaded");
        self.signal("HUP");
        await_some("the configuration is reloaded", || {
            (logged("configuration reloaded") > before).then_some(())
        });
        defaults.clone_into(&mut self.defaults);
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, name: &str) {
        let signal = format!("SIG{name}").parse().unwrap();
        nix::sys::signal::kill(self.daemon.id(), Some(signal)).unwrap();
    }

    /// Ends the daemon by a signal, and waits for that.
    pub fn end(&mut self, signal: &str) {
        self.signal(signal);
        self.daemon.wait();
    }

    /// Starts the daemon that has ended, with this in `[defaults]`; returns when
    /// it serves.
    pub fn start_with(&mut self, defaults: &str) {
        (self.daemon, self.client) = launch(defaults);
        defaults.clone_into(&mut self.defaults);
    }

    /// As `start_with`, but does not wait for the daemon: it may be ended at
    /// once.
    pub fn spawn_with(&mut self, defaults: &str) {
        self.daemon = spawn(defaults);
        defaults.clone_into(&mut self.defaults);
    }

    /// Brings the daemon and what is known of the disks back to what a test
    /// starts with, whatever became of the one before.
    fn recover(&mut self) {
        let usual = with_engine(Engine::default());
        if !self.daemon.is_alive() {
            self.start_with(&usual);
        }
        self.signal("CONT");
        if self.defaults.contains("multipathd") {
            self.end("TERM");
            self.start_with(&usual);
        }
        self.use_defaults(&usual);
        self.name_disks();
    }

    /// Disks that came back may have other names.
    pub fn name_disks(&mut self) {
        for (disk, hba) in [("PATH_A", "A"), ("PATH_B", "B"), ("HOST_B", "HOST_B")] {
            self.name_disk(disk, hba);
        }
    }

    /// Waits until an HBA has its disk, and names it.
    pub fn name_disk(&mut self, disk: &str, hba: &str) {
        let disks = format!("/sys/bus/scsi/devices/{}/block", self.address(hba));
        let name = await_some("the disk is there", || {
            let entry = fs::read_dir(&disks).ok()?.next()?.ok()?;
            entry.file_name().into_string().ok()
        });
        self.env.insert(disk.to_owned(), format!("/dev/{name}"));
    }

    /// Has other values for some names of lab.env; returns those of before.
    pub fn replace(&mut self, text: &str) -> HashMap<String, String> {
        let before = self.env.clone();
        self.env.extend(parse(text));
        for name in ["PATH_A", "PATH_B", "HOST_B"] {
            check_ours(&self.env[name]);
        }
        before
    }

    /// Has the values of before again.
    pub fn restore(&mut self, before: HashMap<String, String>) {
        self.env = before;
    }

    /// Knows another HBA, with names as in lab.env.
    pub fn add_hba(&mut self, suffix: &str, tpg: &str, nexus: &str) {
        self.env.insert(format!("TPG_{suffix}"), tpg.to_owned());
        self.env.insert(format!("NEXUS_{suffix}"), nexus.to_owned());
    }

    /// host:channel:target:lun of an HBA's disk.
    pub fn address(&self, hba: &str) -> String {
        let tpg = self.env(&format!("TPG_{hba}"));
        let address = fs::read_to_string(format!("{tpg}/address")).unwrap();
        // The target number is that of the portal group.
        format!("{}:1:0", address.trim().rsplit_once(':').unwrap().0)
    }

    /// The daemon's process.
    pub fn process(&self) -> Pid {
        self.daemon.id()
    }

    /// Processes of the daemon in which libmpathpersist is loaded now.
    pub fn workers(&self) -> usize {
        let children = format!("/proc/{0}/task/{0}/children", self.daemon.id());
        let children = fs::read_to_string(children).unwrap();
        let has_library = |process: &&str| {
            fs::read_to_string(format!("/proc/{process}/maps"))
                .is_ok_and(|maps| maps.contains("/libmpathpersist.so"))
        };
        children.split_whitespace().filter(has_library).count()
    }

    /// The value of a name in lab.env.
    pub fn env(&self, name: &str) -> &str {
        &self.env[name]
    }

    /// Both paths of the map.
    pub fn paths(&self) -> [String; 2] {
        [self.env("PATH_A").to_owned(), self.env("PATH_B").to_owned()]
    }

    /// No registrations, and all paths up.
    pub fn reset(&mut self) {
        self.recover();
        for tpg in ["TPG_A", "TPG_B", "TPG_PLAIN"] {
            fs::write(format!("{}/transport_status", self.env(tpg)), "online").unwrap();
        }
        for path in self.paths() {
            set_state(&path, "running");
        }
        let map = self.env("MAP").to_owned();
        await_some("both paths active", || {
            (active_paths(&map) == 2).then_some(())
        });
        for host in ["HOST_B", "PLAIN_HOST_B"] {
            let disk = open(self.env(host), true);
            let dead = ReservationKey(0xdead);
            straight(&disk, &ignore(dead));
            straight(&disk, &act(OutAction::Clear, dead, NONE));
            assert_eq!(keys(self.env(host)), [0; 0]);
        }
        for disk in ["PATH_A", "PATH_B", "HOST_B", "PLAIN", "PLAIN_HOST_B"] {
            let disk = open(self.env(disk), false);
            // TEST UNIT READY takes one unit attention at a time.
            while sg_io(&disk, &[0; 6], Data::None) != 0 {}
        }
    }

    /// Sends a PERSISTENT RESERVE OUT through the socket, as QEMU would.
    pub fn out(&mut self, device: &str, command: &PrOut) -> Outcome {
        let file = open(device, true);
        let (cdb, list) = command.encode();
        self.client.run(file.as_fd(), &cdb, &list).unwrap()
    }

    /// As `out`, and it must end GOOD. A unit attention is met as a guest does:
    /// by sending the command again.
    pub fn good(&mut self, device: &str, command: &PrOut) {
        let mut outcome = self.out(device, command);
        if outcome
            .sense_code()
            .is_some_and(SenseCode::is_unit_attention)
        {
            outcome = self.out(device, command);
        }
        assert!(
            outcome.is_good(),
            "{} on {device}: {outcome}",
            command.action
        );
    }

    /// Sends a PERSISTENT RESERVE IN through the socket.
    pub fn read(&mut self, device: &str, action: InAction, length: u16) -> Outcome {
        let file = open(device, false);
        let command = PrIn {
            action,
            allocation_length: length,
        };
        self.client.run(file.as_fd(), &command.cdb(), &[]).unwrap()
    }

    /// As `read`, and it must end GOOD, after at most one unit attention.
    pub fn data(&mut self, device: &str, action: InAction) -> Vec<u8> {
        let mut outcome = self.read(device, action, 8192);
        if outcome
            .sense_code()
            .is_some_and(SenseCode::is_unit_attention)
        {
            outcome = self.read(device, action, 8192);
        }
        assert!(outcome.is_good(), "{action} on {device}: {outcome}");
        outcome.data
    }

    pub fn read_keys(&mut self, device: &str) -> Vec<u64> {
        let list = KeyList::parse(&self.data(device, InAction::ReadKeys)).unwrap();
        sorted(list.keys.into_iter().map(|key| key.0).collect())
    }

    pub fn read_reservation(&mut self, device: &str) -> ReservationData {
        ReservationData::parse(&self.data(device, InAction::ReadReservation)).unwrap()
    }

    pub fn read_full_status(&mut self, device: &str) -> FullStatus {
        FullStatus::parse(&self.data(device, InAction::ReadFullStatus)).unwrap()
    }

    /// Host B registers its key and takes a WERO reservation.
    pub fn other_reserves(&self) {
        let host = self.env("HOST_B");
        witness(&["-o", "-G", "-S", "0xb1"], host);
        witness(&["-o", "-R", "-K", "0xb1", "-T", "5"], host);
    }

    /// Takes the path down that holds the reservation.
    pub fn lose_holder(&self) {
        let rows = rows(self.env("HOST_B"));
        let holder = rows.into_iter().find(|row| row.holder).unwrap();
        let by_a = holder.initiator == self.initiator("NEXUS_A");
        set_state(&self.paths()[usize::from(!by_a)], "offline");
    }

    /// The initiator name of a nexus as sg_persist prints it.
    pub fn initiator(&self, name: &str) -> String {
        format!("0x{}", self.env(name).trim_start_matches("naa."))
    }
}

/// Lines of `NAME=value`.
fn parse(text: &str) -> HashMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn with_engine(engine: Engine) -> String {
    format!("engine = \"{engine}\"\n")
}

fn configure(defaults: &str) {
    let deadline = DEADLINE.as_millis();
    let config = format!("[commands]\ndeadline-ms = {deadline}\n[defaults]\n{defaults}");
    fs::write(CONFIG, config).unwrap();
}

fn launch(defaults: &str) -> (Daemon, Client) {
    let daemon = spawn(defaults);
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        // A socket that a killed daemon has left behind refuses connections.
        match Client::connect(Path::new(SOCKET)) {
            Ok(client) => return (daemon, client),
            Err(error) => assert!(Instant::now() < end, "the daemon's socket: {error}"),
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn spawn(defaults: &str) -> Daemon {
    configure(defaults);
    Daemon::spawn()
}

/// How many lines of the daemon's log so far contain this text.
pub fn logged(text: &str) -> usize {
    let log = fs::read_to_string(LOG).unwrap();
    log.lines().filter(|line| line.contains(text)).count()
}

/// What `reservctl doctor` finds on this host.
pub fn doctor() -> serde_json::Value {
    let output = run(
        "/payload/reservctl",
        &["doctor", "--config", CONFIG, "--json"],
    );
    serde_json::from_str(&output).unwrap()
}

/// The version of libmpathpersist in this machine.
pub fn library() -> Version {
    let found = doctor();
    let text = found["library"]["treated_as"].as_str().expect("a library");
    let mut numbers = text.split('.').map(|number| number.parse().unwrap());
    let mut next = || numbers.next().unwrap();
    Version(next(), next(), next())
}

/// The lines of the daemon's log that contain this text, from a position on; and
/// the position after them.
pub fn log_since(position: usize, text: &str) -> (Vec<String>, usize) {
    let log = fs::read_to_string(LOG).unwrap();
    let new = log.get(position..).unwrap_or_default();
    let lines = new.lines().filter(|line| line.contains(text));
    (lines.map(str::to_owned).collect(), log.len())
}

/// One command straight to a disk; its status.
fn sg_io(disk: &File, cdb: &[u8], data: Data<'_>) -> u8 {
    let report = sg::execute(disk.as_fd(), cdb, data, Duration::from_secs(10)).unwrap();
    assert_eq!(report.host_status, 0);
    report.status
}

/// A PERSISTENT RESERVE OUT straight to a disk, again after unit attentions.
pub fn straight(disk: &File, command: &PrOut) {
    let (cdb, list) = command.encode();
    while sg_io(disk, cdb.as_device_bytes(), Data::Out(&list)) != 0 {}
}

/// All registrations, by READ FULL STATUS straight through this disk.
pub fn registrations(disk: &File) -> FullStatus {
    let cdb = Cdb::pr_in(InAction::ReadFullStatus, 8192);
    let mut buffer = vec![0; 8192];
    while sg_io(disk, cdb.as_device_bytes(), Data::In(&mut buffer)) != 0 {}
    FullStatus::parse(&buffer).unwrap()
}

pub fn register(from: ReservationKey, to: ReservationKey) -> PrOut {
    PrOut::register(from, to, RegisterFlags::default())
}

pub fn act(action: OutAction, key: ReservationKey, on: ReservationKey) -> PrOut {
    PrOut::basic(action, WERO.into(), key, on)
}

pub fn ignore(to: ReservationKey) -> PrOut {
    PrOut::basic(OutAction::RegisterAndIgnore, ScopeType(0), NONE, to)
}

/// Tests write only to LUNs that the lab made.
fn check_ours(disk: &str) {
    let name = Path::new(disk).file_name().unwrap().to_str().unwrap();
    let attribute = |file| fs::read_to_string(format!("/sys/block/{name}/device/{file}")).unwrap();
    assert_eq!(
        attribute("vendor").trim(),
        "LIO-ORG",
        "{disk} is not the lab's"
    );
    assert!(
        attribute("wwid").contains("6001405"),
        "{disk} is not the lab's"
    );
}

pub fn open(device: &str, write: bool) -> File {
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(libc::O_NONBLOCK)
        .open(device)
        .unwrap()
}

/// Takes a path of the map down or up by the state of its SCSI device.
pub fn set_state(disk: &str, state: &str) {
    let name = disk.trim_start_matches("/dev/");
    let attribute = format!("/sys/block/{name}/device/state");
    // The kernel refuses the state that a device is in already.
    if fs::read_to_string(&attribute).unwrap().trim() != state {
        // And it wants the line feed.
        fs::write(attribute, format!("{state}\n")).unwrap();
    }
}

pub fn major_minor(disk: &str) -> String {
    let name = disk.trim_start_matches("/dev/");
    let text = fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap();
    text.trim().to_owned()
}

/// How many paths of a map device-mapper uses. (Their group is not said to be
/// active before the first I/O.)
pub fn active_paths(map: &str) -> usize {
    let status = run("dmsetup", &["status", map]);
    let words: Vec<_> = status.split_whitespace().collect();
    let is_number = |word: &str| word.split(':').all(|part| part.parse::<u32>().is_ok());
    let path = |pair: &&[&str]| pair[0].contains(':') && is_number(pair[0]);
    let paths = words.windows(2).filter(path);
    paths.filter(|pair| pair[1] == "A").count()
}

/// Runs a program that must succeed; its output.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// sg_persist, again after a unit attention (exit status 6): status and output.
pub fn sg_persist(arguments: &[&str], disk: &str) -> (i32, String) {
    for _ in 0..8 {
        let output = Command::new("sg_persist")
            .arg("-n")
            .args(arguments)
            .arg(disk)
            .output()
            .unwrap();
        let status = output.status.code().unwrap();
        if status != 6 {
            return (status, String::from_utf8(output.stdout).unwrap());
        }
    }
    panic!("sg_persist {arguments:?} {disk}: unit attentions without end");
}

/// sg_persist, which must succeed.
pub fn witness(arguments: &[&str], disk: &str) -> String {
    let (status, output) = sg_persist(arguments, disk);
    assert_eq!(status, 0, "sg_persist {arguments:?} {disk}: {output}");
    output
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

/// Registered keys by READ KEYS through this disk, sorted.
pub fn keys(disk: &str) -> Vec<u64> {
    let output = witness(&["-i", "-y", "-k"], disk);
    sorted(output.lines().filter_map(hexadecimal).collect())
}

/// Registrations by READ FULL STATUS through this disk, sorted.
pub fn rows(disk: &str) -> Vec<Row> {
    let output = witness(&["-i", "-y", "-s"], disk);
    let mut rows: Vec<Row> = Vec::new();
    for line in output.lines().map(str::trim) {
        if let Some(key) = line.strip_prefix("Key=") {
            rows.push(Row {
                key: hexadecimal(key).unwrap(),
                initiator: String::new(),
                holder: false,
            });
        } else if let Some(row) = rows.last_mut() {
            row.holder |= line.contains("<< Reservation holder >>");
            if let Some(address) = line.strip_prefix("SAS address:") {
                row.initiator = address.trim().to_owned();
            }
        }
    }
    sorted(rows)
}

/// Key of the reservation's holder by READ RESERVATION through this disk.
pub fn holder_key(disk: &str) -> Option<u64> {
    let output = witness(&["-i", "-y", "-r"], disk);
    let line = output
        .lines()
        .find_map(|line| line.trim().strip_prefix("Key="))?;
    hexadecimal(line.split_whitespace().next()?)
}

/// Writes a block with O_DIRECT; `false` where the kernel reports an error.
pub fn write_block(device: &str) -> bool {
    let target = format!("of={device}");
    let arguments = [
        "if=/dev/zero",
        &target,
        "bs=4k",
        "count=1",
        "oflag=direct",
        "conv=notrunc",
    ];
    let output = Command::new("dd").args(arguments).output().unwrap();
    output.status.success()
}

/// Waits up to 30 s for a condition.
pub fn await_some<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
