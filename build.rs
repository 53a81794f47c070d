//! Makes Rust types of two kernel headers: `scsi/sg.h` (SG_IO) and
//! `linux/dm-ioctl.h` (suspending a multipath map). They come with libc6-dev
//! and linux-libc-dev. With the feature `mpathpersist` also of the header of
//! libmpathpersist, as a library that is loaded at run time.

use std::path::{Path, PathBuf};

const NO_MPATH_HEADER: &str = "\
the header of libmpathpersist, mpath_persist.h, cannot be used.
Install it (Debian, Ubuntu: package multipath-tools; Fedora, RHEL: device-mapper-multipath-devel),
or build without that library: cargo build --no-default-features";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    kernel(&out);
    if std::env::var_os("CARGO_FEATURE_MPATHPERSIST").is_some() {
        mpathpersist(&out);
    }
}

fn kernel(out: &Path) {
    bindgen::Builder::default()
        .header_contents(
            "kernel.h",
            "#include <scsi/sg.h>\n#include <linux/dm-ioctl.h>\n",
        )
        .allowlist_type("sg_io_hdr|dm_ioctl")
        .allowlist_var("SG_IO|SG_DXFER_.*|SG_INTERFACE_ID_ORIG|DM_.*_FLAG|DM_VERSION_.*|DM_IOCTL")
        .derive_default(true)
        .layout_tests(true)
        .generate()
        .expect("scsi/sg.h and linux/dm-ioctl.h (packages libc6-dev, linux-libc-dev, libclang-dev)")
        .write_to_file(out.join("kernel.rs"))
        .expect("OUT_DIR is writable");
}

fn mpathpersist(out: &Path) {
    let bindings = bindgen::Builder::default()
        .header_contents("mpathpersist.h", "#include <mpath_persist.h>\n")
        .allowlist_function("libmpathpersist_(init|exit)|mpath_persistent_reserve_(in|out)")
        .allowlist_type("prin_.*|prout_param_descriptor|transportid")
        .allowlist_var("MPATH_.*")
        .blocklist_item("mpath_mx_alloc_len")
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .derive_default(true)
        .layout_tests(true)
        .dynamic_library_name("MpathPersist")
        .dynamic_link_require_all(true)
        .generate();
    let bindings = match bindings {
        Ok(bindings) => bindings,
        Err(error) => {
            for line in NO_MPATH_HEADER.lines() {
                println!("cargo:warning={line}");
            }
            eprintln!("\n{error}\n\n{NO_MPATH_HEADER}\n");
            std::process::exit(1);
        }
    };
    bindings
        .write_to_file(out.join("mpathpersist.rs"))
        .expect("OUT_DIR is writable");
}
