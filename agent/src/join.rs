//! Becoming a peer: the request goes to an arbiter's public listener, and is asked about until the
//! operator has answered.
//!
//! ```text
//!  peer.key, peer.csr ── asked ──▶ peer.join ── admitted ──▶ ca.crt, peer.crt ──▶ peer.join is removed
//! ```
//!
//! What was asked where is kept in `peer.join`, so that whoever comes next goes on: `join` again, or a
//! run. Asking again changes nothing, so two may do it at once. What comes back is kept only if the
//! authority that comes with it signed it, for our own key. That this authority is the right one is
//! known by the certificate of the web server, so plain HTTP is for private addresses alone.

use crate::config::{AgentConfig, JoinAddress};
use crate::pulse::Pulse;
use async_signal::{Signal, Signals};
use canister_link::dial::proxy::Proxies;
use canister_link::dial::web;
use canister_link::identity::{Files, Identity};
use canister_link::notify::Notifier;
use canister_link::{certificate, clock, durable, request};
use canister_protocol::codec::{decode, encode};
use canister_protocol::join::{self, Application, JoinAnswer, WorkTask};
use canister_protocol::limits::{CHAIN_BYTES_MAX, WORK_BITS_MAX, cut};
use canister_protocol::plain::one_line;
use log::{info, warn};
use smol::Timer;
use smol::future::FutureExt as _;
use smol::stream::StreamExt as _;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What was asked where, in the folder of the peer.
const ASKED: &str = "peer.join";
/// Longest such file, and longest answer, in bytes.
const FILE_BYTES_MAX: u64 = 4 * CHAIN_BYTES_MAX as u64;
/// How long one question may take.
const ASK_MAX: Duration = Duration::from_secs(25);
/// The longest pause between two questions, once the operator has let us wait for long.
const PAUSE_MAX: Duration = Duration::from_secs(10 * 60);
/// After a failure at least so long.
const FAILED_PAUSE: Duration = Duration::from_secs(30);

/// Why somebody is no peer yet. Displayed as one line with what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// The arbiter couldn't be asked; later it may be.
    Ask(JoinAddress, String),
    /// A file can't be read or written.
    File(PathBuf, io::Error),
    /// What came isn't what may be kept.
    Odd(String),
    /// It is a peer already.
    Peer(PathBuf),
    /// The operator said no.
    Refused(String),
    Request(request::RequestError),
    /// A token is wanted.
    Token,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(address, why) => write!(f, "ask {address}: {why}; --join-at names another"),
            Self::File(path, cause) => write!(
                f,
                "write {}: {cause}; use --dir with a folder that you may write to, or sudo",
                path.display()
            ),
            Self::Odd(why) => write!(f, "what the arbiter sent isn't kept: {why}"),
            Self::Peer(path) => write!(
                f,
                "this is a peer already: {} is there; `canister-agent check` tells whether all is \
                 well. To join anew, move it away",
                path.display()
            ),
            Self::Refused(why) if why.is_empty() => f.write_str("the operator refused the request"),
            Self::Refused(why) => write!(f, "the operator refused the request: {why}"),
            Self::Request(cause) => write!(f, "{cause}"),
            Self::Token => f.write_str(
                "this arbiter wants a token; ask its operator, and use `join --token TOKEN`",
            ),
        }
    }
}

impl std::error::Error for JoinError {}

impl From<request::RequestError> for JoinError {
    fn from(cause: request::RequestError) -> Self {
        Self::Request(cause)
    }
}

/// Somebody who asks.
pub struct Applying {
    client: ureq::Agent,
    address: JoinAddress,
    application: Application,
    files: Files,
    /// The fingerprint of the key.
    key: String,
    asked: PathBuf,
}

impl Applying {
    /// Makes key and request for `name`, unless they are there.
    ///
    /// # Errors
    /// [`JoinError`]; nothing that is there is overwritten.
    pub fn begin(
        config: &AgentConfig,
        name: &str,
        contact: Option<String>,
        token: Option<String>,
    ) -> Result<Self, JoinError> {
        let files = config.files();
        if files.certificate.symlink_metadata().is_ok() {
            return Err(JoinError::Peer(files.certificate));
        }
        let made = request::find_or_make(&config.dir, &files.key, name)?;
        let asked = config.dir.join(ASKED);
        // Who comes again needn't say again what was said.
        let before = read(&asked).map(|(_, application)| application).unwrap_or_default();
        let is_same = before.request == made.text;
        let application = Application {
            work: if is_same { before.work } else { 0 },
            request: made.text,
            contact: contact.unwrap_or(before.contact),
            token: token.unwrap_or(before.token),
        };
        let applying = Self {
            client: client(config),
            address: config.join_at.clone(),
            application,
            files,
            key: made.fingerprint,
            asked,
        };
        applying.keep()?;
        Ok(applying)
    }

    /// One that was begun before, if there is one and this is no peer yet.
    pub fn found(config: &AgentConfig) -> Option<Self> {
        let files = config.files();
        if files.certificate.exists() {
            return None;
        }
        let asked = config.dir.join(ASKED);
        let (address, application) = read(&asked)?;
        let (_, key) = request::read_out(&application.request)?;
        Some(Self { client: client(config), address, application, files, key, asked })
    }

    /// The words that tell our key from another's.
    pub fn words(&self) -> String {
        certificate::spoken(&self.key)
    }

    /// Where it is asked.
    pub const fn address(&self) -> &JoinAddress {
        &self.address
    }

    /// Asks once. Says how long to wait, or nothing: then this is a peer, and its files are in place.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn ask(&mut self) -> Result<Option<Duration>, JoinError> {
        for _ in 0..2 {
            match self.post()? {
                JoinAnswer::Waiting { again_secs } => {
                    return Ok(Some(Duration::from_secs(again_secs.into())));
                }
                JoinAnswer::Admitted { chain, authority } => {
                    self.admitted(&chain, &authority)?;
                    return Ok(None);
                }
                JoinAnswer::Refused { reason } => {
                    // It isn't asked about any more, unless its owner wants so.
                    let _ = fs::remove_file(&self.asked);
                    return Err(JoinError::Refused(one_line(&reason, 1000)));
                }
                JoinAnswer::Token {} => return Err(JoinError::Token),
                JoinAnswer::Work { bits } => {
                    let task = WorkTask::new(&self.application.request);
                    self.application.work = task.done(bits.min(WORK_BITS_MAX));
                    self.keep()?;
                }
            }
        }
        Err(JoinError::Ask(self.address.clone(), "it wants ever more work".to_owned()))
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), but for what may be better later.
    pub async fn wait(mut self) -> Result<(), JoinError> {
        let mut pause = Duration::ZERO;
        loop {
            let (asked, applying) = smol::unblock(move || (self.ask(), self)).await;
            self = applying;
            let least = match asked {
                Ok(None) => return Ok(()),
                Ok(Some(again)) => again,
                Err(cause @ JoinError::Ask(..)) => {
                    warn!(cause:%; "couldn't ask whether this peer is admitted; later again");
                    FAILED_PAUSE
                }
                // Another process of ours was quicker.
                Err(_) if self.files.certificate.exists() => return Ok(()),
                Err(cause) => return Err(cause),
            };
            // An operator is quick, or takes days.
            pause = (pause * 11 / 10).max(least).min(PAUSE_MAX);
            Timer::after(pause).await;
        }
    }

    fn post(&self) -> Result<JoinAnswer, JoinError> {
        let failed = |why: String| JoinError::Ask(self.address.clone(), why);
        let url = format!("{}{}", self.address, join::PATH);
        let answer = self
            .client
            .post(url)
            .header("Content-Type", "application/json")
            .send(encode(&self.application))
            .map_err(|cause| failed(told(&cause)))?;
        let status = answer.status();
        let mut body = Vec::new();
        let read = answer.into_body().into_reader().take(FILE_BYTES_MAX).read_to_end(&mut body);
        read.map_err(|cause| failed(cause.to_string()))?;
        decode(&body).map_err(|_| {
            let text = String::from_utf8_lossy(&body);
            let line = text.lines().next().unwrap_or_default().trim();
            let is_page = line.starts_with('<') || line.is_empty();
            failed(if is_page {
                format!("status {}, and no arbiter's answer", status.as_u16())
            } else {
                one_line(cut(line, 300), 300)
            })
        })
    }

    /// Puts what came in its place.
    fn admitted(&self, chain: &str, authority: &str) -> Result<(), JoinError> {
        let odd = |why: String| JoinError::Odd(why);
        let file = |path: &Path| {
            let path = path.to_owned();
            move |cause| JoinError::File(path, cause)
        };
        let folder = durable::folder(&self.files.certificate);
        let tried = tempfile::tempdir_in(folder).map_err(file(folder))?;
        let trial = Files {
            certificate: tried.path().join("peer.crt"),
            key: self.files.key.clone(),
            authority: tried.path().join("ca.crt"),
        };
        fs::write(&trial.certificate, chain).map_err(file(&trial.certificate))?;
        fs::write(&trial.authority, authority).map_err(file(&trial.authority))?;
        let identity = Identity::load(&trial).map_err(|cause| odd(cause.to_string()))?;
        identity.signed_by_authority(clock::wall_millis() / 1000).map_err(odd)?;
        for (path, text) in [(&self.files.authority, authority), (&self.files.certificate, chain)] {
            match durable::write_new(path, text.as_bytes(), 0o644) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                    let is_same = fs::read(path).is_ok_and(|there| there == text.as_bytes());
                    if !is_same {
                        let there = path.display();
                        return Err(odd(format!(
                            "{there} is there already, and another; move it away"
                        )));
                    }
                }
                written => written.map_err(file(path))?,
            }
        }
        let _ = fs::remove_file(&self.asked);
        Ok(())
    }

    fn keep(&self) -> Result<(), JoinError> {
        let text = format!("{}\n{}\n", self.address, encode(&self.application));
        let kept = durable::replace(&self.asked, text.as_bytes(), 0o600);
        kept.map_err(|cause| JoinError::File(self.asked.clone(), cause))
    }
}

fn client(config: &AgentConfig) -> ureq::Agent {
    web::client(&config.user_agent, ASK_MAX, Some(Proxies::of_environment()))
}

/// What ureq failed by, for people.
fn told(cause: &ureq::Error) -> String {
    match cause {
        ureq::Error::Timeout(_) => format!("no answer within {} s", ASK_MAX.as_secs()),
        ureq::Error::Io(cause) => canister_link::refusal::of_source(cause),
        other => other.to_string(),
    }
}

/// What was asked where; nothing if there is no such file, or not ours.
fn read(path: &Path) -> Option<(JoinAddress, Application)> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let (address, application) = text.split_once('\n')?;
    Some((address.parse().ok()?, decode(application.trim_end().as_bytes()).ok()?))
}

/// Waits, in front of a run, until somebody who asked is admitted; whether there is to be a run: else it
/// was stopped by a signal. At once where nobody asked.
///
/// # Errors
/// As [`Applying::wait`].
pub fn before_run(config: &AgentConfig) -> Result<bool, JoinError> {
    let Some(applying) = Applying::found(config) else {
        return Ok(true);
    };
    let signals = Signals::new([Signal::Term, Signal::Int]);
    let mut signals = signals.map_err(|cause| JoinError::File(PathBuf::from("signals"), cause))?;
    let notifier = Notifier::from_environment();
    notifier.ready();
    notifier.status(&format!("waiting to be admitted; its words: {}", applying.words()));
    info!(at:% = applying.address, words = applying.words(); "waiting to be admitted");
    let pulse = Pulse::new(notifier, None);
    let stopped = async {
        signals.next().await;
        Ok(false)
    };
    let beating = async {
        pulse.beat().await;
        smol::future::pending().await
    };
    let admitted = async {
        applying.wait().await?;
        info!("admitted");
        Ok(true)
    };
    smol::block_on(admitted.or(stopped).or(beating))
}
