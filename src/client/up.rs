//! `socket2me up`: several tunnels of a file in one process, each with a session of its own.

use std::collections::HashMap;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::forward::target::Target;
use super::report::{Exit, Failure};
use super::server_url::ServerUrl;
use super::{output, run};
use crate::config::{ForwardConfig, UpConfig, UpTunnel};

/// Runs `socket2me up` until `stop` is cancelled or all tunnels have ended, and returns the largest of their exit codes.
pub async fn up(config: &UpConfig, stop: &CancellationToken) -> Exit {
    let format = run::format(config.output);
    if let Err(failure) = all_differ(&config.tunnels) {
        return run::ended(Err(failure), &output::reporter(format, None));
    }
    let mut tunnels = JoinSet::new();
    for UpTunnel { name, config } in config.tunnels.clone() {
        let report = output::reporter_of(name, format, config.tunnel.url_file.clone());
        let stop = stop.clone();
        tunnels.spawn(async move { run::ended(run::try_forward(&config, &report, None, &stop).await, &report) });
    }
    tunnels.join_all().await.into_iter().max().unwrap_or(Exit::Done)
}

/// Refuses tunnels of one process that would be in each other's way.
fn all_differ(tunnels: &[UpTunnel]) -> Result<(), Failure> {
    let (mut subjects, mut names, mut files) = (HashMap::new(), HashMap::new(), HashMap::new());
    for UpTunnel { name, config: ForwardConfig { target, tunnel, .. } } in tunnels {
        let server =
            ServerUrl::parse(&tunnel.at.server).map_err(|why| Failure::usage(format!("{name}: {why}")))?.to_string();
        let target = Target::parse(target).map_err(|why| Failure::usage(format!("{name}: {why}")))?.identity();
        let same = |other: &str, what: &str, hint: &str| {
            Err(Failure::new(Exit::Usage, "usage", format!("{other} and {name} {what}"), hint))
        };
        let of_subject = (server.clone(), target, tunnel.name.clone(), tunnel.folder.clone());
        if !tunnel.ephemeral
            && let Some(other) = subjects.insert(of_subject, name)
        {
            return same(
                other,
                "forward to the same target",
                "give one of them a `name` of its own, or `ephemeral = true`",
            );
        }
        if let Some(of_server) = &tunnel.name
            && let Some(other) = names.insert((server, of_server), name)
        {
            return same(other, "ask for the same name", "each needs a `name` of its own");
        }
        if let Some(file) = &tunnel.url_file
            && let Some(other) = files.insert(file, name)
        {
            return same(other, "have the same `url-file`", "each needs a file of its own");
        }
    }
    Ok(())
}
