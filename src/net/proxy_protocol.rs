//! The PROXY protocol, versions 1 and 2: a proxy says whose connection it passes on before the first byte of that.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The bytes with which each header begins: the smallest one of version 1 has 15, and the signature of version 2 twelve.
const START: usize = 12;

/// The bytes of a header of version 2 before its addresses.
const FIXED: usize = 16;

/// The most bytes of a header of version 1, with its line end.
const MAX_V1: usize = 107;

/// The most bytes behind the fixed part of version 2: addresses, and what proxies say beside them, such as names and certificates.
const MAX_V2: usize = 4 << 10;

/// Reads the header of a connection and not a byte more. Returns the address of the client, or `None` where the proxy speaks for
/// itself, as for a look whether the server is there.
///
/// # Errors
/// When the connection ends before the header does, or begins with anything else.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; START];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        header.resize(FIXED, 0);
        stream.read_exact(&mut header[START..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > MAX_V2 {
            return Err(wrong("the header is too long"));
        }
        header.resize(FIXED + length, 0);
        stream.read_exact(&mut header[FIXED..]).await?;
        return client_of_v2(&header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(wrong("it begins with something else"));
    }
    while !header.ends_with(b"\r\n") {
        if header.len() == MAX_V1 {
            return Err(wrong("the header is too long"));
        }
        header.push(stream.read_u8().await?);
    }
    client_of_v1(&header)
}

fn client_of_v1(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let header = v1::Header::try_from(header).map_err(wrong)?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

fn client_of_v2(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let header = v2::Header::try_from(header).map_err(wrong)?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
        (v2::Command::Local, _) | (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
    })
}

fn wrong(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no header of the PROXY protocol: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    /// Reads a header, and returns the client and what is left behind it.
    async fn client(bytes: &[u8]) -> Result<(Option<String>, usize), io::ErrorKind> {
        let mut rest = bytes;
        let client = read(&mut rest).await.map_err(|error| error.kind())?;
        Ok((client.map(|client| client.to_string()), rest.len()))
    }

    fn v2(parts: &[&[u8]]) -> Vec<u8> {
        [V2, &parts.concat()].concat()
    }

    #[tokio::test]
    async fn a_header_says_whose_the_connection_is_and_nothing_behind_it_is_read() {
        let ipv4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0x1f, 0x90, 0, 80];
        let ipv6 = [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[7], &[0; 16], &[0x1f, 0x90, 0, 80]].concat();
        let (ours, theirs) = (Some("192.0.2.7:8080".to_owned()), Some("[2001:db8::7]:8080".to_owned()));
        for (bytes, expected) in [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 8080 80\r\nGET".to_vec(), (ours.clone(), 3)),
            (b"PROXY TCP6 2001:db8::7 ::1 8080 80\r\n".to_vec(), (theirs.clone(), 0)),
            (b"PROXY UNKNOWN\r\nGET".to_vec(), (None, 3)),
            (v2(&[&[0x21, 0x11, 0, 12], ipv4, b"GET"]), (ours.clone(), 3)),
            // With something beside the addresses.
            (v2(&[&[0x21, 0x11, 0, 16], ipv4, &[4, 0, 1, 9], b"GET"]), (ours, 3)),
            (v2(&[&[0x21, 0x21, 0, 36], &ipv6]), (theirs, 0)),
            (v2(&[&[0x20, 0x11, 0, 12], ipv4]), (None, 0)),
            (v2(&[&[0x20, 0x00, 0, 0], b"GET"]), (None, 3)),
        ] {
            assert_eq!(client(&bytes).await, Ok(expected), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused_and_one_that_is_too_long_too() {
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        for (bytes, kind) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), io::ErrorKind::InvalidData),
            (b"PROXY TCP4 192.0.2.7\r\n".to_vec(), io::ErrorKind::InvalidData),
            (b"PROXY TCP4 192.0.2.700 198.51.100.1 8080 80\r\n".to_vec(), io::ErrorKind::InvalidData),
            (endless, io::ErrorKind::InvalidData),
            (v2(&[&[0x21, 0x11, 0xff, 0xff]]), io::ErrorKind::InvalidData),
            (v2(&[&[0x31, 0x11, 0, 0]]), io::ErrorKind::InvalidData),
            (v2(&[&[0x21, 0x11, 0, 4], &[1, 2, 3, 4]]), io::ErrorKind::InvalidData),
            (b"PROXY".to_vec(), io::ErrorKind::UnexpectedEof),
            (v2(&[&[0x21, 0x11, 0, 12], &[1]]), io::ErrorKind::UnexpectedEof),
        ] {
            assert_eq!(client(&bytes).await, Err(kind), "{bytes:?}");
        }
    }
}
