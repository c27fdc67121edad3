//! `canister-agent lint`: what a careful maintainer wants to know of a repository, on a server or in a
//! folder before it is published. What it knows is in [`stanzas`] and [`releases`]; here is where the
//! files come from and what they are compared with.
//!
//! 1. InRelease, Release and, where nothing is signed, Release.gpg.
//! 2. Every compression of the package index: against Release, against each other. The stanzas are
//!    checked of the first that can be read: in a folder the plain one, whose lines people see.
//! 3. In a folder, whether the debs are there. On a server, whether a file that hasn't changed is sent
//!    again.
//!
//! A server gets at most a dozen requests (redirects apart), with a pause between them.

pub mod findings;
pub mod releases;
pub mod stanzas;

use crate::apt::index::{self, Candidate};
use crate::apt::release::{Algorithm, FileDigest, ListedFile, Release};
use crate::compression::Compression;
use crate::encoding::Stored;
use crate::fetch::{
    Body, Bounds, FetchAnswer, FetchClient, FetchConfig, FetchError, Fetcher, Hash, Validators,
};
use crate::memory::{Mebibytes, Memory};
use crate::throttle::Throttle;
use crate::unpack::{PLAIN_BYTES_MAX, Packed, Unpack};
use crate::work::{INDEX_BYTES_MAX, RELEASE_BYTES_MAX};
use canister_link::clock;
use canister_protocol::{Source, Uri};
use findings::{FindingKind, Findings, counted};
use releases::ReleaseRead;
use stanzas::{DebListed, NotRead};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Pause between two requests.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of a server's after which no other compression of the index is asked for.
const FETCHED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What came of it.
#[derive(Debug)]
pub struct LintReport {
    pub findings: Findings,
    /// Stanzas that have what clients need.
    pub packages: u64,
    /// Requests that were made, redirects included.
    pub requests: u64,
}

/// Looks at `source`, whose uri is the address of a server.
pub fn server(source: &Source, config: &FetchConfig, memory: Mebibytes) -> LintReport {
    let throttle = Arc::new(Throttle::new(None));
    let fetcher = Fetcher::new(FetchClient::new(config), Arc::default(), Arc::default(), throttle);
    let port = Uri::parse(&source.uri).ok().map(|uri| uri.port());
    let bounds = Bounds { pause: PAUSE, ..Bounds::default() };
    run(source, Site::Server(Box::new(fetcher.within(bounds).with_port(port))), memory)
}

/// Looks at `source`, whose uri is the path of a folder.
pub fn folder(source: &Source, memory: Mebibytes) -> LintReport {
    run(source, Site::Folder, memory)
}

fn run(source: &Source, site: Site, memory: Mebibytes) -> LintReport {
    let memory = Arc::new(Memory::new(memory));
    let mut lint = Lint { source, site, memory, findings: Findings::default(), packages: 0 };
    if let Err(LintStopped { file, why }) = lint.steps() {
        lint.findings.begin(file);
        lint.findings.tell(FindingKind::FetchFailed, 0, why);
    }
    let requests = match &lint.site {
        Site::Folder => 0,
        Site::Server(fetcher) => fetcher.requests(),
    };
    LintReport { findings: lint.findings, packages: lint.packages, requests }
}

/// Where the files are.
enum Site {
    Folder,
    Server(Box<Fetcher>),
}

/// A file that was opened.
enum LintFile {
    /// With the limit that it was opened for.
    Disk(Box<Hashed<io::Take<File>>>, u64),
    Web(Box<Body>),
}

/// Sizes and digests of a file: as it came, and without what its server packed it in.
struct Came {
    came: (u64, FileDigest),
    undone: Option<(u64, FileDigest)>,
}

/// Nothing more can be learned.
struct LintStopped {
    file: String,
    why: String,
}

/// What passes is counted and hashed.
struct Hashed<R> {
    inner: R,
    bytes: u64,
    hash: Hash,
}

impl<R> Hashed<R> {
    fn new(inner: R, algorithm: Algorithm) -> Self {
        Self { inner, bytes: 0, hash: Hash::new(algorithm) }
    }

    fn finish(self) -> (R, (u64, FileDigest)) {
        (self.inner, (self.bytes, self.hash.finish()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.bytes += read as u64;
        self.hash.update(&into[..read]);
        Ok(read)
    }
}

impl LintFile {
    /// Reads it by `read`, and then to its end. Returns what `read` made of it, and sizes and digests of
    /// what it may be called.
    fn read_by<T>(
        self,
        algorithm: Algorithm,
        listed_bytes: Option<u64>,
        read: impl FnOnce(&mut dyn Read) -> Result<T, NotRead>,
    ) -> Result<(T, Came), NotRead> {
        let of_file = |cause: io::Error| NotRead::of(cause);
        match self {
            Self::Disk(mut file, limit) => {
                let value = read(&mut file)?;
                io::copy(&mut file, &mut io::sink()).map_err(of_file)?;
                let (_, came) = file.finish();
                if came.0 > limit {
                    return Err(NotRead::of(FetchError::TooLong { limit }));
                }
                Ok((value, Came { came, undone: None }))
            }
            Self::Web(mut body) => {
                let mut stored = Stored::new(&mut body, PLAIN_BYTES_MAX, algorithm, listed_bytes)
                    .map_err(of_file)?;
                let value = read(&mut stored)?;
                io::copy(&mut stored, &mut io::sink()).map_err(of_file)?;
                let undone = stored.finish().map_err(of_file)?;
                Ok((value, Came { came: body.finish(), undone }))
            }
        }
    }
}

/// What one compression of the package index unpacks to.
struct Unpacked {
    path: String,
    plain: (u64, FileDigest),
}

struct Lint<'a> {
    source: &'a Source,
    site: Site,
    memory: Arc<Memory>,
    findings: Findings,
    packages: u64,
}

impl Lint<'_> {
    fn steps(&mut self) -> Result<(), LintStopped> {
        if let Site::Server(_) = self.site
            && !self.source.uri.starts_with("https:")
        {
            self.findings.begin(self.source.uri.clone());
            let why = "plain http: who stands between can read and change everything; offer https";
            self.findings.tell(FindingKind::UriInsecure, 0, why);
        }
        let (signed, of_signed, found_signed) = self.release("InRelease")?;
        let (bare, of_bare, found_bare) = self.release("Release")?;
        // Of two that say the same, once.
        let is_other = signed.is_none() || !found_signed.is_alike(&found_bare);
        self.findings.add(found_signed);
        if is_other {
            self.findings.add(found_bare);
        }
        self.both(signed.as_ref(), bare.as_ref())?;
        let mut validators = if signed.is_some() { of_signed } else { of_bare };
        let head = if signed.is_some() { "InRelease" } else { "Release" };
        let mut asked_again = (signed.is_some() || bare.is_some()).then(|| head.to_owned());
        let read = signed.or(bare);
        if let Some(read) = &read {
            self.findings.begin(self.name(head));
            read.check_list(&self.source.index_path(), &mut self.findings);
        }
        let of_index = self.indexes(read.as_ref())?;
        if asked_again.is_none()
            && let Some((path, found)) = of_index
        {
            (asked_again, validators) = (Some(path), found);
        }
        if let Some(path) = asked_again {
            self.conditional(&path, &validators);
        }
        Ok(())
    }

    /// How a file is called in findings.
    fn name(&self, path: &str) -> String {
        let name = format!("{}{path}", self.source.release_dir());
        name.strip_prefix("./").unwrap_or(&name).to_owned()
    }

    /// Opens a file below the folder of Release; none if it isn't there.
    fn open(
        &self,
        path: &str,
        limit: u64,
        algorithm: Algorithm,
    ) -> Result<Option<LintFile>, LintStopped> {
        let stopped = |why: String| LintStopped { file: self.name(path), why };
        let whole = format!("{}{path}", self.source.release_dir());
        match &self.site {
            Site::Folder => match File::open(whole) {
                Ok(file) => {
                    let file = Hashed::new(file.take(limit.saturating_add(1)), algorithm);
                    Ok(Some(LintFile::Disk(Box::new(file), limit)))
                }
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(cause) => Err(stopped(cause.to_string())),
            },
            Site::Server(fetcher) => {
                match fetcher.get(&whole, &Validators::default(), limit, algorithm) {
                    Ok(FetchAnswer::Found(body)) => Ok(Some(LintFile::Web(Box::new(body)))),
                    Ok(FetchAnswer::Gone | FetchAnswer::Missing | FetchAnswer::NotModified) => {
                        Ok(None)
                    }
                    Err(cause) if cause.is_absence() => Ok(None),
                    Err(cause) => Err(stopped(cause.to_string())),
                }
            }
        }
    }

    /// Reads an InRelease or a Release, if there is one, and says what is wrong with it.
    fn release(
        &self,
        path: &str,
    ) -> Result<(Option<ReleaseRead>, Validators, Findings), LintStopped> {
        let (mut validators, mut findings) = (Validators::default(), Findings::default());
        let Some(file) = self.open(path, RELEASE_BYTES_MAX, Algorithm::Sha256)? else {
            return Ok((None, validators, findings));
        };
        if let LintFile::Web(body) = &file {
            validators = body.validators().clone();
        }
        findings.begin(self.name(path));
        let index_path = self.source.index_path();
        let mut of_lines = Findings::default();
        of_lines.begin(self.name(path));
        let read = file.read_by(Algorithm::Sha256, None, |input| {
            ReleaseRead::read(BufReader::new(input), &index_path, &mut of_lines)
                .map_err(NotRead::of)
        });
        let why = match read {
            Ok((read, _)) if read.release.has_fields => {
                let now = clock::wall_millis() / 1000;
                read.check(self.source.architecture.as_deref(), now, &mut of_lines);
                return Ok((Some(read), validators, of_lines));
            }
            Ok(_) => "no field of a Release in it: a page, or nothing".to_owned(),
            Err(NotRead { why, .. }) => why,
        };
        // What its lines are said to be means nothing then.
        findings.tell(FindingKind::ReleaseUnreadable, 0, why);
        Ok((None, validators, findings))
    }

    /// Compares InRelease and Release, and looks for a signature.
    fn both(
        &mut self,
        signed: Option<&ReleaseRead>,
        bare: Option<&ReleaseRead>,
    ) -> Result<(), LintStopped> {
        self.findings.begin(self.name("Release"));
        match (signed, bare) {
            (None, None) if self.findings.count(FindingKind::ReleaseUnreadable) == 0 => {
                let why = "neither InRelease nor Release: apt refuses; nobody can verify anything";
                self.findings.tell(FindingKind::ReleaseMissing, 0, why);
            }
            (None, None) => {}
            (Some(one), Some(other)) => {
                let (one, other) = (&one.release.indexes, &other.release.indexes);
                if one.iter().any(|index| !other.contains(index)) {
                    let why = "it lists another package index than InRelease: one of them is old";
                    self.findings.tell(FindingKind::ReleasesDiffer, 0, why);
                }
            }
            (Some(_), None) => {
                let why = "there is only InRelease, and clients of devices read Release alone";
                self.findings.tell(FindingKind::ReleaseAlone, 0, why);
            }
            (None, Some(_)) => {}
        }
        let is_signed = signed.is_some_and(|read| read.is_signed)
            || (bare.is_some()
                && self.open("Release.gpg", RELEASE_BYTES_MAX, Algorithm::Sha256)?.is_some());
        if !is_signed && (signed.is_some() || bare.is_some()) {
            let why = "not signed: apt refuses; make InRelease (gpg --clearsign) and Release.gpg";
            self.findings.tell(FindingKind::SignatureMissing, 0, why);
        }
        Ok(())
    }

    /// Reads every compression of the package index. Returns the first that was read, for asking again.
    fn indexes(
        &mut self,
        read: Option<&ReleaseRead>,
    ) -> Result<Option<(String, Validators)>, LintStopped> {
        let nothing = Release::default();
        let release = read.map_or(&nothing, |read| &read.release);
        let mut candidates = index::candidates(self.source, release, None);
        if let Site::Folder = self.site {
            // Some clients read what isn't listed, too.
            let is_new = |it: &Candidate| !candidates.iter().any(|had| had.path == it.path);
            let mut more = index::candidates(self.source, &nothing, None);
            more.retain(is_new);
            candidates.extend(more);
            candidates.sort_by_key(|candidate| candidate.compression != Compression::Plain);
        }
        let of_plain = |index: &&ListedFile| index.compression == Compression::Plain;
        let plain_listed = release.indexes.iter().find(of_plain);
        let plain_by = plain_listed.map_or(Algorithm::Sha256, |plain| plain.digest.algorithm);
        let before = self.findings.count(FindingKind::IndexUnreadable);
        let (mut first, mut asked_again): (Option<Unpacked>, _) = (None, None);
        for candidate in &candidates {
            let path = &candidate.path;
            self.findings.begin(self.name(path));
            if let (Some(_), Site::Server(fetcher)) = (&first, &self.site)
                && fetcher.bytes_fetched() + candidate.listed.as_ref().map_or(0, |listed| listed.0)
                    > FETCHED_BYTES_MAX
            {
                let why = "not read: that would be too much for a server";
                self.findings.tell(FindingKind::VariantNotRead, 0, why);
                continue;
            }
            let algorithm =
                candidate.listed.as_ref().map_or(Algorithm::Sha256, |it| it.1.algorithm);
            let Some(file) = self.open(path, INDEX_BYTES_MAX, algorithm)? else {
                // Release lists the plain index even where only packed ones are offered.
                if let Some((_, digest)) = &candidate.listed
                    && candidate.compression != Compression::Plain
                {
                    let line = read.map_or(0, |read| read.line_of_index(path, digest.algorithm));
                    let why = format!("it isn't there, and Release lists it on line {line}");
                    self.findings.tell(FindingKind::ListedMissing, 0, why);
                }
                continue;
            };
            if let LintFile::Web(body) = &file {
                asked_again.get_or_insert_with(|| (path.clone(), body.validators().clone()));
                if let Some(encoding) = body.encoding() {
                    let shown = findings::shown(encoding.as_bytes());
                    let why = format!("its server sends it with Content-Encoding {shown}");
                    self.findings.tell(FindingKind::ContentEncoded, 0, why);
                }
            }
            let is_first = first.is_none();
            let unpacked = self.variant(candidate, file, algorithm, plain_by, is_first, read);
            let Some(unpacked) = unpacked else {
                continue;
            };
            if let (Some(by_hash), true) = (&candidate.by_hash, is_first)
                && self.open(by_hash, INDEX_BYTES_MAX, algorithm)?.is_none()
            {
                let why = format!("Release says Acquire-By-Hash, and {by_hash} isn't there");
                self.findings.tell(FindingKind::ByHashMissing, 0, why);
            }
            let of_release = plain_listed.map(|plain| Unpacked {
                path: "what Release lists as the plain index".to_owned(),
                plain: (plain.size, plain.digest.clone()),
            });
            let other = first.as_ref().or(of_release.as_ref());
            if let Some(other) = other.filter(|other| other.plain != unpacked.plain)
                && (!is_first || candidate.compression != Compression::Plain)
            {
                let why = format!(
                    "it unpacks to {} and {}, {} has {} and {}: pack all from one file",
                    counted(unpacked.plain.0, "byte"),
                    unpacked.plain.1,
                    other.path,
                    counted(other.plain.0, "byte"),
                    other.plain.1
                );
                self.findings.tell(FindingKind::VariantsDiffer, 0, why);
            }
            first.get_or_insert(unpacked);
        }
        let is_told = self.findings.count(FindingKind::IndexUnreadable) > before
            || self.findings.count(FindingKind::CompressionMisnamed) > 0;
        if first.is_none() && !is_told {
            self.findings.begin(self.name(&self.source.index_path()));
            let why = "no package index, in no compression";
            self.findings.tell(FindingKind::IndexMissing, 0, why);
        }
        Ok(asked_again)
    }

    /// Reads one compression of the package index; none if it can't be read.
    fn variant(
        &mut self,
        candidate: &Candidate,
        file: LintFile,
        algorithm: Algorithm,
        plain_by: Algorithm,
        is_first: bool,
        release: Option<&ReleaseRead>,
    ) -> Option<Unpacked> {
        let (source, memory) = (self.source, Arc::clone(&self.memory));
        let is_folder = matches!(self.site, Site::Folder);
        let findings = &mut self.findings;
        let packages = &mut self.packages;
        let listed = candidate.listed.as_ref();
        let read = file.read_by(algorithm, listed.map(|listed| listed.0), |input| {
            let of_io = |cause: io::Error| NotRead::of(cause);
            let packed = Packed::look(input).map_err(of_io)?;
            // Held until the decoder is gone.
            let room = memory.take(packed.memory_bytes(), &AtomicBool::new(false));
            let room = room.map_err(NotRead::of)?;
            let unpack = packed.unpack(room.bytes()).map_err(of_io)?;
            let compression = unpack.compression();
            let is_misnamed = compression != candidate.compression;
            let mut plain = Hashed::new(unpack, plain_by);
            if is_first && !is_misnamed {
                let root = is_folder.then_some(source.uri.as_str());
                plain = stanzas_of(plain, source, root, packages, findings)?;
            } else {
                io::copy(&mut plain, &mut io::sink()).map_err(of_io)?;
            }
            let (unpack, plain) = plain.finish();
            let behind = unpack.drain().map_err(of_io)?;
            Ok((is_misnamed.then_some(compression), plain, behind))
        });
        let ((misnamed, plain, behind), came) = match read {
            Ok(read) => read,
            Err(NotRead { line, why }) => {
                self.findings.tell(FindingKind::IndexUnreadable, line, why);
                return None;
            }
        };
        if let Some(listed) = listed
            && *listed != came.came
            && Some(listed) != came.undone.as_ref()
        {
            let (bytes, digest) = came.came;
            let line = release.map_or(0, |read| read.line_of_index(&candidate.path, algorithm));
            let why = format!(
                "it has {bytes} bytes and {digest}, Release lists {} bytes and {} on line {line}: \
                 build Release again",
                listed.0, listed.1
            );
            self.findings.tell(FindingKind::ListedDiffers, 0, why);
        }
        if let Some(compression) = misnamed {
            let why = format!(
                "it is {compression} inside, not {}: clients can't unpack it (or its server sends a \
                 page for what isn't there)",
                candidate.compression
            );
            self.findings.tell(FindingKind::CompressionMisnamed, 0, why);
            return None;
        }
        if behind > 0 {
            let why = format!("{} behind its end: some clients refuse it", counted(behind, "byte"));
            self.findings.tell(FindingKind::BytesBehind, 0, why);
        }
        Some(Unpacked { path: candidate.path.clone(), plain })
    }

    /// Asks once more for a file that can't have changed much: its server should say so.
    fn conditional(&mut self, path: &str, validators: &Validators) {
        let Site::Server(fetcher) = &self.site else {
            return;
        };
        let url = format!("{}{path}", self.source.release_dir());
        let why = if *validators == Validators::default() {
            "its server sends neither ETag nor Last-Modified, so it is fetched anew each time"
        } else {
            match fetcher.get(&url, validators, RELEASE_BYTES_MAX, Algorithm::Sha256) {
                Ok(FetchAnswer::Found(body)) => {
                    body.spare();
                    "its server sends it again though it hasn't changed; let it answer \
                     If-None-Match and If-Modified-Since with 304"
                }
                _ => return,
            }
        };
        self.findings.begin(self.name(path));
        self.findings.tell(FindingKind::ConditionalIgnored, 0, why);
    }
}

/// Checks the stanzas of a package index; in a folder, `root`, their debs, too.
fn stanzas_of<R: Read>(
    plain: Hashed<Unpack<R>>,
    source: &Source,
    root: Option<&str>,
    packages: &mut u64,
    findings: &mut Findings,
) -> Result<Hashed<Unpack<R>>, NotRead> {
    let mut debs = 0_u64;
    let architecture = source.architecture.as_deref();
    let (plain, stanzas) = stanzas::check_index(plain, architecture, findings, |deb, findings| {
        if let Some(root) = root {
            debs += u64::from(deb_is_there(Path::new(root), deb, findings));
        }
    })?;
    *packages = stanzas;
    if debs == 0 {
        let count = findings.forget(FindingKind::DebMissing);
        if count > 0 {
            let why = format!("none of {} is in the folder: not compared", counted(count, "deb"));
            findings.tell(FindingKind::DebsElsewhere, 0, why);
        }
    }
    Ok(plain)
}

/// Compares a stanza with its deb; whether there is one.
fn deb_is_there(root: &Path, deb: &DebListed<'_>, findings: &mut Findings) -> bool {
    let DebListed { line, path, bytes } = deb;
    let Ok(found) = fs::metadata(root.join(path)) else {
        let why = format!("{} isn't in the folder", findings::shown(path.as_bytes()));
        findings.tell(FindingKind::DebMissing, *line, why);
        return false;
    };
    if let Some(bytes) = bytes.filter(|bytes| *bytes != found.len()) {
        let (path, is) = (findings::shown(path.as_bytes()), counted(found.len(), "byte"));
        let why = format!("{path} has {is}, its Size says {bytes}: build the index again");
        findings.tell(FindingKind::DebDiffers, *line, why);
    }
    true
}
