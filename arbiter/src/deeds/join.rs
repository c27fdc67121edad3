//! Taking in applications of those who want to become peers. What costs least is looked at first: how
//! often that address asked, how long the text is, whether there is a token or work behind it; only then
//! the signing request, and last the store. Nobody is admitted here: that is the operator's.

use crate::hub::Hub;
use crate::hub::store_thread::{PUBLIC_MAX, Silence};
use crate::rules::crowd::place;
use crate::rules::fault::network;
use crate::rules::rate::{Buckets, Rate};
use crate::store::{Applicant, ApplicantAnswer, StoreError};
use canister_authority::request::SigningRequest;
use canister_link::certificate::{NAMES_THAT_WORK, is_name};
use canister_protocol::codec::decode;
use canister_protocol::join::{Application, JoinAnswer, WorkTask};
use canister_protocol::limits::TEXT_BYTES_MAX;
use canister_protocol::plain::one_line;
use log::error;
use std::cell::RefCell;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// How often one address may ask: a household with a few machines, each of which asks again.
const PER_ADDRESS: Rate = Rate { burst: 20, every: Duration::from_secs(2) };
/// How often all together may ask the store.
const ALL: Rate = Rate { burst: 100, every: Duration::from_millis(50) };
/// Most addresses that are limited at once.
const LIMITED_MAX: usize = 4096;
/// When an applicant asks again, in seconds.
const AGAIN_SECS: u32 = 5;

/// What applicants have to bring.
#[derive(Debug, Clone)]
pub struct JoinTerms {
    /// Most of them that wait at once; 0: none is taken.
    pub most: u64,
    /// What the operator gave to those who may ask.
    pub token: Option<String>,
    /// So many bits of work.
    pub work: u32,
}

/// Applications, and how often they come.
pub struct Joins {
    hub: Rc<Hub>,
    terms: JoinTerms,
    addresses: RefCell<Buckets<IpAddr>>,
    all: RefCell<Buckets<()>>,
}

/// Why an application wasn't taken. Displayed as one line for the applicant.
#[derive(Debug)]
pub enum JoinRefusal {
    /// Nobody can join here.
    Closed,
    /// It is none; why.
    Malformed(String),
    Silent(Silence),
    Store(StoreError),
    /// How long to wait.
    TooOften(Duration),
}

impl std::fmt::Display for JoinRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("this arbiter takes no requests to join; ask its operator"),
            Self::Malformed(why) => f.write_str(why),
            Self::Silent(silence) => write!(f, "{}; try again later", silence.for_everybody()),
            // The cause is the operator's to read.
            Self::Store(_) => f.write_str("the arbiter's store failed; try again later"),
            Self::TooOften(wait) => {
                let secs = wait.as_millis().div_ceil(1000);
                write!(f, "too many requests to join; try again in {secs} s")
            }
        }
    }
}

impl Joins {
    /// Takes applications on these terms.
    pub fn new(hub: Rc<Hub>, terms: JoinTerms) -> Self {
        let addresses = RefCell::new(Buckets::new(PER_ADDRESS, LIMITED_MAX));
        Self { hub, terms, addresses, all: RefCell::new(Buckets::new(ALL, 1)) }
    }

    /// Whether this address may ask now; to be called before anything of it is read.
    ///
    /// # Errors
    /// `Closed` or `TooOften`.
    pub fn may_ask(&self, address: IpAddr) -> Result<(), JoinRefusal> {
        if self.terms.most == 0 {
            return Err(JoinRefusal::Closed);
        }
        let taken = self.addresses.borrow_mut().take(&place(address), self.hub.now());
        taken.map_err(JoinRefusal::TooOften)
    }

    /// Takes an application in, and answers it.
    ///
    /// # Errors
    /// It can't be taken.
    pub async fn take(&self, body: &[u8], address: IpAddr) -> Result<JoinAnswer, JoinRefusal> {
        let malformed = |why: String| JoinRefusal::Malformed(one_line(&why, TEXT_BYTES_MAX));
        let asked: Application = decode(body).map_err(|cause| malformed(cause.to_string()))?;
        // As digests, so that how long it takes tells nothing.
        let is_own = |own: &str| WorkTask::new(own) == WorkTask::new(&asked.token);
        if self.terms.token.as_deref().is_some_and(|own| !is_own(own)) {
            return Ok(JoinAnswer::Token {});
        }
        if WorkTask::new(&asked.request).bits(asked.work) < self.terms.work {
            return Ok(JoinAnswer::Work { bits: self.terms.work });
        }
        let request = SigningRequest::from_pem(&asked.request, Path::new("the request"));
        let request = request.map_err(|cause| malformed(cause.to_string()))?;
        let name = request.name.filter(|name| is_name(name));
        let name = name
            .ok_or_else(|| malformed(format!("its name can't be a peer's: {NAMES_THAT_WORK}")))?;
        let now = self.hub.now();
        self.all.borrow_mut().take(&(), now).map_err(JoinRefusal::TooOften)?;
        let applicant = Applicant {
            key: request.fingerprint,
            name,
            request: asked.request,
            contact: asked.contact,
            network: network(&address.to_string()),
            applied_at: now,
            asked_at: now,
            answer: None,
        };
        let most = self.terms.most;
        let call = self.hub.store.call(move |store| store.applied(&applicant, most, now));
        let answered = self.hub.store.unless_troubled(PUBLIC_MAX, call).await;
        let answered = answered.map_err(JoinRefusal::Silent)?.map_err(|cause| {
            error!(cause:%; "the store failed; an application to join isn't taken");
            JoinRefusal::Store(cause)
        })?;
        Ok(match answered {
            Some(ApplicantAnswer::Admitted { chain, authority }) => {
                JoinAnswer::Admitted { chain, authority }
            }
            Some(ApplicantAnswer::Refused(why)) => JoinAnswer::Refused { reason: why },
            None => JoinAnswer::Waiting { again_secs: AGAIN_SECS },
        })
    }
}
