//! The digests that the catalogue has of a source, and which of them its package index has, too.

use canister_protocol::row::Digest;

/// Digests that share a bucket, about.
const BUCKET: usize = 8;

/// Digests in ascending order, of which some were seen.
#[derive(Debug, Default)]
pub(crate) struct KnownDigests {
    digests: Vec<Digest>,
    seen: Vec<bool>,
    /// Where each bucket begins, and where the last ends. A digest is looked for in one bucket: in all, each
    /// step of the search would wait for memory. Who chooses digests that share one gets that search.
    starts: Vec<u32>,
}

impl KnownDigests {
    /// Of these, none was seen.
    pub(crate) fn new(digests: Vec<Digest>) -> Self {
        let buckets = (digests.len() / BUCKET).max(1);
        let mut starts = vec![0; buckets + 1];
        for digest in &digests {
            starts[bucket(digest, buckets) + 1] += 1;
        }
        let mut before = 0;
        for start in &mut starts {
            before += *start;
            *start = before;
        }
        Self { seen: vec![false; digests.len()], digests, starts }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether it is one of them; then it is seen from now on.
    pub(crate) fn see(&mut self, digest: &Digest) -> bool {
        let Some(&[begin, end]) = self
            .starts
            .get(bucket(digest, self.starts.len().saturating_sub(1))..)
            .and_then(<[u32]>::first_chunk)
        else {
            return false;
        };
        let begin = begin as usize;
        let found = self.digests[begin..end as usize].binary_search(digest);
        if let Ok(at) = found {
            self.seen[begin + at] = true;
        }
        found.is_ok()
    }

    /// None was seen.
    pub(crate) fn forget(&mut self) {
        self.seen.fill(false);
    }

    /// Those that weren't seen.
    pub(crate) fn unseen(&self) -> Vec<Digest> {
        let both = self.digests.iter().zip(&self.seen);
        both.filter(|(_, is_seen)| !**is_seen).map(|(digest, _)| *digest).collect()
    }
}

/// Digests are spread evenly, so each bucket gets about as many.
fn bucket(digest: &Digest, buckets: usize) -> usize {
    let [a, b, c, d, ..] = digest.0;
    ((u64::from(u32::from_be_bytes([a, b, c, d])) * buckets as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(count: u32, of: impl Fn(u32) -> [u8; 16]) -> Vec<Digest> {
        let mut digests: Vec<_> = (0..count).map(|number| Digest(of(number))).collect();
        digests.sort();
        digests.dedup();
        digests
    }

    #[test]
    fn what_is_known_is_found_once_and_nothing_else() {
        let spread = |number: u32| [number.wrapping_mul(0x9e37_79b9).to_be_bytes(); 4].concat();
        let even = |number| spread(number).try_into().unwrap();
        // All in one bucket.
        let alike = |number: u32| {
            let mut digest = [0xff; 16];
            digest[12..].copy_from_slice(&number.to_be_bytes());
            digest
        };
        for all in [
            digests(0, even),
            digests(1, even),
            digests(7, even),
            digests(5000, even),
            digests(5000, alike),
        ] {
            let mut known = KnownDigests::new(all.clone());
            assert_eq!(known.is_empty(), all.is_empty());
            for digest in all.iter().step_by(2) {
                assert!(known.see(digest));
                let mut other = *digest;
                other.0[15] ^= 0x80;
                assert!(!known.see(&other) || all.contains(&other));
            }
            let left: Vec<_> = all.iter().skip(1).step_by(2).copied().collect();
            assert_eq!(known.unseen(), left);
            for outer in [Digest([0; 16]), Digest([0xff; 16])] {
                assert_eq!(known.see(&outer), all.contains(&outer));
            }
            known.forget();
            assert_eq!(known.unseen(), all);
        }
        assert!(!KnownDigests::default().see(&Digest([1; 16])));
        // One that isn't in order is found or not, and that is all.
        let mut turned = digests(100, even);
        turned.reverse();
        let mut known = KnownDigests::new(turned.clone());
        assert!(turned.iter().filter(|digest| known.see(digest)).count() <= 100);
    }
}
