//! What a client is told of a command whose answer did not come.

use crate::scsi::cdb::Direction;
use crate::scsi::{Outcome, SenseCode};

/// A request is sent this many times at most: one that ends the daemon each time
/// must not do so for ever.
const SENDS: u32 = 5;

/// How far a request has come on its way to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The daemon did not get all of it.
    Waiting,
    /// The daemon has all of it, or had when it ended; the command was not run
    /// before it says so.
    Sent,
    /// The daemon said that it runs the command.
    Begun,
}

/// After the connection to the daemon was lost, this attempt at that point and the
/// request sent as a whole `sent` times so far. `None`: send it again, to the same
/// daemon or the next. That is safe for what was not run, and for a PERSISTENT
/// RESERVE IN in any case.
pub fn after_loss(direction: Direction, progress: Progress, sent: u32) -> Option<Outcome> {
    match (direction, progress) {
        (Direction::Out, Progress::Begun) => {
            Some(Outcome::check(SenseCode::TIMEOUT_DURING_PROCESSING))
        }
        _ if sent >= SENDS => Some(Outcome::check(SenseCode::IO_PROCESS_TERMINATED)),
        _ => None,
    }
}

/// When the time is up. What was sent may still be run: it cannot be called back.
pub fn after_silence(progress: Progress) -> Outcome {
    Outcome::check(match progress {
        Progress::Waiting => SenseCode::TIMEOUT_BEFORE_PROCESSING,
        Progress::Sent | Progress::Begun => SenseCode::TIMEOUT_DURING_PROCESSING,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_out_that_was_begun_is_not_sent_again() {
        for direction in [Direction::In, Direction::Out] {
            for progress in [Progress::Waiting, Progress::Sent, Progress::Begun] {
                let answer = after_loss(direction, progress, 1);
                let begun = (direction, progress) == (Direction::Out, Progress::Begun);
                let unknown = Outcome::check(SenseCode::TIMEOUT_DURING_PROCESSING);
                assert_eq!(answer, begun.then_some(unknown));
                assert!(after_loss(direction, progress, SENDS).is_some_and(|o| !o.is_good()));
            }
        }
    }

    #[test]
    fn what_was_sent_is_never_called_unsent() {
        let code = |progress| after_silence(progress).sense_code();
        let during = Some(SenseCode::TIMEOUT_DURING_PROCESSING);
        assert_eq!(code(Progress::Sent), during);
        assert_eq!(code(Progress::Begun), during);
        assert_eq!(
            code(Progress::Waiting),
            Some(SenseCode::TIMEOUT_BEFORE_PROCESSING)
        );
    }
}
