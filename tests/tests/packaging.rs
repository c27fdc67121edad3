//! What is shipped beside the programs says of them what they say of themselves. (That packages
//! install and images run is tested by the scripts in packaging/.)

use canister_tests::openssl::succeeds;
use canister_tests::programs::{binary, run, workspace};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
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
pub(crate) fn commands(program: &str, words: &[String]) -> Vec<(Vec<String>, BTreeSet<String>)> {
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
    assert!(options.contains("--help") && below.is_sorted(), "{text}");
    let mut all = vec![(words.to_vec(), options)];
    for name in below {
        all.extend(commands(program, &[words, &[name]].concat()));
    }
    all
}

/// What a shell prints that runs this, with the program in its path.
fn by_shell(shell: &[&str], program: &str, script: &str) -> String {
    let folder = binary(program).parent().unwrap().display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["-c", script]).env("PATH", path).env("TERM", "dumb");
    let output = command.output().unwrap_or_else(|cause| panic!("{}: {cause}", shell[0]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a real bash offers behind these words of a program's.
fn completed(script: &str, program: &str, words: &[&str]) -> BTreeSet<String> {
    let function = format!("_{}", program.replace('-', "_"));
    let script = format!(
        "{script}\nCOMP_WORDS=({program} {} '')\nCOMP_CWORD={}\n{function}\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() + 1
    );
    by_shell(&["bash"], program, &script).lines().map(str::to_owned).collect()
}

/// What a real fish offers behind a line that is begun, with its description.
fn completed_by_fish(program: &str, line: &str) -> String {
    let script = format!("{program} completion fish | source; complete --do-complete '{line}'");
    by_shell(&["fish", "--no-config"], program, &script)
}

/// What a real zsh shows in a terminal when the tabulator is pressed behind such a line, up to `last`.
fn completed_by_zsh(program: &str, line: &str, last: &str) -> String {
    let script = format!(
        "zmodload zsh/zpty
         zpty shell 'zsh -f -i'
         zpty -w shell 'PS1= LISTMAX=10000; autoload -U compinit; compinit -D -u'
         zpty -w shell 'source <({program} completion zsh); echo rea''dy'
         zpty -r shell seen '*ready*'
         zpty -w -n shell $'{line}\\t'
         zpty -r shell seen '*{last}*'
         print -r -- $seen
         zpty -d shell"
    );
    by_shell(&["timeout", "60", "zsh", "-f"], program, &script)
}

#[test]
fn what_may_follow_is_completed() {
    let bash = run("canister-agent", ["completion", "bash"], SOON).stdout;
    let said = completed(&bash, "canister-agent", &[]);
    assert!(said.contains("join") && said.contains("completion"), "{said:?}");
    let said = completed(&bash, "canister-agent", &["run", "--slots", "3"]);
    assert!(said.contains("--memory") && !said.contains("join"), "{said:?}");
    let bash = run("canister-arbiter", ["completion", "bash"], SOON).stdout;
    let said = completed(&bash, "canister-arbiter", &["ca"]);
    assert!(said.contains("pending") && said.contains("admit"), "{said:?}");
    let said = completed_by_fish("canister-agent", "canister-agent pa");
    assert!(said.starts_with("pause\t") && said.lines().count() == 1, "{said:?}");
    let said = completed_by_fish("canister-arbiter", "canister-arbiter ca ad");
    assert!(said.starts_with("admit\t"), "{said:?}");
    let said = completed_by_fish("canister-agent", "canister-agent run --sl");
    assert!(said.starts_with("--slots\t"), "{said:?}");
    let said = completed_by_zsh("canister-agent", "canister-agent le", "ledger");
    assert!(said.contains("leave "), "{said:?}");
    let said = completed_by_zsh("canister-arbiter", "canister-arbiter ca re", "revoke");
    assert!(said.contains("refuse "), "{said:?}");
    let ran = run("canister-agent", ["completion", "bsh"], SOON);
    assert_eq!(ran.stderr, "canister-agent: unknown shell bsh; did you mean bash?\n");
    assert_eq!(ran.status.code(), Some(2));
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
        for script in [&bash, &file(format!("_{program}")), &file(format!("{program}.fish"))] {
            assert!(script.contains(&format!("{program} completion words ")), "{script}");
        }
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
            let said = completed(&bash, program, &words.iter().map(|it| &**it).collect::<Vec<_>>());
            for option in options {
                let item = format!("\\fB{option}\\fR");
                assert!(section.contains(&item), "{program} {name} {option}: {section}");
                assert!(
                    name == "completion" || said.contains(option),
                    "{program} {name} {option}: {said:?}"
                );
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
    // With it neither program would know the machine: which boot it is, its name, since when it runs.
    for program in PROGRAMS {
        let unit = read(&format!("packaging/systemd/{program}.service"));
        assert!(!unit.contains("ProcSubset="), "{program} reads /proc/sys/kernel");
    }
}

#[test]
fn a_package_has_the_pages_that_its_program_and_its_pages_name() {
    for (program, folder, must) in [
        ("canister-agent", "agent", &["lint.md", "running-a-peer.md"][..]),
        (
            "canister-arbiter",
            "arbiter",
            &[
                "certificates.md",
                "postgresql/setup.sql",
                "postgresql/take-list.sh",
                "patroni/patroni.yml",
                "prometheus/alerts.yml",
            ],
        ),
    ] {
        let manifest: toml::Table = toml::from_str(&read(&format!("{folder}/Cargo.toml"))).unwrap();
        let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
        let mut has = BTreeSet::new();
        for asset in assets {
            let (from, to) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
            let Some(from) = from.strip_prefix("../").filter(|from| !from.starts_with("target"))
            else {
                continue;
            };
            let (folder, name) = from.rsplit_once('/').unwrap();
            let ends = name.strip_prefix('*');
            let files = fs::read_dir(workspace().join(folder)).unwrap();
            let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            let files: Vec<String> =
                files.filter(|file| ends.map_or(file == name, |end| file.ends_with(end))).collect();
            assert!(!files.is_empty(), "{from}");
            let below = to.strip_prefix(&format!("usr/share/doc/{program}/"));
            has.extend(
                below
                    .into_iter()
                    .flat_map(|below| files.iter().map(move |it| format!("{below}{it}"))),
            );
        }
        // What --help and the pages themselves speak of.
        let mut named: BTreeSet<String> = must.iter().map(|it| (*it).to_owned()).collect();
        for (words, _) in commands(program, &[]) {
            let text = help(program, &words);
            let pages = text.split("docs/").skip(1).filter_map(|rest| rest.split_once(".md"));
            named.extend(pages.map(|(page, _)| format!("{page}.md")));
        }
        for page in has.iter().filter(|page| page.ends_with(".md") && !page.contains('/')) {
            let text = read(&format!("docs/{page}"));
            let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
            named.extend(
                links.filter(|it| it.ends_with(".md") && !it.contains('/')).map(str::to_owned),
            );
        }
        let missing: Vec<_> = named.difference(&has).collect();
        assert!(missing.is_empty(), "{program}: {missing:?}");
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

/// A package of this name and version that holds one file.
fn package(folder: &Path, name: &str, version: &str) -> PathBuf {
    let tree = folder.join(format!("{name}-{version}"));
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("usr/share")).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nSection: net\nPriority: optional\n\
         Maintainer: A <a@a.example>\nDescription: a test\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    fs::write(tree.join("usr/share").join(name), version).unwrap();
    let file = folder.join(format!("{name}_{version}_amd64.deb"));
    let line = format!("dpkg-deb --build --root-owner-group {} {}", tree.display(), file.display());
    succeeds(folder, &line);
    file
}

/// Made by reprepro and gpg, read by the real apt in a root of its own: an update there is `apt upgrade`.
#[test]
fn apt_upgrades_from_the_projects_own_repository() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let keys = dir.join("keys");
    fs::create_dir(&keys).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
    let gpg = format!("gpg --homedir {} --batch", keys.display());
    succeeds(dir, &format!("{gpg} --passphrase '' --quick-generate-key test ed25519 sign 1d"));
    let listed = succeeds(dir, &format!("{gpg} --with-colons --list-secret-keys"));
    let key = listed.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap();
    let key = key.trim_end_matches(':');
    let publish = |version: &str| {
        let file = package(dir, "canister-agent", version);
        let output = Command::new(workspace().join("packaging/apt/repository.sh"))
            .arg(file)
            .env("APT_KEY", key)
            .env("APT_FOLDER", dir.join("apt"))
            .env("APT_URL", format!("file:{}", dir.join("apt/public").display()))
            .env("GNUPGHOME", &keys)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    publish("1.0-1");

    let root = dir.join("root");
    let folders = ["etc/apt/sources.list.d", "etc/apt/preferences.d", "var/log/apt"];
    for it in folders.into_iter().chain(["var/lib/dpkg", "var/lib/apt/lists", "var/cache/apt"]) {
        fs::create_dir_all(root.join(it)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let public = dir.join("apt/public");
    let sources = fs::read_to_string(public.join("canister.sources")).unwrap();
    let keyring = public.join("canister.gpg").display().to_string();
    let sources = sources.replace("/usr/share/keyrings/canister.gpg", &keyring);
    fs::write(root.join("etc/apt/sources.list.d/canister.sources"), sources).unwrap();
    let apt = |words: &str| {
        let root = root.display();
        succeeds(
            dir,
            &format!(
                "apt-get --yes --quiet -o Dir={root} -o Dir::Etc={root}/etc/apt -o Dir::Bin::methods=/usr/lib/apt/methods \
                 -o Dir::State::status={root}/var/lib/dpkg/status -o APT::Sandbox::User=root \
                 -o Dpkg::Options::=--root={root} -o Dpkg::Options::=--force-not-root \
                 -o Dpkg::Options::=--log=/dev/null -o APT::Architecture=amd64 \
                 -o APT::Architectures=amd64 {words}"
            ),
        )
    };
    let installed = || fs::read_to_string(root.join("usr/share/canister-agent")).unwrap();
    apt("update");
    apt("install canister-agent");
    assert_eq!(installed(), "1.0-1");
    publish("1.1-1");
    apt("update");
    apt("upgrade");
    assert_eq!(installed(), "1.1-1");
    // Whoever changes a file of it is found out.
    let release = public.join("dists/stable/InRelease");
    let text = fs::read_to_string(&release).unwrap().replacen("Canister", "Somebody", 1);
    fs::write(&release, text).unwrap();
    fs::remove_dir_all(root.join("var/lib/apt/lists")).unwrap();
    fs::create_dir_all(root.join("var/lib/apt/lists")).unwrap();
    let output = Command::new("apt-get")
        .arg("update")
        .args(["-o", &format!("Dir={}", root.display())])
        .args(["-o", &format!("Dir::Etc={}", root.join("etc/apt").display())])
        .args(["-o", "Dir::Bin::methods=/usr/lib/apt/methods", "-o", "APT::Sandbox::User=root"])
        .args(["-o", "APT::Update::Error-Mode=any"])
        .output()
        .unwrap();
    succeeds(dir, &format!("gpgconf --homedir {} --kill all", keys.display()));
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
