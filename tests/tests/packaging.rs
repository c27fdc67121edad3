//! What is shipped beside the programs says of them what they say of themselves. (That packages
//! install and images run is tested by the scripts in packaging/.)

use canister_tests::programs::{binary, run, workspace};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

const PROGRAMS: [&str; 2] = ["canister-agent", "canister-arbiter"];
const SOON: Duration = Duration::from_secs(30);

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|cause| panic!("{path}: {cause}"))
}

fn help(program: &str, words: &[String]) -> String {
    let mut words = words.to_vec();
    words.push("--help".to_owned());
    let ran = run(program, &words, SOON);
    assert_eq!(ran.status.code(), Some(0), "{}", ran.stderr);
    ran.stdout
}

/// Every command with its own options, by the words that lead to it, as --help lists them.
fn commands(program: &str, words: &[String]) -> Vec<(Vec<String>, BTreeSet<String>)> {
    let text = help(program, words);
    let (mut options, mut below, mut section) = (BTreeSet::new(), vec![], "");
    for line in text.lines() {
        if !line.starts_with(' ') {
            section = line;
        } else if let Some(entry) = line.strip_prefix("  ")
            && !entry.starts_with(' ')
        {
            let mut names = entry.split([' ', ',']).map(str::to_owned);
            let is_option = |name: &String| name.starts_with("--");
            let name = if section == "Options:" { names.find(is_option) } else { names.next() };
            let name = name.unwrap();
            match section {
                "Options:" => assert!(options.insert(name)),
                "Commands:" => below.push(name),
                _ => {}
            }
        }
    }
    assert!(options.contains("--help"), "{text}");
    let mut all = vec![(words.to_vec(), options)];
    for name in below {
        all.extend(commands(program, &[words, &[name]].concat()));
    }
    all
}

#[test]
fn man_pages_and_completions_have_every_command_and_option() {
    let folder = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        let made = Command::new(workspace().join("packaging/man/make.py"))
            .arg(binary(program))
            .arg(folder.path())
            .env("SOURCE_DATE_EPOCH", "0")
            .output()
            .expect("python3 runs packaging/man/make.py");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{said}");
        let file = |name: String| fs::read_to_string(folder.path().join(name)).unwrap();
        let page = file(format!("{program}.1")).replace("\\-", "-");
        let bash = file(format!("{program}.bash"));
        let zsh = file(format!("_{program}"));
        let fish = file(format!("{program}.fish"));
        let commands = commands(program, &[]);
        assert!(commands.len() >= 5, "{commands:?}");
        for (words, options) in &commands {
            let name = words.join(" ");
            let section = if words.is_empty() {
                page.split("\n.SH COMMANDS").next().unwrap()
            } else {
                let heading = format!("\n.SS {name}\n");
                let rest = page.split(&heading).nth(1).expect(&heading);
                rest.split("\n.SS ").next().unwrap()
            };
            let line = bash
                .lines()
                .find(|line| line.trim_start().starts_with(&format!("'{name}') words=")));
            let line = line.unwrap_or_else(|| panic!("{program} {name} isn't in its .bash"));
            for option in options {
                let item = format!("\\fB{option}\\fR");
                assert!(section.contains(&item), "{program} {name} {option}: {section}");
                assert!(
                    line.split([' ', '\'']).any(|word| word == option),
                    "{program} {name} {option}: {line}"
                );
                assert!(zsh.contains(option), "{program} {option}");
                let long = format!(" -l {}", &option[2..]);
                assert!(fish.contains(&long), "{program} {option}");
            }
        }
    }
}

#[test]
fn every_variable_of_the_agent_is_in_its_settings_file_with_its_default() {
    let file = read("packaging/deb/agent/default");
    let shown = run("canister-agent", ["config"], SOON).stdout;
    let mut seen = 0;
    for line in shown.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let variable = words[0].to_uppercase().replace('-', "_");
        let entry = format!("\n#CANISTER_{variable}=");
        let given = file.split(&entry).nth(1).expect(&entry);
        let given = given.lines().next().unwrap().trim_matches('"');
        // Its own User-Agent the program knows.
        if words[0] != "user-agent" {
            assert_eq!(given, words[2..].join(" "), "{line}");
        }
        seen += 1;
    }
    assert!(seen >= 13, "{shown}");
}

#[test]
fn the_unit_of_the_agent_keeps_what_volunteers_are_promised() {
    let unit = read("packaging/systemd/canister-agent.service");
    for line in ["CPUQuota=50%", "MemoryMax=256M", "MemorySwapMax=0", "SocketBindDeny=tcp"] {
        assert!(unit.lines().any(|it| it == line), "{line}");
    }
}

#[test]
fn the_version_is_stated_once() {
    let version = env!("CARGO_PKG_VERSION");
    let stated = read("Cargo.toml");
    assert_eq!(stated.matches(&format!("\nversion = \"{version}\"\n")).count(), 1);
    for member in ["agent", "arbiter", "protocol", "tests"] {
        let manifest = read(&format!("{member}/Cargo.toml"));
        assert!(manifest.contains("\nversion.workspace = true\n"), "{member}");
    }
    for program in PROGRAMS {
        let said = run(program, ["--version"], SOON).stdout;
        assert_eq!(said, format!("{program} {version}\n"));
    }
    // What is made for a release reads it there.
    for script in ["packaging/deb/build.sh", "packaging/docker/build.sh"] {
        let text = read(script);
        assert!(!text.contains(version), "{script} states a version");
        assert!(text.contains("Cargo.toml"), "{script}");
    }
}
