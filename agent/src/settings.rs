//! Where a setting comes from: a flag, else an environment variable, else its default. Pure; it
//! notes each as it is read, for `canister-agent config`.
//!
//! The variable of `--allow-private` is `CANISTER_ALLOW_PRIVATE`, and so on for each. An empty
//! variable is one that isn't set, as files of variables have them.

use crate::config::{self, Address, RunConfig};
use crate::fetch::{FetchConfig, USER_AGENT};
use crate::memory::Mebibytes;
use crate::throttle::Share;
use canister_link::identity::Files;
use canister_link::usage;
use canister_protocol::limits::SLOTS_MAX;
use log::LevelFilter;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

/// What the names of all variables begin with.
const PREFIX: &str = "CANISTER_";

/// What the command line says; none where it is silent.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "each is described where it is read, in main.rs")]
pub struct Flags {
    pub arbiter: Vec<String>,
    pub dir: Option<String>,
    pub certificate: Option<String>,
    pub key: Option<String>,
    pub authority: Option<String>,
    pub slots: Option<String>,
    pub cpu: Option<String>,
    pub memory: Option<String>,
    pub drain: Option<String>,
    pub allow_private: bool,
    pub private_database: bool,
    pub user_agent: Option<String>,
    pub health: Option<String>,
    pub log: Option<String>,
}

/// Where a setting's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The environment variable of its name.
    Environment,
    /// The flag of its name.
    Flag,
}

/// A setting as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its flag, without dashes.
    pub name: &'static str,
    /// Its value, as it would be given.
    pub value: String,
    /// Where that comes from.
    pub origin: Origin,
}

/// The environment variable of a flag.
pub fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// Reads settings one by one.
#[derive(Debug)]
pub struct Settings<'a> {
    /// Names and values of the environment.
    environment: &'a [(String, String)],
    read: Vec<Setting>,
}

impl<'a> Settings<'a> {
    /// Settings from these environment variables, and from the flags that come with each.
    pub const fn new(environment: &'a [(String, String)]) -> Self {
        Self { environment, read: vec![] }
    }

    /// Reads the setting `name`; `default` where nobody says anything.
    ///
    /// # Errors
    /// The flag or variable with its value, and what would work.
    pub fn value<T>(
        &mut self,
        name: &'static str,
        flag: Option<String>,
        default: impl Into<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        let (value, origin) = self.find(name, flag, default);
        let value_read = parse(&value).map_err(|why| match origin {
            Origin::Environment => format!("{} {value}: {why}", variable(name)),
            _ => format!("--{name} {value}: {why}"),
        })?;
        self.read.push(Setting { name, value, origin });
        Ok(value_read)
    }

    /// Reads a setting that a flag without a value turns on.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    fn switch(&mut self, name: &'static str, flag: bool) -> Result<bool, String> {
        self.value(name, flag.then(|| "yes".to_owned()), "no", yes_or_no)
    }

    fn find(
        &self,
        name: &str,
        flag: Option<String>,
        default: impl Into<String>,
    ) -> (String, Origin) {
        if let Some(value) = flag {
            return (value, Origin::Flag);
        }
        let wanted = variable(name);
        let found = self.environment.iter().find(|(name, _)| *name == wanted);
        match found {
            Some((_, value)) if !value.is_empty() => (value.clone(), Origin::Environment),
            _ => (default.into(), Origin::Default),
        }
    }

    /// Variables that look like ours and aren't: misspelt, mostly.
    fn unknown(&self) -> Vec<String> {
        let known: Vec<_> = self.read.iter().map(|it| variable(it.name)).collect();
        let names = self.environment.iter().map(|(name, _)| name);
        names.filter(|name| name.starts_with(PREFIX) && !known.contains(name)).cloned().collect()
    }
}

/// Everything that `canister-agent run` can be told, with where it came from. Displayed, it is what
/// `canister-agent config` prints.
#[derive(Debug)]
pub struct Resolved {
    /// For [`agent::run`](crate::agent::run).
    pub config: RunConfig,
    /// For [`logging::start`](canister_link::logging::start).
    pub log: LevelFilter,
    /// Each setting, in the order of `--help`.
    pub settings: Vec<Setting>,
    /// Variables that begin like ours and mean nothing to this command.
    pub unknown: Vec<String>,
}

impl Resolved {
    /// Reads all settings of a run.
    ///
    /// # Errors
    /// The first one that can't be taken, and what would work.
    pub fn read(flags: Flags, environment: &[(String, String)]) -> Result<Self, String> {
        let mut from = Settings::new(environment);
        let arbiters = (!flags.arbiter.is_empty()).then(|| flags.arbiter.join(" "));
        let canisters = config::ARBITERS.join(" ");
        let arbiters = from.value("arbiter", arbiters, canisters, addresses)?;
        let dir = dir(&mut from, flags.dir)?;
        let own = |name: &str| dir.join(name).display().to_string();
        let files = Files {
            certificate: from.value("certificate", flags.certificate, own("peer.crt"), path)?,
            key: from.value("key", flags.key, own("peer.key"), path)?,
            authority: from.value("authority", flags.authority, own("ca.crt"), path)?,
        };
        let slots = from.value("slots", flags.slots, config::SLOTS.to_string(), slots)?;
        let cpu = from.value("cpu", flags.cpu, Share::PROMISED.to_string(), Share::from_str)?;
        let memory = Mebibytes::PROMISED.to_string();
        let memory = from.value("memory", flags.memory, memory, Mebibytes::from_str)?;
        let drain = from.value("drain", flags.drain, config::DRAIN_SECS.to_string(), |it| {
            usage::number(it).map(Duration::from_secs)
        })?;
        let fetch = fetch(&mut from, flags.allow_private, flags.user_agent)?;
        let private_database = from.switch("private-database", flags.private_database)?;
        let health = from.value("health", flags.health, "", path)?;
        let health = (!health.as_os_str().is_empty()).then_some(health);
        let log = from.value("log", flags.log, "info", usage::level)?;
        let unknown = from.unknown();
        Ok(Self {
            config: RunConfig {
                arbiters,
                files,
                slots,
                drain,
                cpu,
                memory,
                private_database: private_database || fetch.allow_private,
                fetch,
                health,
            },
            log,
            settings: from.read,
            unknown,
        })
    }
}

/// Reads which folder the peer's certificate, key and authority are in.
///
/// # Errors
/// As [`Settings::value`].
pub fn dir(from: &mut Settings<'_>, flag: Option<String>) -> Result<PathBuf, String> {
    from.value("dir", flag, config::DIRECTORY, path)
}

/// Reads what says how sources are fetched.
///
/// # Errors
/// As [`Settings::value`].
pub fn fetch(
    from: &mut Settings<'_>,
    allow_private: bool,
    user_agent: Option<String>,
) -> Result<FetchConfig, String> {
    Ok(FetchConfig {
        allow_private: from.switch("allow-private", allow_private)?,
        user_agent: from.value("user-agent", user_agent, USER_AGENT, usage::user_agent)?,
    })
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in &self.settings {
            let origin = match setting.origin {
                Origin::Default => "default".to_owned(),
                Origin::Environment => variable(setting.name),
                Origin::Flag => format!("--{}", setting.name),
            };
            writeln!(f, "{:<16} {origin:<25} {}", setting.name, setting.value)?;
        }
        for name in &self.unknown {
            writeln!(f, "{name}: no setting has this variable")?;
        }
        Ok(())
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text))
}

/// One address or several, with blanks or commas between them.
fn addresses(text: &str) -> Result<Vec<Address>, String> {
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    let addresses = words.map(str::parse).collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        return Err(format!("{} would work", config::ARBITERS[0]));
    }
    Ok(addresses)
}

fn slots(text: &str) -> Result<u32, String> {
    let slots = usage::number(text)?;
    if (1..=SLOTS_MAX).contains(&(slots as usize)) {
        return Ok(slots);
    }
    Err(format!("1 to {SLOTS_MAX} would work"))
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("yes or no would work".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    fn origins(resolved: &Resolved) -> Vec<(&str, &str, Origin)> {
        let each = resolved.settings.iter();
        each.map(|it| (it.name, &*it.value, it.origin)).collect()
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_that_over_the_default() {
        let variables = environment(&[
            ("CANISTER_SLOTS", "3"),
            ("CANISTER_MEMORY", "64"),
            ("CANISTER_DRAIN", ""),
            ("CANISTER_ALLOW_PRIVATE", "yes"),
            ("CANISTER_ARBITER", "wss://a.example, wss://b.example:8443"),
            ("CANISTER_DIR", "/a"),
            ("CANISTER_KEY", "/b/peer.key"),
            ("CANISTER_MEMROY", "1"),
            ("HOME", "/root"),
        ]);
        let flags = Flags { slots: Some("4".into()), ..Flags::default() };
        let resolved = Resolved::read(flags, &variables).unwrap();
        assert_eq!(resolved.config.slots, 4);
        assert_eq!(resolved.config.memory, "64".parse().unwrap());
        assert_eq!(resolved.config.drain, Duration::from_secs(10));
        assert!(resolved.config.fetch.allow_private);
        let hosts: Vec<_> = resolved.config.arbiters.iter().map(Address::host).collect();
        assert_eq!(hosts, ["a.example", "b.example"]);
        let read = origins(&resolved);
        assert_eq!(read.len(), 14);
        for expected in [
            ("certificate", "/a/peer.crt", Origin::Default),
            ("key", "/b/peer.key", Origin::Environment),
            ("slots", "4", Origin::Flag),
            ("memory", "64", Origin::Environment),
            ("drain", "10", Origin::Default),
            ("allow-private", "yes", Origin::Environment),
            ("log", "info", Origin::Default),
        ] {
            assert!(read.contains(&expected), "{expected:?} not in {read:?}");
        }
        assert_eq!(resolved.unknown, ["CANISTER_MEMROY"]);
        let text = resolved.to_string();
        for line in [
            "slots            --slots                   4\n",
            "memory           CANISTER_MEMORY           64\n",
            "drain            default                   10\n",
            "CANISTER_MEMROY: no setting",
        ] {
            assert!(text.contains(line), "{line:?} not in {text}");
        }
    }

    #[test]
    fn a_private_database_is_no_private_source() {
        for (variables, database, sources) in [
            (&[][..], false, false),
            (&[("CANISTER_PRIVATE_DATABASE", "yes")], true, false),
            (&[("CANISTER_ALLOW_PRIVATE", "yes")], true, true),
        ] {
            let resolved = Resolved::read(Flags::default(), &environment(variables)).unwrap();
            let config = resolved.config;
            let read = (config.private_database, config.fetch.allow_private);
            assert_eq!(read, (database, sources), "{variables:?}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_config() {
        let resolved = Resolved::read(Flags::default(), &[]).unwrap();
        assert_eq!(resolved.config.arbiters.len(), config::ARBITERS.len());
        assert_eq!(resolved.config.cpu, Share::PROMISED);
        assert_eq!(resolved.config.memory, Mebibytes::PROMISED);
        assert_eq!(resolved.config.health, None);
        assert!(resolved.unknown.is_empty());
        let is_default = |it: &Setting| it.origin == Origin::Default;
        assert!(resolved.settings.iter().all(is_default));
    }

    #[test]
    fn what_cant_be_taken_is_named_with_what_would_work() {
        for (name, value, says) in [
            ("CANISTER_SLOTS", "0", "1 to 64 would work"),
            ("CANISTER_SLOTS", "two", "a whole number would work"),
            ("CANISTER_MEMORY", "1", "from 32 would work"),
            ("CANISTER_CPU", "x", "would work"),
            ("CANISTER_ARBITER", ",", "wss://"),
            ("CANISTER_ARBITER", "a.example", "wss://"),
            ("CANISTER_ALLOW_PRIVATE", "1", "yes or no would work"),
            ("CANISTER_LOG", "loud", "error, warn, info"),
        ] {
            let variables = environment(&[(name, value)]);
            let why = Resolved::read(Flags::default(), &variables).unwrap_err();
            let begins = format!("{name} {value}: ");
            assert!(why.starts_with(&begins) && why.contains(says), "{why}");
        }
        let flags = Flags { slots: Some("65".into()), ..Flags::default() };
        let why = Resolved::read(flags, &[]).unwrap_err();
        assert_eq!(why, "--slots 65: 1 to 64 would work");
    }
}
