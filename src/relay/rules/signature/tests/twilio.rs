//! The forms and the URLs of Twilio. Signatures that Twilio does not publish were made with Python's `hmac`.

use super::*;

#[test]
fn the_order_of_a_forms_fields_does_not_matter() {
    let checked = twilio().check_with(|delivery| {
        let form = String::from_utf8(delivery.body.clone()).unwrap();
        let fields: Vec<&str> = form.split('&').rev().collect();
        delivery.body = fields.join("&").into_bytes();
    });
    assert!(checked.is_ok(), "{checked:?}");
}

#[test]
fn a_url_is_signed_with_its_port_or_without() {
    let bare = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
    let standard = "kvajT1Ptam85bY51eRf/AJRuM3w=";
    let other = "ZOaJEsozlsUyzk5k5fpaCxTxXDA=";
    for (port, signature, is_right) in [
        ("", bare, true),
        ("", standard, true),
        ("", other, false),
        (":443", bare, true),
        (":443", standard, true),
        (":443", other, false),
        (":8443", bare, true),
        (":8443", standard, false),
        (":8443", other, true),
        (":", standard, true),
    ] {
        let checked = twilio().check_with(|delivery| {
            delivery.url = delivery.url.replace(".com/", &format!(".com{port}/"));
            delivery.write_signature(signature);
        });
        assert_eq!(checked.is_ok(), is_right, "{port} {signature}: {checked:?}");
    }
}

#[test]
fn the_colons_of_an_ipv6_address_are_no_port() {
    for (url, signature) in [
        ("http://[2001:db8::1]/x", "y7AoXc4hroY6SFKSMYrKOCAQEDw="),
        ("http://[2001:db8::1]/x", "GLx45OA5WVzuG/hXZ1iZf+SVZ1E="),
        ("http://[2001:db8::1]:80/x", "y7AoXc4hroY6SFKSMYrKOCAQEDw="),
        ("http://[2001:db8::1]:80/x", "GLx45OA5WVzuG/hXZ1iZf+SVZ1E="),
    ] {
        let checked = twilio().check_with(|delivery| {
            url.clone_into(&mut delivery.url);
            delivery.body.clear();
            delivery.write_signature(signature);
        });
        assert!(checked.is_ok(), "{url} {signature}: {checked:?}");
    }
}

#[test]
fn a_url_of_any_form_is_checked() {
    for url in [
        "",
        ":",
        "/",
        "//",
        "://",
        "a:1",
        "https://",
        "https://]",
        "http://[",
        "https://h:?bodySHA256",
        "\u{e9}:\u{e9}/",
    ] {
        let checked = twilio().check_with(|delivery| url.clone_into(&mut delivery.url));
        assert!(is_wrong(&checked, Wrong::Mismatch), "{url}: {checked:?}");
    }
}

#[test]
fn a_request_without_a_body_has_its_url_signed() {
    let signed = |body: &[u8]| {
        twilio().check_with(|delivery| {
            delivery.method = Method::GET;
            delivery.body = body.to_vec();
            delivery.write_signature("zYQTYrRWXE7LtzbG4PfP7/bkkGo=");
        })
    };
    assert!(signed(b"").is_ok());
    assert!(is_wrong(&signed(b"a=b"), Wrong::Mismatch));
}

#[test]
fn repeated_fields_count_once_and_escapes_are_undone() {
    let signed = |form: &[u8]| {
        twilio().check_with(|delivery| {
            "https://mycompany.com/x".clone_into(&mut delivery.url);
            delivery.body = form.to_vec();
            delivery.write_signature("GmfKti0vy0RtgqxvlfPOtYSL0L8=");
        })
    };
    // A is 1, B is `+` and `é `, in the order of their bytes, and C has no value.
    for (form, is_right) in [
        ("A=1&B=%2B&B=%C3%A9+&C=", true),
        ("C&B=%C3%A9%20&A=1&B=%2b&&A=1&", true),
        ("C&B=\u{e9}+&A=1&B=%2B&B=%2B", true),
        ("C&B=\u{e9}+&A=1&B=+", false),
        ("A=1&B=%2B&B=%C3%A9&C=", false),
        ("A=1&B=%2B&B=%C3%A9+&C=&C=C", false),
    ] {
        assert_eq!(signed(form.as_bytes()).is_ok(), is_right, "{form}");
    }
}

#[test]
fn a_body_that_the_signature_does_not_cover_is_refused() {
    for content_type in [Some("application/json"), Some("text/plain;application/x-www-form-urlencoded"), None] {
        let checked = twilio().check_with(|delivery| {
            delivery.headers.truncate(1);
            delivery.headers.extend(content_type.map(|content_type| ("content-type", content_type.to_owned())));
        });
        assert!(is_wrong(&checked, Wrong::BodyNotSigned), "{content_type:?}: {checked:?}");
    }
    let two = twilio().check_with(|delivery| delivery.headers.push(("content-type", "application/json".to_owned())));
    assert!(is_wrong(&two, Wrong::BodyNotSigned), "{two:?}");
}

#[test]
fn the_digest_of_a_body_is_in_the_url_once() {
    let digest = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    for query in [format!("&bodySHA256={digest}"), "&bodySHA256=".to_owned(), "&bodySHA256".to_owned()] {
        let checked = twilio_json().check_with(|delivery| delivery.url.push_str(&query));
        assert!(is_wrong(&checked, Wrong::Mismatch), "{query}: {checked:?}");
    }
    let form = twilio_json().check_with(|delivery| {
        delivery.headers[1].1 = "application/x-www-form-urlencoded".to_owned();
    });
    assert!(form.is_ok(), "whatever the body is, its digest covers it: {form:?}");
    let without = twilio_json().check_with(|delivery| TWILIO_URL.clone_into(&mut delivery.url));
    assert!(is_wrong(&without, Wrong::BodyNotSigned), "{without:?}");
}

#[test]
fn a_form_has_a_thousand_fields_at_most() {
    let with = |count: usize| twilio().check_with(|delivery| delivery.body = "a=b&".repeat(count).into_bytes());
    assert!(is_wrong(&with(1_000), Wrong::Mismatch));
    assert!(is_wrong(&with(1_001), Wrong::TooManyFields(1_000)));
}
