//! Which file of `src` names an item of which other file.
//!
//! A reference is an item that one file names and another file defines. A path that leads through modules, or through a name
//! that a module passes on with `use`, counts for the file with the definition alone. So neither `mod child;` nor `pub use
//! child::Item;` is a reference, unless the file also names the item in its own code. Comments and tests are left out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{code, product_files, root};

/// The names from the root of the crate to a module: `proto`, `json`.
type Path = Vec<String>;

/// A module that has a file of its own.
struct Module {
    file: PathBuf,
    /// Its code without comments, tests and `use`.
    body: String,
    uses: Vec<Use>,
}

/// One name that a `use` brings into a module.
struct Use {
    path: Path,
    name: String,
    is_passed_on: bool,
}

/// All modules of `src`.
pub(super) struct Modules(BTreeMap<Path, Module>);

/// One file names an item of another.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    /// The path as it is written.
    pub(super) what: String,
}

impl Modules {
    /// Reads `src`, but for `main.rs`, which is a crate of its own.
    pub(super) fn of_src() -> Self {
        let src = root().join("src");
        Self::new(product_files().into_iter().map(|(path, text)| (path.strip_prefix(&src).unwrap().to_owned(), text)))
    }

    /// The modules in these files, whose paths are relative to `src`.
    fn new(files: impl Iterator<Item = (PathBuf, String)>) -> Self {
        let modules = files.filter(|(file, _)| file.as_os_str() != "main.rs").map(|(file, text)| {
            let mut path: Path = file.with_extension("").iter().map(|name| name.to_str().unwrap().to_owned()).collect();
            path.pop_if(|last| last == "mod" || last == "lib");
            let text: Vec<&str> = code(&text).map(|(_, line)| line).collect();
            let (body, uses) = split_uses(&text.join("\n"));
            (path, Module { file, body, uses })
        });
        Self(modules.collect())
    }

    /// All references, each pair of files once.
    pub(super) fn references(&self) -> Vec<Reference> {
        let mut found = BTreeMap::new();
        for (path, module) in &self.0 {
            let in_uses = module.uses.iter().filter(|used| !used.is_passed_on || has_word(&module.body, &used.name));
            let in_code = paths(&module.body);
            for what in in_uses.map(|used| used.path.clone()).chain(in_code) {
                if let Some(definer) = self.definer(path, &what, 0) {
                    let to = &self.0[&definer].file;
                    if *to != module.file {
                        found.entry((&module.file, to)).or_insert_with(|| what.join("::"));
                    }
                }
            }
        }
        found.into_iter().map(|((from, to), what)| Reference { from: from.clone(), to: to.clone(), what }).collect()
    }

    /// Follows a path that stands in a module, and returns the module that defines the item; `None` if the path names a module,
    /// leads to another crate, or begins in the module's own code.
    fn definer(&self, module: &[String], path: &[String], steps: usize) -> Option<Path> {
        const MOST_STEPS: usize = 16;
        let (first, rest) = path.split_first().filter(|_| steps < MOST_STEPS)?;
        match first.as_str() {
            "crate" => self.descend(&[], rest, steps),
            "self" => self.descend(module, rest, steps),
            "super" => {
                let (_, parent) = module.split_last()?;
                match rest.first() {
                    Some(next) if next == "super" => self.definer(parent, rest, steps + 1),
                    _ => self.descend(parent, rest, steps),
                }
            }
            _ if self.0.contains_key(&child(module, first)) => self.descend(module, path, steps),
            _ => {
                let used = self.0[module].uses.iter().find(|used| used.name == *first && used.path != path)?;
                self.definer(module, &[&used.path, rest].concat(), steps + 1)
            }
        }
    }

    /// Follows a path from a module downward.
    fn descend(&self, module: &[String], path: &[String], steps: usize) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        let below = child(module, first);
        if self.0.contains_key(&below) {
            return self.descend(&below, rest, steps);
        }
        match self.0[module].uses.iter().find(|used| used.name == *first) {
            Some(used) => self.definer(module, &[&used.path, rest].concat(), steps + 1),
            None => Some(module.to_owned()),
        }
    }
}

fn child(module: &[String], name: &str) -> Path {
    [module, &[name.to_owned()]].concat()
}

/// Takes the `use` declarations out of code.
fn split_uses(code: &str) -> (String, Vec<Use>) {
    let (mut body, mut uses) = (String::new(), Vec::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let words = line.trim_start();
        let (visibility, declaration) = match words.split_once("use ") {
            Some((visibility, rest)) if visibility.is_empty() || visibility.starts_with("pub") => (visibility, rest),
            _ => {
                body.push_str(line);
                body.push('\n');
                continue;
            }
        };
        let mut tree = declaration.to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().unwrap());
        }
        let tree = tree.split(';').next().unwrap_or_default();
        expand(&[], tree, &mut |path, name| {
            uses.push(Use { path, name, is_passed_on: !visibility.is_empty() });
        });
    }
    (body, uses)
}

/// Calls `found` for each name that a tree of `use` brings in.
fn expand(before: &[String], tree: &str, found: &mut impl FnMut(Path, String)) {
    if let Some((path, group)) = tree.split_once('{') {
        let before = [before, &segments(path)].concat();
        for branch in branches(group.trim_end().strip_suffix('}').unwrap()) {
            expand(&before, branch, found);
        }
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let mut path = [before, &segments(path)].concat();
    if path.len() > 1 {
        path.pop_if(|last| last == "self");
    }
    if let Some(last) = path.last().cloned() {
        found(path, alias.map_or(last, str::to_owned));
    }
}

/// The branches of a group, split at the commas outside of further groups.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&group[start..at]);
                start = at + 1;
            }
            _ => (),
        }
    }
    found.push(&group[start..]);
    found
}

fn segments(path: &str) -> Path {
    path.split("::").map(str::trim).filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

fn is_of_a_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|letter| !is_of_a_word(letter)).any(|found| found == word)
}

/// The paths in code with two names or more, such as `super::mailbox::Mailbox`.
fn paths(code: &str) -> impl Iterator<Item = Path> {
    let runs = code.split(|letter: char| !is_of_a_word(letter) && letter != ':');
    runs.map(|run| run.trim_matches(':')).filter(|run| run.contains("::")).map(segments)
}

#[test]
fn names_lead_to_the_file_that_defines_them() {
    let files = [
        ("lib.rs", "pub mod upper;\npub mod lower;\n"),
        (
            "upper/mod.rs",
            "mod leaf;\nuse crate::lower;\npub use leaf::Leaf;\nfn f() { lower::deep::run() }\npub struct Own;\n",
        ),
        ("upper/leaf.rs", "use super::{Own, Leaf as Same};\npub struct Leaf;\n"),
        (
            "lower/mod.rs",
            "mod deep;\npub use self::deep::{self, Deep};\n// crate::upper::Own\nfn g() -> Deep { std::mem::take() }\n",
        ),
        ("lower/deep.rs", "pub struct Deep;\npub fn run() {}\n"),
    ];
    let modules = Modules::new(files.into_iter().map(|(file, text)| (PathBuf::from(file), text.to_owned())));
    let found: Vec<_> = modules
        .references()
        .iter()
        .map(|Reference { from, to, what }| format!("{} -> {}: {what}", from.display(), to.display()))
        .collect();
    assert_eq!(
        found,
        [
            "lower/mod.rs -> lower/deep.rs: self::deep::Deep",
            "upper/leaf.rs -> upper/mod.rs: super::Own",
            "upper/mod.rs -> lower/deep.rs: lower::deep::run",
        ]
    );
}
