//! What an audit comes to: a *commitment* to all rows of a source, which nobody can give who has not
//! read them.
//!
//! It is a SHA-256 over the digests of the rows that stand, ascending. Rows whose id stands more than
//! once in the index are left out and named, for which of them the catalogue has depends on what
//! stood there first. The arbiter leaves out the same ids of what it has, and so gets the same.

use crate::row::{Digest, id_of};
use sha2::{Digest as _, Sha256};

/// A commitment under way: it is told digests in ascending order.
#[derive(Debug, Default)]
pub struct Commitment(Sha256);

impl Commitment {
    /// The next digests, one behind the other.
    pub fn add(&mut self, digests: &[u8]) {
        self.0.update(digests);
    }

    /// 64 hexadecimal digits.
    pub fn text(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether a text may be a commitment.
pub fn is_commitment(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The rows of an index that were read, each by the number of its id and its digest: 32 bytes each.
#[derive(Debug, Default)]
pub struct AuditedRows(Vec<(u128, Digest)>);

impl AuditedRows {
    /// Adds a row, in whatever order; how many there are now.
    pub fn add(&mut self, id: u128, digest: Digest) -> usize {
        self.0.push((id, digest));
        self.0.len()
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The ids that stand more than once, with different rows, ascending, and the commitment to all
    /// other rows.
    pub fn end(self) -> (Vec<String>, String) {
        let mut rows = self.0;
        rows.sort_unstable();
        rows.dedup();
        let doubles: Vec<u128> = {
            let mut twice: Vec<u128> = rows
                .windows(2)
                .filter(|pair| pair[0].0 == pair[1].0)
                .map(|pair| pair[0].0)
                .collect();
            twice.dedup();
            twice
        };
        rows.retain(|(id, _)| doubles.binary_search(id).is_err());
        rows.sort_unstable_by_key(|(_, digest)| *digest);
        let mut commitment = Commitment::default();
        rows.iter().for_each(|(_, digest)| commitment.add(&digest.0));
        (doubles.into_iter().map(id_of).collect(), commitment.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(rows: &[(u128, u8)]) -> (Vec<String>, String) {
        let mut all = AuditedRows::default();
        rows.iter().for_each(|(id, digest)| {
            all.add(*id, Digest([*digest; 16]));
        });
        all.end()
    }

    #[test]
    fn a_commitment_is_to_the_rows_and_to_no_order() {
        let (none, rows) = end(&[(1, 9), (2, 8), (3, 7)]);
        assert!(none.is_empty() && is_commitment(&rows));
        let mut same = Commitment::default();
        same.add(&[7; 16]);
        same.add(&[[8; 16], [9; 16]].concat());
        assert_eq!(same.text(), rows);
        // Another order, a repetition.
        assert_eq!(end(&[(3, 7), (2, 8), (1, 9), (2, 8)]).1, rows);
        // One less, one more, another one.
        for other in
            [&[(1, 9), (2, 8)][..], &[(1, 9), (2, 8), (3, 7), (4, 1)], &[(1, 9), (2, 8), (3, 1)]]
        {
            assert_ne!(end(other).1, rows);
        }
        assert_eq!(end(&[]).1, Commitment::default().text());
    }

    #[test]
    fn ids_that_stand_twice_are_left_out_and_named() {
        let rows = end(&[(1, 9)]).1;
        assert_eq!(end(&[(2, 8), (1, 9), (2, 7), (2, 8)]), (vec![id_of(2)], rows.clone()));
        assert_eq!(
            end(&[(2, 7), (3, 1), (3, 2), (2, 8), (1, 9)]),
            (vec![id_of(2), id_of(3)], rows)
        );
    }

    #[test]
    fn a_commitment_has_its_form() {
        for (text, is) in [("a".repeat(64), true), ("A".repeat(64), false), ("a".repeat(63), false)]
        {
            assert_eq!(is_commitment(&text), is);
        }
    }
}
