//! A cluster of many nodes in simulated time: the directory of each node is the product's, Redis is the store of the fuzz targets with
//! a time for each call, and ends and visitors are numbers. Prints tables as Markdown.
//!
//! - `world`: nodes and ends; `happenings`: what happens to them; `redis`: Redis; `visits`: lookups for visitors; `random`: random numbers

mod happenings;
mod random;
mod redis;
mod visits;
mod world;

use clap::Parser;

use crate::redis::{Costs, Counts};
use crate::world::{SECOND, START, Told, World};

/// A cluster of many nodes in simulated time.
#[derive(Parser)]
struct Cli {
    /// Nodes
    #[arg(long, default_value_t = 1_000)]
    nodes: u32,
    /// Tunnels; nine of ten have an end
    #[arg(long, default_value_t = 10_000_000)]
    tunnels: u32,
    /// Life of a keyed tunnel without an end, in days: each is renewed twice in it
    #[arg(long, default_value_t = 30.0)]
    ttl: f64,
    /// Seconds over which the ends of a node that has died come back
    #[arg(long, default_value_t = 5)]
    back: u64,
    /// Seconds that Redis is away before it is back without its data
    #[arg(long, default_value_t = 10)]
    away: u64,
    /// Simulated seconds after which an event that has not converged is given up
    #[arg(long, default_value_t = 600)]
    most: u64,
    #[command(flatten)]
    costs: Costs,
}

fn main() {
    let cli = Cli::parse();
    let mut world = World::new(cli.nodes, cli.costs.clone());
    progress("the nodes start");
    println!(
        "| event | converged after, s | calls of Redis | a second | in the busiest second | Redis is busy | refused as late | rows of the table of nodes | messages in inboxes | direct | pings | ends refused | misplaced |"
    );
    println!("|---|{}", "---:|".repeat(12));
    settle(&mut world, cli.most);
    let now = world.now;
    report(&mut world, "all nodes start", START, Some(now));
    world.fill(cli.tunnels);
    world.pass(world.now + 10 * SECOND);
    forget(&mut world);
    let begun = world.now;
    world.pass(begun + 60 * SECOND);
    report(&mut world, "a minute at rest", begun, None);

    let begun = world.now;
    world.kill(0, cli.back * SECOND);
    let converged = settle(&mut world, cli.most);
    report(&mut world, "a node dies", begun, converged);
    world.start(0);
    settle(&mut world, cli.most);
    forget(&mut world);

    for at_once in [1, (cli.nodes / 100).max(2)] {
        let begun = world.now;
        for first in [1, 1 + at_once, 1 + 2 * at_once] {
            roll(&mut world, first..first + at_once);
        }
        let converged = settle(&mut world, cli.most);
        report(&mut world, &format!("3 × {at_once} nodes are restarted in turn"), begun, converged);
    }

    visits::report(&mut world);

    let begun = world.now;
    world.redis.is_away = true;
    world.pass(begun + cli.away * SECOND);
    report(&mut world, &format!("Redis is away for {} s", cli.away), begun, None);
    let begun = world.now;
    world.redis.is_away = false;
    world.empty();
    let converged = settle(&mut world, cli.most);
    report(&mut world, "Redis is back, empty", begun, converged);

    let renewals = f64::from(cli.tunnels) * 0.9 * 2.0 / (cli.ttl * 86_400.0);
    println!("\nNot run, but counted: {renewals:.1} renewals of tunnels a second, at a life of {} days.", cli.ttl);
}

/// Restarts some nodes together, as an operator does one after another.
fn roll(world: &mut World, slots: std::ops::Range<u32>) {
    slots.clone().for_each(|slot| world.drain(slot, 10 * SECOND));
    world.pass(world.now + 12 * SECOND);
    slots.clone().for_each(|slot| world.stop(slot));
    world.pass(world.now + 2 * SECOND);
    slots.for_each(|slot| world.start(slot));
    world.pass(world.now + 2 * SECOND);
}

/// Lets time pass until the cluster has converged. Returns when that was.
fn settle(world: &mut World, most: u64) -> Option<u64> {
    let begun = world.now;
    while world.now < begun + most * SECOND {
        world.pass(world.now + SECOND / 2);
        if world.has_converged() {
            return Some(world.now);
        }
        if (world.now - begun).is_multiple_of(60 * SECOND) {
            progress(&format!("{} s: {}", (world.now - begun) / SECOND, world.left()));
        }
    }
    None
}

fn forget(world: &mut World) -> (Counts, Told) {
    (std::mem::take(&mut world.redis.counts), std::mem::take(&mut world.told))
}

/// Prints a row, and forgets what was counted.
fn report(world: &mut World, name: &str, begun: u64, converged: Option<u64>) {
    let secs = (world.now - begun) as f64 / SECOND as f64;
    let misplaced = if world.redis.is_away { 0 } else { world.misplaced(100_000) };
    let (counts, told) = forget(world);
    let took = |then: u64| format!("{:.1}", (then - begun) as f64 / SECOND as f64);
    let not = if world.has_converged() { "–" } else { "not yet" };
    let converged = converged.map_or_else(|| not.to_owned(), took);
    println!(
        "| {name} | {converged} | {} | {:.0} | {} | {:.1} % | {} | {} | {} | {} | {} | {} | {misplaced} |",
        counts.calls,
        counts.calls as f64 / secs,
        counts.peak,
        counts.busy / secs / 1e4,
        counts.late,
        counts.rows,
        told.inbox,
        told.direct,
        told.pings,
        told.refused,
    );
    progress(name);
}

fn progress(what: &str) {
    eprintln!("{what}");
}
