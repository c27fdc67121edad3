//! `canister-agent lint`: of clean repositories nothing but notes, whoever made them; each oddity with
//! its file and line; what a program and a CI read; and how little of a server it asks.

use canister_tests::apt::{Compression, Package, Repository, big_index};
use canister_tests::index::{RUN_MAX, packed, release, tool};
use canister_tests::openssl;
use canister_tests::origin::{Fault, Origin, Validators};
use canister_tests::programs::{Program, binary, documented, run};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// One finding: kind, the file's name without its folder, line or 0.
type Found = (String, String, u64);

/// What `--json` says, of a repository that has `errors` or not.
fn lint(repository: &str, options: &[&str]) -> (Vec<Found>, Value) {
    lint_as(Command::new(binary("canister-agent")), repository, options)
}

fn lint_as(mut command: Command, repository: &str, options: &[&str]) -> (Vec<Found>, Value) {
    command.args(["lint", repository, "--json", "--allow-private"]).args(options);
    let mut program = Program::start_command("lint", &mut command);
    let code = program.wait(RUN_MAX).code();
    let (said, stderr) = (program.stdout(), program.stderr());
    assert!(!stderr.contains("panicked"), "{stderr}");
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said} {stderr}"));
    assert_eq!(code, Some(i32::from(said["errors"] != 0)), "{said}");
    let findings = said["findings"].as_array().unwrap();
    let found = findings.iter().map(|finding| {
        let file = finding["file"].as_str().unwrap();
        let name = file.rsplit('/').next().unwrap();
        let kind = finding["kind"].as_str().unwrap();
        (kind.to_owned(), name.to_owned(), finding["line"].as_u64().unwrap_or(0))
    });
    (found.collect(), said.clone())
}

fn path(folder: &Path) -> &str {
    folder.to_str().unwrap()
}

/// Looks at a repository, in its folder and from a server: there must be nothing but notes.
fn nothing_but_notes(folder: &Path, options: &[&str], packages: u64) {
    let origin = Origin::of(folder);
    origin.validators(Validators::Both);
    for repository in [path(folder), &origin.uri()] {
        let (found, said) = lint(repository, options);
        let is_clean = said["errors"] == 0 && said["warnings"] == 0;
        assert!(is_clean && said["packages"] == packages, "{repository}: {found:?} {said}");
    }
    assert!(origin.requests().len() <= 12, "{:?}", origin.requests());
}

/// Two packages, of the architectures `all` and amd64.
fn debs() -> [Package; 2] {
    let with = |package: Package| {
        let package = package.with("Icon", "https://repo.example/a.png").with("Section", "utils");
        package.with("Priority", "optional").with("Homepage", "http://repo.example")
    };
    [with(Package::new("one", "1:2.0~rc1-1", "all")), with(Package::new("two", "0.1", "amd64"))]
}

fn filled(mut repository: Repository) -> Repository {
    debs().into_iter().for_each(|package| repository.add(package));
    repository.release();
    repository
}

#[test]
fn of_what_apt_ftparchive_makes_nothing_is_said() {
    let flat = filled(Repository::flat());
    nothing_but_notes(flat.dir(), &[], 2);
    let mut dists = Repository::dists(&["amd64"]);
    dists.by_hash = true;
    dists.release_fields = vec![("Valid-Until".into(), "Sat, 11 Jul 2126 10:16:37 UTC".into())];
    dists.compressions = vec![Compression::Gz, Compression::Xz];
    let dists = filled(dists);
    by_sha512(&dists.dir().join("dists/stable/main/binary-amd64"));
    let options = ["--suite", "stable", "--component", "main", "--architecture", "amd64"];
    nothing_but_notes(dists.dir(), &options, 2);
    // Nothing at all is left to say.
    assert_eq!(lint(path(dists.dir()), &options).0, []);
}

/// Puts the packed indexes of a folder under the strongest digest of those in Release, which clients
/// ask for first.
fn by_sha512(folder: &Path) {
    let by_hash = folder.join("by-hash/SHA512");
    fs::create_dir_all(&by_hash).unwrap();
    for name in ["Packages.gz", "Packages.xz"] {
        if let Ok(bytes) = fs::read(folder.join(name)) {
            let sum = String::from_utf8(tool(&["sha512sum"], &bytes)).unwrap();
            fs::write(by_hash.join(&sum[..128]), bytes).unwrap();
        }
    }
}

/// A shell's words in a folder of their own with a key and the two packages, in `debs`.
fn made_by(script: &str) -> tempfile::TempDir {
    let made = filled(Repository::flat());
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("bash");
    command.args(["-euc", script]).current_dir(folder.path());
    command.env("DEBS", made.dir().join("debs")).env("HOME", folder.path());
    command.env("GNUPGHOME", folder.path().join("gpg")).env("LC_ALL", "C.UTF-8");
    let run = command.output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said} {}", String::from_utf8_lossy(&run.stdout));
    folder
}

const KEY: &str = "mkdir -m 700 gpg
    trap 'gpgconf --kill all' EXIT
    gpg --batch --quiet --passphrase '' --quick-generate-key tests@repo.example rsa2048 sign never
";
const STABLE: [&str; 6] = ["--suite", "stable", "--component", "main", "--architecture", "amd64"];

#[test]
fn of_what_reprepro_makes_nothing_is_said() {
    let folder = made_by(&format!(
        "{KEY}
        mkdir -p repo/conf
        printf '%s\n' 'Origin: Tests' 'Label: Tests' 'Codename: stable' 'Suite: stable' \
            'Architectures: amd64' 'Components: main' 'SignWith: yes' 'Description: tests' \
            > repo/conf/distributions
        reprepro --silent -b repo includedeb stable \"$DEBS\"/*.deb"
    ));
    nothing_but_notes(&folder.path().join("repo"), &STABLE, 2);
}

#[test]
fn of_what_aptly_makes_nothing_is_said() {
    let folder = made_by(&format!(
        "{KEY}
        printf '{{\"rootDir\": \"%s/aptly\", \"gpgProvider\": \"gpg\"}}' \"$PWD\" > aptly.conf
        aptly() {{ command aptly -config=aptly.conf \"$@\"; }}
        aptly repo create -distribution=stable -component=main tests
        aptly repo add tests \"$DEBS\"
        aptly publish repo -batch -origin=Tests -label=Tests -architectures=amd64 tests"
    ));
    nothing_but_notes(&folder.path().join("aptly/public"), &STABLE, 2);
}

/// A flat repository in a folder, to be changed.
struct Flat(tempfile::TempDir);

const STANZA: &str = "Package: a\nVersion: 1\nArchitecture: all\nFilename: debs/a.deb\nSize: 3\n\
    SHA256: 0123456701234567012345670123456701234567012345670123456701234567\nDescription: d\n";

impl Flat {
    /// One stanza, its deb, plain and gz, a Release of today with a signature that nobody looks at.
    fn new() -> Self {
        let flat = Self(tempfile::tempdir().unwrap());
        fs::create_dir(flat.0.path().join("debs")).unwrap();
        flat.put("debs/a.deb", b"deb");
        flat.index(STANZA.as_bytes());
        flat.put("Release.gpg", b"");
        flat
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn get(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.path().join(name)).unwrap();
    }

    /// Writes the index, packed too, and Release.
    fn index(&self, index: &[u8]) {
        let gz = packed(Compression::Gz, index);
        self.put("Packages", index);
        self.put("Packages.gz", &gz);
        let list = release("SHA256", &[("Packages", index), ("Packages.gz", &gz)]);
        let head =
            "Date: Sat, 11 Jul 2026 10:16:37 UTC\nValid-Until: Sat, 11 Jul 2126 10:16:37 UTC\n";
        self.put("Release", format!("{head}{list}").as_bytes());
    }

    /// It must have this alone: kind, file, line.
    fn has(&self, expected: &[(&str, &str, u64)]) {
        let own = |(kind, file, line): &(&str, &str, u64)| {
            ((*kind).to_owned(), (*file).to_owned(), *line)
        };
        let expected: Vec<Found> = expected.iter().map(own).collect();
        assert_eq!(lint(path(self.0.path()), &[]).0, expected);
    }
}

#[test]
fn a_folder_s_oddities_are_told_by_file_and_line() {
    let flat = Flat::new();
    flat.has(&[]);
    flat.put("debs/a.deb", b"debs");
    flat.has(&[("deb-differs", "Packages", 4)]);
    flat.remove("debs/a.deb");
    flat.has(&[("debs-elsewhere", "Packages", 0)]);
    flat.put("debs/a.deb", b"deb");
    let other = STANZA.replace("a.deb", "b.deb").replace(": a\n", ": b\n");
    flat.index(format!("{STANZA}\n{other}").as_bytes());
    flat.has(&[("deb-missing", "Packages", 12)]);
    // The order of stanzas is that of lines, whatever is wrong with them.
    flat.index(format!("{other}Auhtor: x\n\n{STANZA}").as_bytes());
    flat.has(&[("deb-missing", "Packages", 4), ("field-misspelt", "Packages", 8)]);
    flat.index(b"");
    flat.has(&[("index-empty", "Packages", 0)]);
    flat.index(b"<html>\n");
    flat.has(&[("no-package", "Packages", 0), ("line-without-colon", "Packages", 1)]);

    let flat = Flat::new();
    flat.put("Packages", format!("{STANZA}\n").as_bytes());
    flat.has(&[("listed-differs", "Packages", 0), ("variants-differ", "Packages.gz", 0)]);
    flat.remove("Packages");
    flat.has(&[]);
    flat.put("Packages.gz", &packed(Compression::Gz, format!("{STANZA}\n").as_bytes()));
    flat.has(&[("listed-differs", "Packages.gz", 0), ("variants-differ", "Packages.gz", 0)]);
    let was = fs::read(Flat::new().0.path().join("Packages.gz")).unwrap();
    flat.put("Packages.gz", &[&was[..], &[0; 17]].concat());
    flat.has(&[("bytes-behind", "Packages.gz", 0), ("listed-differs", "Packages.gz", 0)]);
    flat.put("Packages.gz", &was[..was.len() - 9]);
    flat.has(&[("index-unreadable", "Packages.gz", 0)]);
    flat.put("Packages.gz", STANZA.as_bytes());
    flat.has(&[("compression-misnamed", "Packages.gz", 0), ("listed-differs", "Packages.gz", 0)]);
    flat.remove("Packages.gz");
    flat.has(&[("listed-missing", "Packages.gz", 0), ("index-missing", "Packages", 0)]);
    // What isn't listed is read as well.
    let flat = Flat::new();
    flat.put("Packages.xz", &packed(Compression::Xz, b"Package: b\n"));
    flat.has(&[("variants-differ", "Packages.xz", 0)]);
    flat.put("Packages.xz", &packed(Compression::Xz, STANZA.as_bytes()));
    flat.has(&[]);
    let long = format!("{STANZA}\nA: {}\n", "x".repeat(1 << 20));
    flat.index(long.as_bytes());
    flat.has(&[
        ("index-unreadable", "Packages", 9),
        ("index-unreadable", "Packages.gz", 9),
        ("variants-differ", "Packages.xz", 0),
    ]);
}

#[test]
fn the_two_forms_of_release_are_compared() {
    let flat = Flat::new();
    let release = flat.get("Release");
    let signed = |text: &str| {
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}-----BEGIN PGP SIGNATURE-----\n\nx\n"
        )
    };
    flat.remove("Release.gpg");
    flat.has(&[("signature-missing", "Release", 0)]);
    flat.put("InRelease", signed(&release).as_bytes());
    flat.has(&[]);
    flat.put("Release", release.replace(" Packages.gz", "0 Packages.gz").as_bytes());
    flat.has(&[("releases-differ", "Release", 0)]);
    flat.remove("Release");
    flat.has(&[("release-alone", "Release", 0)]);
    flat.put("InRelease", release.as_bytes());
    flat.has(&[("release-alone", "Release", 0), ("signature-missing", "Release", 0)]);
    flat.put("InRelease", b"<html>\n");
    flat.has(&[("release-unreadable", "InRelease", 0)]);
    flat.put("InRelease", &[b'x'; 70_000]);
    flat.has(&[("release-unreadable", "InRelease", 0)]);
    flat.remove("InRelease");
    flat.has(&[("release-missing", "Release", 0)]);
    // Lines of an InRelease are those of the file, around its text included.
    let text = signed(&release.replace("2126", "1970").replace("SHA256:", "Lable: x\nSHA256:"));
    flat.put("InRelease", text.as_bytes());
    flat.put("Release", release.as_bytes());
    flat.has(&[("valid-until-past", "InRelease", 5), ("field-misspelt", "InRelease", 9)]);
}

#[test]
fn the_strongest_by_hash_is_looked_for() {
    let mut repository = Repository::flat();
    repository.by_hash = true;
    repository.compressions = vec![Compression::Gz];
    let repository = filled(repository);
    by_sha512(repository.dir());
    let kinds = || lint(path(repository.dir()), &[]).0.into_iter().map(|it| it.0);
    assert!(!kinds().any(|kind| kind == "by-hash-missing"));
    fs::remove_dir_all(repository.dir().join("by-hash/SHA512")).unwrap();
    assert!(kinds().any(|kind| kind == "by-hash-missing"));
}

#[test]
fn a_server_is_asked_little_and_politely() {
    let flat = Flat::new();
    let origin = Origin::of(flat.0.path());
    origin.validators(Validators::Both);
    let kinds = |options: &[&str]| {
        let (found, said) = lint(&origin.uri(), options);
        let kinds: Vec<_> = found.into_iter().map(|it| it.0).collect();
        assert_eq!(said["requests"], origin.requests().len());
        (kinds, origin.take_requests())
    };
    let (found, requests) = kinds(&["--user-agent", "tests (+https://repo.example)"]);
    assert_eq!(found, ["uri-insecure"]);
    let paths: Vec<_> = requests.iter().map(|request| (&*request.path, request.status)).collect();
    assert_eq!(
        paths,
        [
            ("/InRelease", 404),
            ("/Release", 200),
            ("/Release.gpg", 200),
            ("/Packages.gz", 200),
            ("/Packages", 200),
            ("/Release", 304),
        ]
    );
    for pair in requests.windows(2) {
        let pause = (pair[1].at - pair[0].at).as_millis();
        assert!(pause >= 450, "{pause} ms between {pair:?}");
    }
    let agent = requests[0].header("user-agent");
    assert_eq!(agent, Some("tests (+https://repo.example)"));

    origin.validators(Validators::Neither);
    let gzip = vec![("Content-Encoding", "br".to_owned())];
    origin.fault("/Packages.gz", Fault::Told(200, gzip));
    let (found, _) = kinds(&[]);
    assert_eq!(found, ["uri-insecure", "content-encoded", "conditional-ignored"]);
    origin.heal("/Packages.gz");
    // Validators that nobody looks at.
    let etag = vec![("ETag", "\"1\"".to_owned())];
    origin.fault("/Release", Fault::Told(200, etag));
    assert_eq!(kinds(&[]).0, ["uri-insecure", "conditional-ignored"]);
    // Nothing is there: each name once.
    origin.heal("/Release");
    for name in ["Release", "Release.gpg", "Packages", "Packages.gz"] {
        flat.remove(name);
    }
    let (found, requests) = kinds(&[]);
    assert_eq!(found, ["uri-insecure", "release-missing", "index-missing"]);
    assert_eq!(requests.len(), 8);
    // Sent away: nothing more is asked.
    origin.fault("/InRelease", Fault::Status(429, vec![("Retry-After", "60".to_owned())]));
    let (found, requests) = kinds(&[]);
    assert_eq!(found, ["uri-insecure", "fetch-failed"]);
    assert_eq!(requests.len(), 1);
}

#[test]
fn what_is_too_much_for_a_server_is_not_asked_for() {
    let origin = Origin::empty();
    origin.validators(Validators::Both);
    let index = big_index(70_000);
    assert!(index.len() > 64 << 20);
    let gz = packed(Compression::Gz, &index);
    origin.put("/Release", release("SHA256", &[("Packages", &index), ("Packages.gz", &gz)]));
    origin.put("/Packages.gz", gz);
    origin.put("/Packages", index);
    let (found, _) = lint(&origin.uri(), &[]);
    let not_read = ("variant-not-read".to_owned(), "Packages".to_owned(), 0);
    assert!(found.contains(&not_read), "{found:?}");
    assert!(origin.bytes_sent() < 32 << 20, "{}", origin.bytes_sent());
}

#[test]
fn tls_is_told_in_words_and_private_addresses_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    openssl::succeeds(
        folder.path(),
        "openssl req -x509 -newkey ed25519 -nodes -keyout key -out crt -subj /CN=x",
    );
    let mut command = Command::new("sh");
    command.args(["-c", "exec openssl s_server -accept 0 -www -cert crt -key key >&2"]);
    let mut server = Program::start_command("s_server", command.current_dir(folder.path()));
    let ready = server.wait_for_line("ACCEPT ", RUN_MAX);
    let uri = format!("https://localhost:{}", ready.rsplit(':').next().unwrap());
    let (found, said) = lint(&uri, &[]);
    assert_eq!(found, [("fetch-failed".to_owned(), "InRelease".to_owned(), 0)]);
    let text = said["findings"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("TLS handshake: ") && text.contains("itself"), "{text}");
    let ran = run("canister-agent", ["lint", &uri], RUN_MAX);
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        ran.stdout.contains("isn't on the public internet, or is this home's own"),
        "{}",
        ran.stdout
    );
}

#[test]
fn people_programs_and_a_ci_are_told_in_their_ways() {
    let flat = Flat::new();
    flat.index(STANZA.replace("Size: 3", "Size: x3").as_bytes());
    let of = |words: &[&str]| {
        let mut command = Command::new(binary("canister-agent"));
        let parent = flat.0.path().parent().unwrap();
        command.arg("lint").args(words).current_dir(parent);
        let mut program = Program::start_command("lint", &mut command);
        (program.wait(RUN_MAX).code(), program.stdout(), program.stderr())
    };
    let name = flat.0.path().file_name().unwrap().to_str().unwrap();
    let (code, said, stderr) = of(&[&format!("./{name}")]);
    assert_eq!(code, Some(1));
    let line =
        format!("{name}/Packages:5: error: Size \"x3\" is no number of bytes [size-invalid]\n");
    assert_eq!(said, format!("{line}1 error, 0 warnings, 0 notes, 1 package\n"));
    assert_eq!(stderr, "canister-agent: 1 error, 0 warnings, 0 notes\n");
    let (code, said, _) = of(&[name, "--annotations"]);
    let text = format!(
        "::error file={name}/Packages,line=5,title=size-invalid::Size \"x3\" is no number of bytes\n"
    );
    assert_eq!((code, said), (Some(1), text));
    flat.index(STANZA.as_bytes());
    let clean = "0 errors, 0 warnings, 0 notes, 1 package\n";
    assert_eq!(of(&[&format!("{name}/")]), (Some(0), clean.to_owned(), String::new()));
    for (words, code, part) in [
        (&["nowhere"][..], 1, "nowhere: it is no folder; use one, or an address"),
        (&["ftp://x"], 2, "uri"),
        (&[name, "--json", "--annotations"], 2, "not both"),
        (&[name, "--suite", "stable"], 2, "component"),
        (&[name, "--suite", "../"], 2, "suite"),
        (&[], 2, "repository"),
    ] {
        let (status, said, stderr) = of(words);
        assert_eq!((status, said.as_str()), (Some(code), ""), "{words:?}");
        assert!(stderr.contains(part), "{stderr}");
    }
    // What can't be printed is no success.
    let mut command = Command::new("sh");
    let line =
        format!("{} lint {} > /dev/full", binary("canister-agent").display(), path(flat.0.path()));
    let mut program = Program::start_command("sh", command.args(["-c", &line]));
    assert_eq!(program.wait(RUN_MAX).code(), Some(1));
}

#[test]
fn the_example_for_a_ci_does_what_it_says() {
    let made = filled(Repository::flat());
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(made.dir(), folder.path().join("repo")).unwrap();
    let step = documented("lint.md", "yaml", "lint");
    let run = |script: &str| {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap();
        let own = binary("canister-agent").parent().unwrap().display().to_string();
        // As a runner of workflows starts it.
        command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]);
        let out = command.current_dir(folder.path()).env("PATH", format!("{own}:{path}")).output();
        let out = out.unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    let (code, said) = run(&step);
    assert!(code == Some(0) && !said.contains("::error"), "{said}");
    let index = made.dir().join("Packages");
    let text = fs::read_to_string(&index).unwrap().replace("Size: ", "Size: x");
    fs::write(index, text).unwrap();
    let (code, said) = run(&step);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("::error file=repo/Packages,line=")),
        "{said}"
    );
}
