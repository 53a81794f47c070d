//! Shows and changes persistent reservations.

use std::process::ExitCode;

fn main() -> ExitCode {
    reservd::cli::main()
}
