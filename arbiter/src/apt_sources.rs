//! The APT sources that this machine is configured to use, as sources to index: what
//! sources.list(5) says, in both its forms.
//!
//! apt itself is asked where its files are and what the machine's architectures are
//! (`apt-config`); the files are read here, because apt lists only what it has already fetched.

use canister_protocol::Source;
use canister_protocol::uri::as_meant;
use canister_stanza::{Stanza, StanzaReader};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The ranking of sources that nobody ranked: the middle.
const RANKING: u8 = 3;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A configured source that can't be indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    pub what: String,
    /// Why it can't be indexed.
    pub why: String,
}

/// One `deb` entry: every combination of its parts is a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct AptEntry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    architectures: Vec<String>,
}

/// What apt's configuration names, and what of it can't be indexed.
///
/// # Errors
/// One line: no apt here, and what to do.
pub fn of_this_machine() -> Result<(Vec<Source>, Vec<Unusable>), String> {
    let asked = apt_config(&[
        "shell",
        "LIST",
        "Dir::Etc::sourcelist/f",
        "PARTS",
        "Dir::Etc::sourceparts/d",
    ])?;
    let path = |name: &str| {
        asked
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| PathBuf::from(value.trim_start_matches('=').trim_matches('\'')))
    };
    let architectures = architectures()?;
    let mut entries = Vec::new();
    let mut unusable = Vec::new();
    for file in files(path("LIST").as_deref(), path("PARTS").as_deref()) {
        match read(&file) {
            Ok(text) => {
                let is_deb822 = file.extension().is_some_and(|ending| ending == "sources");
                entries.extend(read_entries(&text, is_deb822, &architectures));
            }
            Err(why) => unusable.push(Unusable { what: file.display().to_string(), why }),
        }
    }
    let (sources, others) = combine(&entries, &architectures);
    unusable.extend(others);
    Ok((sources, unusable))
}

/// What a file of apt's names, and what of it can't be indexed. Where it names no architecture, this machine's
/// count, or amd64 where there is no apt to ask.
pub fn of_text(text: &str, is_deb822: bool) -> (Vec<Source>, Vec<Unusable>) {
    let architectures = architectures().unwrap_or_else(|_| vec!["amd64".to_owned()]);
    combine(&read_entries(text, is_deb822, &architectures), &architectures)
}

fn read_entries(text: &str, is_deb822: bool, architectures: &[String]) -> Vec<AptEntry> {
    match is_deb822 {
        true => deb822(text, architectures),
        false => text.lines().filter_map(|line| one_line(line, architectures)).collect(),
    }
}

/// Those of this machine.
fn architectures() -> Result<Vec<String>, String> {
    let dumped = apt_config(&["dump", "--format", "%F %v%n", "APT::Architectures"])?;
    let mut architectures: Vec<String> = dumped
        .lines()
        .filter_map(|line| line.strip_prefix("APT::Architectures:: "))
        .map(str::to_owned)
        .collect();
    if architectures.is_empty() {
        let native = apt_config(&["dump", "--format", "%F %v%n", "APT::Architecture"])?;
        let native = native.lines().find_map(|line| line.strip_prefix("APT::Architecture "));
        architectures.extend(native.map(str::to_owned));
    }
    Ok(architectures)
}

fn apt_config(arguments: &[&str]) -> Result<String, String> {
    let help = "use --sources FILE with a source list";
    let output = Command::new("apt-config").args(arguments).output().map_err(|cause| {
        format!("this machine has no apt to ask for sources (apt-config: {cause}); {help}")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or_default();
        return Err(format!("apt-config failed: {said}; {help}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The main file, then those of the folder that apt reads, in its order.
///
/// Spec: sources.list(5), "sources.list.d".
fn files(list: Option<&Path>, parts: Option<&Path>) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        list.filter(|path| path.is_file()).map(Path::to_owned).into_iter().collect();
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let mut more: Vec<PathBuf> = parts
        .and_then(|parts| fs::read_dir(parts).ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_ours = name.ends_with(".list") || name.ends_with(".sources");
            is_ours && name.bytes().all(is_name_byte) && path.is_file()
        })
        .collect();
    more.sort();
    files.append(&mut more);
    files
}

fn read(path: &Path) -> Result<String, String> {
    let about = fs::metadata(path).map_err(|cause| cause.to_string())?;
    if about.len() > FILE_BYTES_MAX {
        return Err(format!("over {FILE_BYTES_MAX} bytes"));
    }
    let bytes = fs::read(path).map_err(|cause| cause.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Spec: sources.list(5), "one-line-style format".
fn one_line(line: &str, machine: &[String]) -> Option<AptEntry> {
    let line = line.split('#').next().unwrap_or_default();
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.starts_with([' ', '\t', '[']).then(|| rest.trim_start())?;
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (uri, suite) = (words.next()?, words.next()?);
    let mut architectures = machine.to_vec();
    for option in options.split_whitespace() {
        if let Some((key, value)) = option.split_once('=')
            && let Some(sign) = key.strip_prefix("arch")
        {
            restrict(&mut architectures, sign, value.split(','));
        }
    }
    Some(AptEntry {
        uris: vec![uri],
        suites: vec![suite],
        components: words.collect(),
        architectures,
    })
}

/// Spec: sources.list(5), "deb822-style format".
fn deb822(text: &str, machine: &[String]) -> Vec<AptEntry> {
    let words = |stanza: &Stanza<'_>, field: &str| -> Vec<String> {
        let value = String::from_utf8_lossy(stanza.get(field).unwrap_or_default()).into_owned();
        value.split_whitespace().map(str::to_owned).collect()
    };
    let mut entries = Vec::new();
    let mut reader = StanzaReader::new(text.as_bytes());
    while let Ok(Some(stanza)) = reader.read() {
        let is_off = words(&stanza, "Enabled").first().is_some_and(|word| is_no(word));
        if is_off || !words(&stanza, "Types").iter().any(|kind| kind == "deb") {
            continue;
        }
        let mut architectures = machine.to_vec();
        for (sign, field) in
            [("", "Architectures"), ("+", "Architectures-Add"), ("-", "Architectures-Remove")]
        {
            let values = words(&stanza, field);
            if !values.is_empty() {
                restrict(&mut architectures, sign, values.iter().map(String::as_str));
            }
        }
        entries.push(AptEntry {
            uris: words(&stanza, "URIs"),
            suites: words(&stanza, "Suites"),
            components: words(&stanza, "Components"),
            architectures,
        });
    }
    entries
}

/// What apt takes for no.
fn is_no(word: &str) -> bool {
    ["no", "false", "without", "off", "disable", "0"].iter().any(|no| word.eq_ignore_ascii_case(no))
}

/// Applies `arch=`, `arch+=`, `arch-=` and their long forms; `sign` is what stands before the `=`.
fn restrict<'a>(
    architectures: &mut Vec<String>,
    sign: &str,
    values: impl Iterator<Item = &'a str>,
) {
    let values: Vec<String> =
        values.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect();
    match sign {
        "" => *architectures = values,
        "+" => {
            for value in values {
                if !architectures.contains(&value) {
                    architectures.push(value);
                }
            }
        }
        "-" => architectures.retain(|architecture| !values.contains(architecture)),
        _ => {}
    }
}

/// All combinations, each once, with slugs made of their parts.
fn combine(entries: &[AptEntry], machine: &[String]) -> (Vec<Source>, Vec<Unusable>) {
    let (mut sources, mut unusable) = (Vec::new(), Vec::new());
    let (mut slugs, mut seen) = (HashSet::new(), HashSet::new());
    let native = machine.first().map_or("", String::as_str);
    for entry in entries {
        for (uri, suite) in
            entry.uris.iter().flat_map(|uri| entry.suites.iter().map(move |suite| (uri, suite)))
        {
            let suite = suite.replace("$(ARCH)", native);
            let parts: Vec<(Option<&String>, Option<&String>)> = if suite.ends_with('/') {
                vec![(None, None)]
            } else {
                let of = |component| {
                    entry.architectures.iter().map(move |arch| (Some(component), Some(arch)))
                };
                entry.components.iter().flat_map(of).collect()
            };
            for (component, architecture) in parts {
                let mut source = Source {
                    uri: as_meant(uri.trim_end_matches('/').to_owned()),
                    suite: suite.clone(),
                    component: component.cloned(),
                    architecture: architecture.cloned(),
                    ranking: RANKING,
                    ..Source::default()
                };
                if !seen.insert((source.release_dir(), source.index_path())) {
                    continue;
                }
                source.slug = slug(&source, &mut slugs);
                match source.check() {
                    Ok(()) => sources.push(source),
                    Err(cause) => unusable.push(Unusable {
                        what: format!("{} {}", source.uri, source.suite),
                        why: cause.to_string(),
                    }),
                }
            }
        }
    }
    (sources, unusable)
}

/// `bookworm-main-amd64`, or the host for a flat layout; a number is added where it is taken.
fn slug(source: &Source, taken: &mut HashSet<String>) -> String {
    let host = source.host();
    let parts = match (&source.component, &source.architecture) {
        (Some(component), Some(architecture)) => {
            format!("{}-{component}-{architecture}", source.suite)
        }
        _ => format!("{host}-{}", source.suite),
    };
    let is_slug = |byte: char| byte.is_ascii_alphanumeric() || "._+-".contains(byte);
    let base: String =
        parts.chars().map(|byte| if is_slug(byte) { byte } else { '-' }).take(56).collect();
    let base = base.trim_matches(|byte| "-.".contains(byte)).to_owned();
    let mut slug = base.clone();
    let mut number = 2;
    while !taken.insert(slug.clone()) {
        slug = format!("{base}-{number}");
        number += 1;
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<String> {
        vec!["amd64".to_owned(), "i386".to_owned()]
    }

    fn found(entries: &[AptEntry]) -> Vec<String> {
        let (sources, unusable) = combine(entries, &machine());
        let index = |source: &Source| {
            format!("{} {}{}", source.slug, source.release_dir(), source.index_path())
        };
        let mut found: Vec<String> = sources.iter().map(index).collect();
        found.extend(unusable.iter().map(|unusable| format!("! {}", unusable.what)));
        found
    }

    fn of_line(line: &str) -> Vec<String> {
        found(&one_line(line, &machine()).into_iter().collect::<Vec<_>>())
    }

    #[test]
    fn one_line_style() {
        assert_eq!(
            of_line("deb http://a.example/debian stable main # contrib"),
            [
                "stable-main-amd64 http://a.example/debian/dists/stable/main/binary-amd64/Packages",
                "stable-main-i386 http://a.example/debian/dists/stable/main/binary-i386/Packages",
            ]
        );
        assert_eq!(
            of_line("deb\t[ arch=arm64 signed-by=/x ] http://a.example/ stable/updates main"),
            ["stable-updates-main-arm64 \
              http://a.example/dists/stable/updates/main/binary-arm64/Packages"]
        );
        assert_eq!(of_line("deb [arch-=i386] http://a.example s a b").len(), 2);
        assert_eq!(of_line("deb [arch+=armhf,amd64] http://a.example s a").len(), 3);
        assert_eq!(of_line("deb http://a.example ./"), ["a.example http://a.example/Packages"]);
        assert_eq!(
            of_line("deb http://a.example sub/$(ARCH)/"),
            ["a.example-sub-amd64 http://a.example/sub/amd64/Packages"]
        );
        for line in [
            "",
            "# deb http://a.example s m",
            "deb-src http://a.example s m",
            "debx y",
            "deb",
            "deb http://a.example",
            "deb [arch=amd64 http://a.example s m",
        ] {
            assert_eq!(of_line(line), Vec::<String>::new(), "{line}");
        }
        assert_eq!(of_line("deb file:/srv/x ./"), ["! file:/srv/x ./"]);
        assert_eq!(of_line("deb http://a.example stable"), Vec::<String>::new());
    }

    #[test]
    fn deb822_style() {
        let text = "Types: deb deb-src\nURIs: http://a.example http://b.example\n\
            Suites: s t\nComponents: main\nArchitectures: amd64\nSigned-By: /x\n\n\
            Types: deb\nEnabled: no\nURIs: http://c.example\nSuites: s\nComponents: m\n\n\
            # a comment\nTypes: deb-src\nURIs: http://d.example\nSuites: s\nComponents: m\n\n\
            Types: deb\nURIs:\n http://e.example\nSuites:\n s\n t\nComponents: m\n\
            Architectures-Remove: i386\n";
        assert_eq!(
            found(&deb822(text, &machine())),
            [
                "s-main-amd64 http://a.example/dists/s/main/binary-amd64/Packages",
                "t-main-amd64 http://a.example/dists/t/main/binary-amd64/Packages",
                "s-main-amd64-2 http://b.example/dists/s/main/binary-amd64/Packages",
                "t-main-amd64-2 http://b.example/dists/t/main/binary-amd64/Packages",
                "s-m-amd64 http://e.example/dists/s/m/binary-amd64/Packages",
                "t-m-amd64 http://e.example/dists/t/m/binary-amd64/Packages",
            ]
        );
    }

    #[test]
    fn what_is_configured_twice_is_one_source() {
        let line = one_line("deb http://a.example s m", &machine()).unwrap();
        assert_eq!(found(&[line.clone(), line]).len(), 2);
    }

    #[test]
    fn files_are_those_that_apt_reads() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("sources.list");
        let parts = dir.path().join("parts");
        fs::create_dir(&parts).unwrap();
        for name in ["b.list", "a.sources", "c.list.disabled", "x y.list", "d.txt", "e.sources~"] {
            fs::write(parts.join(name), "").unwrap();
        }
        assert_eq!(
            files(Some(&list), Some(&parts)),
            [parts.join("a.sources"), parts.join("b.list")]
        );
        fs::write(&list, "").unwrap();
        assert_eq!(files(Some(&list), Some(&parts))[0], list);
        assert_eq!(files(None, None), Vec::<PathBuf>::new());
    }
}
