//! `reservctl watch`: the table of `status` again whenever something changes, or a
//! line for each event.

use super::bus::{self, Daemon};
use super::failure::Failure;
use super::page::{Colour, Page, Tone, clean, timestamp};
use super::status;
use super::view::Host;
use futures_core::Stream;
use serde::{Serialize, Serializer};
use std::io::{self, IsTerminal, Write};
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{sleep, timeout};
use zbus::message::Type;
use zbus::{MatchRule, Message, MessageStream, OwnedVariant};

/// What changes within this is shown at once.
const PAUSE: Duration = Duration::from_millis(200);
/// "5 s ago" and the like age without any change.
const AGE: Duration = Duration::from_secs(10);
/// Back to the top left, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows what happens until the program is ended, or nobody reads any more.
///
/// # Errors
/// [`Failure::Bus`], also where reservd leaves the bus; [`Failure::Output`].
pub fn run(follow: bool, json: bool, colour: Colour) -> Result<(), Failure> {
    let lines = follow || json || !io::stdout().is_terminal();
    bus::run(async |daemon: Daemon| match lines {
        true => write_lines(&daemon, json, colour).await,
        false => redraw(&daemon, colour).await,
    })
}

async fn redraw(daemon: &Daemon, colour: Colour) -> Result<(), Failure> {
    let mut signals = Signals::start(daemon).await?;
    loop {
        let page = Page::of_stdout(colour);
        let host = daemon.host().await?;
        let hint = page.paint(Tone::Faint, "as of now; Ctrl-C ends this");
        print(&format!(
            "{CLEAR}{}\n{hint}\n",
            status::render(&host, &page)
        ))?;
        match timeout(AGE, signals.next()).await {
            Ok(Some(_)) => sleep(PAUSE).await,
            Ok(None) => return Err(gone()),
            Err(_) => {}
        }
        while let Ok(more) = timeout(Duration::ZERO, signals.next()).await {
            if more.is_none() {
                return Err(gone());
            }
        }
    }
}

async fn write_lines(daemon: &Daemon, json: bool, colour: Colour) -> Result<(), Failure> {
    let mut signals = Signals::start(daemon).await?;
    let mut host = daemon.host().await?;
    let page = Page::of_stdout(colour);
    for unit in &host.units {
        let line = Line {
            time_usec: now(),
            object: unit.object.clone(),
            name: unit.label().to_owned(),
            event: "State".to_owned(),
            values: vec![
                ("state", unit.state.clone()),
                ("reason", unit.reason.clone()),
            ],
        };
        print(&line.shown(json, &page)?)?;
    }
    while let Some(message) = signals.next().await {
        if owner_changed(&message) {
            return Err(gone());
        }
        let Some(mut line) = Line::read(&message) else {
            continue;
        };
        if host.unit(&line.object).is_none() && line.object.contains("/device/") {
            host = daemon.host().await?;
        }
        line.name = name_of(&host, &line.object);
        print(&line.shown(json, &page)?)?;
    }
    Err(gone())
}

fn gone() -> Failure {
    Failure::Bus("reservd is gone from the bus".into())
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn name_of(host: &Host, object: &str) -> String {
    let short = object.strip_prefix("/org/reservd1/").unwrap_or(object);
    let unit = host.unit(object);
    unit.map_or_else(|| short.to_owned(), |unit| unit.label().to_owned())
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(Failure::Output)
}

/// reservd's signals, and the news that it left the bus.
struct Signals([MessageStream; 2]);

impl Signals {
    async fn start(daemon: &Daemon) -> Result<Self, Failure> {
        let ours = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(crate::dbus::NAME)
            .build()
            .map_err(bus::failure)?;
        let owner = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.DBus")
            .member("NameOwnerChanged")
            .add_arg(crate::dbus::NAME)
            .build()
            .map_err(bus::failure)?;
        let connection = daemon.connection();
        let stream = |rule| MessageStream::for_match_rule(rule, connection, None);
        let ours = stream(ours).await.map_err(bus::failure)?;
        let owner = stream(owner).await.map_err(bus::failure)?;
        Ok(Signals([owner, ours]))
    }

    /// `None` once the connection is lost.
    async fn next(&mut self) -> Option<Message> {
        std::future::poll_fn(|context| {
            for stream in &mut self.0 {
                if let std::task::Poll::Ready(message) = Pin::new(stream).poll_next(context) {
                    return std::task::Poll::Ready(message.and_then(Result::ok));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

fn owner_changed(message: &Message) -> bool {
    let header = message.header();
    header
        .member()
        .is_some_and(|member| member.as_str() == "NameOwnerChanged")
}

/// One event.
#[derive(Debug, Serialize)]
struct Line {
    /// In microseconds since 1970.
    time_usec: u64,
    /// Whose.
    object: String,
    /// What people call that.
    name: String,
    /// The name of the signal.
    event: String,
    /// Its arguments by name.
    #[serde(serialize_with = "as_map")]
    values: Vec<(&'static str, String)>,
}

fn as_map<S: Serializer>(
    values: &[(&'static str, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(values.iter().map(|(name, value)| (name, value)))
}

/// The signals that are shown, with the names of their arguments.
const EVENTS: &[(&str, &[&str])] = &[
    (
        "DeviceStateChanged",
        &["device", "wwid", "old", "state", "reason"],
    ),
    ("RegistrationsChanged", &["added", "removed", "generation"]),
    (
        "ReservationChanged",
        &["type", "key", "old-type", "old-key"],
    ),
    (
        "Preempted",
        &["lost-key", "by-key", "by-owner", "generation"],
    ),
    ("PathRepaired", &["path", "key"]),
    ("RepairRefused", &["path", "reason"]),
    ("ConflictDetected", &["kind", "detail"]),
    ("ConfigReloaded", &["generation", "ok", "error"]),
    ("Completed", &["success", "message"]),
];

impl Line {
    fn read(message: &Message) -> Option<Self> {
        let header = message.header();
        let member = header.member()?.as_str();
        let (event, names) = EVENTS.iter().find(|(event, _)| *event == member)?;
        let object = header.path()?.to_string();
        let body = message.body();
        let fields = body.deserialize::<zbus::Structure<'_>>().ok()?;
        let values = names.iter().zip(fields.fields());
        let mut values: Vec<_> = values
            .filter_map(|(name, value)| {
                let value = OwnedVariant::try_from(value.try_clone().ok()?).ok()?;
                Some((*name, plain(&value)))
            })
            .collect();
        // Of the manager's signal about a unit.
        let device = values.iter().find(|(name, _)| *name == "device");
        let object = device.map_or(object, |(_, device)| device.clone());
        values.retain(|(name, _)| !matches!(*name, "device" | "wwid"));
        Some(Line {
            time_usec: now(),
            name: String::new(),
            object,
            event: (*event).to_owned(),
            values,
        })
    }

    fn shown(&self, json: bool, page: &Page) -> Result<String, Failure> {
        if json {
            let line =
                serde_json::to_string(self).map_err(|error| Failure::Output(error.into()))?;
            return Ok(line + "\n");
        }
        let values = self.values.iter().filter(|(_, value)| !value.is_empty());
        let values: Vec<_> = values
            .map(|(name, value)| match value.contains([' ', '"']) {
                true => format!("{name}={:?}", clean(value)),
                false => format!("{name}={}", clean(value)),
            })
            .collect();
        let time = page.paint(Tone::Faint, &timestamp(self.time_usec));
        let name = page.paint(Tone::Head, &clean(&self.name));
        Ok(format!(
            "{time} {name} {} {}\n",
            self.event,
            values.join(" ")
        ))
    }
}

/// A value in a few characters.
fn plain(value: &OwnedVariant) -> String {
    if let Ok(text) = <&str>::try_from(value) {
        return text.to_owned();
    }
    if let Ok(object) = <&zbus::ObjectPath<'_>>::try_from(value) {
        return object.to_string();
    }
    if let Ok(number) = u32::try_from(value) {
        return number.to_string();
    }
    if let Ok(truth) = bool::try_from(value) {
        return truth.to_string();
    }
    match value.try_clone().map(Vec::<String>::try_from) {
        Ok(Ok(texts)) => texts.join(","),
        _ => value.to_string(),
    }
}
