//! What a program can be told by a flag, an environment variable or a key of its file. The table that
//! [`settings!`](macro@crate::settings) makes says all of each setting in one place: its name, its key, its
//! type, its default and what it does. Flags, variables, `--help`, `config` and errors follow from it.
//!
//! A flag wins over the variable, the variable over the file, the file over the default. The variable
//! of `--allow-private` is `CANISTER_ALLOW_PRIVATE`, and so on for each. An empty variable is one that
//! isn't set, as files of variables have them. A bad value is refused wherever it stands, even where
//! another wins over it.
//!
//! Reading is pure: what stands on the command line, in the environment and in the file is given.

use crate::words;
use canister_protocol::Database;
use canister_protocol::span::Span;
use canister_protocol::veto::VetoEntry;
use log::LevelFilter;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// What the names of all variables begin with.
pub const PREFIX: &str = "CANISTER_";
/// The variable that is no setting, so that no list of settings shows it.
pub const PASSPHRASE: &str = "CANISTER_CA_PASSPHRASE";

/// How a value stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Any number of strings. Elsewhere blanks or commas are between them, or the flag is repeated.
    List,
    /// A whole number.
    Number,
    /// A table of its own. Elsewhere its text.
    Table,
    /// A string.
    Text,
    /// `true` or `false`. Elsewhere `yes` or `no`, or a flag without a value where the default is no.
    Truth,
}

/// What a setting is where nothing is said.
#[derive(Debug, Clone, Copy)]
pub enum Fallback {
    /// What the setting of this name is.
    As(&'static str),
    /// The file of this name in the folder that the setting of this name is.
    In(&'static str, &'static str),
    /// Nothing.
    None,
    /// What this says.
    Of(fn() -> String),
    /// This.
    Text(&'static str),
}

/// One row of the table.
#[derive(Debug)]
pub struct Setting {
    /// Its name, as the field of the settings.
    pub name: &'static str,
    /// Its key in the file, with the section; empty if it can't stand there.
    pub key: &'static str,
    /// What it does, with blanks and line ends as they come.
    pub about: &'static str,
    /// What a file could say, where the default is nothing.
    pub example: &'static str,
    /// How it stands in the file.
    pub form: Form,
    /// Its default.
    pub fallback: Fallback,
    /// See [`SettingValue::shown`].
    pub shown: fn(&str) -> String,
    /// The least and the most that it can be, where that is limited; each may be empty.
    pub range: (&'static str, &'static str),
}

impl Setting {
    /// Its flag, without dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// Whether its flag has no value.
    pub fn is_switch(&self) -> bool {
        matches!((self.form, self.fallback), (Form::Truth, Fallback::Text("no")))
    }

    /// Its default, if that doesn't depend on another setting.
    pub fn default(&self) -> Option<String> {
        match self.fallback {
            Fallback::Of(default) => Some(default()),
            Fallback::Text(text) => Some(text.to_owned()),
            Fallback::As(_) | Fallback::In(..) | Fallback::None => None,
        }
    }

    /// What it can be, where that is limited.
    pub fn between(&self) -> Option<String> {
        between(self.range)
    }

    /// What it does, what it may be and what it is by default.
    pub fn help(&self) -> String {
        let mut notes: Vec<String> = self.between().into_iter().collect();
        match self.form {
            Form::List => notes.push("may be given several times".to_owned()),
            Form::Table => notes.push("in TOML".to_owned()),
            Form::Number | Form::Text | Form::Truth => {}
        }
        match (self.fallback, self.default()) {
            _ if self.is_switch() => {}
            (Fallback::As(name), _) => {
                notes.push(format!("default: that of --{}", name.replace('_', "-")))
            }
            (Fallback::In(folder, name), _) => notes.push(format!("default: {name} in --{folder}")),
            (_, Some(default)) => notes.push(format!("default: {}", default.replace('\n', " "))),
            _ => {}
        }
        let about = self.about.split_whitespace().collect::<Vec<_>>().join(" ");
        if notes.is_empty() { about } else { format!("{about} ({})", notes.join("; ")) }
    }
}

/// The settings of these names.
pub fn named(table: &'static [Setting], names: &[&str]) -> Vec<&'static Setting> {
    table.iter().filter(|setting| names.contains(&setting.name)).collect()
}

/// A value that a setting can have.
pub trait SettingValue: Sized {
    /// How it stands in a file.
    const FORM: Form = Form::Text;

    /// Reads it; of a [`Form::List`] each line is an element.
    ///
    /// # Errors
    /// What to use instead: `use …`.
    fn read(text: &str) -> Result<Self, String>;

    /// The text as errors and `config` show it: without a password.
    fn shown(text: &str) -> String {
        text.replace('\n', " ")
    }
}

/// Makes values of types that read themselves.
#[macro_export]
macro_rules! values {
    ($($type:ty),+ $(,)?) => {
        $(impl $crate::settings::SettingValue for $type {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|why: <$type as std::str::FromStr>::Err| why.to_string())
            }
        })+
    };
}

values!(Database, VetoEntry);

impl SettingValue for bool {
    const FORM: Form = Form::Truth;

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err("use yes or no".to_owned()),
        }
    }
}

macro_rules! numbers {
    ($($type:ty),+) => {
        $(impl SettingValue for $type {
            const FORM: Form = Form::Number;

            fn read(text: &str) -> Result<Self, String> {
                words::number(text)
            }
        })+
    };
}

numbers!(u8, u32, u64);

impl SettingValue for Duration {
    fn read(text: &str) -> Result<Self, String> {
        Span::from_str(text).map(|span| span.0)
    }
}

impl SettingValue for LevelFilter {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "use error, warn, info, debug or trace".to_owned())
    }
}

impl SettingValue for PathBuf {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl SettingValue for SocketAddr {
    fn read(text: &str) -> Result<Self, String> {
        let why = "use an address and a port, such as [::]:443 or 127.0.0.1:8443";
        text.parse().map_err(|_| why.to_owned())
    }
}

/// A header of HTTP.
impl SettingValue for String {
    fn read(text: &str) -> Result<Self, String> {
        let is_good = |byte: u8| (b' '..=b'~').contains(&byte);
        if text.trim().is_empty() || !text.bytes().all(is_good) {
            return Err("use one line of ASCII characters".to_owned());
        }
        Ok(text.to_owned())
    }
}

/// Nothing is said by `none`.
impl<T: SettingValue> SettingValue for Option<T> {
    const FORM: Form = T::FORM;

    fn read(text: &str) -> Result<Self, String> {
        let is_some = !text.is_empty() && text != "none";
        let read = is_some.then(|| T::read(text)).transpose();
        read.map_err(|why| format!("{why}, or none"))
    }

    fn shown(text: &str) -> String {
        if text.is_empty() { String::new() } else { T::shown(text) }
    }
}

impl<T: SettingValue> SettingValue for Vec<T> {
    const FORM: Form = Form::List;

    fn read(text: &str) -> Result<Self, String> {
        text.lines().filter(|line| !line.is_empty()).map(T::read).collect()
    }
}

fn between(range: (&str, &str)) -> Option<String> {
    match range {
        ("", "") => None,
        (least, "") => Some(format!("{least} or more")),
        (least, most) => Some(format!("{least} to {most}")),
    }
}

/// Refuses what is out of the range of its row.
///
/// # Errors
/// What to use instead.
#[doc(hidden)]
pub fn within<T: SettingValue + PartialOrd>(value: &T, range: (&str, &str)) -> Result<(), String> {
    let is_within =
        *value >= T::read(range.0)? && (range.1.is_empty() || *value <= T::read(range.1)?);
    let why = || format!("use {}", between(range).unwrap_or_default());
    if is_within { Ok(()) } else { Err(why()) }
}

/// Makes a struct of settings and its table. A row is
/// `/// what it does` `name ("section.key"): Type = "default", from "1s" to "1d", example "…";`, where
/// all but name and type may be left out and `=>` with a [`Fallback`] may stand for `= "default"`.
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $settings:ident {
            $(
                $(#[doc = $about:literal])+
                $name:ident $(($key:literal))? : $type:ty
                    $(= $default:literal)? $(=> $fallback:expr)?
                    $(, from $least:literal $(to $most:literal)?)?
                    $(, example $example:literal)?;
            )+
        }
    ) => {
        $(#[$meta])*
        $vis struct $settings {
            $($(#[doc = $about])+ $vis $name: $type,)+
        }

        impl $settings {
            /// Every setting, in the order of `--help`.
            $vis const TABLE: &'static [$crate::settings::Setting] = &[$({
                #[allow(unused_imports, reason = "not every row has a default")]
                use $crate::settings::Fallback::{As, In, Of, Text};
                $crate::settings::Setting {
                    name: stringify!($name),
                    key: concat!("" $(, $key)?),
                    about: concat!($($about),+),
                    example: concat!("" $(, $example)?),
                    form: <$type as $crate::settings::SettingValue>::FORM,
                    shown: <$type as $crate::settings::SettingValue>::shown,
                    fallback: $crate::settings!(@fallback $(Text($default))? $($fallback)?),
                    range: (concat!("" $(, $least)?), concat!("" $($(, $most)?)?)),
                }
            }),+];

            /// Reads all of them.
            ///
            /// # Errors
            /// The first that can't be taken, where it stands and what to use instead.
            $vis fn read(from: &mut $crate::settings::Reader<'_>) -> Result<Self, String> {
                Ok(Self { $($name: Self::$name(from)?,)+ })
            }

            $(
                $(#[doc = $about])+
                ///
                /// # Errors
                /// As [`read`](Self::read).
                $vis fn $name(from: &mut $crate::settings::Reader<'_>) -> Result<$type, String> {
                    from.value(stringify!($name), |text| {
                        let value = <$type as $crate::settings::SettingValue>::read(text)?;
                        $($crate::settings::within(&value, ($least, concat!("" $(, $most)?)))?;)?
                        Ok(value)
                    })
                }
            )+
        }
    };
    (@fallback) => { $crate::settings::Fallback::None };
    (@fallback $fallback:expr) => { $fallback };
}

/// What was given on the command line and in the environment.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Name of a setting and what its flag says, in the order of the command line.
    pub flags: Vec<(&'static str, String)>,
    /// Variables whose names begin with [`PREFIX`].
    pub environment: Vec<(String, String)>,
    /// Whether what comes of it is for a program.
    pub is_json: bool,
}

/// What a file says of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLine {
    /// The setting's key.
    pub key: String,
    /// The value; of a [`Form::List`] each line is an element.
    pub value: String,
    /// File and line, for errors.
    pub at: String,
}

/// Where a setting's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueOrigin {
    /// Nobody said anything.
    Default,
    /// The environment variable of its name.
    Environment,
    /// The key of the file.
    File,
    /// The flag of its name.
    Flag,
}

/// Reads settings one by one and notes each. Displayed, it is what `config` prints.
#[derive(Debug)]
pub struct Reader<'a> {
    table: &'static [Setting],
    /// What the command line and the environment say.
    pub given: &'a Given,
    /// What the file says.
    pub file: Vec<FileLine>,
    /// Each setting that was read, with its value and where that comes from.
    pub read: Vec<(&'static Setting, String, ValueOrigin)>,
}

impl<'a> Reader<'a> {
    /// Reads settings of this table.
    pub const fn new(table: &'static [Setting], given: &'a Given) -> Self {
        Self { table, given, file: Vec::new(), read: Vec::new() }
    }

    /// Reads the setting of this name.
    ///
    /// # Errors
    /// Where the value stands, the value, and what to use instead.
    #[doc(hidden)]
    pub fn value<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        let setting = self.setting(name);
        let mut read = None;
        for (origin, value, at) in self.said(setting) {
            let why = |why| format!("{at}{}: {why}", (setting.shown)(&value));
            read = Some((parse(&value).map_err(why)?, value, origin));
        }
        let (parsed, value, origin) = read.expect("a default is always there");
        self.read.push((setting, value, origin));
        Ok(parsed)
    }

    /// Variables that begin like ours and mean nothing, each with what may be meant.
    pub fn unknown(&self) -> Vec<String> {
        let mut variables: Vec<String> = self.table.iter().map(Setting::variable).collect();
        variables.push(PASSPHRASE.to_owned());
        let set = self.given.environment.iter().filter(|(_, value)| !value.is_empty());
        let unknown = set.map(|(name, _)| name).filter(|name| !variables.contains(name));
        let told = |name: &String| {
            let meant = words::meant(name, variables.iter().map(String::as_str));
            format!("{name} is set, and no setting has this variable{meant}")
        };
        unknown.map(told).collect()
    }

    fn setting(&self, name: &str) -> &'static Setting {
        self.table.iter().find(|setting| setting.name == name).expect("a name is in its table")
    }

    /// All that is said of a setting, the last wins: from where, what, and how an error begins.
    fn said(&self, setting: &Setting) -> Vec<(ValueOrigin, String, String)> {
        let of = |name| self.said(self.setting(name)).pop().map(|(_, value, _)| value);
        let default = match setting.fallback {
            Fallback::As(other) => of(other),
            Fallback::In(folder, name) => {
                of(folder).map(|folder| Path::new(&folder).join(name).display().to_string())
            }
            _ => setting.default(),
        };
        let flag = setting.flag();
        let mut said =
            vec![(ValueOrigin::Default, default.unwrap_or_default(), format!("--{flag} "))];
        for line in self.file.iter().filter(|line| line.key == setting.key) {
            let at = format!("{}: {} is ", line.at, line.key);
            said.push((ValueOrigin::File, line.value.clone(), at));
        }
        let variable = setting.variable();
        let mut variables = self.given.environment.iter();
        if let Some((_, value)) =
            variables.find(|(name, text)| *name == variable && !text.is_empty())
        {
            said.push((ValueOrigin::Environment, listed(setting, value), format!("{variable}=")));
        }
        let flags = self.given.flags.iter().filter(|(name, _)| *name == setting.name);
        let flags: Vec<_> = flags.map(|(_, value)| listed(setting, value)).collect();
        if !flags.is_empty() {
            said.push((ValueOrigin::Flag, flags.join("\n"), format!("--{flag} ")));
        }
        said
    }
}

/// A value of the command line or the environment, with each element of a list on its line.
fn listed(setting: &Setting, value: &str) -> String {
    if setting.form == Form::List { value.replace([' ', ','], "\n") } else { value.to_owned() }
}

impl Reader<'_> {
    /// What was read: of each setting its flag, where its value comes from, and the value as it is shown.
    pub fn shown(&self) -> impl Iterator<Item = (String, String, String)> {
        self.read.iter().map(|(setting, value, origin)| {
            let flag = setting.flag();
            let origin = match origin {
                ValueOrigin::Default => "default".to_owned(),
                ValueOrigin::Environment => setting.variable(),
                ValueOrigin::File => setting.key.to_owned(),
                ValueOrigin::Flag => format!("--{flag}"),
            };
            (flag, origin, (setting.shown)(value))
        })
    }
}

impl fmt::Display for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (flag, origin, value) in self.shown() {
            writeln!(f, "{flag:<21} {origin:<29} {value}")?;
        }
        for told in self.unknown() {
            writeln!(f, "{told}")?;
        }
        Ok(())
    }
}
