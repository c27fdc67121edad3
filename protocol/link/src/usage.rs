//! The command line of both programs: reading it, saying what came of it, and, where it can't be
//! taken, which word is wrong and what to use instead.
//!
//! argh reads what each command takes for itself. What argh can't do is done here, in front of it:
//! `--slots=3`, `-h` and `-V`, "did you mean", completion, and the [`settings`](mod@crate::settings) that several
//! commands share, each said once. `--help` is therefore written here, too, from what argh knows.

use crate::logging;
use crate::settings::{Form, Given, PREFIX, Setting};
use crate::words::meant;
pub use crate::words::{DAYS, HOURS, number, whole};
use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfoKind, Optionality, TopLevelCommand};
use canister_protocol::plain::lines;
use log::Level;
use rustix::io::Errno;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Longest line of a help text, in characters, and where its descriptions begin.
const WIDTH: usize = 80;
const COLUMN: usize = 20;

/// The command that both programs have of themselves.
const COMPLETION: &str = "completion";
/// What completes a command line in a shell; each asks the program itself.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", include_str!("usage/completion.bash")),
    ("fish", include_str!("usage/completion.fish")),
    ("zsh", include_str!("usage/completion.zsh")),
];
/// The option of all commands that print something for programs, too.
const JSON: &str = "--json";
const COMPLETION_ABOUT: &str = "Print what completes this program's commands and options in a shell: \
    bash, fish or zsh. Have it read at the shell's start, such as by `source <(PROGRAM completion \
    bash)` in ~/.bashrc.";

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
    /// Whether the command of these words takes `--json`: what it comes to is for a program then. Of one that has
    /// commands: whether it does something without one, too.
    pub prints_json: fn(&[&str]) -> bool,
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
        Ok(Line::Command { words, flags, is_json }) => {
            let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
            let environment = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
            match T::from_args(&[program.name], &words) {
                Ok(arguments) => run(arguments, Given { flags, environment, is_json }),
                Err(early) => Err(Failure::Usage(explained(&early.output))),
            }
        }
    };
    let (status, why) = match said.and_then(|text| print(&text)) {
        Ok(_) => return ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => (1, why),
        Err(Failure::Usage(why)) => (2, why),
    };
    let prefix = logging::prefix(Level::Error);
    let _ = writeln!(io::stderr(), "{prefix}{}: {}", program.name, lines(why.trim_end()));
    ExitCode::from(status)
}

/// Writes to standard output; whether there is still somebody who reads.
///
/// # Errors
/// It can't be written.
pub fn print(text: &str) -> Result<bool, Failure> {
    // Not by `io::stdout()`, which takes a descriptor that can't be written to for one that was thrown away.
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            // A reader that has seen enough closes the pipe; that is no failure.
            Err(Errno::PIPE) => return Ok(false),
            Err(cause) => {
                return Err(Failure::Failed(format!("write to standard output: {cause}")));
            }
        }
    }
    Ok(true)
}

/// What a command line comes to.
enum Line<'a> {
    /// Words for argh, in the one spelling it knows, and what is said of settings.
    Command { words: Vec<&'a str>, flags: Vec<(&'static str, String)>, is_json: bool },
    /// Help or version.
    Told(String),
}

/// An option of a command: a setting, argh's own, or `--json`.
struct Flag {
    name: String,
    is_switch: bool,
    about: String,
    setting: Option<&'static Setting>,
}

impl Program {
    fn flags(&self, command: &CommandInfoWithArgs, path: &[&str]) -> Vec<Flag> {
        let settings = (self.settings)(path).0.into_iter().map(|it| Flag {
            name: format!("--{}", it.flag()),
            is_switch: it.is_switch(),
            about: it.help(),
            setting: Some(it),
        });
        let own = command.flags.iter().filter(|it| it.long != "--help").map(|it| Flag {
            name: it.long.to_owned(),
            is_switch: matches!(it.kind, FlagInfoKind::Switch),
            about: it.description.to_owned(),
            setting: None,
        });
        let json = (self.prints_json)(path).then(|| Flag {
            name: JSON.to_owned(),
            is_switch: true,
            about: "print JSON".to_owned(),
            setting: None,
        });
        settings.chain(own).chain(json).collect()
    }

    fn read<'a>(
        &self,
        root: &CommandInfoWithArgs,
        words: &'a [String],
    ) -> Result<Line<'a>, String> {
        let (mut command, mut path) = (root, Vec::new());
        let mut flags = self.flags(command, &path);
        let (mut own, mut said, mut is_help, mut is_json) = (Vec::new(), Vec::new(), false, false);
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let (name, given) = match word.split_once('=') {
                Some((name, given)) if name.starts_with('-') => (name, Some(given)),
                _ => (word, None),
            };
            match name {
                "--" => {
                    own.push(name);
                    own.extend(words.by_ref());
                }
                "-h" | "--help" | "help" => is_help = true,
                "-V" | "--version" if path.is_empty() => {
                    return Ok(Line::Told(format!("{} {}\n", self.name, self.version)));
                }
                _ if name.starts_with('-') && name != "-" => {
                    let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
                        return Err(unknown("option", name, flags.iter().map(|it| &*it.name)));
                    };
                    let value = match (flag.is_switch, given) {
                        (true, Some(_)) => {
                            return Err(format!("{name} takes no value; use {name}"));
                        }
                        (true, None) => None,
                        (false, given) => {
                            Some(given.or_else(|| words.next()).ok_or_else(|| {
                                format!("no value for {name}; --help says what it takes")
                            })?)
                        }
                    };
                    if let Some(setting) = flag.setting {
                        let is_again = said.iter().any(|(name, _)| *name == setting.name);
                        if is_again && setting.form != Form::List {
                            return Err(format!("{name} is given twice; use it once"));
                        }
                        said.push((setting.name, value.unwrap_or("yes").to_owned()));
                    } else if name == JSON && (self.prints_json)(&path) {
                        is_json = true;
                    } else {
                        own.extend([Some(name), value].into_iter().flatten());
                    }
                }
                _ if command.commands.is_empty() => own.push(word),
                COMPLETION if path.is_empty() => {
                    return self.completion(root, &words.collect::<Vec<_>>()).map(Line::Told);
                }
                _ => {
                    let mut commands = command.commands.iter();
                    let Some(found) = commands.find(|it| it.name == word) else {
                        let names = command.commands.iter().map(|it| it.name);
                        let own = path.is_empty().then_some(COMPLETION);
                        return Err(unknown("command", word, names.chain(own)));
                    };
                    command = &found.command;
                    path.push(word);
                    own.push(word);
                    flags = self.flags(command, &path);
                }
            }
        }
        if is_help {
            return Ok(Line::Told(self.help(command, &path, &flags)));
        }
        if !command.commands.is_empty() && !(self.prints_json)(&path) {
            return Err("no command given; --help lists them".to_owned());
        }
        Ok(Line::Command { words: own, flags: said, is_json })
    }

    /// What completes command lines in a shell, or what may follow these words, a line each.
    fn completion(&self, root: &CommandInfoWithArgs, words: &[&str]) -> Result<String, String> {
        if let [word] = words
            && ["-h", "--help"].contains(word)
        {
            let mut text = format!("Usage: {} {COMPLETION} <shell>\n\n", self.name);
            wrap(&mut text, "", "", COMPLETION_ABOUT);
            let help = format!("  {:1$} ", "-h, --help", COLUMN - 3);
            text.push_str("\nOptions:\n");
            wrap(&mut text, &help, "", "print this help");
            return Ok(text);
        }
        if let ["words", before @ ..] = words {
            return Ok(self.following(root, before));
        }
        let [shell] = words else {
            return Err(format!("use {COMPLETION} bash, fish or zsh"));
        };
        let found = COMPLETIONS.iter().find(|(name, _)| name == shell);
        let (_, script) = found
            .ok_or_else(|| unknown("shell", shell, COMPLETIONS.iter().map(|(name, _)| *name)))?;
        let function = format!("_{}", self.name.replace('-', "_"));
        Ok(script.replace("@NAME@", self.name).replace("@FUNCTION@", &function))
    }

    /// Commands and options that may follow these words; none where it is an option's value.
    fn following(&self, root: &CommandInfoWithArgs, words: &[&str]) -> String {
        let (mut command, mut path) = (root, Vec::new());
        let mut flags = self.flags(command, &path);
        let takes = |flags: &[Flag], word: &str| {
            flags.iter().any(|flag| flag.name == word && !flag.is_switch)
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            if takes(&flags, word) && words.next().is_none() {
                return String::new();
            }
            if let Some(found) = command.commands.iter().find(|it| it.name == word) {
                command = &found.command;
                path.push(word);
                flags = self.flags(command, &path);
            }
        }
        let version = path.is_empty().then_some(("--version", "print the version"));
        let options = flags.iter().map(|flag| (&*flag.name, &*flag.about));
        let help = ("--help", "print help");
        let below = below(command, &path).into_iter();
        let all = below.chain(options).chain(version).chain([help]);
        let line = |(name, about): (&str, &str)| {
            let about: Vec<&str> = about.split_whitespace().collect();
            let about = about.join(" ");
            format!("{name}\t{}\n", about.split(". ").next().unwrap_or_default())
        };
        all.map(line).collect()
    }

    fn help(&self, command: &CommandInfoWithArgs, path: &[&str], flags: &[Flag]) -> String {
        let is_leaf = command.commands.is_empty();
        let mut text = format!("Usage: {}", [&[self.name], path].concat().join(" "));
        text.push_str(match is_leaf {
            true => " [options]",
            false if (self.prints_json)(path) => " [<command>] [options]",
            false => " <command> [options]",
        });
        for it in command.positionals {
            let _ = match it.optionality {
                Optionality::Required => write!(text, " <{}>", it.name),
                Optionality::Optional => write!(text, " [<{}>]", it.name),
                // Every one of ours needs at least one.
                Optionality::Repeating | Optionality::Greedy => write!(text, " <{}>...", it.name),
            };
        }
        text.push_str("\n\n");
        wrap(&mut text, "", "", command.description);
        let mut section = |title: &str, entries: &mut dyn Iterator<Item = (String, &str)>| {
            for (at, (name, about)) in entries.enumerate() {
                if at == 0 {
                    let _ = writeln!(text, "\n{title}:");
                }
                let mut name = format!("  {name:0$} ", COLUMN - 3);
                if name.len() > COLUMN {
                    let _ = writeln!(text, "{}", name.trim_end());
                    name = " ".repeat(COLUMN);
                }
                wrap(&mut text, &name, &" ".repeat(COLUMN), about);
            }
        };
        let mut positionals =
            command.positionals.iter().map(|it| (it.name.to_owned(), it.description));
        section("Positional Arguments", &mut positionals);
        let named = |it: &Flag| match it.is_switch {
            true => it.name.clone(),
            false => format!("{} <{}>", it.name, it.name.trim_start_matches('-')),
        };
        let version = path.is_empty().then(|| ("-V, --version".to_owned(), "print the version"));
        let help = ("-h, --help".to_owned(), "print this help");
        let options = flags.iter().map(|it| (named(it), &*it.about));
        section("Options", &mut options.chain(version).chain([help]));
        let below = below(command, path).into_iter();
        section("Commands", &mut below.map(|(name, about)| (name.to_owned(), about)));
        let (_, note) = (self.settings)(path);
        if !note.is_empty() {
            text.push_str("\nNotes:\n");
            wrap(&mut text, "  ", "  ", note);
        }
        text
    }
}

/// The commands of a command, by name, and what each does.
fn below(command: &CommandInfoWithArgs, path: &[&str]) -> Vec<(&'static str, &'static str)> {
    let own = path.is_empty().then_some((COMPLETION, COMPLETION_ABOUT));
    let commands = command.commands.iter().map(|it| (it.name, it.command.description));
    let mut all: Vec<_> = commands.chain(own).collect();
    all.sort_unstable();
    all
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

/// What argh says of a command line, as everything else says it.
fn explained(said: &str) -> String {
    let said = said.trim_end().trim_end_matches('.');
    for begins in ["Error parsing option '", "Error parsing positional argument '"] {
        if let Some(rest) = said.strip_prefix(begins) {
            return rest.replacen("' with value '", " ", 1).replacen("': ", ": ", 1);
        }
    }
    for begins in ["Required positional arguments not provided:", "Required options not provided:"]
    {
        if let Some(rest) = said.strip_prefix(begins) {
            let missing = rest.split_whitespace().collect::<Vec<_>>().join(", ");
            return format!("missing: {missing}; --help tells more");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_meant() {
        let names = ["--key", "--lease", "--state", "--retry-after"];
        for (given, near) in [
            ("--kye", "; did you mean --key?"),
            ("--stat", "; did you mean --state?"),
            ("--retry-afetr", "; did you mean --retry-after?"),
            ("--leases", "; did you mean --lease?"),
            ("--nonsense", ""),
            ("", ""),
        ] {
            assert_eq!(meant(given, names.into_iter()), near, "{given}");
        }
    }
}
