//! `steps NAME N` runs the step of this name N times, under valgrind for instance. `steps` lists the names of all steps with
//! their sizes in bytes.

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
    eprintln!("usage: steps [NAME N], where `steps` lists the names, for example: steps 'json scan, document' 100");
    ExitCode::from(2)
}
