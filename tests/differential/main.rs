//! Two helpers, one table: Debian's qemu-pr-helper and ours get the same bytes, over the same kind of disk.
//!
//! What must come back is written in the table. Ours must agree with it always. The old helper may differ where a
//! vector names an entry of docs/known-bugs.md, and there it must differ, so that the page stays true.
//! The disks are ordinary files that `tests/shim/shim.c`, preloaded into both helpers, passes off as devices.

mod lab;
mod limits;
mod process;
mod script;
#[path = "../shim/mod.rs"]
mod shim;
mod vectors;
mod wire;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use lab::{Lab, Side};
use script::Difference;

#[test]
fn same_bytes_same_answers() {
    let vectors = vectors::all();
    let table: Vec<_> = vectors
        .iter()
        .map(|vector| (vector.name.clone(), vector.differs))
        .collect();
    compare(&table, |lab| {
        let mut helper = lab.start();
        vectors
            .iter()
            .map(|vector| {
                let result = vector.run(lab, &helper);
                // A connection that ends too soon may mean that the helper is on its way out.
                let hung_up = result.as_ref().is_err_and(|d| d.found == "closed");
                let patience = Duration::from_millis(if hung_up { 200 } else { 0 });
                match helper.ended_within(patience) {
                    None => result,
                    Some(status) => {
                        lab.set_fault("");
                        helper = lab.start();
                        let before = result.err().map(|d| d.found).unwrap_or_default();
                        Err(Difference {
                            expected: "a helper that lives".into(),
                            found: format!("{before}, {status}"),
                        })
                    }
                }
            })
            .collect()
    });
}

#[test]
fn same_signals_same_manners() {
    let table: Vec<_> = process::CHECKS
        .iter()
        .map(|check| (check.name.to_owned(), check.differs))
        .collect();
    compare(&table, |lab| {
        process::CHECKS
            .iter()
            .map(|check| {
                lab.set_fault("");
                lab.forget_commands();
                let started = Instant::now();
                let result = (check.run)(lab).map_err(|found| Difference {
                    expected: check.golden.into(),
                    found,
                });
                if started.elapsed() > Duration::from_secs(5) {
                    eprintln!(
                        "{}: {} took {:.1} s",
                        lab.side().name(),
                        check.name,
                        started.elapsed().as_secs_f32()
                    );
                }
                result
            })
            .collect()
    });
}

/// Where the differences are explained: `| W01 | what | instead | shown by |` lines.
const PAGE: &str = include_str!("../../docs/known-bugs.md");

#[test]
fn the_page_and_the_tables_agree() {
    let vectors = vectors::all();
    let table: Vec<(&str, Option<&str>)> = (vectors.iter().map(|v| (v.name.as_str(), v.differs)))
        .chain(process::CHECKS.iter().map(|c| (c.name, c.differs)))
        .collect();
    let rows: BTreeMap<&str, &str> = (PAGE.lines().filter(|line| line.starts_with("| ")))
        .filter_map(|line| Some((line[2..].split(' ').next()?, line.rsplit(" | ").next()?)))
        .collect();
    for (name, differs) in &table {
        let Some(entry) = differs else { continue };
        let shown_by = rows
            .get(entry)
            .unwrap_or_else(|| panic!("{entry} is not on the page"));
        let listed = shown_by
            .split('`')
            .skip(1)
            .step_by(2)
            .any(|prefix| name.starts_with(prefix));
        assert!(listed, "the page does not list {name:?} under {entry}");
    }
    for (entry, shown_by) in &rows {
        for prefix in shown_by.split('`').skip(1).step_by(2) {
            let exists = table.iter().any(|(name, _)| name.starts_with(prefix));
            assert!(
                exists,
                "{entry} on the page lists {prefix:?}, which no vector's name begins with"
            );
        }
    }
}

/// Runs the table on each side, each with a lab of its own, prints where they differ, and fails on what must not be.
fn compare(
    table: &[(String, Option<&'static str>)],
    run: impl Fn(&Lab) -> Vec<Result<(), Difference>> + Sync,
) {
    let run = &run;
    let sides: Vec<(Side, Vec<Result<(), Difference>>)> = thread::scope(|scope| {
        let threads: Vec<_> = Side::chosen()
            .into_iter()
            .map(|side| scope.spawn(move || (side, run(&Lab::new(side)))))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the table ran to its end"))
            .collect()
    });

    let mut wrong = vec![];
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    println!("\n| entry | vector | expected | helper | what it did |\n|---|---|---|---|---|");
    for (side, results) in &sides {
        for ((name, differs), result) in table.iter().zip(results) {
            if let Err(Difference { expected, found }) = result {
                println!(
                    "| {} | {name} | {expected} | {} | {found} |",
                    differs.unwrap_or("-"),
                    side.name()
                );
            }
            match (side, differs, result) {
                (Side::Ours, _, Err(d)) => wrong.push(format!(
                    "reservd: {name}: expected {}, got {}",
                    d.expected, d.found
                )),
                (Side::Old, None, Err(d)) => wrong.push(format!(
                    "qemu-pr-helper: {name}: differs ({}, not {}), and no entry says so",
                    d.found, d.expected
                )),
                (Side::Old, Some(entry), Ok(())) => {
                    wrong.push(format!(
                        "qemu-pr-helper: {name}: {entry} does not show any more"
                    ));
                }
                (Side::Old, Some(entry), Err(_)) => *counts.entry(entry).or_default() += 1,
                (_, _, Ok(())) => {}
            }
        }
    }
    println!(
        "\n{} vectors; differences of qemu-pr-helper by entry: {counts:?}",
        table.len()
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
