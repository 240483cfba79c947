//! The figures of the program as Prometheus reads them, and what is deployed to watch them: `deploy/grafana/socket2me.json` and
//! `deploy/prometheus/alerts.yml`. `scripts/prometheus` fetches a promtool; without one its tests are skipped, but in CI they
//! fail. `scripts/figures` asks a Prometheus each of the queries.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::relay::visitor::{Visitor, get, request};
use crate::starting::{Started, answers};
use crate::support::end::End;
use crate::support::{tool, within};

const ALERTS: &str = "deploy/prometheus/alerts.yml";
const DASHBOARD: &str = "deploy/grafana/socket2me.json";

/// What Prometheus adds to each figure, and the bounds of a histogram's buckets.
const GIVEN: [&str; 3] = ["job", "instance", "le"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The figures of a server that has served a visitor: a body of 5 bytes, and a response of 4.
async fn figures() -> String {
    let metrics = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = format!("--metrics-listen={metrics}");
    let arguments = ["serve", "--listen=127.0.0.1:0", "--store=memory", "--access-log=off", &listen];
    let program = Started::new(&[], &arguments).await;
    let address = SocketAddr::from(([127, 0, 0, 1], program.port()));
    let token = get(address, "/new").await.text();
    let mut end = End::connect(address, &token).await;
    let mut visitor = Visitor::connect(address).await;
    visitor.send(&request("POST", &format!("/go/{token}"), &[], b"12345")).await;
    let asked = end.asked().await;
    end.answer(&asked, r#"["1234"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.status, 200);
    visitor.finish().await;
    let answer = answers(metrics, "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await;
    let (head, figures) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    figures.to_owned()
}

/// Runs promtool with this on its standard input; it must find nothing wrong.
async fn check(arguments: &[&str], input: &str) {
    let promtool = tool::find("promtool", "SOCKET2ME_PROMTOOL", "scripts/prometheus", "prometheus/usr/bin/promtool");
    let Some(promtool) = promtool else { return };
    let mut command = Command::new(promtool);
    command.args(arguments).current_dir(root()).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = within("promtool", child.wait_with_output()).await.unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_figures_and_the_alerts() {
    check(&["check", "metrics"], &figures().await).await;
    check(&["check", "rules", ALERTS], "").await;
}

#[tokio::test]
async fn times_and_sizes_of_exchanges_and_the_process_are_measured() {
    let figures = figures().await;
    let value = |name: &str| -> f64 {
        let line = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {figures}")).parse().unwrap()
    };
    for name in ["socket2me_exchange_duration_seconds", "socket2me_exchange_relay_seconds"] {
        let of = |part: &str| value(&format!("{name}{part}"));
        assert_eq!([of("_count"), of(r#"_bucket{le="+Inf"}"#)], [1.0, 1.0], "{name}");
        assert!((0.0..20.0).contains(&of("_sum")), "{name}");
    }
    let whole = value("socket2me_exchange_duration_seconds_sum");
    assert!(value("socket2me_exchange_relay_seconds_sum") <= whole);
    for (name, expected) in [
        ("socket2me_request_body_bytes_total", 5.0),
        ("socket2me_response_body_bytes_total", 4.0),
        (r#"socket2me_store_calls_total{operation="create"}"#, 1.0),
        ("socket2me_connected_tunnels", 1.0),
        ("socket2me_connected_ends", 1.0),
    ] {
        assert!((value(name) - expected).abs() < 0.5, "{name}: {}", value(name));
    }
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"] {
        assert!(value(name) >= 0.0, "{name}");
    }
    let start = value("process_start_time_seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 60.0..now + 2.0).contains(&start), "{start} is not just before {now}");
}

/// The name of the figure that a text begins with, and the rest.
fn name(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len()))
}

/// The figures that a text names, each with what follows.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let starts = ["socket2me_", "process_"].into_iter().flat_map(|start| text.match_indices(start));
    let is_start = |&(at, _): &(usize, &str)| !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    starts.filter(is_start).map(|(at, _)| name(&text[at..]))
}

/// Whether a line of the figures has this name, and this label with this value.
fn has(figures: &str, name: &str, label: &str) -> bool {
    figures.lines().any(|line| self::name(line).0 == name && line.contains(label))
}

#[tokio::test]
async fn every_figure_and_label_that_the_dashboard_and_the_alerts_ask_for_exists() {
    let figures = figures().await;
    // A quote is escaped in JSON.
    for (path, text) in [(ALERTS, text(ALERTS)), (DASHBOARD, text(DASHBOARD).replace(r#"\""#, "\""))] {
        assert!(named(&text).count() > 9, "{path} asks for something");
        for (name, rest) in named(&text) {
            // Some have no value at this server, such as those of certificates.
            let is_told = figures.contains(&format!("# TYPE {name} "));
            assert!(is_told || has(&figures, name, ""), "{path}: {name}");
            let Some((matchers, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { continue };
            for matcher in matchers.split(", ") {
                let (label, values) = matcher.split_once(['=', '!']).unwrap();
                let values = values.trim_start_matches(['=', '~']).trim_matches('"').split('|');
                let is_there = |value| has(&figures, name, &format!("{label}=\"{value}\""));
                assert!(GIVEN.contains(&label) || values.clone().all(is_there), "{path}: {name}: {matcher}");
            }
        }
        for (_, by) in text.match_indices(" by (").map(|(at, by)| text.split_at(at + by.len())) {
            for label in by.split_once(')').unwrap().0.split(", ") {
                assert!(GIVEN.contains(&label) || figures.contains(&format!("{label}=\"")), "{path}: by {label}");
            }
        }
    }
}

#[tokio::test]
async fn the_readme_names_every_figure_and_no_other() {
    let figures = figures().await;
    let written: BTreeSet<_> =
        named(&figures).map(|(name, _)| name).filter(|name| name.starts_with("socket2me_")).collect();
    let histogram = |name: &str| ["_bucket", "_sum", "_count"].iter().any(|part| name.ends_with(part));
    let written: BTreeSet<_> = written.into_iter().filter(|name| !histogram(name)).collect();
    let readme = text("README.md");
    let told: BTreeSet<_> =
        named(&readme).map(|(name, _)| name).filter(|name| name.starts_with("socket2me_")).collect();
    assert_eq!(told, written);
}
