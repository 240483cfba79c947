//! Visitors who arrive at random nodes, and how many of them need a call of Redis.

use socket2me::cluster::directory::Lookup;

use crate::random::Zipf;
use crate::world::{SECOND, World, at, token};

/// Nodes whose visitors are simulated: all are alike.
const SAMPLED: usize = 4;
const SECS: u64 = 20;

/// Prints the table.
pub fn report(world: &mut World) {
    println!(
        "\n| visits a second at each node | end here | found in the cache | calls of Redis | a second, all nodes | Redis is busy |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    for (run, rate) in [1, 10, 100, 1_000, 10_000].into_iter().enumerate() {
        // What was found in the run before is too old by then.
        let begun = world.now + (1 + run as u64) * 100 * SECOND;
        let (mut visits, mut here, mut known, mut asked) = (0_u64, 0_u64, 0_u64, 0_u64);
        // Those at the end have not been restarted.
        for slot in (0..world.nodes.len()).rev().take(SAMPLED) {
            let [one, two, three, four] = visit(world, slot, rate as f64, begun);
            (visits, here, known, asked) = (visits + one, here + two, known + three, asked + four);
        }
        let part = |count: u64| 100.0 * count as f64 / visits as f64;
        let all = asked as f64 / (SECS * SAMPLED as u64) as f64 * world.nodes.len() as f64;
        let busy = all * world.redis.costs.other() / 1e4;
        println!(
            "| {rate} | {:.2} % | {:.1} % | {:.1} % | {all:.0} | {busy:.0} % |",
            part(here),
            part(known),
            part(asked)
        );
    }
    println!();
}

/// Has visitors arrive at one node for some time. Returns how many there were, had their end there, were found, and needed a call.
/// The first seconds, in which nothing is known yet, are left out.
fn visit(world: &mut World, slot: usize, rate: f64, begun: u64) -> [u64; 4] {
    let zipf = Zipf::new(world.ends.len());
    let mut time = begun as f64;
    let mut counts = [0; 4];
    loop {
        time -= (1.0 - world.random.part()).ln() / rate * SECOND as f64;
        let now = time as u64;
        if now >= begun + (SECS + 3) * SECOND {
            return counts;
        }
        let tunnel = zipf.rank(&mut world.random).min(world.ends.len() - 1);
        let what = if world.ends[tunnel] as usize == slot {
            1
        } else if let Lookup::Known(_) = world.nodes[slot].directory.lookup(&token(tunnel as u32), at(now)) {
            2
        } else {
            let located = world.redis.store.locate(&token(tunnel as u32));
            world.nodes[slot].directory.located(token(tunnel as u32), located, at(now));
            3
        };
        if now >= begun + 3 * SECOND {
            counts[0] += 1;
            counts[what] += 1;
        }
    }
}
