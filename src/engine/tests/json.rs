//! Events, acks and `auth` as values.

use std::collections::HashMap;

use serde_json::json;

use super::*;

#[tokio::test]
async fn values_travel_both_ways_as_the_one_argument_of_an_event() {
    let (engine, mut calls) = engine("");
    let client = PollingClient::joined(&engine, &["/a"]).await;
    let socket = calls.connected("/a").await;
    socket.emit_json("say \"hi\"", &json!({ "text": "bö\u{1}" })).expect("JSON");
    socket
        .ask_json("who", &(), AckId::new(3).expect("an id"), Awaited { waiter: (), timeout: Duration::from_secs(5) })
        .expect("JSON");
    let packets = [r#"42/a,["say \"hi\"",{"text":"bö\u0001"}]"#, r#"42/a,3["who",null]"#];
    assert_eq!(client.poll().await.expect("a session"), packets);
    assert!(client.post(r#"43/a,3["me"]"#).await);
    calls.expect(r#"acked Ok("[\"me\"]")"#).await;
}

#[tokio::test]
async fn a_value_that_is_no_json_and_a_session_that_is_gone_are_told_apart() {
    let (engine, mut calls) = engine("");
    let client = PollingClient::joined(&engine, &["/a"]).await;
    let socket = calls.connected("/a").await;
    let no_json = HashMap::from([((1, 2), 3)]);
    assert!(matches!(socket.emit_json("event", &no_json), Err(EmitError::Json(_))));
    assert!(client.mailbox.send(SessionCommand::Close(CloseReason::ForcedClose)));
    calls.expect("disconnected /a: forced close").await;
    while engine.session_count() > 0 {
        tokio::task::yield_now().await;
    }
    let gone = socket.emit_json("event", "text");
    assert!(matches!(gone, Err(EmitError::Undelivered(Undelivered::Closed))), "{gone:?}");
}

#[test]
fn arguments_are_counted_behind_the_name_and_those_left_out_are_null() {
    let args = Args::parse(r#"["na\"me",[1,2],"text"]"#.into()).expect("an array");
    let event = ClientEvent { args: args.clone(), attachments: Vec::new(), id: None };
    assert_eq!(event.name(), "na\"me");
    assert_eq!(event.argument::<Vec<u8>>(0).expect("numbers"), [1, 2]);
    assert_eq!(event.argument::<String>(1).expect("text"), "text");
    assert!(event.argument::<String>(0).is_err());
    assert_eq!(event.argument::<Option<u8>>(2).expect("nothing"), None);
    assert!(event.argument::<u8>(usize::MAX).is_err());
    let answer = Answer { args, attachments: Vec::new() };
    assert_eq!(answer.argument::<String>(2).expect("text"), "text");
}
