//! The table of figures before and after the run, and what does not hold in it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::server::{Figures, Server};
use crate::world::{Tally, World, lock};

/// The most resident memory that the server may take, in MiB: a multiple of `--max-buffered`, because a body that is counted
/// once can exist twice, and the allocator keeps some memory.
const MOST_MEMORY: u64 = 256;

/// How much the live heap may grow, in KiB: capacity of tables that held a thousand sessions, and each thread's buffers.
const SPARE_HEAP: u64 = 1 << 9;

/// Answers that must have been checked; with fewer, the run proves nothing.
const FEWEST_ANSWERS: u64 = 100;

/// Prints the table, and returns what does not hold, in plain words.
pub fn print(
    world: &World,
    server: &Server,
    start: &Figures,
    end: &Figures,
    memory: [u64; 3],
    heap: Option<(u64, u64)>,
    has_stopped: bool,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut hold = |holds: bool, otherwise: String| {
        if !holds {
            faults.push(otherwise);
        }
    };
    println!("\n{:<26}{:>10}{:>10}", "", "start", "end");
    for ((name, then), (_, now)) in start.gauges().into_iter().zip(end.gauges()) {
        println!("{name:<26}{then:>10}{now:>10}");
        hold(now <= then, format!("{name}: {then} at the start, {now} at the end"));
    }
    println!("\n{:<26}{:>10}", "exchanges begun", end.begun());
    for (outcome, count) in end.outcomes().filter(|&(_, count)| count > 0) {
        println!("  {outcome:<24}{count:>10}");
    }
    println!("{:<26}{:>10}", "  all outcomes", end.ended());
    hold(end.begun() == end.ended(), format!("{} exchanges begun, {} ended", end.begun(), end.ended()));
    println!("\nlimits that were hit");
    for (flag, count) in end.limit_hits().filter(|&(_, count)| count > 0) {
        println!("  {flag:<28}{count:>6}");
    }
    println!("\nsessions opened");
    for (character, count) in lock(&world.ends).iter() {
        println!("  {character:<24}{count:>10}");
    }
    println!("pests{:>31}", load(&world.pests));
    println!("\n{:<26}{:>10}{:>10}", "visits", "crowd", "witnesses");
    let Tally { right, lies, unanswered, busy, failed, broken, wrong, slowest, .. } = &world.crowd;
    let witness = &world.witness;
    for (name, crowd, witness) in [
        ("  right, byte for byte", right, &witness.right),
        ("  lies of the tunnel's end", lies, &witness.lies),
        ("  not answered in time", unanswered, &witness.unanswered),
        ("  refused for memory", busy, &witness.busy),
        ("  errors of the relay", failed, &witness.failed),
        ("  broken off", broken, &witness.broken),
        ("  wrong", wrong, &witness.wrong),
        ("  slowest answer, ms", slowest, &witness.slowest),
    ] {
        println!("{name:<26}{:>10}{:>10}", load(crowd), load(witness));
    }
    let checked = load(right).min(load(&witness.right));
    hold(checked >= FEWEST_ANSWERS, format!("only {checked} answers were checked: this run proves nothing"));
    hold(load(wrong) + load(&witness.wrong) == 0, format!("wrong answers: {:?}", lock(&world.crowd.complaints)));
    let errors = [&witness.lies, &witness.unanswered, &witness.failed, &witness.broken, &witness.wrong];
    let errors: u64 = errors.into_iter().map(load).sum();
    hold(errors == 0, format!("{errors} errors of witnesses: {:?}", lock(&witness.complaints)));
    let [then, peak, now] = memory;
    println!("\nmemory, MiB: {then} at the start, {peak} at the most, {now} at the end");
    match heap {
        // The bound on resident memory is for mimalloc, not for the allocator that counts.
        Some((then, now)) => {
            println!("live on the heap, KiB: {then} at the start, {now} at the end");
            hold(now <= then + SPARE_HEAP, format!("{now} KiB live on the heap at the end, {then} at the start"));
        }
        None => hold(peak <= MOST_MEMORY, format!("{peak} MiB of memory at the most, {MOST_MEMORY} are allowed")),
    }
    hold(has_stopped, "the server did not stop when it was asked to, or with an error".to_owned());
    let panics = server.panics();
    println!("panics: {}", panics.len());
    hold(panics.is_empty(), format!("the server panicked: {panics:?}"));
    faults
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
