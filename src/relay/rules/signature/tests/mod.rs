//! Requests as senders sign them, and what is changed about them.

mod hmac;
mod kinds;
mod settings;
mod twilio;
mod vectors;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::fault::{Fault, Wrong};
use super::preset::Preset;
use super::recipe::Encoding;
use super::request::Signed;
use super::verify::{Verified, Verify};

/// The time of the vectors of Stripe and Standard Webhooks.
const TIME: u64 = 1_614_265_330;

/// A request with its rule.
#[derive(Debug, Clone)]
struct Delivery {
    rule: Value,
    method: Method,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    now: u64,
    /// Where the signature is: a number among the headers, what is before it in the value, and how it is written.
    signature: (usize, String, Encoding),
}

impl Delivery {
    fn new(rule: Value, body: &[u8]) -> Self {
        Self {
            rule,
            method: Method::POST,
            url: "https://relay.example/go/t/hook".to_owned(),
            headers: Vec::new(),
            body: body.to_vec(),
            now: TIME,
            signature: (0, String::new(), Encoding::Hex),
        }
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Adds the header with the signature.
    fn signed(mut self, name: &'static str, prefix: &str, encoding: Encoding, signature: &str) -> Self {
        self.signature = (self.headers.len(), prefix.to_owned(), encoding);
        self.header(name, &format!("{prefix}{signature}"))
    }

    fn verify(&self) -> Verify {
        serde_json::from_value(self.rule.clone()).unwrap()
    }

    fn check(&self) -> Result<Verified, Fault> {
        let line = |(name, value): &(&'static str, String)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut headers = HeaderMap::new();
        self.headers.iter().map(line).for_each(|(name, value)| {
            headers.append(name, value);
        });
        let Self { method, url, body, now, .. } = self;
        self.verify().check(&Signed { method, url, headers: &headers, body }, *now)
    }

    /// Checks the request after a change.
    fn check_with(&self, change: impl FnOnce(&mut Self)) -> Result<Verified, Fault> {
        let mut changed = self.clone();
        change(&mut changed);
        changed.check()
    }

    /// The bytes of the signature.
    fn signature_bytes(&self) -> Vec<u8> {
        let (index, prefix, encoding) = &self.signature;
        encoding.decode(self.headers[*index].1.strip_prefix(prefix).unwrap()).unwrap()
    }

    /// Puts another text where the signature is.
    fn write_signature(&mut self, text: &str) {
        let (index, prefix, _) = &self.signature;
        self.headers[*index].1 = format!("{prefix}{text}");
    }

    fn signature_header(&self) -> HeaderName {
        HeaderName::from_static(self.headers[self.signature.0].0)
    }
}

fn write(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Encoding::Base64 => STANDARD.encode(bytes),
    }
}

/// Tells whether a check failed for a reason, at whatever header.
fn is_wrong(checked: &Result<Verified, Fault>, why: Wrong) -> bool {
    matches!(checked, Err(Fault::Wrong(_, found)) if *found == why)
}

fn rule(preset: &str, secret: &str) -> Value {
    json!({"preset": preset, "secrets": [secret]})
}

fn github() -> Delivery {
    let signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    Delivery::new(rule("github", "It's a Secret to Everybody"), b"Hello, World!").signed(
        "x-hub-signature-256",
        "sha256=",
        Encoding::Hex,
        signature,
    )
}

const STRIPE_BODY: &[u8] = b"{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}";

fn stripe() -> Delivery {
    let signature = "af4ead0627a34a8cca29808e8de9ada8e41a92e6237c63cef6eacf51d36cca34";
    Delivery::new(rule("stripe", "whsec_test_secret"), STRIPE_BODY).signed(
        "stripe-signature",
        "t=1614265330,v1=",
        Encoding::Hex,
        signature,
    )
}

fn slack() -> Delivery {
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
        channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
        response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
        trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signature = "a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let mut delivery = Delivery::new(rule("slack", "8f742231b10e8888abcd99yyyzzz85a5"), body)
        .signed("x-slack-signature", "v0=", Encoding::Hex, signature)
        .header("x-slack-request-timestamp", "1531420618");
    delivery.now = 1_531_420_618;
    delivery
}

/// Its signature was made with Python's `hmac`, for Shopify publishes none.
fn shopify() -> Delivery {
    Delivery::new(rule("shopify", "hush"), br#"{"id":820982911946154508}"#).signed(
        "x-shopify-hmac-sha256",
        "",
        Encoding::Base64,
        "qBvrsZF7RfB1iS6BX6IHqJTp5L911P7intnPeTPsH0I=",
    )
}

fn standard() -> Delivery {
    standard_named(["webhook-signature", "webhook-id", "webhook-timestamp"])
}

fn standard_named([signature, id, timestamp]: [&'static str; 3]) -> Delivery {
    Delivery::new(rule("standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), br#"{"test": 2432232314}"#)
        .signed(signature, "v1,", Encoding::Base64, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        .header(id, "msg_p5jXN8AQM9LWM0D4loKWxJek")
        .header(timestamp, "1614265330")
}

const TWILIO_URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";

fn twilio() -> Delivery {
    let form = b"To=%2B18005551212&From=%2B14158675309&Digits=1234&CallSid=CA1234567890ABCDE&Caller=%2B14158675309";
    let mut delivery = Delivery::new(rule("twilio", "12345"), form)
        .signed("x-twilio-signature", "", Encoding::Base64, "RSOYDt4T1cUTdK1PDd93/VVr8B8=")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    TWILIO_URL.clone_into(&mut delivery.url);
    delivery
}

fn twilio_json() -> Delivery {
    let mut delivery = Delivery::new(rule("twilio", "12345"), br#"{"property": "value", "boolean": true}"#)
        .signed("x-twilio-signature", "", Encoding::Base64, "a9nBmqA0ju/hNViExpshrM61xv4=")
        .header("content-type", "application/json");
    let digest = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    delivery.url = format!("{TWILIO_URL}&bodySHA256={digest}");
    delivery
}

fn token() -> Delivery {
    let rule = json!({"preset": "token", "secrets": ["tell nobody"], "header": "X-Gitlab-Token"});
    Delivery::new(rule, b"{}").header("x-gitlab-token", "tell nobody")
}

/// Every placeholder, and a signature of Python's `hmac`.
fn described() -> Delivery {
    let rule = json!({
        "preset": "hmac", "secrets": ["kéy"], "header": "X-Sign", "prefix": "sig ", "encoding": "base64", "digest": "sha512",
        "template": "{method}|{url}|{ts}|{id}|{body}", "timestamp": "X-Time", "id": "X-Id",
    });
    let signature = "LQ7ebc8IyVbnxm9S9nYxP9tL4aflZsdqsXBQLvskUM/p7ijuczhWEZGtj/YdxK7To1+BiyxA+S/maSgZa8gQNQ==";
    let mut delivery = Delivery::new(rule, br#"{"a":1}"#)
        .signed("x-sign", "sig ", Encoding::Base64, signature)
        .header("x-time", "1614265330")
        .header("x-id", "msg-1");
    "https://relay.example/go/t/hook?a=%20".clone_into(&mut delivery.url);
    delivery
}

/// A delivery of each preset that has a signature, each as its vendor sends it.
fn all_signed() -> [Delivery; 8] {
    [github(), stripe(), slack(), shopify(), standard(), twilio(), twilio_json(), described()]
}

/// Those whose signature covers a time.
fn all_timed() -> [Delivery; 4] {
    [stripe(), slack(), standard(), described()]
}
