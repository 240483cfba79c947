//! Which room of `src` may enter which, and that no files go round in a circle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use super::names::{Modules, Reference};
use super::root;

/// A room is a folder of `src`; beside it, the rooms whose items it may name. `lib.rs` and `main.rs` may enter all. A file beside
/// them belongs to no room: each room may use it, and it may enter none.
const ARROWS: [(&str, &[&str]); 10] = [
    ("proto", &[]),
    ("config", &["proto"]),
    ("net", &["proto"]),
    ("engine", &["net", "proto"]),
    ("store", &["proto"]),
    ("client", &["config", "proto"]),
    ("acme", &["config", "net", "store"]),
    ("cluster", &["config", "net", "proto", "store"]),
    ("relay", &["acme", "cluster", "engine", "net", "proto", "store", "config"]),
    ("fuzzing", &["cluster", "net", "proto", "store"]),
];

/// The room of a file; `None` for a file of no room.
fn room(file: &Path) -> Option<&str> {
    (file.components().count() > 1).then(|| file.iter().next().unwrap().to_str().unwrap())
}

/// Whether a file may name items of another.
fn is_allowed(Reference { from, to, .. }: &Reference) -> bool {
    let Some(to) = room(to) else { return true };
    match room(from) {
        None => from.as_os_str() == "lib.rs",
        Some(from) => from == to || ARROWS.iter().any(|(room, others)| *room == from && others.contains(&to)),
    }
}

#[test]
fn rooms_enter_only_those_they_may() {
    let references = Modules::of_src().references();
    assert!(references.len() > 100, "{} references: are they still found?", references.len());
    let drawn: Vec<_> = references
        .iter()
        .filter(|reference| !is_allowed(reference))
        .map(|Reference { from, to, what }| format!("src/{} names {what} of src/{}", from.display(), to.display()))
        .collect();
    assert!(drawn.is_empty(), "the table of rooms does not allow this:\n{}", drawn.join("\n"));
}

/// ARCHITECTURE.md shows the table.
#[test]
fn the_table_of_rooms_is_in_the_document() {
    let document = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let shown: BTreeMap<&str, BTreeSet<&str>> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `src/")?.strip_suffix(" |")?.split_once("` |"))
        .map(|(room, cells)| (room, cells.rsplit(" | ").next().unwrap_or_default().split(", ").collect()))
        .collect();
    let checked: BTreeMap<&str, BTreeSet<&str>> = ARROWS
        .into_iter()
        .map(|(room, others)| match others {
            [] => (room, BTreeSet::from(["nothing"])),
            others => (room, others.iter().copied().collect()),
        })
        .collect();
    assert_eq!(shown, checked);
}

#[test]
fn no_files_go_round_in_a_circle() {
    let circles = circles(&Modules::of_src().references());
    assert!(circles.is_empty(), "circles of files in src:\n{}", circles.join("\n"));
}

/// The shortest circle through each file that is on one, as text.
fn circles(references: &[Reference]) -> Vec<String> {
    let mut onward: BTreeMap<&Path, Vec<&Reference>> = BTreeMap::new();
    for reference in references {
        onward.entry(&reference.from).or_default().push(reference);
    }
    let mut found: BTreeMap<BTreeSet<&Path>, String> = BTreeMap::new();
    for start in onward.keys() {
        let Some(circle) = way_back(start, &onward) else { continue };
        let steps = circle.iter().map(|step| format!(" names {} of src/{}", step.what, step.to.display()));
        let text = format!("src/{}{}", start.display(), steps.collect::<Vec<_>>().join(", which"));
        found.entry(circle.iter().map(|step| step.from.as_path()).collect()).or_insert(text);
    }
    found.into_values().collect()
}

/// The shortest way from a file back to itself.
fn way_back<'r>(start: &Path, onward: &BTreeMap<&Path, Vec<&'r Reference>>) -> Option<Vec<&'r Reference>> {
    let mut ways = VecDeque::from([(start, Vec::new())]);
    let mut seen = BTreeSet::new();
    while let Some((file, way)) = ways.pop_front() {
        for &step in onward.get(file).into_iter().flatten() {
            let way = [&way[..], &[step]].concat();
            if step.to == start {
                return Some(way);
            }
            if seen.insert(&step.to) {
                ways.push_back((&step.to, way));
            }
        }
    }
    None
}

#[test]
fn arrows_and_circles_would_be_noticed() {
    let reference = |from: &str, to: &str| Reference { from: from.into(), to: to.into(), what: "X".to_owned() };
    for (from, to, allowed) in [
        ("relay/mod.rs", "net/body.rs", true),
        ("net/body.rs", "net/mod.rs", true),
        ("net/body.rs", "tables.rs", true),
        ("lib.rs", "relay/mod.rs", true),
        ("net/body.rs", "relay/mod.rs", false),
        ("proto/time.rs", "net/clock.rs", false),
        ("tables.rs", "net/body.rs", false),
        ("unknown/mod.rs", "net/body.rs", false),
    ] {
        assert_eq!(is_allowed(&reference(from, to)), allowed, "{from} to {to}");
    }
    let pairs = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("e", "a")].map(|(from, to)| reference(from, to));
    assert_eq!(circles(&pairs), ["src/a names X of src/b, which names X of src/c, which names X of src/a"]);
    assert_eq!(circles(&pairs[..2]), Vec::<String>::new());
}
