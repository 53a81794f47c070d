//! libmpathpersist in its worker, with a library that does what it should not.

#![cfg(feature = "mpathpersist")]

mod doctor;
mod faults;
#[path = "../rig/mod.rs"]
mod rig;
mod service;

use reservd::engine::mpathpersist::{Engines, LIBRARY_VARIABLE, Launch, Worker};
use reservd::engine::policy::Version;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

/// The fake library, compiled once for this process.
fn fake() -> &'static Path {
    static FAKE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = FAKE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let library = folder.path().join("libmpathpersist.so.0");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/worker/fake.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-w", "-o"])
            .args([&library, &source])
            .status()
            .expect("cc");
        assert!(status.success(), "cc failed");
        (folder, library)
    });
    path
}

/// Workers of the fake library that do what these words say.
fn launch(words: &str) -> Launch {
    let variable = |name: &str, value: OsString| (name.into(), value);
    Launch {
        program: env!("CARGO_BIN_EXE_reservd").into(),
        environment: vec![
            variable(LIBRARY_VARIABLE, fake().into()),
            variable("RESERVD_FAKE", words.into()),
            variable("RESERVD_FAKE_VERSION", "0.15.1".into()),
        ],
        configuration: Vec::new(),
    }
}

fn engines(launch: Launch) -> Arc<Engines> {
    let library = Some(Version(0, 15, 1));
    Arc::new(Engines::new(launch, library))
}

fn worker(words: &str) -> Worker {
    Worker::new(engines(launch(words)))
}
