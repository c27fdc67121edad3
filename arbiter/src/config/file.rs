//! The configuration file, in TOML. It says what flags and variables say, and they win over it. A key
//! that nobody knows or a value that can't be meant refuses the whole file, with the line and what to
//! use instead.

use super::Settings;
use canister_link::settings::{FileLine, Form, Setting};
use canister_link::usage::wrap;
use canister_link::words::meant;
use serde::Deserialize as _;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use toml::{Spanned, Value};

/// Longest file in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What the example begins with.
const ABOUT: &str = "\
# Configuration of canister-arbiter:
# canister-arbiter run --config /etc/canister-arbiter/arbiter.toml
#
# Every key is here with its default. A key with a # right before it has none,
# or shows an example. A flag or an environment variable of the same meaning
# overrides this file: `canister-arbiter run --help` lists them,
# `canister-arbiter config` shows what holds. Times are a number and a unit:
# 500ms, 30s, 15m, 1h, 7d. `canister-arbiter reload` (or SIGHUP) applies policy,
# poll, politeness, brake, audits, traffic and signatures to the running arbiter,
# and says what else changed and needs a restart; `reload --dry-run` shows what
# would change. A bad file changes nothing.
";

/// What stands in a section, by key.
type Section = BTreeMap<Spanned<String>, Spanned<Value>>;

/// Reads the file at `path`.
///
/// # Errors
/// One line with the file, where it can be said the line in it, and what to use instead.
pub fn read(path: &Path) -> Result<Vec<FileLine>, String> {
    let shown = path.display().to_string();
    let fail = |cause: std::io::Error| format!("{shown}: {cause}; --config names another");
    let length = std::fs::metadata(path).map_err(fail)?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{shown}: {length} bytes, at most {FILE_BYTES_MAX}"));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    parse(&text, &shown)
}

/// Reads the text of a file of this name.
///
/// # Errors
/// As [`read`].
pub fn parse(text: &str, name: &str) -> Result<Vec<FileLine>, String> {
    let at = |span: Range<usize>| {
        let before = text.get(..span.start).unwrap_or_default();
        format!("{name} line {}", before.matches('\n').count() + 1)
    };
    let wrong = |cause: toml::de::Error| match cause.span() {
        Some(span) => format!("{}: {}", at(span), one_line(&cause)),
        None => format!("{name}: {}", one_line(&cause)),
    };
    let parsed = toml::Deserializer::parse(text).map_err(wrong)?;
    let sections = BTreeMap::<Spanned<String>, Section>::deserialize(parsed).map_err(wrong)?;
    let mut lines = Vec::new();
    for (section, keys) in sections {
        let known = || Settings::TABLE.iter().filter_map(|it| it.key.split_once('.'));
        if !known().any(|(known, _)| known == section.get_ref()) {
            let meant = meant(section.get_ref(), known().map(|(known, _)| known));
            return Err(format!(
                "{}: unknown section {}{meant}",
                at(section.span()),
                section.get_ref()
            ));
        }
        for (key, value) in keys {
            let at = at(key.span());
            let key = format!("{}.{}", section.get_ref(), key.get_ref());
            let Some(setting) = Settings::TABLE.iter().find(|it| it.key == key) else {
                let meant = meant(&key, Settings::TABLE.iter().map(|it| it.key));
                return Err(format!("{at}: unknown key {key}{meant}"));
            };
            let Some(value) = as_given(setting.form, value.get_ref()) else {
                let (value, what) = (value.get_ref(), what(setting));
                return Err(format!("{at}: {key} is {value}: use {what}"));
            };
            lines.push(FileLine { key, value, at });
        }
    }
    Ok(lines)
}

/// What a parser says, in one line.
pub(super) fn one_line(cause: &toml::de::Error) -> String {
    cause.message().lines().collect::<Vec<_>>().join(" ")
}

/// A value as a flag would say it.
fn as_given(form: Form, value: &Value) -> Option<String> {
    match (form, value) {
        (Form::List, Value::Array(values)) => {
            let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join("\n"))
        }
        (Form::Number, Value::Integer(number)) => Some(number.to_string()),
        (Form::Table, Value::Table(table)) => toml::to_string(table).ok(),
        (Form::Text, Value::String(text)) => Some(text.clone()),
        (Form::Truth, Value::Boolean(is_true)) => {
            Some(if *is_true { "yes" } else { "no" }.to_owned())
        }
        _ => None,
    }
}

/// What a setting may be in a file.
fn what(setting: &Setting) -> String {
    match setting.form {
        Form::List => "a list of strings: [\"…\", \"…\"]".to_owned(),
        Form::Number => "a whole number".to_owned(),
        Form::Table => format!("a table: [{}.\"…\"]", setting.key),
        Form::Text => match setting.default() {
            Some(default) => format!("a string, such as {default:?}"),
            None => format!("a string, such as {:?}", setting.example),
        },
        Form::Truth => "true or false".to_owned(),
    }
}

/// The file with every key: packaging/arbiter.toml.
pub fn example() -> String {
    let mut text = ABOUT.to_owned();
    let mut last = "";
    for setting in Settings::TABLE {
        let Some((section, key)) = setting.key.split_once('.') else {
            continue;
        };
        if section != last {
            let _ = writeln!(text, "\n[{section}]");
            last = section;
        } else if setting.form == Form::Table {
            text.push('\n');
        }
        let mut about = setting.about.trim().chars();
        let first = about.next().map(|letter| letter.to_ascii_uppercase());
        let range = setting.between().map(|range| format!(" ({range})")).unwrap_or_default();
        let about: String = first.into_iter().chain(about).collect();
        wrap(&mut text, "# ", "# ", &format!("{about}{range}."));
        let _ = match (setting.form, setting.default()) {
            (Form::List, _) => writeln!(text, "{key} = []"),
            (Form::Table, _) => writeln!(text, "#{}", setting.example.replace('\n', "\n#")),
            (Form::Number, Some(default)) => writeln!(text, "{key} = {default}"),
            (Form::Truth, Some(default)) => writeln!(text, "{key} = {}", default == "yes"),
            (_, Some(default)) => writeln!(text, "{key} = {default:?}"),
            (_, None) => writeln!(text, "#{key} = {:?}", setting.example),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_has_every_key_with_its_default() {
        let shipped = include_str!("../../../packaging/arbiter.toml");
        assert!(shipped == example(), "canister-arbiter config --example prints another file");
        let lines = parse(shipped, "arbiter.toml").unwrap();
        for line in &lines {
            let setting = Settings::TABLE.iter().find(|it| it.key == line.key).unwrap();
            assert_eq!(line.value, setting.default().unwrap_or_default(), "{}", line.key);
        }
        // What it only shows has a # and no blank before it.
        let shown = |line: &str| {
            let rest =
                line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' '));
            rest.unwrap_or(line).to_owned() + "\n"
        };
        let all = parse(&shipped.lines().map(shown).collect::<String>(), "arbiter.toml").unwrap();
        for setting in Settings::TABLE.iter().filter(|it| !it.key.is_empty()) {
            assert!(all.iter().any(|line| line.key == setting.key), "{}", setting.key);
        }
    }
}
