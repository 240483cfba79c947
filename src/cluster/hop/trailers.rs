//! Trailers on their way to another node. A message of HTTP/1 must name its trailers before its body, when nobody knows them yet. So
//! all of them go in one field that both nodes know.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::words::HOP;

/// Adds the field to the header `Trailer` of a message whose body is chunked.
pub(super) fn announce(headers: &mut HeaderMap) {
    headers.append(header::TRAILER, HeaderValue::from_name(HOP));
}

/// Makes the header `Trailer` of a response what it was before [`announce`].
pub(super) fn withdraw(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(header::TRAILER).iter().filter_map(without_field).collect();
    headers.remove(header::TRAILER);
    for line in lines {
        headers.append(header::TRAILER, line);
    }
}

/// Returns a line of `Trailer` without the field, which hyper has put behind the other names. `None` if nothing is left.
fn without_field(line: &HeaderValue) -> Option<HeaderValue> {
    let mut names = line.as_bytes().rsplitn(2, |&byte| byte == b',');
    let is_field = names.next().is_some_and(|name| name.trim_ascii() == HOP.as_str().as_bytes());
    if is_field { HeaderValue::from_bytes(names.next()?).ok() } else { Some(line.clone()) }
}

/// Puts trailers into the field: `NAME:LENGTH:VALUE` for each, the length of the value in bytes, and a full stop at the end. It takes
/// as many bytes as the trailers themselves do, since hyper takes 16 KiB of trailers and no more.
pub(super) fn pack(trailers: &HeaderMap) -> HeaderMap {
    let mut packed = Vec::new();
    for (name, value) in trailers.iter().filter(|(name, _)| *name != HOP) {
        packed.extend_from_slice(name.as_str().as_bytes());
        packed.extend_from_slice(format!(":{}:", value.len()).as_bytes());
        packed.extend_from_slice(value.as_bytes());
    }
    packed.push(b'.');
    HeaderValue::from_bytes(&packed).map(|packed| (HOP, packed)).into_iter().collect()
}

/// Takes trailers out of the field. If it is malformed, there are none.
pub(super) fn unpack(trailers: &HeaderMap) -> HeaderMap {
    let packed = trailers.get(HOP).map_or(&b"."[..], HeaderValue::as_bytes);
    all(packed).unwrap_or_default()
}

fn all(mut packed: &[u8]) -> Option<HeaderMap> {
    let mut unpacked = HeaderMap::new();
    while packed != b"." {
        let (name, value, rest) = first(packed)?;
        unpacked.append(name, value);
        packed = rest;
    }
    Some(unpacked)
}

/// Takes the first trailer, and returns what follows.
fn first(packed: &[u8]) -> Option<(HeaderName, HeaderValue, &[u8])> {
    let mut parts = packed.splitn(3, |&byte| byte == b':');
    let (name, length, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let length = str::from_utf8(length).ok()?.parse().ok()?;
    let (value, rest) = rest.split_at_checked(length)?;
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &[u8])]) -> HeaderMap {
        lines.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
            map
        })
    }

    #[test]
    fn trailers_arrive_as_they_were() {
        for trailers in [
            map(&[]),
            map(&[("x-sum", b"7")]),
            map(&[("grpc-status", b"0"), ("x", b"1"), ("x", b" 2\t\xe9:3:. "), ("empty", b"")]),
        ] {
            let packed = pack(&trailers);
            assert_eq!(packed.len(), 1);
            assert_eq!(unpack(&packed), trailers);
        }
        assert_eq!(pack(&map(&[("x-sum", b"7"), ("y", b"")]))[HOP], "x-sum:1:7y:0:.");
        assert_eq!(unpack(&pack(&map(&[("x-socket2me-hop", b"x:1:1.")]))), map(&[]), "nobody else's field");
    }

    #[test]
    fn malformed_trailers_are_none() {
        for packed in [&b"a b:1:1."[..], b"b:1", b"b:2:1.", b"b:x:1.", b"b:99999999999999999999:1.", b"b:1:1", b""] {
            assert_eq!(unpack(&map(&[("x-socket2me-hop", packed)])), map(&[]), "{}", packed.escape_ascii());
        }
        assert_eq!(unpack(&map(&[("x", b"1")])), map(&[]), "those beside the field are nobody's");
    }

    #[test]
    fn the_field_is_announced_beside_other_names() {
        for (written, sent) in [
            (&[][..], &[][..]),
            (&["x-socket2me-hop"], &[]),
            (&["a, x-socket2me-hop"], &["a"]),
            (&["a,b", "x-socket2me-hop"], &["a,b"]),
            (&["a,x-socket2me-hop"], &["a"]),
            (&["not-x-socket2me-hop"], &["not-x-socket2me-hop"]),
        ] {
            let lines: Vec<_> = written.iter().map(|line| ("trailer", line.as_bytes())).collect();
            let mut headers = map(&lines);
            withdraw(&mut headers);
            assert_eq!(headers.get_all("trailer").iter().collect::<Vec<_>>(), sent, "{written:?}");
        }
        let mut headers = map(&[("trailer", b"a")]);
        announce(&mut headers);
        withdraw(&mut headers);
        assert_eq!(headers, map(&[("trailer", b"a")]));
    }
}
