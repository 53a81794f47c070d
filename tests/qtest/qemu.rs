//! A QEMU without a guest: a pr-manager-helper object, a scsi-block disk on a
//! virtio-scsi controller, and this process in place of the guest's driver and of
//! libvirt.

use crate::shim::shim;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than QEMU takes for anything here.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Qemu {
    child: Child,
    qtest: BufReader<UnixStream>,
    qmp: UnixStream,
    replies: Receiver<Value>,
    events: Receiver<Value>,
}

impl Qemu {
    /// With its disk on `device`, a file that the shim passes off as `devices` says,
    /// and its persistent reservations through `helper`.
    pub fn start(folder: &Path, name: &str, device: &Path, devices: &str, helper: &Path) -> Qemu {
        let listen = |kind: &str| {
            let path = folder.join(format!("{name}.{kind}"));
            let listener = UnixListener::bind(&path).expect("a socket for QEMU");
            (format!("unix:{}", path.display()), listener)
        };
        let ((qtest, tests), (qmp, monitors)) = (listen("qtest"), listen("qmp"));
        let disk = json!({
            "driver": "host_device", "node-name": "d0", "filename": device,
            "locking": "off", "pr-manager": "pr0",
        });
        let log = folder.join(format!("{name}.log"));
        let mut child = Command::new("qemu-system-x86_64")
            .args([
                "-name",
                &format!("guest={name}"),
                "-M",
                "pc",
                "-accel",
                "tcg",
                "-S",
            ])
            .args(["-display", "none", "-nodefaults", "-m", "64"])
            .args(["-qtest", &qtest, "-qmp", &qmp])
            .arg("-object")
            .arg(format!(
                "pr-manager-helper,id=pr0,path={}",
                helper.display()
            ))
            .args(["-blockdev", &disk.to_string()])
            .args([
                "-device",
                "virtio-scsi-pci,disable-modern=on,disable-legacy=off,addr=5,id=s0",
            ])
            .args(["-device", "scsi-block,drive=d0,bus=s0.0,scsi-id=0,lun=0"])
            .env("LD_PRELOAD", shim())
            .env("SHIM_DEVICES", devices)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("qemu-system-x86_64 runs (package qemu-system-x86)");
        let mut accept = |listener: UnixListener| {
            listener.set_nonblocking(true).expect("a socket");
            let until = Instant::now() + PATIENCE;
            loop {
                if let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(false).expect("a socket");
                    return stream;
                }
                let ended = child.try_wait().expect("our own child");
                assert!(
                    ended.is_none() && Instant::now() < until,
                    "QEMU does not start: {ended:?}\n{}",
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
                thread::sleep(Duration::from_millis(5));
            }
        };
        let (qtest, qmp) = (accept(tests), accept(monitors));
        qtest.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let (reply, replies) = mpsc::channel();
        let (event, events) = mpsc::channel();
        let lines = BufReader::new(qmp.try_clone().expect("a socket"));
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let value: Value = serde_json::from_str(&line).expect("QMP speaks JSON");
                let to = if value.get("event").is_some() {
                    &event
                } else {
                    &reply
                };
                // The test may be over.
                let _ = to.send(value);
            }
        });
        let mut qemu = Qemu {
            child,
            qtest: BufReader::new(qtest),
            qmp,
            replies,
            events,
        };
        qemu.replies.recv_timeout(PATIENCE).expect("QMP's greeting");
        qemu.ask("qmp_capabilities");
        qemu
    }

    /// Runs a QMP command without arguments.
    pub fn ask(&mut self, command: &str) -> Value {
        let line = json!({ "execute": command }).to_string() + "\n";
        self.qmp.write_all(line.as_bytes()).expect("QMP takes it");
        let reply = self.replies.recv_timeout(PATIENCE).expect("QMP answers");
        assert!(reply.get("return").is_some(), "{command}: {reply}");
        reply["return"].clone()
    }

    /// What libvirt asks for when its own daemon restarts.
    pub fn is_connected(&mut self) -> bool {
        self.ask("query-pr-managers")[0]["connected"] == json!(true)
    }

    /// The PR_MANAGER_STATUS_CHANGED events since the last call: connected or not.
    pub fn status_changes(&mut self) -> Vec<bool> {
        // Whatever came before this answer has arrived.
        self.is_connected();
        let events = self.events.try_iter();
        events
            .filter(|event| event["event"] == "PR_MANAGER_STATUS_CHANGED")
            .map(|event| event["data"]["connected"] == json!(true))
            .collect()
    }

    /// Runs qtest commands, one a line, and returns what each brought.
    pub fn qtest(&mut self, commands: &str) -> Vec<String> {
        let stream = self.qtest.get_mut();
        stream
            .write_all(commands.as_bytes())
            .expect("qtest takes it");
        let mut answers = Vec::new();
        while answers.len() < commands.lines().count() {
            let mut line = String::new();
            self.qtest.read_line(&mut line).expect("qtest answers");
            if line.starts_with("IRQ") {
                continue;
            }
            let answer = line
                .strip_prefix("OK")
                .unwrap_or_else(|| panic!("{commands}{line}"));
            answers.push(answer.trim().to_owned());
        }
        answers
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended, which the test has seen by now.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.qmp.read(&mut [0]);
    }
}
