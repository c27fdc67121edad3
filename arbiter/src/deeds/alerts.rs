//! Tells the operator what is wrong and that it is over, by a web hook or a command of their own. Nothing
//! waits for either: one message is under way at a time, what happens meanwhile is in the next, and one that
//! didn't arrive is made anew.

use crate::PROGRAM;
use crate::config::AlertAddress;
use crate::hub::Hub;
use crate::rules::alert::{AlertMessage, Watch, Wrongs, outage};
use crate::rules::text::plural;
use crate::rules::trust::PeerTrust;
use crate::store::{Store, StoreError};
use canister_link::clock;
use canister_link::dial::web;
use canister_protocol::message::FailureKind;
use log::{debug, error, info};
use smol::Timer;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

/// How often it is looked at most, and at least.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long the store is waited for.
const STORE_MAX: Duration = Duration::from_secs(5);
/// How long a message may take.
const TELL_MAX: Duration = Duration::from_secs(30);
/// How long to wait after one that didn't arrive.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Whom to tell.
#[derive(Debug, Clone)]
pub enum AlertTo {
    Command(PathBuf),
    Url(AlertAddress),
}

/// Watches for ever, for one who is told.
pub async fn for_ever(hub: Rc<Hub>, to: AlertTo, after: Duration, sources: u64) {
    // What is this arbiter's, and what is the network's: of that only one arbiter speaks.
    let (mut own, mut network) = (Watch::default(), Watch::default());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let (mut is_failing, mut pause) = (false, Duration::ZERO);
    loop {
        let every = (after / 4).clamp(LOOK_EVERY.0, LOOK_EVERY.1);
        Timer::after(every.max(std::mem::take(&mut pause))).await;
        // Whatever becomes of the store and of the time that it tells.
        own.look(&of_this_arbiter(&hub), hub.now());
        let asked = hub.store.call(move |store| of_network(store, sources));
        match hub.store.unless_troubled(STORE_MAX, asked).await {
            Ok(Ok(Some(wrongs))) => network.look(&wrongs, hub.now()),
            // Another one speaks.
            Ok(Ok(None)) => network = Watch::default(),
            Ok(Err(cause)) => debug!(cause:%; "couldn't look what is wrong in the network"),
            Err(silence) => debug!(silence:%; "couldn't look what is wrong in the network"),
        }
        let (now, mut message) = (hub.now(), AlertMessage::default());
        own.add_to(&mut message, now, after);
        network.add_to(&mut message, now, after);
        let Some(message) = message.said(host.trim(), now) else { continue };
        let (to, text) = (to.clone(), serde_json::to_string(&message).unwrap_or_default());
        match smol::unblock(move || tell(&to, &text)).await {
            Ok(()) => {
                own.told(&message);
                network.told(&message);
                is_failing = false;
                let (began, ended) = (message.began.len(), message.ended.len());
                info!(began, ended; "told the operator");
            }
            Err(why) => {
                if !std::mem::replace(&mut is_failing, true) {
                    error!(why; "couldn't tell the operator what is wrong; it is tried again");
                }
                pause = AGAIN_AFTER.min(after);
            }
        }
    }
}

fn of_this_arbiter(hub: &Hub) -> Wrongs {
    let mut wrongs = Wrongs::new();
    let mut add = |name: &str, line: String| drop(wrongs.insert(name.to_owned(), line));
    if let Some(silence) = hub.store.trouble() {
        add("store", silence.to_string());
    }
    if hub.is_full.get() {
        add(
            "disk",
            "the arbiter's disk is full: nothing is granted until there is room".to_owned(),
        );
    }
    let wall = clock::wall_millis() / 1000;
    for expiry in hub.expiries.borrow().iter() {
        if let Some(told) = expiry.told(wall) {
            add(expiry.what, told);
        }
    }
    for (list, (_, why)) in &hub.lists.borrow().unread {
        add(list, format!("couldn't read the {list}: {why}"));
    }
    wrongs
}

/// What is wrong with the network; nothing where another arbiter says so.
fn of_network(store: &mut Store, sources: u64) -> Result<Option<Wrongs>, StoreError> {
    if !store.is_speaker()? {
        return Ok(None);
    }
    let mut wrongs = Wrongs::new();
    let reasons = store.failing()?;
    for (operator, polled, failing) in store.outages_of_operators(sources)? {
        let of = reasons.iter().filter(|group| group.operator == operator);
        let mut of: Vec<_> =
            of.map(|it| (it.reason.map_or("unknown", FailureKind::words), it.sources)).collect();
        of.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        wrongs.extend([outage(&operator, polled, failing, &of)]);
    }
    let held = store.held()?;
    if let Some(first) = held.first() {
        let changes = plural(held.len() as u64, "change waits", "changes wait");
        let line = format!("{changes} for `accept` or `reject`, the first: {}", first.why);
        wrongs.insert("held".to_owned(), line);
    }
    let peers = store.peers()?;
    if !peers.is_empty() && peers.iter().all(|peer| peer.session.is_none()) {
        wrongs.insert("peers".to_owned(), "no peer is connected".to_owned());
    }
    for peer in peers.iter().filter(|peer| peer.trust == PeerTrust::Suspended) {
        let line = format!("the peer {} is suspended: {}", peer.name, peer.trust_why);
        wrongs.insert(format!("suspended {}", peer.name), line);
    }
    Ok(Some(wrongs))
}

/// Tells it; blocks.
fn tell(to: &AlertTo, text: &str) -> Result<(), String> {
    match to {
        AlertTo::Command(command) => run(command, text),
        AlertTo::Url(url) => post(&url.0, text),
    }
}

fn post(url: &str, text: &str) -> Result<(), String> {
    let client = web::client(PROGRAM, TELL_MAX, None);
    let answer = client.post(url).content_type("application/json").send(text);
    match answer.map_err(|cause| format!("alerts.url: {cause}"))?.status().as_u16() {
        200..300 => Ok(()),
        status => Err(format!("alerts.url: status {status}")),
    }
}

fn run(command: &Path, text: &str) -> Result<(), String> {
    let failed =
        |why: &dyn std::fmt::Display| format!("alerts.command {}: {why}", command.display());
    let mut child = Command::new(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|cause| failed(&cause))?;
    // It needn't read, and what a pipe takes is more than a message has.
    if let Some(mut input) = child.stdin.take()
        && let Err(cause) = input.write_all(text.as_bytes())
        && cause.kind() != io::ErrorKind::BrokenPipe
    {
        debug!(cause:%; "couldn't write to the command");
    }
    let since = clock::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(failed(&status)),
            Ok(None) if since.elapsed() < TELL_MAX => clock::sleep(Duration::from_millis(50)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(&format!("ended after {} s", TELL_MAX.as_secs())));
            }
            Err(cause) => return Err(failed(&cause)),
        }
    }
}
