//! The layers of ARCHITECTURE.md, lowest first: a module imports only from its
//! own layer and those below.

use std::fs;
use std::path::{Path, PathBuf};

/// The deepest name that fits decides: `lun::state` lies below the rest of `lun`.
const LAYERS: &[&[&str]] = &[
    &["sys"],
    &["scsi"],
    &["protocol", "owner", "config", "import"],
    &["lun::state", "lun::plan"],
    &["device", "journal"],
    &["engine", "multipathd", "watch"],
    &["lun", "panics"],
    &[
        "activation",
        "frontend",
        "server",
        "simulation",
        "worker",
        "socket",
        "vacancy",
        "pidfile",
        "privileges",
        "logging",
        "client",
        "cli",
        "dbus",
    ],
    &["daemon"],
    &["main", "bin"],
];
/// Bytes to types and back, without I/O.
const PURE: &[&str] = &[
    "scsi",
    "protocol",
    "owner",
    "config",
    "import",
    "lun::state",
    "lun::plan",
    "watch::event",
    "watch::batch",
];
const IMPURE: &[&str] = &["tokio", "nix", "libc", "std::fs", "std::os", "std::net"];
/// `config::files` reads the files it is about.
const EXEMPT: &[(&str, &str)] = &[
    ("config::files", "std::fs::read"),
    ("config::files", "std::fs::read_dir"),
];

#[test]
fn layers_hold_in_every_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    let mut checked = 0;
    for file in rust_files(&root) {
        let name = file.strip_prefix(&root).expect("below src");
        let module = module_of(name);
        // lib.rs only names its modules; sim/tests is compiled for tests only.
        if module == ["lib"] || module.iter().any(|part| part == "tests") {
            continue;
        }
        let source = fs::read_to_string(&file).expect("a source file");
        checked += 1;
        for fault in faults(&module, &source) {
            broken.push(format!("src/{}: {fault}", name.display()));
        }
    }
    assert!(checked > 30, "only {checked} files were found");
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn broken_layers_are_found() {
    for (module, source, fault) in [
        ("scsi::cdb", "use crate::lun::registry::Registry;", "above"),
        (
            "engine::path",
            "use crate::{scsi, lun::{state, actor}};",
            "lun::actor",
        ),
        ("lun::state", "fn f() { super::actor::go() }", "above"),
        ("lun::state", "use std::{fmt, fs::File};", "std::fs::File"),
        ("protocol::codec", "use tokio::io;", "pure"),
        ("config", "fn f() { std::fs::write(a, b) }", "pure"),
        ("device::sg", "unsafe { f() }", "unsafe"),
        ("device::sg", "#![allow( unsafe_code )]", "unsafe"),
        ("gadget", "", "no layer"),
        ("daemon", "use crate::gadget::Part;", "no layer"),
        (
            "device",
            "#[cfg(test)]\nmod tests { use crate::server; }\nuse crate::server;",
            "above",
        ),
    ] {
        let found = faults(&split(module), source);
        assert_eq!(found.len(), 1, "{module}: {source}: {found:?}");
        assert!(found[0].contains(fault), "{}", found[0]);
    }
    for (module, source) in [
        (
            "engine::path",
            "use crate::lun::state::PathId; // crate::server",
        ),
        (
            "device::sg",
            "#![forbid(unsafe_code)] /* unsafe { */ const A: &str = \"unsafe\";",
        ),
        ("sys::sg", "unsafe fn f() {}"),
        ("config::files", "let text = std::fs::read(path);"),
        (
            "lun::actor",
            "use super::state; use self::inner::X; use std::fs;",
        ),
        (
            "scsi",
            "#[cfg(test)]\nmod tests { use crate::server; fn f() { std::fs::read(\"{\") } }",
        ),
        ("device::sim", "#[cfg(test)]\nmod tests;"),
    ] {
        let found = faults(&split(module), source);
        assert!(found.is_empty(), "{module}: {source}: {found:?}");
    }
}

/// What is wrong with a module of this name.
fn faults(module: &[String], source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let source = without_tests(&code_of(source));
    let own = match layer_of(module) {
        Some(own) => own,
        None => return vec![homeless(module)],
    };
    let pure = PURE.iter().any(|name| module.starts_with(&split(name)));
    for path in paths(&source) {
        let text = path.join("::");
        if let Some(target) = resolve(module, &path) {
            match layer_of(&target) {
                None => found.push(homeless(&target)),
                Some(layer) if layer > own => found.push(format!(
                    "{text} lies above {}: move what is needed down, or hand it in from above",
                    module.join("::")
                )),
                Some(_) => {}
            }
        }
        let impure = IMPURE.iter().any(|name| path.starts_with(&split(name)));
        let exempt = EXEMPT.contains(&(&module.join("::"), &text));
        if pure && impure && !exempt {
            found.push(format!("{text} in a pure module: bytes in, types out"));
        }
    }
    let words: Vec<_> = source
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect();
    let squeezed: String = source.split_whitespace().collect();
    let dangerous = words.contains(&"unsafe") || squeezed.contains("allow(unsafe_code)");
    if dangerous && module[0] != "sys" {
        found.push("unsafe outside sys: give sys a safe function for it".into());
    }
    found
}

fn homeless(module: &[String]) -> String {
    format!(
        "module {} is in no layer: add it to LAYERS in tests/layering.rs, as low as its imports \
         allow, and to ARCHITECTURE.md",
        module.join("::")
    )
}

fn split(name: &str) -> Vec<String> {
    name.split("::").map(str::to_owned).collect()
}

fn layer_of(module: &[String]) -> Option<usize> {
    let names = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, names)| names.iter().map(move |name| (split(name), layer)));
    names
        .filter(|(name, _)| module.starts_with(name))
        .max_by_key(|(name, _)| name.len())
        .map(|(_, layer)| layer)
}

/// Where a path leads, if that is inside the crate.
fn resolve(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut base: Vec<String> = match path[0].as_str() {
        "crate" | "reservd" => Vec::new(),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    let up = path.iter().filter(|part| *part == "super").count();
    base.truncate(base.len().saturating_sub(up));
    let rest = path[1..].iter().filter(|part| *part != "super");
    base.extend(rest.cloned());
    // Types of the crate's root: there are none, only modules.
    (!base.is_empty()).then_some(base)
}

/// Every path of two or more names, groups in braces written out.
fn paths(source: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(start) = rest.find(|c: char| c.is_alphabetic() || c == '_') {
        rest = tree(&rest[start..], &mut Vec::new(), &mut found);
    }
    found.retain(|path| path.len() > 1);
    found
}

/// Reads `a::b`, `a::{b, c::d}` and so on; returns what follows.
fn tree<'s>(text: &'s str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'s str {
    let depth = before.len();
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    before.push(text[..end].to_owned());
    let mut rest = &text[end..];
    match rest.strip_prefix("::").map(str::trim_start) {
        Some(next) if next.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
            rest = tree(next, before, found);
        }
        Some(next) if next.starts_with('{') => {
            rest = next[1..].trim_start();
            while !rest.starts_with('}') && !rest.is_empty() {
                rest = match rest.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                    true => tree(rest, before, found),
                    false => &rest[rest.chars().next().map_or(0, char::len_utf8)..],
                };
            }
        }
        _ => found.push(before.clone()),
    }
    before.truncate(depth);
    rest
}

/// The source without comments and without the contents of literals.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            string_length(rest)
        } else if let Some(length) = character_length(rest) {
            length
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// `'x'` and `'\n'`, but not the lifetime `'x`.
fn character_length(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if inner.starts_with('\\') {
        return inner[2..].find('\'').map(|end| end + 4);
    }
    let length = inner.chars().next()?.len_utf8();
    inner[length..].starts_with('\'').then_some(length + 2)
}

/// The code without its `#[cfg(test)]` items.
fn without_tests(code: &str) -> String {
    let Some((before, after)) = code.split_once("#[cfg(test)]") else {
        return code.to_owned();
    };
    let mut depth = 0;
    let end = after.char_indices().find(|(_, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0 && matches!(c, '}' | ';')
    });
    let rest = end.map_or("", |(at, _)| &after[at + 1..]);
    before.to_owned() + &without_tests(rest)
}

/// `device/sim/mod.rs` is `device::sim`.
fn module_of(file: &Path) -> Vec<String> {
    let mut parts: Vec<_> = file
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|part| part == "mod") {
        parts.pop();
    }
    parts
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
