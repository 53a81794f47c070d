//! `reservctl register` and so on: has reservd change a unit. What takes something
//! away from somebody is shown first, as reservd plans it, and has to be confirmed.

use super::arguments::Command;
use super::arguments::unit::{How, RegisterFlags};
use super::bus::{self, Call, Daemon};
use super::failure::Failure;
use super::page::{Page, Tone, clean};
use super::report::Report;
use super::view::job::Job;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use zbus::Variant;

/// A change that a command line asks for.
#[derive(Debug)]
pub struct Change<'a> {
    device: &'a str,
    how: &'a How,
    call: Call,
    /// What is said of it: `register 0xa1`.
    what: String,
    destructive: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Changed {
    /// In words.
    pub text: String,
    /// As reservd did it.
    pub job: Job,
}

impl<'a> Change<'a> {
    /// `None` for command lines about something else.
    pub fn of(command: &'a Command) -> Option<Self> {
        let plain = |device, how, method, what: &str, destructive| Change {
            device,
            how,
            call: call(method, vec![], how),
            what: what.to_owned(),
            destructive,
        };
        Some(match command {
            Command::Register(to) => {
                let key = to.key.to_string();
                let mut change = plain(&to.device, &to.how, "Register", "", false);
                change.what = format!("register {key}");
                change.call.arguments = vec![key];
                with_flags(&mut change.call, &to.flags);
                if let Some(existing) = to.existing_key {
                    let existing = Variant::from(existing.to_string());
                    change.call.options.insert("existing-key", existing);
                }
                change
            }
            Command::Adopt(to) => {
                let key = to.key.to_string();
                let mut change = plain(&to.device, &to.how, "Adopt", "", false);
                change.what = format!("adopt {key}");
                change.call.arguments = vec![key];
                with_flags(&mut change.call, &to.flags);
                change
            }
            Command::Rearm(to) => {
                let what = "register again the key that was taken away";
                let mut change = plain(&to.device, &to.how, "Rearm", what, true);
                with_flags(&mut change.call, &to.flags);
                change
            }
            Command::Reserve(to) => {
                let mut change = plain(&to.device, &to.how, "Reserve", "", false);
                change.what = format!("reserve {}", to.kind);
                change.call.arguments = vec![to.kind.to_string()];
                change
            }
            Command::Preempt(to) => {
                let (method, more) = match to.abort {
                    true => ("PreemptAndAbort", " and abort its commands"),
                    false => ("Preempt", ""),
                };
                let mut change = plain(&to.device, &to.how, method, "", true);
                change.what = format!("preempt {}{more}", to.victim);
                change.call.arguments = vec![to.victim.to_string(), to.kind.to_string()];
                change
            }
            Command::Unregister(to) => plain(&to.device, &to.how, "Unregister", "unregister", true),
            Command::Release(to) => plain(&to.device, &to.how, "Release", "release", true),
            Command::Clear(to) => plain(&to.device, &to.how, "Clear", "clear", true),
            Command::Forget(to) => plain(&to.device, &to.how, "Forget", "forget", true),
            Command::Repair(to) => plain(&to.device, &to.how, "Repair", "repair", false),
            _ => return None,
        })
    }

    fn planned(&self) -> Call {
        let mut planned = self.call.clone();
        planned.options.insert("dry-run", Variant::from(true));
        planned
    }
}

fn call(method: &'static str, arguments: Vec<String>, how: &How) -> Call {
    let mut options = HashMap::new();
    if let Some(reason) = &how.reason {
        options.insert("reason", Variant::from(reason.clone()));
    }
    if let Some(timeout) = how.timeout {
        let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        options.insert("timeout-ms", Variant::from(milliseconds));
    }
    Call {
        method,
        arguments,
        options,
    }
}

fn with_flags(call: &mut Call, flags: &RegisterFlags) {
    if let Some(aptpl) = flags.aptpl {
        call.options.insert("aptpl", Variant::from(aptpl));
    }
    if flags.all_tg_pt {
        call.options.insert("all-target-ports", Variant::from(true));
    }
}

/// Has it done. Where it is destructive, the plan is shown on standard error, and
/// the answer read from standard input; both have to be terminals, or `--yes` given.
///
/// # Errors
/// [`Failure::Refused`], [`Failure::Unconfirmed`], [`Failure::Bus`].
pub fn run(change: &Change<'_>, json: bool, page: &Page) -> Result<Report, Failure> {
    bus::run(async |daemon: Daemon| {
        let interactive = io::stdin().is_terminal() && io::stderr().is_terminal();
        let object = daemon.find(change.device).await?;
        if change.how.dry_run {
            let job = daemon
                .change(&object, &change.planned(), interactive)
                .await?;
            let text = format!("{}: would {}", change.device, change.what);
            return Ok(Report::Changed(Changed { text, job }));
        }
        if change.destructive && !change.how.yes {
            if !interactive || json {
                return Err(Failure::Unconfirmed(
                    "it needs --yes, or a terminal to ask".into(),
                ));
            }
            let plan = daemon.change(&object, &change.planned(), true).await?;
            let text = format!("{}: will {}", change.device, change.what);
            let plan = Changed { text, job: plan }.render(page);
            if !confirmed(&plan).map_err(Failure::Runtime)? {
                return Err(Failure::Unconfirmed("nobody confirmed it".into()));
            }
        }
        let job = daemon.change(&object, &change.call, interactive).await?;
        let text = format!("{}: {}: {}", change.device, change.what, job.state);
        Ok(Report::Changed(Changed { text, job }))
    })
}

fn confirmed(plan: &str) -> io::Result<bool> {
    let mut stderr = io::stderr();
    write!(stderr, "{plan}Do it? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

impl Changed {
    /// A line; for what is only planned, its steps too.
    pub fn render(&self, page: &Page) -> String {
        let mut text = format!("{}\n", clean(&self.text));
        if self.job.state != "planned" {
            return text;
        }
        for (number, step) in (1..).zip(&self.job.steps) {
            let path = step
                .path
                .as_deref()
                .map(|path| format!(" ({})", clean(path)));
            let line = format!(
                "{number}. {}{}",
                clean(&step.what),
                path.unwrap_or_default()
            );
            text += &page.paragraph(2, &line);
            if let Some(cdb) = &step.cdb {
                let cdb = format!("CDB {}", clean(cdb));
                let _ = writeln!(text, "     {}", page.paint(Tone::Faint, &cdb));
            }
            if let Some(risk) = &step.risk {
                for line in page.paragraph(5, &format!("risk: {risk}")).lines() {
                    let _ = writeln!(text, "     {}", page.paint(Tone::Warning, line.trim()));
                }
            }
        }
        if self.job.steps.is_empty() {
            text += "  nothing is to be done\n";
        }
        text
    }
}
