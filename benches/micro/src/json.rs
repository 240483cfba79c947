//! JSON as text. Strings are 64 KiB long before they are quoted; the document is 10 KiB long.

use std::hint::black_box;

use socket2me::proto::json;

use crate::inputs::{KIB, LINES, NON_ASCII, PLAIN, document, quoted, text};
use crate::{Run, Step};

const STRING: usize = 64 * KIB;
const DOCUMENT: usize = 10 * KIB;

pub const STEPS: &[Step] = &[
    Step { name: "json check, document", bytes: DOCUMENT, prepare: || check(document(DOCUMENT)) },
    Step { name: "json check, plain string", bytes: STRING, prepare: || check(quoted(&text(PLAIN, STRING))) },
    Step { name: "json check, string of lines", bytes: STRING, prepare: || check(quoted(&text(LINES, STRING))) },
    Step { name: "json check, JSON in a string", bytes: STRING, prepare: || check(quoted(&document(STRING))) },
    Step { name: "json check, non-ASCII string", bytes: STRING, prepare: || check(quoted(&text(NON_ASCII, STRING))) },
    Step { name: "json scan, document", bytes: DOCUMENT, prepare: || scan(document(DOCUMENT)) },
    Step { name: "json write_string, plain", bytes: STRING, prepare: || write(text(PLAIN, STRING)) },
    Step { name: "json write_string, lines", bytes: STRING, prepare: || write(text(LINES, STRING)) },
    Step { name: "json write_string, JSON", bytes: STRING, prepare: || write(document(STRING)) },
    Step { name: "json write_string, non-ASCII", bytes: STRING, prepare: || write(text(NON_ASCII, STRING)) },
    Step { name: "json unquote, plain", bytes: STRING, prepare: || unquote(quoted(&text(PLAIN, STRING))) },
    Step { name: "json unquote, lines", bytes: STRING, prepare: || unquote(quoted(&text(LINES, STRING))) },
    Step { name: "json unquote, JSON", bytes: STRING, prepare: || unquote(quoted(&document(STRING))) },
    Step { name: "json unquote, non-ASCII", bytes: STRING, prepare: || unquote(quoted(&text(NON_ASCII, STRING))) },
];

fn check(text: String) -> Run {
    Box::new(move || json::check(black_box(&text)).expect("JSON"))
}

/// Scans with a callback that uses the depth of each value, so that the compiler cannot leave it out.
fn scan(text: String) -> Run {
    Box::new(move || {
        let mut deepest = 0;
        json::scan(black_box(&text), |depth, _| deepest = deepest.max(depth)).expect("JSON");
        black_box(deepest);
    })
}

/// Writes to a buffer that is large enough, so that no allocation is measured.
fn write(text: String) -> Run {
    let mut out = String::with_capacity(2 * text.len() + 2);
    Box::new(move || {
        out.clear();
        json::write_string(black_box(&text), &mut out);
        black_box(&out);
    })
}

fn unquote(quoted: String) -> Run {
    Box::new(move || drop(black_box(json::unquote(black_box(&quoted)))))
}
