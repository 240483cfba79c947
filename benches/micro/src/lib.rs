//! The steps of an exchange that need no socket, one by one. `benches/steps.rs` measures their times, and `scripts/counts`
//! counts their instructions and allocations.
//!
//! - [`json`], [`wire`]: the codecs
//! - [`exchange`]: from a request to the event, from an ack to the response, and both in a whole exchange
//! - [`inputs`]: the inputs of the steps
//! - [`server`]: a whole server, for the programs that count its allocations

pub mod exchange;
pub mod inputs;
pub mod json;
pub mod server;
pub mod wire;

/// Runs a step once.
pub type Run = Box<dyn FnMut()>;

/// One step of an exchange.
pub struct Step {
    /// The name in `counts.md` and on the command line; no two steps share one.
    pub name: &'static str,
    /// The size of the step's input in bytes, or of its output where that is larger. Approximate for small sizes.
    /// Steps of 32 KiB and more run fewer times for a count.
    pub bytes: usize,
    /// Makes the step's input.
    pub prepare: fn() -> Run,
}

/// Returns all steps, in the order of the tables.
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
