//! The settings of [`crate::config`] become those of the other rooms.

use std::sync::Arc;

use super::budgets::Budgets;
use super::tunnels::EndLimits;
use crate::config::{Secret, SecretsKeys, ServeConfig};
use crate::engine;
use crate::proto::exchange::HeadLimits;
use crate::proto::{engine_io, socket_io};
use crate::store::Seal;

/// Returns the seal of secrets in the store.
pub(super) fn seal(config: &ServeConfig) -> Seal {
    Seal::new(config.secrets_keys.iter().flat_map(SecretsKeys::all).map(Secret::as_bytes))
}

pub(super) fn end_limits(config: &ServeConfig) -> EndLimits {
    let limits = &config.limits;
    EndLimits {
        max_payload: config.payload_limit(),
        head: HeadLimits { bytes: limits.max_response_head, lines: limits.max_response_headers },
        // Before the server stops to wait for exchanges, so that their visitors and ends hear why they are broken off.
        drain: config.drain_timeout / 10 * 9,
    }
}

pub(super) fn engine_io_settings(config: &ServeConfig) -> engine_io::Settings {
    let max_payload = config.payload_limit();
    engine_io::Settings {
        revisions: config.engine_io.clone(),
        ping_interval: config.ping_interval,
        ping_timeout: config.ping_timeout,
        upgrade_timeout: config.upgrade_timeout,
        max_payload,
        max_packets: config.limits.max_packets,
        // Room for several of the largest messages, but not more than a session's share of the memory.
        max_buffered_bytes: (4 * max_payload).min(config.max_buffered() / 4),
        ..engine_io::Settings::default()
    }
}

pub(super) fn socket_io_settings(config: &ServeConfig) -> socket_io::connection::Settings {
    socket_io::connection::Settings {
        connect_timeout: config.connect_timeout,
        max_attachments: config.limits.max_attachments,
        max_namespaces: config.limits.max_namespaces,
        max_auth_bytes: config.limits.max_auth,
        max_attachment_bytes: config.payload_limit(),
        max_depth: config.limits.max_depth,
        ..socket_io::connection::Settings::default()
    }
}

pub(super) fn session_limits(config: &ServeConfig, budgets: &Budgets) -> engine::Limits {
    engine::Limits {
        mailbox: config.max_waiting_commands as usize,
        sessions: Arc::clone(&budgets.sessions),
        per_address: Arc::clone(&budgets.sessions_per_address),
        bytes: Arc::clone(&budgets.bytes),
        hits: Arc::clone(&budgets.hits),
        stall_timeout: config.limits.stall_timeout,
        origins: config.allow_origin.clone(),
    }
}
