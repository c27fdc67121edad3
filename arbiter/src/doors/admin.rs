//! The operator's door: a Unix socket on which the arbiter's own commands ask for what is going
//! on. One line of JSON in, one line of JSON out, then the connection ends. Who may use it is
//! decided by the socket's file permissions.

use crate::PROGRAM;
use crate::config::ArbiterConfig;
use crate::deeds::announce::{Announcements, Taken};
use crate::deeds::lists::{Lists, ListsError};
use crate::deeds::settle::{lasting, reload, settle};
use crate::deeds::trust;
use crate::doors::door::Door;
use crate::hub::Hub;
use crate::hub::sessions::DIRECT;
use crate::hub::store_thread::{NEWER_MAX, OPERATOR_MAX};
use crate::rules::announcement::Announcement;
use crate::rules::changes::{Act, Changed};
use crate::rules::decision::Decided;
use crate::rules::entry::{Entry, Subject};
use crate::rules::exchange::{Imported, SharedSources};
use crate::rules::families::out_of_reach;
use crate::rules::forecast::{Ahead, Forecast, Load, Tried};
use crate::rules::policy::Announcer;
use crate::rules::schedule::SourceClock;
use crate::rules::sources::LIST_BYTES_MAX;
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::PeerTrust;
use crate::store::{
    ATTEMPTS_KEPT, Applicant, ApplicantAnswer, Attempt, Dispute, FailingGroup, HeldChange,
    HeldKind, Publication, Settled, SourceState, Store, StoreError, Terms,
};
use canister_protocol::address::AddressFamilies;
use canister_protocol::limits::TEXT_BYTES_MAX;
use canister_protocol::message::{FailureKind, PeerWish};
use canister_protocol::plain::one_line;
use canister_protocol::{Floor, ToPeer, Uri};
use log::{debug, info};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smol::Timer;
use smol::future::FutureExt as _;
use smol::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use smol::net::unix::{UnixListener, UnixStream};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead as _, Write as _};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Most sources of one answer.
pub const SOURCES_PAGE: usize = 2000;
/// Longest request in bytes: the longest list that is imported.
const REQUEST_BYTES_MAX: u64 = LIST_BYTES_MAX + 64 * 1024;
/// How long a client may take to send its request and read the answer.
const CLIENT_MAX: Duration = Duration::from_secs(30);
/// Most disputes that are told, the newest.
const DISPUTES_MAX: usize = 20;
/// Most publications that are told, the newest.
const PUBLICATIONS_MAX: usize = 100;
/// Most decisions that are told, the newest.
const DECISIONS_MAX: usize = 10_000;

/// What may be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Announces, as the operator: neither policy nor limits hold. Answered by what came of
    /// it, in a line.
    Announce {
        /// A slug, or a uri.
        source: String,
    },
    /// Shows an announced source, or one that was delisted, and polls it. Answered by
    /// [`Changed`].
    Approve { source: String, by: String, why: String },
    /// Says whether a source may be indexed or announced, and which rule decides. Answered by the
    /// decision, in a line.
    Check {
        /// A known source's slug, or any uri.
        source: String,
        /// Who would announce: `announcer:NAME`, `peer:NAME`, an address, or `itself`.
        announcer: Option<String>,
    },
    /// Decides on a held change. Answered by what came of it, in a line.
    Decide {
        number: u64,
        /// Whether it may be made.
        is_accepted: bool,
        by: String,
        why: String,
    },
    /// What the operator decided, newest first. Answered by `Vec<`[`DecisionReport`]`>`.
    Decisions,
    /// Disputes about a source. Answered by `Vec<`[`Dispute`]`>`, newest first.
    Disputes { source: String },
    /// Says whether a peer is believed. Answered by what came of it, in a line.
    Believe {
        peer: String,
        /// Whether it is; else it is suspended.
        is_trusted: bool,
        by: String,
        why: String,
    },
    /// Takes in what another tells of sources. Answered by [`ImportReport`].
    Import {
        /// As `/sources.json` of an arbiter has it.
        document: serde_json::Value,
        /// Where it was read.
        from: String,
        by: String,
        /// Only says what would be done.
        is_dry: bool,
    },
    /// Delists a source. Answered by [`Changed`].
    Delist { source: String, by: String, why: String },
    /// Who waits to become a peer. Answered by `Vec<`[`ApplicantReport`]`>`, who asked last first.
    Applicants,
    /// Answers an applicant. Answered by whether it waited.
    AnswerApplicant {
        /// The fingerprint of its key.
        key: String,
        /// Its certificate with its issuers', and the authority's, in PEM; none refuses it.
        certificates: Option<(String, String)>,
        /// Why it is refused.
        why: String,
    },
    /// Changes that wait for the operator. Answered by `Vec<`[`HeldReport`]`>`.
    Held,
    /// What the next hours will ask of which operator. Answered by `Vec<`[`PlanReport`]`>`.
    Plan { hours: u64 },
    /// What a week will bring, or a day that is over had brought, under the rules in force or others.
    /// Answered by [`ForecastReport`].
    Forecast {
        /// Whose poll schedules and pauses count.
        of: ForecastOf,
        /// Whether it is of the day that is over.
        is_replay: bool,
    },
    /// The rules by which sources are indexed and announced. Answered by [`PolicyReport`].
    Policy,
    /// The newest publications, newest first. Answered by `Vec<`[`Publication`]`>`.
    Publications {
        /// A slug; those of all if there is none.
        source: Option<String>,
    },
    /// Reads the configuration again. Answered by [`Reloaded`](crate::deeds::settle::Reloaded).
    Reload {
        /// Only says what would change.
        is_dry: bool,
    },
    /// Allows or blocks sources. Answered by [`Changed`].
    Rule {
        entry: Entry,
        /// Whether they may be indexed.
        is_allowed: bool,
        by: String,
        why: String,
    },
    /// One source with its history. Answered by [`HistoryReport`].
    Source { source: String },
    /// All peers that were ever seen. Answered by `Vec<`[`PeerReport`]`>`.
    Peers,
    /// Tells peers what the operator wishes of them. Answered by what came of it, a line a peer.
    Wish {
        /// One of [`PeerWish::WORDS`].
        what: String,
        /// Names; all that are connected if there is none.
        peers: Vec<String>,
        why: String,
    },
    /// The sources by slug, at most [`SOURCES_PAGE`] of them. Answered by `Vec<`[`SourceReport`]`>`: see
    /// [`pages_of_sources`].
    Sources {
        /// The slug behind which they begin; empty for the first.
        after: String,
    },
    /// The arbiter as a whole. Answered by [`StatusReport`].
    Status,
    /// Makes a source due at once, also a delisted one, or all that are polled. Answered by the number
    /// of sources.
    Sync {
        /// A slug; all if there is none.
        source: Option<String>,
        by: String,
    },
}

/// Whose poll schedules and pauses count in a forecast.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForecastOf {
    /// The configuration file that the arbiter was started with, as it is now.
    File,
    /// Those in force.
    InForce,
    /// A configuration file of this text.
    Text(String),
}

/// What comes back: the answer, one from before with why there is no newer one, or one line that says
/// why there is none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AdminAnswer<T> {
    Ok(T),
    Last(T, String),
    Error(String),
}

/// Hours of a week.
const WEEK_HOURS: u64 = 7 * 24;
/// Most hours that are planned: a month.
pub const PLAN_HOURS_MAX: u32 = 31 * 24;

/// Longest answer that is kept for the time when the store is gone, in bytes.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often the status is kept though nobody asks.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The arbiter as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusReport {
    pub program: String,
    /// Address and port of the peers' listener.
    pub listen: String,
    /// The same of everybody's, if there is one.
    pub public: Option<String>,
    /// Certificates that the revocation list names.
    pub revoked: u64,
    /// When the revocation list is to be replaced, in milliseconds since 1970; `None` if there is
    /// none.
    pub revocations_end: Option<u64>,
    /// What the arbiter lives by and ends within 30 days or has ended, a line each.
    pub expiries: Vec<String>,
    /// Peers with a session, with whichever arbiter on the database.
    pub peers_connected: u64,
    /// Those of them that write their rows into the database themselves.
    pub peers_direct: u64,
    /// Peers that were ever seen.
    pub peers_known: u64,
    /// Sources on the source list.
    pub sources: u64,
    /// Sources that it names no more.
    pub hidden: u64,
    /// Announced places that were looked at and are no repositories, until they are forgotten.
    pub refused: u64,
    /// Those that are due.
    pub due: u64,
    /// Those that a peer holds.
    pub leased: u64,
    /// Those whose last attempt failed by their fault.
    pub failing: u64,
    /// Those whose head was never learned.
    pub never_indexed: u64,
    /// Those whose signer's key ends within 30 days, or ended.
    pub ending: u64,
    pub operators: u64,
    /// Those of them that a peer asks something now; at most one does at a time.
    pub operators_leased: u64,
    /// Domains that everybody keeps away from for a while.
    pub resting: u64,
    /// Peers that keep away from a domain because it sent them away.
    pub sent_away: u64,
    /// Packages in the catalogue.
    pub packages: u64,
    /// Those that are visible.
    pub visible: u64,
    /// Changes that wait for the operator.
    pub held: u64,
    /// Peers that proved themselves or that the operator trusts; without any, all are believed.
    pub peers_proven: u64,
    /// Peers that are suspended and wait for the operator, by name.
    pub suspended: Vec<String>,
    /// Sources with an open dispute.
    pub disputed: Vec<String>,
    /// Those of them that nobody is here for who could decide it.
    pub undecided: Vec<String>,
    /// Whether this arbiter grants nothing because its disk is full.
    pub is_full: bool,
    /// Failing sources by operator and why.
    pub failing_groups: Vec<FailingReport>,
    /// When this arbiter last read the source list, in milliseconds since 1970.
    pub list_read: Option<u64>,
    /// Lists that it couldn't read the last time, since when, in milliseconds since 1970, and why.
    pub unread: Vec<(String, u64, String)>,
    /// How far this machine's clock is ahead of the database's, where that has one.
    pub clock_ahead_millis: Option<i64>,
}

/// Failing sources of one operator, for one reason.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailingReport {
    pub operator: String,
    /// In a few words; `unknown` where it is older than that is remembered.
    pub reason: String,
    pub sources: u64,
}

/// The rules by which sources are indexed and announced.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Whether sources may be indexed.
    pub allow: bool,
    /// Entries for which the opposite holds.
    pub except: Vec<String>,
    /// Whether others than a source itself may announce for it.
    pub publish: bool,
    /// Announcers for whom the opposite holds.
    pub publish_except: Vec<String>,
    pub trust_announcements: bool,
    /// Entries with announcers of their own, a line each.
    pub publishers: Vec<String>,
    /// Hosts of the block lists.
    pub blocked_hosts: u64,
    /// What the operator decided and is in force, newest first.
    pub decisions: Vec<DecisionReport>,
}

/// What is asked, or had been asked, within some hours.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForecastReport {
    /// When the first hour begins, in milliseconds since 1970.
    pub from: u64,
    /// Requests by hour.
    pub hours: Vec<u64>,
    pub operators: Vec<OperatorForecast>,
    /// Sources that are hidden by it, and when, in milliseconds since 1970.
    pub deactivated: Vec<(String, u64)>,
    /// The same of those that are delisted.
    pub delisted: Vec<(String, u64)>,
    /// Requests that were recorded within the last day.
    pub recorded_a_day: u64,
}

/// One operator in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperatorForecast {
    pub operator: String,
    /// Requests by hour, from the first on; hours without any may be missing at the end.
    pub requests: Vec<u64>,
    pub polls: u64,
    /// How much of the time asking takes, one lease after the other; above 1 its sources starve.
    pub busy_share: f64,
}

/// What came, or would come, of an import.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImportReport {
    pub imported: Imported,
    /// What its decisions change in the sources that are known.
    pub changed: Changed,
}

/// A decision of the operator's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DecisionReport {
    /// Higher than that of every decision before it.
    pub number: u64,
    /// `accept`, `allow`, `approve`, `block`, `delist`, `reject`, `suspend` or `trust`.
    pub decision: String,
    /// What it is of: an entry, `held:NUMBER` or `peer:NAME`.
    pub subject: String,
    /// What the held change was that it is of.
    pub about: Option<String>,
    pub by: String,
    /// Milliseconds since 1970.
    pub at: u64,
    pub why: String,
    /// Whether it still counts.
    pub is_in_force: bool,
}

/// Who waits to become a peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApplicantReport {
    pub name: String,
    /// The fingerprint of its key.
    pub key: String,
    /// Its signing request in PEM.
    pub request: String,
    /// How it can be reached, as it says; may be empty.
    pub contact: String,
    /// The network that it asked from.
    pub network: String,
    /// When it first asked, in milliseconds since 1970.
    pub applied_at: u64,
    /// When it last asked, in milliseconds since 1970.
    pub asked_at: u64,
}

/// A change that is held.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldReport {
    /// What `accept` and `reject` call it by.
    pub number: u64,
    /// `source list`, `policy` or `source`.
    pub kind: String,
    /// The source, where it is of one.
    pub source: Option<String>,
    /// Why it is held.
    pub why: String,
    /// Milliseconds since 1970.
    pub held_at: u64,
}

/// One domain of an operator of servers: how it took us, and what will be asked of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanReport {
    pub operator: String,
    pub domain: String,
    pub sources: u64,
    /// Polls of them that the hours will see.
    pub polls: u64,
    /// Requests that they take, as they did before.
    pub requests: u64,
    /// When the first of them is due, in milliseconds since 1970.
    pub first_at: Option<u64>,
    /// Whether a peer is there now.
    pub is_leased: bool,
    /// Until when everybody keeps away; milliseconds since 1970.
    pub rests_until: Option<u64>,
    /// Peers that were sent away, and until when they keep away; milliseconds since 1970.
    pub sent_away: Vec<(String, u64)>,
}

/// A source and its history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistoryReport {
    pub source: SourceReport,
    /// Who runs its server.
    pub operator: String,
    /// The rule that blocks it.
    pub blocked: Option<String>,
    /// The decision that delists it.
    pub delisted: Option<String>,
    /// What its owner says, a line each.
    #[serde(default)]
    pub owner: Vec<String>,
    /// What waits for the operator of what was read of it.
    pub held: Option<HeldReport>,
    /// Its attempts, newest first.
    pub attempts: Vec<AttemptReport>,
    /// Its newest publications, newest first.
    pub publications: Vec<Publication>,
}

/// A source and its last attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceReport {
    pub source: String,
    pub uri: String,
    pub suite: String,
    /// `leased`, `due`, `waiting`, `hidden`; `found` or `refused` where it was announced.
    pub state: String,
    pub peer: Option<String>,
    /// Packages of it in the catalogue.
    pub packages: u64,
    /// Its head, a CID.
    pub head: Option<String>,
    /// How it is signed, in a word.
    pub signature: Option<String>,
    /// The signer's key; empty where it isn't signed.
    pub signed_by: Option<String>,
    /// When that key ends, in milliseconds since 1970.
    pub signed_until: Option<u64>,
    /// Who may sign the next Release, by this one, and until when that counts, in milliseconds since
    /// 1970.
    pub next_signers: Option<(String, u64)>,
    /// Milliseconds since 1970.
    pub due_at: u64,
    /// Milliseconds since 1970.
    pub last_contact: Option<u64>,
    /// The only family of addresses that its host has, where no connected peer has it: nobody is
    /// granted it, and it doesn't fail.
    pub out_of_reach: Option<String>,
    /// `active`, `deactivated` or `delisted`.
    pub stands: String,
    /// Whether the catalogue shows it.
    pub is_shown: bool,
    /// Whether a change of it is held.
    pub is_held: bool,
    /// Who runs its server.
    pub operator: String,
    /// Attempts in a row that failed by its fault.
    pub failures: u64,
    /// When the first of them did, in milliseconds since 1970.
    pub failing_since: Option<u64>,
    /// Why the last of them did, in a few words.
    pub reason: Option<String>,
    /// The same in the peer's words.
    pub last_error: Option<String>,
    /// Its newest ended lease.
    pub last_attempt: Option<AttemptReport>,
}

/// One ended lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttemptReport {
    pub lease: u64,
    pub peer: String,
    /// Milliseconds since 1970.
    pub started: u64,
    /// Milliseconds since 1970.
    pub ended: u64,
    pub verdict: String,
    pub requests: u64,
    /// Bytes of bodies as they came.
    pub bytes_fetched: u64,
    /// Bytes of the package index, unpacked.
    pub bytes_plain: u64,
    /// Milliseconds from grant to finish.
    pub millis: u64,
    /// Stanzas that gave a row.
    pub packages: u64,
    /// Rows that were put.
    pub put: u64,
    /// Stanzas that gave no row.
    pub skipped: u64,
    pub error: Option<String>,
}

/// A peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerReport {
    pub peer: String,
    /// Program and version, as it says.
    pub agent: String,
    /// Whether there is a newer version: this arbiter's, for both are released as one.
    pub is_old: bool,
    /// From when on its version is too old to be granted anything, in milliseconds since 1970.
    pub too_old_from: Option<u64>,
    /// Whether it has a session.
    pub is_connected: bool,
    /// Where it comes from, while it is connected.
    pub address: Option<String>,
    /// When its certificate ends, in milliseconds since 1970, while it is connected to this
    /// arbiter.
    pub certificate_ends: Option<u64>,
    /// The arbiter that it is connected to, where there may be several.
    pub arbiter: Option<String>,
    /// Leases it is willing to hold at once, while it is connected.
    pub slots: u64,
    /// How it writes its rows, while it is connected: `direct`, or `relayed` and why.
    pub writes: Option<String>,
    /// Which families of addresses lead out of its home, while it is connected.
    pub reaches: Option<String>,
    pub leases: u64,
    /// Leases that were ever granted to it.
    pub granted: u64,
    /// Leases that it finished.
    pub finished: u64,
    /// Leases that it finished as failed.
    pub failed: u64,
    /// Leases that it let expire.
    pub expired: u64,
    /// How far it is believed: `first`, `probation`, `proven` or `suspended`.
    pub trust: String,
    /// Why it is suspended.
    pub trust_why: String,
    /// Publications of it that audits confirmed.
    pub confirmed: u64,
    /// Audits by it that confirmed others.
    pub audits: u64,
    /// Why it gets less than it offers, if it does.
    pub record: Option<String>,
    /// Milliseconds since 1970.
    pub last_seen: u64,
}

/// What the operator's connections share.
pub struct Admin {
    /// Takes in what the operator announces.
    pub announcements: Rc<Announcements>,
    pub door: Rc<Door>,
    /// The middle of the arbiter.
    pub hub: Rc<Hub>,
    /// Address and port of the peers' listener.
    pub listen: String,
    /// The same of everybody's, if there is one.
    pub public: Option<String>,
    pub lists: Rc<Lists>,
    /// The last answers to what only reads and names nothing, and to who asks for the first sources, by the request, and when they were given.
    pub last: RefCell<BTreeMap<String, (Timestamp, String)>>,
    /// When something was last changed by command.
    pub changed: Cell<Timestamp>,
    /// Whether the status is being asked of the store.
    pub is_renewing: Cell<bool>,
}

/// Answers requests for ever.
pub async fn accept(admin: Rc<Admin>, listener: UnixListener) {
    let keeping = Rc::clone(&admin);
    admin.hub.spawn(async move {
        loop {
            in_time(&keeping, Request::Status).await;
            Timer::after(KEPT_FOR).await;
        }
    });
    loop {
        match listener.accept().await {
            Ok((stream, _)) => admin.hub.spawn(serve(Rc::clone(&admin), stream)),
            Err(cause) => {
                debug!(cause:%; "couldn't accept an admin connection");
                Timer::after(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn serve(admin: Rc<Admin>, mut stream: UnixStream) {
    let served = async {
        let mut line = String::new();
        BufReader::new((&mut stream).take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
        let answer = match serde_json::from_str(&line) {
            Ok(request) => in_time(&admin, request).await,
            Err(cause) => error(&format!("not a request: {cause}")),
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.write_all(b"\n").await
    };
    let in_time = async {
        Timer::after(CLIENT_MAX).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    if let Err(cause) = served.or(in_time).await {
        debug!(cause:%; "an admin connection failed");
    }
}

/// The answer, or that the store gives none: at once where that is known. What changes something goes
/// on then; what only reads is answered by what was last known.
async fn in_time(admin: &Rc<Admin>, request: Request) -> String {
    let hub = &admin.hub;
    let is_read = matches!(
        request,
        Request::Applicants
            | Request::Check { .. }
            | Request::Decisions
            | Request::Disputes { .. }
            | Request::Held
            | Request::Peers
            | Request::Forecast { .. }
            | Request::Plan { .. }
            | Request::Policy
            | Request::Publications { .. }
            | Request::Source { .. }
            | Request::Sources { .. }
            | Request::Status
    );
    if is_read {
        let asked = serde_json::to_string(&request).unwrap_or_default();
        if matches!(request, Request::Status) && admin.is_kept_since_changed(&asked) {
            return quick(admin, request, asked).await;
        }
        // Who has the first sources waits for the others.
        let is_begun = matches!(&request, Request::Sources { after } if !after.is_empty());
        let answer = answer(admin, request);
        let answered = match is_begun {
            true => hub.store.in_time(OPERATOR_MAX, answer).await,
            false => hub.store.unless_troubled(OPERATOR_MAX, answer).await,
        };
        return match answered {
            Ok(answer) => admin.keep(asked, answer),
            Err(silence) => admin.last(&asked, &silence.to_string()),
        };
    }
    admin.changed.set(hub.now());
    let longest = if hub.store.trouble().is_some() { Duration::ZERO } else { OPERATOR_MAX };
    let there = Rc::clone(admin);
    let doing = async move {
        let answer = answer(&there, request).await;
        there.changed.set(there.hub.now());
        answer
    };
    let answered = hub.within(longest, doing).await;
    answered.unwrap_or_else(|silence| {
        error(&format!("{silence}; what was asked for is done as soon as it can be"))
    })
}

/// The answer if the store gives it at once, else the last there is, and a newer one the next time: the
/// status is looked at when something is wrong.
async fn quick(admin: &Rc<Admin>, request: Request, asked: String) -> String {
    let hub = &admin.hub;
    if let Some(silence) = hub.store.trouble() {
        return admin.last(&asked, &silence.to_string());
    }
    let slow = |admin: &Admin| admin.last(&asked, "the arbiter's store takes its time");
    if admin.is_renewing.replace(true) {
        return slow(admin);
    }
    let (there, key) = (Rc::clone(admin), asked.clone());
    let renewed = hub.within(NEWER_MAX, async move {
        let answer = answer(&there, request).await;
        there.is_renewing.set(false);
        there.keep(key, answer)
    });
    renewed.await.unwrap_or_else(|_| slow(admin))
}

impl Admin {
    /// Whether there is an answer that is newer than all that was changed by command.
    fn is_kept_since_changed(&self, asked: &str) -> bool {
        self.last.borrow().get(asked).is_some_and(|(at, _)| *at > self.changed.get())
    }

    /// Keeps an answer, for when there is none.
    fn keep(&self, asked: String, answer: String) -> String {
        if let Some(value) = answer.strip_prefix(ANSWERED).and_then(|it| it.strip_suffix('}'))
            && value.len() <= KEPT_BYTES_MAX
            && (asked.starts_with('"') || asked == FIRST_SOURCES)
        {
            self.last.borrow_mut().insert(asked, (self.hub.now(), value.to_owned()));
        }
        answer
    }

    /// The answer that was last kept, and why there is no newer one.
    fn last(&self, asked: &str, why: &str) -> String {
        match self.last.borrow().get(asked) {
            Some((at, value)) => {
                let why = serde_json::json!(format!("{why}; this is as of {at}"));
                format!("{{\"last\":[{value},{why}]}}")
            }
            None => error(why),
        }
    }
}

/// The request for the first page of sources, which is kept as well: mostly it is the only one.
const FIRST_SOURCES: &str = "{\"sources\":{\"after\":\"\"}}";
/// How an answer begins.
const ANSWERED: &str = "{\"ok\":";

async fn answer(admin: &Admin, request: Request) -> String {
    let hub = &admin.hub;
    let now = hub.now();
    match request {
        Request::AnswerApplicant { key, certificates, why } => {
            let answer = match certificates {
                Some((chain, authority)) => ApplicantAnswer::Admitted { chain, authority },
                None => ApplicantAnswer::Refused(why),
            };
            wrap(hub.store.call(move |store| store.answer_applicant(&key, &answer, now)).await)
        }
        Request::Applicants => wrap(applicants(hub).await),
        Request::Check { source, announcer } => check(hub, &source, announcer).await,
        Request::Decide { number, is_accepted, by, why } => {
            let said = if is_accepted { Decided::Accept(number) } else { Decided::Reject(number) };
            wrap(on_held(admin, Act::Decided { said, by, why }).await)
        }
        Request::Decisions => wrap(decisions(hub).await),
        Request::Disputes { source } => wrap(disputes(hub, source).await),
        Request::Believe { peer, is_trusted, by, why } => {
            let word = if is_trusted { "trusted" } else { "suspended" };
            let said = format!("{peer} is {word}\n");
            let decided = if is_trusted { Decided::Trust(peer) } else { Decided::Suspend(peer) };
            wrap(trust::decide(hub, decided, by, why).await.map(|()| said))
        }
        Request::Delist { source, by, why } => decide(hub, Decided::Delist(source), by, why).await,
        Request::Held => wrap(held(hub).await),
        Request::Import { document, from, by, is_dry } => match SharedSources::of_json(document) {
            Ok(told) => wrap(import(hub, told, format!("import of {from} by {by}"), is_dry).await),
            Err(why) => error(&why),
        },
        Request::Forecast { of, is_replay } => match terms_of(admin, of).await {
            Ok(terms) => wrap(forecast(hub, &terms, is_replay, now).await),
            Err(why) => error(&why),
        },
        Request::Plan { hours } => wrap(plan(hub, hours, now).await),
        Request::Policy => wrap(Ok(policy(hub))),
        Request::Publications { source } => wrap(publications(hub, source).await),
        Request::Reload { is_dry } => {
            match reload(hub, admin.lists.config.given.clone(), is_dry).await {
                Ok(changed) => wrap(Ok(changed)),
                Err(why) => error(&why),
            }
        }
        Request::Rule { entry, is_allowed, by, why } => {
            let said = if is_allowed { Decided::Allow(entry) } else { Decided::Block(entry) };
            decide(hub, said, by, why).await
        }
        Request::Source { source } => match history(hub, source.clone(), now).await {
            Ok(Some(report)) => wrap(Ok(report)),
            Ok(None) => error(&format!("no source is called {source:?}; `sources` lists them")),
            Err(cause) => error(&cause.to_string()),
        },
        Request::Announce { source } => announce(admin, &source).await,
        Request::Approve { source, by, why } => {
            decide(hub, Decided::Approve(source), by, why).await
        }
        Request::Peers => wrap(peers(admin).await),
        Request::Wish { what, peers, why } => match wish(hub, &what, peers, &why).await {
            Ok(told) => wrap(Ok(told)),
            Err(why) => error(&why),
        },
        Request::Sources { after } => wrap(sources(hub, after, now).await),
        Request::Status => wrap(status(admin, now).await),
        Request::Sync { source, by } => {
            let settled = settle(hub, Act::Synced { source, by }).await;
            wrap(settled.map(|settled| settled.synced))
        }
    }
}

/// A decision on sources; what it changed.
async fn decide(hub: &Rc<Hub>, said: Decided, by: String, why: String) -> String {
    let settled = settle(hub, Act::Decided { said, by, why }).await;
    wrap(settled.map(|settled| settled.changed))
}

async fn import(
    hub: &Rc<Hub>,
    told: SharedSources,
    by: String,
    is_dry: bool,
) -> Result<ImportReport, StoreError> {
    if is_dry {
        let (settings, terms) = (hub.policy().settings.clone(), Terms::clone(&hub.terms()));
        let now = hub.now();
        let plan = move |store: &mut Store| store.plan_import(&told, &by, &settings, &terms, now);
        let (imported, changed) = hub.store.call(plan).await?;
        return Ok(ImportReport { imported, changed });
    }
    let Settled { imported, changed, .. } =
        settle(hub, Act::Imported { told: told.into(), by }).await?;
    Ok(ImportReport { imported, changed })
}

async fn announce(admin: &Admin, source: &str) -> String {
    let announcement = match Announcement::by_word(None, source) {
        Ok(announcement) => announcement,
        Err(why) => return error(&why),
    };
    match admin.announcements.take(None, announcement).await {
        Ok(Taken::Discovered(slug)) => wrap(Ok(format!("it is looked at as {slug}\n"))),
        Ok(Taken::Due(slugs) | Taken::Unnamed(slugs)) => {
            wrap(Ok(format!("{} made due\n", slugs.len())))
        }
        Ok(Taken::Known(_)) => {
            wrap(Ok("it is due by an announcement already, or waits for approval\n".to_owned()))
        }
        Err(why) => error(&why.to_string()),
    }
}

async fn check(hub: &Hub, source: &str, announcer: Option<String>) -> String {
    let announcer = match announcer.as_deref().map(str::parse::<Announcer>).transpose() {
        Ok(announcer) => announcer,
        Err(why) => return error(&why),
    };
    // By its slug, or by where it is: what is known has a slug that rules may name.
    let (slug, uri) = (source.to_owned(), Uri::parse(source).ok());
    let known = move |store: &mut Store| {
        let called = store.source(&slug)?.map(|state| state.source);
        match (called, uri) {
            (None, Some(uri)) => Ok(store.sources_at(&[uri])?.into_iter().next()),
            (called, _) => Ok::<_, StoreError>(called),
        }
    };
    let known = match hub.store.call(known).await {
        Ok(known) => known,
        Err(cause) => return error(&cause.to_string()),
    };
    let policy = hub.policy();
    if let Some(source) = known {
        return wrap(Ok(format!("{}\n", policy.answer(&source, announcer.as_ref()))));
    }
    if !source.contains("://") {
        return error(&format!(
            "no source is called {source:?}; use a slug of `sources`, or a uri"
        ));
    }
    match Subject::at(source) {
        Ok(subject) => {
            let answer = policy.answer_on(&subject, announcer.as_ref());
            wrap(Ok(format!("{answer}\n")))
        }
        Err(why) => error(&why),
    }
}

/// A decision on a held change; what came of it, in a line.
async fn on_held(admin: &Admin, act: Act) -> Result<String, StoreError> {
    let is_accepted = matches!(act, Act::Decided { said: Decided::Accept(_), .. });
    let Settled { decided, changed, .. } = settle(&admin.hub, act).await?;
    if !is_accepted {
        return Ok("rejected: what is there stays\n".to_owned());
    }
    Ok(match decided.map(|change| change.kind) {
        Some(HeldKind::SourceList) => match again(admin).await {
            Ok(()) => "accepted: the source list was read again\n".to_owned(),
            Err(ListsError::List { list, why }) => {
                format!("accepted: done when {list} can be read again: {why}\n")
            }
            Err(ListsError::Store(cause)) => return Err(cause),
        },
        Some(HeldKind::Source) => {
            "accepted: the source is read again and published then\n".to_owned()
        }
        Some(HeldKind::Policy) | None => format!("accepted: {changed}\n"),
    })
}

/// Reads the lists again, to the end though the client gives up waiting.
async fn again(admin: &Admin) -> Result<(), ListsError> {
    let lists = Rc::clone(&admin.lists);
    lasting(&admin.hub, |_| async move { lists.again().await }).await
}

async fn decisions(hub: &Hub) -> Result<Vec<DecisionReport>, StoreError> {
    let remembered = hub.store.call(|store| store.decisions(DECISIONS_MAX)).await?;
    let reports = remembered.into_iter().map(|remembered| DecisionReport {
        number: remembered.number,
        decision: remembered.decision.said.word().to_owned(),
        subject: remembered.decision.said.subject(),
        about: remembered.about,
        by: remembered.decision.by,
        at: remembered.decision.at.millis(),
        why: remembered.decision.why,
        is_in_force: remembered.is_in_force,
    });
    Ok(reports.collect())
}

async fn disputes(hub: &Hub, source: String) -> Result<Vec<Dispute>, StoreError> {
    let now = hub.now();
    hub.store.call(move |store| store.disputes(Some(&source), DISPUTES_MAX, now)).await
}

async fn publications(hub: &Hub, source: Option<String>) -> Result<Vec<Publication>, StoreError> {
    hub.store.call(move |store| store.publications(source.as_deref(), PUBLICATIONS_MAX)).await
}

async fn applicants(hub: &Hub) -> Result<Vec<ApplicantReport>, StoreError> {
    let waiting = hub.store.call(|store| store.applicants()).await?;
    let report = |applicant: Applicant| ApplicantReport {
        name: applicant.name,
        key: applicant.key,
        request: applicant.request,
        contact: applicant.contact,
        network: applicant.network,
        applied_at: applicant.applied_at.millis(),
        asked_at: applicant.asked_at.millis(),
    };
    Ok(waiting.into_iter().map(report).collect())
}

async fn held(hub: &Hub) -> Result<Vec<HeldReport>, StoreError> {
    let held = hub.store.call(|store| store.held()).await?;
    Ok(held.into_iter().map(held_report).collect())
}

fn held_report(change: HeldChange) -> HeldReport {
    HeldReport {
        number: change.number,
        kind: change.kind.word().to_owned(),
        source: change.slug,
        why: change.why,
        held_at: change.held_at.millis(),
    }
}

/// The sources that are polled, with all that tells what will be asked of them under `terms`.
async fn polled(hub: &Hub) -> Result<(Vec<SourceState>, HashMap<String, Vec<Tried>>), StoreError> {
    let asked = |store: &mut Store| Ok::<_, StoreError>((store.sources()?, store.tried()?));
    let (mut states, tried) = hub.store.call(asked).await?;
    states.retain(SourceState::is_polled);
    Ok((states, tried))
}

/// A source's clock before it is run ahead; what is asked of it counts for `of`.
fn ahead<'a>(state: &'a SourceState, of: &'a str, terms: &Terms, tried: Vec<Tried>) -> Ahead<'a> {
    let schedule = state.schedule(&terms.polls);
    Ahead { slug: &state.source.slug, operator: of, clock: state.clock(), schedule, tried }
}

async fn plan(hub: &Hub, hours: u64, now: Timestamp) -> Result<Vec<PlanReport>, StoreError> {
    let servers = hub.store.call(|store| store.servers()).await?;
    let (states, mut tried) = polled(hub).await?;
    let terms = hub.terms();
    let until = now.plus(Duration::from_secs(hours.min(PLAN_HOURS_MAX.into()) * 60 * 60));
    let sources: Vec<Ahead<'_>> = (states.iter())
        .map(|it| ahead(it, &it.domain, &terms, tried.remove(&it.source.slug).unwrap_or_default()))
        .collect();
    let forecast = Forecast::ahead(&sources, now, until, terms.politeness.pause);
    let none = Load::default();
    let reports = servers.into_iter().map(|server| {
        let load = forecast.operators.get(&server.domain).unwrap_or(&none);
        PlanReport {
            polls: load.polls,
            requests: load.requests.iter().sum(),
            first_at: load.first_at.map(Timestamp::millis),
            operator: server.name,
            domain: server.domain,
            sources: server.sources,
            is_leased: server.operator.is_leased,
            rests_until: (server.distance.rests_until)
                .filter(|until| *until > now)
                .map(Timestamp::millis),
            sent_away: (server.distance.cooling.into_iter())
                .filter(|(_, cooling)| cooling.until > now)
                .map(|(peer, cooling)| (peer, cooling.until.millis()))
                .collect(),
        }
    });
    Ok(reports.collect())
}

/// The terms in force, or what a configuration makes of them with what this arbiter was told besides.
async fn terms_of(admin: &Admin, of: ForecastOf) -> Result<Terms, String> {
    let given = admin.lists.config.given.clone();
    let config = match of {
        ForecastOf::InForce => return Ok(Terms::clone(&admin.hub.terms())),
        ForecastOf::File => smol::unblock(move || ArbiterConfig::read(&given)).await,
        ForecastOf::Text(text) => ArbiterConfig::of_text(&text, "the configuration", &given),
    };
    config.map(|config| config.terms)
}

async fn forecast(
    hub: &Hub,
    terms: &Terms,
    is_replay: bool,
    now: Timestamp,
) -> Result<ForecastReport, StoreError> {
    let (states, mut tried) = polled(hub).await?;
    let day = now.minus(Duration::from_secs(24 * 60 * 60));
    let recent = tried.values().flatten().filter(|it| it.ended_at > day);
    let recorded_a_day = recent.map(|it| it.requests).sum();
    let mut sources: Vec<Ahead<'_>> = (states.iter())
        .map(|it| ahead(it, &it.operator, terms, tried.remove(&it.source.slug).unwrap_or_default()))
        .collect();
    let pause = terms.politeness.pause;
    let hours = if is_replay { 24 } else { WEEK_HOURS };
    let time = Duration::from_secs(hours * 60 * 60);
    let (from, forecast) = if is_replay {
        // Each begins as if it had just been heard of at its first attempt of the day.
        for source in &mut sources {
            let first = source.tried.iter().find(|it| it.ended_at > day);
            source.clock = SourceClock::new(first.map_or(now, |it| it.ended_at));
        }
        (day, Forecast::again(&sources, day, now, pause))
    } else {
        (now, Forecast::ahead(&sources, now, now.plus(time), pause))
    };
    let millis = |named: &[(String, Timestamp)]| {
        named.iter().map(|(slug, at)| (slug.clone(), at.millis())).collect()
    };
    Ok(ForecastReport {
        from: from.millis(),
        hours: forecast.hours(usize::try_from(hours).unwrap_or_default()),
        deactivated: millis(&forecast.deactivated),
        delisted: millis(&forecast.delisted),
        operators: (forecast.operators.into_iter())
            .map(|(operator, load)| OperatorForecast {
                operator,
                busy_share: load.busy_share(time),
                polls: load.polls,
                requests: load.requests,
            })
            .collect(),
        recorded_a_day,
    })
}

fn policy(hub: &Hub) -> PolicyReport {
    let policy = hub.policy();
    let settings = &policy.settings;
    let decisions = policy.decisions.iter().rev();
    PolicyReport {
        allow: settings.allow,
        except: settings.except.iter().map(ToString::to_string).collect(),
        publish: settings.publish,
        publish_except: settings.publish_except.iter().map(ToString::to_string).collect(),
        trust_announcements: settings.trust_announcements,
        publishers: (settings.publishers.iter())
            .map(|(entry, publishers)| {
                let except = publishers.except.iter().map(ToString::to_string);
                let except = except.collect::<Vec<_>>().join(", ");
                let word = if publishers.allow { "all but" } else { "only" };
                format!("{entry}: {word} {except}")
            })
            .collect(),
        blocked_hosts: policy.blocked_hosts.len() as u64,
        decisions: decisions
            .map(|decision| DecisionReport {
                number: 0,
                decision: decision.said.word().to_owned(),
                subject: decision.said.subject(),
                about: None,
                by: decision.by.clone(),
                at: decision.at.millis(),
                why: decision.why.clone(),
                is_in_force: true,
            })
            .collect(),
    }
}

fn failing_report(FailingGroup { operator, reason, sources }: FailingGroup) -> FailingReport {
    let reason = reason.map_or("unknown", FailureKind::words).to_owned();
    FailingReport { operator, reason, sources }
}

async fn history(
    hub: &Hub,
    slug: String,
    now: Timestamp,
) -> Result<Option<HistoryReport>, StoreError> {
    let name = slug.clone();
    let found = move |store: &mut Store| -> Result<_, StoreError> {
        let Some(state) = store.source(&slug)? else {
            return Ok(None);
        };
        let attempts = store.attempts(&slug, ATTEMPTS_KEPT as usize)?;
        let publications = store.publications(Some(&slug), PUBLICATIONS_MAX)?;
        Ok(Some((state, attempts, publications, store.held()?, reaches(store)?)))
    };
    let found = hub.store.call(found).await?;
    Ok(found.map(|(state, attempts, publications, held, reaches)| HistoryReport {
        operator: state.operator.clone(),
        blocked: state.blocked.clone(),
        delisted: state.delisted.clone(),
        owner: state.owner.lines(),
        source: report(state, None, &held, &reaches, now),
        held: held.into_iter().find(|change| change.slug.as_ref() == Some(&name)).map(held_report),
        attempts: attempts.into_iter().map(attempt).collect(),
        publications,
    }))
}

async fn status(admin: &Admin, now: Timestamp) -> Result<StatusReport, StoreError> {
    let revocations = admin.door.revocations();
    let asked = move |store: &mut Store| {
        let held = store.held()?.len() as u64;
        let open = store.disputes(None, DISPUTES_MAX, now)?;
        let of_sources = (store.servers()?, held, open, store.failing()?);
        Ok::<_, StoreError>((store.peers()?, of_sources))
    };
    let counts = admin.hub.store.counts(now).await?;
    let (peers, (servers, held, open, failing)) = admin.hub.store.call(asked).await?;
    let names: HashSet<&str> = servers.iter().map(|server| &*server.name).collect();
    let leased: HashSet<&str> = (servers.iter())
        .filter(|server| server.operator.is_leased)
        .map(|server| &*server.name)
        .collect();
    let distances = || servers.iter().map(|server| &server.distance);
    let resting = distances().filter(|distance| distance.rests_until > Some(now));
    let sent_away = distances().flat_map(|distance| distance.cooling.values());
    let sent_away = sent_away.filter(|cooling| cooling.until > now);
    let sessions = || peers.iter().filter_map(|peer| peer.session.as_ref());
    let direct = sessions().filter(|session| session.writes == DIRECT);
    let lists = admin.hub.lists.borrow();
    let of_trust = |trust| peers.iter().filter(move |peer| peer.trust == trust);
    Ok(StatusReport {
        program: PROGRAM.to_owned(),
        listen: admin.listen.clone(),
        public: admin.public.clone(),
        revoked: revocations.count() as u64,
        revocations_end: revocations.ends().map(|ends| ends.saturating_mul(1000)),
        expiries: admin.hub.ending(),
        peers_connected: sessions().count() as u64,
        peers_direct: direct.count() as u64,
        peers_known: counts.peers,
        sources: counts.sources,
        hidden: counts.hidden,
        refused: counts.refused,
        due: counts.due,
        leased: counts.leased,
        failing: counts.failing,
        never_indexed: counts.never_indexed,
        ending: counts.ending,
        operators: names.len() as u64,
        operators_leased: leased.len() as u64,
        resting: resting.count() as u64,
        sent_away: sent_away.count() as u64,
        packages: counts.packages,
        visible: counts.visible,
        held,
        peers_proven: of_trust(PeerTrust::Proven).count() as u64,
        suspended: of_trust(PeerTrust::Suspended).map(|peer| peer.name.clone()).collect(),
        disputed: open.iter().map(|it| it.slug.clone()).collect(),
        undecided: open.iter().filter(|it| it.is_waiting).map(|it| it.slug.clone()).collect(),
        is_full: admin.hub.is_full.get(),
        failing_groups: failing.into_iter().map(failing_report).collect(),
        list_read: lists.read_at.map(Timestamp::millis),
        unread: (lists.unread.iter())
            .map(|(list, (since, why))| (list.clone(), since.millis(), why.clone()))
            .collect(),
        clock_ahead_millis: admin.hub.clock_ahead_millis(),
    })
}

async fn sources(
    hub: &Hub,
    after: String,
    now: Timestamp,
) -> Result<Vec<SourceReport>, StoreError> {
    let reports = move |store: &mut Store| {
        let (held, reaches) = (store.held()?, reaches(store)?);
        let states = store.sources_after(&after, SOURCES_PAGE)?;
        let slugs: Vec<&str> = states.iter().map(|state| &*state.source.slug).collect();
        let mut newest = store.newest_attempts(&slugs)?;
        let reports = states.into_iter().map(|state| {
            let last = newest.remove(&state.source.slug);
            report(state, last, &held, &reaches, now)
        });
        Ok(reports.collect())
    };
    hub.store.call(reports).await
}

/// What leads out of the connected peers' homes.
fn reaches(store: &mut Store) -> Result<Vec<AddressFamilies>, StoreError> {
    let sessions = store.peers()?.into_iter().filter_map(|peer| peer.session);
    Ok(sessions.map(|session| session.reaches).collect())
}

fn report(
    state: SourceState,
    last: Option<Attempt>,
    held: &[HeldChange],
    reaches: &[AddressFamilies],
    now: Timestamp,
) -> SourceReport {
    let words = state.standing(now);
    let is_held = |change: &HeldChange| change.slug.as_ref() == Some(&state.source.slug);
    SourceReport {
        is_held: held.iter().any(is_held),
        is_shown: state.is_shown(),
        out_of_reach: out_of_reach(state.families, reaches.iter().copied())
            .map(|only| only.word().to_owned()),
        stands: state.standing.word().to_owned(),
        source: state.source.slug,
        uri: state.source.uri,
        suite: state.source.suite,
        state: words.to_owned(),
        peer: state.lease.map(|lease| lease.peer),
        packages: state.packages,
        head: state.origin.map(|origin| origin.head),
        signature: state.signed.as_ref().map(|signed| signed.state.word().to_owned()),
        signed_until: state.signed.as_ref().and_then(|it| it.until).map(Timestamp::millis),
        next_signers: state.signed.as_ref().and_then(|signed| {
            let next = signed.next(now)?;
            Some((next.to_string(), next.until.millis()))
        }),
        signed_by: state.signed.map(|signed| signed.by),
        due_at: state.due_at.millis(),
        last_contact: state.last_contact.map(Timestamp::millis),
        operator: state.operator,
        failures: state.failures,
        failing_since: state.failed.map(|(since, _)| since.millis()),
        reason: state.reason.map(|reason| reason.words().to_owned()),
        last_error: state.last_error,
        last_attempt: last.map(attempt),
    }
}

fn attempt(attempt: Attempt) -> AttemptReport {
    AttemptReport {
        lease: attempt.token,
        peer: attempt.peer,
        started: attempt.started.millis(),
        ended: attempt.ended.millis(),
        verdict: attempt.verdict.to_string(),
        requests: attempt.requests,
        bytes_fetched: attempt.bytes_fetched,
        bytes_plain: attempt.bytes_plain,
        millis: attempt.millis,
        packages: attempt.packages,
        put: attempt.put,
        skipped: attempt.skipped,
        error: attempt.error,
    }
}

/// Tells peers what the operator wishes; what came of it, a line a peer.
///
/// # Errors
/// The same, where a peer that was named wasn't told.
async fn wish(hub: &Hub, what: &str, mut peers: Vec<String>, why: &str) -> Result<String, String> {
    let word = |(wish, word): &(PeerWish, &str)| (*word == what).then_some(*wish);
    let wish = PeerWish::WORDS.iter().find_map(word);
    let wish = wish.ok_or_else(|| format!("{what:?} is nothing that a peer can be told"))?;
    let is_all = peers.is_empty();
    // Where those are that aren't here.
    let known = hub.store.call(|store| store.peers()).await.map_err(|cause| cause.to_string())?;
    let elsewhere: BTreeMap<String, String> = known
        .into_iter()
        .filter_map(|peer| Some((peer.name, peer.session?.arbiter)))
        .filter(|(name, _)| hub.sessions.borrow_mut().by_name(name).is_none())
        .collect();
    if is_all {
        peers = hub.sessions.borrow().iter().map(|(name, _)| name.to_owned()).collect();
        peers.extend(elsewhere.keys().cloned());
    }
    let (mut said, mut untold) = (String::new(), 0);
    for name in peers {
        let mut sessions = hub.sessions.borrow_mut();
        let obeys = sessions.by_name(&name).map(|session| {
            if session.obeys.is_some() {
                let why = one_line(why, TEXT_BYTES_MAX);
                session.outbox.send(&ToPeer::Wish { what: wish, why });
            }
            session.obeys
        });
        let came = match obeys {
            Some(Some(true)) => format!("told to {what}"),
            Some(Some(false)) => format!("told to {what}, and its owner lets it refuse"),
            Some(None) => "not told: its agent is too old to understand it".to_owned(),
            None => match elsewhere.get(&name) {
                Some(arbiter) => format!("not told: it is connected to {arbiter}; ask there"),
                None => "not told: it isn't connected".to_owned(),
            },
        };
        info!(peer = name.as_str(), what, came; "the operator wishes something of a peer");
        untold += usize::from(came.starts_with("not"));
        said.push_str(&format!("{name}: {came}\n"));
    }
    match untold {
        _ if said.is_empty() => Err("no peer is connected".to_owned()),
        0 => Ok(said),
        _ if is_all => Ok(said),
        _ => Err(said.trim_end().to_owned()),
    }
}

async fn peers(admin: &Admin) -> Result<Vec<PeerReport>, StoreError> {
    let hub = &admin.hub;
    let own = PROGRAM.rsplit('/').next().unwrap_or_default();
    // By the same rule as that of the operator's, from this version on.
    let newest = Floor { version: own.to_owned(), from: 0 };
    let (known, now) = (hub.store.call(|store| store.peers()).await?, hub.now());
    // Only of those that are connected here; another arbiter knows its own.
    let ends: BTreeMap<String, u64> = hub
        .sessions
        .borrow()
        .iter()
        .map(|(name, session)| (name.to_owned(), session.ends.saturating_mul(1000)))
        .collect();
    let reports = known.into_iter().map(|peer| {
        let session = peer.session;
        PeerReport {
            is_old: newest.is_above(&peer.agent),
            too_old_from: admin.door.too_old_from(&peer.agent).map(Timestamp::millis),
            agent: peer.agent,
            is_connected: session.is_some(),
            slots: session.as_ref().map_or(0, |session| session.slots.into()),
            address: session.as_ref().map(|session| session.address.clone()),
            certificate_ends: ends.get(&peer.name).copied(),
            writes: session.as_ref().map(|session| session.writes.clone()),
            reaches: session.as_ref().map(|session| session.reaches.to_string()),
            arbiter: session.map(|session| session.arbiter).filter(|name| !name.is_empty()),
            leases: peer.held,
            granted: peer.granted,
            finished: peer.finished,
            failed: peer.failed,
            expired: peer.expired,
            trust: peer.trust.word().to_owned(),
            trust_why: peer.trust_why,
            confirmed: peer.confirmed,
            audits: peer.audits,
            record: peer.record.why().map(|why| match peer.record.rests(now) {
                true => format!("rests: {why}"),
                false => format!("one at a time: {why}"),
            }),
            last_seen: peer.last_seen.millis(),
            peer: peer.name,
        }
    });
    Ok(reports.collect())
}

fn wrap<T: Serialize>(result: Result<T, StoreError>) -> String {
    match result {
        Ok(value) => serde_json::to_string(&AdminAnswer::Ok(value))
            .unwrap_or_else(|cause| error(&cause.to_string())),
        Err(cause) => error(&cause.to_string()),
    }
}

fn error(why: &str) -> String {
    serde_json::json!({ "error": why }).to_string()
}

/// Asks the arbiter behind the socket `path`, from another process; blocks.
///
/// # Errors
/// One line that says what to do; also where there is only an answer from before.
pub fn ask<T: DeserializeOwned>(path: &Path, request: &Request) -> Result<T, String> {
    match ask_or_last(path, request)? {
        (value, None) => Ok(value),
        (_, Some(why)) => Err(why),
    }
}

/// Asks the arbiter behind the socket `path`, from another process; blocks. With an answer from before
/// comes why there is no newer one.
///
/// # Errors
/// One line that says what to do.
pub fn ask_or_last<T: DeserializeOwned>(
    path: &Path,
    request: &Request,
) -> Result<(T, Option<String>), String> {
    let attempt = || -> io::Result<String> {
        let mut stream = std::os::unix::net::UnixStream::connect(path)?;
        stream.set_read_timeout(Some(CLIENT_MAX))?;
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        io::BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = attempt().map_err(|cause| {
        let help = match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "; start the arbiter, or name its folder with --state"
            }
            io::ErrorKind::PermissionDenied => "; run this as the arbiter's user or as root",
            _ => "",
        };
        format!("ask the arbiter at {}: {cause}{help}", path.display())
    })?;
    match serde_json::from_str(&answer) {
        Ok(AdminAnswer::Ok(value)) => Ok((value, None)),
        Ok(AdminAnswer::Last(value, why)) => Ok((value, Some(why))),
        Ok(AdminAnswer::Error(why)) => Err(why),
        Err(cause) => Err(format!("the arbiter at {} answered oddly: {cause}", path.display())),
    }
}

/// All sources, by slug, a page after the other as `ask` gets it; where one fails, that is the last.
pub fn pages_of_sources<E>(
    mut ask: impl FnMut(&Request) -> Result<Vec<SourceReport>, E>,
) -> impl Iterator<Item = Result<Vec<SourceReport>, E>> {
    let mut after = Some(String::new());
    std::iter::from_fn(move || {
        let page = ask(&Request::Sources { after: after.take()? });
        if let Ok(page) = &page
            && page.len() == SOURCES_PAGE
        {
            after = page.last().map(|last| last.source.clone());
        }
        Some(page)
    })
}
