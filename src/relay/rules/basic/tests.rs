use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::relay::rules::Refusal;

const WISH: &str = r#"{"users":{"alice":"open sesame","bob":"12345678:9"}}"#;

fn wish(json: &str) -> Result<BasicWish, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn header(name: &str, password: &str) -> HeaderValue {
    HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))).unwrap()
}

async fn check(passwords: &Passwords, basic: &Basic, value: Option<HeaderValue>, address: &str) -> Result<(), Refusal> {
    let address: IpAddr = address.parse().unwrap();
    passwords.check(basic, value.as_ref(), address.into()).await
}

#[tokio::test]
async fn a_user_shows_name_and_password() {
    let passwords = Passwords::default();
    let basic = passwords.hash(wish(WISH).unwrap()).await.unwrap();
    for (name, password, is_right) in [
        ("alice", "open sesame", true),
        ("bob", "12345678:9", true),
        ("alice", "12345678:9", false),
        ("alice", "", false),
        ("carol", "open sesame", false),
    ] {
        for round in 0..2 {
            let checked = check(&passwords, &basic, Some(header(name, password)), "192.0.2.1").await;
            assert_eq!(checked.is_ok(), is_right, "{name} {password} {round}");
        }
    }
    for (value, name) in [(None, "nothing"), (Some("Bearer x"), "another scheme"), (Some("Basic ?"), "no base64")] {
        let checked = check(&passwords, &basic, value.map(HeaderValue::from_static), "192.0.2.2").await;
        let challenge = HeaderValue::from_static(r#"Basic realm="Socket2Me tunnel", charset="UTF-8""#);
        assert_eq!(checked, Err(Refusal::AuthRequired(challenge)), "{name}");
    }
}

#[tokio::test]
async fn an_address_that_is_wrong_too_often_waits_and_others_do_not() {
    let passwords = Passwords::default();
    let basic = passwords.hash(wish(WISH).unwrap()).await.unwrap();
    let (right, wrong) = (header("alice", "open sesame"), header("alice", "close sesame"));
    let (here, there) = ("192.0.2.1", "192.0.2.2");
    for _ in 0..10 {
        let checked = check(&passwords, &basic, Some(wrong.clone()), here).await;
        assert!(matches!(checked, Err(Refusal::AuthRequired(_))), "{checked:?}");
    }
    let checked = check(&passwords, &basic, Some(right.clone()), here).await;
    assert!(matches!(checked, Err(Refusal::WrongTooOften(left)) if left <= Duration::from_secs(60)), "{checked:?}");
    assert_eq!(check(&passwords, &basic, Some(right.clone()), there).await, Ok(()));
    assert_eq!(check(&passwords, &basic, Some(right.clone()), here).await, Ok(()), "by now it is known to be right");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    let checked = check(&passwords, &basic, Some(wrong), here).await;
    assert!(matches!(checked, Err(Refusal::AuthRequired(_))), "{checked:?}");
}

#[tokio::test]
async fn what_is_kept_is_the_same_when_it_is_read_and_has_no_password() {
    let basic = Passwords::default().hash(wish(WISH).unwrap()).await.unwrap();
    let kept = serde_json::to_string(&basic.kept()).unwrap();
    assert!(kept.contains("$argon2id$v=19$m=9216,t=4,p=1$") && !kept.contains("sesame"), "{kept}");
    assert_eq!(serde_json::from_str::<Basic>(&kept).unwrap(), basic);
    let shown = serde_json::to_string(&basic.shown()).unwrap();
    assert_eq!(shown, r#"{"realm":"Socket2Me tunnel","users":{"alice":{"set":true},"bob":{"set":true}}}"#);
    let debug = format!("{basic:?} {:?}", wish(WISH).unwrap());
    assert!(!debug.contains("argon2id") && !debug.contains("sesame"), "{debug}");
}

#[test]
fn what_is_wrong_with_a_rule_is_said() {
    let many = (0..17).map(|number| format!(r#""u{number}":"12345678""#)).collect::<Vec<_>>().join(",");
    for (json, said) in [
        (r#"{"users":{}}"#, "0 users"),
        (&format!(r#"{{"users":{{{many}}}}}"#), "17 users"),
        (r#"{"users":{"a:b":"12345678"}}"#, "\"a:b\""),
        (r#"{"users":{"":"12345678"}}"#, "\"\""),
        (r#"{"users":{"a":"1234567"}}"#, "7 bytes"),
        (r#"{"users":{"a":"12345678"},"realm":"a\"b"}"#, "basic.realm"),
        (r#"{"users":{"a":"12345678"},"relam":"a"}"#, "`relam`"),
    ] {
        let error = wish(json).unwrap_err();
        assert!(error.contains(said), "{json}: {error}");
    }
}

/// Attempts at once are no more than attempts one after the other, but for those that are being checked.
#[tokio::test]
async fn wrong_passwords_at_once_are_few() {
    let passwords = Passwords::default();
    let basic = passwords.hash(wish(WISH).unwrap()).await.unwrap();
    let attempts = (0..40).map(|number| {
        let wrong = header("alice", &format!("guess {number}"));
        let (passwords, basic) = (&passwords, &basic);
        async move { check(passwords, basic, Some(wrong), "192.0.2.1").await }
    });
    let checked = futures::future::join_all(attempts).await;
    let answered = checked.iter().filter(|checked| matches!(checked, Err(Refusal::AuthRequired(_)))).count();
    assert!((10..=12).contains(&answered), "{answered}");
    assert!(checked.iter().all(|checked| matches!(checked, Err(Refusal::AuthRequired(_) | Refusal::WrongTooOften(_)))));
}
