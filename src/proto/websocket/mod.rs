//! WebSocket frames as both sides read and write them (RFC 6455, section 5), without extensions.
//!
//! - [`frame`]: the head of one frame, and its mask
//! - [`reader`]: frames put together to messages

pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod parts;
pub mod reader;

pub use self::frame::{Opcode, Violation, mask, write_head, write_masked_head};
pub use self::reader::{Direct, Item, ReadLimits, Reader};

#[cfg(test)]
mod tests {
    use super::parts::read_in_parts;
    use super::*;

    #[test]
    fn each_side_reads_what_the_other_writes_and_refuses_its_own() {
        const MASK: [u8; 4] = [1, 2, 3, 4];
        let limits = ReadLimits { message: 100_000, oversized: 400_000 };
        for length in [0, 1, 7, 125, 126, 70_000] {
            let (mut of_client, mut of_server, payload) = (Vec::new(), Vec::new(), vec![b'x'; length]);
            write_masked_head(Opcode::Binary, length, MASK, &mut of_client);
            let start = of_client.len();
            of_client.extend(&payload);
            mask(&mut of_client[start..], MASK);
            write_head(Opcode::Binary, length, &mut of_server);
            of_server.extend(&payload);
            for size in [1, 3, of_client.len()] {
                let read = |mut reader, bytes: &[u8]| read_in_parts(&mut reader, bytes, size, 1);
                let whole = (vec![Item::Binary(payload.clone().into())], None);
                assert_eq!(read(Reader::new(limits), &of_client), whole);
                assert_eq!(read(Reader::of_client(limits), &of_server), whole);
                assert_eq!(read(Reader::new(limits), &of_server).1, Some(Violation::Protocol));
                assert_eq!(read(Reader::of_client(limits), &of_client).1, Some(Violation::Protocol));
            }
        }
    }
}
