//! The daemon: reads the command line, runs the node, and says in one line why it ended.

use std::{
    future::pending,
    io::{self, IsTerminal, Write},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use futures_util::future::select_all;
use node::{
    bench,
    configuration::{Command, Configuration, LogFormat},
    daemon::Daemon,
    dev::{self, sample},
    shim,
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// What asks a daemon to end.
const ENDS_BY: [SignalKind; 2] = [SignalKind::interrupt(), SignalKind::terminate()];

/// What asks a throw-away swarm to end: its terminal too, when that goes away.
const DEV_ENDS_BY: [SignalKind; 3] =
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];

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
            // The last words, whatever the log level is, and whether or not anybody hears them.
            writeln!(io::stderr(), "Error: {error:#}").ok();
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
        writeln!(io::stdout(), "swarmd {}", env!("CARGO_PKG_VERSION")).ok();
        return Ok(());
    }
    begin_log(&configuration);
    let runtime = Builder::new_multi_thread().enable_all().thread_name("pool").build()?;
    let ended = runtime.block_on(async {
        match configuration.command.take() {
            Some(Command::Dev(options)) => {
                let (asked, at_once) = (asked_to_end(&DEV_ENDS_BY)?, asked_again(&DEV_ENDS_BY)?);
                Box::pin(dev::run(configuration, options, asked, at_once)).await
            }
            Some(Command::Bench(options)) => bench::run(*options, asked_to_end(&ENDS_BY)?).await,
            Some(Command::SampleHttp(options)) => {
                sample::serve(options, asked_to_end(&ENDS_BY)?).await
            }
            Some(Command::DevNode) => {
                let (asked, mut let_go) = (asked_to_end(&ENDS_BY)?, pin!(dev::let_go()));
                let asked = async move {
                    tokio::select! {
                        biased;
                        () = asked => {}
                        () = &mut let_go => {}
                    }
                };
                Box::pin(run_node(&configuration, asked)).await
            }
            None => Box::pin(run_node(&configuration, asked_to_end(&ENDS_BY)?)).await,
        }
    });
    // What still hangs has been waited for long enough.
    runtime.shutdown_background();
    ended
}

fn begin_log(configuration: &Configuration) {
    // What libraries say of each frame of each connection helps nobody; what is wrong with one is
    // an error where it is used.
    let of_libraries = configuration.log_level.min(LevelFilter::WARN);
    let ours = ["actors", "node", "protocol", "swarmd"];
    let levels = Targets::new()
        .with_default(of_libraries)
        .with_targets(ours.map(|name| (name, configuration.log_level)));
    let lines = fmt::layer()
        .with_writer(dev::stderr)
        // It would panic where the log cannot be written, as when the terminal is gone.
        .log_internal_errors(false);
    let log = tracing_subscriber::registry().with(levels);
    match configuration.log_format {
        LogFormat::Text => log.with(lines.with_ansi(io::stderr().is_terminal())).init(),
        LogFormat::Json => log.with(lines.json()).init(),
    }
}

async fn run_node(
    configuration: &Configuration,
    asked: impl Future<Output = ()> + Send,
) -> Result<()> {
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

/// Resolves at the first of these signals from now on.
fn asked_to_end(by: &[SignalKind]) -> Result<impl Future<Output = ()> + Send + use<>> {
    let signals: io::Result<Vec<_>> = by.iter().map(|kind| signal(*kind)).collect();
    let mut signals = signals.context("signals cannot be received")?;
    Ok(async move {
        select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
    })
}

/// Resolves when somebody who has asked once asks once more. What forwards signals may send the
/// same one twice.
fn asked_again(by: &'static [SignalKind]) -> Result<impl Future<Output = ()> + Send> {
    let asked = asked_to_end(by)?;
    Ok(async move {
        asked.await;
        sleep(SAME_REQUEST_WITHIN).await;
        match asked_to_end(by) {
            Ok(again) => again.await,
            Err(_) => pending().await,
        }
    })
}
