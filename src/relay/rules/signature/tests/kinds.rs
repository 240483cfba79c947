//! What is particular to Stripe, to Standard Webhooks and to tokens; and how deliveries are known again.

use super::*;

#[test]
fn of_stripe_only_signatures_of_version_1_count() {
    let good = "af4ead0627a34a8cca29808e8de9ada8e41a92e6237c63cef6eacf51d36cca34";
    let bad = "0".repeat(64);
    let with = |value: &str| stripe().check_with(|delivery| value.clone_into(&mut delivery.headers[0].1));
    for value in [
        format!("t=1614265330,v1={good}"),
        format!("v1={good},t=1614265330"),
        format!("t=1614265330, v1={good}"),
        format!("t=1614265330,v1={}", good.to_uppercase()),
        format!("t=1614265330,v1={bad},v1={good},v0={bad}"),
        format!("t=1614265330,v1={good},v1={bad}"),
        format!("t=1614265330,v1=zz,v1={good},,x"),
    ] {
        assert!(with(&value).is_ok(), "{value}");
    }
    for (value, why) in [
        (format!("t=1614265330,v0={good}"), Wrong::Malformed),
        (format!("t=1614265330,v2={good}"), Wrong::Malformed),
        (format!("t=1614265330,V1={good}"), Wrong::Malformed),
        (format!("t=1614265330,{good}"), Wrong::Malformed),
        (format!("v1={good}"), Wrong::Malformed),
        (format!("t=1614265330,t=1614265330,v1={good}"), Wrong::Malformed),
        (format!("t=1,t=1614265330,v1={good}"), Wrong::Malformed),
        (format!("t=,v1={good}"), Wrong::NoTime),
        (format!("t=1614265330,v0={good},v1={bad}"), Wrong::Mismatch),
        (String::new(), Wrong::Malformed),
        (",=,".to_owned(), Wrong::Malformed),
    ] {
        assert!(is_wrong(&with(&value), why), "{value}: {:?}", with(&value));
    }
}

#[test]
fn a_list_of_signatures_may_be_cut_into_lines() {
    let halves = stripe().check_with(|delivery| {
        let line = delivery.headers[0].1.replace("t=1614265330,", "");
        delivery.headers = vec![("stripe-signature", "t=1614265330".to_owned()), ("stripe-signature", line)];
    });
    assert!(halves.is_ok(), "{halves:?}");
    let second_time = stripe().check_with(|delivery| delivery.headers.push(("stripe-signature", "t=1".to_owned())));
    assert!(is_wrong(&second_time, Wrong::Malformed));
    let lines = standard().check_with(|delivery| {
        delivery.headers.insert(0, ("webhook-signature", format!("v1,{}", "A".repeat(43) + "=")));
    });
    assert!(lines.is_ok(), "{lines:?}");
}

#[test]
fn of_standard_webhooks_any_signature_of_version_1_suffices() {
    let good = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let bad = "fluU6N630VYssJ7BPvH/gkSvBzf7+MM8gp9FBaJH+qU=";
    let with = |value: &str| standard().check_with(|delivery| value.clone_into(&mut delivery.headers[0].1));
    for value in [
        format!("v1,{good}"),
        format!("v1,{bad} v1,{good}"),
        format!("v1a,{bad} v1,{good} v2,{bad}"),
        format!("v1,? v1,{good}"),
        format!("  v1,{good}"),
    ] {
        assert!(with(&value).is_ok(), "{value}");
    }
    for (value, why) in [
        (format!("v1a,{good}"), Wrong::Malformed),
        (format!("v2,{good} v0,{good}"), Wrong::Malformed),
        (format!("v1={good}"), Wrong::Malformed),
        (format!("v1,{bad},v1,{good}"), Wrong::Malformed),
        (format!("v1a,{good} v1,{bad}"), Wrong::Mismatch),
    ] {
        assert!(is_wrong(&with(&value), why), "{value}: {:?}", with(&value));
    }
}

#[test]
fn standard_webhooks_go_by_their_former_names_too() {
    let svix = standard_named(["svix-signature", "svix-id", "svix-timestamp"]);
    assert!(svix.check().is_ok());
    for (index, name) in ["webhook-signature", "webhook-id", "webhook-timestamp"].into_iter().enumerate() {
        let fault = svix.check_with(|delivery| drop(delivery.headers.remove(index))).unwrap_err();
        assert_eq!(fault, Fault::Missing(HeaderName::from_static(name)));
    }
    let twice = |id: &str| {
        standard().check_with(|delivery| {
            delivery.headers.extend([("svix-id", id.to_owned()), ("svix-timestamp", TIME.to_string())]);
        })
    };
    assert!(twice("msg_p5jXN8AQM9LWM0D4loKWxJek").is_ok());
    assert!(is_wrong(&twice("msg_of_somebody"), Wrong::Repeated), "an end could read the id that is not signed");
    let other_time =
        standard().check_with(|delivery| delivery.headers.push(("svix-timestamp", "1614265331".to_owned())));
    assert!(is_wrong(&other_time, Wrong::Repeated));
}

#[test]
fn a_secret_of_standard_webhooks_is_the_key_that_it_encodes() {
    let other = "b3RoZXIta2V5LW9mLTI0LWJ5dGVzISEh";
    let with = |secret: &str| {
        standard().check_with(|delivery| {
            delivery.rule = rule("standard", secret);
            delivery.write_signature("fluU6N630VYssJ7BPvH/gkSvBzf7+MM8gp9FBaJH+qU=");
        })
    };
    assert!(with(other).is_ok() && with(&format!("whsec_{other}")).is_ok());
    assert!(is_wrong(&with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Wrong::Mismatch));
}

#[test]
fn another_id_than_the_signed_one_is_refused() {
    for (delivery, name) in [(standard(), "webhook-id"), (described(), "x-id")] {
        let checked = delivery.check_with(|delivery| {
            let (_, id) = delivery.headers.iter_mut().find(|(header, _)| *header == name).unwrap();
            id.push('2');
        });
        assert!(is_wrong(&checked, Wrong::Mismatch), "{checked:?}");
    }
}

#[test]
fn a_token_is_its_secret_and_nothing_else() {
    for other in ["", "tell", "tell nobod", "tell nobody!", "Tell nobody", "tell  nobody"] {
        let checked = token().check_with(|delivery| other.clone_into(&mut delivery.headers[0].1));
        assert!(is_wrong(&checked, Wrong::Mismatch), "{other:?}: {checked:?}");
    }
    let latin = token().check_with(|delivery| "t\u{e9}ll nobody".clone_into(&mut delivery.headers[0].1));
    assert!(is_wrong(&latin, Wrong::Malformed), "{latin:?}");
}

fn replay_key(delivery: &Delivery) -> String {
    let checked = delivery.check_with(|delivery| delivery.rule["replay"] = true.into());
    write(Encoding::Hex, checked.unwrap().replay_key.unwrap().as_bytes())
}

#[test]
fn a_delivery_is_known_by_the_sha_256_of_its_id_or_of_what_was_signed() {
    let of_id = "f9687cd8cba444e077ceaa14a68c044e686bc6a9cd817724f94a5627e110cfa3";
    let of_text = "f3283154f76cb36987720abb132de200a2be3aa9395dce0b4b26d5e73e0098c1";
    assert_eq!((replay_key(&standard()).as_str(), replay_key(&stripe()).as_str()), (of_id, of_text));
}

#[test]
fn a_delivery_is_known_again_however_its_signature_is_written() {
    let good = "af4ead0627a34a8cca29808e8de9ada8e41a92e6237c63cef6eacf51d36cca34";
    let new = "ba92ec1075725a3fb9b44f648db978e309f17e07edc5caa0e3f74a9e0b819e5a";
    let mut rotated = stripe();
    rotated.rule["secrets"] = json!(["whsec_new", "whsec_test_secret"]);
    let expected = replay_key(&rotated);
    for signatures in [format!("v1={good},v1={new}"), format!("v1={new}"), format!("v1={}", good.to_uppercase())] {
        rotated.headers[0].1 = format!("t=1614265330,{signatures}");
        assert_eq!(replay_key(&rotated), expected, "{signatures}");
    }
}

/// Without a character between them, an id and the body could be cut elsewhere and be signed all the same.
#[test]
fn an_id_that_may_end_anywhere_does_not_tell_deliveries_apart() {
    let of = |template: &str, id: &str, body: &str, signature: &str| {
        let mut delivery = described();
        delivery.rule = json!({
            "preset": "hmac", "secrets": ["key"], "header": "x-sign", "template": template, "id": "x-id", "replay": true,
        });
        delivery.headers = vec![("x-sign", signature.to_owned()), ("x-id", id.to_owned())];
        delivery.body = body.as_bytes().to_vec();
        replay_key(&delivery)
    };
    let undelimited = "0300bae4f49ce49461e8834559c4cd9f3f1bb182460c0993f1f57ef50d125dea";
    assert_eq!(of("{id}{body}", "id1", "abc", undelimited), of("{id}{body}", "id", "1abc", undelimited));
    let (first, second) = (
        of("{id}.{body}", "id1", "abc", "662cb211825ca377828992b0345697851475628bd5663cffeee9de1d4b52158e"),
        of("{id}.{body}", "id1", "abd", "9b7c211091bbe46b50643282c954039a6aa074e9d165d3775cbe284d7d3d938d"),
    );
    assert_eq!(first, second, "the id alone tells");
}
