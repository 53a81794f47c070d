//! The system's real bus: what the pages say to type, and what busctl shows of
//! what happens.

use super::lab::*;
use reservd::scsi::OutAction;
use serde_json::Value;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const DEVICE: &str = "org.reservd1.Device";
const MONITORED: &str = "/results/monitor.json";

/// Lets reservd be on the bus, as a package would.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let folder = "/usr/share/dbus-1/system.d";
        fs::create_dir_all(folder).unwrap();
        let name = "org.reservd1.conf";
        fs::copy(format!("/payload/dbus/{name}"), format!("{folder}/{name}")).unwrap();
        run("systemctl", &["reload", "dbus.service"]);
    });
}

/// The lab with a daemon of this minute: its numbers start at one.
fn fresh() -> std::sync::MutexGuard<'static, Lab> {
    let mut lab = lab();
    install();
    lab.end("TERM");
    lab.start_with("poll-interval-ms = 500\n");
    await_some("reservd is on the bus", || {
        busctl("get-property org.reservd1 /org/reservd1 org.reservd1.Manager Version").1
    });
    lab
}

/// What a line typed at a prompt shows, and whether it ended well.
fn typed(line: &str) -> (String, Option<()>) {
    let output = Command::new("bash")
        .args(["-c", line])
        .stdin(Stdio::null())
        .env("PATH", "/payload:/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        String::from_utf8(text).unwrap(),
        output.status.success().then_some(()),
    )
}

fn busctl(words: &str) -> (String, Option<()>) {
    typed(&format!("busctl {words}"))
}

/// The lines after `$ ` of a page's block, each with what it is said to show.
fn session(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(page).unwrap();
    let block = text.split("```shell-session\n").nth(1).expect("a block");
    let block = block.split("```").next().unwrap();
    let mut lines = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), lines.last_mut()) {
            (Some(command), _) => lines.push((command.to_owned(), String::new())),
            (None, Some((_, shown))) => {
                shown.push_str(line);
                shown.push('\n');
            }
            (None, None) => panic!("{page}: {line:?} before any command"),
        }
    }
    lines
}

/// Addresses of disks are other ones on other machines, and so are times.
fn normalised(lab: &Lab, text: &str) -> String {
    let mut text = text.to_owned();
    for (hba, usual) in [("A", "2:0:1:0"), ("B", "3:0:1:0")] {
        let (address, in_paths) = (lab.address(hba), lab.address(hba).replace(':', "_"));
        text = text.replace(&address, usual);
        text = text.replace(
            &format!("/p{in_paths}"),
            &format!("/p{}", usual.replace(':', "_")),
        );
    }
    for (disk, usual) in [("PATH_A", "sda"), ("PATH_B", "sdb")] {
        let name = lab.env(disk).trim_start_matches("/dev/");
        text = text.replace(&format!("\"{name}\""), &format!("\"{usual}\""));
    }
    let text = timeless(&text);
    let trimmed = text.lines().map(str::trim_end).collect::<Vec<_>>();
    let mut text = trimmed.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// A command of a page, with the addresses of this machine.
fn here(lab: &Lab, command: &str) -> String {
    let (a, b) = (lab.address("A"), lab.address("B"));
    let address = |hctl: &str| hctl.replace(':', "_");
    command
        .replace("p2_0_1_0", &format!("p{}", address(&a)))
        .replace("p3_0_1_0", &format!("p{}", address(&b)))
}

/// Times are others each time.
fn timeless(text: &str) -> String {
    let mut parts = text.split("\"time\" t ");
    let mut seen = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        seen += &format!("\"time\" t …{rest}");
    }
    seen
}

/// Types what a page says, and compares. Questions are asked until the answer is
/// what it should be, for properties follow a moment later.
fn follow(lab: &Lab, page: &str) {
    let (mut said, mut seen) = (String::new(), String::new());
    for (command, expected) in session(page) {
        let asks = !command.contains(" call ");
        let end = Instant::now() + Duration::from_secs(15);
        let actual = loop {
            let actual = normalised(lab, &typed(&here(lab, &command)).0);
            if actual == expected || !asks || Instant::now() > end {
                break actual;
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        said += &format!("$ {command}\n{expected}");
        seen += &format!("$ {command}\n{actual}");
    }
    fs::write(format!("/results/{}.txt", page.replace('/', "_")), &seen).unwrap();
    assert!(
        said == seen,
        "{page} says\n{said}\nand this is seen:\n{seen}"
    );
}

/// Host B as the pages have it: registered with 0xb1.
fn other_registers(lab: &Lab) {
    witness(&["-o", "-G", "-S", "0xb1"], lab.env("HOST_B"));
}

#[test]
fn the_session_of_the_page_is_what_busctl_shows() {
    let lab = fresh();
    other_registers(&lab);
    follow(&lab, "/payload/docs/dbus.md");
}

#[test]
fn the_session_of_the_readme_is_what_busctl_shows() {
    let lab = fresh();
    other_registers(&lab);
    follow(&lab, "/payload/README.md");
}

/// `busctl monitor`, whose output is read while it goes on.
struct Monitor(Child);

impl Monitor {
    fn start() -> Self {
        let rule = "type='signal',sender='org.reservd1'";
        let output = File::create(MONITORED).unwrap();
        let child = Command::new("busctl")
            .args(["monitor", "--json=short", "--match", rule])
            .stdin(Stdio::null())
            .stdout(output)
            .spawn()
            .unwrap();
        // It has said nothing yet that would tell that it listens.
        std::thread::sleep(Duration::from_secs(2));
        Monitor(child)
    }

    /// Waits for a signal like this, of any that came.
    fn expect(&self, what: &str, fits: impl Fn(&str, &str, &Value) -> bool) -> Value {
        await_some(what, || {
            let text = fs::read_to_string(MONITORED).unwrap();
            text.lines().find_map(|line| {
                let message: Value = serde_json::from_str(line).ok()?;
                let data = &message["payload"]["data"];
                let (path, member) = (message["path"].as_str()?, message["member"].as_str()?);
                fits(path, member, data).then(|| data.clone())
            })
        })
    }

    /// Waits until a property of an object was told to have this value.
    fn expect_change(&self, object: &str, name: &str, value: &Value) {
        self.expect(&format!("{name} = {value}"), |path, member, data| {
            let changed = &data[1][name]["data"];
            path.contains(object) && member == "PropertiesChanged" && changed == value
        });
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn signals_tell_of_a_guest_a_path_and_another_host() {
    let lab = fresh();
    let map = lab.env("MAP").to_owned();
    let monitor = Monitor::start();
    let (seen, well) = typed(&format!("reservctl pr register {map} 0xa1"));
    assert!(well.is_some(), "{seen}");
    let told = monitor.expect("the guest's REGISTER", |_, member, data| {
        member == "RegistrationsChanged" && data[0][0] == "0xa1"
    });
    assert_eq!(told[0], serde_json::json!(["0xa1", "0xa1"]));
    monitor.expect_change("/device/", "State", &"ok".into());
    monitor.expect_change("/device/", "PathsRegistered", &2.into());

    let path = lab.env("PATH_A").to_owned();
    let object = format!("/path/p{}", lab.address("A").replace(':', "_"));
    set_state(&path, "offline");
    monitor.expect_change(&object, "State", &"offline".into());
    monitor.expect_change("/device/", "PathsUsable", &1.into());
    set_state(&path, "running");
    monitor.expect_change(&object, "State", &"running".into());

    let host = lab.env("HOST_B").to_owned();
    other_registers(&lab);
    witness(&["-o", "-P", "-K", "0xb1", "-S", "0xa1", "-T", "5"], &host);
    let told = monitor.expect("the fence", |_, member, _| member == "Preempted");
    assert_eq!((&told[0], &told[1]), (&"0xa1".into(), &"0xb1".into()));
    let told = monitor.expect("its state", |_, member, data| {
        member == "DeviceStateChanged" && data[3] == "fenced"
    });
    assert!(told[4].as_str().unwrap().contains("PREEMPT"), "{told}");
}

/// One command after another on the map, over the helper's socket, until `end`.
fn guest(map: &str, end: &AtomicBool, commands: &AtomicUsize) {
    let mut client = reservd::client::Client::connect(std::path::Path::new(SOCKET)).unwrap();
    let disk = open(map, true);
    let round = [
        register(NONE, K1),
        act(OutAction::Reserve, K1, NONE),
        act(OutAction::Release, K1, NONE),
        register(K1, NONE),
    ];
    while !end.load(Ordering::Relaxed) {
        for command in &round {
            let (cdb, list) = command.encode();
            let disk = std::os::fd::AsFd::as_fd(&disk);
            let outcome = client.run(disk, &cdb, &list).unwrap();
            assert!(outcome.is_good(), "{}: {outcome}", command.action);
            commands.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (cdb, list) = register(NONE, K1).encode();
    let disk = std::os::fd::AsFd::as_fd(&disk);
    assert!(client.run(disk, &cdb, &list).unwrap().is_good());
}

#[test]
fn a_guest_notices_nothing_when_the_systems_bus_is_killed() {
    let lab = fresh();
    let map = lab.env("MAP").to_owned();
    let (end, commands) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let guest = scope.spawn(|| guest(&map, &end, &commands));
        for _ in 0..2 {
            let before = commands.load(Ordering::Relaxed);
            run("systemctl", &["kill", "--signal=KILL", "dbus.service"]);
            await_some("commands go on without a bus", || {
                (commands.load(Ordering::Relaxed) > before + 8).then_some(())
            });
            // Whoever connected may have had it started already.
            run("systemctl", &["start", "dbus.service"]);
            await_some("reservd is on the bus again", || {
                busctl("get-property org.reservd1 /org/reservd1 org.reservd1.Manager Version").1
            });
        }
        end.store(true, Ordering::Relaxed);
        guest.join().unwrap();
    });
    println!("{} commands", commands.load(Ordering::Relaxed));
    let (found, _) =
        busctl("call org.reservd1 /org/reservd1 org.reservd1.Manager FindDevice s mpatha");
    let object = found.split('"').nth(1).expect("an object").to_owned();
    for (name, value) in [("State", "s \"ok\""), ("IntentKey", "s \"0xa1\"")] {
        await_some(name, || {
            let words = format!("get-property org.reservd1 {object} {DEVICE} {name}");
            (busctl(&words).0.trim() == value).then_some(())
        });
    }
    assert_eq!(logged("the bus is gone"), 2);
}
