//! Whole objects and arrays, checked by large blocks.
//!
//! As in simdjson ("Parsing Gigabytes of JSON per Second", Langdale and Lemire, 2019), the bits of a block tell where strings
//! are and where each token starts. A table says which token may stand behind which two others. What stands in strings is
//! never walked through, but for rare escapes.

use fearless_simd::prelude::*;
use fearless_simd::{dispatch, u8x64};

use super::block::{BlockState, LARGE_BLOCK, simd_level};
use super::cursor::Cursor;
use super::nesting::Nesting;

/// Behind the object or array that starts at `at`. `None` when something in it cannot be: [`scan`](super::scan()) tells what,
/// and has the last word.
#[inline(never)]
pub(super) fn skip_container(bytes: &[u8], at: usize) -> Option<usize> {
    dispatch!(simd_level(), simd => skip_container_with(simd, bytes, at))
}

#[inline(always)]
fn skip_container_with<S: Simd>(simd: S, bytes: &[u8], at: usize) -> Option<usize> {
    let mut state = BlockState::default();
    let mut open = Nesting::default();
    let (mut history, mut wrong) = (0, false);
    let mut cannot_follow = &[false; HISTORIES];
    let (blocks, tail) = bytes[at..].as_chunks();
    let mut last = [b' '; LARGE_BLOCK];
    last[..tail.len()].copy_from_slice(tail);
    for index in 0..=blocks.len() {
        let block = blocks.get(index).unwrap_or(&last);
        let start = at + index * LARGE_BLOCK;
        let found = state.next(u8x64::load_array_ref(simd, block));
        if found.broken {
            return None;
        }
        let mut escapes = found.escapes;
        while escapes != 0 {
            Cursor { bytes, at: start + escapes.trailing_zeros() as usize }.skip_escape().ok()?;
            escapes &= escapes - 1;
        }
        let mut tokens = found.tokens;
        while tokens != 0 {
            let index = tokens.trailing_zeros() as usize;
            tokens &= tokens - 1;
            let token = TOKENS[usize::from(block[index % LARGE_BLOCK])];
            history = (history << TOKEN_BITS | token as usize) % HISTORIES;
            wrong |= cannot_follow[history];
            match token {
                Token::Quote | Token::Colon | Token::Comma | Token::Whitespace => (),
                Token::Scalar => {
                    let mut cursor = Cursor { bytes, at: start + index };
                    cursor.skip_scalar().ok()?;
                    let behind = cursor.peek().map_or(Token::Whitespace, |byte| TOKENS[usize::from(byte)]);
                    if let Token::Scalar | Token::Quote = behind {
                        return None;
                    }
                }
                Token::OpenObject => {
                    open.push(true);
                    cannot_follow = &IN_OBJECT;
                }
                Token::OpenArray => {
                    open.push(false);
                    cannot_follow = &IN_ARRAY;
                }
                Token::CloseObject | Token::CloseArray => {
                    open.pop();
                    match open.innermost() {
                        Some(true) => cannot_follow = &IN_OBJECT,
                        Some(false) => cannot_follow = &IN_ARRAY,
                        None => return (!wrong).then_some(start + index + 1),
                    }
                }
            }
        }
        if wrong {
            return None;
        }
    }
    None
}

/// What a token is, by its first byte.
#[derive(Clone, Copy)]
enum Token {
    Quote,
    Colon,
    Comma,
    /// A number or a word.
    Scalar,
    OpenObject,
    OpenArray,
    CloseObject,
    CloseArray,
    /// None: it stands between them.
    Whitespace,
}

const TOKENS: [Token; 256] = {
    let mut tokens = [Token::Scalar; 256];
    tokens[b'"' as usize] = Token::Quote;
    tokens[b':' as usize] = Token::Colon;
    tokens[b',' as usize] = Token::Comma;
    tokens[b'{' as usize] = Token::OpenObject;
    tokens[b'[' as usize] = Token::OpenArray;
    tokens[b'}' as usize] = Token::CloseObject;
    tokens[b']' as usize] = Token::CloseArray;
    tokens[b' ' as usize] = Token::Whitespace;
    tokens[b'\t' as usize] = Token::Whitespace;
    tokens[b'\n' as usize] = Token::Whitespace;
    tokens[b'\r' as usize] = Token::Whitespace;
    tokens
};

const TOKEN_BITS: usize = 3;

/// How many there are of three tokens.
const HISTORIES: usize = 1 << (3 * TOKEN_BITS);

/// Whether the last of three tokens cannot stand behind the others. A close is of what it closes.
static IN_OBJECT: [bool; HISTORIES] = wrong(true);
static IN_ARRAY: [bool; HISTORIES] = wrong(false);

const fn wrong(in_object: bool) -> [bool; HISTORIES] {
    const QUOTE: usize = Token::Quote as usize;
    const COLON: usize = Token::Colon as usize;
    const COMMA: usize = Token::Comma as usize;
    const SCALAR: usize = Token::Scalar as usize;
    const OPEN_OBJECT: usize = Token::OpenObject as usize;
    const OPEN_ARRAY: usize = Token::OpenArray as usize;
    const CLOSE_OBJECT: usize = Token::CloseObject as usize;
    const CLOSE_ARRAY: usize = Token::CloseArray as usize;
    let mut table = [false; HISTORIES];
    let mut history = 0;
    while history < HISTORIES {
        let mask = (1 << TOKEN_BITS) - 1;
        let [before, behind, token] = [history >> (2 * TOKEN_BITS), history >> TOKEN_BITS & mask, history & mask];
        let is_value = matches!(token, QUOTE | SCALAR | OPEN_OBJECT | OPEN_ARRAY);
        let right = if in_object {
            match behind {
                OPEN_OBJECT => matches!(token, QUOTE | CLOSE_OBJECT),
                COMMA => token == QUOTE,
                COLON => is_value,
                // A key.
                QUOTE if matches!(before, OPEN_OBJECT | COMMA) => token == COLON,
                _ => matches!(token, COMMA | CLOSE_OBJECT),
            }
        } else {
            match behind {
                OPEN_ARRAY => is_value || token == CLOSE_ARRAY,
                COMMA => is_value,
                _ => matches!(token, COMMA | CLOSE_ARRAY),
            }
        };
        table[history] = !right;
        history += 1;
    }
    table
}
