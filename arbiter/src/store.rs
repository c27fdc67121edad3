//! What the arbiter must not forget: sources, leases, staging, the catalogue, peers.
//!
//! A [`Store`] is one of two databases. Its verbs are grouped by duty, a file each, and each is
//! written once, over a transaction of either database (`sql`); what a database does in its own
//! way is in its own folder. Every verb is one transaction: it did all it says or nothing, and what
//! it did is on disk when it returns. Every verb takes the moment it happens, `now`; none reads a
//! clock. A verb that failed may have been done all the same (a power cut between commit and
//! return), so each can be repeated: putting is repeatable as such, and an end of a lease says on
//! the second try that the lease is over.
//!
//! Any verb can fail as the database does; only one whose docs say so is
//! [`Refused`](StoreError::Refused).
//!
//! | duty | verbs |
//! | --- | --- |
//! | sources | list, history, announce |
//! | discoveries | discover |
//! | leases | claim, greet, renew, give back, expire, end all, bring forward |
//! | staging | known digests, put, dropped, discard |
//! | prices | priced, prices |
//! | finish | finish: what is staged is published |
//! | publications | what was published, newest first; added by a finish |
//! | feed | what changed in the catalogue since |
//! | losses | what left within a day; no verb of its own |
//! | trust | what audits and disputes come to, and whom it makes believed; disputes |
//! | rules | settle: the one writer of decisions, block lists and source list, and of what they change; what the brake holds, what is gone |
//! | servers | who runs which host, and how they took us |
//! | catalogue | search, counts |
//! | peers | seen, list |
//! | applicants | who asks to become one: applied, list, answer |
//! | network | beat, session, session over, take a turn, the store's clock, the arbiters |
//! | tally | what the network did, by the hour; counted where a lease ends |
//!
//! The laws, which hold after every verb and which the database itself enforces where it can:
//!
//! 1. A source has at most one lease, and so has an operator.
//! 2. A token is never granted twice; whoever holds an old one changes nothing.
//! 3. The catalogue changes only in `finish`, for the lease's source alone, from what that lease
//!    staged, and all at once (and it is hidden or shown by a changed source list).
//! 4. What is staged goes when its lease ends, and on PostgreSQL when the server crashes: all of it, with its
//!    counts, so that nothing is published of which a part is missing.

mod address;
mod advertisements;
mod applicants;
mod catalogue;
mod copies;
mod discoveries;
mod error;
mod feed;
mod finish;
mod fronts;
mod leases;
mod listing;
mod losses;
mod near;
mod network;
mod outage;
mod peers;
pub mod postgres;
mod prices;
mod publications;
mod roster;
mod rules;
mod servers;
mod sources;
mod sql;
pub mod sqlite;
mod staging;
mod tally;
mod trust;
mod values;

pub use crate::rules::model::*;
pub use address::{DATABASE_NAME, DatabaseAddress};
pub use catalogue::COUNTED;
pub use error::StoreError;
pub use finish::FinishTold;
pub use outage::{Outage, Outages};
pub use postgres::Postgres;
pub use rules::{ListSettled, Remembered, Settled};
pub use sqlite::Sqlite;

use sql::{Cause, Tx};

/// What the arbiter runs on. Verbs block; it belongs to one thread.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "an arbiter has a handful of them, and moves none")]
pub enum Store {
    /// A PostgreSQL database, on which there may be several arbiters.
    Postgres(Postgres),
    /// A SQLite file, which has one.
    Sqlite(Sqlite),
}

/// Opens a store for searching, beside the arbiters that write it or without any.
///
/// # Errors
/// As [`Sqlite::open_read_only`] and [`Postgres::open_read_only`].
pub fn open_read_only(database: &DatabaseAddress) -> Result<Store, StoreError> {
    Ok(match database {
        DatabaseAddress::File(file) => Store::Sqlite(Sqlite::open_read_only(file)?),
        DatabaseAddress::Server(address) => {
            Store::Postgres(Postgres::open_read_only(address.clone())?)
        }
    })
}

impl Store {
    /// What becomes known of its outages.
    pub fn outages(&self) -> Outages {
        match self {
            Self::Postgres(store) => store.outages(),
            Self::Sqlite(_) => Outages::default(),
        }
    }

    /// Does `verb` in a transaction and commits it, unless `verb` fails. `verb` may be called
    /// several times: what it did before is undone then.
    fn write<T>(
        &mut self,
        mut verb: impl FnMut(&mut dyn Tx) -> Result<T, Cause>,
    ) -> Result<T, StoreError> {
        match self {
            Self::Postgres(store) => store.write(|tx| verb(tx)),
            Self::Sqlite(store) => store.write(|tx| verb(&mut sqlite::Once(tx))),
        }
    }

    /// Does `verb`, which only reads, over one state of the database.
    fn read<T>(
        &mut self,
        mut verb: impl FnMut(&mut dyn Tx) -> Result<T, Cause>,
    ) -> Result<T, StoreError> {
        match self {
            Self::Postgres(store) => store.read(|tx| verb(tx)),
            Self::Sqlite(store) => store.read(|connection| {
                let tx = connection.unchecked_transaction()?;
                verb(&mut sqlite::Once(&tx))
            }),
        }
    }
}
