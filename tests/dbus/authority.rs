//! Who may do what, with a polkit that says what the test wants.

use crate::bus::{Bus, DEVICE, MANAGER, POLKIT, ROOT, UNIT, daemon};
use crate::daemon::Daemon;
use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use zbus::connection::Builder;
use zbus::{Connection, OwnedVariant, interface};

/// One question to polkit.
#[derive(Debug, Clone)]
struct Asked {
    kind: String,
    subject: HashMap<String, OwnedVariant>,
    action: String,
    details: HashMap<String, String>,
    flags: u32,
}

/// What polkit says.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// Yes to this action, no to others.
    Allow(&'static str),
    /// A password is needed.
    Challenge,
    /// Nothing, ever.
    Silence,
}

/// A polkit on the bus.
struct Polkit {
    asked: Arc<Mutex<Vec<Asked>>>,
    /// It is there as long as this is.
    _connection: Connection,
}

struct Authority {
    answer: Answer,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Authorized = (bool, bool, HashMap<String, String>);

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl Authority {
    async fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action: String,
        details: HashMap<String, String>,
        flags: u32,
        _cancellation: String,
    ) -> (Authorized,) {
        let (kind, subject) = subject;
        let allowed = matches!(self.answer, Answer::Allow(allowed) if allowed == action);
        self.asked.lock().unwrap().push(Asked {
            kind,
            subject,
            action,
            details,
            flags,
        });
        if matches!(self.answer, Answer::Silence) {
            std::future::pending::<()>().await;
        }
        let challenge = matches!(self.answer, Answer::Challenge);
        ((allowed, challenge, HashMap::new()),)
    }
}

impl Polkit {
    async fn start(bus: &Bus, answer: Answer) -> Polkit {
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let authority = Authority {
            answer,
            asked: Arc::clone(&asked),
        };
        let connection = Builder::address(bus.address().as_str())
            .name(POLKIT)
            .serve_at("/org/freedesktop/PolicyKit1/Authority", authority)
            .build()
            .await
            .unwrap();
        Polkit {
            asked,
            _connection: connection,
        }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The action that it was last asked for.
    fn last_action(&self) -> String {
        self.asked().pop().unwrap().action
    }
}

/// A daemon with a registration of host A, and that unit on the bus; `None` for
/// those who can be nobody else.
async fn lab(bus: &Bus) -> Option<Daemon> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: nobody else to be");
        return None;
    }
    let daemon = daemon(bus);
    daemon.prepare(&["pr register host-a 0xa1", "pr register host-b 0xb1"]);
    bus.client().await.eventually("State", "ok").await;
    Some(daemon)
}

/// What `busctl` says to a user without any rights, and whether it ended well.
async fn nobody(bus: &Bus, words: &[&str]) -> (String, bool) {
    let mut busctl = Command::new("setpriv");
    busctl
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "busctl"])
        .arg(format!("--address={}", bus.address()))
        .args(words);
    // The polkit of the test lives on this runtime.
    let output = tokio::task::spawn_blocking(move || busctl.output());
    let output = output.await.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.success())
}

/// Without a user to ask.
async fn call(bus: &Bus, path: &str, interface: &str, words: &[&str]) -> (String, bool) {
    let mut all = vec![
        "--allow-interactive-authorization=no",
        "call",
        "org.reservd1",
        path,
        interface,
    ];
    all.extend(words);
    nobody(bus, &all).await
}

#[tokio::test]
async fn each_method_asks_for_its_action() {
    let bus = Bus::started();
    let Some(daemon) = lab(&bus).await else {
        return;
    };
    let polkit = Polkit::start(&bus, Answer::Allow("nothing")).await;
    let device = daemon.folder().join("lun0/host-a").display().to_string();
    let device = device.as_str();
    for (method, words, action) in [
        ("Register", vec!["sa{sv}", "0xa2", "0"], "manage"),
        ("Unregister", vec!["a{sv}", "0"], "manage"),
        ("Reserve", vec!["sa{sv}", "WE", "0"], "manage"),
        ("Release", vec!["a{sv}", "0"], "manage"),
        ("Preempt", vec!["ssa{sv}", "0xb1", "WE", "0"], "preempt"),
        (
            "PreemptAndAbort",
            vec!["ssa{sv}", "0xb1", "WE", "0"],
            "preempt",
        ),
        ("Clear", vec!["a{sv}", "0"], "preempt"),
        ("Adopt", vec!["sa{sv}", "0xa2", "0"], "manage"),
        ("Rearm", vec!["a{sv}", "0"], "preempt"),
        ("Forget", vec!["a{sv}", "0"], "configure"),
        ("Repair", vec!["a{sv}", "0"], "manage"),
        ("Refresh", vec!["a{sv}", "0"], "refresh"),
        (
            "Clear",
            vec!["a{sv}", "1", "dry-run", "b", "true"],
            "refresh",
        ),
    ] {
        let words = [vec![method], words].concat();
        let (seen, well) = call(&bus, UNIT, DEVICE, &words).await;
        assert!(!well && seen.contains("polkit does not allow"), "{seen}");
        let expected = format!("org.reservd1.{action}");
        assert_eq!(polkit.last_action(), expected, "{words:?}");
    }
    for (method, words, action) in [
        ("Register", vec!["ss", device, "0xa2"], "manage"),
        ("Unregister", vec!["s", device], "manage"),
        ("Reserve", vec!["ss", device, "WE"], "manage"),
        ("Release", vec!["s", device], "manage"),
        ("Preempt", vec!["sss", device, "0xb1", "WE"], "preempt"),
        ("Clear", vec!["s", device], "preempt"),
        ("ReadKeys", vec!["s", device], "refresh"),
        ("ReadReservation", vec!["s", device], "refresh"),
        ("Plan", vec!["ssa{sv}", device, "Clear", "0"], "refresh"),
        ("Rescan", vec![], "refresh"),
        ("Reload", vec![], "configure"),
    ] {
        let words = [vec![method], words].concat();
        let (seen, well) = call(&bus, ROOT, MANAGER, &words).await;
        assert!(!well && seen.contains("polkit does not allow"), "{seen}");
        let expected = format!("org.reservd1.{action}");
        assert_eq!(polkit.last_action(), expected, "{words:?}");
    }
    let asked = polkit.asked().remove(0);
    assert_eq!(asked.kind, "system-bus-name");
    assert!(asked.subject.contains_key("name"), "{asked:?}");
    assert_eq!(asked.flags, 0);
    assert_eq!(asked.details["verb"], "Register");
    assert_eq!(asked.details["device"], "3600140500000000000000000000000a0");
    let keys = daemon.session(&["pr keys host-a"]);
    assert!(
        keys.contains("0xa1  2") && keys.contains("0xb1  2"),
        "{keys}"
    );
}

#[tokio::test]
async fn who_may_does_and_no_more() {
    let bus = Bus::started();
    let Some(daemon) = lab(&bus).await else {
        return;
    };
    let polkit = Polkit::start(&bus, Answer::Allow("org.reservd1.manage")).await;
    let reserve = ["Reserve", "sa{sv}", "WERO", "0"];
    let (seen, well) = call(&bus, UNIT, DEVICE, &reserve).await;
    assert!(well && seen.contains("/org/reservd1/job/"), "{seen}");
    let (seen, well) = call(&bus, UNIT, DEVICE, &["Clear", "a{sv}", "0"]).await;
    assert!(!well && seen.contains("org.reservd1.preempt"), "{seen}");
    let held = daemon.session(&["pr reservation host-b"]);
    assert!(held.contains("0xa1"), "{held}");
    let asked = polkit.asked().len();
    // Looking asks nobody, and root is not asked about.
    let property = ["get-property", "org.reservd1", UNIT, DEVICE, "State"];
    let (seen, well) = nobody(&bus, &property).await;
    assert!(well && seen.contains("ok"), "{seen}");
    let tree = ["tree", "--list", "org.reservd1"];
    let (seen, well) = nobody(&bus, &tree).await;
    assert!(well && seen.contains(UNIT), "{seen}");
    let client = bus.client().await;
    client.change(UNIT, "Clear", &[], &[]).await.unwrap();
    assert_eq!(polkit.asked().len(), asked);
}

#[tokio::test]
async fn without_polkit_there_is_root_alone() {
    let bus = Bus::started();
    let Some(_daemon) = lab(&bus).await else {
        return;
    };
    let (seen, well) = call(&bus, UNIT, DEVICE, &["Refresh", "a{sv}", "0"]).await;
    assert!(!well && seen.contains("polkit cannot be asked"), "{seen}");
}

#[tokio::test]
async fn a_password_is_asked_for_where_the_caller_lets_it() {
    let bus = Bus::started();
    let Some(_daemon) = lab(&bus).await else {
        return;
    };
    let polkit = Polkit::start(&bus, Answer::Challenge).await;
    let (seen, well) = call(&bus, UNIT, DEVICE, &["Refresh", "a{sv}", "0"]).await;
    assert!(!well && seen.contains("a password is needed"), "{seen}");
    let refresh = [
        "--allow-interactive-authorization=yes",
        "call",
        "org.reservd1",
        UNIT,
        DEVICE,
        "Refresh",
        "a{sv}",
        "0",
    ];
    let (seen, well) = nobody(&bus, &refresh).await;
    assert!(!well && seen.contains("polkit does not allow"), "{seen}");
    let flags: Vec<_> = polkit.asked().iter().map(|asked| asked.flags).collect();
    assert_eq!(flags, [0, 1]);
}

#[tokio::test]
async fn a_polkit_that_hangs_is_not_waited_for() {
    let bus = Bus::started();
    let Some(_daemon) = lab(&bus).await else {
        return;
    };
    let _polkit = Polkit::start(&bus, Answer::Silence).await;
    let started = Instant::now();
    let (seen, well) = call(&bus, UNIT, DEVICE, &["Clear", "a{sv}", "0"]).await;
    assert!(!well && seen.contains("does not answer in time"), "{seen}");
    assert!(started.elapsed() < Duration::from_secs(14));
    // Others are served meanwhile, and after.
    let client = bus.client().await;
    client.change(UNIT, "Refresh", &[], &[]).await.unwrap();
}
