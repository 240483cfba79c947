//! The keys.

use std::thread;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::mode::{self, Keys};

/// How often is looked whether the process is in the foreground, where alone it may read.
const LOOK: Duration = Duration::from_millis(500);

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Repeat,
    Open,
    Copy,
    Code,
    Quit,
    Help,
}

/// The keys, what each does in a word, and in more words.
pub(super) const KEYS: [(char, Key, &str, &str); 6] = [
    ('r', Key::Repeat, "repeat", "send the last request to the app once more"),
    ('o', Key::Open, "open", "open the URL in the browser"),
    ('c', Key::Copy, "copy", "copy the URL, where the terminal allows it"),
    ('s', Key::Code, "QR code", "show the QR code of the URL"),
    ('q', Key::Quit, "quit", "quit, as Ctrl-C does"),
    ('?', Key::Help, "help", "show this list"),
];

/// What the thread of the keys tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pressed {
    /// A key was pressed.
    Key(Key),
    /// The window has another size, or the process is in the foreground again.
    Redraw,
}

impl Key {
    /// Reads an event. Where Ctrl-C is no signal it is a key.
    fn of(event: &KeyEvent) -> Option<Self> {
        let KeyCode::Char(char) = event.code else { return None };
        if event.kind != KeyEventKind::Press {
            return None;
        }
        if event.modifiers.contains(KeyModifiers::CONTROL) {
            return (char == 'c').then_some(Self::Quit);
        }
        if event.modifiers.contains(KeyModifiers::ALT) {
            return None;
        }
        KEYS.iter().find(|(name, ..)| *name == char.to_ascii_lowercase()).map(|(_, key, ..)| *key)
    }
}

/// Starts a thread that reads keys, until [`mode::leave`] is called or `tell` returns false.
pub(super) fn listen(tell: impl Fn(Pressed) -> bool + Send + 'static) {
    let read = move || {
        let mut has_keys = false;
        loop {
            match mode::enter() {
                Keys::Never => return,
                Keys::NotNow => {
                    has_keys = false;
                    thread::sleep(LOOK);
                    continue;
                }
                Keys::Come if has_keys => (),
                Keys::Come => {
                    has_keys = true;
                    tell(Pressed::Redraw);
                }
            }
            let pressed = match event::poll(LOOK) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let is_heard = match pressed {
                Ok(Event::Key(key)) => Key::of(&key).is_none_or(|key| tell(Pressed::Key(key))),
                Ok(Event::Resize(..)) => tell(Pressed::Redraw),
                Ok(Event::FocusGained | Event::FocusLost | Event::Mouse(_)) => true,
                // The terminal has gone.
                Err(_) => false,
            };
            if !is_heard {
                return;
            }
        }
    };
    // Without the thread there are no keys, and signals do all that has to be done.
    let _ = thread::Builder::new().name("keys".to_owned()).spawn(read);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_letters_of_either_case() {
        for (code, modifiers, expected) in [
            (KeyCode::Char('r'), KeyModifiers::NONE, Some(Key::Repeat)),
            (KeyCode::Char('R'), KeyModifiers::SHIFT, Some(Key::Repeat)),
            (KeyCode::Char('q'), KeyModifiers::NONE, Some(Key::Quit)),
            (KeyCode::Char('c'), KeyModifiers::NONE, Some(Key::Copy)),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, Some(Key::Quit)),
            (KeyCode::Char('r'), KeyModifiers::CONTROL, None),
            (KeyCode::Char('o'), KeyModifiers::ALT, None),
            (KeyCode::Char('?'), KeyModifiers::NONE, Some(Key::Help)),
            (KeyCode::Char('x'), KeyModifiers::NONE, None),
            (KeyCode::Enter, KeyModifiers::NONE, None),
        ] {
            assert_eq!(Key::of(&KeyEvent::new(code, modifiers)), expected, "{code:?} {modifiers:?}");
        }
        let released = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(Key::of(&released), None);
    }
}
