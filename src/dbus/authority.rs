//! Who may do what: root everything, others what polkit lets them.

use super::caller::Caller;
use super::error::Error;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;
use zbus::message::Flags;
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

/// polkit has to answer within this, where it asks nobody.
const PATIENCE: Duration = Duration::from_secs(10);
/// Somebody who is asked for a password has to give it within this.
pub(super) const CONVERSATION: Duration = Duration::from_secs(60);

/// What polkit calls a kind of calls, as `dbus/org.reservd1.policy` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Asking devices.
    Refresh,
    /// What concerns this host.
    Manage,
    /// What takes something from others.
    Preempt,
    /// The daemon's configuration and memory.
    Configure,
    /// Ending a client's connection.
    DisconnectClient,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Refresh => "org.reservd1.refresh",
            Action::Manage => "org.reservd1.manage",
            Action::Preempt => "org.reservd1.preempt",
            Action::Configure => "org.reservd1.configure",
            Action::DisconnectClient => "org.reservd1.disconnect-client",
        })
    }
}

impl Caller<'_> {
    /// Whether somebody may be asked for a password, for which the caller waits.
    pub fn lets_us_ask(&self) -> bool {
        let flags = self.header.primary().flags();
        flags.contains(Flags::ALLOW_INTERACTIVE_AUTH)
    }

    /// The caller's uid, where it may do this: root, the user that the daemon
    /// itself runs as, and whom polkit lets. `what` and `device` are shown to
    /// somebody who is asked for a password.
    ///
    /// # Errors
    /// [`Error::PolicyDenied`] for everybody else, and where polkit is not there.
    pub async fn may(&self, action: Action, what: &str, device: &str) -> Result<u32, Error> {
        let uid = self.uid().await?;
        if uid == 0 || uid == nix::unistd::geteuid().as_raw() {
            return Ok(uid);
        }
        let denied = |why: &str| {
            tracing::info!(uid, what, device, %action, why, "refused over D-Bus");
            Err(Error::PolicyDenied(format!("{what} ({action}): {why}")))
        };
        let interactive = self.lets_us_ask();
        let (flags, patience) = match interactive {
            true => (
                CheckAuthorizationFlags::ALLOW_USER_INTERACTION,
                CONVERSATION,
            ),
            false => (CheckAuthorizationFlags::empty(), PATIENCE),
        };
        let Ok(subject) = Subject::new_for_message_header(self.header) else {
            return denied("nobody is said to have asked");
        };
        let asking = async {
            let polkit = AuthorityProxy::new(self.connection).await?;
            let id = action.to_string();
            let details = HashMap::from([("verb", what), ("device", device)]);
            polkit
                .check_authorization(&subject, &id, &details, flags, "")
                .await
        };
        match timeout(patience, asking).await {
            Ok(Ok(answer)) if answer.is_authorized => Ok(uid),
            Ok(Ok(answer)) if answer.is_challenge && !interactive => {
                denied("a password is needed, and the call does not allow to ask for it")
            }
            Ok(Ok(_)) => denied("polkit does not allow it"),
            Ok(Err(error)) => denied(&format!(
                "only root may, for polkit cannot be asked: {error}"
            )),
            Err(_) => denied("polkit does not answer in time"),
        }
    }
}
