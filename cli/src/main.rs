//! `swarmctl`: drives a swarm through the control socket of one of its managers.
//!
//! One file per noun. Results go to standard output, errors and the usage that may follow them
//! to standard error; every error ends with exit code 255 (cli.md §1).

#![allow(clippy::print_stderr, reason = "errors are told on standard error")]

mod advice;
mod arguments;
mod cluster;
mod connect;
mod convergence;
mod error;
mod node;
mod output;
mod overtaken;
mod refusal;
mod resolve;
mod service;
mod task;
mod text;
mod value;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::{
    arguments::{Arguments, Command},
    error::Error,
};

const FAILED: u8 = 255;

fn main() -> ExitCode {
    let mut command = Arguments::command();
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let arguments = parsed.and_then(|matches| Arguments::from_arg_matches(&matches));
    let outcome = match arguments {
        Ok(arguments) => run(arguments),
        Err(error) => refusal::refuse(&error, &mut command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print(|| refusal::usage(&mut command));
            ExitCode::from(FAILED)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: Arguments) -> Result<(), Error> {
    let connection = &arguments.connection;
    match arguments.command {
        Command::Version => text::print(concat!("swarmctl ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Cluster(command) => Box::pin(cluster::run(command, connection)).await,
        Command::Completion { shell } => text::print(&arguments::completion(shell)),
        Command::Man { directory } => arguments::man(&directory),
        Command::Node(command) => Box::pin(node::run(command, connection)).await,
        Command::Service(command) => Box::pin(service::run(command, connection)).await,
        Command::Task(command) => Box::pin(task::run(command, connection)).await,
    }
}
