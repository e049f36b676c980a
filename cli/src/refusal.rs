//! What is said when a command line cannot be read: one line, and the usage of what was typed
//! (cli.md §1).

use std::num::{IntErrorKind, ParseIntError};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::{error::Error, text};

/// What is said when a command lacks its object (cli.md §2 to §6).
const MISSING: &[(&str, &[&str], &str)] = &[
    ("node", &["inspect", "update"], "node ID missing"),
    ("node", &["activate", "demote", "drain", "pause", "promote", "remove"], "missing node ID"),
    ("service", &["explain", "inspect", "remove", "update"], "service ID missing"),
    ("service", &["logs"], "missing service IDs"),
    ("task", &["explain", "inspect", "remove"], "task ID missing"),
    ("cluster", &["inspect", "unlock-key", "update"], "cluster name missing"),
];

/// Answers a command line that could not be read. Help is no error, and a noun without a verb, or
/// with one that it does not have, is a question for help; the rest is told in one line with the
/// usage below it.
pub(crate) fn refuse(error: &clap::Error, command: &mut clap::Command) -> Result<(), Error> {
    let typed = typed(command, &words());
    let is_verb_wrong = error.kind() == ErrorKind::InvalidSubcommand && !typed.path.is_empty();
    if is_verb_wrong || error.kind() == ErrorKind::MissingSubcommand {
        return text::print(&typed.command.render_long_help().to_string());
    }
    let help = [ErrorKind::DisplayHelp, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
    if help.contains(&error.kind()) {
        return text::print(&error.render().to_string());
    }
    Err(Error::usage(describe(error, &typed)))
}

/// The usage of what was typed.
pub(crate) fn usage(command: &mut clap::Command) -> String {
    typed(command, &words()).command.render_help().to_string()
}

/// What was typed; no command is called by something that is no text.
fn words() -> Vec<String> {
    std::env::args_os().skip(1).filter_map(|word| word.into_string().ok()).collect()
}

/// The subcommand whose usage helps: the deepest that was typed.
struct Typed<'c> {
    command: &'c mut clap::Command,
    /// The names of the commands on the way there, without that of the program.
    path: Vec<String>,
}

fn typed<'c>(root: &'c mut clap::Command, words: &[String]) -> Typed<'c> {
    root.build();
    let (mut command, mut path) = (root, Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if ["-s", "--socket"].contains(&word.as_str()) {
            // The socket may be called like a command.
            words.next();
        } else if command.find_subcommand(word).is_some() {
            command = command.find_subcommand_mut(word).expect("it was just found");
            path.push(command.get_name().to_owned());
        }
    }
    Typed { command, path }
}

fn describe(error: &clap::Error, typed: &Typed<'_>) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    let value = context(ContextKind::InvalidValue);
    let flag = argument.split([' ', '=', '[']).next().unwrap_or_default();
    let name = typed.command.get_name();
    #[expect(clippy::wildcard_enum_match_arm, reason = "of many kinds, all others are of a value")]
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with("--") => {
            format!("unknown flag: {argument}")
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let letter = argument.trim_start_matches('-');
            format!("unknown shorthand flag: '{letter}' in {argument}")
        }
        ErrorKind::UnknownArgument if typed.command.get_positionals().next().is_none() => {
            format!("{name} command takes no arguments")
        }
        ErrorKind::UnknownArgument => format!("{name} command takes exactly 1 argument"),
        ErrorKind::MissingRequiredArgument => missing(&typed.path),
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg);
            let other = other.split([' ', '=', '[']).next().unwrap_or_default();
            format!("{flag} cannot be used with {other}")
        }
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8".to_owned(),
        ErrorKind::InvalidSubcommand => unknown_command(
            &context(ContextKind::InvalidSubcommand),
            &context(ContextKind::SuggestedSubcommand),
        ),
        _ if value.is_empty() => format!("flag needs an argument: {flag}"),
        _ => {
            let reason = std::error::Error::source(error).map(|reason| told(&value, reason));
            let reason = reason
                .unwrap_or_else(|| format!("must be one of {}", context(ContextKind::ValidValue)));
            match flag.starts_with('-') {
                true => format!("invalid argument \"{value}\" for \"{flag}\" flag: {reason}"),
                false => format!("invalid argument \"{value}\": {reason}"),
            }
        }
    }
}

/// Why a value cannot be taken.
fn told(value: &str, reason: &(dyn std::error::Error + 'static)) -> String {
    match reason.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        Some(IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => {
            "the number is too large".to_owned()
        }
        Some(_) if value.starts_with('-') => "the number must not be negative".to_owned(),
        Some(_) => "it is not a whole number".to_owned(),
        None => reason.to_string(),
    }
}

fn missing(path: &[String]) -> String {
    let [noun, verb] = path else {
        let name = path.last().map_or("swarmctl", String::as_str);
        return format!("{name} command takes exactly 1 argument");
    };
    let said = MISSING.iter().find(|(of, verbs, _)| of == noun && verbs.contains(&verb.as_str()));
    said.map_or_else(
        || format!("{verb} command takes exactly 1 argument"),
        |said| said.2.to_owned(),
    )
}

/// A command that does not exist, with those that are spelt much like it.
fn unknown_command(word: &str, suggested: &str) -> String {
    let text = format!("unknown command \"{word}\" for \"swarmctl\"");
    if suggested.is_empty() {
        return text;
    }
    let suggested: String = suggested.split(", ").map(|one| format!("\t{one}\n")).collect();
    format!("{text}\n\nDid you mean this?\n{suggested}")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::arguments::Arguments;

    /// What is said of a command line that cannot be read.
    #[track_caller]
    fn check(line: &str, expected: &str) {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let mut command = Arguments::command();
        let all = std::iter::once("swarmctl".to_owned()).chain(words.clone());
        let error = command.try_get_matches_from_mut(all).expect_err("it cannot be read");
        assert_eq!(describe(&error, &typed(&mut command, &words)), expected, "{line}");
    }

    #[test]
    fn each_mistake_has_its_line() {
        check("service ls --x", "unknown flag: --x");
        check("service ls -z", "unknown shorthand flag: 'z' in -z");
        check("service create --name", "flag needs an argument: --name");
        check("service ls more", "ls command takes no arguments");
        check("version more", "version command takes no arguments");
        check("service inspect", "service ID missing");
        check("svc rm", "service ID missing");
        check("task inspect", "task ID missing");
        check("node inspect", "node ID missing");
        check("node drain", "missing node ID");
        check("cluster update", "cluster name missing");
        check("node rm a b", "remove command takes exactly 1 argument");
        check(
            "service update a --replicas x",
            "invalid argument \"x\" for \"--replicas\" flag: it is not a whole number",
        );
        check(
            "service update a --replicas=-1",
            "invalid argument \"-1\" for \"--replicas\" flag: the number must not be negative",
        );
        check("completion tcsh", "invalid argument \"tcsh\": must be one of bash, fish, zsh");
        check(
            "service create --mode job",
            "invalid argument \"job\" for \"--mode\" flag: must be one of replicated, global",
        );
        check(
            "serv",
            "unknown command \"serv\" for \"swarmctl\"\n\nDid you mean this?\n\tservice\n",
        );
    }

    #[test]
    fn a_socket_may_be_called_like_a_command() {
        let words = ["-s", "node", "service", "ls"].map(str::to_owned);
        assert_eq!(typed(&mut Arguments::command(), &words).path, ["service", "ls"]);
    }

    #[test]
    fn of_a_flag_given_twice_the_last_counts_and_lists_append() {
        let line = "swarmctl service ls -q -q";
        assert!(Arguments::command().try_get_matches_from(line.split(' ')).is_ok());
        let line = "swarmctl service update a --replicas 2 --replicas 3 --env A=1 --env B=2";
        let matches = Arguments::command().try_get_matches_from(line.split(' ')).unwrap();
        let update = matches.subcommand().unwrap().1.subcommand().unwrap().1;
        assert_eq!(update.get_one::<u64>("replicas"), Some(&3));
        assert_eq!(update.get_many::<crate::value::List>("env").unwrap().count(), 2);
    }
}
