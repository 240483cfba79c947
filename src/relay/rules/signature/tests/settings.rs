//! The rule as JSON.

use super::*;
use crate::relay::rules::signature::verify::Mode;

fn read(text: &str) -> Result<Verify, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn a_preset_and_a_secret_are_a_rule() {
    let verify = read(r#"{"preset":"stripe","secrets":["whsec_a"]}"#).unwrap();
    assert_eq!(
        (verify.preset, verify.replay, verify.mode, verify.max_bytes),
        (Preset::Stripe, false, Mode::Enforce, 1 << 20)
    );
    let verify = read(r#"{"preset":"github","secrets":["a","b"],"replay":true,"mode":"warn","max":1}"#).unwrap();
    assert_eq!((verify.preset, verify.replay, verify.mode, verify.max_bytes), (Preset::Github, true, Mode::Warn, 1));
}

#[test]
fn each_preset_is_read_by_its_word() {
    for preset in Preset::ALL {
        let header = if matches!(preset, Preset::Token | Preset::Hmac) { r#","header":"x""# } else { "" };
        let verify = read(&format!(r#"{{"preset":"{preset}","secrets":["YWJj"]{header}}}"#)).unwrap();
        assert_eq!(verify.preset, preset);
    }
}

#[test]
fn a_rule_that_means_nothing_is_refused_with_what_to_do() {
    let long = "a".repeat(1_025);
    let many = r#"["a","b","c","d","e"]"#;
    for (members, message) in [
        (r#""preset":"paypal","secrets":["a"]"#.to_owned(), "expected one of `github`, `stripe`"),
        (r#""secrets":["a"]"#.to_owned(), "missing field `preset`"),
        (r#""preset":"github""#.to_owned(), "missing field `secrets`"),
        (r#""preset":"github","secrets":["a"],"secret":"b""#.to_owned(), "unknown field `secret`"),
        (r#""preset":"github","secrets":["a"],"secrets":["b"]"#.to_owned(), "duplicate field `secrets`"),
        (r#""preset":"github","secrets":{"set":true}"#.to_owned(), "verify.secrets must be a list of texts"),
        (r#""preset":"github","secrets":null"#.to_owned(), "verify.secrets must be a list of texts"),
        (r#""preset":"github","secrets":[]"#.to_owned(), "verify.secrets has 0 secrets: give 1 to 4"),
        (format!(r#""preset":"github","secrets":{many}"#), "verify.secrets has 5 secrets: give 1 to 4"),
        (r#""preset":"github","secrets":["a",""]"#.to_owned(), "verify.secrets[1] is empty: give the secret"),
        (format!(r#""preset":"github","secrets":["{long}"]"#), "verify.secrets[0] is longer than 1024 bytes"),
        (r#""preset":"standard","secrets":["whsec_"]"#.to_owned(), "verify.secrets[0] is not whsec_ and base64"),
        (r#""preset":"standard","secrets":["whsec_!"]"#.to_owned(), "verify.secrets[0] is not whsec_ and base64"),
        (r#""preset":"token","header":"x","secrets":[" a"]"#.to_owned(), "verify.secrets[0] is nothing that a header"),
        (r#""preset":"token","header":"x","secrets":["\n"]"#.to_owned(), "verify.secrets[0] is nothing that a header"),
        (r#""preset":"token","header":"x","secrets":["é"]"#.to_owned(), "verify.secrets[0] is nothing that a header"),
        (
            r#""preset":"stripe","secrets":["a"],"tolerance":0"#.to_owned(),
            "verify.tolerance is 0 s: it must be 1 to 86400",
        ),
        (r#""preset":"stripe","secrets":["a"],"tolerance":86401"#.to_owned(), "verify.tolerance is 86401 s"),
        (r#""preset":"stripe","secrets":["a"],"tolerance":-1"#.to_owned(), "invalid value: integer `-1`"),
        (r#""preset":"github","secrets":["a"],"tolerance":300"#.to_owned(), "github signs no time here: remove it"),
        (
            r#""preset":"hmac","secrets":["a"],"header":"x","tolerance":9"#.to_owned(),
            "hmac signs no time here: remove it",
        ),
        (r#""preset":"github","secrets":["a"],"max":0"#.to_owned(), "verify.max is 0 bytes: it must be 1 to 1048576"),
        (r#""preset":"github","secrets":["a"],"max":1048577"#.to_owned(), "verify.max is 1048577 bytes"),
        (r#""preset":"github","secrets":["a"],"mode":"off""#.to_owned(), "expected `enforce` or `warn`"),
        (r#""preset":"github","secrets":["a"],"replay":1"#.to_owned(), "expected a boolean"),
        (
            r#""preset":"token","secrets":["a"],"header":"x","replay":true"#.to_owned(),
            "verify.replay needs a signature",
        ),
        (r#""preset":"token","secrets":["a"]"#.to_owned(), "verify.header is missing, and token has none of its own"),
        (r#""preset":"hmac","secrets":["a"]"#.to_owned(), "verify.header is missing, and hmac has none of its own"),
        (r#""preset":"hmac","secrets":["a"],"header":"a b""#.to_owned(), "verify.header is no name of a header"),
        (r#""preset":"hmac","secrets":["a"],"header":"x","id":"""#.to_owned(), "verify.id is no name of a header"),
        (r#""preset":"hmac","secrets":["a"],"header":"x","prefix":"\n""#.to_owned(), "verify.prefix must be"),
        (
            r#""preset":"hmac","secrets":["a"],"header":"x","digest":"md5""#.to_owned(),
            "expected one of `sha1`, `sha256`",
        ),
        (r#""preset":"hmac","secrets":["a"],"header":"x","encoding":"url""#.to_owned(), "expected `hex` or `base64`"),
    ] {
        let error = read(&format!("{{{members}}}")).expect_err(&members);
        assert!(error.contains(message), "{members}: {error}");
    }
}

#[test]
fn a_member_of_another_preset_is_refused() {
    for (member, value) in [
        ("header", "x"),
        ("prefix", "x"),
        ("encoding", "hex"),
        ("digest", "sha1"),
        ("template", "{body}"),
        ("timestamp", "x"),
        ("id", "x"),
    ] {
        for preset in Preset::ALL {
            let is_taken = preset == Preset::Hmac || (preset, member) == (Preset::Token, "header");
            let message = format!("verify.{member} is no member for the preset {preset}");
            let error = read(&format!(r#"{{"preset":"{preset}","secrets":["YWJj"],"{member}":"{value}"}}"#)).err();
            assert_eq!(error.is_some_and(|error| error.contains(&message)), !is_taken, "{preset} {member}");
        }
    }
}

#[test]
fn a_template_that_means_nothing_is_refused_with_what_to_do() {
    let with = |template: &str, headers: &str| {
        read(&format!(r#"{{"preset":"hmac","secrets":["a"],"header":"x","template":"{template}"{headers}}}"#))
    };
    for (template, headers, message) in [
        ("", "", "lacks {body}"),
        ("body", "", "lacks {body}"),
        ("{ts}", r#","timestamp":"t""#, "lacks {body}"),
        ("{body}{body}", "", "{body} twice"),
        ("{url}{url}{body}", "", "{url} twice"),
        ("{ts}{ts}{body}", r#","timestamp":"t""#, "{ts} twice"),
        ("{Body}", "", "no placeholder near `Body`"),
        ("{body", "", "no placeholder near `body`"),
        ("{}{body}", "", "no placeholder near ``"),
        ("{{body}}", "", "no placeholder near `{body`"),
        ("{body}}", "", "no placeholder near `}`"),
        ("{ts}{body}", "", "as verify.timestamp"),
        ("{id}{body}", "", "as verify.id"),
        ("{body}", r#","timestamp":"t""#, "put {ts} into verify.template"),
        ("{body}", r#","id":"t""#, "put {id} into verify.template"),
        (&"a".repeat(257), "", "longer than 256 bytes"),
    ] {
        let error = with(template, headers).expect_err(template);
        assert!(error.contains(message), "{template}: {error}");
    }
    assert!(with(&format!("{}{{body}}", "a".repeat(250)), "").is_ok());
}

#[test]
fn the_owner_reads_the_rule_without_its_secrets() {
    let shown = |delivery: Delivery| serde_json::to_value(delivery.verify().shown()).unwrap();
    let common = json!({"secrets": {"set": true}, "replay": false, "mode": "enforce", "max": 1_048_576});
    for (delivery, own) in [
        (github(), json!({"preset": "github"})),
        (slack(), json!({"preset": "slack", "tolerance": 300})),
        (twilio(), json!({"preset": "twilio"})),
        (token(), json!({"preset": "token", "header": "x-gitlab-token"})),
        (
            described(),
            json!({
                "preset": "hmac", "header": "x-sign", "prefix": "sig ", "encoding": "base64", "digest": "sha512",
                "template": "{method}|{url}|{ts}|{id}|{body}", "timestamp": "x-time", "id": "x-id", "tolerance": 300,
            }),
        ),
    ] {
        let mut expected = common.clone();
        expected.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        assert_eq!(shown(delivery), expected);
    }
}

#[test]
fn a_rule_comes_back_from_the_store_as_it_was() {
    for mut delivery in all_signed().into_iter().chain([token()]) {
        delivery.rule["mode"] = "warn".into();
        delivery.rule["max"] = 4_096.into();
        delivery.rule["secrets"] = json!([delivery.rule["secrets"][0], "YWJj"]);
        if all_timed().iter().any(|timed| timed.rule["preset"] == delivery.rule["preset"]) {
            delivery.rule["tolerance"] = 60.into();
        }
        if delivery.rule["preset"] != "token" {
            delivery.rule["replay"] = true.into();
        }
        let verify = delivery.verify();
        let kept = serde_json::to_string(&verify.kept()).unwrap();
        assert_eq!(read(&kept), Ok(verify), "{kept}");
    }
}

#[test]
fn debug_and_errors_show_no_secret() {
    let verify = read(r#"{"preset":"standard","secrets":["whsec_aHVzaGh1c2g="]}"#).unwrap();
    let shown = format!("{verify:?}");
    assert!(shown.contains("SigningSecret") && !shown.contains("aHVz") && !shown.contains("104, 117"), "{shown}");
    for wrong in [
        r#"{"preset":"github","secrets":"hushhush"}"#,
        r#"{"preset":"github","secrets":[["hushhush"]]}"#,
        r#"{"preset":"github","secrets":["hushhush",1]}"#,
        r#"{"preset":"github","secret":"hushhush"}"#,
        r#"{"preset":"standard","secrets":["hushhush!"]}"#,
        r#"{"preset":"token","header":"x","secrets":["hushhush "]}"#,
        r#"{"preset":"github","secrets":["hushhush"],"tolerance":1}"#,
    ] {
        let error = read(wrong).unwrap_err();
        assert!(!error.contains("hush"), "{error}");
    }
}
