//! The requests and answers that PROTOCOL.md, "Requests and answers", prints: each is sent as printed, and must be answered so.
//!
//! The notation is explained there. Each block of the document has a server of its own, with the flags of its first line.

use std::collections::BTreeMap;
use std::time::SystemTime;

use clap::Parser as _;
use socket2me::config::{Cli, Command, ServeConfig};
use socket2me::proto::key::Key;
use socket2me::proto::token::RESERVED;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::tunnel::Server;
use super::visitor::{Answer, request, visit};
use crate::support::end::{End, Heard};

/// The file that `--create-secret-file` names in the document, and what it holds.
const SECRET: (&str, &str) = ("secret.txt", "tell-nobody\n");

/// By how many seconds a time may differ from the one that is printed: a request takes a moment.
const LATE_SECONDS: u64 = 30;

/// One line of a block.
enum Step<'t> {
    /// A request, and the line with its answer.
    Ask(&'t str, &'t str),
    /// `(an end joins NAME with KEY)`.
    Join { name: &'t str, key: &'t str },
    /// `(the end is disconnected)`.
    IsDisconnected,
}

/// What stands between the bars of a line.
#[derive(Default)]
struct Parts<'t> {
    /// The first part: a method and a target, or a status and a code.
    first: (&'t str, Option<&'t str>),
    headers: Vec<(&'t str, &'t str)>,
    body: Option<&'t str>,
}

fn document() -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md")).unwrap()
}

/// The blocks of the section, each with the flags of its server.
fn blocks(document: &str) -> Vec<(Vec<&str>, Vec<Step<'_>>)> {
    let (_, section) = document.split_once("\n### Requests and answers\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("\n```").skip(1).step_by(2);
    blocks
        .map(|block| {
            let mut lines = block.lines().skip(1).filter(|line| !line.is_empty());
            let command = lines.next().unwrap().strip_prefix("$ socket2me ").unwrap();
            let mut steps = Vec::new();
            while let Some(line) = lines.next() {
                steps.push(match line.strip_prefix('(') {
                    None => Step::Ask(line, lines.next().and_then(|answer| answer.strip_prefix("  ")).unwrap()),
                    Some("the end is disconnected)") => Step::IsDisconnected,
                    Some(event) => {
                        let joins = event.strip_prefix("an end joins ").and_then(|event| event.strip_suffix(')'));
                        let (name, key) = joins.and_then(|event| event.split_once(" with ")).unwrap();
                        Step::Join { name, key }
                    }
                });
            }
            (command.split(' ').collect(), steps)
        })
        .collect()
}

impl<'t> Parts<'t> {
    fn read(line: &'t str) -> Self {
        let mut parts = line.split(" | ");
        let first = parts.next().unwrap();
        let mut read = Self {
            first: first.split_once(' ').map_or((first, None), |(one, other)| (one, Some(other))),
            ..Self::default()
        };
        for part in parts {
            match part.split_once(": ").filter(|(name, _)| !name.contains(['{', '"'])) {
                Some(header) => read.headers.push(header),
                None => assert!(read.body.replace(part).is_none(), "two bodies: {line}"),
            }
        }
        read
    }
}

/// What stands for the words with a `$`.
#[derive(Default)]
struct Values(BTreeMap<String, String>);

impl Values {
    /// Writes the values of words that have one; a key that has none is one that the client makes.
    fn fill(&mut self, text: &str) -> String {
        let mut filled = String::new();
        for (literal, word) in words(text) {
            filled.push_str(literal);
            if !word.is_empty() {
                let make = || Key::from_random(rand::random());
                filled.push_str(self.0.entry(word.to_owned()).or_insert_with(|| make().as_str().to_owned()));
            }
        }
        filled
    }

    /// Tells whether a text is what is printed. A word that has no value gets the text's.
    fn fits(&mut self, printed: &str, text: &str) -> bool {
        let mut rest = text;
        words(printed).all(|(literal, word)| {
            let Some(behind) = rest.strip_prefix(literal) else { return false };
            let length = match (word, self.0.get(word)) {
                ("", _) => 0,
                (_, Some(value)) => value.len(),
                (_, None) if word.starts_with("TOKEN") => 48,
                (_, None) if word.starts_with("NOW") => "2026-01-01T00:00:00Z".len(),
                (_, None) => 47,
            };
            let Some((value, behind)) = behind.split_at_checked(length) else { return false };
            rest = behind;
            self.is_value(word, value)
        }) && rest.is_empty()
    }

    fn is_value(&mut self, word: &str, value: &str) -> bool {
        if let Some(seconds) = word.strip_prefix("NOW+") {
            return is_in(seconds.parse().unwrap(), value);
        }
        let is_token = || word.starts_with("TOKEN") && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match self.0.get(word) {
            _ if word.is_empty() => true,
            Some(known) => known == value,
            None if is_token() || Key::parse(value).is_some() => {
                self.0.insert(word.to_owned(), value.to_owned());
                true
            }
            None => false,
        }
    }
}

/// The literal pieces of a text, each with the word behind it: the name of `$NAME`, or nothing at the end.
fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut pieces = text.split('$');
    let first = pieces.next().unwrap_or_default();
    let mut before = Some(first);
    let mut pieces = pieces.map(|piece| {
        let is_of_a_word = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '+';
        piece.split_at(piece.find(|letter| !is_of_a_word(letter)).unwrap_or(piece.len()))
    });
    std::iter::from_fn(move || {
        let literal = before.take()?;
        let Some((word, rest)) = pieces.next() else { return Some((literal, "")) };
        before = Some(rest);
        Some((literal, word))
    })
}

/// Tells whether a text is the time in that many seconds, as RFC 3339 has it in whole seconds of UTC.
fn is_in(seconds: u64, text: &str) -> bool {
    let ago = |late| SystemTime::now() + std::time::Duration::from_secs(seconds) - std::time::Duration::from_secs(late);
    let at = |late| OffsetDateTime::from(ago(late)).replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
    (0..=LATE_SECONDS).any(|late| at(late) == text)
}

/// Sends a request as it is printed. A body in braces is JSON, unless the line says otherwise.
async fn ask(server: &Server, line: &str, values: &mut Values) -> Answer {
    let filled = values.fill(line);
    let Parts { first: (method, target), mut headers, body } = Parts::read(&filled);
    let has_type = headers.iter().any(|(name, _)| *name == "Content-Type");
    if body.is_some_and(|body| body.starts_with('{')) && !has_type {
        headers.push(("Content-Type", "application/json"));
    }
    visit(server.address, &request(method, target.unwrap(), &headers, body.unwrap_or_default().as_bytes())).await
}

/// Returns what is otherwise than printed.
fn difference(line: &str, answer: &Answer, values: &mut Values) -> Option<String> {
    let Parts { first: (status, code), headers, body } = Parts::read(line);
    if answer.status.to_string() != status || answer.code() != code {
        return Some(format!("it is {} {:?}", answer.status, answer.code()));
    }
    let headers = headers.into_iter().map(|(name, value)| (name, value, answer.header(name).unwrap_or("absent")));
    let mut others = headers.filter(|(_, value, found)| !values.fits(value, found));
    if let Some((name, _, found)) = others.next() {
        return Some(format!("{name} is {found}"));
    }
    let text = answer.text();
    (!values.fits(body.unwrap_or_default(), &text)).then(|| format!("its body is {text}"))
}

/// Returns the settings of a command line in the document.
fn settings(arguments: &[&str], secret_file: &str) -> ServeConfig {
    let arguments = arguments.iter().map(|argument| if *argument == SECRET.0 { secret_file } else { argument });
    let cli = Cli::try_parse_from(std::iter::once("socket2me").chain(arguments)).unwrap();
    let Command::Serve(config) = cli.command else { panic!("the document has another command") };
    *config
}

/// Runs a block, and returns how many requests it has. What is otherwise than printed is added to `wrong`.
async fn run(server: &Server, steps: &[Step<'_>], wrong: &mut Vec<String>) -> usize {
    let (mut values, mut ends, mut asked) = (Values::default(), Vec::new(), 0);
    for step in steps {
        match step {
            Step::Ask(line, expected) => {
                asked += 1;
                let answer = ask(server, line, &mut values).await;
                let is_for_pages = !line.contains(" /go/");
                if is_for_pages && answer.header("access-control-allow-origin") != Some("*") {
                    wrong.push(format!("{line}\n  pages of other origins cannot read it"));
                }
                if let Some(difference) = difference(expected, &answer, &mut values) {
                    wrong.push(format!("{line}\n  {expected}\n  but {difference}"));
                }
            }
            Step::Join { name, key } => {
                let (name, key) = (values.fill(name), values.fill(key));
                let mut end = End::open(server.address).await;
                end.join(&name, &format!(r#"{{"key":"{key}"}}"#)).await.unwrap();
                ends.push((end, name));
            }
            Step::IsDisconnected => {
                let (mut end, name) = ends.pop().unwrap();
                // Visitors have asked it meanwhile.
                loop {
                    match end.hear().await {
                        Heard::Text(text) if text.starts_with("42") => (),
                        heard => break assert_eq!(heard, Heard::Text(format!("41/{name},"))),
                    }
                }
            }
        }
    }
    asked
}

#[tokio::test]
async fn the_requests_of_the_document_are_answered_as_printed() {
    let document = document();
    let secret_file = std::env::temp_dir().join(format!("socket2me-table-{}", std::process::id()));
    std::fs::write(&secret_file, SECRET.1).unwrap();
    let (mut asked, mut wrong) = (0, Vec::new());
    for (arguments, steps) in blocks(&document) {
        let server = Server::start(settings(&arguments, secret_file.to_str().unwrap())).await;
        asked += run(&server, &steps, &mut wrong).await;
    }
    std::fs::remove_file(&secret_file).unwrap();
    assert!(wrong.is_empty(), "{} requests are answered otherwise:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked >= 30, "{asked} requests: are they still written like this?");
}

#[test]
fn the_reserved_names_are_those_of_the_document() {
    let document = document();
    let (_, names) = document.split_once("These names are reserved:").unwrap();
    let (names, _) = names.split_once("\n\n").unwrap();
    assert_eq!(names.split('`').skip(1).step_by(2).collect::<Vec<_>>(), RESERVED);
}

#[test]
fn an_answer_that_is_not_as_printed_is_noticed() {
    let (key, other) = (Key::from_random([1; 32]), Key::from_random([2; 32]));
    let (key, other) = (key.as_str(), other.as_str());
    let mut values = Values::default();
    for (printed, text, fits) in [
        ("OK", "OK", true),
        ("OK", "OK.", false),
        (r#"{"key":"$KEY"}"#, r#"{"key":"s2m_0"}"#, false),
        (r#"{"key":"$KEY"}"#, &format!(r#"{{"key":"{key}"}}"#), true),
        (r#"{"key":"$KEY"}"#, &format!(r#"{{"key":"{other}"}}"#), false),
        (r#"{"key":"$OTHER"}"#, &format!(r#"{{"key":"{other}"}}"#), true),
        ("/go/$TOKEN/", &format!("/go/{}/", "a".repeat(48)), true),
        ("/go/$TOKEN/", &format!("/go/{}/", "b".repeat(48)), false),
        ("$NOW+60", "2026-01-01T00:00:00Z", false),
        ("", "more", false),
    ] {
        assert_eq!(values.fits(printed, text), fits, "{printed} {text}");
    }
    assert_eq!(values.fill("Bearer $KEY | $OTHER"), format!("Bearer {key} | {other}"));
    assert!(Key::parse(&values.fill("$NEXT")).is_some());
    let Parts { first, headers, body } = Parts::read(r#"404 token-not-found | A: b: c | {"Error":"x: y"}"#);
    assert_eq!(
        (first, headers, body),
        (("404", Some("token-not-found")), vec![("A", "b: c")], Some(r#"{"Error":"x: y"}"#))
    );
}
