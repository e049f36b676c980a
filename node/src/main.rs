//! The daemon: reads the command line, runs the node, and says in one line why it ended.

use std::{future::pending, io::IsTerminal, process::ExitCode, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use node::{
    configuration::{Command, Configuration},
    daemon::Daemon,
    dev::{self, sample},
    shim,
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// Signals so close to each other are one request.
const SAME_REQUEST_WITHIN: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // Before anything else has opened a file or started a thread.
    if shim::requested() {
        shim::main();
    }
    let outcome = match Configuration::try_parse() {
        Ok(configuration) => run(configuration),
        Err(help) if !help.use_stderr() => {
            help.print().ok();
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(anyhow!("{}", wrong_usage(&error))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last words, whatever the log level is")]
            {
                eprintln!("Error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What is wrong with the command line, without the word that clap puts in front of it.
fn wrong_usage(error: &clap::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()
}

fn run(mut configuration: Configuration) -> Result<()> {
    if configuration.version {
        #[expect(clippy::print_stdout, reason = "this is what was asked for")]
        {
            println!("swarmd {}", env!("CARGO_PKG_VERSION"));
        }
        return Ok(());
    }
    tracing_subscriber::fmt()
        .with_writer(dev::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(configuration.log_level)
        .init();
    if configuration.join_addr.is_some() || configuration.join_token.is_some() {
        bail!(
            "joining a cluster is not part of this version: leave --join-addr and --join-token out"
        );
    }
    let runtime = Builder::new_multi_thread().enable_all().thread_name("pool").build()?;
    let ended = runtime.block_on(async {
        match configuration.command.take() {
            Some(Command::Dev(options)) => {
                let (asked, at_once) = (asked_to_end()?, asked_again()?);
                Box::pin(dev::run(configuration, options, asked, at_once)).await
            }
            Some(Command::SampleHttp(options)) => sample::serve(options, asked_to_end()?).await,
            None => Box::pin(run_node(&configuration)).await,
        }
    });
    // What still hangs has been waited for long enough.
    runtime.shutdown_background();
    ended
}

async fn run_node(configuration: &Configuration) -> Result<()> {
    let asked = asked_to_end()?;
    let asked = async {
        asked.await;
        tracing::info!("stopping; tasks run on");
    };
    tokio::pin!(asked);
    let daemon = tokio::select! {
        biased;
        () = &mut asked => return Ok(()),
        daemon = Daemon::start(configuration) => daemon?,
    };
    daemon.run(asked).await
}

/// Resolves at the first SIGINT or SIGTERM from now on.
fn asked_to_end() -> Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be received")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Resolves when somebody who has asked once asks once more. What forwards signals may send the
/// same one twice.
fn asked_again() -> Result<impl Future<Output = ()> + Send> {
    let asked = asked_to_end()?;
    Ok(async move {
        asked.await;
        sleep(SAME_REQUEST_WITHIN).await;
        match asked_to_end() {
            Ok(again) => again.await,
            Err(_) => pending().await,
        }
    })
}
