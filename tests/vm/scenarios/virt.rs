//! libvirt in the machine: domains, their helpers, and what runs in a guest.

use super::lab::*;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Where libvirt is told to find our helper.
pub const HELPER: &str = "/usr/bin/reservd-pr-helper";
/// How long a guest may take to boot, under two emulations.
const BOOT: Duration = Duration::from_secs(240);
/// How long a command in a guest may take.
const COMMAND: Duration = Duration::from_secs(60);
/// How long some commands of a guest may take, with whatever is restarted meanwhile.
const PATIENCE: Duration = Duration::from_secs(180);

/// libvirt's daemon, started for a scenario and stopped after it.
pub struct Libvirt {
    service: &'static str,
}

impl Libvirt {
    /// Has libvirt use our helper, and starts its daemon.
    pub fn start() -> Self {
        let settings = "/etc/libvirt/qemu.conf";
        let text = fs::read_to_string(settings).unwrap();
        let ours = format!("pr_helper = \"{HELPER}\"\n");
        if !text.contains(&ours) {
            fs::write(settings, text + "\n" + &ours).unwrap();
        }
        // One daemon for everything, or one for each kind of thing.
        let parted = Path::new("/usr/lib/systemd/system/virtqemud.service").exists();
        let service = if parted { "virtqemud" } else { "libvirtd" };
        let libvirt = Libvirt { service };
        libvirt.control("start");
        libvirt
    }

    /// Ends libvirt's daemon and starts it again; its domains stay.
    pub fn restart(&self) {
        self.control("restart");
        virsh(&["list"]);
    }

    fn control(&self, what: &str) {
        let unit = format!("{}.service", self.service);
        run("timeout", &["90", "systemctl", what, &unit]);
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        let units = ["", "-ro", "-admin"].map(|kind| format!("{}{kind}.socket", self.service));
        let mut stop = Command::new("systemctl");
        stop.arg("stop").args(units);
        let _ = stop.arg(format!("{}.service", self.service)).status();
    }
}

/// virsh, which must succeed within a minute; its output.
pub fn virsh(arguments: &[&str]) -> String {
    let fixed = ["60", "virsh", "--quiet", "--connect", "qemu:///system"];
    run("timeout", &[&fixed, arguments].concat())
}

/// Who serves a disk's persistent reservations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// A helper that libvirt starts for the domain.
    Managed,
    /// The system's daemon.
    System,
}

/// A disk of a domain as libvirt's XML has it.
pub fn disk(target: &str, device: &str, server: Server) -> String {
    let reservations = match server {
        Server::Managed => "<reservations managed='yes'/>".to_owned(),
        Server::System => format!(
            "<reservations managed='no'><source type='unix' path='{SOCKET}' mode='client'/></reservations>"
        ),
    };
    format!(
        "<disk type='block' device='lun'>\
           <driver name='qemu' type='raw' cache='none'/>\
           <source dev='{device}'>{reservations}</source>\
           <target dev='{target}' bus='scsi'/>\
           <shareable/>\
         </disk>"
    )
}

/// A running domain; destroyed when this is dropped.
pub struct Domain {
    pub name: &'static str,
}

impl Domain {
    /// Starts a domain, whose guest gets no time before it is resumed when
    /// `paused`.
    pub fn start(name: &'static str, paused: bool, disks: &[String]) -> Self {
        let definition = PathBuf::from(format!("/run/{name}.xml"));
        fs::write(&definition, xml(name, disks)).unwrap();
        let mut arguments = vec!["create", definition.to_str().unwrap()];
        if paused {
            arguments.push("--paused");
        }
        let domain = Domain { name };
        virsh(&arguments);
        domain
    }

    /// What QEMU says of its connections to helpers: by the name of each,
    /// whether it is there.
    pub fn connections(&self) -> Vec<(String, bool)> {
        let query = r#"{"execute": "query-pr-managers"}"#;
        let reply = virsh(&["qemu-monitor-command", self.name, query]);
        let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
        let managers = reply["return"].as_array().unwrap().iter();
        managers
            .map(|manager| {
                let name = manager["id"].as_str().unwrap().to_owned();
                (name, manager["connected"].as_bool().unwrap())
            })
            .collect()
    }

    /// Processes of the helper that libvirt started for this domain.
    pub fn helpers(&self) -> Vec<u32> {
        let of_domain = |line: &String| line.contains(&format!("-{}/pr-helper0.sock", self.name));
        let found = helpers().into_iter();
        let found = found.filter(|(_, line)| of_domain(line));
        found.map(|(pid, _)| pid).collect()
    }

    /// Where QEMU finds it.
    pub fn socket(&self) -> PathBuf {
        let id = virsh(&["domid", self.name]);
        let folder = format!("domain-{}-{}", id.trim(), self.name);
        Path::new("/var/lib/libvirt/qemu")
            .join(folder)
            .join("pr-helper0.sock")
    }

    /// Its one helper.
    pub fn helper(&self) -> u32 {
        let helpers = self.helpers();
        assert_eq!(helpers.len(), 1, "helpers of {}: {helpers:?}", self.name);
        helpers[0]
    }

    pub fn attach(&self, disk: &str) {
        self.change("attach-device", disk);
    }

    pub fn detach(&self, disk: &str) {
        self.change("detach-device", disk);
    }

    fn change(&self, how: &str, disk: &str) {
        let file = format!("/run/{}-disk.xml", self.name);
        fs::write(&file, disk).unwrap();
        virsh(&[how, self.name, &file, "--live"]);
    }

    pub fn is_running(&self) -> bool {
        virsh(&["domstate", self.name]).trim() == "running"
    }

    /// Stops it at once.
    pub fn destroy(self) {
        virsh(&["destroy", self.name]);
        std::mem::forget(self);
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        let script = format!(
            "cp /var/log/libvirt/qemu/{0}*.log /results/; \
             journalctl --no-pager -o short-precise >/results/{0}-journal.log; \
             journalctl --no-pager -o verbose -u reservd >/results/{0}-reservd.log; \
             timeout 60 virsh -c qemu:///system destroy {0}",
            self.name
        );
        let _ = Command::new("sh").args(["-c", &script]).status();
    }
}

fn xml(name: &str, disks: &[String]) -> String {
    let mut devices = String::new();
    for disk in disks {
        let _ = write!(devices, "{disk}");
    }
    format!(
        "<domain type='qemu'>
           <name>{name}</name><memory unit='MiB'>160</memory><vcpu>1</vcpu>
           <os>
             <type arch='x86_64' machine='pc'>hvm</type>
             <kernel>/usr/lib/reservd-test/vmlinux</kernel>
             <initrd>/usr/lib/reservd-test/l2.cpio</initrd>
             <cmdline>console=ttyS0 quiet panic=-1 lsm=none cryptomgr.notests mitigations=off nokaslr no_timer_check audit=0 rdinit=/init serve</cmdline>
           </os>
           <features><acpi/></features>
           <on_reboot>destroy</on_reboot>
           <devices>
             <emulator>/usr/bin/qemu-system-x86_64</emulator>
             <controller type='usb' model='none'/>
             <controller type='scsi' model='virtio-scsi'/>
             {devices}
             <serial type='file'><source path='/var/log/libvirt/qemu/{name}-console.log'/><target port='0'/></serial>
             <serial type='unix'><source mode='bind' path='{channel}'/><target port='1'/></serial>
             <memballoon model='none'/>
           </devices>
         </domain>",
        channel = channel(name)
    )
}

fn channel(name: &str) -> String {
    format!("/var/lib/libvirt/qemu/{name}.channel")
}

/// Processes of our helper, with their command lines.
pub fn helpers() -> Vec<(u32, String)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.starts_with(HELPER).then_some((pid, line))
    })
    .collect()
}

/// The shell of a guest, on its second serial port.
pub struct Guest {
    reader: BufReader<UnixStream>,
    /// Of a line that has not ended yet.
    partial: String,
}

/// What the loop of a cluster's node came to, for one disk.
#[derive(Debug)]
pub struct Node {
    pub commands: u32,
    /// The slowest command.
    pub longest: Duration,
}

impl Guest {
    /// Waits until the guest of this domain has booted.
    pub fn wait(domain: &Domain) -> Self {
        let stream = UnixStream::connect(channel(domain.name)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let mut guest = Guest {
            reader: BufReader::new(stream),
            partial: String::new(),
        };
        let end = Instant::now() + BOOT;
        while !guest.line(end).starts_with("guest up") {}
        guest
    }

    fn line(&mut self, end: Instant) -> String {
        loop {
            match self.reader.read_line(&mut self.partial) {
                Ok(0) => panic!("the guest has gone, after {:?}", self.partial),
                Ok(_) => return std::mem::take(&mut self.partial),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(
                        Instant::now() < end,
                        "no word from the guest, after {:?}",
                        self.partial
                    );
                }
                Err(error) => panic!("the guest's port: {error}"),
            }
        }
    }

    /// Runs a line in the guest's shell: its exit status, and its output.
    pub fn ask(&mut self, command: &str) -> (i32, String) {
        self.reader
            .get_mut()
            .write_all(format!("{command}\n").as_bytes())
            .unwrap();
        let end = Instant::now() + COMMAND;
        let mut output = String::new();
        loop {
            let line = self.line(end);
            if let Some(status) = line.strip_prefix("rc ") {
                return (status.trim().parse().unwrap(), output);
            }
            output.push_str(&line);
        }
    }

    /// As `ask`, and it must succeed.
    pub fn good(&mut self, command: &str) -> String {
        let (status, output) = self.ask(command);
        assert_eq!(status, 0, "{command}: {output}");
        output
    }

    /// Waits until a condition holds in the guest.
    pub fn until(&mut self, condition: &str) {
        await_some(condition, || (self.ask(condition).0 == 0).then_some(()));
    }

    /// Starts the loop of a cluster's node on this disk.
    pub fn start_node(&mut self, disk: &str) {
        self.good(&format!("cluster_node {disk} &"));
        self.until(&format!("[ -e /run/{disk}/progress ]"));
    }

    /// Waits until the loop on each of these disks has done some more commands.
    pub fn goes_on(&mut self, disks: &[&str]) {
        let goals: Vec<u32> = disks
            .iter()
            // The first may have ended before whatever happened.
            .map(|disk| self.node(disk).commands + 3)
            .collect();
        let end = Instant::now() + PATIENCE;
        for (disk, goal) in disks.iter().zip(goals) {
            while self.node(disk).commands < goal {
                assert!(Instant::now() < end, "the loop on {disk} does not go on");
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }

    /// What the loop on this disk has come to so far.
    pub fn node(&mut self, disk: &str) -> Node {
        let end = Instant::now() + PATIENCE;
        loop {
            let progress = self.good(&format!("read a b </run/{disk}/progress; echo $a $b"));
            let numbers: Vec<u32> = progress
                .split_whitespace()
                .map(|number| number.parse().unwrap())
                .collect();
            if let [commands, longest] = numbers[..] {
                return Node {
                    commands,
                    longest: Duration::from_millis(u64::from(longest) * 10),
                };
            }
            // The loop is about to write it.
            assert!(Instant::now() < end, "no progress on {disk}");
        }
    }

    /// The commands of the loop on this disk that failed.
    pub fn errors(&mut self, disk: &str) -> String {
        self.good(&format!("cat /run/{disk}/errors"))
    }
}
