//! Tests of [`super`].

use std::io;
use std::sync::{Arc, Mutex};

use super::*;
use crate::store::StoreError;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the failure, and what was logged at `info` and above.
fn failure_and_log(error: StoreError) -> (Failure, String) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let failure = tracing::subscriber::with_default(subscriber, || Failure::from(error));
    let log = log.0.lock().unwrap().clone();
    (failure, String::from_utf8(log).unwrap())
}

#[test]
fn a_full_store_is_a_busy_server_and_no_error_of_the_log() {
    let (failure, log) = failure_and_log(StoreError::Full { capacity: 7 });
    assert_eq!((failure.code(), log.as_str()), (Code::Busy, ""));
}

#[test]
fn a_store_out_of_reach_is_no_error_of_the_log_for_each_call_and_the_visitor_does_not_see_why() {
    let (failure, log) = failure_and_log(StoreError::Unavailable("no route to 10.0.0.7".to_owned()));
    assert_eq!((failure.code(), log.as_str()), (Code::Store, ""));
    assert!(!failure.to_string().contains("10.0.0.7"));
}
