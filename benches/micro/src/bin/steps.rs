//! `steps NAME N` does a step so many times, for an instrument outside to count; `steps` lists them with their bytes.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (name, times) = match arguments.as_slice() {
        [] => {
            micro::all().for_each(|step| println!("{}\t{}", step.name, step.bytes));
            return ExitCode::SUCCESS;
        }
        [name, times] => (name, times.parse::<u32>()),
        _ => return usage(),
    };
    let (Some(step), Ok(times)) = (micro::all().find(|step| step.name == name), times) else { return usage() };
    let mut run = (step.prepare)();
    for _ in 0..times {
        run();
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: steps [NAME N]");
    ExitCode::from(2)
}
