//! Names that lead from one place to another: files, headings, items of code, tests, flags and commands.

use std::fs;
use std::path::PathBuf;

use super::{files, root, shown, texts};

/// Everything in which a document may be named: code, scripts and the documents themselves. The tests of this program are
/// left out, for they name what does not exist.
fn texts_that_cite() -> Vec<(PathBuf, String)> {
    let folders = ["src", "protocol-tests", "scripts", "examples", "benches", "fuzz"];
    let mut all: Vec<_> = folders.iter().flat_map(|folder| texts(&root().join(folder))).collect();
    all.extend(documents().into_iter().filter(|(path, _)| path.parent() == Some(root())));
    all.retain(|(path, _)| !path.starts_with(root().join("protocol-tests/tidy")));
    all
}

/// All documents of the repository.
fn documents() -> Vec<(PathBuf, String)> {
    let is_document = |(path, _): &(PathBuf, String)| path.extension().is_some_and(|extension| extension == "md");
    texts(root()).into_iter().filter(is_document).collect()
}

/// The text without the marks of comments and the ends of lines, so that a citation may wrap.
fn unwrapped(text: &str) -> String {
    let marks: &[_] = &['/', '!', '*', '#', ' ', '\t'];
    text.lines().map(|line| line.trim_start_matches(marks).trim_end()).collect::<Vec<_>>().join(" ")
}

/// The names that end in `.md`, each with what stands behind it.
fn named_documents(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.match_indices(".md").filter_map(|(at, ending)| {
        let (before, after) = (&text[..at], &text[at + ending.len()..]);
        let is_of_a_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/');
        let start = before.rfind(|letter| !is_of_a_name(letter)).map_or(0, |last| last + 1);
        let is_whole = !after.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
        (start < at && is_whole).then_some((&text[start..at + ending.len()], after))
    })
}

/// The headings and numbers of sections that are cited behind the name of a document: `, "One" and "Two"` or `, section 3`.
fn cited_headings(mut after: &str) -> Vec<String> {
    if let Some(section) = after.strip_prefix(", section ") {
        return vec![section.chars().take_while(char::is_ascii_digit).chain(['.']).collect()];
    }
    let mut headings = Vec::new();
    while let Some((heading, rest)) = [", and \"", ", \"", " and \""]
        .iter()
        .find_map(|before| after.strip_prefix(before))
        .filter(|_| !headings.is_empty() || after.starts_with(", \""))
        .and_then(|heading| heading.split_once('"'))
    {
        headings.push(heading.to_owned());
        after = rest;
    }
    headings
}

/// Whether the document has this heading, or a section of this number, written `3.`.
fn has_heading(document: &str, heading: &str) -> bool {
    document.lines().filter(|line| line.starts_with('#')).any(|line| {
        let whole = line.trim_start_matches('#').trim();
        let (number, rest) = whole.split_once(' ').unwrap_or((whole, ""));
        let is_number = number.ends_with('.') && number[..number.len() - 1].bytes().all(|byte| byte.is_ascii_digit());
        whole == heading || (is_number && (number == heading || rest == heading))
    })
}

/// The documents that a name may mean: the named file itself, or one whose path ends like it.
fn meant<'d>(documents: &'d [(PathBuf, String)], name: &str) -> impl Iterator<Item = &'d str> {
    let name = PathBuf::from(name.trim_start_matches("./").trim_start_matches("../"));
    documents.iter().filter(move |(path, _)| path.ends_with(&name)).map(|(_, text)| text.as_str())
}

#[test]
fn every_document_that_is_named_exists() {
    let documents = documents();
    let mut missing = Vec::new();
    for (path, text) in texts_that_cite() {
        for (name, _) in named_documents(&text) {
            if meant(&documents, name).next().is_none() {
                missing.push(format!("{}: there is no {name}", shown(&path)));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_heading_that_is_cited_exists() {
    let documents = documents();
    let (mut missing, mut found) = (Vec::new(), 0);
    for (path, text) in texts_that_cite() {
        for (name, after) in named_documents(&unwrapped(&text)) {
            for heading in cited_headings(after) {
                if meant(&documents, name).any(|document| has_heading(document, &heading)) {
                    found += 1;
                } else {
                    missing.push(format!("{}: {name} has no heading {heading:?}", shown(&path)));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(found > 15, "{found} headings are cited: is this still how it is written?");
}

#[test]
fn citations_are_understood() {
    let text = unwrapped(
        "//! See (ONE.md,\n//! \"First\" and \"Second\", and \"Third\") and `b/TWO.md`, section 12, not THREE.mdx.",
    );
    let found: Vec<_> = named_documents(&text).map(|(name, after)| (name, cited_headings(after))).collect();
    let [one, two] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.0, one.1.join("|").as_str()), ("ONE.md", "First|Second|Third"));
    assert_eq!((two.0, two.1.len()), ("b/TWO.md", 0), "the back-quote stands between the name and the section");
    assert_eq!(cited_headings(", section 12, says so"), ["12."]);
    let document = "# Title\n## 12. Limits and times\n### Packets\ntext: Limits";
    for (heading, is_there) in
        [("Limits and times", true), ("12.", true), ("Packets", true), ("Limits", false), ("1.", false)]
    {
        assert_eq!(has_heading(document, heading), is_there, "{heading}");
    }
}

/// SECURITY.md names the tests that prove it: each name, or the beginning of one before an ellipsis, must be a test.
#[test]
fn what_security_md_names_is_there() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let code: String = [files("protocol-tests"), files("src")].concat().into_iter().map(|(_, text)| text).collect();
    let config: String = files("src/config").into_iter().map(|(_, text)| text).collect();
    let (mut tests, mut settings) = (0, 0);
    for name in text.split('`').skip(1).step_by(2) {
        let whole = name.strip_suffix('…').unwrap_or(name);
        if whole.contains('_')
            && whole.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'0'..=b'9'))
        {
            let end = if whole == name { "(" } else { "" };
            assert!(code.contains(&format!("fn {whole}{end}")), "no test is called {name}");
            tests += 1;
        }
        if let Some(flag) = name.strip_prefix("--") {
            let field = flag.replace('-', "_");
            let is_there =
                [format!("pub {field}:"), format!("long = \"{flag}\"")].iter().any(|words| config.contains(words));
            assert!(is_there, "there is no flag {name}");
            settings += 1;
        }
    }
    assert!(tests > 25 && settings > 20, "{tests} tests and {settings} flags: is this still how names are written?");
}

/// The rows of the table below this heading, none of them the head.
fn rows<'d>(document: &'d str, heading: &str) -> Vec<&'d str> {
    let (_, section) = document.split_once(heading).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.take_while(|line| line.starts_with('|')).collect()
}

/// The last column of a table says which tests show that its rows are true, of Rust or of these programs. Each row must name one.
fn rows_name_their_tests(document: &str, heading: &str, programs: &[&str], least: usize) {
    let document = fs::read_to_string(root().join(document)).unwrap();
    let rows = rows(&document, heading);
    let tests = root().join("protocol-tests");
    let mut code: String = [files("protocol-tests"), files("src")].concat().into_iter().map(|(_, text)| text).collect();
    for file in programs {
        code += &fs::read_to_string(tests.join(file)).unwrap();
    }
    for row in &rows {
        let names: Vec<_> = row.rsplit(" | ").next().unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            let is_there = match name.strip_suffix(".test.mjs") {
                Some(_) => tests.join("node").join(name).exists(),
                None => {
                    code.contains(&format!("fn {name}("))
                        || code.contains(&format!("def {name}("))
                        || (name.contains(' ') && code.contains(name))
                }
            };
            assert!(is_there, "no test is called {name}");
        }
    }
    assert!(rows.len() >= least, "{} rows: is this still how the table is written?", rows.len());
}

#[test]
fn each_row_about_restarts_in_the_readme_names_its_tests() {
    rows_name_their_tests(
        "README.md",
        "### Where tunnels are kept",
        &["node/lifecycle.test.mjs", "python/test_client.py"],
        8,
    );
}

#[test]
fn each_row_about_failures_of_a_cluster_names_its_tests() {
    rows_name_their_tests("OPERATING.md", "### What a failure costs", &["node/cluster-faults.mjs"], 12);
}

/// The documents that lead through the code. Each file and item that they name must be there.
const GUIDES: [&str; 2] = ["ARCHITECTURE.md", "CONTRIBUTING.md"];

/// The words that declare an item which a guide may name.
const DECLARATIONS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];

/// What stands between back-quotes, line by line; of a block of code, too.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).flat_map(str::lines)
}

/// Whether code declares an item of this name.
fn declares(code: &str, name: &str) -> bool {
    let is_of_a_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    DECLARATIONS.iter().any(|declaration| {
        let declared = format!("{declaration} {name}");
        code.match_indices(&declared).any(|(at, _)| {
            !code[..at].ends_with(is_of_a_word) && !code[at + declared.len()..].starts_with(is_of_a_word)
        })
    })
}

/// What a guide names as `file` or `file::item` and what is not there. Counts what is there.
fn missing_places(guide: &str, found: &mut usize) -> Vec<String> {
    let mut missing = Vec::new();
    for place in quoted(guide).filter(|quoted| !quoted.contains(' ')) {
        let mut names = place.split("::");
        let file = names.next().unwrap_or_default();
        // A path such as `/metrics` is one of the server's.
        let is_file = place.contains(".rs::") || (file.contains('/') && !file.starts_with('/'));
        if !is_file {
            continue;
        }
        let path = root().join(file);
        if !path.exists() {
            missing.push(format!("there is no {file}"));
            continue;
        }
        *found += 1;
        let code = fs::read_to_string(path).unwrap_or_default();
        missing.extend(names.filter(|name| !declares(&code, name)).map(|name| format!("{file} has no {name}")));
    }
    missing
}

/// What the commands of a document name and what is not there: scripts and their options, test programs and suites.
fn missing_of_commands(document: &str, found: &mut usize) -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut missing = Vec::new();
    for command in quoted(document) {
        let mut words = command.split_whitespace().take_while(|word| *word != "#").peekable();
        let program = words.next().unwrap_or_default().trim_start_matches("./");
        if program.starts_with("scripts/") {
            let script = fs::read_to_string(root().join(program)).unwrap_or_default();
            let code: Vec<_> = script.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
            let unknown = words.filter(|word| word.starts_with("--") && !code.iter().any(|line| line.contains(word)));
            missing.extend(unknown.map(|option| format!("{program} has no {option}")));
            missing.extend(script.is_empty().then(|| format!("there is no {program}")));
            *found += 1;
        } else if program == "cargo" {
            while let Some(word) = words.next() {
                let is_missing = match word {
                    "--test" | "--example" => words.peek().is_some_and(|name| {
                        let is_file = root().join(format!("examples/{name}.rs")).exists();
                        !is_file && !manifest.contains(&format!("name = \"{name}\""))
                    }),
                    "--features" => words.peek().is_some_and(|name| !manifest.contains(&format!("\n{name} = ["))),
                    suite if suite.ends_with("::") => {
                        let path = root().join("protocol-tests").join(suite.trim_end_matches("::").replace("::", "/"));
                        !path.exists() && !path.with_extension("rs").exists()
                    }
                    _ => false,
                };
                if is_missing {
                    missing.push(format!("{command}: there is no {}", words.peek().unwrap_or(&word)));
                }
            }
            *found += 1;
        }
    }
    missing
}

#[test]
fn the_places_that_guides_name_are_there() {
    for guide in GUIDES {
        let (text, mut found) = (fs::read_to_string(root().join(guide)).unwrap(), 0);
        let missing = missing_places(&text, &mut found);
        assert!(missing.is_empty(), "{guide}:\n{}", missing.join("\n"));
        assert!(found > 20, "{guide} names {found} places: is this still how they are written?");
    }
}

#[test]
fn the_commands_that_guides_and_the_readme_name_are_there() {
    let mut found = 0;
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let missing = missing_of_commands(&fs::read_to_string(root().join(document)).unwrap(), &mut found);
        assert!(missing.is_empty(), "{document}:\n{}", missing.join("\n"));
    }
    assert!(found > 15, "{found} commands: is this still how they are written?");
}

#[test]
fn places_and_commands_that_are_not_there_are_noticed() {
    let (mut places, mut commands) = (0, 0);
    let text = "`src/lib.rs`, `src/nothing.rs` `src/main.rs::serve` `src/main.rs::serv`, `router.rs::dispatch`, `/metrics`\n\
        and `src/engine/command.rs::Reservation::redeem` `src/engine/command.rs::Reservation::nothing`.";
    assert_eq!(
        missing_places(text, &mut places),
        [
            "there is no src/nothing.rs",
            "src/main.rs has no serv",
            "there is no router.rs",
            "src/engine/command.rs has no nothing"
        ]
    );
    let text = "```sh\n./scripts/soak --heap 1 # --no\nscripts/soak --cold\nscripts/nothing\n```\n`cargo test --test tidy`\n\
        `cargo test --test nothing` `cargo test --test protocol relay::` `cargo test --test protocol nothing::`\n\
        `cargo run --features serde --example chat`, `cargo run --features nothing`";
    assert_eq!(
        missing_of_commands(text, &mut commands),
        [
            "scripts/soak has no --cold",
            "there is no scripts/nothing",
            "cargo test --test nothing: there is no nothing",
            "cargo test --test protocol nothing::: there is no nothing::",
            "cargo run --features nothing: there is no nothing"
        ]
    );
    assert_eq!((places, commands), (5, 9));
}

/// A test whose name begins with the number of a rule says nothing to a reader who does not have the rules.
#[test]
fn no_test_is_named_after_a_rule_number() {
    for (path, text) in files("protocol-tests").into_iter().chain(files("src")) {
        for name in text.lines().filter_map(|line| line.split_once("fn ")?.1.split_once("()")).map(|(name, _)| name) {
            let rule = name.strip_prefix("r_").unwrap_or(name);
            let is_rule = rule
                .split('_')
                .next()
                .and_then(|word| word.strip_prefix(['a', 'b', 'c', 'd', 'e']))
                .is_some_and(|number| number.parse::<u8>().is_ok_and(|number| number < 20));
            assert!(!is_rule, "{}: {name}", shown(&path));
        }
    }
}

/// PROTOCOL.md, "Errors", lists every value of `X-Socket2Me-Error`.
#[test]
fn every_error_code_is_documented() {
    codes_are_documented("src/relay/code.rs", 15, "\n## 5. Errors");
}

#[test]
fn every_code_of_a_notice_is_documented() {
    codes_are_documented("src/relay/notices.rs", 4, "\n### Notices");
}

/// All codes of a file, more than this many, are in the section of PROTOCOL.md.
fn codes_are_documented(file: &str, least: usize, heading: &str) {
    let code = fs::read_to_string(root().join(file)).unwrap();
    let protocol = fs::read_to_string(root().join("PROTOCOL.md")).unwrap();
    let (_, section) = protocol.split_once(heading).unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let (_, names) = code.split_once("const fn as_str(self)").unwrap();
    let (names, _) = names.split_once("\n}\n").unwrap();
    let names: Vec<_> = names.split('"').skip(1).step_by(2).collect();
    assert!(names.len() > least, "is this still how codes are written?");
    for name in names {
        assert!(section.contains(&format!("`{name}`")), "PROTOCOL.md does not list {name}");
    }
}
