//! Servers that end at each step: the next one goes on.

use futures::future::join_all;

use super::directory::Directory;
use super::server::{NAME, Server};
use super::state::{Place, Rules, State};

/// Ends a server once a request gets no answer, starts another one with its file, and lets that finish.
async fn survives(what: String, rule: impl FnOnce(&mut Rules)) {
    let directory = Directory::start().await;
    directory.rule(rule);
    let server = Server::start(&directory).await;
    directory.held().await;
    let is_validated = |state: &State| {
        state.orders.iter().all(|order| order.challenge.as_ref().is_none_or(|(_, status, _)| *status != "processing"))
    };
    directory.until("what was shown to be found", is_validated).await;
    server.kill().await;
    directory.rule(|rules| (rules.hold, rules.lose) = (None, None));
    let server = Server::start(&directory).await;
    server.certificate(NAME, None).await;
    let state = directory.state();
    assert_eq!((state.accounts.len(), state.orders.len(), state.certificates.len()), (1, 1, 1), "{what}");
    assert_eq!(state.violations, Vec::<String>::new(), "{what}");
}

#[tokio::test]
async fn a_server_that_ends_before_a_step_goes_on_with_the_same_account_and_order() {
    let places = [
        (Place::Directory, None),
        (Place::NewAccount, None),
        (Place::NewOrder, None),
        (Place::Authorization, None),
        (Place::Challenge, None),
        (Place::Order, Some(Place::Challenge)),
        (Place::Finalize, None),
        (Place::Order, Some(Place::Finalize)),
        (Place::Certificate, None),
    ];
    // At once, since each of them waits most of the time.
    join_all(places.map(|place| survives(format!("{place:?}"), move |rules| rules.hold = Some(place)))).await;
}

#[tokio::test]
async fn a_server_that_ends_before_it_hears_what_was_done_goes_on_with_the_same_account_and_order() {
    let places = [Place::NewAccount, Place::Challenge, Place::Finalize, Place::Certificate];
    join_all(places.map(|place| survives(format!("{place:?}, unheard"), move |rules| rules.lose = Some(place)))).await;
}
