//! libmpathpersist of multipath-tools, loaded at run time: bindgen made the
//! types and the table of functions from the system's `mpath_persist.h`.
//!
//! The library may end the process, hang, write to standard error and leave
//! descriptors open. So it is used in a process of its own only, by one thread.

use std::ffi::OsStr;
#[cfg(feature = "mpathpersist")]
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

/// Its soname, the same on every distribution.
pub const SONAME: &str = "libmpathpersist.so.0";

/// The arguments of one PERSISTENT RESERVE OUT, all that the library can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arguments {
    /// Service action.
    pub action: u8,
    /// Scope, from the upper half of the byte in the CDB.
    pub scope: u8,
    /// Type, from the lower half.
    pub kind: u8,
    /// Reservation key, big-endian.
    pub key: [u8; 8],
    /// Service action reservation key, big-endian.
    pub service_action_key: [u8; 8],
    /// APTPL.
    pub aptpl: bool,
    /// ALL_TG_PT.
    pub all_tg_pt: bool,
}

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// reservd was built with `--no-default-features`.
    #[error("reservd was built without libmpathpersist")]
    NotBuiltIn,
    /// It is not there, or lacks what we need (multipath-tools before 0.8.6).
    #[error("{0}")]
    Loader(String),
    /// Its own initialisation failed.
    #[error("libmpathpersist_init failed with {0}")]
    Init(i32),
}

/// The library, loaded.
#[derive(Debug)]
pub struct Library {
    #[cfg(feature = "mpathpersist")]
    symbols: Symbols,
}

#[cfg(feature = "mpathpersist")]
struct Symbols {
    functions: bindings::MpathPersist,
    version: Option<GetVersion>,
    logsink: Option<*mut std::ffi::c_int>,
    has_update_map_pr: bool,
}

/// `libmp_get_version` of libmultipath, which has no public header.
#[cfg(feature = "mpathpersist")]
type GetVersion = unsafe extern "C" fn(std::ffi::c_int, *mut std::ffi::c_uint) -> std::ffi::c_int;

#[cfg(feature = "mpathpersist")]
impl std::fmt::Debug for Symbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Symbols").finish_non_exhaustive()
    }
}

#[cfg(not(feature = "mpathpersist"))]
impl Library {
    /// There is none in this build.
    ///
    /// # Errors
    /// Always.
    pub fn load(_path: &OsStr) -> Result<Self, LoadError> {
        Err(LoadError::NotBuiltIn)
    }

    /// Never called: nothing can be loaded.
    pub fn version(&self) -> Option<[u32; 3]> {
        None
    }

    /// Never called: nothing can be loaded.
    pub fn has_update_map_pr(&self) -> bool {
        true
    }

    /// Never called: nothing can be loaded.
    ///
    /// # Errors
    /// Always.
    pub fn init(&mut self) -> Result<(), LoadError> {
        Err(LoadError::NotBuiltIn)
    }

    /// Never called: nothing can be loaded.
    pub fn reserve_out(&mut self, _map: BorrowedFd<'_>, _arguments: &Arguments) -> i32 {
        -1
    }
}

#[cfg(feature = "mpathpersist")]
impl Library {
    /// Loads the library: [`SONAME`], or a path.
    ///
    /// # Errors
    /// [`LoadError::Loader`] with the loader's words.
    pub fn load(path: &OsStr) -> Result<Self, LoadError> {
        let failed = |error: libloading::Error| {
            use std::error::Error;
            // The loader's own words, which name the file, are one level down.
            let words = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            LoadError::Loader(words)
        };
        // SAFETY: loading runs the constructors of multipath-tools' libraries,
        // which only set up their own data; the path is the administrator's.
        let library = unsafe { libloading::Library::new(path) }.map_err(failed)?;
        // dlsym(3) on a handle also searches what the library depends on, so the
        // symbols of libmultipath and libmpathutil are found without linking.
        //
        // SAFETY: the type is that of multipath-tools 0.8.6 to 0.15, and the
        // pointer is used only as long as `functions` keeps the library loaded.
        let version = unsafe { library.get::<GetVersion>(c"libmp_get_version") };
        let version = version.ok().map(|symbol| *symbol);
        // SAFETY: `int logsink` in every version; used as above.
        let logsink = unsafe { library.get::<*mut std::ffi::c_int>(c"logsink") };
        let logsink = logsink.ok().map(|symbol| *symbol);
        // SAFETY: only asked whether it is there, never called.
        let has_update_map_pr = unsafe { library.get::<*const u8>(c"update_map_pr") }.is_ok();
        // SAFETY: the types come from the header of this very soname, whose
        // functions and structures have not changed since 0.8.6.
        let functions = unsafe { bindings::MpathPersist::from_library(library) }.map_err(failed)?;
        Ok(Library {
            symbols: Symbols {
                functions,
                version,
                logsink,
                has_update_map_pr,
            },
        })
    }

    /// The version of multipath-tools, where the library can say it.
    pub fn version(&self) -> Option<[u32; 3]> {
        /// MULTIPATH_VERSION of libmultipath's `devmapper.h`.
        const MULTIPATH_VERSION: std::ffi::c_int = 3;
        let mut version = [0; 3];
        let get = self.symbols.version?;
        // SAFETY: the function writes three unsigned integers to its second
        // argument, and `version` is that; the library is loaded.
        let result = unsafe { get(MULTIPATH_VERSION, version.as_mut_ptr()) };
        (result == 0).then_some(version)
    }

    /// True for code older than 0.13, whatever the version says: the function
    /// went away when the handling of reservations was rewritten.
    pub fn has_update_map_pr(&self) -> bool {
        self.symbols.has_update_map_pr
    }

    /// Reads multipath.conf, once and for good.
    ///
    /// # Errors
    /// [`LoadError::Init`].
    pub fn init(&mut self) -> Result<(), LoadError> {
        /// Standard error without time stamps.
        const STDERR_PLAIN: std::ffi::c_int = -1;
        if let Some(logsink) = self.symbols.logsink {
            // SAFETY: the library's own `int`, still loaded; no other thread of
            // the library runs yet.
            unsafe { logsink.write(STDERR_PLAIN) };
        }
        // SAFETY: no preconditions; `&mut self` makes it one call at a time.
        match unsafe { self.symbols.functions.libmpathpersist_init() } {
            0 => Ok(()),
            code => Err(LoadError::Init(code)),
        }
    }

    /// Runs one PERSISTENT RESERVE OUT on the multipath map behind `map`, and
    /// returns the library's code. To be called after [`Library::init`].
    pub fn reserve_out(&mut self, map: BorrowedFd<'_>, arguments: &Arguments) -> i32 {
        /// Errors, and why a key was refused; 2 tells of each path each time.
        const VERBOSITY: std::ffi::c_int = 1;
        let mut parameters = Box::new(bindings::prout_param_descriptor {
            key: arguments.key,
            sa_key: arguments.service_action_key,
            ..Default::default()
        });
        for (set, mask) in [
            (arguments.aptpl, bindings::MPATH_F_APTPL_MASK),
            (arguments.all_tg_pt, bindings::MPATH_F_ALL_TG_PT_MASK),
        ] {
            if set {
                parameters.sa_flags |= mask as u8;
            }
        }
        // SAFETY: the descriptor is open for the call. The parameters are whole
        // and writable, with num_transportid 0, so that the flexible array
        // behind them is not looked at. `&mut self` keeps it to one call at a
        // time, as the library demands.
        unsafe {
            self.symbols.functions.mpath_persistent_reserve_out(
                map.as_raw_fd(),
                arguments.action.into(),
                arguments.scope.into(),
                arguments.kind.into(),
                &mut *parameters,
                0,
                VERBOSITY,
            )
        }
    }
}

/// Made by bindgen from `mpath_persist.h`.
#[cfg(feature = "mpathpersist")]
#[allow(missing_docs, missing_debug_implementations, dead_code)]
#[allow(non_camel_case_types, non_upper_case_globals, non_snake_case)]
#[allow(clippy::all, unreachable_pub, clippy::undocumented_unsafe_blocks)]
#[allow(unsafe_op_in_unsafe_fn)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/mpathpersist.rs"));
}

#[cfg(all(test, feature = "mpathpersist"))]
mod tests {
    use super::bindings::{prin_resp, prout_param_descriptor};

    #[test]
    fn the_layout_is_the_one_of_every_version() {
        assert_eq!(size_of::<prout_param_descriptor>(), 8224);
        assert_eq!(std::mem::offset_of!(prout_param_descriptor, sa_flags), 20);
        assert_eq!(
            std::mem::offset_of!(prout_param_descriptor, num_transportid),
            8216
        );
        assert_eq!(size_of::<prin_resp>(), 8200);
    }
}
