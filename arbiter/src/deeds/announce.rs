//! Taking in announcements: who may, how often, which source is meant, and what is to be done. An
//! announcement is a hint: it makes a source due, and nothing of it is believed.
//!
//! | what is announced | what is done |
//! | --- | --- |
//! | a Cid that is the source's head, or that was announced last and led to a contact | nothing |
//! | anything, of a source that is due by an announcement already | the Cid is remembered: only the latest counts |
//! | anything else | the source is due at once |
//! | a source that nobody knows, by its uri | a peer looks at it; if it is an APT repository it waits for the operator |
//! | by the holder of a key that the source names or is signed by, that source | it is due at once, whatever the policy says of others |
//! | signed by a key that no source names | as by anybody; the host is asked anew which keys its owner names |
//! | by one with an announcer's certificate | as by a peer of a name: the policy says for which sources |
//! | by the operator, one that was found to be no APT repository | it is looked at again |

use crate::deeds::pass_on::PassOn;
use crate::hub::Hub;
use crate::hub::store_thread::{OPERATOR_MAX, Silence};
use crate::rules::announcement::{ADDRESSES_MAX, Announcement, Layout, News, Of};
use crate::rules::announcer::{KeyId, SignedBy, SignedOnce, certified};
use crate::rules::crowd::place;
use crate::rules::entry::Subject;
use crate::rules::hints::Hints;
use crate::rules::policy::{Announcer, Policy};
use crate::rules::rate::{Buckets, Rate};
use crate::rules::schedule::Standing;
use crate::rules::timestamp::Timestamp;
use crate::store::{Discovered, REFUSED_FOR, SourceState, Stage, Store, StoreError};
use canister_protocol::address::is_public_host;
use canister_protocol::limits::SLUG_BYTES_MAX;
use canister_protocol::{Source, Uri};
use log::{debug, info};
use rustls::RootCertStore;
use std::cell::RefCell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Ranking of a source that nobody has judged: the last.
const RANKING_DISCOVERED: u8 = 5;
/// How often one address may announce: enough for a build that announces twenty sources.
const PER_ANNOUNCER: Rate = Rate { burst: 20, every: Duration::from_secs(6) };
/// How often those whom the operator knows may make one source due.
const PER_SOURCE: Rate = Rate { burst: 3, every: Duration::from_secs(60) };
/// How often all strangers together may announce: each looks through the sources that are known.
const ALL: Rate = Rate { burst: 100, every: Duration::from_millis(50) };
/// How old it may be which keys sources name.
const KEYS_FOR: Duration = Duration::from_secs(10);
/// How long an announcer waits for the store.
const ANSWER_MAX: Duration = Duration::from_millis(900);
/// Most announcers, and most sources, that are limited at once.
const LIMITED_MAX: usize = 4096;

/// Who has announced how much lately.
#[derive(Debug)]
pub struct Limits {
    all: Buckets<()>,
    announcers: Buckets<Limited>,
    sources: Buckets<String>,
    strangers: Hints,
    /// Those that announce themselves: what they say in vain costs them patience, too.
    owners: Hints,
}

/// Those who share a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Limited {
    /// As [`place`] has it.
    Address(IpAddr),
    Peer(String),
    /// Whoever holds it.
    Key(KeyId),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            all: Buckets::new(ALL, 1),
            announcers: Buckets::new(PER_ANNOUNCER, LIMITED_MAX),
            sources: Buckets::new(PER_SOURCE, LIMITED_MAX),
            strangers: Hints::new(LIMITED_MAX),
            owners: Hints::of_owners(LIMITED_MAX),
        }
    }
}

impl Limits {
    /// Counts one announcement by `announcer`.
    ///
    /// # Errors
    /// How long it has to wait.
    fn announcer(&mut self, announcer: &Announcer, now: Timestamp) -> Result<(), Duration> {
        let limited = match announcer {
            Announcer::Address(address) => Limited::Address(place(*address)),
            Announcer::Peer(name) => Limited::Peer(name.clone()),
            // Counted by their keys.
            Announcer::Certified(_) | Announcer::Itself => return Ok(()),
        };
        self.announcers.take(&limited, now)
    }

    /// Counts one announcement that makes a source due, which is polled each `longest` anyway. Whom the operator
    /// knows has a limit that doesn't grow.
    fn source(
        &mut self,
        state: &SourceState,
        by: By,
        longest: Duration,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let slug = &state.source.slug;
        let head = state.origin.as_ref().map(|origin| &*origin.head);
        match by {
            By::Known => self.sources.take(slug, now),
            By::Owner => self.owners.take(slug, head, longest, now),
            By::Stranger => self.strangers.take(slug, head, longest, now),
        }
    }
}

/// Whose announcement it is, to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// One whom the operator knows: a peer, or named in the policy.
    Known,
    Owner,
    Stranger,
}

/// What became of an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Nobody knew the source; it has this slug now and is looked at.
    Discovered(String),
    /// These sources were made due by it.
    Due(Vec<String>),
    /// Nothing is new of these, or they are due already.
    Known(Vec<String>),
    /// These were made due by it as by anybody's, for no source names the key that it is signed by, yet.
    Unnamed(Vec<String>),
}

/// What is told of a key that no source names.
pub const UNNAMED: &str = "no source names the key that it is signed by";

/// Why an announcement was not taken. Displayed as one line for whoever announced.
#[derive(Debug)]
pub enum Refusal {
    /// Too many sources wait for a look or for the operator.
    Full,
    /// The policy is against it; which rule.
    Policy(String),
    /// The store doesn't answer; it may be done all the same.
    Silent(Silence),
    Store(StoreError),
    /// Too much was announced; how long to wait.
    TooOften(Duration),
    /// There is no such source.
    Unknown(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str(
                "too many announced sources wait to be looked at or approved; try again tomorrow",
            ),
            Self::Policy(rule) => f.write_str(rule),
            Self::Silent(silence) => {
                write!(f, "{}; try again later", silence.for_everybody())
            }
            // The cause is the operator's to read.
            Self::Store(_) => f.write_str("the arbiter's store failed; try again later"),
            Self::TooOften(wait) => write!(
                f,
                "too many announcements; try again in {} s",
                wait.as_millis().div_ceil(1000)
            ),
            Self::Unknown(what) => f.write_str(what),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(cause: StoreError) -> Self {
        Self::Store(cause)
    }
}

/// What an announcement means for a source that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Known,
    /// It is due already; the newer Cid is to be remembered.
    Newer,
    /// It is to be made due.
    Due,
}

fn means(news: Option<&News>, state: &SourceState, by: Option<&Announcer>) -> Means {
    let is_operator = by.is_none();
    match state.discovery {
        // What failed may be waiting for long.
        Some(Stage::Look | Stage::Trust) if is_operator => return Means::Due,
        // What was discovered is looked at anyway, or waits for the operator.
        Some(Stage::Look | Stage::Trust | Stage::Found) => return Means::Known,
        // Its owner said no, and alone takes that back.
        _ if state.owner.stopped.is_some() => match by {
            None | Some(Announcer::Itself) => return Means::Due,
            Some(_) => return Means::Known,
        },
        _ => {}
    }
    let cid = news.map(ToString::to_string);
    let head = state.origin.as_ref().map(|origin| &origin.head);
    let is_last = cid.is_some() && cid == state.announced_cid;
    match news {
        // One that was given up for its silence comes back by any announcement.
        _ if state.standing != Standing::Active && !state.is_announced => Means::Due,
        Some(News::Head(_)) if cid.as_ref() == head => Means::Known,
        _ if state.is_announced && (is_last || cid.is_none()) => Means::Known,
        _ if state.is_announced => Means::Newer,
        // It can't be compared with the head; but it led to a contact, or it would be forgotten.
        Some(News::Other(_)) if is_last => Means::Known,
        _ => Means::Due,
    }
}

/// The listed sources that an announcement names.
fn named(store: &mut Store, of: &Of) -> Result<Vec<SourceState>, StoreError> {
    let slugs = match of {
        Of::Slug(slug) => vec![slug.clone()],
        Of::Uris(uris) => store.sources_at(uris)?.into_iter().map(|source| source.slug).collect(),
    };
    let states = slugs.iter().map(|slug| store.source(slug));
    Ok(states.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// Where all announcements come together, whoever brings them.
pub struct Announcements {
    hub: Rc<Hub>,
    limits: RefCell<Limits>,
    /// Which keys sources name, and when that was read.
    keys: RefCell<(Timestamp, HashSet<KeyId>)>,
    once: RefCell<SignedOnce>,
    /// Who may certify announcers.
    roots: Arc<RootCertStore>,
    pass_on: PassOn,
}

/// Who signed an announcement.
enum Signer {
    /// One with an announcer's certificate of this name.
    Certified(String),
    /// Who holds a key that no source names.
    Nobody,
    /// Who holds a key that a source names.
    Owner(KeyId),
}

impl Announcements {
    /// Nobody has announced anything yet; what is taken is passed on to these addresses.
    pub fn new(hub: Rc<Hub>, roots: Arc<RootCertStore>, pass_on: Vec<String>) -> Rc<Self> {
        let pass_on = PassOn::start(&hub, pass_on);
        Rc::new(Self {
            hub,
            limits: RefCell::default(),
            keys: RefCell::default(),
            once: RefCell::default(),
            roots,
            pass_on,
        })
    }

    /// Counts one announcement by `announcer`. To be asked before its body is read; strangers share another limit
    /// once it was.
    ///
    /// # Errors
    /// [`Refusal::TooOften`]
    pub fn admit(&self, announcer: &Announcer, now: Timestamp) -> Result<(), Refusal> {
        self.limits.borrow_mut().announcer(announcer, now).map_err(Refusal::TooOften)
    }

    /// Takes in one announcement, whose announcer's limit was asked already; `None` announces as the
    /// operator, for whom neither policy nor limits hold.
    ///
    /// # Errors
    /// [`Refusal`]; nothing was done then, unless the store was silent.
    pub async fn take(
        &self,
        announcer: Option<Announcer>,
        announcement: Announcement,
    ) -> Result<Taken, Refusal> {
        let longest = if announcer.is_some() { ANSWER_MAX } else { OPERATOR_MAX };
        let taken = self.take_in(announcer, announcement);
        self.hub.store.in_time(longest, taken).await.unwrap_or_else(|it| Err(Refusal::Silent(it)))
    }

    async fn take_in(
        &self,
        announcer: Option<Announcer>,
        announcement: Announcement,
    ) -> Result<Taken, Refusal> {
        let hub = &self.hub;
        let now = hub.now();
        let Announcement { news, of, layout, signed, passed } = announcement;
        let signer = match &signed {
            Some(signed) => Some(self.signer(signed, now).await?),
            None => None,
        };
        let is_unnamed = matches!(signer, Some(Signer::Nobody));
        let (announcer, key) = match signer {
            Some(Signer::Certified(name)) => (Some(Announcer::Certified(name)), None),
            Some(Signer::Owner(key)) => (announcer, Some(key)),
            Some(Signer::Nobody) | None => (announcer, None),
        };
        if key.is_none() && matches!(announcer, Some(Announcer::Address(_))) {
            self.limits.borrow_mut().all.take(&(), now).map_err(Refusal::TooOften)?;
        }
        let asked = of.clone();
        let mut found = hub.store.call(move |store| named(store, &asked)).await?;
        found.retain(|state| !is_forgotten(state, now));
        // Of one place there may be several suites.
        if let Some(layout) = &layout {
            found.retain(|state| is_laid_out(&state.source, layout));
        }
        let policy = hub.policy();
        if let (Of::Uris(uris), true) = (&of, found.is_empty()) {
            let uri = stranger(announcer.as_ref(), &policy, uris)?;
            return self.discover(announcer.as_ref(), &policy, (uri, layout), now).await;
        }
        let refused = found.iter().find(|state| state.discovery == Some(Stage::Refused));
        if let (None, Some(state)) = (&announcer, refused) {
            let (slug, again) = (state.source.slug.clone(), state.source.slug.clone());
            hub.store.call(move |store| store.look_again(&again, now)).await?;
            hub.wake();
            return Ok(Taken::Discovered(slug));
        }
        let by = |state: &SourceState| match &key {
            Some(key) if state.is_owned_by(key) => Some(&Announcer::Itself),
            _ => announcer.as_ref(),
        };
        let found = allowed(&policy, &by, &of, found).map_err(|why| match why {
            Refusal::Policy(rule) if is_unnamed => {
                Refusal::Policy(format!("{rule}; and {UNNAMED}"))
            }
            why => why,
        })?;
        let places: Vec<(String, Uri)> = found
            .iter()
            .filter_map(|it| Some((it.source.slug.clone(), Uri::parse(&it.source.uri).ok()?)))
            .collect();

        // A Cid that one of several sources at an address has already is that one's.
        let meanings: Vec<Means> =
            found.iter().map(|it| means(news.as_ref(), it, by(it))).collect();
        let head = news.as_ref().filter(|news| matches!(news, News::Head(_)));
        let is_known = head.is_some() && meanings.contains(&Means::Known);
        let named = found.iter().map(|state| state.source.slug.clone()).collect();
        let mut due = Vec::new();
        let mut wait = None;
        let terms = hub.terms();
        for (state, meaning) in found.into_iter().zip(meanings) {
            let by = by(&state);
            let whose = match by {
                Some(Announcer::Itself) => By::Owner,
                Some(Announcer::Address(_)) if !policy.answer(&state.source, by).is_of_named() => {
                    By::Stranger
                }
                _ => By::Known,
            };
            let longest = state.schedule(&terms.polls).interval;
            let is_free = meaning == Means::Newer || by.is_none();
            let due_to = (state.source.slug.clone(), whose == By::Owner || by.is_none());
            match meaning {
                Means::Known => {}
                _ if is_known => {}
                _ if is_free => due.push(due_to),
                _ => match self.limits.borrow_mut().source(&state, whose, longest, now) {
                    Ok(()) => due.push(due_to),
                    Err(until) => wait = wait.max(Some(until)),
                },
            }
        }
        if due.is_empty() {
            debug!(news:? = news, of:? = of; "announcement of what is known");
            return wait.map_or(Ok(Taken::Known(named)), |wait| Err(Refusal::TooOften(wait)));
        }
        let cid = news.map(|news| news.to_string());
        let slugs = due.clone();
        let announced = cid.clone();
        hub.store
            .call(move |store| {
                due.iter().try_for_each(|(slug, is_owners)| {
                    if is_unnamed {
                        store.ask_owner_anew(slug, now)?;
                    }
                    match is_owners {
                        true => store.announce_for_owner(slug, cid.as_deref(), now),
                        false => store.announce(slug, cid.as_deref(), now),
                    }
                })
            })
            .await?;
        let announcer = said_by(announcer.as_ref());
        let key = key.map(|key| key.to_string()).unwrap_or_default();
        for (source, _) in &slugs {
            info!(source, announcer, key; "announced");
        }
        let is_due = |(slug, _): &&(String, Uri)| slugs.iter().any(|(due, _)| due == slug);
        let mut uris: Vec<Uri> = places.iter().filter(is_due).map(|(_, uri)| uri.clone()).collect();
        uris.dedup();
        uris.truncate(ADDRESSES_MAX);
        self.pass_on.offer(announced.as_deref(), &uris, &passed);
        hub.wake();
        let slugs = slugs.into_iter().map(|(slug, _)| slug).collect();
        Ok(if is_unnamed { Taken::Unnamed(slugs) } else { Taken::Due(slugs) })
    }

    /// Who signed an announcement: if the authority or a source knows the key, it must have signed this, for
    /// the first time.
    async fn signer(&self, signed: &SignedBy, now: Timestamp) -> Result<Signer, Refusal> {
        let id = signed.key.id();
        let signer = if signed.chain.is_empty() {
            if !self.is_named(&id, now).await? {
                return Ok(Signer::Nobody);
            }
            Signer::Owner(id.clone())
        } else {
            let revoked = Arc::clone(&self.hub.revocations.borrow());
            let name = certified(&signed.chain, &self.roots, &revoked, now);
            Signer::Certified(name.map_err(Refusal::Policy)?)
        };
        self.once.borrow_mut().take(signed, now).map_err(Refusal::Policy)?;
        let taken = self.limits.borrow_mut().announcers.take(&Limited::Key(id), now);
        taken.map(|()| signer).map_err(Refusal::TooOften)
    }

    /// Whether a source names the key.
    async fn is_named(&self, key: &KeyId, now: Timestamp) -> Result<bool, Refusal> {
        let is_fresh = self.keys.borrow().0.plus(KEYS_FOR) > now;
        if !is_fresh {
            let keys = self.hub.store.call(|store| store.announcer_keys()).await?;
            let keys = keys.iter().filter_map(|key| KeyId::named(key)).collect();
            self.keys.replace((now, keys));
        }
        Ok(self.keys.borrow().1.contains(key))
    }

    /// Takes in a source that is not known, if the policy allows it.
    async fn discover(
        &self,
        announcer: Option<&Announcer>,
        policy: &Policy,
        (uri, layout): (&Uri, Option<Layout>),
        now: Timestamp,
    ) -> Result<Taken, Refusal> {
        if let Some(announcer) = announcer {
            let subject = Subject::at(&uri.to_string()).map_err(Refusal::Unknown)?;
            let answer = policy.answer_on(&subject, Some(announcer));
            if !answer.is_allowed {
                return Err(Refusal::Policy(answer.to_string()));
            }
        }
        let source = candidate(uri, layout);
        source.check().map_err(|why| Refusal::Unknown(why.to_string()))?;
        let by = match announcer {
            Some(Announcer::Address(address)) => place(*address).to_string(),
            announcer => said_by(announcer),
        };
        let (is_trusted, uri) = (policy.settings.trust_announcements, source.uri.clone());
        let hub = &self.hub;
        let discovered =
            hub.store.call(move |store| store.discover(&source, &by, is_trusted, now)).await?;
        match discovered {
            Discovered::As(slug) => {
                info!(source = slug.as_str(), uri, announcer = said_by(announcer); "discovered");
                hub.wake();
                Ok(Taken::Discovered(slug))
            }
            Discovered::Full => Err(Refusal::Full),
        }
    }
}

/// Who announces, in a word.
fn said_by(announcer: Option<&Announcer>) -> String {
    announcer.map_or_else(|| "operator".to_owned(), ToString::to_string)
}

/// Which of the addresses of an unknown source is looked at: the first on the public internet, or
/// whatever the operator names.
fn stranger<'a>(
    announcer: Option<&Announcer>,
    policy: &Policy,
    uris: &'a [Uri],
) -> Result<&'a Uri, Refusal> {
    let may_be = |uri: &&Uri| {
        announcer.is_none() || is_public_host(uri.host()) || policy.is_named(&uri.to_string())
    };
    uris.iter().find(may_be).ok_or_else(|| {
        Refusal::Unknown(format!(
            "no source is at {}, and it isn't on the public internet",
            uris[0]
        ))
    })
}

/// Whether a source is the one that an announcement means by its suite.
fn is_laid_out(source: &Source, layout: &Layout) -> bool {
    let bare = |suite: &str| suite.trim_start_matches("./").trim_matches('/').to_owned();
    bare(&source.suite) == bare(&layout.suite)
        && (layout.component.is_none() || source.component == layout.component)
        && (layout.architecture.is_none() || source.architecture == layout.architecture)
}

/// What is looked at where `uri` was announced: the suite that is said, else a flat repository, for
/// nothing is known of another's suites.
fn candidate(uri: &Uri, layout: Option<Layout>) -> Source {
    let mut named = format!("{}{}", uri.host(), uri.normal().path()).to_ascii_lowercase();
    if let Some(Layout { suite, component, architecture }) = &layout {
        for part in [Some(suite), component.as_ref(), architecture.as_ref()].into_iter().flatten() {
            named += &format!("-{}", part.trim_matches(['.', '/']).to_ascii_lowercase());
        }
    }
    let flat = Layout { suite: "./".to_owned(), component: None, architecture: None };
    let Layout { suite, component, architecture } = layout.unwrap_or(flat);
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'+' | b'-' => byte as char,
        _ => '-',
    };
    let slug: String = named.bytes().map(byte).take(SLUG_BYTES_MAX).collect();
    Source {
        slug: slug.trim_matches('-').to_owned(),
        uri: uri.to_string(),
        suite,
        component,
        architecture,
        ranking: RANKING_DISCOVERED,
        ..Source::default()
    }
}

/// Whether it was no APT repository so long ago that it may be one now.
fn is_forgotten(state: &SourceState, now: Timestamp) -> bool {
    let at = state.discovered_at.unwrap_or_default();
    state.discovery == Some(Stage::Refused) && at.plus(REFUSED_FOR) <= now
}

/// Those of the named sources that may be announced by this announcer.
fn allowed<'a>(
    policy: &Policy,
    by: &impl Fn(&SourceState) -> Option<&'a Announcer>,
    of: &Of,
    mut found: Vec<SourceState>,
) -> Result<Vec<SourceState>, Refusal> {
    if found.is_empty() {
        return Err(Refusal::Unknown(match of {
            Of::Slug(slug) => format!("no source is called {slug:?}"),
            Of::Uris(uris) => format!("no source is at {}", uris[0]),
        }));
    }
    let first = found[0].discovery.and(found[0].discovered_at);
    let is_waiting = |state: &SourceState| state.discovery == Some(Stage::Found);
    found.retain(|state| state.is_listed || is_waiting(state));
    if found.is_empty() {
        return Err(Refusal::Policy(match first {
            None => "the source is on the source list no more".to_owned(),
            Some(at) => {
                let again = at.plus(REFUSED_FOR);
                format!("it was looked at, and is no APT repository; again after {again} UTC")
            }
        }));
    }
    // Not even the operator's announcement undoes a decision: it may come from a script.
    let mut against = None;
    found.retain(|state| {
        if let Some(decision) = &state.delisted {
            let slug = &state.source.slug;
            against = Some(format!("delisted: {decision}; the operator may run sync {slug}"));
        }
        state.delisted.is_none()
    });
    found.retain(|state| {
        // The operator announces whatever the policy says.
        let Some(announcer) = by(state) else { return true };
        let answer = policy.answer(&state.source, Some(announcer));
        if !answer.is_allowed {
            against = Some(answer.to_string());
        }
        answer.is_allowed
    });
    match against {
        Some(rule) if found.is_empty() => Err(Refusal::Policy(rule)),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canister_protocol::Head;
    use canister_protocol::message::Origin;

    fn source(uri: &str, suite: &str) -> Source {
        Source {
            slug: "a".into(),
            uri: uri.into(),
            suite: suite.into(),
            component: (!suite.ends_with('/')).then(|| "main".into()),
            architecture: (!suite.ends_with('/')).then(|| "all".into()),
            ranking: 3,
            ..Source::default()
        }
    }

    #[test]
    fn a_source_is_named_by_its_uri_with_or_without_its_suite() {
        for (announced, uri, suite, is_named) in [
            ("https://repo.example", "https://repo.example/", "./", true),
            ("http://REPO.example:80/", "https://repo.example", "./", true),
            ("https://repo.example:8443", "https://repo.example", "./", false),
            ("https://repo.example/apt", "https://repo.example", "./", false),
            ("https://repo.example/apt", "https://repo.example", "apt/", true),
            ("https://repo.example", "https://repo.example", "apt/", true),
            ("https://h/apt/", "https://h/apt", "ios/1", true),
            ("https://h/apt/dists/ios/1/", "https://h/apt", "ios/1", true),
            ("https://h/apt/dists", "https://h/apt", "ios/1", false),
            ("https://h/apt/dists/ios/2", "https://h/apt", "ios/1", false),
            ("https://i/apt", "https://h/apt", "./", false),
            ("http://[::1]:8080", "http://[0::1]:8080/", "./", true),
            ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x/", "./", true),
        ] {
            let uri_announced = Uri::parse(announced).unwrap();
            let source = source(uri, suite);
            assert_eq!(
                crate::rules::sources::is_of(&uri_announced, &source),
                is_named,
                "{announced} {uri} {suite}"
            );
        }
    }

    #[test]
    fn only_what_is_new_makes_a_source_due() {
        let head = |byte| Head::from_sha256([byte; 32]);
        let (old, new) = (News::Head(head(1)), News::Head(head(2)));
        let other = |text: &str| News::Other(text.into());
        let state = |is_announced, announced: Option<&News>| SourceState {
            is_announced,
            announced_cid: announced.map(ToString::to_string),
            origin: Some(Origin { head: head(1).to_string(), ..Origin::default() }),
            ..SourceState::new(source("https://h", "./"), Timestamp::default())
        };
        let peer = Announcer::Peer("p".into());
        let somebody = Some(&peer);
        let (x, y) = (other("bx"), other("by"));
        for (news, is_announced, last, meaning) in [
            (Some(&old), false, None, Means::Known),
            (Some(&old), true, Some(&new), Means::Known),
            (Some(&new), false, None, Means::Due),
            (Some(&new), true, Some(&new), Means::Known),
            (Some(&new), true, Some(&x), Means::Newer),
            // It was looked for and not found: the server may be behind its announcement.
            (Some(&new), false, Some(&new), Means::Due),
            (Some(&x), false, None, Means::Due),
            (Some(&x), false, Some(&x), Means::Known),
            (Some(&x), true, Some(&x), Means::Known),
            (Some(&x), false, Some(&y), Means::Due),
            (Some(&x), true, Some(&y), Means::Newer),
            (None, false, None, Means::Due),
            (None, false, Some(&x), Means::Due),
            (None, true, None, Means::Known),
            (None, true, Some(&new), Means::Known),
        ] {
            let state = state(is_announced, last);
            assert_eq!(means(news, &state, somebody), meaning, "{news:?} {is_announced} {last:?}");
        }
        let silent = SourceState { standing: Standing::Delisted, ..state(false, Some(&x)) };
        for news in [None, Some(&old), Some(&x)] {
            assert_eq!(means(news, &silent, somebody), Means::Due, "{news:?}");
        }
    }

    #[test]
    fn what_is_discovered_is_called_after_its_place() {
        for (uri, slug) in [
            ("https://Repo.Example/", "repo.example"),
            ("http://repo.example:8080/apt/iOS~x/", "repo.example-apt-ios-x"),
            ("http://[2001:db8::1]//a/", "2001-db8--1-a"),
        ] {
            let source = candidate(&Uri::parse(uri).unwrap(), None);
            assert_eq!(source.slug, slug);
            assert_eq!((source.check(), source.ranking), (Ok(()), 5));
        }
        let layout = |suite: &str, more: Option<&str>| Layout {
            suite: suite.into(),
            component: more.map(str::to_owned),
            architecture: more.map(str::to_owned),
        };
        for (layout, slug, release) in [
            (
                layout("stable", Some("main")),
                "h-apt-stable-main-main",
                "https://h/apt/dists/stable/",
            ),
            (layout("ios/", None), "h-apt-ios", "https://h/apt/ios/"),
        ] {
            let source = candidate(&Uri::parse("https://h/apt").unwrap(), Some(layout.clone()));
            assert_eq!((&*source.slug, source.check()), (slug, Ok(())));
            assert_eq!(source.release_dir(), release);
            assert!(is_laid_out(&source, &layout));
            assert!(!is_laid_out(&source, &Layout { suite: "x".into(), ..layout }));
        }
        let long = format!("https://h/{}", "a/".repeat(500));
        let source = candidate(&Uri::parse(&long).unwrap(), None);
        assert_eq!(source.check(), Ok(()));
    }

    #[test]
    fn addresses_of_one_customer_share_a_limit() {
        let mut limits = Limits::default();
        let now = Timestamp::from_millis(1_700_000_000_000);
        let mut at = |text: &str| {
            let announcer = Announcer::Address(text.parse().unwrap());
            limits.announcer(&announcer, now).is_ok()
        };
        for number in 0..PER_ANNOUNCER.burst {
            assert!(at(&format!("2001:db8:0:1::{number:x}")));
            assert!(at(["192.0.2.1", "::ffff:192.0.2.1"][number as usize % 2]));
        }
        assert!(!at("2001:db8:0:1:ffff::1"));
        assert!(!at("192.0.2.1"));
        assert!(at("2001:db8:0:2::1"));
        assert!(at("192.0.2.2"));
    }
}
