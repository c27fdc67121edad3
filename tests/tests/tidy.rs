//! The repository's own rules, checked.

use canister_tests::programs::workspace;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Without these the project is not whole.
const REQUIRED: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "README.md",
    "SECURITY.md",
    "deny.toml",
    "docs/protocol.md",
];

/// Put together here, so that this file has none of them.
const BANNED: &[&str] = &[
    concat!("white", "list"),
    concat!("black", "list"),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];

fn read(path: impl AsRef<Path>) -> String {
    let path = workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|cause| panic!("read {}: {cause}", path.display()))
}

/// Every file of the project with one of these endings, but what was built or fetched.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    fn walk(dir: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if ![".git", "target", "corpus", "artifacts"].contains(&&*name) {
                    walk(&path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut found = vec![];
    walk(workspace(), endings, &mut found);
    assert!(!found.is_empty());
    found
}

/// The texts between `before` and the next `after`.
fn between<'a>(text: &'a str, before: &str, after: &str) -> BTreeSet<&'a str> {
    let pieces = text.split(before).skip(1);
    pieces.map(|piece| piece.split(after).next().unwrap()).collect()
}

#[test]
fn every_attack_has_its_test_and_is_tried() {
    let (threats, makefile) = (read("docs/threats.md"), read("Makefile"));
    let tried = makefile.lines().find(|line| line.contains("--include-ignored")).unwrap();
    let rows = threats.lines().filter(|line| line.starts_with("| ") && !line.contains("---"));
    for row in rows.filter(|row| !row.starts_with("| threat |")) {
        let cells: Vec<_> = row.split(" | ").collect();
        assert_eq!(cells.len(), 4, "{row}");
        let named: Vec<_> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for test in named {
            if test.contains('/') {
                assert!(workspace().join(test).exists(), "{test}: {row}");
                continue;
            }
            let words: Vec<_> = test.split("::").collect();
            let (name, module) = match &words[..] {
                [module] => (None, (*module).to_owned()),
                [module @ .., name] => (Some(*name), module.join("/")),
                [] => unreachable!("splitting gives a word"),
            };
            let file = read(format!("tests/tests/{module}.rs"));
            let is_there = name.is_none_or(|name| file.contains(&format!("fn {name}(")));
            assert!(is_there, "no {test}: {row}");
            assert!(tried.contains(&format!(" {}::", words[0])), "make attack lacks {test}");
        }
    }
}

#[test]
fn what_must_be_there_is() {
    for path in REQUIRED {
        assert!(!read(path).trim().is_empty(), "{path} is empty");
    }
}

/// One that isn't would never run.
#[test]
fn every_file_of_tests_is_a_module() {
    let main = read("tests/tests/main.rs");
    for (folder, indent) in [("tests/tests", ""), ("tests/tests/alone", "    ")] {
        for entry in fs::read_dir(workspace().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
                assert!(
                    main.contains(&format!("\n{indent}mod {module};\n")),
                    "tests/tests/main.rs lacks {folder}/{module}.rs"
                );
            }
        }
    }
}

#[test]
fn the_changelog_has_this_version() {
    let heading = format!("\n## {}\n", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").contains(&heading), "CHANGELOG.md has no{heading}");
}

#[test]
fn the_protocol_names_every_message_field_and_limit() {
    let document = read("docs/protocol.md");
    let code = read("protocol/src/message.rs");
    let names = between(&code, "=> \"", "\",\n");
    assert!(names.len() >= 18, "{names:?}");
    for name in names {
        assert!(
            document.contains(&format!("\n### {name}\n")),
            "docs/protocol.md doesn't describe the message {name}"
        );
    }
    let limits = read("protocol/src/limits.rs");
    let limits = between(&limits, "\npub const ", ":");
    assert!(limits.len() >= 18, "{limits:?}");
    for limit in limits {
        assert!(
            document.contains(&format!("`{limit}`")),
            "docs/protocol.md doesn't name the limit {limit}"
        );
    }
    // Fields: what stands before a colon and a type, in what travels.
    let row = read("protocol/src/row.rs");
    let source = read("protocol/src/source.rs");
    let types = [
        code.split("\nimpl ").next().unwrap(),
        row.split("pub struct PackageRow").nth(1).unwrap().split("\n}").next().unwrap(),
        source.split("pub struct Source").nth(1).unwrap().split("\n}").next().unwrap(),
    ];
    let mut seen = 0;
    for line in types.iter().flat_map(|text| text.lines()) {
        let line = line.trim().trim_start_matches("pub ");
        let Some((field, _)) = line.split_once(": ") else {
            continue;
        };
        if field.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            seen += 1;
            assert!(
                document.contains(&format!("`{field}`")),
                "docs/protocol.md doesn't name the field {field}"
            );
        }
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn the_protocols_limits_are_those_of_the_code() {
    use canister_protocol::limits::*;
    let document = read("docs/protocol.md");
    for (name, value) in [
        ("PROTOCOL", PROTOCOL as usize),
        ("MESSAGE_BYTES_MAX", MESSAGE_BYTES_MAX),
        ("FRAME_BYTES_MAX", FRAME_BYTES_MAX),
        ("WRITE_BUFFER_BYTES_MAX", WRITE_BUFFER_BYTES_MAX),
        ("JSON_DEPTH_MAX", JSON_DEPTH_MAX),
        ("ROW_BYTES_MAX", ROW_BYTES_MAX),
        ("ROW_TAGS_MAX", ROW_TAGS_MAX),
        ("ROW_OVERHEAD_BYTES", ROW_OVERHEAD_BYTES),
        ("PUT_ROWS_MAX", PUT_ROWS_MAX),
        ("PUT_BYTES", PUT_BYTES),
        ("DIGESTS_MAX", DIGESTS_MAX),
        ("SLOTS_MAX", SLOTS_MAX),
        ("SLUG_BYTES_MAX", SLUG_BYTES_MAX),
        ("URI_BYTES_MAX", URI_BYTES_MAX),
        ("NAME_BYTES_MAX", NAME_BYTES_MAX),
        ("ALIASES_MAX", ALIASES_MAX),
        ("TEXT_BYTES_MAX", TEXT_BYTES_MAX),
        ("REQUEST_BYTES_MAX", REQUEST_BYTES_MAX),
        ("CHAIN_BYTES_MAX", CHAIN_BYTES_MAX),
        ("CLOSE_REASON_BYTES_MAX", CLOSE_REASON_BYTES_MAX),
    ] {
        let row = format!("| `{name}` | {value} |");
        assert!(document.contains(&row), "docs/protocol.md has no row {row}");
    }
}

#[test]
fn the_protocols_transcript_is_in_the_protocol() {
    use canister_protocol::codec::decode;
    let mut seen = 0;
    for line in read("docs/protocol.md").lines().filter(|line| !line.contains('…')) {
        if let Some(text) = line.strip_prefix("▶ {") {
            let text = format!("{{{text}");
            decode::<canister_protocol::ToArbiter>(text.as_bytes())
                .unwrap_or_else(|cause| panic!("{text}: {cause}"));
            seen += 1;
        } else if let Some(text) = line.strip_prefix("◀ {") {
            let text = format!("{{{text}");
            decode::<canister_protocol::ToPeer>(text.as_bytes())
                .unwrap_or_else(|cause| panic!("{text}: {cause}"));
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn links_between_documents_resolve() {
    for file in files(&[".md"]) {
        let text = fs::read_to_string(&file).unwrap();
        for link in between(&text, "](", ")") {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let target = file.parent().unwrap().join(path);
            assert!(target.exists(), "{}: {link} leads nowhere", file.display());
        }
    }
}

#[test]
fn no_word_is_used_that_the_project_does_not_use() {
    for file in files(&[".rs", ".md", ".toml", ".sh", ".sql", "Makefile", "run"]) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for word in BANNED {
                let found = line.contains(word) || line.to_lowercase().contains(word);
                assert!(!found, "{}:{}: {word}", file.display(), number + 1);
            }
        }
    }
}

#[test]
fn the_rust_version_is_stated_once() {
    let mut stated = vec![];
    for file in files(&[".toml"]) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("rust-version = "));
        stated.extend(lines.map(|line| format!("{}: {line}", file.display())));
    }
    assert_eq!(stated.len(), 1, "{stated:#?}");
}

/// The floors of the arbiter, from the lowest: a module may use those of its own floor and of lower
/// ones. The files beside these folders are the top: the wiring and what is built on it.
const FLOORS: &[&str] = &["rules", "store", "config", "hub", "deeds", "doors"];

/// One crate's modules: by its path, without `crate::`, each module's own file and what it uses.
struct Modules(BTreeMap<String, (PathBuf, BTreeSet<String>)>);

impl Modules {
    fn of(src: &str) -> Self {
        let root = workspace().join(src);
        let mut texts = BTreeMap::new();
        for file in files(&[".rs"]).into_iter().filter(|file| file.starts_with(&root)) {
            let path = file.strip_prefix(&root).unwrap().with_extension("");
            let path = path.to_string_lossy().replace('/', "::");
            let path = if path == "lib" { String::new() } else { path };
            texts.insert(path, file);
        }
        let named: BTreeSet<String> = texts.keys().cloned().collect();
        let modules = texts.into_iter().map(|(path, file)| {
            let text = fs::read_to_string(&file).unwrap();
            let used = used(&text, &path).into_iter().filter_map(|used| longest(&named, &used));
            // A module's own ancestors are where it lives, not what it is built on.
            let used = used.filter(|used| !format!("{path}::").starts_with(&format!("{used}::")));
            let used = used.filter(|used| !used.is_empty()).collect();
            (path, (file, used))
        });
        Self(modules.collect())
    }

    /// Modules that lead back to themselves, with the way.
    fn circle(&self) -> Option<Vec<String>> {
        fn walk<'a>(
            modules: &'a Modules,
            at: &'a str,
            way: &mut Vec<&'a str>,
            done: &mut BTreeSet<&'a str>,
        ) -> Option<Vec<String>> {
            if let Some(from) = way.iter().position(|passed| *passed == at) {
                return Some(way[from..].iter().map(|module| (*module).to_owned()).collect());
            }
            if !done.insert(at) {
                return None;
            }
            way.push(at);
            let found = modules.0[at].1.iter().find_map(|next| walk(modules, next, way, done));
            way.pop();
            found
        }
        let mut done = BTreeSet::new();
        self.0.keys().find_map(|module| walk(self, module, &mut Vec::new(), &mut done))
    }
}

/// The paths within the crate that a file names, in `use` or in its code; its tests apart.
fn used(text: &str, module: &str) -> Vec<String> {
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    let code: String = lines.collect::<Vec<_>>().join("\n");
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut paths = vec![];
    for (start, base) in [("crate::", ""), ("super::", parent)] {
        for piece in code.split(start).skip(1) {
            let is_name = |c: char| c.is_alphanumeric() || "_:".contains(c);
            let end = piece.find(|c: char| !is_name(c)).unwrap_or(piece.len());
            let head = piece[..end].trim_end_matches("::");
            let tails = match piece[end..]
                .strip_prefix('{')
                .filter(|_| piece[..end].ends_with("::") || end == 0)
            {
                Some(group) => group.split('}').next().unwrap().split(',').map(str::trim).collect(),
                None => vec![""],
            };
            for tail in tails {
                let parts = [base, head, tail].into_iter().filter(|part| !part.is_empty());
                paths.push(parts.collect::<Vec<_>>().join("::"));
            }
        }
    }
    paths
}

/// The longest of the modules that a path begins with.
fn longest(modules: &BTreeSet<String>, path: &str) -> Option<String> {
    let mut path = path.to_owned();
    while !modules.contains(&path) {
        path = path.rsplit_once("::")?.0.to_owned();
    }
    Some(path)
}

const CRATES: &[&str] = &[
    "agent/src",
    "agent/stanza/src",
    "arbiter/authority/src",
    "arbiter/src",
    "protocol/link/src",
    "protocol/openpgp/src",
    "protocol/src",
];

#[test]
fn no_module_leads_back_to_itself() {
    for src in CRATES {
        let modules = Modules::of(src);
        assert!(!modules.0.is_empty(), "{src} has no modules");
        if let Some(circle) = modules.circle() {
            panic!("{src}: {} use each other in a circle", circle.join(" -> "));
        }
    }
}

#[test]
fn no_module_of_the_arbiter_uses_a_higher_floor() {
    let floor = |module: &str| {
        let folder = module.split("::").next().unwrap();
        FLOORS.iter().position(|floor| *floor == folder).unwrap_or(FLOORS.len())
    };
    let modules = Modules::of("arbiter/src");
    let used: usize = modules.0.values().map(|(_, used)| used.len()).sum();
    assert!(used > 100, "{used}");
    let mut climbs = vec![];
    for (module, (_, used)) in &modules.0 {
        let above = used.iter().filter(|used| floor(used) > floor(module));
        climbs.extend(above.map(|used| format!("{module} uses {used}")));
    }
    assert!(climbs.is_empty(), "{climbs:#?}");
}

#[test]
fn a_type_is_named_once_in_a_program() {
    let mut named: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut twice = vec![];
    for file in files(&[".rs"]) {
        let name = file.strip_prefix(workspace()).unwrap().to_string_lossy().into_owned();
        if !CRATES.iter().any(|src| name.starts_with(src)) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
        let mut is_command = false;
        for line in code.lines() {
            if line.starts_with(['#', '/']) {
                is_command |= line.contains("FromArgs");
                continue;
            }
            // What argh reads is called as its command is, a trait's type as the trait asks.
            let is_asked = line.starts_with(' ') && line.trim_start().starts_with("type ");
            if std::mem::take(&mut is_command) || is_asked {
                continue;
            }
            let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
            let (Some(kind), Some(name)) = (words.next(), words.next()) else { continue };
            if !["struct", "enum", "trait", "type"].contains(&kind) {
                continue;
            }
            let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            if let Some(other) = named.insert(name.to_owned(), file.clone()) {
                twice.push(format!("{name}: {} and {}", other.display(), file.display()));
            }
        }
    }
    assert!(named.len() > 200, "{}", named.len());
    assert!(twice.is_empty(), "{twice:#?}");
}

/// `FindingKind`'s table is where each finding of `canister-agent lint` has its name and severity.
#[test]
fn lints_page_has_each_finding_with_its_severity() {
    let code = read("agent/src/lint/findings.rs");
    let table = code.split("\nkinds! {\n").nth(1).unwrap().split("\n}").next().unwrap();
    let row = |line: &str| {
        let words: Vec<_> = line.split([' ', '"', ',']).filter(|word| !word.is_empty()).collect();
        (words[1].to_owned(), words[2].to_owned())
    };
    let of_code: BTreeMap<_, _> = table.lines().map(row).collect();
    let page = read("docs/lint.md");
    let section = |section: &str| {
        let (name, text) = section.split_once('\n').unwrap();
        (name.to_owned(), text.split('.').next().unwrap().to_owned())
    };
    let of_page: BTreeMap<_, _> = page.split("\n### ").skip(1).map(section).collect();
    assert!(of_code.len() > 50, "{of_code:?}");
    assert_eq!(of_code, of_page);
    let tests = ["agent/src/lint/stanzas.rs", "agent/src/lint/releases.rs", "tests/tests/lint.rs"];
    let tests: String = tests.map(read).concat();
    for name in of_code.keys() {
        assert!(tests.contains(&format!("\"{name}\"")), "no test finds {name}");
    }
}

/// Whether a licence in SPDX's words, or what was written before those, lets us.
fn may(licence: &str, allowed: &BTreeSet<&str>) -> bool {
    let licence = licence.trim();
    let inner = licence.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    if let Some(inner) = inner.filter(|inner| !inner.contains('(')) {
        return may(inner, allowed);
    }
    // No expression in use has an OR inside of brackets that isn't the whole of its side.
    let sides = |word: &str| {
        let (mut depth, mut parts, mut from) = (0, Vec::new(), 0);
        for (at, letter) in licence.char_indices() {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            if depth == 0 && licence[at..].starts_with(word) {
                parts.push(&licence[from..at]);
                from = at + word.len();
            }
        }
        parts.push(&licence[from..]);
        parts
    };
    for (word, is_any) in [(" OR ", true), ("/", true), (" AND ", false)] {
        let sides = sides(word);
        if sides.len() > 1 {
            let mut sides = sides.iter();
            return if is_any {
                sides.any(|it| may(it, allowed))
            } else {
                sides.all(|it| may(it, allowed))
            };
        }
    }
    allowed.contains(licence)
}

#[test]
fn what_the_programs_are_built_from_is_as_deny_toml_says() {
    let rules: toml::Table = toml::from_str(&read("deny.toml")).unwrap();
    let words = |section: &str, key: &str| -> BTreeSet<&str> {
        rules[section][key].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
    };
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked"]).current_dir(workspace());
    for target in words("graph", "targets") {
        cargo.args(["--filter-platform", target]);
    }
    let told = cargo.output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let built = told["resolve"]["nodes"].as_array().unwrap();
    let built: BTreeSet<&str> = built.iter().map(|node| node["id"].as_str().unwrap()).collect();
    let whole = |id: &str| {
        let nodes = told["resolve"]["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["id"] == id).unwrap();
        let needs = node["deps"].as_array().unwrap();
        needs.iter().map(|it| it["pkg"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = || told["packages"].as_array().unwrap().iter();
    // What a crate brings that is excused as a whole.
    let mut brought = BTreeSet::new();
    for excused in rules["bans"]["skip-tree"].as_array().unwrap() {
        assert!(!excused["reason"].as_str().unwrap().is_empty());
        let is_it = |it: &&serde_json::Value| it["name"] == excused["crate"].as_str().unwrap();
        let mut next = vec![all().find(is_it).unwrap()["id"].as_str().unwrap().to_owned()];
        while let Some(id) = next.pop() {
            if built.contains(&*id) && brought.insert(id.clone()) {
                next.extend(whole(&id));
            }
        }
    }
    let allowed = words("licenses", "allow");
    let registries = words("sources", "allow-registry");
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut licences = BTreeSet::new();
    for package in told["packages"].as_array().unwrap() {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let (name, source) = (text("name"), text("source"));
        if !built.contains(text("id")) || source.is_empty() {
            continue;
        }
        let registry = source.strip_prefix("registry+").unwrap_or(source);
        assert!(registries.contains(registry), "{name} comes from {source}");
        assert!(may(text("license"), &allowed), "{name} has the licence {:?}", text("license"));
        licences.insert(text("license"));
        if !brought.contains(text("id")) {
            versions.entry(name).or_default().insert(text("version"));
        }
    }
    for licence in &allowed {
        assert!(
            licences.iter().any(|it| it.contains(licence)),
            "nothing has the licence {licence}"
        );
    }
    // All but the newest of each are exceptions, with a reason.
    let twice = versions.iter().filter(|(_, versions)| versions.len() > 1);
    let twice: BTreeSet<&str> = twice.map(|(name, _)| *name).collect();
    let skipped = rules["bans"]["skip"].as_array().unwrap();
    let skipped: BTreeSet<&str> = skipped
        .iter()
        .map(|skip| {
            assert!(!skip["reason"].as_str().unwrap().is_empty());
            let (name, version) = skip["crate"].as_str().unwrap().split_once('@').unwrap();
            assert!(versions[name].contains(version), "{name} {version} isn't built");
            name
        })
        .collect();
    assert_eq!(twice, skipped);
}
