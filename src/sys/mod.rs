//! The edge to the kernel: the only place with `unsafe`, one safe function for
//! each thing asked of it.

#![allow(unsafe_code)]

pub mod activation;
pub mod dm;
pub mod fdpass;
pub mod file;
pub mod mpath;
pub mod process;
pub mod readiness;
pub mod sg;

/// Kernel structures, made by bindgen from the system's headers.
#[allow(missing_docs, non_camel_case_types, non_upper_case_globals, dead_code)]
#[allow(clippy::all, unreachable_pub, clippy::undocumented_unsafe_blocks)]
mod kernel {
    include!(concat!(env!("OUT_DIR"), "/kernel.rs"));
}
