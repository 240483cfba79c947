//! A keyed tunnel and its owner.

use std::net::SocketAddr;

use super::end::End;
use crate::relay::visitor::{Answer, request, visit};

/// A keyed tunnel.
pub(crate) struct Keyed {
    pub(crate) token: String,
    pub(crate) key: String,
}

impl Keyed {
    /// Makes one. `fields` is the JSON of what is asked for.
    pub(crate) async fn make(address: SocketAddr, fields: &str) -> Self {
        #[derive(serde::Deserialize)]
        struct Made {
            token: String,
            key: String,
        }
        let answer = post(address, fields).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let Made { token, key } = serde_json::from_slice(&answer.body).unwrap();
        Self { token, key }
    }

    pub(crate) async fn join(&self, address: SocketAddr) -> End {
        let mut end = End::open(address).await;
        end.join(&self.token, &format!(r#"{{"key":"{}"}}"#, self.key)).await.unwrap();
        end
    }

    /// Makes an end of it say that it leaves, and waits until no request comes any more.
    pub(crate) async fn say_leave(&self, end: &mut End) {
        end.send(&format!(r#"42/{},7["leave"]"#, self.token)).await;
        assert_eq!(end.text().await, format!("43/{},7[]", self.token));
    }

    /// The target of a visitor's request; `rest` follows the token.
    pub(crate) fn at(&self, rest: &str) -> String {
        format!("/go/{}{rest}", self.token)
    }

    /// Asks for something of the tunnel as its owner.
    pub(crate) async fn ask(&self, address: SocketAddr, method: &str, fields: &str) -> Answer {
        self.ask_at(address, method, "", fields).await
    }

    /// Asks for something below the tunnel as its owner.
    pub(crate) async fn ask_at(&self, address: SocketAddr, method: &str, rest: &str, fields: &str) -> Answer {
        let authorization = format!("Bearer {}", self.key);
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        visit(address, &request(method, &format!("/tunnel/{}{rest}", self.token), &headers, fields.as_bytes())).await
    }
}

pub(crate) async fn post(address: SocketAddr, fields: &str) -> Answer {
    visit(address, &request("POST", "/new", &[("Content-Type", "application/json")], fields.as_bytes())).await
}
