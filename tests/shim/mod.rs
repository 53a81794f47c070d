//! The preload library that lets files pass for disks; see shim.c.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The library, built once per run of the test.
pub fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shim.so");
        let fresh = library.with_extension(std::process::id().to_string());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shim/shim.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-o"])
            .arg(&fresh)
            .arg(source)
            .status();
        assert!(
            status.expect("cc runs (package gcc)").success(),
            "the shim does not compile"
        );
        fs::rename(&fresh, &library).expect("a rename in target/tmp");
        library
    })
}
