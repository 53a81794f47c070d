//! The EXAMPLES of the manual pages. A test runs every line (`tests/dbus/examples.rs`).

/// A line for a shell, and what it is good for.
pub type Example = (&'static str, &'static str);

/// Of the page with this name.
pub fn of(page: &str) -> &'static [Example] {
    let found = EXAMPLES.iter().find(|(name, _)| *name == page);
    found.map_or(&[], |(_, examples)| examples)
}

/// Pages and their examples. `mpatha` is a map whose guest has registered 0xa1,
/// `mpathb` one that another host with 0xb1 has fenced.
pub const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "reservctl",
        &[
            (
                "reservctl status",
                "The units in use, and what is wrong with them.",
            ),
            ("reservctl explain mpathb", "Why a unit is in its state."),
            (
                "reservctl --json status | jq -r '.units[] | select(.state == \"fenced\").name'",
                "The names of the units that were fenced.",
            ),
        ],
    ),
    (
        "reservctl-status",
        &[("reservctl status", "All units in use.")],
    ),
    (
        "reservctl-show",
        &[
            ("reservctl show mpatha", "By the name of its map."),
            (
                "reservctl show --refresh /dev/mapper/mpatha",
                "By its node, and as the unit has it now.",
            ),
        ],
    ),
    (
        "reservctl-explain",
        &[(
            "reservctl explain mpathb",
            "Why mpathb is fenced, and what can be done.",
        )],
    ),
    (
        "reservctl-paths",
        &[
            ("reservctl paths", "Every path of every unit in use."),
            ("reservctl paths mpatha", "Those of one."),
        ],
    ),
    (
        "reservctl-keys",
        &[(
            "reservctl keys mpatha",
            "The keys that were there when reservd last looked.",
        )],
    ),
    (
        "reservctl-history",
        &[(
            "reservctl history --limit 5 mpatha",
            "The last five events.",
        )],
    ),
    (
        "reservctl-clients",
        &[("reservctl clients", "Who is connected.")],
    ),
    (
        "reservctl-watch",
        &[(
            "timeout 2 reservctl watch --follow",
            "The events of two seconds, each in a line.",
        )],
    ),
    (
        "reservctl-check",
        &[
            ("reservctl check", "All units in use."),
            (
                "reservctl check --registered mpatha",
                "One that has to be registered.",
            ),
        ],
    ),
    (
        "reservctl-register",
        &[
            (
                "reservctl register mpathc 0xc1 --dry-run",
                "What would be sent, and to which path.",
            ),
            (
                "reservctl register mpathc 0xc1 --reason 'moved by hand'",
                "The reason is in reservd's log.",
            ),
        ],
    ),
    (
        "reservctl-reserve",
        &[(
            "reservctl reserve mpathc --type WERO",
            "Write exclusive, registrants only.",
        )],
    ),
    (
        "reservctl-release",
        &[("reservctl release mpathc --yes", "Without being asked.")],
    ),
    (
        "reservctl-unregister",
        &[("reservctl unregister mpathc --yes", "Without being asked.")],
    ),
    (
        "reservctl-preempt",
        &[(
            "reservctl preempt mpatha --victim 0xb1 --type WERO --dry-run",
            "What would be sent, and what its owner would lose.",
        )],
    ),
    (
        "reservctl-clear",
        &[(
            "reservctl clear mpatha --dry-run",
            "What everybody would lose.",
        )],
    ),
    (
        "reservctl-adopt",
        &[(
            "reservctl adopt mpatha 0xa1 --dry-run",
            "How reservd would find out which paths have it.",
        )],
    ),
    (
        "reservctl-repair",
        &[(
            "reservctl repair mpatha",
            "Looks at once, and registers what lacks the key.",
        )],
    ),
    (
        "reservctl-rearm",
        &[(
            "reservctl rearm mpathb --yes --reason 'checked: the other host is off'",
            "Registers the old key again.",
        )],
    ),
    (
        "reservctl-forget",
        &[(
            "reservctl forget mpathb --dry-run",
            "What would be forgotten.",
        )],
    ),
    (
        "reservctl-pr",
        &[
            (
                "reservctl pr full-status /dev/mapper/mpatha",
                "Every registration.",
            ),
            (
                "reservctl --json pr reservation /dev/mapper/mpatha",
                "The reservation, for programs.",
            ),
        ],
    ),
    (
        "reservctl-doctor",
        &[(
            "reservctl doctor",
            "What this host has, and what follows from it.",
        )],
    ),
    (
        "reservctl-import",
        &[(
            "reservctl import --output /etc/reservd/conf.d/import.toml",
            "Takes over what multipath.conf says of reservations.",
        )],
    ),
    (
        "reservd",
        &[(
            "reservd --check",
            "Names the files of settings that are sound.",
        )],
    ),
    (
        "reservd-pr-helper",
        &[(
            "timeout 1 reservd-pr-helper -k /run/pr-helper0.sock",
            "One helper, for one second.",
        )],
    ),
];
