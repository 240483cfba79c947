//! WebSocket frames as both sides read and write them (RFC 6455, section 5), without extensions.
//!
//! - [`frame`]: the head of one frame, and its mask
//! - [`reader`]: frames put together to messages

pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod parts;
pub mod reader;

pub use self::frame::{Opcode, Violation, close_payload, mask, write_head, write_masked_head, write_part_head};
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

    /// Reads a message in pieces of `size`, and takes parts of it after each. Returns the parts joined, and how many they are.
    fn read_partly(bytes: &[u8], size: usize, least: usize) -> Result<(Vec<u8>, usize), Violation> {
        let mut reader = Reader::new(ReadLimits { message: usize::MAX, oversized: usize::MAX });
        let (mut joined, mut count) = (Vec::new(), 0);
        for mut piece in bytes.chunks(size) {
            while let Some(item) = reader.read(&mut piece).and_then(|item| match item {
                Some(item) => Ok(Some(item)),
                None => reader.take_part(least),
            })? {
                count += 1;
                match item {
                    Item::Text(part) => joined.extend_from_slice(part.as_bytes()),
                    Item::Binary(part) => joined.extend_from_slice(&part),
                    other => assert_eq!(other, Item::Pong),
                }
            }
            assert!(reader.buffered_bytes() <= 8 + 2 * (least + size), "what was taken is gone");
        }
        Ok((joined, count))
    }

    #[test]
    fn the_parts_of_a_message_are_the_message() {
        const MASK: [u8; 4] = [1, 2, 3, 4];
        let text = "é€😀x".repeat(500);
        for opcode in [Opcode::Text, Opcode::Binary] {
            for cut in [0, 1, 2, 1001, 4999] {
                let (mut bytes, parts) = (Vec::new(), text.as_bytes().split_at(cut));
                for (is_last, part) in [(false, parts.0), (true, parts.1)] {
                    write_masked_head(
                        if is_last { Opcode::Continuation } else { opcode },
                        part.len(),
                        MASK,
                        &mut bytes,
                    );
                    let start = bytes.len();
                    bytes.extend(part);
                    mask(&mut bytes[start..], MASK);
                    if !is_last {
                        bytes[0] &= 0x7f;
                        write_masked_head(Opcode::Pong, 0, MASK, &mut bytes);
                    }
                }
                for (size, least) in [(1, 1), (1, 10), (7, 1), (100, 64), (100, 10_000), (bytes.len(), 1)] {
                    let (joined, count) = read_partly(&bytes, size, least).unwrap();
                    assert!(
                        joined == text.as_bytes(),
                        "{opcode:?}, cut at {cut}, in pieces of {size}, {least} at least"
                    );
                    assert!(count > 1 && count <= 3 + text.len() / least, "{count}");
                }
                if opcode == Opcode::Text && cut == 1 {
                    // The second frame does not begin with the rest of a character.
                    let end = bytes.len();
                    bytes[end - text.len() + 1] ^= 0x80;
                    assert_eq!(read_partly(&bytes, 10, 1), Err(Violation::Utf8));
                }
            }
        }
    }
}
