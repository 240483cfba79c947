//! The heap allocations of each step, as lines of name, blocks, blocks resized, bytes.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a first run makes for good is no cost of each.
const WARM_UP: usize = 10;
const RUNS: usize = 100;

fn main() {
    for step in micro::all() {
        let mut run = (step.prepare)();
        (0..WARM_UP).for_each(|_| run());
        let region = Region::new(ALLOCATOR);
        (0..RUNS).for_each(|_| run());
        let change = region.change();
        let counts = [change.allocations, change.reallocations, change.bytes_allocated];
        let [blocks, resized, bytes] = counts.map(|count| count as f64 / RUNS as f64);
        println!("{}\t{blocks}\t{resized}\t{bytes}", step.name);
    }
}
