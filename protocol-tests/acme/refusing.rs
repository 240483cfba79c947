//! What fails is tried again after an hour at the earliest, whatever is started in between.

use futures::future::join_all;
use socket2me::acme::Ending;

use super::directory::Directory;
use super::server::{NAME, Server, settings};
use super::state::{NOWHERE, Place, State};

/// Starts the server twice more, each time with one more name, whose certificate comes at once. Fails if the other name is ordered.
async fn rests_over_restarts(directory: &Directory, mut server: Server) {
    let orders = |directory: &Directory| directory.state().orders.iter().filter(|order| order.name == NAME).count();
    let before = orders(directory);
    directory.rule(|rules| rules.problem = None);
    for more in ["first.test", "second.test"] {
        server.kill().await;
        server = Server::with(directory, &settings(directory, &[NAME, more]), true).await;
        server.certificate(more, None).await;
        assert_eq!((orders(directory), server.served(NAME).await), (before, None));
    }
}

/// Waits until the orders of both challenges have failed.
async fn both_fail(directory: &Directory) {
    let have_failed = |state: &State| state.orders.iter().filter(|order| order.status == "invalid").count() == 2;
    directory.until("both to fail", have_failed).await;
}

#[tokio::test]
async fn a_directory_that_refuses_is_left_alone_for_an_hour_over_restarts() {
    let kinds = ["rateLimited", "rejectedIdentifier", "caa"];
    let refused = async |kind| {
        let directory = Directory::start().await;
        directory.rule(|rules| rules.problem = Some((Place::NewOrder, kind, 7_200)));
        let server = Server::start(&directory).await;
        server.has(Ending::Failed).await;
        assert_eq!(directory.requests(Place::NewOrder), 1, "{kind}");
        rests_over_restarts(&directory, server).await;
    };
    join_all(kinds.map(refused)).await;
}

#[tokio::test]
async fn an_operator_who_has_mended_it_need_not_wait() {
    let directory = Directory::start().await;
    directory.rule(|rules| rules.problem = Some((Place::NewOrder, "caa", 0)));
    let config = settings(&directory, &[NAME]);
    let server = Server::with(&directory, &config, true).await;
    server.has(Ending::Failed).await;
    directory.rule(|rules| rules.problem = None);
    config.retry.notify_one();
    server.certificate(NAME, None).await;
    assert_eq!(directory.requests(Place::NewOrder), 2);
}

#[tokio::test]
async fn an_account_that_the_directory_does_not_know_is_opened_again_with_its_key() {
    let directory = Directory::start().await;
    directory.rule(|rules| rules.problem = Some((Place::NewOrder, "accountDoesNotExist", 0)));
    let config = settings(&directory, &[NAME]);
    let server = Server::with(&directory, &config, true).await;
    server.has(Ending::Failed).await;
    directory.rule(|rules| rules.problem = None);
    config.retry.notify_one();
    server.certificate(NAME, None).await;
    assert_eq!((directory.requests(Place::NewAccount), directory.state().accounts.len()), (2, 1));
}

#[tokio::test]
async fn a_name_that_cannot_be_proved_is_tried_by_each_challenge_once_in_an_hour() {
    let directory = Directory::start().await;
    let server = Server::start(&directory).await;
    directory.rule(|rules| (rules.http, rules.tls_port) = (NOWHERE, 1));
    both_fail(&directory).await;
    rests_over_restarts(&directory, server).await;
}

#[tokio::test]
async fn a_directory_that_finds_at_once_that_a_name_cannot_be_proved_is_asked_for_the_other_challenge() {
    let directory = Directory::start().await;
    directory.rule(|rules| rules.found_at_once = Some("invalid"));
    let server = Server::start(&directory).await;
    both_fail(&directory).await;
    directory.rule(|rules| rules.found_at_once = None);
    rests_over_restarts(&directory, server).await;
}

#[tokio::test]
async fn a_directory_that_looks_again_after_it_has_found_nothing_is_waited_for() {
    let directory = Directory::start().await;
    directory.rule(|rules| rules.found_at_once = Some("processing"));
    let server = Server::start(&directory).await;
    server.certificate(NAME, None).await;
    assert_eq!((directory.requests(Place::NewOrder), server.attempts(Ending::Failed)), (1, 0));
}

#[tokio::test]
async fn a_directory_that_refuses_to_look_is_left_alone_for_an_hour() {
    let directory = Directory::start().await;
    directory.rule(|rules| rules.problem = Some((Place::Challenge, "rateLimited", 0)));
    let server = Server::start(&directory).await;
    server.has(Ending::Failed).await;
    assert_eq!((directory.requests(Place::NewOrder), directory.requests(Place::Challenge)), (1, 1));
    rests_over_restarts(&directory, server).await;
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_no_refusal() {
    let directory = Directory::start().await;
    let mut config = settings(&directory, &[NAME]);
    config.directory = Some("https://localhost:1/directory".to_owned());
    let server = Server::with(&directory, &config, true).await;
    server.has(Ending::Unreached).await;
    assert_eq!((server.attempts(Ending::Unreached), server.attempts(Ending::Failed)), (1, 0));
    server.kill().await;
    // Its certificate is of nobody's whom this machine trusts.
    config.directory = Some(directory.url());
    config.ca = None;
    let server = Server::with(&directory, &config, true).await;
    server.has(Ending::Unreached).await;
}
