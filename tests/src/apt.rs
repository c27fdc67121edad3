//! Real APT repositories, made by the tools a maintainer would use (`dpkg-deb`, `apt-ftparchive`,
//! the compressors, `gpg`) and read by the real `apt-get` in a root of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A package to be built.
#[derive(Debug, Clone)]
pub struct Package {
    /// Field Package.
    pub name: String,
    /// Field Version.
    pub version: String,
    /// Field Architecture.
    pub architecture: String,
    /// More fields of its control file, in order; a value of several lines has them folded.
    pub fields: Vec<(String, String)>,
}

impl Package {
    /// A package with all the fields that dpkg asks for.
    pub fn new(name: &str, version: &str, architecture: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            architecture: architecture.into(),
            fields: vec![],
        }
        .with("Maintainer", "Tests <tests@repo.example>")
        .with("Description", "package of a test\n It does nothing.")
    }

    /// The same with a field set.
    #[must_use]
    pub fn with(mut self, field: &str, value: &str) -> Self {
        self.fields.retain(|(name, _)| name != field);
        self.fields.push((field.into(), value.into()));
        self
    }

    fn control(&self) -> String {
        let mut text = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\n",
            self.name, self.version, self.architecture
        );
        for (field, value) in &self.fields {
            writeln!(text, "{field}: {value}").expect("a string takes any text");
        }
        text
    }

    /// As dpkg-deb names it: the epoch is not part of it.
    fn file(&self) -> String {
        let version = self.version.split_once(':').map_or(&*self.version, |(_, rest)| rest);
        format!("{}_{version}_{}.deb", self.name, self.architecture)
    }
}

/// A compression of package indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `.bz2`
    Bz2,
    /// `.gz`
    Gz,
    /// `.lzma`
    Lzma,
    /// As it is, without a suffix.
    Plain,
    /// `.xz`
    Xz,
    /// `.zst`
    Zst,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Bz2, Self::Gz, Self::Lzma, Self::Plain, Self::Xz, Self::Zst];

    /// What it adds to a file's name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Bz2 => ".bz2",
            Self::Gz => ".gz",
            Self::Lzma => ".lzma",
            Self::Plain => "",
            Self::Xz => ".xz",
            Self::Zst => ".zst",
        }
    }

    /// The command that compresses its standard input to its standard output.
    fn command(self) -> &'static [&'static str] {
        match self {
            Self::Bz2 => &["bzip2", "-c"],
            Self::Gz => &["gzip", "-9nc"],
            Self::Lzma => &["xz", "--format=lzma", "-c"],
            Self::Plain => &["cat"],
            Self::Xz => &["xz", "-6c"],
            Self::Zst => &["zstd", "-q", "-19", "-c"],
        }
    }

    /// Compresses the file `plain`, which stays, to a file beside it, and returns its path.
    pub fn compress(self, plain: &Path) -> PathBuf {
        let mut path = plain.as_os_str().to_owned();
        path.push(self.suffix());
        let path = PathBuf::from(path);
        if self != Self::Plain {
            let [program, args @ ..] = self.command() else {
                unreachable!("every compression has a command");
            };
            let mut command = Command::new(program);
            command
                .args(args)
                .stdin(File::open(plain).expect("open the file to compress"))
                .stdout(File::create(&path).expect("create the compressed file"));
            finish(command);
        }
        path
    }
}

/// Where a repository's files lie.
#[derive(Debug, Clone)]
pub enum Layout {
    /// `Release`, `Packages` and packages in one folder, of whatever architecture.
    Flat,
    /// `dists/<suite>/Release`, an index for each component and architecture, packages in `pool/`.
    Dists {
        /// `stable`, or with slashes.
        suite: String,
        /// One component.
        component: String,
        /// Each has its own index.
        architectures: Vec<String>,
    },
}

/// How Release is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// `InRelease`, `Release` and `Release.gpg`.
    Both,
    /// `Release` and `Release.gpg`.
    Detached,
    /// `InRelease` alone.
    Inline,
    /// `Release` alone.
    None,
}

/// An APT repository in a folder of its own, which goes when it is dropped.
///
/// Set what should be otherwise, then [`release`](Self::release): only that writes indexes.
#[derive(Debug)]
pub struct Repository {
    /// Where its files lie.
    pub layout: Layout,
    /// Of its package indexes; all at first.
    pub compressions: Vec<Compression>,
    /// Both at first.
    pub signature: Signature,
    /// Whether indexes also lie under their digests and Release says so; not at first.
    pub by_hash: bool,
    /// More fields of Release, in front of the others.
    pub release_fields: Vec<(String, String)>,
    packages: BTreeMap<String, Package>,
    folder: TempDir,
    key: Key,
}

impl Repository {
    /// An empty flat repository.
    pub fn flat() -> Self {
        Self::new(Layout::Flat)
    }

    /// An empty repository with suite `stable` and component `main`.
    pub fn dists(architectures: &[&str]) -> Self {
        Self::new(Layout::Dists {
            suite: "stable".into(),
            component: "main".into(),
            architectures: architectures.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    fn new(layout: Layout) -> Self {
        Self {
            layout,
            compressions: Compression::ALL.to_vec(),
            signature: Signature::Both,
            by_hash: false,
            release_fields: vec![],
            packages: BTreeMap::new(),
            folder: tempfile::tempdir().expect("make a folder for a repository"),
            key: Key::make(),
        }
    }

    /// The folder to serve.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of Release.
    pub fn release_dir(&self) -> PathBuf {
        match &self.layout {
            Layout::Flat => self.dir().to_owned(),
            Layout::Dists { suite, .. } => self.dir().join("dists").join(suite),
        }
    }

    /// The plain package indexes, whether [`Compression::Plain`] is among them or not.
    fn indexes(&self) -> Vec<(PathBuf, Option<&str>)> {
        match &self.layout {
            Layout::Flat => vec![(self.dir().join("Packages"), None)],
            Layout::Dists { component, architectures, .. } => {
                let below = |name: &str| {
                    let dir = self.release_dir().join(component).join(format!("binary-{name}"));
                    dir.join("Packages")
                };
                let each = architectures.iter();
                each.map(|name| (below(name), Some(&**name))).collect()
            }
        }
    }

    /// Builds a package into the repository; it is in no index before the next release.
    pub fn add(&mut self, package: Package) {
        let build = tempfile::tempdir().expect("make a folder for a package");
        let control = build.path().join("DEBIAN");
        fs::create_dir(&control).expect("make a folder for a control file");
        fs::write(control.join("control"), package.control()).expect("write a control file");
        let pool = match self.layout {
            Layout::Flat => self.dir().join("debs"),
            Layout::Dists { .. } => self.dir().join("pool"),
        };
        fs::create_dir_all(&pool).expect("make a folder for packages");
        let file = pool.join(package.file());
        // Versions that dpkg wouldn't take are among what tests need; it warns of them.
        let mut command = Command::new("dpkg-deb");
        command
            .args(["--root-owner-group", "--nocheck", "-Znone", "--build"])
            .args([build.path(), &file]);
        finish(command);
        self.packages.insert(file.display().to_string(), package);
    }

    /// Removes every version of a package; it stays in the indexes until the next release.
    pub fn remove(&mut self, name: &str) {
        self.packages.retain(|file, package| {
            let stays = package.name != name;
            if !stays {
                fs::remove_file(file).expect("remove a package");
            }
            stays
        });
    }

    /// What a release would list.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// Writes package indexes, Release and signatures anew, as a maintainer does.
    pub fn release(&self) {
        let pool = match self.layout {
            Layout::Flat => "debs",
            Layout::Dists { .. } => "pool",
        };
        fs::create_dir_all(self.dir().join(pool)).expect("make a folder for packages");
        for (index, architecture) in self.indexes() {
            let mut command = Command::new("apt-ftparchive");
            command.current_dir(self.dir());
            if let Some(architecture) = architecture {
                command.args(["--arch", architecture]);
            }
            command.args(["packages", pool]);
            let folder = index.parent().expect("an index lies in a folder");
            fs::create_dir_all(folder).expect("make a folder for an index");
            fs::write(&index, finish(command)).expect("write a package index");
        }
        self.release_indexes();
    }

    /// Writes `text` as the package index in place of what apt-ftparchive would make of the
    /// packages (for all architectures the same), then Release and signatures as
    /// [`release`](Self::release) does.
    pub fn release_text(&self, text: &[u8]) {
        for (index, _) in self.indexes() {
            let folder = index.parent().expect("an index lies in a folder");
            fs::create_dir_all(folder).expect("make a folder for an index");
            fs::write(&index, text).expect("write a package index");
        }
        self.release_indexes();
    }

    fn release_indexes(&self) {
        for (index, _) in self.indexes() {
            for compression in Compression::ALL {
                let path = format!("{}{}", index.display(), compression.suffix());
                if self.compressions.contains(&compression) {
                    compression.compress(&index);
                } else if compression != Compression::Plain {
                    let _ = fs::remove_file(path);
                }
            }
        }
        let dir = self.release_dir();
        for name in ["InRelease", "Release", "Release.gpg"] {
            let _ = fs::remove_file(dir.join(name));
        }
        let mut command = Command::new("apt-ftparchive");
        command.current_dir(&dir);
        command.args(["-o", "APT::FTPArchive::Release::Origin=Tests"]);
        command.args(["-o", "APT::FTPArchive::Release::Label=Tests of Canister"]);
        if let Layout::Dists { suite, component, architectures } = &self.layout {
            let architectures = architectures.join(" ");
            for (field, value) in [
                ("Suite", suite),
                ("Codename", suite),
                ("Components", component),
                ("Architectures", &architectures),
            ] {
                command.arg("-o");
                command.arg(format!("APT::FTPArchive::Release::{field}={value}"));
            }
        }
        command.args(["release", "."]);
        let mut release = String::new();
        for (field, value) in &self.release_fields {
            writeln!(release, "{field}: {value}").expect("a string takes any text");
        }
        if self.by_hash {
            release.push_str("Acquire-By-Hash: yes\n");
        }
        release.push_str(&String::from_utf8_lossy(&finish(command)));
        for (index, _) in self.indexes() {
            self.hide_or_repeat(&index);
        }

        let path = dir.join("Release");
        fs::write(&path, release).expect("write Release");
        if matches!(self.signature, Signature::Both | Signature::Inline) {
            self.key.sign("--clearsign", &path, &dir.join("InRelease"));
        }
        if matches!(self.signature, Signature::Both | Signature::Detached) {
            self.key.sign("--detach-sign", &path, &dir.join("Release.gpg"));
        }
        if self.signature == Signature::Inline {
            fs::remove_file(path).expect("remove Release");
        }
    }

    /// Release lists the plain index even where it isn't offered, as real ones do; by-hash copies
    /// are added, and old ones stay, as real ones do.
    fn hide_or_repeat(&self, index: &Path) {
        if self.by_hash {
            let folder = index.with_file_name("by-hash").join("SHA256");
            fs::create_dir_all(&folder).expect("make a folder for indexes by hash");
            for compression in &self.compressions {
                let path = format!("{}{}", index.display(), compression.suffix());
                fs::copy(&path, folder.join(sha256(Path::new(&path)))).expect("copy an index");
            }
        }
        if !self.compressions.contains(&Compression::Plain) {
            fs::remove_file(index).expect("remove the plain index");
        }
    }

    /// The line of an apt source list that names this repository at `uri`, with its key.
    pub fn source_line(&self, uri: &str) -> String {
        let signed = match self.signature {
            Signature::None => "trusted=yes".to_owned(),
            _ => format!("signed-by={}", self.key.public().display()),
        };
        match &self.layout {
            Layout::Flat => format!("deb [{signed}] {uri} ./"),
            Layout::Dists { suite, component, architectures } => {
                let architectures = architectures.join(",");
                format!("deb [{signed} arch={architectures}] {uri} {suite} {component}")
            }
        }
    }
}

/// The SHA-256 of a file, in hexadecimal, as `sha256sum` says.
pub fn sha256(path: &Path) -> String {
    let mut command = Command::new("sha256sum");
    command.stdin(File::open(path).expect("open a file to hash"));
    let said = String::from_utf8_lossy(&finish(command)).into_owned();
    said[..64].to_owned()
}

/// A signing key that is thrown away with its GnuPG home.
#[derive(Debug)]
pub struct Key {
    home: TempDir,
}

impl Key {
    fn make() -> Self {
        Self::made("ed25519", "never", &[])
    }

    /// A key of this algorithm that ends so, made with these options of gpg as well.
    pub fn made(algorithm: &str, ends: &str, options: &[&str]) -> Self {
        // Short, for the agent's socket lies in it.
        let home = tempfile::tempdir().expect("make a GnuPG home");
        let key = Self { home };
        let make = ["--passphrase", "", "--quick-generate-key", "Tests <tests@repo.example>"];
        key.run(&[options, &make, &[algorithm, "sign", ends]].concat());
        key.export();
        key
    }

    /// GnuPG's home with nothing but it.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes its public part anew, for apt.
    fn export(&self) {
        fs::write(self.public(), self.run(&["--export"])).expect("write the public key");
    }

    /// Runs gpg with this key alone in its home, and returns what it says.
    pub fn run(&self, words: &[&str]) -> Vec<u8> {
        let mut command = self.gpg();
        command.args(words);
        finish(command)
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> String {
        let said =
            String::from_utf8_lossy(&self.run(&["--with-colons", "--list-keys"])).into_owned();
        let line = said.lines().find(|line| line.starts_with("fpr:")).expect("a key has one");
        line.split(':').nth(9).expect("it is the tenth field").to_owned()
    }

    /// The certificate by which its owner revokes it, as gpg made it beforehand.
    pub fn revocation(&self) -> PathBuf {
        let folder = self.home.path().join("openpgp-revocs.d");
        let made = fs::read_to_string(folder.join(format!("{}.rev", self.fingerprint())));
        let file = self.home.path().join("revocation");
        // gpg puts a colon in front of the armor, lest it be imported by mistake.
        fs::write(&file, made.expect("gpg made it").replace("\n:-", "\n-")).expect("write it");
        file
    }

    /// What is signed so (`--clearsign`, `--detach-sign`), with these options of gpg as well.
    pub fn signed(&self, how: &str, text: &str, options: &[&str]) -> Vec<u8> {
        let file = self.home.path().join("text");
        fs::write(&file, text).expect("write what is to be signed");
        let file = file.to_str().expect("a path of letters");
        self.run(&[options, &["--armor", "--output", "-", how, file]].concat())
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.home.path());
        command.args(["--batch", "--quiet", "--yes", "--no-tty"]);
        command
    }

    /// The file of its public part.
    pub fn public(&self) -> PathBuf {
        self.home.path().join("public.gpg")
    }

    fn sign(&self, how: &str, file: &Path, signature: &Path) {
        let mut command = self.gpg();
        command.args(["--digest-algo", "SHA512", "--armor", "--output"]);
        command.arg(signature).arg(how).arg(file);
        finish(command);
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // Its agent would stay otherwise.
        let mut command = Command::new("gpgconf");
        command.arg("--homedir").arg(self.home.path());
        let _ = command.args(["--kill", "all"]).output();
    }
}

/// A stanza as apt has it: fields by name.
pub type Stanza = BTreeMap<String, String>;

/// The real `apt-get`, with a root, configuration and architecture of its own.
#[derive(Debug)]
pub struct Apt {
    root: TempDir,
}

impl Apt {
    /// One that reads the sources of these lines (`deb …`) for one architecture.
    pub fn new(source_lines: &[String], architecture: &str) -> Self {
        let root = tempfile::tempdir().expect("make a root for apt");
        let path = root.path();
        for folder in [
            "etc/apt/preferences.d",
            "etc/apt/trusted.gpg.d",
            "var/cache/apt/archives/partial",
            "var/lib/apt/lists/partial",
            "var/lib/dpkg",
        ] {
            fs::create_dir_all(path.join(folder)).expect("make a folder for apt");
        }
        fs::write(path.join("var/lib/dpkg/status"), "").expect("write an empty dpkg status");
        let sources = source_lines.join("\n") + "\n";
        fs::write(path.join("etc/apt/sources.list"), sources).expect("write apt's source list");
        let configuration = format!(
            "Dir \"{root}\";\n\
             Dir::Etc::main \"/dev/null\";\n\
             Dir::Etc::parts \"/dev/null\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::State::status \"{root}/var/lib/dpkg/status\";\n\
             APT::Architecture \"{architecture}\";\n\
             APT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Sandbox::User \"root\";\n\
             APT::Update::Error-Mode \"any\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"0\";\n\
             Acquire::http::Proxy \"DIRECT\";\n",
            root = path.display(),
        );
        fs::write(path.join("apt.conf"), configuration).expect("write apt's configuration");
        Self { root }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.root.path().join("apt.conf"));
        command.env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null());
        command
    }

    /// Trusts the keys of this file, whatever they sign.
    pub fn trust(&self, name: &str, keys: &[u8]) {
        let path = self.root.path().join("etc/apt/trusted.gpg.d").join(name);
        fs::write(path, keys).expect("write keys for apt");
    }

    /// `apt-get update`.
    ///
    /// # Errors
    /// What it printed, where it failed.
    pub fn update(&self) -> Result<String, String> {
        let run = self.command("apt-get").arg("update").output();
        let run = run.expect("apt-get is part of Debian");
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        if run.status.success() { Ok(said.into_owned()) } else { Err(said.into_owned()) }
    }

    /// The package indexes it downloaded, as `apt-get indextargets` names them.
    pub fn indexes(&self) -> Vec<PathBuf> {
        let mut command = self.command("apt-get");
        command.args(["indextargets", "--format", "$(FILENAME)", "Created-By: Packages"]);
        let said = finish(command);
        let text = String::from_utf8_lossy(&said).into_owned();
        text.lines().map(PathBuf::from).collect()
    }

    /// The stanzas of all of them.
    pub fn stanzas(&self) -> Vec<Stanza> {
        let text = |path| fs::read_to_string(path).expect("read an index that apt downloaded");
        let texts = self.indexes().into_iter().map(text);
        texts.flat_map(|text| stanzas(&text)).collect()
    }
}

/// Reads what apt itself wrote or accepted: well-formed stanzas. Folded lines keep their line feeds.
pub fn stanzas(text: &str) -> Vec<Stanza> {
    let mut all = vec![Stanza::new()];
    let mut last = String::new();
    for line in text.lines() {
        let stanza = all.last_mut().expect("there is always one");
        if line.is_empty() {
            all.push(Stanza::new());
        } else if line.starts_with([' ', '\t']) {
            let value = stanza.entry(last.clone()).or_default();
            value.push('\n');
            value.push_str(line);
        } else if let Some((field, value)) = line.split_once(':') {
            last = field.to_owned();
            stanza.insert(last.clone(), value.trim().to_owned());
        }
    }
    all.retain(|stanza| !stanza.is_empty());
    all
}

/// Writes `count` stanzas with the fields and lengths of real ones, each different, for load. The
/// same count gives the same bytes.
///
/// # Errors
/// Those of writing.
pub fn write_big_index(count: usize, into: &mut impl Write) -> io::Result<()> {
    const SECTIONS: [&str; 5] = ["Tweaks", "Themes", "utils", "libs", "System"];
    let word = |number: usize, length: usize| -> String {
        // Text that compresses about as well as real text, and differs from stanza to stanza.
        const WORDS: [&str; 16] = [
            "adds", "a", "new", "way", "to", "the", "screen", "with", "settings", "for", "every",
            "icon", "and", "status", "bar", "colour",
        ];
        let mut text = String::new();
        let mut state = number as u64 + 1;
        while text.len() < length {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(WORDS[(state >> 60) as usize]);
            text.push(' ');
        }
        text.truncate(length);
        text.trim_end().to_owned()
    };
    for number in 0..count {
        let (name, version) = (number / 3, number % 3);
        let id = format!("com.example.p{name:06}");
        let version = format!("1.{version}-{}", number % 7);
        let hash = |seed: u64| {
            let mut state = (number as u64 + 1).wrapping_mul(seed);
            let mut text = String::new();
            for _ in 0..4 {
                state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (state >> 29);
                let _ = write!(text, "{state:016x}");
            }
            text
        };
        let tag = if number.is_multiple_of(50) {
            "cydia::commercial, role::enduser"
        } else {
            "role::enduser"
        };
        writeln!(
            into,
            "Package: {id}\n\
             Version: {version}\n\
             Architecture: iphoneos-arm64\n\
             Maintainer: {author} <{author}@repo.example>\n\
             Installed-Size: {installed}\n\
             Depends: mobilesubstrate (>= 0.9.5000), firmware (>= 14.0)\n\
             Filename: ./debs/{id}_{version}_iphoneos-arm64.deb\n\
             Size: {size}\n\
             MD5sum: {md5}\n\
             SHA1: {sha1}\n\
             SHA256: {sha256}\n\
             Section: {section}\n\
             Description: {short}\n {long}\n\
             Author: {author} <{author}@repo.example>\n\
             Depiction: https://repo.example/depictions/{id}/\n\
             SileoDepiction: https://repo.example/sileo/{id}.json\n\
             Icon: https://repo.example/icons/{id}.png\n\
             Name: {title}\n\
             Tag: {tag}\n",
            author = format_args!("author{}", name % 997),
            installed = 64 + number % 4096,
            size = 4096 + number * 37 % 9_000_000,
            md5 = &hash(3)[..32],
            sha1 = &hash(5)[..40],
            sha256 = hash(7),
            section = SECTIONS[number % SECTIONS.len()],
            short = word(number, 60),
            long = word(number + 1, 200 + number % 300),
            title = word(number, 18),
        )?;
    }
    Ok(())
}

/// What [`write_big_index`] writes.
pub fn big_index(count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_big_index(count, &mut bytes).expect("memory takes what is written");
    bytes
}

/// Runs a command to its end and returns what it printed; panics with what it said if it failed.
fn finish(mut command: Command) -> Vec<u8> {
    let run = command
        .stderr(Stdio::piped())
        .output()
        .unwrap_or_else(|cause| panic!("run {command:?} (see tests/needs.sh): {cause}"));
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{command:?}: {}: {said}", run.status);
    run.stdout
}
