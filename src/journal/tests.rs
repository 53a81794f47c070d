use super::*;
use std::os::unix::fs::PermissionsExt;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    key: u64,
    owed: Vec<String>,
}

fn intent(key: u64) -> Intent {
    let owed = vec!["2:0:1:0".to_owned()];
    Intent { key, owed }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("lib/reservd");
    (parent, folder)
}

fn journal() -> (tempfile::TempDir, Journal) {
    let (parent, folder) = folder();
    (parent, Journal::open_as(&folder, "this-boot").unwrap())
}

fn load(journal: &mut Journal) -> (Vec<Loaded<Intent>>, Vec<Damaged>) {
    journal.load_all().unwrap()
}

fn loaded(wwid: &str, key: u64, boot: Boot) -> Loaded<Intent> {
    Loaded {
        wwid: wwid.to_owned(),
        record: intent(key),
        boot,
    }
}

fn listing(journal: &Journal) -> Vec<String> {
    let entries = fs::read_dir(&journal.folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_saved_last_is_loaded_and_what_was_removed_is_not() {
    let (_parent, mut journal) = journal();
    assert_eq!(load(&mut journal), (vec![], vec![]));
    let long = "wwid/".repeat(100);
    for wwid in ["b", "../a", &long, ""] {
        journal.save(wwid, &intent(1)).unwrap();
    }
    journal.save("b", &intent(u64::MAX)).unwrap();
    journal.save("gone", &intent(3)).unwrap();
    journal.remove("gone").unwrap();
    journal.remove("never there").unwrap();
    let (records, damaged) = load(&mut journal);
    assert_eq!(damaged, []);
    let expected = [("", 1), ("../a", 1), ("b", u64::MAX), (&long, 1)];
    assert_eq!(
        records,
        expected.map(|(wwid, key)| loaded(wwid, key, Boot::Same))
    );
    assert_eq!(listing(&journal).len(), 4, "and no other file");
}

#[test]
fn only_its_owner_may_look() {
    let (_parent, mut journal) = journal();
    journal.save("a", &intent(1)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&journal.folder), 0o700);
    assert_eq!(mode(&journal.folder.join("a.json")), 0o600);
}

#[test]
fn a_record_of_another_boot_is_told_apart() {
    let (_parent, mut before) = journal();
    before.save("a", &intent(1)).unwrap();
    before.save("b", &intent(2)).unwrap();
    let mut after = Journal::open(&before.folder).unwrap();
    after.save("b", &intent(3)).unwrap();
    let expected = vec![loaded("a", 1, Boot::Other), loaded("b", 3, Boot::Same)];
    assert_eq!(load(&mut after), (expected, vec![]));
    let same = load(&mut Journal::open(&before.folder).unwrap());
    assert_eq!(
        same.0[1].boot,
        Boot::Same,
        "the kernel's id does not change"
    );
}

#[test]
fn what_a_crash_left_is_removed() {
    let (_parent, mut journal) = journal();
    journal.save("a", &intent(1)).unwrap();
    fs::write(journal.folder.join("a.tmp"), "{\"versi").unwrap();
    fs::write(journal.folder.join("b.tmp"), "").unwrap();
    fs::write(journal.folder.join("README"), "not ours").unwrap();
    let mut journal = Journal::open_as(&journal.folder, "this-boot").unwrap();
    assert_eq!(listing(&journal), ["README", "a.json"]);
    let expected = vec![loaded("a", 1, Boot::Same)];
    assert_eq!(load(&mut journal), (expected, vec![]));
}

#[test]
fn files_that_are_not_understood_are_set_aside_and_the_rest_is_loaded() {
    let (_parent, mut journal) = journal();
    journal.save("good", &intent(1)).unwrap();
    let path = |name: &str| journal.folder.join(name);
    let good = fs::read_to_string(path("good.json")).unwrap();
    let zeros = "\0".repeat(4096);
    let long = " ".repeat(LONGEST as usize + 1);
    for (name, text, reason) in [
        ("empty", "", "EOF"),
        ("short", &good[..good.len() / 2], "EOF"),
        ("zeros", &zeros, "expected value"),
        ("list", "[1]", "no version"),
        ("old", "{}", "no version"),
        (
            "new",
            &good.replace("\"version\":1", "\"version\":2"),
            "version 2 is not known",
        ),
        ("bare", "{\"version\":1}", "missing field"),
        (
            "other",
            &good.replace("\"key\":1", "\"key\":-1"),
            "invalid value",
        ),
        ("copied", &good, "about another unit, \"good\""),
        ("a%2fb", "", "EOF"),
        ("long", &long, "longer than"),
    ] {
        let (file, aside) = (
            path(&format!("{name}.json")),
            path(&format!("{name}.damaged")),
        );
        fs::write(&file, text).unwrap();
        let (records, damaged) = load(&mut Journal::open_as(&journal.folder, "").unwrap());
        assert_eq!(records, [loaded("good", 1, Boot::Other)], "{name}");
        // Those before this one are out of the way.
        let [found] = &damaged[..] else {
            panic!("{name}: {damaged:?}");
        };
        assert!(found.reason.contains(reason), "{name}: {}", found.reason);
        assert_eq!(found.file, aside);
        assert_eq!(found.wwid, name::wwid(name), "{name}");
        assert_eq!(fs::read_to_string(&aside).unwrap(), text, "{name}");
    }
    // And the unit can be saved again.
    journal.save("empty", &intent(4)).unwrap();
    let (records, _) = load(&mut journal);
    assert_eq!(records[0], loaded("empty", 4, Boot::Same));
}

#[test]
fn a_write_that_fails_leaves_what_was() {
    let (_parent, mut journal) = journal();
    journal.save("a", &intent(1)).unwrap();
    // Where the new file would be written first.
    fs::create_dir(journal.folder.join("a.tmp")).unwrap();
    let error = journal.save("a", &intent(2)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    let long = "x".repeat(LONGEST as usize);
    let error = journal.save("b", &long).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let expected = vec![loaded("a", 1, Boot::Same)];
    assert_eq!(load(&mut journal), (expected, vec![]));
    fs::remove_dir_all(&journal.folder).unwrap();
    let error = journal.save("a", &intent(3)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(journal.load_all::<Intent>().is_err());
}
