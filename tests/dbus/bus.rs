//! A bus of its own, with the policy of the system's and that of reservd.

use crate::daemon::Daemon;
use reservd::scsi::{InAction, PrIn};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use zbus::connection::Builder;
use zbus::{Connection, Message, OwnedObjectPath, OwnedVariant, Variant};

/// Longer than anything healthy takes.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const ROOT: &str = "/org/reservd1";
pub const MANAGER: &str = "org.reservd1.Manager";
pub const DEVICE: &str = "org.reservd1.Device";
pub const JOB: &str = "org.reservd1.Job";
pub const POLKIT: &str = "org.freedesktop.PolicyKit1";
pub const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Host A's.
pub const UNIT: &str = "/org/reservd1/device/w3600140500000000000000000000000a0_40host_2da";

/// As system.conf: nothing may be owned or called that is not allowed.
const RULES: &str = "
    <allow user=\"*\"/>
    <deny own=\"*\"/>
    <deny send_type=\"method_call\"/>
    <allow send_type=\"signal\"/>
    <allow send_requested_reply=\"true\" send_type=\"method_return\"/>
    <allow send_requested_reply=\"true\" send_type=\"error\"/>
    <allow receive_type=\"method_call\"/>
    <allow receive_type=\"method_return\"/>
    <allow receive_type=\"error\"/>
    <allow receive_type=\"signal\"/>
    <allow send_destination=\"org.freedesktop.DBus\" send_interface=\"org.freedesktop.DBus\"/>";

/// A bus that can end and come again at the same address.
pub struct Bus {
    folder: TempDir,
    process: Option<Child>,
}

impl Bus {
    /// One that does not run yet.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Other users are to get at the socket.
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), mode).unwrap();
        let bus = Bus {
            folder,
            process: None,
        };
        let uid = nix::unistd::geteuid();
        let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/dbus/org.reservd1.conf");
        // A developer's daemon is not root's.
        let own = format!(
            "<policy user=\"{uid}\"><allow own=\"org.reservd1\"/>\
             <allow own=\"{POLKIT}\"/><allow send_destination=\"{POLKIT}\"/></policy>"
        );
        let config = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig>\
             <listen>{}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\">{RULES}</policy>\
             <include>{policy}</include>{own}</busconfig>",
            bus.address()
        );
        fs::write(bus.folder.path().join("bus.conf"), config).unwrap();
        bus
    }

    /// One that runs.
    pub fn started() -> Self {
        let mut bus = Bus::new();
        bus.start();
        bus
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.folder.path().join("bus").display())
    }

    pub fn start(&mut self) {
        // What a bus that was killed has left.
        let _ = fs::remove_file(self.folder.path().join("bus"));
        let config = self.folder.path().join("bus.conf");
        let process = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .arg("--nofork")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon (tests/setup.sh test installs it)");
        self.process = Some(process);
        let until = Instant::now() + PATIENCE;
        while !self.folder.path().join("bus").exists() {
            assert!(Instant::now() < until, "dbus-daemon does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// A client, once reservd is there.
    pub async fn client(&self) -> Client {
        self.client_within(PATIENCE).await
    }

    /// A client that waits as long for its answers.
    pub async fn client_within(&self, patience: Duration) -> Client {
        let until = Instant::now() + PATIENCE;
        loop {
            let address = self.address();
            let connection = Builder::address(address.as_str())
                .method_timeout(patience)
                .build()
                .await;
            if let Ok(connection) = connection {
                let client = Client(connection);
                if client.property(ROOT, MANAGER, "Version").await.is_ok() {
                    return client;
                }
            }
            assert!(Instant::now() < until, "reservd is not on the bus");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A daemon on this bus, with a quick poll.
pub fn daemon(bus: &Bus) -> Daemon {
    Daemon::start_on(&bus.address(), "[defaults]\npoll-interval-ms = 200\n")
}

/// A connection to the helper's socket that stays.
pub fn guest(daemon: &Daemon) -> reservd::client::Client {
    reservd::client::Client::connect_within(&daemon.socket(), PATIENCE).unwrap()
}

/// What guests ask for all the time.
pub const READ_KEYS: PrIn = PrIn {
    action: InAction::ReadKeys,
    allocation_length: 8192,
};

/// Somebody on the bus.
pub struct Client(pub Connection);

impl Client {
    /// Calls a method of the manager; an error is its name and text.
    pub async fn manager<B>(&self, method: &str, body: &B) -> Result<Message, (String, String)>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.call(ROOT, MANAGER, method, body).await
    }

    pub async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, (String, String)>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let result = self
            .0
            .call_method(Some("org.reservd1"), path, Some(interface), method, body)
            .await;
        result.map_err(|error| match error {
            zbus::Error::MethodError(name, text, _) => {
                let name = name.as_str().trim_start_matches("org.reservd1.Error.");
                (name.to_owned(), text.unwrap_or_default())
            }
            error => (error.to_string(), String::new()),
        })
    }

    /// Has a unit changed, and returns the job.
    pub async fn change(
        &self,
        unit: &str,
        method: &str,
        arguments: &[&str],
        options: &[(&str, Variant<'_>)],
    ) -> Result<String, (String, String)> {
        let options: HashMap<_, _> = options.iter().cloned().collect();
        let reply = match arguments {
            [] => self.call(unit, DEVICE, method, &options).await,
            [one] => self.call(unit, DEVICE, method, &(one, options)).await,
            [one, two] => self.call(unit, DEVICE, method, &(one, two, options)).await,
            _ => panic!("{arguments:?}"),
        };
        let path: OwnedObjectPath = reply?.body().deserialize().unwrap();
        Ok(path.to_string())
    }

    /// The steps of a job: CDB, path, what, risk.
    pub async fn steps(&self, job: &str) -> Vec<[String; 4]> {
        let steps = self.property(job, JOB, "Steps").await.unwrap();
        let steps = Vec::<HashMap<String, OwnedVariant>>::try_from(steps).unwrap();
        let text = |step: &HashMap<String, OwnedVariant>, name: &str| plain(&step[name]);
        let row = |step| ["cdb", "path", "what", "risk"].map(|name| text(step, name));
        steps.iter().map(row).collect()
    }

    /// The name of the error that this ends with.
    pub async fn error<B>(&self, method: &str, body: &B) -> String
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        match self.manager(method, body).await {
            Ok(_) => "none".to_owned(),
            Err((name, text)) => {
                assert!(!text.is_empty(), "{name} says nothing");
                name
            }
        }
    }

    pub async fn property(
        &self,
        path: &str,
        interface: &str,
        name: &str,
    ) -> Result<OwnedVariant, (String, String)> {
        let reply = self
            .call(path, PROPERTIES, "Get", &(interface, name))
            .await?;
        Ok(reply.body().deserialize().unwrap())
    }

    /// The first object that a property names, once it names one.
    pub async fn one_of(&self, path: &str, interface: &str, name: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let value = self.property(path, interface, name).await.unwrap();
            let objects = Vec::<OwnedObjectPath>::try_from(value).unwrap();
            match &objects[..] {
                [first, ..] => return first.to_string(),
                [] => assert!(Instant::now() < until, "{name} of {path} stays empty"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A property of host A's unit as text.
    pub async fn shown(&self, name: &str) -> String {
        match self.property(UNIT, DEVICE, name).await {
            Ok(value) => plain(&value),
            Err((name, _)) => name,
        }
    }

    /// Waits until a property of host A's unit is this.
    pub async fn eventually(&self, name: &str, expected: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let shown = self.shown(name).await;
            if shown == expected {
                return;
            }
            assert!(Instant::now() < until, "{name} is {shown}, not {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A string, a number or a truth value without the marks of its type.
pub fn plain(value: &OwnedVariant) -> String {
    let text = value.to_string();
    match text.strip_prefix('"') {
        Some(text) => text.trim_end_matches('"').to_owned(),
        None => text.rsplit(' ').next().unwrap_or_default().to_owned(),
    }
}
