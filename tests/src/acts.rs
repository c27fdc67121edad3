//! Acts on a store, as an arbiter would settle them that brakes nothing and has no policy of its own.

use canister_arbiter::rules::brake::Brake;
use canister_arbiter::rules::changes::Act;
use canister_arbiter::rules::decision::Decided;
use canister_arbiter::rules::policy::PolicySettings;
use canister_arbiter::rules::timestamp::Timestamp;
use canister_arbiter::store::{SessionState, Settled, Store, StoreError, Terms};
use canister_protocol::Source;
use canister_protocol::address::AddressFamilies;

/// Settles one.
///
/// # Errors
/// As [`Store::settle`].
pub fn settle(store: &mut Store, act: &Act, now: Timestamp) -> Result<Settled, StoreError> {
    let brake = Brake { share: 100, source_share: 100, packages: u64::MAX };
    store.settle(act, &PolicySettings::default(), &Terms { brake, ..Terms::default() }, now)
}

/// A source list with these sources was read.
pub fn list(store: &mut Store, sources: &[Source], now: Timestamp) -> Settled {
    let act = Act::Listed { sources: Some(sources.to_vec()), blocked_hosts: None };
    settle(store, &act, now).unwrap()
}

/// One source more, or another definition of a known one, is on the source list.
pub fn list_also(store: &mut Store, source: Source, now: Timestamp) -> Settled {
    let known = store.known_sources().unwrap().into_iter();
    let listed = known.filter(|known| known.is_listed && known.source.slug != source.slug);
    let mut listed: Vec<Source> = listed.map(|known| known.source).collect();
    listed.push(source);
    list(store, &listed, now)
}

/// The operator makes a source due, or all; how many.
pub fn sync(store: &mut Store, slug: Option<&str>, now: Timestamp) -> u64 {
    let act = Act::Synced { source: slug.map(str::to_owned), by: "a test".to_owned() };
    settle(store, &act, now).unwrap().synced
}

/// The operator decides, for a reason.
///
/// # Errors
/// As [`Store::settle`].
pub fn decide(store: &mut Store, said: Decided, now: Timestamp) -> Result<Settled, StoreError> {
    let act = Act::Decided { said, by: "root".to_owned(), why: "a test".to_owned() };
    settle(store, &act, now)
}

/// A session of a peer that reaches everything and writes its rows itself.
pub fn here(address: &str, slots: u32) -> SessionState {
    SessionState {
        arbiter: String::new(),
        address: address.to_owned(),
        slots,
        writes: "direct".to_owned(),
        reaches: AddressFamilies::BOTH,
    }
}
