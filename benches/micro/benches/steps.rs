//! Measures the time of each step with divan.

use divan::counter::BytesCount;
use micro::Step;

fn main() {
    divan::main();
}

#[divan::bench(args = names())]
fn step(bencher: divan::Bencher<'_, '_>, name: &str) {
    let Step { bytes, prepare, .. } = micro::all().find(|step| step.name == name).expect("a step of this name");
    let mut run = prepare();
    bencher.counter(BytesCount::new(*bytes)).bench_local(&mut run);
}

fn names() -> impl Iterator<Item = &'static str> {
    micro::all().map(|step| step.name)
}
