//! One lease from grant to finish, on its own thread: the list of steps.
//!
//! 0. Where the grant names a publisher, ask it for its head. The same as last time: `Unchanged`.
//!    Where it is wanted, ask the host what its owner says. What is forbidden isn't asked for.
//! 1. Ask for Release, unless it is what it was, and look who signed it. Nothing new:
//!    [`Outcome::Unchanged`].
//! 2. Choose the package index from Release. The same as last time: `Unchanged`, with a new head.
//! 3. Learn which packages the catalogue has.
//! 4. Stream the package index: hash, unpack, stanza, row, digest; put what isn't known.
//! 5. Compare size and digest with Release, and the size of what was unpacked. Different, or broken:
//!    discard, and read the next best. So too where there was nothing in it and another may have more.
//!    None is what Release says: the same by the other of InRelease and Release.
//! 6. Ask the shop for prices of paid packages that nobody knows.
//! 7. Name the digests that weren't seen, wait until all is safe: [`Outcome::Indexed`].

use crate::apt::index::{Candidate, candidates};
use crate::apt::package::{self, PAID, STANZAS_MAX};
use crate::apt::release::{Algorithm, FileDigest, Release};
use crate::compression::Compression;
use crate::encoding::Stored;
use crate::fetch::{
    Body, Bounds, FetchAnswer, FetchClient, FetchConfig, FetchError, Fetcher, Progress, Validators,
};
use crate::home::Home;
use crate::known::KnownDigests;
use crate::lint::stanzas::IndexNotes;
use crate::memory::{Mebibytes, Memory, MemoryError};
use crate::price::{self, can_be_asked};
use crate::sink::{Sink, SinkError};
use crate::slots::Slots;
use crate::throttle::{Share, Throttle};
use crate::unpack::{PLAIN_BYTES_MAX, Packed};
use canister_link::clock;
use canister_openpgp::{self as signature, Keys, SIGNATURE_BYTES_MAX, SignedText};
use canister_protocol::limits::{
    KEYS_BYTES_MAX, RETRY_AFTER_SECS_MAX, SIGNED_HEAD_BYTES_MAX, TEXT_BYTES_MAX,
};
use canister_protocol::message::{
    Cost, Counts, Facts, FailureKind, KEY, Origin, Outcome, OwnerFound, PAYMENT_ENDPOINT, Probed,
    RELEASE_GPG, ReleaseSignature, SignatureState,
};
use canister_protocol::owner::{FILE, OWNER_BYTES_MAX, OwnerSays, ROBOTS, ROBOTS_BYTES_MAX, place};
use canister_protocol::plain::one_line;
use canister_protocol::publisher::{NamedPublisher, PublishedHead};
use canister_protocol::{Head, Source, Uri};
use canister_stanza::{Oddities, StanzaError, StanzaReader};
use log::info;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest Release in bytes. A distribution's largest have under 2 MB.
pub const RELEASE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest package index in bytes as it comes, where Release doesn't say.
pub const INDEX_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Where the usual suite of what isn't flat has its Release.
const USUAL_RELEASE: &str = "dists/stable/Release";
/// Most packages of a source whose prices are asked for.
const PAID_MAX: usize = 10_000;

/// What all leases work with.
#[derive(Debug, Clone)]
pub struct Context {
    client: FetchClient,
    throttle: Arc<Throttle>,
    memory: Arc<Memory>,
}

/// What one lease works with.
#[derive(Debug)]
pub struct LeaseWork {
    fetcher: Fetcher,
    memory: Arc<Memory>,
    /// Where the source isn't to be looked at as a whole: the number of the path that is asked.
    retry: Option<u32>,
    /// Whether the host is asked what its owner says; none where nobody heeds it.
    owner: Option<bool>,
    publisher: Option<NamedPublisher>,
}

impl LeaseWork {
    /// What its requests are made by.
    pub const fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// The same for one path, as [`Grant`](canister_protocol::ToPeer::Grant) says.
    #[must_use]
    pub fn with_retry(self, retry: Option<u32>) -> Self {
        Self { retry, ..self }
    }

    /// The same for a source of this operator.
    #[must_use]
    pub fn with_operator(self, operator: Option<String>) -> Self {
        Self { fetcher: self.fetcher.with_operator(operator), ..self }
    }

    /// The same, whose requests say by what lease they are made.
    #[must_use]
    pub fn with_request(self, request: Option<String>) -> Self {
        Self { fetcher: self.fetcher.with_request(request), ..self }
    }

    /// The same, which works only while it has one of these slots.
    #[must_use]
    pub fn with_slot(self, slots: Arc<Slots>) -> Self {
        Self { fetcher: self.fetcher.with_slot(slots), ..self }
    }

    /// The same, which heeds what the source's owner says, as
    /// [`Grant`](canister_protocol::ToPeer::Grant) says.
    #[must_use]
    pub fn with_owner(self, owner: Option<bool>) -> Self {
        Self { owner, ..self }
    }

    /// The same, which asks a publisher first.
    #[must_use]
    pub fn with_publisher(self, publisher: Option<NamedPublisher>) -> Self {
        Self { publisher, ..self }
    }
}

impl Context {
    /// Sets up what leases share; the process is kept to `memory`, and to `cpu`, if there is one.
    pub fn new(config: &FetchConfig, cpu: Option<Share>, memory: Mebibytes) -> Self {
        Self {
            client: FetchClient::new(config),
            throttle: Arc::new(Throttle::new(cpu)),
            memory: Arc::new(Memory::new(memory)),
        }
    }

    /// The home that nothing is fetched from.
    pub const fn home(&self) -> &Arc<Home> {
        self.client.home()
    }

    /// What one lease of `source` works with, within `bounds`; it ends soon after `cancel` is set.
    pub fn lease(
        &self,
        source: &Source,
        bounds: Bounds,
        cancel: Arc<AtomicBool>,
        progress: Arc<Progress>,
    ) -> LeaseWork {
        let throttle = Arc::clone(&self.throttle);
        let port = Uri::parse(&source.uri).ok().map(|uri| uri.port());
        let fetcher = Fetcher::new(self.client.clone(), cancel, progress, throttle);
        LeaseWork {
            fetcher: fetcher.with_headers(source.device_headers()).within(bounds).with_port(port),
            memory: Arc::clone(&self.memory),
            retry: None,
            owner: None,
            publisher: None,
        }
    }
}

/// Indexes `source` into `sink`; the arbiter handed out what is `remembered` of it. Whatever goes wrong
/// is an [`Outcome::Failed`]. Where the lease heeds it, what the source's owner says comes with it.
pub fn run(
    source: &Source,
    remembered: (Option<&Origin>, &Probed),
    lease: &LeaseWork,
    sink: &mut dyn Sink,
) -> (Outcome, Option<OwnerFound>, Cost) {
    let began = clock::now();
    let (fetcher, (origin, probed)) = (&lease.fetcher, remembered);
    let mut work = Work {
        source,
        origin,
        probed,
        absent: RefCell::default(),
        owner: lease.owner,
        publisher: lease.publisher.as_ref(),
        owner_found: RefCell::default(),
        fetcher,
        memory: &lease.memory,
        sink,
        retry: lease.retry.map(|number| number as usize),
        bytes_plain: 0,
        paid: BTreeSet::new(),
    };
    let mut outcome = work.steps().unwrap_or_else(|cause| cause.outcome(source));
    if let Outcome::Indexed { facts, .. } | Outcome::Unchanged { facts: Some(facts), .. } =
        &mut outcome
    {
        facts.absent = work.absent.take();
    }
    let cost = Cost {
        first_byte_millis: lease.fetcher.first_byte_millis(),
        requests: lease.fetcher.requests(),
        bytes_fetched: lease.fetcher.bytes_fetched(),
        bytes_plain: work.bytes_plain,
        millis: u64::try_from((clock::now() - began).as_millis()).unwrap_or(u64::MAX),
    };
    let owner = lease.owner.map(|_| work.owner_found.take());
    (outcome, owner, cost)
}

/// Why a lease's work failed.
#[derive(Debug)]
enum WorkError {
    /// The lease is over.
    Cancelled,
    /// A file couldn't be fetched.
    Fetch(String, FetchError),
    /// A file has nothing in it, and a name that says that it is packed.
    Empty(String),
    /// A file isn't what Release says.
    Mismatch(Box<Mismatch>),
    /// There is no package index.
    Missing(String),
    /// A file couldn't be read to its end.
    Read { path: String, kind: FailureKind, why: String },
    /// A file doesn't unpack to what Release says.
    Unpacked { path: String, plain_bytes: u64, listed_bytes: u64 },
    /// Rows can't be put.
    Sink(SinkError),
    /// The source's owner forbids it; by what.
    Unwelcome(&'static str),
}

/// A file that isn't what Release says.
#[derive(Debug)]
struct Mismatch {
    path: String,
    is: (u64, FileDigest),
    listed: (u64, FileDigest),
    /// What its server says it did to it.
    encoding: Option<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, is, listed, encoding } = self;
        write!(
            f,
            "{path} and Release don't match (in the middle of an update?): it has {} bytes and {}, \
             Release lists {} and {}",
            is.0, is.1, listed.0, listed.1
        )?;
        encoding.as_ref().map_or(Ok(()), |encoding| {
            write!(f, "; its server sends it with Content-Encoding {encoding}")
        })
    }
}

impl From<SinkError> for WorkError {
    fn from(cause: SinkError) -> Self {
        Self::Sink(cause)
    }
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the lease is over"),
            Self::Fetch(path, cause) => write!(f, "fetch {path}: {cause}"),
            Self::Empty(path) => write!(f, "read {path}: an empty file, which is no packed one"),
            Self::Mismatch(mismatch) => mismatch.fmt(f),
            Self::Missing(path) => write!(f, "fetch {path}: not there"),
            Self::Read { path, why, .. } => write!(f, "read {path}: {why}"),
            Self::Sink(cause) => write!(f, "{cause}"),
            Self::Unwelcome(why) => f.write_str(why),
            Self::Unpacked { path, plain_bytes, listed_bytes } => write!(
                f,
                "{path} and Release don't match (packed before an update?): it unpacks to \
                 {plain_bytes} bytes, Release lists {listed_bytes} for the plain index"
            ),
        }
    }
}

impl WorkError {
    /// Whether another package index of the same source may do better: not if the trouble is the
    /// server's as a whole, or ours.
    const fn is_of_one_file(&self) -> bool {
        match self {
            Self::Cancelled | Self::Sink(_) | Self::Unwelcome(_) => false,
            Self::Fetch(_, FetchError::Status { status, .. }) => !matches!(status, 429 | 503),
            Self::Fetch(_, cause) => {
                use FetchError::{Redirect, TooLong, TooMuch};
                matches!(cause, Redirect(_) | TooLong { .. } | TooMuch { .. })
            }
            Self::Empty(_)
            | Self::Mismatch(_)
            | Self::Missing(_)
            | Self::Read { .. }
            | Self::Unpacked { .. } => true,
        }
    }

    /// Whether there may be packages in a file that couldn't be read because of this.
    fn may_hide_packages(&self, candidate: &Candidate, has_release: bool) -> bool {
        match self {
            Self::Missing(_) if candidate.listed.is_none() => false,
            // Some servers answer everything with nothing.
            Self::Empty(_) if candidate.listed.is_none() => !has_release,
            _ => candidate.may_have_packages(),
        }
    }

    const fn kind(&self) -> FailureKind {
        match self {
            Self::Cancelled | Self::Sink(_) => FailureKind::Peer,
            Self::Empty(_) => FailureKind::Content,
            Self::Fetch(_, cause) => cause.kind(),
            Self::Mismatch(_) | Self::Unpacked { .. } => FailureKind::Mismatch,
            Self::Missing(_) => FailureKind::NoIndex,
            Self::Read { kind, .. } => *kind,
            Self::Unwelcome(_) => FailureKind::Owner,
        }
    }

    fn outcome(&self, source: &Source) -> Outcome {
        let kind = self.kind();
        let reason = format!("{}: {self}", source.slug);
        let (status, retry_after) = match self {
            Self::Fetch(_, FetchError::Status { status, retry_after }) => {
                (Some(*status), *retry_after)
            }
            _ => (None, None),
        };
        let secs = |time: Duration| {
            let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            u32::try_from(whole).map_or(RETRY_AFTER_SECS_MAX, |secs| secs.min(RETRY_AFTER_SECS_MAX))
        };
        Outcome::Failed {
            kind,
            retry_after_secs: retry_after.map(secs),
            // What is outside is no status of HTTP.
            status: status.filter(|status| (100..=599).contains(status)).map(u32::from),
            reason: one_line(&reason, TEXT_BYTES_MAX),
        }
    }
}

struct Work<'a> {
    source: &'a Source,
    origin: Option<&'a Origin>,
    probed: &'a Probed,
    /// What was asked for and isn't there, of [`PROBES`].
    absent: RefCell<Vec<String>>,
    /// As [`LeaseWork`] has it, and what was found.
    owner: Option<bool>,
    publisher: Option<&'a NamedPublisher>,
    owner_found: RefCell<OwnerFound>,
    fetcher: &'a Fetcher,
    memory: &'a Arc<Memory>,
    sink: &'a mut dyn Sink,
    /// The only path that is asked first, by its number: see [`Work::one_path`].
    retry: Option<usize>,
    bytes_plain: u64,
    /// Ids of packages that are paid for, at most [`PAID_MAX`].
    paid: BTreeSet<String>,
}

/// What asking for Release came to.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
enum SourceAsked {
    /// Here it is, with the origin that it begins.
    Changed(Release, Origin),
    None,
    /// It is what it was.
    Same(Origin),
}

/// What a package index came to.
enum IndexCame {
    /// There is nothing in it: no stanza, and no page either.
    Nothing(Counts),
    /// Rows were put, or are known.
    Rows(Counts),
    /// It is what it was.
    Same,
}

/// What was read of a package index.
struct Streamed {
    counts: Counts,
    compression: Compression,
    plain_bytes: u64,
    oddities: Oddities,
    /// Size and digest of what came out of it, where its server had packed it once more.
    undone: Option<(u64, FileDigest)>,
}

impl Streamed {
    /// Size and digest of the file, of what came and what came out of it.
    fn file(&self, candidate: &Candidate, came: (u64, FileDigest)) -> (u64, FileDigest) {
        let Some(undone) = &self.undone else {
            return came;
        };
        let is_undone = match &candidate.listed {
            Some(listed) => listed == undone,
            // A gzip file that is called one in two ways.
            None => {
                candidate.compression != Compression::Gz || self.compression != Compression::Plain
            }
        };
        if is_undone { undone.clone() } else { came }
    }
}

impl Work<'_> {
    fn steps(&mut self) -> Result<Outcome, WorkError> {
        if let Some(publisher) = self.publisher
            && let Some(same) = self.ask_publisher(publisher)?
        {
            return Ok(same);
        }
        if self.owner == Some(true) {
            self.ask_host()?;
        }
        if self.fetcher.looks() {
            // Where nothing is said of suites, the usual one is looked for, too. Whoever has InRelease has
            // Release, nearly always.
            let paths = match &*self.source.suite {
                "./" => ["Release", USUAL_RELEASE],
                _ => ["InRelease", "Release"],
            };
            return match self.ask(&paths)? {
                SourceAsked::Changed(release, mut origin) => {
                    if origin.release_path == USUAL_RELEASE {
                        let both = release.component.as_ref().zip(release.architecture.as_ref());
                        let missing = || WorkError::Missing(USUAL_RELEASE.to_owned());
                        let (component, binary) = both.ok_or_else(missing)?;
                        let folder = USUAL_RELEASE.trim_end_matches("Release");
                        origin.index_path = format!("{folder}{component}/binary-{binary}/Packages");
                        "Release".clone_into(&mut origin.release_path);
                    }
                    let counts = Counts::default();
                    Ok(Outcome::Indexed { origin, facts: release.facts, counts })
                }
                SourceAsked::Same(origin) => Ok(Outcome::Unchanged { origin, facts: None }),
                SourceAsked::None => Err(WorkError::Missing("Release".to_owned())),
            };
        }
        let [first, second] = match self.origin {
            Some(origin) if origin.release_path == "Release" => ["Release", "InRelease"],
            _ => ["InRelease", "Release"],
        };
        if let Some(number) = self.retry {
            return self.one_path(number, [first, second]);
        }
        // A bare source is asked for its package index straight away.
        let asked = if self.is_bare() { SourceAsked::None } else { self.ask(&[first, second])? };
        let (release, origin) = match asked {
            SourceAsked::Same(origin) => {
                return Ok(Outcome::Unchanged { origin, facts: None });
            }
            // A Release that doesn't list the package index says nothing of its state.
            SourceAsked::Changed(release, _) if release.indexes.is_empty() => {
                (release, Origin::default())
            }
            SourceAsked::Changed(release, origin) => (release, origin),
            SourceAsked::None => (Release::unsigned(), Origin::default()),
        };
        // The second wasn't asked for.
        let may_be_stale = origin.release_path == first;
        let indexes = release.indexes.clone();
        let mut known = None;
        match self.by(release, origin, &mut known) {
            Err(cause) if may_be_stale && cause.is_of_one_file() => {
                let other = self.ask(&[second]);
                match other {
                    // Some builds forget one of the two.
                    Ok(SourceAsked::Changed(mut release, origin))
                        if !release.indexes.is_empty() && release.indexes != indexes =>
                    {
                        release.facts.has_in_release = true;
                        let ended = self.by(release, origin, &mut known);
                        ended.map_err(|other| if other.is_of_one_file() { cause } else { other })
                    }
                    Err(other) if !other.is_of_one_file() => Err(other),
                    _ => Err(cause),
                }
            }
            ended => ended,
        }
    }

    /// Asks a publisher for its head; all there is to do where that and the source are as they were.
    fn ask_publisher(&self, publisher: &NamedPublisher) -> Result<Option<Outcome>, WorkError> {
        let head = match self.small(&format!("{}/head", publisher.uri), SIGNED_HEAD_BYTES_MAX) {
            Ok(head) => head,
            // It is of the source's operator, who wants nobody now.
            Err(
                cause @ (WorkError::Cancelled
                | WorkError::Fetch(_, FetchError::Status { status: 429 | 503, .. })),
            ) => return Err(cause),
            // Whatever else ails it is no reason not to ask the source.
            Err(_) => None,
        };
        let head = head.and_then(|head| String::from_utf8(head).ok()).unwrap_or_default();
        // What isn't one line of text is no head in DAG-JSON, and no message could carry it.
        let head = head.trim().to_owned();
        let head = if head.contains(char::is_control) { String::new() } else { head };
        let mut published = PublishedHead { is_all: false, head };
        let is_same = published.cid().is_some_and(|cid| cid == publisher.head);
        let same = self.origin.filter(|_| is_same);
        published.is_all = same.is_some();
        self.owner_found.borrow_mut().published = Some(published);
        Ok(same.map(|origin| Outcome::Unchanged { origin: origin.clone(), facts: None }))
    }

    /// Asks the host what its owner says. A server that has trouble with that says nothing by it.
    fn ask_host(&self) -> Result<(), WorkError> {
        let Some((host, path)) = place(self.source) else { return Ok(()) };
        let text = |file: &str, limit: usize| match self.small(&format!("{host}{file}"), limit) {
            Ok(bytes) => Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
            Err(WorkError::Fetch(_, FetchError::Status { .. })) => Ok(None),
            Err(cause) => Err(cause),
        };
        let robots = text(ROBOTS, ROBOTS_BYTES_MAX)?;
        let mut says = OwnerSays::read(&text(FILE, OWNER_BYTES_MAX)?.unwrap_or_default());
        says.paths.clear();
        says.robots(&robots.unwrap_or_default());
        self.owner_found.borrow_mut().host = Some(told(&says));
        says.forbids(&path).map_or(Ok(()), |why| Err(WorkError::Unwelcome(why)))
    }

    /// Asks for one of the paths that a whole look would ask for, and goes on only if something is there:
    /// a source that fails is asked often, and mostly in vain.
    fn one_path(&mut self, number: usize, releases: [&str; 2]) -> Result<Outcome, WorkError> {
        // A bare source is asked for its package index first. No other is asked for one alone: what Release
        // may say of it counts.
        let (probed, first) = match self.is_bare() {
            true => {
                (candidates(self.source, &Release::default(), self.origin).len(), releases.len())
            }
            false => (0, 0),
        };
        let at = (number % (releases.len() + probed) + first) % (releases.len() + probed);
        let mut known = None;
        let Some(path) = releases.get(at) else {
            self.retry = Some(at - releases.len());
            return self.by(Release::default(), Origin::default(), &mut known);
        };
        match self.ask(&[path])? {
            SourceAsked::Same(origin) => Ok(Outcome::Unchanged { origin, facts: None }),
            SourceAsked::None => Err(WorkError::Missing((*path).to_owned())),
            SourceAsked::Changed(release, origin) => {
                let lists = !release.indexes.is_empty();
                self.retry = Some(if lists { 0 } else { number });
                self.by(release, if lists { origin } else { Origin::default() }, &mut known)
            }
        }
    }

    /// Reads the package index that `release` lists, or where it lists none, one that is there.
    fn by(
        &mut self,
        release: Release,
        mut origin: Origin,
        known: &mut Option<KnownDigests>,
    ) -> Result<Outcome, WorkError> {
        let mut candidates = candidates(self.source, &release, self.origin);
        if let Some(was) = self.origin {
            let may_have_packages = candidates.iter().any(Candidate::may_have_packages);
            let is_same = |candidate: &Candidate| {
                let listed = candidate.listed.as_ref();
                listed.is_some_and(|(_, digest)| digest.to_string() == was.index_digest)
                    && candidate.may_have_packages() == may_have_packages
            };
            if candidates.iter().any(is_same) {
                origin.index_path.clone_from(&was.index_path);
                origin.index_digest.clone_from(&was.index_digest);
                return Ok(Outcome::Unchanged { origin, facts: Some(release.facts) });
            }
        }
        if let Some(number) = self.retry {
            let only = number % candidates.len().max(1);
            candidates = candidates.into_iter().skip(only).take(1).collect();
        }
        // The first that says more than that a file isn't there.
        let mut first_error = None;
        let mut found = None;
        // An index without anything in it counts if no other has, or may have, packages.
        let (mut nothing, mut may_be_more) = (None, false);
        for candidate in &candidates {
            if nothing.is_some() && !candidate.may_have_packages() {
                continue;
            }
            let mut came = self.index(candidate, &mut origin, known);
            if let Err(WorkError::Read { kind: FailureKind::Cut, .. }) = &came
                && self.fetcher.repeat()
            {
                if known.is_some() {
                    self.sink.discard()?;
                }
                came = self.index(candidate, &mut origin, known);
            }
            match came {
                Ok(IndexCame::Rows(counts)) => {
                    found = Some((counts, origin));
                    break;
                }
                Ok(IndexCame::Nothing(counts)) => {
                    nothing.get_or_insert_with(|| (counts, origin.clone()));
                }
                Ok(IndexCame::Same) => {
                    return Ok(Outcome::Unchanged { origin, facts: None });
                }
                Err(cause) if cause.is_of_one_file() => {
                    may_be_more |= cause.may_hide_packages(candidate, release.has_fields);
                    if matches!(first_error, None | Some(WorkError::Missing(_))) {
                        first_error = Some(cause);
                    }
                    if known.is_some() {
                        self.sink.discard()?;
                    }
                }
                // What made the rows that the sink holds against this index says more.
                Err(WorkError::Sink(SinkError::Differs)) => {
                    may_be_more = true;
                    break;
                }
                Err(cause) => return Err(cause),
            }
        }
        if found.is_none() && !may_be_more {
            found = nothing;
            self.paid.clear();
            // What others had before they turned out to be broken counts for nothing.
            known.iter_mut().for_each(KnownDigests::forget);
        }
        if let Some((counts, origin)) = found {
            match self.indexed(release.facts, origin, known, counts) {
                Err(WorkError::Sink(SinkError::Differs)) => {}
                ended => return ended,
            }
        }
        Err(first_error.unwrap_or_else(|| WorkError::Missing(self.source.index_path())))
    }

    /// Ends well, with an index that was read.
    fn indexed(
        &mut self,
        mut facts: Facts,
        mut origin: Origin,
        known: &Option<KnownDigests>,
        counts: Counts,
    ) -> Result<Outcome, WorkError> {
        if self.is_bare() && self.sink.wants_facts() {
            facts = self.look_again(&mut origin);
        }
        self.price(&mut facts)?;
        let counts = self.end(known, counts)?;
        Ok(Outcome::Indexed { origin, facts, counts })
    }

    /// Whether the source is asked for its package index straight away: the last time it had no
    /// Release, or one that doesn't list it.
    fn is_bare(&self) -> bool {
        self.origin.is_some_and(|origin| origin.release_path.is_empty())
    }

    /// What Release says of a bare source, now that its package index has changed. If it lists what
    /// was read, the source is bare no more. Whatever goes wrong is no reason to drop the index.
    fn look_again(&self, origin: &mut Origin) -> Facts {
        let (release, found) = match self.ask(&["InRelease", "Release"]) {
            Ok(SourceAsked::Changed(release, found)) => (release, found),
            Ok(SourceAsked::None) => return Release::unsigned().facts,
            Ok(SourceAsked::Same(_)) | Err(_) => return Facts::default(),
        };
        let mut listed = release.indexes.iter();
        if listed.any(|index| index.digest.to_string() == origin.index_digest) {
            let (index_path, index_digest) =
                (std::mem::take(&mut origin.index_path), std::mem::take(&mut origin.index_digest));
            *origin = Origin { index_path, index_digest, ..found };
        }
        release.facts
    }

    /// Asks for these in turn, until one is there.
    fn ask(&self, paths: &[&str]) -> Result<SourceAsked, WorkError> {
        let mut left = paths;
        while let Some((&path, rest)) = left.split_first() {
            let again = std::mem::replace(&mut left, rest);
            let is_remembered = self.origin.is_some_and(|origin| origin.release_path == path);
            let validators = if is_remembered { self.validators() } else { Validators::default() };
            let mut body = match self.get(path, &validators, RELEASE_BYTES_MAX, Algorithm::Sha256) {
                Ok(FetchAnswer::Found(body)) => body,
                // Of what was there it is its owner's word; some servers say so of whatever isn't.
                Ok(FetchAnswer::Gone) if is_remembered => return Err(gone(path)),
                Ok(FetchAnswer::Gone | FetchAnswer::Missing) => continue,
                Ok(FetchAnswer::NotModified) => match self.origin.filter(|_| is_remembered) {
                    Some(same) => {
                        self.owner_found.borrow_mut().max_age_secs = self.fetcher.max_age();
                        return Ok(SourceAsked::Same(same.clone()));
                    }
                    None => continue,
                },
                // Of what was there 403 is a ban.
                Err(WorkError::Fetch(_, cause))
                    if cause.is_absence()
                        && !(is_remembered
                            && matches!(cause, FetchError::Status { status: 403, .. })) =>
                {
                    continue;
                }
                Err(cause) => return Err(cause),
            };
            self.owner_found.borrow_mut().max_age_secs = self.fetcher.max_age();
            let mut signed = SignedText::default();
            let mut read = |body: &mut Body| {
                let mut stored = Stored::new(body, RELEASE_BYTES_MAX, Algorithm::Sha256, None)?;
                let input = io::BufReader::with_capacity(16 * 1024, &mut stored);
                let release = Release::read(input, &self.source.index_path(), &mut signed)?;
                Ok((release, stored.finish()?))
            };
            let (release, undone) = match read(&mut body) {
                Ok(read) => read,
                Err(_) if body.broke() == Some(FailureKind::Cut) && self.fetcher.repeat() => {
                    left = again;
                    continue;
                }
                Err(cause) => return Err(self.failed_reading(path, &cause, body.broke())),
            };
            let validators = body.validators().clone();
            let (_, digest) = undone.unwrap_or_else(|| body.finish());
            let head = head_of(&digest);
            if self.owner.is_some() && release.has_fields {
                self.owner_found.borrow_mut().release = Some(told(&release.owner));
                if let Some(why) = release.owner.forbids("/") {
                    return Err(WorkError::Unwelcome(why));
                }
            }
            if let Some(origin) = self.origin.filter(|origin| origin.head == head) {
                return Ok(SourceAsked::Same(with(origin.clone(), validators)));
            }
            if !release.has_fields {
                // Some servers answer everything with a page.
                continue;
            }
            let now = clock::wall_millis() / 1000;
            if release.valid_until.is_some_and(|until| until < now) {
                // Worth knowing, but no reason to drop what is there.
                info!(source = self.source.slug.as_str(); "{path} is past its Valid-Until");
            }
            let mut release = release;
            release.facts.has_in_release = path == "InRelease";
            let wants_facts = self.sink.wants_facts();
            if path == "Release" && wants_facts && !self.fetcher.looks() {
                release.facts.has_release_gpg = self.release_gpg(&mut signed)?;
            }
            if wants_facts {
                let mut signature = self.verify(&signed, now)?;
                signature.next = release.next_signers();
                release.facts.signature = Some(signature);
            }
            let origin = Origin { head, release_path: path.to_owned(), ..Origin::default() };
            return Ok(SourceAsked::Changed(release, with(origin, validators)));
        }
        Ok(SourceAsked::None)
    }

    /// Asks for the detached signature of a Release, unless it is known not to be there; whether there
    /// is one.
    fn release_gpg(&self, signed: &mut SignedText) -> Result<bool, WorkError> {
        if self.is_absent(RELEASE_GPG) {
            return Ok(false);
        }
        let url = format!("{}{RELEASE_GPG}", self.source.release_dir());
        if let Some(bytes) = self.small(&url, SIGNATURE_BYTES_MAX)?
            && signature::is_signature(&bytes)
        {
            signed.signature(&bytes);
            return Ok(true);
        }
        self.absent.borrow_mut().push(RELEASE_GPG.to_owned());
        Ok(false)
    }

    /// What a Release's signature is worth, by the key that is remembered, or the one that its server
    /// has where keys are usual. For that it is asked where the key isn't known, or has ended: its
    /// owner may have made it last longer.
    fn verify(&self, signed: &SignedText, now: u64) -> Result<ReleaseSignature, WorkError> {
        let Probed { signer, keys, .. } = self.probed;
        let found = signed.verify(&Keys::of_text(keys), signer, now);
        let is_wanting =
            matches!(found.state, SignatureState::Expired | SignatureState::Unverifiable);
        if !is_wanting || self.is_absent(KEY) {
            return Ok(found);
        }
        let uri = self.source.uri.trim_end_matches('/');
        let places = [format!("{}Release.key", self.source.release_dir())];
        for url in
            places.into_iter().chain(["KEY.gpg", "gpg.key"].map(|name| format!("{uri}/{name}")))
        {
            let Some(file) = self.small(&url, KEYS_BYTES_MAX)? else {
                continue;
            };
            let keys = Keys::read(&file);
            let by_these = signed.verify(&keys, signer, now);
            if by_these.state < found.state {
                return Ok(ReleaseSignature { keys: keys.text_of(&by_these.key), ..by_these });
            }
        }
        self.absent.borrow_mut().push(KEY.to_owned());
        Ok(found)
    }

    fn is_absent(&self, probe: &str) -> bool {
        self.probed.absent.iter().any(|absent| absent == probe)
    }

    /// A file of at most `limit` bytes, if it is there.
    fn small(&self, url: &str, limit: usize) -> Result<Option<Vec<u8>>, WorkError> {
        let none = Validators::default();
        match self.get_at(url, &none, limit as u64, Algorithm::Sha256) {
            Ok(FetchAnswer::Found(mut body)) => {
                let mut bytes = Vec::new();
                let read = Stored::new(&mut body, limit as u64, Algorithm::Sha256, None)
                    .and_then(|mut stored| stored.read_to_end(&mut bytes));
                read.map_err(|cause| self.failed_reading(url, &cause, body.broke()))?;
                Ok(Some(bytes))
            }
            Ok(FetchAnswer::Gone | FetchAnswer::Missing | FetchAnswer::NotModified) => Ok(None),
            Err(WorkError::Fetch(_, FetchError::TooLong { .. })) => Ok(None),
            Err(WorkError::Fetch(_, cause)) if cause.is_absence() => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Streams one package index into the sink.
    fn index(
        &mut self,
        candidate: &Candidate,
        origin: &mut Origin,
        known: &mut Option<KnownDigests>,
    ) -> Result<IndexCame, WorkError> {
        let Some(mut body) = self.open(candidate)? else {
            if let Some(was) = self.origin {
                origin.clone_from(was);
            }
            return Ok(IndexCame::Same);
        };
        if known.is_none() {
            let digests = self.sink.known()?.unwrap_or_default();
            *known = Some(KnownDigests::new(digests));
        }
        let known = known.get_or_insert_default();
        known.forget();
        let streamed = self.stream(candidate, &mut body, known).map_err(|cause| match cause {
            WorkError::Read { path, kind, why } => {
                WorkError::Read { path, kind: body.broke().unwrap_or(kind), why }
            }
            other => other,
        })?;
        let validators = body.validators().clone();
        let encoding = body.encoding().map(str::to_owned);
        if candidate.listed.is_none()
            && streamed.compression == Compression::Plain
            && body.may_be_cut()
        {
            let why = "it ends in the middle of a line, and its server doesn't say how long it is";
            let (path, kind) = (candidate.path.clone(), FailureKind::Cut);
            return Err(WorkError::Read { path, kind, why: why.to_owned() });
        }
        let came = body.finish();
        let is = streamed.file(candidate, came);
        let has_nothing = verified(candidate, &is, &streamed, encoding)?;
        if origin.release_path.is_empty() {
            let head = head_of(&is.1);
            let is_same = self.origin.is_some_and(|was| was.head == head);
            *origin = with(Origin { head, ..Origin::default() }, validators);
            if is_same {
                self.sink.discard()?;
                origin.index_path.clone_from(&candidate.path);
                origin.index_digest = is.1.to_string();
                return Ok(IndexCame::Same);
            }
        }
        origin.index_path.clone_from(&candidate.path);
        origin.index_digest = is.1.to_string();
        let came = if has_nothing { IndexCame::Nothing } else { IndexCame::Rows };
        Ok(came(streamed.counts))
    }

    /// Asks for a package index, first where its digest says; `None` if it is what it was.
    fn open(&self, candidate: &Candidate) -> Result<Option<Body>, WorkError> {
        if let Some((size, _)) = &candidate.listed {
            let spent = self.fetcher.has_room(*size);
            spent.map_err(|cause| WorkError::Fetch(candidate.path.clone(), cause))?;
        }
        let (limit, algorithm) = limits(candidate);
        let none = Validators::default();
        if let Some(path) = &candidate.by_hash {
            match self.get(path, &none, limit, algorithm) {
                Ok(FetchAnswer::Found(body)) => return Ok(Some(body)),
                Ok(_) => {}
                // It is declared by mistake more often than it is broken.
                Err(cause) if cause.is_of_one_file() => {}
                Err(cause) => return Err(cause),
            }
        }
        let is_remembered = self.origin.is_some_and(|origin| {
            origin.release_path.is_empty() && origin.index_path == candidate.path
        });
        let validators = if is_remembered { self.validators() } else { none };
        match self.get(&candidate.path, &validators, limit, algorithm)? {
            FetchAnswer::Found(body) => Ok(Some(body)),
            FetchAnswer::NotModified if is_remembered => Ok(None),
            FetchAnswer::Gone if is_remembered => Err(gone(&candidate.path)),
            FetchAnswer::Gone | FetchAnswer::Missing | FetchAnswer::NotModified => {
                Err(WorkError::Missing(candidate.path.clone()))
            }
        }
    }

    fn stream(
        &mut self,
        candidate: &Candidate,
        body: &mut Body,
        known: &mut KnownDigests,
    ) -> Result<Streamed, WorkError> {
        let (fetcher, path) = (self.fetcher, candidate.path.as_str());
        let failed = |cause: &dyn fmt::Display| {
            if fetcher.is_cancelled() {
                return WorkError::Cancelled;
            }
            let (path, kind) = (path.to_owned(), FailureKind::Content);
            WorkError::Read { path, kind, why: cause.to_string() }
        };
        let too_much = |cause: &dyn fmt::Display| {
            let (path, kind) = (path.to_owned(), FailureKind::Limit);
            WorkError::Read { path, kind, why: cause.to_string() }
        };
        let (_, algorithm) = limits(candidate);
        let listed_bytes = candidate.listed.as_ref().map(|(size, _)| *size);
        let mut stored = Stored::new(body, PLAIN_BYTES_MAX, algorithm, listed_bytes)
            .map_err(|cause| failed(&cause))?;
        let packed = Packed::look(&mut stored).map_err(|cause| failed(&cause))?;
        // Held until the decoder is gone.
        let room = match fetcher.room(self.memory, packed.memory_bytes()) {
            Ok(room) => room,
            Err(MemoryError::Cancelled) => return Err(WorkError::Cancelled),
            Err(cause @ MemoryError::TooLarge { .. }) => return Err(too_much(&cause)),
        };
        let unpack = packed.unpack(room.bytes()).map_err(|cause| failed(&cause))?;
        let compression = unpack.compression();
        let mut reader = StanzaReader::new(unpack);
        let mut counts = Counts::default();
        let architecture = self.source.architecture.as_deref();
        // Where nobody asks what its owner says, nobody tells its owner.
        let mut notes = self
            .owner
            .map(|_| IndexNotes::new(architecture.filter(|_| self.source.component.is_some())));
        self.paid.clear();
        let mut scratch = Vec::new();
        let wants_digests = !known.is_empty();
        while let Some(stanza) = reader.read().map_err(|cause| match cause {
            StanzaError::TooLong { .. } => too_much(&cause),
            StanzaError::Read(_) => failed(&cause),
        })? {
            let text = package::text(stanza.bytes());
            let row = package::row_of(&stanza, text);
            if let Some(notes) = &mut notes {
                notes.stanza(&stanza, &row, text.is_some());
            }
            let row = match row {
                Ok(row) => row,
                Err(why) => {
                    if counts.skipped == 0 {
                        let first = format!("line {}: {why}", stanza.line);
                        counts.first_skipped = one_line(&first, TEXT_BYTES_MAX);
                    }
                    counts.skipped += 1;
                    continue;
                }
            };
            counts.packages += 1;
            if row.price == PAID && self.paid.len() < PAID_MAX && can_be_asked(&row.package_id) {
                self.paid.insert(row.package_id.to_string());
            }
            if counts.packages + counts.skipped > STANZAS_MAX {
                return Err(too_much(&format!("more than {STANZAS_MAX} stanzas")));
            }
            fetcher.progress().packages.store(counts.packages, Ordering::Relaxed);
            if wants_digests && known.see(&row.digest(&mut scratch)) {
                counts.known += 1;
                continue;
            }
            counts.put += 1;
            self.sink.put(&row)?;
        }
        // Of lines that are passed over the first are kept.
        counts.oddities = notes.and_then(|notes| notes.told(reader.odd_lines()));
        let oddities = reader.oddities();
        let unpack = reader.into_inner();
        let plain_bytes = unpack.plain_bytes();
        self.bytes_plain += plain_bytes;
        // What stands behind the last member is part of what Release's digest is of.
        let behind = unpack.drain().map_err(|cause| failed(&cause))?;
        let undone = stored.finish().map_err(|cause| failed(&cause))?;
        if oddities != Oddities::default() || behind > 0 {
            let slug = &*self.source.slug;
            info!(source = slug, path, oddities:%, behind; "package index is odd");
        }
        Ok(Streamed { counts, compression, plain_bytes, oddities, undone })
    }

    /// Asks the source's shop for the prices that nobody knows, or knew too long ago.
    fn price(&mut self, facts: &mut Facts) -> Result<(), WorkError> {
        if self.paid.is_empty() || self.is_absent(PAYMENT_ENDPOINT) {
            return Ok(());
        }
        let Some(priced) = self.sink.priced()? else {
            return Ok(());
        };
        let wanted: BTreeSet<String> = self.paid.difference(&priced).cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let Ok(endpoint) = price::endpoint(self.fetcher, &self.source.uri) else {
            return Ok(());
        };
        facts.payment_endpoint = endpoint;
        if let Some(endpoint) = &facts.payment_endpoint {
            let prices = price::ask(self.fetcher, endpoint, &wanted);
            if !prices.is_empty() {
                self.sink.prices(prices)?;
            }
        } else {
            self.absent.borrow_mut().push(PAYMENT_ENDPOINT.to_owned());
        }
        Ok(())
    }

    /// Names what wasn't seen, and waits until all is safe.
    fn end(
        &mut self,
        known: &Option<KnownDigests>,
        mut counts: Counts,
    ) -> Result<Counts, WorkError> {
        let dropped = known.as_ref().map(KnownDigests::unseen).unwrap_or_default();
        counts.dropped = dropped.len() as u64;
        if !dropped.is_empty() {
            self.sink.dropped(&dropped)?;
        }
        self.sink.flush()?;
        Ok(counts)
    }

    fn get(
        &self,
        path: &str,
        validators: &Validators,
        limit: u64,
        algorithm: Algorithm,
    ) -> Result<FetchAnswer, WorkError> {
        self.get_at(&format!("{}{path}", self.source.release_dir()), validators, limit, algorithm)
    }

    fn get_at(
        &self,
        url: &str,
        validators: &Validators,
        limit: u64,
        algorithm: Algorithm,
    ) -> Result<FetchAnswer, WorkError> {
        self.fetcher.get(url, validators, limit, algorithm).map_err(|cause| match cause {
            FetchError::Cancelled => WorkError::Cancelled,
            cause => {
                let path = url.strip_prefix(&self.source.release_dir()).unwrap_or(url);
                WorkError::Fetch(path.to_owned(), cause)
            }
        })
    }

    fn validators(&self) -> Validators {
        self.origin.map_or_else(Validators::default, |origin| Validators {
            etag: origin.etag.clone(),
            last_modified: origin.last_modified.clone(),
        })
    }

    fn failed_reading(
        &self,
        path: &str,
        cause: &io::Error,
        broke: Option<FailureKind>,
    ) -> WorkError {
        if self.fetcher.is_cancelled() {
            return WorkError::Cancelled;
        }
        let (path, kind) = (path.to_owned(), broke.unwrap_or(FailureKind::Content));
        WorkError::Read { path, kind, why: cause.to_string() }
    }
}

/// That a file was there, and won't be again.
fn gone(path: &str) -> WorkError {
    let status = FetchError::Status { status: 410, retry_after: None };
    WorkError::Fetch(path.to_owned(), status)
}

/// What an owner says, as it goes over the wire: whole lines.
fn told(says: &OwnerSays) -> String {
    let mut text = says.to_string();
    while text.len() > OWNER_BYTES_MAX {
        let end = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
        text.truncate(end);
    }
    text
}

/// The longest that a package index may be, and how it is hashed.
fn limits(candidate: &Candidate) -> (u64, Algorithm) {
    match &candidate.listed {
        Some((size, digest)) => (*size, digest.algorithm),
        None => (INDEX_BYTES_MAX, Algorithm::Sha256),
    }
}

/// Compares what was read with what Release says; whether there is nothing in it.
fn verified(
    candidate: &Candidate,
    is: &(u64, FileDigest),
    streamed: &Streamed,
    encoding: Option<String>,
) -> Result<bool, WorkError> {
    let Streamed { counts, compression, plain_bytes, oddities, undone } = streamed;
    let path = || candidate.path.clone();
    let mismatch = |listed: &(u64, FileDigest)| {
        let (is, listed) = (is.clone(), listed.clone());
        Err(WorkError::Mismatch(Box::new(Mismatch {
            path: path(),
            is,
            listed,
            encoding: encoding.clone(),
        })))
    };
    if let Some(listed) = candidate.listed.as_ref().filter(|listed| *listed != is) {
        return mismatch(listed);
    }
    if is.0 == 0 && candidate.compression != Compression::Plain {
        return Err(WorkError::Empty(path()));
    }
    if let Some(listed) = &candidate.plain {
        // Of what isn't packed, whatever its name, the digest is known, too.
        let plain = undone.as_ref().unwrap_or(is);
        let is_other = *compression == Compression::Plain
            && plain.1.algorithm == listed.1.algorithm
            && plain != listed;
        if is_other {
            return mismatch(listed);
        }
        if *plain_bytes != listed.0 {
            let (plain_bytes, listed_bytes) = (*plain_bytes, listed.0);
            return Err(WorkError::Unpacked { path: path(), plain_bytes, listed_bytes });
        }
    }
    let has_nothing = counts.packages + counts.skipped == 0 && *oddities == Oddities::default();
    if counts.packages == 0 && !has_nothing && candidate.listed.is_none() {
        // Nobody vouches for it: it may be a page that says there is nothing here.
        let why = "no package in it, and no Release that lists it".to_owned();
        return Err(WorkError::Read { path: path(), kind: FailureKind::Content, why });
    }
    Ok(has_nothing)
}

fn with(origin: Origin, validators: Validators) -> Origin {
    Origin { etag: validators.etag, last_modified: validators.last_modified, ..origin }
}

/// The head of a file whose SHA-256 is `digest`.
fn head_of(digest: &FileDigest) -> String {
    let mut sha256 = [0; 32];
    for (byte, pair) in sha256.iter_mut().zip(digest.hex.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).unwrap_or_default();
    }
    Head::from_sha256(sha256).to_string()
}
