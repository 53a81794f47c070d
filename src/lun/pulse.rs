//! Whether an actor still turns: it is asked now and then, and answers between
//! two pieces of work.

use super::unit::lock;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A question to an actor, and since when it has been open.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    asked: Notify,
    since: Mutex<Option<Instant>>,
}

impl Pulse {
    /// Asks, unless a question is open; returns for how long one has been.
    pub(super) fn ask(&self, now: Instant) -> Duration {
        let since = *lock(&self.since).get_or_insert(now);
        self.asked.notify_one();
        now.saturating_duration_since(since)
    }

    /// Waits for a question.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Answers it.
    pub(super) fn answer(&self) {
        *lock(&self.since) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_question_grows_old_and_an_answer_ends_it() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pulse.ask(start), Duration::ZERO);
        assert_eq!(pulse.ask(later(5)), Duration::from_secs(5));
        pulse.answer();
        assert_eq!(pulse.ask(later(9)), Duration::ZERO);
        assert_eq!(pulse.ask(later(10)), Duration::from_secs(1));
    }
}
