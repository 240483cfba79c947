//! The session and the connection over a simulated clock: no socket, no task, no waiting.

mod client;
mod ending;
mod heartbeat;
mod polls;
mod revision_3;
mod upgrade;
mod world;
