//! What the pages tell, for programs. Moments are milliseconds since 1970.

use super::page::Page;
use super::snapshot::{Shown, Snapshot};
use crate::hub::store_thread::Silence;
use crate::rules::exchange::{SharedSources, ToldSource};
use crate::rules::signatures::SourceSignature;
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::PeerTrust;
use crate::store::SourceState;
use canister_protocol::message::FailureKind;
use serde::Serialize;
use std::cmp::Reverse;

/// `/status.json`.
#[derive(Serialize)]
struct PageStatus<'a> {
    program: &'static str,
    now: u64,
    /// Since when the store doesn't answer, in a sentence; what is told is older than that.
    trouble: Option<String>,
    /// With whichever arbiter.
    peers_connected: u64,
    /// With this one.
    peers_here: u64,
    sources: u64,
    due: u64,
    leased: u64,
    failing: u64,
    never_indexed: u64,
    packages: u64,
    /// The last, for sources are written one after the other.
    list: [PageSource<'a>; 0],
}

#[derive(Serialize)]
struct PageSource<'a> {
    source: &'a str,
    uri: &'a str,
    suite: &'a str,
    state: &'static str,
    stands: &'static str,
    packages: u64,
    head: Option<&'a str>,
    signature: Option<&'static str>,
    signed_by: Option<&'a str>,
    signed_until: Option<u64>,
    last_contact: Option<u64>,
    due_at: u64,
    failures: u64,
    failing_since: Option<u64>,
    reason: Option<&'static str>,
}

impl<'a> PageSource<'a> {
    fn of(state: &'a SourceState, now: Timestamp) -> Self {
        let signed = state.signed.as_ref();
        Self {
            source: &state.source.slug,
            uri: &state.source.uri,
            suite: &state.source.suite,
            state: state.standing(now),
            stands: state.standing.word(),
            packages: state.packages,
            head: state.origin.as_ref().map(|origin| &*origin.head),
            signature: signed.map(|signed| signed.state.word()),
            signed_by: signed.and_then(SourceSignature::signer),
            signed_until: signed.and_then(|signed| signed.until).map(Timestamp::millis),
            last_contact: state.last_contact.map(Timestamp::millis),
            due_at: state.due_at.millis(),
            failures: state.failures,
            failing_since: state.failed.map(|(since, _)| since.millis()),
            reason: state.reason.map(FailureKind::words),
        }
    }
}

/// What programs are told of all sources, for which there is no end to how many there are: so it comes in pieces.
pub(super) struct Listing {
    /// What comes before the sources, unless it is written; what comes behind them.
    begin: String,
    end: String,
    /// A source in it, where it is.
    entry: fn(&SourceState, Timestamp) -> Option<String>,
    is_any: bool,
    now: Timestamp,
}

impl Listing {
    /// The piece with the next sources.
    pub(super) fn piece(&mut self, states: &[SourceState], is_last: bool) -> String {
        let mut text = std::mem::take(&mut self.begin);
        for entry in states.iter().filter_map(|state| (self.entry)(state, self.now)) {
            if std::mem::replace(&mut self.is_any, true) {
                text.push(',');
            }
            text += &entry;
        }
        if is_last {
            text += &self.end;
        }
        text
    }
}

/// The media type of what programs are told.
pub(super) const JSON: &str = "application/json";

/// What the overview tells, and the heads.
pub(super) fn status(Shown { snapshot, trouble, peers }: &Shown) -> Listing {
    let counts = &snapshot.counts;
    let mut begin = text(&PageStatus {
        program: crate::PROGRAM,
        now: snapshot.now.millis(),
        trouble: trouble.as_ref().map(Silence::for_everybody),
        peers_connected: peers.network,
        peers_here: peers.here,
        sources: counts.sources,
        due: counts.due,
        leased: counts.leased,
        failing: counts.failing,
        never_indexed: counts.never_indexed,
        packages: counts.visible,
        list: [],
    });
    begin.truncate(begin.len() - "]}".len());
    let entry = |state: &SourceState, now: Timestamp| Some(text(&PageSource::of(state, now)));
    Listing { begin, end: "]}\n".to_owned(), entry, is_any: false, now: snapshot.now }
}

/// `/sources.json`: what another arbiter may import.
pub(super) fn sources(Shown { snapshot, .. }: &Shown) -> Listing {
    let none = SharedSources { decisions: snapshot.decisions.clone(), ..SharedSources::default() };
    let text = none.to_json(crate::PROGRAM).to_string();
    // A text in it has its quotes escaped.
    let (begin, end) = text.split_once("\"sources\":[]").expect("it has them, and they are none");
    let (begin, end) = (format!("{begin}\"sources\":["), format!("]{end}\n"));
    let entry = |state: &SourceState, _| {
        let told = ToldSource {
            source: state.source.clone(),
            head: state.origin.as_ref().map(|origin| origin.head.clone()),
            is_unseen: false,
        };
        state.delisted.is_none().then(|| told.to_json().to_string())
    };
    Listing { begin, end, entry, is_any: false, now: snapshot.now }
}

/// What a peer is credited for.
#[derive(Serialize)]
pub(super) struct PageCredit<'a> {
    /// The name under which it agrees to be shown.
    pub(super) peer: &'a str,
    /// Its publications that audits confirmed.
    pub(super) confirmed: u64,
    /// Its audits that confirmed others.
    pub(super) audits: u64,
    /// When it was first seen.
    pub(super) first_seen: u64,
}

/// The peers that agree to be shown and are believed, by what they are credited for.
pub(super) fn credited(snapshot: &Snapshot) -> Vec<PageCredit<'_>> {
    let shown = snapshot.peers.iter().filter(|peer| peer.trust != PeerTrust::Suspended);
    let mut shown: Vec<_> = shown
        .filter_map(|peer| Some((peer, peer.public_name.as_deref().filter(|it| !it.is_empty())?)))
        .collect();
    shown.sort_by_key(|(peer, name)| (Reverse(peer.credit()), *name));
    let page = shown.into_iter().map(|(peer, name)| PageCredit {
        peer: name,
        confirmed: peer.confirmed,
        audits: peer.audits,
        first_seen: peer.first_seen.millis(),
    });
    page.collect()
}

/// `/peers.json`.
pub(super) fn peers(Shown { snapshot, .. }: &Shown) -> Page {
    Page { media_type: JSON, text: text(&credited(snapshot)) + "\n", is_for_all: true }
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers are always JSON")
}
