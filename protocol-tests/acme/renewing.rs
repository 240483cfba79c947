//! Renewals: when the directory says, or after two thirds of a certificate's life.

use super::directory::Directory;
use super::server::{NAME, Server};
use super::state::Place;

/// A day, in seconds.
const DAY: i64 = 86_400;

#[tokio::test]
async fn a_certificate_is_renewed_in_the_window_that_the_directory_names() {
    let directory = Directory::start().await;
    directory.rule(|rules| rules.window = Some((-2 * DAY, -DAY)));
    let server = Server::start(&directory).await;
    let first = server.certificate(NAME, None).await;
    directory.until("a second order", |state| state.orders.len() == 2).await;
    directory.rule(|rules| rules.window = Some((DAY, 2 * DAY)));
    server.certificate(NAME, Some(&first)).await;
    directory.until("a look at the second window", |state| state.requests[&Place::RenewalInfo] == 2).await;
    let state = directory.state();
    assert_eq!((state.accounts.len(), state.orders.len()), (1, 2));
    assert_eq!(
        (&state.orders[0].replaces, &state.orders[1].replaces),
        (&None, &Some(state.certificates[&0].id.clone()))
    );
}

#[tokio::test]
async fn a_certificate_is_renewed_after_two_thirds_of_its_life_where_the_directory_does_not_say_when() {
    let directory = Directory::start().await;
    directory.rule(|rules| rules.validity = (-61 * DAY, 29 * DAY));
    let server = Server::start(&directory).await;
    let first = server.certificate(NAME, None).await;
    directory.until("a second order", |state| state.orders.len() == 2).await;
    directory.rule(|rules| rules.validity = (-59 * DAY, 31 * DAY));
    server.certificate(NAME, Some(&first)).await;
    let state = directory.state();
    assert_eq!((state.accounts.len(), state.orders.len(), &state.orders[1].replaces), (1, 2, &None));
}

#[tokio::test]
async fn a_certificate_that_was_replaced_before_is_renewed_all_the_same() {
    let directory = Directory::start().await;
    directory.rule(|rules| {
        rules.window = Some((-2 * DAY, -DAY));
        rules.hold = Some((Place::NewOrder, Some(Place::RenewalInfo)));
    });
    let server = Server::start(&directory).await;
    let first = server.certificate(NAME, None).await;
    directory.held().await;
    directory.state().certificates.get_mut(&0).unwrap().replaced = true;
    directory.rule(|rules| (rules.window, rules.hold) = (Some((DAY, 2 * DAY)), None));
    server.certificate(NAME, Some(&first)).await;
    assert_eq!(directory.state().orders[1].replaces, None);
}
