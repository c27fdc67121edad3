//! The store behind threads of its own. The store blocks (files, fsync, a lock, a server that is
//! away); the loop must not, and no door waits for it longer than its own time.
//!
//! SQLite has one thread, for it has one writer. While that publishes a million packages, or
//! another program keeps the file locked, every other call waits: sessions, renewals and the ends
//! of sessions go on, for they are answered from memory. PostgreSQL has several threads, each with
//! a connection. What may keep one for minutes ([`long`](StoreThread::long): what writes or deletes
//! many rows of the catalogue) has a queue of its own and all threads but one, so that grants,
//! renewals and greetings never stand behind it.
//!
//! No call can be taken back once a thread has begun it, and each of the store's verbs can be
//! repeated. A call that nobody waits for any more and that no thread has begun isn't begun. So
//! where an answer is late:
//!
//! | who asked | waits | then |
//! | --- | --- | --- |
//! | a peer, under a lease | [`LASTING_MAX`]; the lease lives meanwhile | it is refused and the lease ends; what it wrote is refused or forgotten with it |
//! | a peer that says Hello | [`GREETING_MAX`] | its session is closed, and its next Hello, to whichever arbiter, does the same again |
//! | the operator | [`OPERATOR_MAX`] | is told since when the store is silent; what only reads is dropped, what changes something is done as soon as it can be |
//! | everybody | not at all where it is known that the store fails or is silent, else [`PUBLIC_MAX`] | sees the last that is known, and since when; an announcement may be taken all the same, and may be sent again |
//! | the loop, and what is done behind | as long as it takes | |

use crate::hub::metrics::{StoreCalls, store_calls};
use crate::rules::timestamp::Timestamp;
use crate::store::{COUNTED, Outage, Outages, Store, StoreCounts, StoreError};
use canister_link::{clock, refusal};
use smol::Timer;
use smol::channel::{Receiver, RecvError, Sender};
use smol::future::FutureExt as _;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Calls that may wait in each queue; who asks for one more waits until there is room.
const QUEUE_MAX: usize = 64;
/// How long to wait before a call is made again that failed for the moment.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// For how long what a peer says under a lease is tried again while the store fails: as long as a
/// statement of PostgreSQL may take. A failover, a full disk or a locked table is over by then, or
/// the operator is at it.
pub const LASTING_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a peer that said Hello waits for the store: less than the 15 s in which it wants to be
/// welcome.
pub const GREETING_MAX: Duration = Duration::from_secs(10);
/// How long the operator waits for the store: less than the 30 s that a command waits.
pub const OPERATOR_MAX: Duration = Duration::from_secs(20);
/// How long the public listener waits for the store where it has nothing to show yet.
pub const PUBLIC_MAX: Duration = Duration::from_secs(5);
/// How long a newer answer is waited for where there is one that can be shown.
pub const NEWER_MAX: Duration = Duration::from_millis(80);
/// A call that isn't answered for this long means that the store is silent, and nobody waits for it
/// who can do without.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// How often whoever waits looks whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

type Call = Box<dyn FnOnce(&mut Store) + Send>;

/// A handle to the threads; clones share them.
#[derive(Clone)]
pub struct StoreThread {
    quick: Sender<Call>,
    long: Sender<Call>,
    is_long: bool,
    threads: usize,
    asked: Arc<Mutex<Asked>>,
    /// Whether the only thread there is does a long call.
    is_busy: Arc<AtomicBool>,
    /// Whether the store fails, as all that use it find.
    pub outages: Outages,
    /// How long its calls take.
    pub calls: StoreCalls,
}

/// The quick calls that aren't answered, and when each was asked.
#[derive(Default)]
struct Asked {
    calls: BTreeMap<u64, Instant>,
    so_far: u64,
}

/// One of them, until it is dropped.
struct Unanswered {
    number: u64,
    asked: Arc<Mutex<Asked>>,
}

impl Unanswered {
    fn new(asked: &Arc<Mutex<Asked>>) -> Self {
        let mut all = asked.lock().unwrap_or_else(PoisonError::into_inner);
        all.so_far += 1;
        let number = all.so_far;
        all.calls.insert(number, clock::now());
        Self { number, asked: Arc::clone(asked) }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        all.calls.remove(&self.number);
    }
}

impl StoreThread {
    /// Starts a thread for each of `stores`, which are one and the same seen several times. They
    /// end after [`close`](Self::close), each with its store.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn start(stores: Vec<Store>) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (quick, quick_calls) = smol::channel::bounded(QUEUE_MAX);
        let (long, long_calls) = smol::channel::bounded(QUEUE_MAX);
        let count = stores.len();
        let is_alone = count == 1;
        let outages = stores.first().map(Store::outages).unwrap_or_default();
        let threads = stores.into_iter().enumerate().map(|(number, mut store)| {
            let queues = Queues {
                quick: quick_calls.clone(),
                long: (number > 0 || is_alone).then(|| long_calls.clone()),
                was_long: true,
            };
            let thread = std::thread::Builder::new().name(format!("store-{number}"));
            thread.spawn(move || queues.for_each(|call| call(&mut store)))
        });
        let threads = threads.collect::<io::Result<_>>()?;
        let (asked, is_busy) = (Arc::default(), Arc::default());
        let calls = store_calls();
        let is_long = false;
        Ok((Self { quick, long, is_long, threads: count, asked, is_busy, outages, calls }, threads))
    }

    /// How many calls of one kind may be made at the same time, so that as many threads are left for others.
    pub fn at_once(&self) -> usize {
        (self.threads / 2).max(1)
    }

    /// The same for calls that may take minutes.
    #[must_use]
    pub fn long(&self) -> Self {
        Self { is_long: true, ..self.clone() }
    }

    /// Lets the threads end once all calls so far are done; none may be made after it.
    pub fn close(&self) {
        self.quick.close();
        self.long.close();
    }

    /// Has `call` done by a thread and gives back what it returned.
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> T {
        let (sender, answer) = smol::channel::bounded(1);
        let unanswered = (!self.is_long).then(|| Unanswered::new(&self.asked));
        let busy = (self.is_long && self.threads == 1).then(|| Arc::clone(&self.is_busy));
        let call: Call = Box::new(move |store| {
            // Whoever asked may be gone by now.
            if !sender.is_closed() {
                let is_busy =
                    |it: bool| busy.iter().for_each(|busy| busy.store(it, Ordering::Relaxed));
                is_busy(true);
                let _ = sender.try_send(call(store));
                is_busy(false);
            }
            drop(unanswered);
        });
        let (queue, name) =
            if self.is_long { (&self.long, "long") } else { (&self.quick, "quick") };
        let since = clock::now();
        queue.send(call).await.expect("no call is made after close");
        let answer = answer.recv().await;
        self.calls.get_or_create(&[("queue", name)]).observe(since.elapsed().as_secs_f64());
        answer.expect("the thread does every call, and in release a panic ends all")
    }

    /// Goes through all sources by slug, some at a call: other calls come in between, for all at once would keep the
    /// store for seconds. `part` adds to what is known `so_far` what comes behind a slug (the first there is
    /// where that is empty), and says behind which to go on.
    ///
    /// # Errors
    /// What a call failed with.
    pub async fn in_parts<T: Send + 'static>(
        &self,
        mut so_far: T,
        part: impl Fn(&mut Store, &mut T, &str) -> Result<Option<String>, StoreError>
        + Clone
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let mut after = Some(String::new());
        while let Some(from) = after {
            let part = part.clone();
            let call = move |store: &mut Store| {
                let next = part(store, &mut so_far, &from)?;
                Ok((so_far, next))
            };
            (so_far, after) = self.call(call).await?;
        }
        Ok(so_far)
    }

    /// What there is, [`COUNTED`] sources at a call.
    ///
    /// # Errors
    /// What a call failed with.
    pub async fn counts(&self, now: Timestamp) -> Result<StoreCounts, StoreError> {
        let count = move |store: &mut Store, so_far: &mut StoreCounts, after: &str| {
            let (part, next) = store.counts_after(after, COUNTED, now)?;
            *so_far += part;
            Ok(next)
        };
        self.in_parts(StoreCounts::default(), count).await
    }

    /// As [`call`](Self::call), and makes the call again while it fails for the moment (a full
    /// disk, a server that is away), for at most `longest`. The call must be one that can be
    /// repeated, or a single transaction.
    ///
    /// # Errors
    /// What the last call failed with.
    pub async fn lasting<T: Send + 'static>(
        &self,
        longest: Duration,
        call: impl Fn(&mut Store) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let call = Arc::new(call);
        let since = clock::now();
        loop {
            let once = Arc::clone(&call);
            match self.call(move |store| once(store)).await {
                Err(cause) if cause.is_transient() && clock::now() - since < longest => {
                    self.outages.begins(&cause);
                    Timer::after(AGAIN_AFTER).await;
                }
                done => {
                    if done.is_ok() {
                        self.outages.ends();
                    }
                    return done;
                }
            }
        }
    }

    /// Waits for what needs the store, but no longer than `longest`; then it is given up.
    ///
    /// # Errors
    /// Since when the store is silent, in words.
    pub async fn in_time<T>(
        &self,
        longest: Duration,
        doing: impl Future<Output = T>,
    ) -> Result<T, Silence> {
        let done = async { Ok(doing.await) };
        done.or(async {
            Timer::after(longest).await;
            Err(self.silence(longest))
        })
        .await
    }

    /// That the store fails or is silent, where that is known. One that is busy publishing is neither.
    pub fn trouble(&self) -> Option<Silence> {
        let silence = self.silence(Duration::ZERO);
        let is_silent = silence.waited >= SILENT_AFTER && !self.is_busy.load(Ordering::Relaxed);
        (silence.why.is_some() || is_silent).then_some(silence)
    }

    /// As [`in_time`](Self::in_time), and no longer than until it is known that the store fails or is
    /// silent.
    ///
    /// # Errors
    /// Since when, in words.
    pub async fn unless_troubled<T>(
        &self,
        longest: Duration,
        doing: impl Future<Output = T>,
    ) -> Result<T, Silence> {
        // What is known comes first, or it would be chance which of the two a quick answer beats.
        async { Err(self.troubled().await) }.or(self.in_time(longest, doing)).await
    }

    /// Waits until it is known that the store fails or is silent.
    async fn troubled(&self) -> Silence {
        loop {
            if let Some(silence) = self.trouble() {
                return silence;
            }
            Timer::after(LOOK_EVERY).await;
        }
    }

    /// Why somebody has waited for `waited` and has no answer.
    pub fn silence(&self, waited: Duration) -> Silence {
        let wall_secs = clock::wall_millis() / 1000;
        if let Some(Outage { since_secs, why, .. }) = self.outages.now() {
            let waited = Duration::from_secs(wall_secs.saturating_sub(since_secs));
            return Silence { since_secs: Some(since_secs), waited, why: Some(why) };
        }
        let all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = all.calls.values().min().map(|asked| clock::now() - *asked);
        let since_secs = oldest.map(|age| wall_secs.saturating_sub(age.as_secs()));
        Silence { since_secs, waited: oldest.unwrap_or(waited), why: None }
    }
}

impl Silence {
    /// What everybody may know of it: what failed names the database.
    pub fn for_everybody(&self) -> String {
        Self { why: None, ..self.clone() }.to_string()
    }
}

/// That there is no answer yet. Displayed as a sentence.
#[derive(Debug, Clone)]
pub struct Silence {
    /// Since when the store answers nothing, in seconds since 1970; none where it may be something
    /// else that takes its time.
    since_secs: Option<u64>,
    waited: Duration,
    /// What failed, where something did.
    why: Option<String>,
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waited = self.waited.as_secs();
        match self.since_secs {
            Some(since) => {
                let since = refusal::date(since);
                write!(f, "the arbiter's store hasn't answered since {since} ({waited} s)")?;
                self.why.iter().try_for_each(|why| write!(f, ": {why}"))
            }
            None => write!(f, "the arbiter had no answer within {waited} s"),
        }
    }
}

/// What one thread takes its calls from.
struct Queues {
    quick: Receiver<Call>,
    long: Option<Receiver<Call>>,
    was_long: bool,
}

impl Queues {
    /// Hands over one call after the other, until the queues are closed and empty. Where both have
    /// some they take turns: neither waits for more than one call of the other kind.
    fn for_each(mut self, mut done: impl FnMut(Call)) {
        while let Ok(call) = smol::future::block_on(self.next()) {
            done(call);
        }
        // Both are closed together, and only one of them is known to be empty.
        let long = self.long.as_ref();
        while let Some(call) =
            self.quick.try_recv().ok().or_else(|| long.and_then(|long| long.try_recv().ok()))
        {
            done(call);
        }
    }

    async fn next(&mut self) -> Result<Call, RecvError> {
        let Some(long) = &self.long else {
            return self.quick.recv().await;
        };
        let quick = async { self.quick.recv().await.map(|call| (call, false)) };
        let long = async { long.recv().await.map(|call| (call, true)) };
        let next = if self.was_long { quick.or(long).await } else { long.or(quick).await };
        let (call, is_long) = next?;
        self.was_long = is_long;
        Ok(call)
    }
}
