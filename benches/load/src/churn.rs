//! Ends that connect, join their namespace, leave and close.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::Server;
use crate::end::{self, Answer, Plan};
use crate::run::{Run, Span};
use crate::tunnels;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    span: Span,
    /// How many ends connect at the same time, each with a token of its own
    #[arg(long, default_value_t = 16)]
    ends: usize,
}

pub async fn churn(options: Options) -> io::Result<Value> {
    let Server { to, pid, .. } = options.server;
    let run = Rc::new(Run::default());
    let plan = Rc::new(Plan { answer: Answer::text("ok"), expected: None });
    let tickets = tunnels::tickets(options.server, options.ends).await?;
    let ends = tickets.into_iter().enumerate().map(|(number, ticket)| {
        let (run, plan) = (run.clone(), plan.clone());
        spawn_local(async move {
            for turn in (number..).step_by(options.ends) {
                if run.is_over() {
                    return;
                }
                let begin = Instant::now();
                let went = async {
                    let (socket, _) = end::join_ws(turn, to, &ticket, plan.clone()).await?;
                    end::leave(socket, &ticket.token).await
                };
                match went.await {
                    Ok(()) => run.done(begin.elapsed()),
                    Err(error) => {
                        run.error(error.to_string());
                        sleep(Duration::from_millis(5)).await;
                    }
                }
            }
        })
    });
    let ends = ends.collect();
    run.measure(options.span, pid.into(), ends).await
}
