//! The steps of an exchange that need no socket, one by one, for whoever measures them: `benches/steps.rs` their times,
//! `scripts/counts` their instructions and allocations.
//!
//! - [`json`], [`wire`]: the codecs
//! - [`exchange`]: a visitor's request to the event, an ack to the response, and all of it in a row
//! - [`inputs`]: what they work on
//! - [`server`]: a whole server, for those who count its allocations

pub mod exchange;
pub mod inputs;
pub mod json;
pub mod server;
pub mod wire;

/// Does a step once.
pub type Run = Box<dyn FnMut()>;

/// One step.
pub struct Step {
    pub name: &'static str,
    /// The bytes of its input, or of its output where that is larger; about that many where it is small.
    pub bytes: usize,
    /// Makes what it works on.
    pub prepare: fn() -> Run,
}

/// All of them, in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static Step> {
    [wire::STEPS, json::STEPS, exchange::STEPS].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_step_runs_and_has_a_name_of_its_own() {
        let mut names = std::collections::HashSet::new();
        for step in super::all() {
            assert!(names.insert(step.name), "{}", step.name);
            let mut run = (step.prepare)();
            run();
            run();
        }
    }
}
