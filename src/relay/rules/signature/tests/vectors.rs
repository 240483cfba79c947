//! What holds for all presets.

use super::*;
use crate::relay::rules::Refusal;

#[test]
fn the_vectors_of_all_vendors_are_verified() {
    for delivery in all_signed().into_iter().chain([token()]) {
        let preset = delivery.verify().preset;
        assert_eq!(delivery.check(), Ok(Verified { preset, replay_key: None }), "{delivery:?}");
        assert_eq!(delivery.rule["preset"], preset.as_str());
    }
    let other = github().check_with(|delivery| {
        delivery.rule = rule("github", "mysecret");
        delivery.body = br#"{"foo":"bar"}"#.to_vec();
        delivery.write_signature("4864d2759938a15468b5df9ade20bf161da9b4f737ea61794142f3484236bda3");
    });
    assert!(other.is_ok(), "{other:?}");
}

#[test]
fn a_body_with_another_bit_is_refused() {
    for delivery in all_signed() {
        for bit in 0..delivery.body.len() * 8 {
            let mut body = delivery.body.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            // The fields of a form are signed, not its bytes: `%2b` is `%2B`.
            let is_same_form = delivery.rule["preset"] == "twilio"
                && form_urlencoded::parse(&body).eq(form_urlencoded::parse(&delivery.body));
            let checked = delivery.check_with(|delivery| delivery.body = body);
            assert!(is_same_form || is_wrong(&checked, Wrong::Mismatch), "bit {bit} of {delivery:?}: {checked:?}");
        }
        let longer = delivery.check_with(|delivery| delivery.body.push(b'a'));
        assert!(is_wrong(&longer, Wrong::Mismatch), "{delivery:?}: {longer:?}");
    }
}

#[test]
fn a_signature_with_another_bit_is_refused() {
    for delivery in all_signed() {
        let signature = delivery.signature_bytes();
        assert!(signature.len() >= 20, "{delivery:?}");
        for bit in 0..signature.len() * 8 {
            let checked = delivery.check_with(|delivery| {
                let mut signature = signature.clone();
                signature[bit / 8] ^= 1 << (bit % 8);
                delivery.write_signature(&write(delivery.signature.2, &signature));
            });
            assert!(is_wrong(&checked, Wrong::Mismatch), "bit {bit} of {delivery:?}: {checked:?}");
        }
    }
}

#[test]
fn a_part_of_a_signature_is_refused() {
    for delivery in all_signed() {
        let signature = delivery.signature_bytes();
        for length in 0..signature.len() {
            let checked = delivery.check_with(|delivery| {
                delivery.write_signature(&write(delivery.signature.2, &signature[..length]));
            });
            assert!(is_wrong(&checked, Wrong::Mismatch), "{length} bytes of {delivery:?}: {checked:?}");
        }
    }
}

#[test]
fn text_that_encodes_no_signature_is_refused() {
    for delivery in all_signed() {
        let good = write(delivery.signature.2, &delivery.signature_bytes());
        let malformed = [
            format!("{good}="),
            good[..good.len() - 1].to_owned(),
            good.replacen(|letter: char| letter.is_ascii_digit(), "!", 1),
            format!("{};{}", &good[..8], &good[8..]),
            format!("\u{e9}{good}"),
            "=".to_owned(),
            "%".to_owned(),
        ];
        for text in malformed {
            assert_ne!(text, good);
            let checked = delivery.check_with(|delivery| delivery.write_signature(&text));
            assert!(is_wrong(&checked, Wrong::Malformed), "{text:?} in {delivery:?}: {checked:?}");
        }
    }
}

#[test]
fn a_signature_without_what_stands_before_it_is_refused() {
    for delivery in [github(), slack(), standard(), stripe(), described()] {
        let checked = delivery.check_with(|delivery| {
            let (index, prefix, _) = &delivery.signature;
            let bare = delivery.headers[*index].1.strip_prefix(prefix).unwrap().to_owned();
            delivery.headers[*index].1 = bare;
        });
        assert!(is_wrong(&checked, Wrong::Malformed), "{delivery:?}: {checked:?}");
    }
}

#[test]
fn a_request_without_one_of_its_headers_is_refused_and_the_header_named() {
    for delivery in all_signed().into_iter().chain([token()]) {
        for index in 0..delivery.headers.len() {
            let name = delivery.headers[index].0;
            if name == "content-type" {
                continue;
            }
            let fault = delivery.check_with(|delivery| drop(delivery.headers.remove(index))).unwrap_err();
            assert_eq!(fault, Fault::Missing(HeaderName::from_static(name)), "{delivery:?}");
            assert_eq!(code(&fault), "signature-missing");
            assert!(fault.to_string().contains(name), "{fault}");
        }
    }
}

#[test]
fn a_header_that_comes_twice_is_refused_even_with_one_value() {
    for delivery in [github(), slack(), shopify(), standard(), twilio(), token(), described()] {
        for index in 0..delivery.headers.len() {
            let (name, value) = delivery.headers[index].clone();
            if ["webhook-signature", "content-type"].contains(&name) {
                continue;
            }
            let fault = delivery.check_with(|delivery| delivery.headers.push((name, value))).unwrap_err();
            assert_eq!(fault, Fault::Wrong(HeaderName::from_static(name), Wrong::Repeated), "{delivery:?}");
        }
    }
}

#[test]
fn a_time_may_be_as_far_away_as_the_tolerance_and_no_further() {
    for mut delivery in all_timed() {
        let signed_at = delivery.now;
        for (rule, tolerance) in [(delivery.rule.clone(), 300), (with(&delivery.rule, "tolerance", 60.into()), 60)] {
            delivery.rule = rule;
            for (now, is_ahead) in [
                (signed_at + tolerance, None),
                (signed_at - tolerance, None),
                (signed_at + tolerance + 1, Some(false)),
                (signed_at - tolerance - 1, Some(true)),
                (u64::MAX, Some(false)),
                (0, Some(true)),
            ] {
                let checked = delivery.check_with(|delivery| delivery.now = now);
                let found = match &checked {
                    Ok(_) => None,
                    Err(Fault::Expired { is_ahead, .. }) => Some(*is_ahead),
                    Err(fault) => panic!("{fault:?}"),
                };
                assert_eq!(found, is_ahead, "at {now}: {delivery:?}");
            }
        }
    }
}

#[test]
fn the_age_of_a_forged_request_is_not_looked_at() {
    for delivery in all_timed() {
        let checked = delivery.check_with(|delivery| {
            delivery.now += 9_999;
            delivery.body.push(b' ');
        });
        assert!(is_wrong(&checked, Wrong::Mismatch), "{checked:?}");
    }
}

#[test]
fn another_time_than_the_signed_one_is_refused() {
    for delivery in all_timed() {
        let time = delivery.now.to_string();
        let other = (delivery.now + 1).to_string();
        let replaced = |text: &str| {
            delivery.check_with(|delivery| {
                for (_, value) in &mut delivery.headers {
                    *value = value.replace(&time, text);
                }
            })
        };
        assert!(is_wrong(&replaced(&other), Wrong::Mismatch), "{delivery:?}");
        for text in [format!("+{time}"), format!("-{time}"), format!("{time}.0"), "soon".to_owned(), "9".repeat(20)] {
            let checked = replaced(&text);
            assert!(is_wrong(&checked, Wrong::NoTime), "{text}: {checked:?}");
        }
    }
}

#[test]
fn any_of_several_secrets_may_have_been_used() {
    for delivery in all_signed().into_iter().chain([token()]) {
        let right = delivery.rule["secrets"][0].clone();
        let other = || json!("b3RoZXIta2V5LW9mLTI0LWJ5dGVzISEh");
        for secrets in [json!([right, other()]), json!([other(), right]), json!([other(), other(), other(), right])] {
            let checked = delivery.check_with(|delivery| delivery.rule["secrets"] = secrets.clone());
            assert!(checked.is_ok(), "{secrets}: {checked:?}");
        }
        let checked = delivery.check_with(|delivery| delivery.rule["secrets"] = json!([other()]));
        assert!(is_wrong(&checked, Wrong::Mismatch), "{checked:?}");
    }
}

#[test]
fn empty_and_large_bodies_are_signed_like_others() {
    let of = |body: Vec<u8>, signature: &str| {
        github().check_with(|delivery| {
            delivery.rule = rule("github", "mysecret");
            delivery.body = body;
            delivery.write_signature(signature);
        })
    };
    let empty = "9074a74de0f34ece3f046403ae88d2eea400281da0ed6ebfa76c949016fa672d";
    let large = "0ac329039126aa0395afc4721743755d3dff49476308a2e70afae496c0b517da";
    assert!(of(Vec::new(), empty).is_ok());
    assert!(of(vec![b'a'; 1 << 20], large).is_ok());
    assert!(is_wrong(&of(Vec::new(), large), Wrong::Mismatch));
    assert!(is_wrong(&of(vec![b'a'; (1 << 20) - 1], large), Wrong::Mismatch));
}

#[test]
fn no_message_shows_a_secret_or_the_signature_that_was_expected() {
    for delivery in all_signed().into_iter().chain([token()]) {
        let secret = delivery.rule["secrets"][0].as_str().unwrap().to_owned();
        let expected = delivery.headers[0].1.clone();
        let mut other = delivery.clone();
        if delivery.rule["preset"] == "token" {
            other.headers[0].1 = "hello".to_owned();
        } else {
            other.write_signature(&write(delivery.signature.2, &[7; 32]));
        }
        let fault = other.check().unwrap_err();
        let shown = format!("{fault} {fault:?} {:?}", other.verify());
        let last_of = |text: &str| text[text.len().saturating_sub(9)..].to_owned();
        assert!(!shown.contains(&last_of(&secret)) && !shown.contains(&last_of(&expected)), "{shown}");
        assert!(shown.contains(delivery.signature_header().as_str()), "{shown}");
        assert_eq!(code(&fault), "signature-wrong");
    }
}

#[test]
fn a_faults_text_says_what_to_do() {
    let header = || HeaderName::from_static("x-sign");
    let expired =
        |is_ahead| Fault::Expired { header: header(), tolerance: std::time::Duration::from_secs(300), is_ahead };
    for (fault, code, words) in [
        (Fault::Missing(header()), "signature-missing", "x-sign is missing"),
        (Fault::Wrong(header(), Wrong::Repeated), "signature-wrong", "x-sign comes more than once: send it once"),
        (Fault::Wrong(header(), Wrong::Malformed), "signature-wrong", "x-sign is not of the form"),
        (Fault::Wrong(header(), Wrong::NoTime), "signature-wrong", "x-sign has no time"),
        (Fault::Wrong(header(), Wrong::Mismatch), "signature-wrong", "the same secret"),
        (Fault::Wrong(header(), Wrong::BodyNotSigned), "signature-wrong", "x-sign does not cover the body"),
        (Fault::Wrong(header(), Wrong::TooManyFields(7)), "signature-wrong", "send 7 at most"),
        (expired(false), "signature-expired", "x-sign is more than 300 s behind"),
        (expired(true), "signature-expired", "x-sign is more than 300 s ahead of"),
    ] {
        let text = fault.to_string();
        assert_eq!(self::code(&fault), code);
        assert!(text.contains(words) && text.contains(": "), "{text}");
    }
}

/// Returns a rule with another member.
fn with(rule: &Value, member: &str, value: Value) -> Value {
    let mut rule = rule.clone();
    rule[member] = value;
    rule
}

/// Returns the name of a fault for programs.
fn code(fault: &Fault) -> &'static str {
    Refusal::Signature(fault.clone()).code().as_str()
}
