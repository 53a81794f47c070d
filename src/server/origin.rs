//! What a client is to systemd: its unit and its virtual machine, by its control
//! group.

use std::fs;

/// What the service manager calls a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The service or scope that it belongs to; empty where there is none.
    pub unit: String,
    /// The machine that systemd-machined knows it as, without libvirt's `qemu-1-`
    /// in front: the domain's name, as far as machined has it.
    pub machine: String,
}

impl Origin {
    /// Of the process with this number, as it is now. Where it is gone already,
    /// nothing.
    pub fn of(pid: u32) -> Self {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"));
        groups.map_or_else(|_| Origin::default(), |groups| Origin::parse(&groups))
    }

    /// From the text of `/proc/PID/cgroup`: of the unified hierarchy, or else of
    /// systemd's own (cgroups(7)).
    fn parse(groups: &str) -> Self {
        let path = |hierarchy: &str| {
            let lines = groups
                .lines()
                .filter_map(|line| line.split_once(':')?.1.split_once(':'));
            let mut paths = lines
                .filter(|(name, _)| *name == hierarchy)
                .map(|(_, path)| path);
            paths.find(|path| *path != "/")
        };
        let path = path("")
            .or_else(|| path("name=systemd"))
            .unwrap_or_default();
        let parts = || path.split('/');
        let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
        let machine =
            parts().find_map(|part| part.strip_prefix("machine-")?.strip_suffix(".scope"));
        Origin {
            // What is below a machine's scope is libvirt's own.
            unit: match machine {
                Some(_) => parts().find(is_unit),
                None => parts().rfind(is_unit),
            }
            .unwrap_or_default()
            .to_owned(),
            machine: machine.map_or_else(String::new, |name| domain(&unescape(name))),
        }
    }
}

/// Without the driver and number that libvirt puts before a domain's name.
fn domain(machine: &str) -> String {
    let after = |driver: &str| {
        let (number, name) = machine.strip_prefix(driver)?.split_once('-')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some(name)
    };
    let name = ["qemu-", "lxc-"].into_iter().find_map(after);
    name.unwrap_or(machine).to_owned()
}

/// Undoes what systemd-escape(1) does: `\x2d` stands for `-`, and `-` for `/`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let escaped = rest.strip_prefix("\\x").and_then(|hex| hex.get(..2));
        let byte = escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let length = match byte {
            Some(byte) => {
                bytes.push(byte);
                4
            }
            None => {
                let plain = if first == '-' { '/' } else { first };
                bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(groups: &str) -> (String, String) {
        let Origin { unit, machine } = Origin::parse(groups);
        (unit, machine)
    }

    #[test]
    fn units_and_machines_are_told_by_the_group() {
        for (groups, unit, machine) in [
            (
                "0::/machine.slice/machine-qemu\\x2d3\\x2dsql\\x2d1.scope/libvirt/emulator\n",
                "machine-qemu\\x2d3\\x2dsql\\x2d1.scope",
                "sql-1",
            ),
            (
                "0::/machine.slice/machine-web.scope/payload/system.slice/a.service\n",
                "machine-web.scope",
                "web",
            ),
            ("0::/system.slice/pve.service\n", "pve.service", ""),
            (
                "0::/user.slice/user-0.slice/user@0.service/app.slice/run-7.scope\n",
                "run-7.scope",
                "",
            ),
            (
                "12:memory:/x\n1:name=systemd:/system.slice/b.service\n0::/\n",
                "b.service",
                "",
            ),
            ("0::/\n", "", ""),
            ("", "", ""),
            ("nonsense\n::\n", "", ""),
        ] {
            assert_eq!(origin(groups), (unit.into(), machine.into()), "{groups}");
        }
    }

    #[test]
    fn only_a_number_is_taken_off_a_name() {
        for (machine, name) in [
            ("qemu-12-a-b", "a-b"),
            ("qemu-x-a", "qemu-x-a"),
            ("qemu-1", "qemu-1"),
            ("lxc-1-c", "c"),
        ] {
            assert_eq!(domain(machine), name);
        }
        assert_eq!(unescape("a\\x2"), "a\\x2");
        assert_eq!(unescape("\\xc3\\xa4-b"), "ä/b");
    }

    #[test]
    fn our_own_process_has_one() {
        // Wherever the tests run, it can be asked for.
        Origin::of(std::process::id());
        assert_eq!(Origin::of(u32::MAX), Origin::default());
    }

    proptest! {
        #[test]
        fn no_group_is_too_odd(groups in "[0-9:/a-z.\\\\x-]{0,60}(machine-|\\.scope|\\\\x|ä|\n){0,4}") {
            Origin::parse(&groups);
        }
    }
}
