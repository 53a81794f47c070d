//! Makes Rust types of two kernel headers: `scsi/sg.h` (SG_IO) and
//! `linux/dm-ioctl.h` (suspending a multipath map). They come with libc6-dev
//! and linux-libc-dev.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
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
