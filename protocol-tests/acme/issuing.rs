//! The first certificate of a name, by each challenge.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use socket2me::acme::{Acme, Ending, Shown};
use socket2me::config::AcmeConfig;
use socket2me::net::tls::Certificates;
use socket2me::store::{FileStore, Seal, Store};

use super::directory::Directory;
use super::server::{NAME, Server, settings};
use super::state::{NOWHERE, Place, Rules};

/// The kinds of challenge that were answered, by orders.
fn answered(directory: &Directory) -> Vec<&'static str> {
    directory.state().orders.iter().map(|order| order.challenge.as_ref().map_or("none", |(kind, ..)| *kind)).collect()
}

#[tokio::test]
async fn a_name_is_proved_on_port_80_and_visitors_get_its_certificate() {
    let directory = Directory::start().await;
    directory.rule(|rules| rules.processing = 1);
    let server = Server::start(&directory).await;
    server.certificate(NAME, None).await;
    assert_eq!(answered(&directory), ["http-01"]);
    assert_eq!(directory.state().accounts.len(), 1);
    assert_eq!((server.attempts(Ending::Issued), server.attempts(Ending::Failed)), (1, 0));
    let (name, until) = server.figures.certificates().next().unwrap();
    assert!(name == NAME && until > 0);
    let (orders, nonces) = (directory.requests(Place::NewOrder), directory.requests(Place::Nonce));
    server.kill().await;
    let server = Server::start(&directory).await;
    assert!(server.served(NAME).await.is_some(), "from the store, before anything is asked");
    assert_eq!((directory.requests(Place::NewOrder), directory.requests(Place::Nonce)), (orders, nonces));
}

#[tokio::test]
async fn a_directory_that_does_not_say_that_it_looks_is_told_to_look_once() {
    let directory = Directory::start().await;
    directory.rule(|rules| rules.looks_pending = 3);
    let server = Server::start(&directory).await;
    server.certificate(NAME, None).await;
    assert_eq!(directory.requests(Place::Challenge), 1);
    assert!(directory.requests(Place::Authorization) > 3);
}

#[tokio::test]
async fn a_name_is_proved_on_port_443_where_port_80_does_not_lead_here() {
    let directory = Directory::start().await;
    let server = Server::with(&directory, &settings(&directory, &[NAME]), false).await;
    server.certificate(NAME, None).await;
    assert_eq!(answered(&directory), ["tls-alpn-01"]);
}

#[tokio::test]
async fn a_port_80_that_leads_elsewhere_is_no_reason_to_wait() {
    let directory = Directory::start().await;
    let server = Server::start(&directory).await;
    directory.rule(|rules| rules.http = NOWHERE);
    server.certificate(NAME, None).await;
    assert_eq!(answered(&directory), ["http-01", "tls-alpn-01"]);
    assert_eq!((server.attempts(Ending::Issued), server.attempts(Ending::Failed)), (1, 1));
    drop(server);
    let directory = Directory::start().await;
    directory.rule(|rules| rules.offered = vec!["tls-alpn-01"]);
    let server = Server::start(&directory).await;
    server.certificate(NAME, None).await;
    assert_eq!(answered(&directory), ["tls-alpn-01"]);
}

/// Writes a program that keeps records in the directory's file.
fn dns_hook(directory: &Directory) -> std::path::PathBuf {
    let (hook, records) = (directory.folder().join("hook"), directory.folder().join("dns"));
    let script = format!(
        "#!/bin/sh\nrecords={}\ncase $1 in\npresent) echo \"$2 $3\" >> $records;;\n\
         cleanup) grep -v -x \"$2 $3\" $records > $records.new; mv $records.new $records; echo done > $records.cleaned;;\nesac\n",
        records.display()
    );
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o700)).unwrap();
    hook
}

#[tokio::test]
async fn all_hosts_below_a_domain_are_proved_by_a_record_that_a_program_sets_and_takes_away() {
    let directory = Directory::start().await;
    let config = AcmeConfig { dns_hook: Some(dns_hook(&directory)), ..settings(&directory, &["*.t.test", NAME]) };
    let server = Server::with(&directory, &config, true).await;
    server.certificate("app.t.test", None).await;
    server.certificate(NAME, None).await;
    assert_eq!(answered(&directory), ["dns-01", "dns-01"]);
    let cleaned = async || {
        while std::fs::read_to_string(directory.folder().join("dns")).map_or(true, |records| !records.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    crate::support::within("the records to be taken away", cleaned()).await;
}

#[tokio::test]
async fn a_nonce_that_is_refused_is_no_failure() {
    let directory = Directory::start().await;
    directory.rule(|rules| rules.refuse_nonce_every = Some(3));
    let config = AcmeConfig { email: Some("me@relay.test".to_owned()), ..settings(&directory, &[NAME]) };
    let server = Server::with(&directory, &config, true).await;
    server.certificate(NAME, None).await;
    assert_eq!(directory.state().accounts[0].contact, ["mailto:me@relay.test"]);
    assert_eq!(server.attempts(Ending::Failed), 0);
}

#[tokio::test]
async fn nonces_that_are_refused_in_a_row_are_no_failure_and_after_twelve_there_is_a_pause() {
    let directory = Directory::start().await;
    let refuse = |rules: &mut Rules| rules.problem = Some((Place::NewOrder, "badNonce", 0));
    directory.rule(refuse);
    let server = Server::start(&directory).await;
    directory.until("a request after three", |state| state.requests.get(&Place::NewOrder) > Some(&3)).await;
    directory.rule(|rules| rules.problem = None);
    server.certificate(NAME, None).await;
    assert_eq!((server.attempts(Ending::Failed), server.attempts(Ending::Unreached)), (0, 0));
    let directory = Directory::start().await;
    directory.rule(refuse);
    let server = Server::start(&directory).await;
    server.has(Ending::Unreached).await;
    assert_eq!((server.attempts(Ending::Failed), directory.requests(Place::NewOrder)), (0, 12));
}

#[tokio::test]
async fn each_name_of_the_settings_has_a_certificate_and_no_other_name_is_ordered() {
    let directory = Directory::start().await;
    let server = Server::with(&directory, &settings(&directory, &[NAME, "www.relay.test"]), true).await;
    for stranger in ["other.test", "app.relay.test"] {
        assert_eq!(server.served(stranger).await, None);
    }
    let certificates = [server.certificate(NAME, None).await, server.certificate("www.relay.test", None).await];
    assert_ne!(certificates[0], certificates[1]);
    for stranger in ["other.test", "app.relay.test"] {
        assert_eq!(server.served(stranger).await, None);
    }
    let mut ordered: Vec<_> = directory.state().orders.iter().map(|order| order.name.clone()).collect();
    ordered.sort();
    assert_eq!(ordered, [NAME, "www.relay.test"]);
    assert_eq!(directory.state().accounts.len(), 1);
}

#[tokio::test]
async fn a_store_that_a_restart_loses_is_refused() {
    let directory = Directory::start().await;
    let store: Store = Store::in_memory(10);
    let acme = Acme::new(
        &settings(&directory, &[NAME]),
        (store.values(), Seal::default()),
        Shown::new(Certificates::new(), Arc::default(), true),
        true,
    )
    .await;
    let said = acme.unwrap_err();
    assert!(said.contains("--store file:") && said.contains("redis://"), "{said}");
    assert_eq!(directory.requests(Place::Directory), 0);
}

#[tokio::test]
async fn keys_are_sealed_with_the_operators_and_a_server_without_it_does_not_start() {
    let directory = Directory::start().await;
    let config = settings(&directory, &[NAME]);
    let file = directory.folder().join("tunnels.redb");
    let store = FileStore::open(&file, 10, |_| ()).await.unwrap();
    let server = Server::over(&directory, &config, true, (Store::File(store), Seal::new([&b"key"[..]]))).await;
    server.certificate(NAME, None).await;
    server.kill().await;
    let kept = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
    let keys: Vec<_> = kept.split(r#""key":""#).skip(1).map(|key| key.split('"').next().unwrap()).collect();
    assert!(keys.len() >= 2 && keys.iter().all(|key| key.starts_with("sealed1:")), "{keys:?}");
    let store = Store::File(FileStore::open(&file, 10, |_| ()).await.unwrap());
    let shown = Shown::new(Certificates::new(), Arc::default(), true);
    let said = Acme::new(&config, (store.values(), Seal::default()), shown, true).await.unwrap_err();
    assert!(said.contains("--secrets-key-file"), "{said}");
    store.close().await;
}
