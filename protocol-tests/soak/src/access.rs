//! The server's access log, read while it is written, and compared with what the witnesses saw and the figures say.

use std::collections::{BTreeMap, HashMap};
use std::io::Result;

use serde_json::Value;

use crate::server::Figures;
use crate::wire::strange;
use crate::witness::ADDRESS;

/// Faults that are kept as text; further ones only count.
const KEPT: usize = 10;

/// The longest that a line may be later than its visitor, in milliseconds: a busy machine.
const LATE: f64 = 3_000.0;

/// The letters and digits of a token.
const TOKEN: usize = 48;

/// What a witness saw of an exchange.
pub struct Seen {
    pub status: u16,
    pub outcome: &'static str,
    /// How many bytes the end has had of it, where that is known.
    pub sent: Option<u64>,
    pub received: u64,
    /// How long it waited, in milliseconds.
    pub took: f64,
}

/// What the lines say.
#[derive(Default)]
pub struct AccessLog {
    outcomes: BTreeMap<String, u64>,
    /// A bit for each number of an exchange.
    numbers: Vec<u64>,
    of_witnesses: HashMap<String, Value>,
    faults: u64,
    kept: Vec<String>,
}

impl AccessLog {
    /// Takes a line, unless it is none of the access log.
    pub fn take(&mut self, line: &str) -> bool {
        let Ok(Value::Object(mut whole)) = serde_json::from_str(line) else { return false };
        if whole.get("target").is_none_or(|target| target != "socket2me::access") {
            return false;
        }
        let fields = whole.remove("fields").unwrap_or_default();
        if let Err(fault) = self.check(line, &fields) {
            self.fault(format!("{fault}: {line}"));
        }
        true
    }

    fn check(&mut self, line: &str, fields: &Value) -> Result<()> {
        let [id, outcome, path, visitor] = ["id", "outcome", "path", "visitor"].map(|name| fields[name].as_str());
        let (Some(id), Some(outcome), Some(path)) = (id, outcome, path) else {
            return Err(strange("a field is missing"));
        };
        *self.outcomes.entry(outcome.to_owned()).or_default() += 1;
        let number = id.split_once('-').and_then(|(_, number)| number.parse::<usize>().ok());
        self.first(number.ok_or_else(|| strange("no id"))?)?;
        let [took, at_end] = ["duration_ms", "end_ms"].map(|name| fields[name].as_f64().unwrap_or_default());
        if at_end > took {
            return Err(strange("more time at the end than in all"));
        }
        // A visitor may also leave an answer that has begun.
        if fields["status"].is_null() && outcome != "visitor-left" {
            return Err(strange("no status, and somebody who got it"));
        }
        if path.contains('?') || line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.len() == TOKEN) {
            return Err(strange("a query or a whole token"));
        }
        if visitor == Some(&ADDRESS.to_string()) {
            self.of_witnesses.insert(id.to_owned(), fields.clone());
        }
        Ok(())
    }

    /// Notes the number of an exchange, which no other line may have.
    fn first(&mut self, number: usize) -> Result<()> {
        let (word, bit) = (number / 64, 1 << (number % 64));
        if self.numbers.len() <= word {
            self.numbers.resize(word + 1024, 0);
        }
        if self.numbers[word] & bit != 0 {
            return Err(strange("an exchange with two lines"));
        }
        self.numbers[word] |= bit;
        Ok(())
    }

    fn fault(&mut self, fault: String) {
        self.faults += 1;
        if self.kept.len() < KEPT {
            self.kept.push(fault);
        }
    }

    /// Prints how many lines there were, and returns what does not hold: lines beside what witnesses saw, and their number beside
    /// the figures.
    pub fn compare(mut self, seen: &HashMap<String, Seen>, end: &Figures) -> Vec<String> {
        let lines: u64 = self.outcomes.values().sum();
        let lost = end.of("log_lines_lost_total");
        println!("\naccess log: {lines} lines, {lost} lost, {} of witnesses", self.of_witnesses.len());
        for (id, seen) in seen {
            match self.of_witnesses.remove(id) {
                Some(line) if seen.is_in(&line) => (),
                Some(line) => self.fault(format!("a line that is not what its witness saw: {line}")),
                None if lost > 0 => (),
                None => self.fault(format!("no line of a witness's exchange {id}")),
            }
        }
        if lost == 0 {
            for (outcome, count) in end.outcomes() {
                let in_log = self.outcomes.get(outcome).copied().unwrap_or_default();
                if in_log != count {
                    self.fault(format!("{count} exchanges were {outcome}, and {in_log} lines"));
                }
            }
        }
        let faults = self.faults;
        self.kept.into_iter().map(|fault| format!("access log ({faults} faults): {fault}")).collect()
    }
}

impl Seen {
    fn is_in(&self, line: &Value) -> bool {
        let received = line["response_bytes"].as_u64().unwrap_or_default();
        line["status"] == self.status
            && line["outcome"] == self.outcome
            && self.sent.is_none_or(|sent| line["request_bytes"] == sent)
            && if self.outcome == "answered" { received == self.received } else { received >= self.received }
            && line["duration_ms"].as_f64().is_some_and(|took| took <= self.took + LATE)
    }
}
