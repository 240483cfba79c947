//! Names that one document or comment gives of another: files, headings, tests and flags.

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
            assert!(config.contains(&format!("pub {field}:")), "there is no flag {name}");
            settings += 1;
        }
    }
    assert!(tests > 25 && settings > 20, "{tests} tests and {settings} flags: is this still how names are written?");
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
