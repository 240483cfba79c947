//! Limits on the length of files and functions, and on the number of places that may panic.

use super::{code, files, product_files, shown};

/// The most lines of a file, its tests included: a longer one is about two things. Tests and tools have the same limit.
const MAX_FILE_LINES: usize = 450;

/// The most lines of all functions but the longest tenth.
const MAX_FUNCTION_LINES: usize = 30;

/// The most calls of `unwrap` and `expect` in a thousand lines.
const MAX_UNWRAPS: usize = 2;

/// The files of the product without tests. The bodies of fuzz targets are tests too: a panic is their report.
fn without_fuzzing() -> Vec<(String, String)> {
    let files = product_files().into_iter().map(|(path, text)| (shown(&path).to_string(), text));
    files.filter(|(path, _)| !path.starts_with("src/fuzzing/")).collect()
}

#[test]
fn no_file_is_longer_than_its_limit() {
    let long: Vec<_> = ["src", "protocol-tests", "examples", "fuzz", "benches"]
        .into_iter()
        .flat_map(files)
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_FILE_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", shown(&path)))
        .collect();
    assert!(long.is_empty(), "files of more than {MAX_FILE_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn nine_functions_of_ten_are_short() {
    let mut all: Vec<_> = without_fuzzing()
        .iter()
        .flat_map(|(path, text)| {
            functions(text).into_iter().map(move |(name, lines)| (lines, format!("{path}: {name}")))
        })
        .collect();
    all.sort_unstable();
    assert!(all.len() > 500, "{} functions: are they still found?", all.len());
    let (lines, _) = all[all.len() * 9 / 10];
    let longest: Vec<_> = all.iter().rev().take(10).map(|(lines, name)| format!("{name}: {lines} lines")).collect();
    assert!(lines <= MAX_FUNCTION_LINES, "a tenth has {lines} lines or more; the longest:\n{}", longest.join("\n"));
}

#[test]
fn few_places_may_panic() {
    let (mut places, mut lines) = (Vec::new(), 0);
    for (path, text) in without_fuzzing() {
        lines += text.lines().count();
        let calls = code(&text).filter(|(_, line)| line.contains(".unwrap()") || line.contains(".expect("));
        places.extend(calls.map(|(_, line)| format!("{path}: {}", line.trim())));
    }
    let most = MAX_UNWRAPS * lines / 1_000;
    assert!(places.len() <= most, "{} in {lines} lines, {most} are allowed:\n{}", places.len(), places.join("\n"));
}

/// The names of the functions with a body, and their lines from `fn` to the closing brace at the same indentation.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indentation = &line[..line.len() - line.trim_start().len()];
        for (more, line) in lines[index..].iter().enumerate() {
            let line = line.strip_prefix(indentation).filter(|line| !line.starts_with(' '));
            match line {
                // A signature without a body, of a trait.
                Some(line) if line.ends_with(';') => break,
                Some(line) if line == "}" || (more == 0 && line.ends_with('}')) => {
                    found.push((name, more + 1));
                    break;
                }
                Some(_) | None => (),
            }
        }
    }
    found
}

/// The name of the function that begins on a line.
fn function_name(line: &str) -> Option<&str> {
    const BEFORE: [&str; 4] = ["pub", "const", "async", "fn"];
    let words = line.trim_start();
    let (before, rest) = words.split_once("fn ")?;
    let is_declared = before.split_whitespace().all(|word| BEFORE.contains(&word.split('(').next().unwrap_or(word)));
    is_declared.then(|| rest.split(['(', '<']).next().unwrap_or(rest))
}

#[test]
fn functions_are_measured() {
    let text = "
pub(crate) const fn one() -> u8 { 1 }
impl X {
    async fn four(
        self,
    ) {
    }
    fn with_where<T>(self) -> T
    where
        T: Y,
    {
        let s = \"fn no() {}\";
        if s.is_empty() {
        }
    }
}
trait Z {
    fn none(&self);
    fn none_either(
        &self,
    );
}
";
    assert_eq!(functions(text), [("one", 1), ("four", 4), ("with_where", 8)]);
}
