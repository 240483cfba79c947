//! Trailers on their way to another node. A message of HTTP/1 must name its trailers before its body, when nobody knows them yet. So
//! all of them go in one field that both nodes know.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::words::HOP;
use crate::proto::headers::{text_to_value, value_to_text};

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

/// Puts trailers into the field: a JSON array of `[name, value]`, each byte of a value as the character of Latin-1.
pub(super) fn pack(trailers: &HeaderMap) -> HeaderMap {
    let fields = trailers.iter().filter(|(name, _)| *name != HOP);
    let fields: Vec<_> = fields.map(|(name, value)| (name.as_str(), value_to_text(value))).collect();
    let packed = serde_json::to_string(&fields).ok().and_then(|text| HeaderValue::try_from(text).ok());
    packed.map(|packed| (HOP, packed)).into_iter().collect()
}

/// Takes trailers out of the field. Those that are none are left out.
pub(super) fn unpack(trailers: &HeaderMap) -> HeaderMap {
    let packed = trailers.get(HOP).map_or(&b"[]"[..], HeaderValue::as_bytes);
    let fields: Vec<(Box<str>, Box<str>)> = serde_json::from_slice(packed).unwrap_or_default();
    let read = |(name, value): &(Box<str>, Box<str>)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, text_to_value(value)?))
    };
    fields.iter().filter_map(read).fold(HeaderMap::new(), |mut trailers, (name, value)| {
        trailers.append(name, value);
        trailers
    })
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
            map(&[("grpc-status", b"0"), ("x", b"1"), ("x", b"2\t\xe9\"\\"), ("empty", b"")]),
        ] {
            let packed = pack(&trailers);
            assert_eq!(packed.len(), 1);
            assert_eq!(unpack(&packed), trailers);
        }
        assert_eq!(pack(&map(&[("x-sum", b"7")]))[HOP], r#"[["x-sum","7"]]"#);
        assert_eq!(unpack(&pack(&map(&[("x-socket2me-hop", b"[[\"x\",\"1\"]]")]))), map(&[]), "nobody else's field");
    }

    #[test]
    fn trailers_that_are_none_are_left_out() {
        for (packed, read) in [
            (&b"[[\"a b\",\"1\"],[\"a\",\"\\n\"],[\"b\",\"1\"]]"[..], map(&[("b", b"1")])),
            (b"[[\"a\"]]", map(&[])),
            (b"{}", map(&[])),
            (b"", map(&[])),
        ] {
            assert_eq!(unpack(&map(&[("x-socket2me-hop", packed)])), read, "{}", packed.escape_ascii());
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
