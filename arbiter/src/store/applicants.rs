//! Who asks to become a peer, and what the operator answered.
//!
//! Strangers write here, so the table is bounded: so many wait of one network, and so many in all. Who
//! comes when there is no room takes the place of the one that hasn't asked for longest: somebody who
//! means it asks again, and is there again.

use super::sql::{Cause, Row, Tx, read, values};
use super::{
    APPLICANT_KEPT, APPLICANTS_PER_NETWORK_MAX, Applicant, ApplicantAnswer, Store, StoreError,
};
use crate::rules::timestamp::Timestamp;
use std::time::Duration;

/// An applicant that asks again sooner after the last time isn't written down anew.
const ASKED_AGAIN: Duration = Duration::from_secs(60);

impl Store {
    /// What was answered to an applicant, who is remembered if need be, among at most `most` that wait.
    /// `None` is no answer yet.
    ///
    /// **Repeated**: the same again.
    pub fn applied(
        &mut self,
        applicant: &Applicant,
        most: u64,
        now: Timestamp,
    ) -> Result<Option<ApplicantAnswer>, StoreError> {
        let Applicant { key, name, request, contact, network, .. } = applicant;
        let known = self.read(|tx| one(tx, key))?;
        if let Some(known) = known.filter(|known| known.name == *name) {
            let is_again = now.since(known.asked_at) < ASKED_AGAIN;
            if is_again || known.answer.is_some() {
                return Ok(known.answer);
            }
        }
        self.write(|tx| {
            tx.execute(
                "DELETE FROM applicant WHERE coalesce(answered_at, asked_at) < $1",
                values![now.minus(APPLICANT_KEPT)],
            )?;
            let again = "UPDATE applicant SET asked_at = $2, name = $3, request = $4 WHERE key = $1";
            if tx.execute(again, values![key, now, name, request])? > 0 {
                return Ok(one(tx, key)?.and_then(|known| known.answer));
            }
            let near: u64 = tx.value(
                "SELECT count(*) FROM applicant WHERE answered_at IS NULL AND network = $1",
                values![network],
            )?;
            let all: u64 =
                tx.value("SELECT count(*) FROM applicant WHERE answered_at IS NULL", &[])?;
            let longest = "DELETE FROM applicant WHERE key IN (
                 SELECT key FROM applicant WHERE answered_at IS NULL AND network = coalesce($1, network)
                 ORDER BY asked_at, key LIMIT $2)";
            let over = |there: u64, most: u64| (there + 1).saturating_sub(most);
            let near = over(near, APPLICANTS_PER_NETWORK_MAX);
            tx.execute(longest, values![network, near])?;
            tx.execute(longest, values![None::<&str>, over(all - near, most)])?;
            tx.execute(
                "INSERT INTO applicant (key, name, request, contact, network, applied_at, asked_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $6)",
                values![key, name, request, contact, network, now],
            )?;
            Ok(None)
        })
    }

    /// Those that wait for the operator, who asked last first.
    pub fn applicants(&mut self) -> Result<Vec<Applicant>, StoreError> {
        self.read(|tx| {
            let all = "SELECT * FROM applicant WHERE answered_at IS NULL
                       ORDER BY asked_at DESC, key";
            tx.query(all, &[], applicant)
        })
    }

    /// Answers one that waits; whether there was one.
    ///
    /// **Repeated**: says that there is none.
    pub fn answer_applicant(
        &mut self,
        key: &str,
        answer: &ApplicantAnswer,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (chain, authority, refused) = match answer {
            ApplicantAnswer::Admitted { chain, authority } => (Some(chain), Some(authority), None),
            ApplicantAnswer::Refused(why) => (None, None, Some(why)),
        };
        self.write(|tx| {
            let answered = tx.execute(
                "UPDATE applicant SET answered_at = $2, chain = $3, authority = $4, refused = $5
                 WHERE key = $1 AND answered_at IS NULL",
                values![key, now, chain, authority, refused],
            )?;
            Ok(answered > 0)
        })
    }
}

fn one(tx: &mut dyn Tx, key: &str) -> Result<Option<Applicant>, Cause> {
    tx.maybe("SELECT * FROM applicant WHERE key = $1", values![key], applicant)
}

fn applicant(row: Row<'_>) -> Result<Applicant, Cause> {
    let admitted: (Option<String>, Option<String>) = (row.get("chain")?, row.get("authority")?);
    let refused: Option<String> = row.get("refused")?;
    let answer = match admitted {
        (Some(chain), Some(authority)) => Some(ApplicantAnswer::Admitted { chain, authority }),
        _ => refused.map(ApplicantAnswer::Refused),
    };
    read!(row => Applicant {
        key, name, request, contact, network, applied_at, asked_at; answer: answer
    })
}
