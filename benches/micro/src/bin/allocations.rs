//! Prints the heap allocations of each step: a line with its name, blocks, blocks resized and bytes, separated by tabs.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Runs before the count, so that memory that is allocated once and kept is not counted.
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
