//! The ack of `data` and `message`: no argument, or the window that holds from now on.

use bytestring::ByteString;

use crate::proto::socket_io::connection::Answer;
use crate::proto::socket_io::packet::Args;

/// Returns the ack that tells a window, in bytes, or none.
#[must_use]
pub fn write_ack(window: Option<usize>) -> Answer {
    let args = window.and_then(|window| {
        let json = ["[", itoa::Buffer::new().format(window), "]"].concat();
        Args::parse(ByteString::from(json)).ok()
    });
    Answer { args: args.unwrap_or_else(Args::empty), attachments: Vec::new() }
}

/// Returns the window that an ack tells, in bytes. Anything but a whole number is none.
#[must_use]
pub fn read_ack(answer: &Answer) -> Option<u64> {
    answer.args.get(0)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_as_it_was_written_and_anything_else_is_none() {
        for window in [None, Some(0), Some(524_288), Some(usize::MAX)] {
            let told = window.map(|window| window as u64);
            assert_eq!(read_ack(&write_ack(window)), told);
        }
        for json in ["[null]", "[\"524288\"]", "[1.5]", "[-1]", "[[1]]", "[{}]", "[18446744073709551616]"] {
            let answer = Answer { args: Args::parse(json.into()).unwrap(), attachments: Vec::new() };
            assert_eq!(read_ack(&answer), None, "{json}");
        }
    }
}
