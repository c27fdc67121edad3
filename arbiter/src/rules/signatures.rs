//! Signatures: who is expected to sign a source, and what of a change of that waits for the operator.
//!
//! The key that a source is signed by when it is first seen is expected from then on, or the one that
//! the operator gave. What a peer says of a signature is one peer's word: it is compared with what is
//! remembered, and every other peer checks by the same key. A Release that was checked may name who
//! signs the next one; while it is valid, they alone may, and the first of them that does is expected
//! from then on.

use crate::rules::timestamp::Timestamp;
use canister_protocol::message::{KEY, Probed, RELEASE_GPG, ReleaseSignature, SignatureState};
use std::fmt;
use std::time::Duration;

/// How long before its end it is told that a key ends.
pub const ENDING_WITHIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long it is remembered that a file isn't there.
pub const ABSENT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How a source was signed when it was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSignature {
    pub state: SignatureState,
    /// The signer's key, as in [`ReleaseSignature::key`].
    pub by: String,
    /// When that key ends, where it does.
    pub until: Option<Timestamp>,
    /// Who may sign the next Release, where a signature that was checked says.
    pub next: Option<Next>,
}

/// Who may sign a source's next Release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// As in [`NextSigners::keys`](canister_protocol::message::NextSigners::keys).
    pub keys: Vec<String>,
    /// When that ends.
    pub until: Timestamp,
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.keys.join(" or "))
    }
}

impl From<&ReleaseSignature> for SourceSignature {
    fn from(found: &ReleaseSignature) -> Self {
        let until = found.ends.and_then(Timestamp::from_secs);
        let next = found.next.as_ref().filter(|_| worth(found.state) == 2);
        let next = next.and_then(|next| {
            Some(Next { keys: next.keys.clone(), until: Timestamp::from_secs(next.until)? })
        });
        Self { state: found.state, by: found.key.clone(), until, next }
    }
}

impl SourceSignature {
    /// The key that is expected to sign from now on: that of a signature which isn't known to be
    /// worth nothing.
    pub fn signer(&self) -> Option<&str> {
        (worth(self.state) > 0 && !self.by.is_empty()).then_some(&*self.by)
    }

    /// The key by which it was checked that the source is its signer's.
    pub fn checked(&self) -> Option<&str> {
        (worth(self.state) == 2).then_some(&*self.by)
    }

    /// Who may sign the next Release, where that is said and still counts.
    pub fn next(&self, now: Timestamp) -> Option<&Next> {
        self.next.as_ref().filter(|next| next.until > now)
    }

    /// Whether its key ends soon, or ended.
    pub fn is_ending(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now.plus(ENDING_WITHIN))
    }
}

impl fmt::Display for SourceSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state.word())?;
        match &*self.by {
            "" => Ok(()),
            by => write!(f, " by {by}"),
        }
    }
}

/// 2 where the key was at hand and made it, 1 where nobody can tell, 0 where it is none.
const fn worth(state: SignatureState) -> u8 {
    match state {
        SignatureState::Good | SignatureState::Expired => 2,
        SignatureState::Unknown | SignatureState::Unverifiable | SignatureState::Weak => 1,
        SignatureState::Bad | SignatureState::Missing | SignatureState::Revoked => 0,
    }
}

/// A key that the operator gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenKey {
    /// Its fingerprint in capital hexadecimal digits.
    pub fingerprint: String,
    /// A file with it in base64; empty where peers are to find it.
    pub keys: String,
}

/// Why the change of a signature is held. Displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherSigner {
    slug: String,
    found: SourceSignature,
    expected: Expected,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    AsBefore(SourceSignature),
    Given(String),
    Next(Next),
}

impl OtherSigner {
    /// What the signature is that was found, to know it again.
    pub fn parts(&self) -> [&str; 2] {
        [self.found.state.word(), &self.found.by]
    }
}

/// Why a source that was `signed` so before, and is to be signed by the key that was `given`, may not
/// be signed as it was `found`; `None` if it may.
///
/// A key that ended is still its owner's, and told, not held. So does apt what a Release names: it
/// counts until that Release ends, for keys and their subkeys.
pub fn holds(
    slug: &str,
    signed: Option<&SourceSignature>,
    given: Option<&GivenKey>,
    found: &ReleaseSignature,
    now: Timestamp,
) -> Option<OtherSigner> {
    let reason = |expected| OtherSigner {
        slug: slug.to_owned(),
        found: SourceSignature::from(found),
        expected,
    };
    if let Some(GivenKey { fingerprint, .. }) = given {
        let is_so = found.key == *fingerprint && worth(found.state) == 2;
        return (!is_so).then(|| reason(Expected::Given(fingerprint.clone())));
    }
    let signed = signed?;
    if let Some(next) = signed.next(now) {
        let is_so = found.is_by_one_of(&next.keys) && worth(found.state) == 2;
        return (!is_so).then(|| reason(Expected::Next(next.clone())));
    }
    let signer = signed.signer()?;
    let is_so = found.is_by(signer) && worth(found.state) >= worth(signed.state);
    (!is_so).then(|| reason(Expected::AsBefore(signed.clone())))
}

impl fmt::Display for OtherSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slug, found, expected } = self;
        match expected {
            Expected::AsBefore(signed) => {
                write!(f, "the signature of {slug} is {found}, and was {signed}")
            }
            Expected::Given(key) => {
                write!(f, "the signature of {slug} is {found}, and must be good by {key}")
            }
            Expected::Next(next) => write!(
                f,
                "the signature of {slug} is {found}, and by its last Release must be good by {next}"
            ),
        }
    }
}

/// What a peer is told besides the origin, of what is remembered: how the source was signed, its key,
/// and what isn't there. `None` where that is nothing.
pub fn probed(
    signed: Option<&SourceSignature>,
    given: Option<&GivenKey>,
    keys: Option<String>,
    mut absent: Vec<String>,
    now: Timestamp,
) -> Option<Probed> {
    let by = signed.and_then(|signed| {
        let by = signed.signer()?;
        // Of several signatures that one counts.
        let next = signed.next(now).map(|next| &next.keys[..]).unwrap_or_default();
        let mut next = next.iter().map(|key| key.strip_suffix('!').unwrap_or(key));
        let first = next.next().filter(|first| *first != by && next.all(|key| key != by));
        Some(first.unwrap_or(by).to_owned())
    });
    let (signer, keys) = match given.cloned() {
        Some(GivenKey { fingerprint, keys: given }) if given.is_empty() => {
            (fingerprint, keys.unwrap_or_default())
        }
        Some(GivenKey { fingerprint, keys }) => {
            absent.retain(|file| file != KEY);
            absent.push(KEY.to_owned());
            (fingerprint, keys)
        }
        None => (by.unwrap_or_default(), keys.unwrap_or_default()),
    };
    if !signer.is_empty() {
        // It is missed, and may come back.
        absent.retain(|file| file != RELEASE_GPG);
    }
    let probed = Probed { absent, signer, keys };
    (probed != Probed::default()).then_some(probed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use SignatureState::{Bad, Expired, Good, Missing, Revoked, Unknown, Unverifiable, Weak};
    use canister_protocol::message::NextSigners;

    const P: &str = "1111111111111111111111111111111111111111";
    const Q: &str = "2222222222222222222222222222222222222222";

    fn found(state: SignatureState, key: &str) -> ReleaseSignature {
        ReleaseSignature { state, key: key.into(), named: key.into(), ..Default::default() }
    }

    const NOW: u64 = 1_700_000_000;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs).unwrap()
    }

    /// A good signature by P of a Release that names these keys for the next, for a minute.
    fn naming(keys: &[&str]) -> SourceSignature {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        let next = Some(NextSigners { keys, until: NOW + 60 });
        SourceSignature::from(&ReleaseSignature { next, ..found(Good, P) })
    }

    #[test]
    fn whom_a_release_names_may_sign_the_next_one() {
        let alone = format!("{P}!");
        let subkey = |state| ReleaseSignature { named: Q.into(), ..found(state, P) };
        for (named, now, is_held) in [
            (&[P][..], found(Good, P), false),
            (&[P], found(Expired, P), false),
            (&[P], subkey(Good), false),
            (&[P], found(Good, Q), true),
            (&[P], found(Revoked, P), true),
            (&[P, Q], found(Good, Q), false),
            (&[P, Q], found(Unverifiable, Q), true),
            (&[P, Q], found(Missing, ""), true),
            (&[Q], found(Good, Q), false),
            // Also by whom it was signed before.
            (&[Q], found(Good, P), true),
            // A subkey, of whomever; no subkey.
            (&[Q], subkey(Good), false),
            (&[&alone], found(Good, P), false),
            (&[&alone], subkey(Good), true),
        ] {
            let signed = naming(named);
            let held = |secs| holds("a", Some(&signed), None, &now, at(secs));
            assert_eq!(held(NOW + 59).is_some(), is_held, "{named:?} {now:?}");
            let said = "by its last Release must be good by ";
            assert!(held(NOW).is_none_or(|it| it.to_string().contains(said)), "{now:?}");
            // Then it counts no more.
            let before = SourceSignature::from(&found(Good, P));
            let before = holds("a", Some(&before), None, &now, at(NOW));
            let said = |held: Option<OtherSigner>| held.map(|it| it.to_string());
            assert_eq!(said(held(NOW + 60)), said(before));
        }
        // What nobody checked names nobody, and the operator's key outranks it.
        let next = Some(NextSigners { keys: vec![Q.into()], until: NOW + 60 });
        for state in [Bad, Missing, Revoked, Unknown, Unverifiable, Weak] {
            let signed = ReleaseSignature { next: next.clone(), ..found(state, P) };
            assert_eq!(SourceSignature::from(&signed).next, None);
        }
        let given = GivenKey { fingerprint: P.into(), keys: String::new() };
        let signed = naming(&[Q]);
        assert_eq!(holds("a", Some(&signed), Some(&given), &found(Good, P), at(NOW)), None);
        // Which of several signatures a peer looks for.
        for (named, secs, signer) in
            [(&[Q][..], NOW, Q), (&[Q, P], NOW, P), (&[Q], NOW + 60, P), (&[&alone], NOW, P)]
        {
            let told = probed(Some(&naming(named)), None, None, Vec::new(), at(secs)).unwrap();
            assert_eq!(told.signer, signer, "{named:?} {secs}");
        }
    }

    #[test]
    fn what_is_less_or_by_another_is_held() {
        for (before, now, said) in [
            (None, found(Missing, ""), None),
            (None, found(Good, P), None),
            (Some(found(Missing, "")), found(Good, P), None),
            (Some(found(Bad, P)), found(Missing, ""), None),
            (Some(found(Good, P)), found(Good, P), None),
            (Some(found(Good, P)), found(Expired, P), None),
            (Some(found(Expired, P)), found(Good, P), None),
            (Some(found(Good, P)), found(Good, Q), Some("is good by 2222")),
            (Some(found(Good, P)), found(Missing, ""), Some("is missing, and was good by 1111")),
            (Some(found(Good, P)), found(Bad, P), Some("is bad by 1111")),
            (Some(found(Good, P)), found(Revoked, P), Some("is revoked by")),
            (Some(found(Good, P)), found(Weak, P), Some("is weak by")),
            (Some(found(Good, P)), found(Unverifiable, P), Some("is unverifiable by")),
            (Some(found(Good, P)), found(Unknown, P), Some("is unknown by")),
            (Some(found(Unverifiable, P)), found(Unverifiable, P), None),
            (Some(found(Unverifiable, P)), found(Good, P), None),
            (Some(found(Unverifiable, P)), found(Unverifiable, Q), Some("and was unverifiable")),
            (Some(found(Weak, P)), found(Missing, ""), Some("is missing")),
            // What was a key's id is a key now, or was a subkey's.
            (Some(found(Unverifiable, &P[24..])), found(Good, P), None),
            (
                Some(found(Unverifiable, Q)),
                ReleaseSignature { named: Q.into(), ..found(Good, P) },
                None,
            ),
        ] {
            let signed = before.as_ref().map(SourceSignature::from);
            let held =
                holds("a", signed.as_ref(), None, &now, at(NOW)).map(|held| held.to_string());
            let is_right = match (&held, said) {
                (Some(held), Some(said)) => held.contains(said),
                (held, said) => held.is_none() && said.is_none(),
            };
            assert!(is_right, "{before:?} {now:?}: {held:?}");
        }
    }

    #[test]
    fn a_key_that_was_given_must_sign() {
        let given = GivenKey { fingerprint: P.into(), keys: String::new() };
        let before = SourceSignature::from(&found(Good, Q));
        for (now, is_held) in [
            (found(Good, P), false),
            (found(Expired, P), false),
            (found(Good, Q), true),
            (found(Unverifiable, P), true),
            (found(Missing, ""), true),
        ] {
            for signed in [None, Some(&before)] {
                let held = holds("a", signed, Some(&given), &now, at(NOW));
                assert_eq!(held.is_some(), is_held, "{now:?}");
                assert!(held.is_none_or(|it| it.to_string().ends_with(&format!("good by {P}"))));
            }
        }
    }

    #[test]
    fn what_a_peer_is_told() {
        let absent = || vec![RELEASE_GPG.to_owned(), KEY.to_owned()];
        let probed = |signed, given, keys, absent| probed(signed, given, keys, absent, at(NOW));
        let good = SourceSignature::from(&found(Good, P));
        assert_eq!(probed(None, None, None, Vec::new()), None);
        let told = probed(None, None, None, absent()).unwrap();
        assert_eq!((told.absent, told.signer), (absent(), String::new()));
        // Where somebody signed, a signature that isn't there is asked for again.
        let told = probed(Some(&good), None, Some("a".into()), absent()).unwrap();
        assert_eq!((told.absent, &*told.signer, &*told.keys), (vec![KEY.to_owned()], P, "a"));
        // The operator's key is nowhere to be found but here.
        let given = GivenKey { fingerprint: Q.into(), keys: "b".into() };
        let told = probed(Some(&good), Some(&given), Some("a".into()), Vec::new()).unwrap();
        assert_eq!((told.absent, &*told.signer, &*told.keys), (vec![KEY.to_owned()], Q, "b"));
    }

    #[test]
    fn a_key_that_ends_is_told_a_month_before() {
        let now = at(NOW);
        for (days, is_ending) in
            [(Some(31), false), (Some(29), true), (Some(0), true), (None, false)]
        {
            let until = days.map(|days| now.plus(Duration::from_secs(days * 86_400)));
            let signed = SourceSignature { state: Good, by: P.into(), until, next: None };
            assert_eq!(signed.is_ending(now), is_ending, "{days:?}");
        }
    }
}
