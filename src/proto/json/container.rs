//! Steps over whole objects and arrays by large blocks.
//!
//! As in simdjson ("Parsing Gigabytes of JSON per Second", Langdale and Lemire, 2019), the bits of a block tell where strings
//! are and where each token starts. A table says which token may follow which two others. Strings are not walked through; only
//! their rare escapes are looked at.

use std::ops::ControlFlow;

use fearless_simd::prelude::*;
use fearless_simd::{dispatch, u8x64};

use super::block::{BlockState, LARGE_BLOCK, simd_level};
use super::cursor::Cursor;
use super::nesting::{Container, Nesting};

/// Returns the offset behind the object or array that starts at `at`.
///
/// Returns `None` if the container, or the rest of the large block behind its end, is not JSON. The walk of `scan.rs` then
/// finds the byte, or that the container itself is JSON.
#[inline(never)]
pub(super) fn skip_container(bytes: &[u8], at: usize) -> Option<usize> {
    dispatch!(simd_level(), simd => skip_container_with(simd, bytes, at))
}

#[inline(always)]
fn skip_container_with<S: Simd>(simd: S, bytes: &[u8], at: usize) -> Option<usize> {
    let mut state = BlockState::default();
    let mut open = Nesting::default();
    let mut grammar = Grammar::new();
    let (blocks, tail) = bytes[at..].as_chunks();
    let mut last = [b' '; LARGE_BLOCK];
    last[..tail.len()].copy_from_slice(tail);
    for index in 0..=blocks.len() {
        let block = Block { text: bytes, start: at + index * LARGE_BLOCK, bytes: blocks.get(index).unwrap_or(&last) };
        let found = state.next(u8x64::load_array_ref(simd, block.bytes));
        if found.has_wrong_control {
            return None;
        }
        let mut escapes = found.escapes;
        while escapes != 0 {
            block.cursor_at(escapes.trailing_zeros() as usize).skip_escape().ok()?;
            escapes &= escapes - 1;
        }
        if let ControlFlow::Break(end) = grammar.take_tokens(found.tokens, &block, &mut open) {
            return end;
        }
    }
    None
}

/// A large block of a text.
struct Block<'t> {
    text: &'t [u8],
    /// The offset of the block in the text.
    start: usize,
    /// The bytes of the block: those of the text, with whitespace behind its end.
    bytes: &'t [u8; LARGE_BLOCK],
}

impl<'t> Block<'t> {
    #[inline(always)]
    fn cursor_at(&self, index: usize) -> Cursor<'t> {
        Cursor { bytes: self.text, at: self.start + index }
    }
}

/// What the tokens so far say of the next one.
///
/// The stack of open containers stays apart. It is passed to functions by reference, and what is passed so is not kept in
/// registers.
struct Grammar {
    /// The last three tokens, [`TOKEN_BITS`] each, the latest lowest.
    history: usize,
    /// The histories that cannot be in the innermost container.
    forbidden: &'static [bool; HISTORIES],
    /// Whether a forbidden history was met. Looked at once a block, so that no token needs a branch for it.
    is_wrong: bool,
}

impl Grammar {
    #[inline(always)]
    fn new() -> Self {
        Self { history: 0, forbidden: &NOTHING_FORBIDDEN, is_wrong: false }
    }

    /// Takes the tokens of a block. Breaks with the offset behind the outermost container when it ends, and with `None` when a
    /// token cannot stand where it does.
    #[inline(always)]
    fn take_tokens(&mut self, mut tokens: u64, block: &Block<'_>, open: &mut Nesting) -> ControlFlow<Option<usize>> {
        while tokens != 0 {
            let index = tokens.trailing_zeros() as usize;
            tokens &= tokens - 1;
            let token = TOKENS[usize::from(block.bytes[index % LARGE_BLOCK])];
            self.history = (self.history << TOKEN_BITS | token as usize) % HISTORIES;
            self.is_wrong |= self.forbidden[self.history];
            match token {
                Token::Quote | Token::Colon | Token::Comma | Token::Whitespace => (),
                Token::Scalar => {
                    if !is_whole_scalar(block.cursor_at(index)) {
                        return ControlFlow::Break(None);
                    }
                }
                Token::OpenObject => {
                    open.push(Container::Object);
                    self.forbidden = &FORBIDDEN_IN_OBJECT;
                }
                Token::OpenArray => {
                    open.push(Container::Array);
                    self.forbidden = &FORBIDDEN_IN_ARRAY;
                }
                Token::CloseObject | Token::CloseArray => {
                    open.pop();
                    match open.innermost() {
                        Some(Container::Object) => self.forbidden = &FORBIDDEN_IN_OBJECT,
                        Some(Container::Array) => self.forbidden = &FORBIDDEN_IN_ARRAY,
                        None => return ControlFlow::Break((!self.is_wrong).then_some(block.start + index + 1)),
                    }
                }
            }
        }
        if self.is_wrong { ControlFlow::Break(None) } else { ControlFlow::Continue(()) }
    }
}

/// Returns whether a number or a word is here, and whitespace or an operator behind it.
#[inline(always)]
fn is_whole_scalar(mut cursor: Cursor<'_>) -> bool {
    if cursor.skip_scalar().is_err() {
        return false;
    }
    let behind = cursor.peek().map_or(Token::Whitespace, |byte| TOKENS[usize::from(byte)]);
    !matches!(behind, Token::Scalar | Token::Quote)
}

/// The kind of a token, known from its first byte.
#[derive(Clone, Copy)]
enum Token {
    /// A string.
    Quote,
    Colon,
    Comma,
    /// A number or a word, or a byte that starts no token of JSON.
    Scalar,
    OpenObject,
    OpenArray,
    CloseObject,
    CloseArray,
    /// No token: whitespace between two.
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

/// The bits that a token takes in a history. Whitespace is in no history, so eight kinds are left.
const TOKEN_BITS: usize = 3;

/// The number of histories: sequences of three tokens.
const HISTORIES: usize = 1 << (3 * TOKEN_BITS);

static NOTHING_FORBIDDEN: [bool; HISTORIES] = [false; HISTORIES];
static FORBIDDEN_IN_OBJECT: [bool; HISTORIES] = forbidden_histories(Container::Object);
static FORBIDDEN_IN_ARRAY: [bool; HISTORIES] = forbidden_histories(Container::Array);

/// Tells for each history in such a container whether its last token cannot follow the two before it. A closing bracket belongs
/// to the container that it closes.
const fn forbidden_histories(container: Container) -> [bool; HISTORIES] {
    let mut table = [false; HISTORIES];
    let mut history = 0;
    while history < HISTORIES {
        let [first, second, token] = tokens_of(history);
        table[history] = !match container {
            Container::Object => may_follow_in_object([first, second], token),
            Container::Array => may_follow_in_array(second, token),
        };
        history += 1;
    }
    table
}

const fn tokens_of(history: usize) -> [Token; 3] {
    const KINDS: [Token; 1 << TOKEN_BITS] = {
        let mut kinds = [Token::Quote; 1 << TOKEN_BITS];
        let mut byte = 0;
        while byte < TOKENS.len() {
            if !matches!(TOKENS[byte], Token::Whitespace) {
                kinds[TOKENS[byte] as usize] = TOKENS[byte];
            }
            byte += 1;
        }
        kinds
    };
    let mask = (1 << TOKEN_BITS) - 1;
    [KINDS[history >> (2 * TOKEN_BITS)], KINDS[history >> TOKEN_BITS & mask], KINDS[history & mask]]
}

const fn begins_value(token: Token) -> bool {
    matches!(token, Token::Quote | Token::Scalar | Token::OpenObject | Token::OpenArray)
}

const fn may_follow_in_object(before: [Token; 2], token: Token) -> bool {
    match before {
        [_, Token::OpenObject] => matches!(token, Token::Quote | Token::CloseObject),
        [_, Token::Comma] => matches!(token, Token::Quote),
        [_, Token::Colon] => begins_value(token),
        // That string was a key.
        [Token::OpenObject | Token::Comma, Token::Quote] => matches!(token, Token::Colon),
        // A value is complete; or this cannot be.
        [
            _,
            Token::Quote
            | Token::Scalar
            | Token::OpenArray
            | Token::CloseObject
            | Token::CloseArray
            | Token::Whitespace,
        ] => matches!(token, Token::Comma | Token::CloseObject),
    }
}

const fn may_follow_in_array(before: Token, token: Token) -> bool {
    match before {
        Token::OpenArray => begins_value(token) || matches!(token, Token::CloseArray),
        Token::Comma => begins_value(token),
        // A value is complete; or this cannot be.
        Token::Quote
        | Token::Colon
        | Token::Scalar
        | Token::OpenObject
        | Token::CloseObject
        | Token::CloseArray
        | Token::Whitespace => matches!(token, Token::Comma | Token::CloseArray),
    }
}
