//! Signatures that an owner describes.

use super::*;

#[test]
fn every_digest_and_encoding_can_be_described() {
    let sha1 = ("sha1", "e53988f28216a34f8632b3d04ddf697fa6d3b166", "5TmI8oIWo0+GMrPQTd9pf6bTsWY=");
    let sha256 = (
        "sha256",
        "1aa20c35e06d86e2e4bb77e6142505b5b5ebdee31f5ba895f32f948312fac665",
        "GqIMNeBthuLku3fmFCUFtbXr3uMfW6iV8y+UgxL6xmU=",
    );
    let sha512 = (
        "sha512",
        "2d0ede6dcf08c956e7c66f52f676313fdb4be1a7e566c76ab170502efb2450cf\
         e9ee28ee7338561191ad8ff61dc4aed3a35f818b2c40f92fe66928196bc81035",
        "LQ7ebc8IyVbnxm9S9nYxP9tL4aflZsdqsXBQLvskUM/p7ijuczhWEZGtj/YdxK7To1+BiyxA+S/maSgZa8gQNQ==",
    );
    let all = [sha1, sha256, sha512];
    for (digest, hex, base64) in all {
        for (encoding, signature) in [("hex", hex), ("base64", base64)] {
            for rule in all.map(|(of_rule, ..)| of_rule) {
                let checked = described().check_with(|delivery| {
                    delivery.rule["digest"] = rule.into();
                    delivery.rule["encoding"] = encoding.into();
                    delivery.write_signature(signature);
                });
                assert_eq!(checked.is_ok(), rule == digest, "{rule} {encoding} {signature}: {checked:?}");
            }
        }
    }
}

#[test]
fn a_described_signature_covers_the_method_and_the_url() {
    let method = described().check_with(|delivery| delivery.method = Method::PUT);
    assert!(is_wrong(&method, Wrong::Mismatch), "{method:?}");
    for url in ["https://relay.example/go/t/hook?a=+", "http://relay.example/go/t/hook?a=%20", "https://relay.example/"]
    {
        let checked = described().check_with(|delivery| url.clone_into(&mut delivery.url));
        assert!(is_wrong(&checked, Wrong::Mismatch), "{url}: {checked:?}");
    }
}

#[test]
fn a_header_alone_describes_what_gitea_sent_before() {
    let delivery = Delivery::new(
        json!({"preset": "hmac", "secrets": ["mysecret"], "header": "x-gitea-signature"}),
        b"{\"foo\":\"bar\"}",
    )
    .signed(
        "x-gitea-signature",
        "",
        Encoding::Hex,
        "4864d2759938a15468b5df9ade20bf161da9b4f737ea61794142f3484236bda3",
    );
    assert!(delivery.check().is_ok());
    assert!(delivery.check_with(|delivery| delivery.now = u64::MAX).is_ok(), "no time is signed");
}
