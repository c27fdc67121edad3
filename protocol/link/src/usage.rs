//! The command line of both programs: reading it, saying what came of it, and, where it can't be
//! taken, which word is wrong and what to use instead.
//!
//! argh reads what each command takes for itself. What argh can't do is done here, in front of it:
//! `--slots=3`, `-h` and `-V`, "did you mean", and the [`settings`](crate::settings) that several
//! commands share, each said once. `--help` is therefore written here, too, from what argh knows.

use crate::settings::{Given, PREFIX, Setting};
use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality, TopLevelCommand};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::num::{IntErrorKind, ParseIntError};
use std::process::ExitCode;
use std::str::FromStr;

/// Longest line of a help text, in characters, and where its descriptions begin.
const WIDTH: usize = 80;
const COLUMN: usize = 20;

/// What a command comes to: text for standard output, or why there is none.
pub type Said = Result<String, Failure>;

/// Why a command came to nothing: one line for standard error.
#[derive(Debug)]
pub enum Failure {
    /// It was tried: exit status 1.
    Failed(String),
    /// It was asked for wrongly: exit status 2.
    Usage(String),
}

impl Failure {
    /// What was tried failed by this.
    pub fn of(cause: impl ToString) -> Self {
        Self::Failed(cause.to_string())
    }
}

/// A program, for [`main`].
#[derive(Debug)]
pub struct Program {
    /// What it is called.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The settings that the command of these words takes beside its own options, and a note on them.
    pub settings: fn(&[&str]) -> (Vec<&'static Setting>, &'static str),
}

/// The whole of a program's `main`: reads the command line, has it done, prints what came of it.
pub fn main<T: TopLevelCommand + ArgsInfo>(
    program: &Program,
    run: impl FnOnce(T, Given) -> Said,
) -> ExitCode {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let words: Vec<String> = std::env::args_os().skip(1).map(text).collect();
    let said = match program.read(&T::get_args_info(), &words) {
        Err(why) => Err(Failure::Usage(why)),
        Ok(Line::Told(text)) => Ok(text),
        Ok(Line::Command(words, flags)) => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
            let environment = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
            match T::from_args(&[program.name], &words) {
                Ok(arguments) => run(arguments, Given { flags, environment }),
                Err(early) => Err(Failure::Usage(explained(&early.output))),
            }
        }
    };
    let (status, why) = match said {
        Ok(text) => {
            // A reader that has seen enough closes the pipe; that is no failure.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Failure::Failed(why)) => (1, why),
        Err(Failure::Usage(why)) => (2, why),
    };
    let _ = writeln!(io::stderr(), "{}: {}", program.name, why.trim_end());
    ExitCode::from(status)
}

/// What a command line comes to.
enum Line {
    /// Words for argh, in the one spelling it knows, and what is said of settings.
    Command(Vec<String>, Vec<(&'static str, String)>),
    /// Help or version.
    Told(String),
}

impl Program {
    fn read(&self, root: &CommandInfoWithArgs, words: &[String]) -> Result<Line, String> {
        let (mut command, mut path) = (root, Vec::new());
        let (mut settings, _) = (self.settings)(&path);
        let (mut own, mut flags) = (Vec::new(), Vec::new());
        let mut is_help = false;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') || word == "-" {
                if word == "help" && !command.commands.is_empty() {
                    is_help = true;
                } else if !command.commands.is_empty() {
                    let mut names = command.commands.iter();
                    let Some(found) = names.find(|it| it.name == word) else {
                        let names = command.commands.iter().map(|it| it.name);
                        return Err(unknown("command", word, names));
                    };
                    (command, own) = (&found.command, [own, vec![word.clone()]].concat());
                    path.push(found.name);
                    settings = (self.settings)(&path).0;
                } else {
                    own.push(word.clone());
                }
                continue;
            }
            let (name, given) = match word.split_once('=') {
                Some((name, given)) => (name, Some(given.to_owned())),
                None => (&**word, None),
            };
            let setting = settings.iter().find(|it| name.strip_prefix("--") == Some(&it.flag()));
            let option = command.flags.iter().find(|it| it.long == name);
            let is_switch = match (name, setting, option) {
                ("--", ..) => {
                    own.push(word.clone());
                    own.extend(words.by_ref().cloned());
                    break;
                }
                ("-h" | "--help", ..) => {
                    is_help = true;
                    continue;
                }
                ("-V" | "--version", ..) if path.is_empty() => {
                    return Ok(Line::Told(format!("{} {}\n", self.name, self.version)));
                }
                (_, Some(setting), _) => setting.is_switch(),
                (_, _, Some(option)) => matches!(option.kind, FlagInfoKind::Switch),
                (_, None, None) => {
                    let names = settings.iter().map(|it| format!("--{}", it.flag()));
                    let names: Vec<_> =
                        names.chain(command.flags.iter().map(|it| it.long.to_owned())).collect();
                    return Err(unknown("option", name, names.iter().map(String::as_str)));
                }
            };
            let value = match (is_switch, given) {
                (true, Some(given)) => {
                    return Err(format!("{name} takes no value; leave out ={given}"));
                }
                (true, None) => None,
                (false, Some(given)) => Some(given),
                (false, None) => match words.next() {
                    Some(value) => Some(value.clone()),
                    None => return Err(format!("no value for {name}; --help says what it takes")),
                },
            };
            match setting {
                Some(setting) => {
                    let is_list = setting.form == crate::settings::Form::List;
                    if !is_list && flags.iter().any(|(name, _)| *name == setting.name) {
                        return Err(format!("{name} is given twice; use it once"));
                    }
                    flags.push((setting.name, value.unwrap_or_else(|| "yes".to_owned())));
                }
                None => {
                    own.push(name.to_owned());
                    own.extend(value);
                }
            }
        }
        if is_help {
            return Ok(Line::Told(self.help(command, &path)));
        }
        if !command.commands.is_empty() {
            return Err("no command given; --help lists them".to_owned());
        }
        Ok(Line::Command(own, flags))
    }

    fn help(&self, command: &CommandInfoWithArgs, path: &[&str]) -> String {
        let (settings, note) = (self.settings)(path);
        let mut text = format!("Usage: {}", [&[self.name], path].concat().join(" "));
        let is_root = path.is_empty();
        text.push_str(if command.commands.is_empty() {
            " [options]"
        } else {
            " <command> [options]"
        });
        for it in command.positionals {
            let _ = match it.optionality {
                Optionality::Required => write!(text, " <{}>", it.name),
                Optionality::Optional => write!(text, " [<{}>]", it.name),
                Optionality::Repeating | Optionality::Greedy => write!(text, " [<{}>...]", it.name),
            };
        }
        text.push_str("\n\n");
        wrap(&mut text, "", "", command.description);
        let mut section = |title: &str, entries: &[(String, String)]| {
            if !entries.is_empty() {
                let _ = writeln!(text, "\n{title}:");
            }
            for (name, about) in entries {
                let mut name = format!("  {name:0$}", COLUMN - 2);
                if name.len() > COLUMN || !name.ends_with(' ') {
                    let _ = writeln!(text, "{name}");
                    name = " ".repeat(COLUMN);
                }
                wrap(&mut text, &name, &" ".repeat(COLUMN), about);
            }
        };
        let positionals = command.positionals.iter();
        let positionals: Vec<_> =
            positionals.map(|it| (it.name.to_owned(), it.description.to_owned())).collect();
        section("Positional Arguments", &positionals);
        let of_setting = |it: &&Setting| {
            let flag = it.flag();
            let name =
                if it.is_switch() { format!("--{flag}") } else { format!("--{flag} <{flag}>") };
            (name, it.help())
        };
        let of_argh = |it: &FlagInfo<'_>| match it.kind {
            FlagInfoKind::Switch => (it.long.to_owned(), it.description.to_owned()),
            FlagInfoKind::Option { arg_name } => {
                (format!("{} <{arg_name}>", it.long), it.description.to_owned())
            }
        };
        let mut options: Vec<_> = settings.iter().map(of_setting).collect();
        options.extend(command.flags.iter().filter(|it| it.long != "--help").map(of_argh));
        if is_root {
            options.push(("-V, --version".to_owned(), "print the version".to_owned()));
        }
        options.push(("-h, --help".to_owned(), "print this help".to_owned()));
        section("Options", &options);
        let commands = command.commands.iter();
        let commands: Vec<_> =
            commands.map(|it| (it.name.to_owned(), it.command.description.to_owned())).collect();
        section("Commands", &commands);
        if !note.is_empty() {
            text.push_str("\nNotes:\n");
            wrap(&mut text, "  ", "  ", note);
        }
        text
    }
}

/// Writes words in as many lines as they need, the first after `first` and the others after `rest`.
pub fn wrap(text: &mut String, first: &str, rest: &str, words: &str) {
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in words.split_whitespace() {
        if !is_empty && line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(text, "{line}");
            (line, is_empty) = (rest.to_owned(), true);
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    let _ = writeln!(text, "{line}");
}

/// Reads a whole number.
///
/// # Errors
/// What to use instead.
pub fn number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|cause: ParseIntError| match cause.kind() {
        IntErrorKind::PosOverflow => "use a smaller number".to_owned(),
        _ => "use a whole number".to_owned(),
    })
}

/// What argh says of a command line, as everything else says it.
fn explained(said: &str) -> String {
    let said = said.trim_end().trim_end_matches('.');
    for begins in ["Error parsing option '", "Error parsing positional argument '"] {
        if let Some(rest) = said.strip_prefix(begins) {
            return rest.replacen("' with value '", " ", 1).replacen("': ", ": ", 1);
        }
    }
    match said.strip_prefix("Unrecognized argument: ") {
        Some(word) => format!("{word} is one word too many; --help lists what works"),
        None => said.to_owned(),
    }
}

fn unknown<'a>(what: &str, given: &str, names: impl Iterator<Item = &'a str>) -> String {
    match meant(given, names) {
        meant if meant.is_empty() => format!("unknown {what} {given}; --help lists what works"),
        meant => format!("unknown {what} {given}{meant}"),
    }
}

/// `; did you mean …?` with the name that is nearest to what was given, or nothing if none is near.
pub fn meant<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> String {
    let far = (given.len() / 3).clamp(1, 2);
    let near = names.map(|name| (distance(given, name), name)).min();
    match near {
        Some((distance, name)) if distance <= far => format!("; did you mean {name}?"),
        _ => String::new(),
    }
}

/// How many letters are to be added, left out, changed or swapped with the next to make one of the
/// other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let above = &rows[i - 1];
            let changed = above[j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = changed.min(above[j] + 1).min(row[j - 1] + 1);
            let is_swap =
                i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
            if is_swap {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}
