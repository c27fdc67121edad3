//! The production store: one PostgreSQL database, several arbiters on it.
//!
//! What SQLite has by being one file with one writer comes from the database here: its constraints
//! keep the laws of leasing, whoever claims; an advisory lock lets one arbiter at a time do what
//! is done for all; its clock is the arbiters'; and what one arbiter does reaches the others by
//! notifications ([`events`]).
//!
//! **Failover.** A verb whose connection is lost waits, with back-off, until a server that can be
//! written to is there again, and is done then. Nothing of it was done before, unless the
//! connection was lost while it was being committed: then the database is asked what became of
//! that transaction. So a verb is done once, or again from its beginning, never half. A failover
//! to a standby that lagged behind loses what had not reached it: see `docs/operating.md`. Staging is
//! UNLOGGED: a crash takes all of it, counts included, and leases that had put something are refused.
//!
//! Tables and their laws: `migration/postgres/`. This file opens, migrates, runs transactions and
//! turns what PostgreSQL says into a [`StoreError`].
//!
//! Locks are taken in one order, so that arbiters don't wait for each other in a circle: lease,
//! staged, the source's own rows of the catalogue, source, distance, peer, operator. Where they do
//! all the same, PostgreSQL ends one of them and the verb is done again.
//!
//! A publication may last minutes. Until its last statements it has locked its lease (against its
//! end, not against its renewal, which is why ending it comes last of all locks on it), what is staged
//! under it and rows of the catalogue that are its source's; what may not wait for it passes these
//! over (`SKIP LOCKED`).

mod connection;
pub mod events;
mod publish;
mod roles;
mod staging;

pub use connection::{Address, AddressError};

use super::outage::Outages;
use super::sql::{self, Alone, Cause, Columns, RowReader, Sql, SqlValue, Tx as _, refused, values};
use super::values::{Differences, Published, StagedLease};
use super::{SourceState, StoreError};
use crate::rules::timestamp::Timestamp;
use canister_link::clock;
use canister_protocol::Rows;
use connection::{Answer, Connection, ToDatabase};
use log::{debug, info};
use postgres::error::SqlState;
use postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use postgres::{Error, Row, Statement};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Applied in order, each once and in a transaction of its own; the table `arbiter.migration`
/// says which are. One that was released is never changed.
const MIGRATIONS: &[(&str, &str)] = &[
    ("catalogue", include_str!("migration/postgres/0001_catalogue.sql")),
    ("arbiter", include_str!("migration/postgres/0002_arbiter.sql")),
    ("staging", include_str!("migration/postgres/0003_staging.sql")),
    ("peer", include_str!("migration/postgres/0004_peer.sql")),
    ("announcements", include_str!("migration/postgres/0005_announcements.sql")),
    ("standing", include_str!("migration/postgres/0006_standing.sql")),
    ("decisions", include_str!("migration/postgres/0007_decisions.sql")),
    ("losses", include_str!("migration/postgres/0008_losses.sql")),
    ("families", include_str!("migration/postgres/0009_families.sql")),
    ("signatures", include_str!("migration/postgres/0010_signatures.sql")),
    ("witnesses", include_str!("migration/postgres/0011_witnesses.sql")),
    ("strangers", include_str!("migration/postgres/0012_strangers.sql")),
    ("provenance", include_str!("migration/postgres/0013_provenance.sql")),
    ("audits", include_str!("migration/postgres/0014_audits.sql")),
    ("feed", include_str!("migration/postgres/0015_feed.sql")),
    ("public names", include_str!("migration/postgres/0016_public_names.sql")),
    ("tally", include_str!("migration/postgres/0017_tally.sql")),
    ("next signers", include_str!("migration/postgres/0018_next_signers.sql")),
    ("applicants", include_str!("migration/postgres/0019_applicants.sql")),
    ("roles", include_str!("migration/postgres/0020_roles.sql")),
    ("owners", include_str!("migration/postgres/0021_owners.sql")),
    ("advertisements", include_str!("migration/postgres/0022_advertisements.sql")),
    ("oddities", include_str!("migration/postgres/0023_oddities.sql")),
    ("fronts", include_str!("migration/postgres/0024_fronts.sql")),
    ("publishers", include_str!("migration/postgres/0025_publishers.sql")),
    ("cheap staging", include_str!("migration/postgres/0026_cheap_staging.sql")),
    ("nearness", include_str!("migration/postgres/0027_nearness.sql")),
    ("seen", include_str!("migration/postgres/0028_seen.sql")),
    ("slugs", include_str!("migration/postgres/0029_slugs.sql")),
];

/// What remembers them, made before the first.
const MIGRATION_TABLE: &str = "
    CREATE SCHEMA IF NOT EXISTS arbiter;
    CREATE TABLE IF NOT EXISTS arbiter.migration (
        number integer PRIMARY KEY,
        name text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )";

/// First and longest pause between two attempts to get a connection.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often it is looked at whether the arbiter wants to stop, during such a pause.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often a verb is done again that others were in the way of.
const CONFLICTS_MAX: u32 = 20;

/// The store in a PostgreSQL database. Verbs block; it belongs to one thread.
#[derive(Debug)]
pub struct Postgres {
    address: Address,
    connection: Option<Connection>,
    /// Who this is among the arbiters.
    arbiter: String,
    is_closing: Arc<AtomicBool>,
    /// Whether the database can be reached, as all of its connections find.
    outages: Outages,
}

/// Has the store's verbs give up waiting for the database, because the arbiter stops.
#[derive(Debug, Clone)]
pub struct Closer(Arc<AtomicBool>);

impl Closer {
    /// From now on a verb that can't reach the database fails.
    pub fn close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Postgres {
    /// Opens the database for an arbiter called `arbiter` (another name than any other's on it),
    /// and makes its tables or brings them up to date where needed.
    ///
    /// # Errors
    /// `Io` where it can't be reached or its rights don't suffice, `Newer`, `Full`, `Internal`.
    pub fn open(address: Address, arbiter: &str) -> Result<Self, StoreError> {
        let mut store = Self::connect(address, arbiter)?;
        store.migrate()?;
        // No session outlives its arbiter.
        store.write(|tx| {
            let me = tx.arbiter;
            tx.execute(
                "UPDATE peer SET arbiter = NULL, address = NULL, slots = NULL WHERE arbiter = $1",
                &[&me],
            )?;
            Ok(())
        })?;
        Ok(store)
    }

    /// Opens the database for searching and counting; a standby will do.
    ///
    /// # Errors
    /// As [`open`](Self::open), and `Older`.
    pub fn open_read_only(address: Address) -> Result<Self, StoreError> {
        Self::open_for_roles(address.for_reading())
    }

    /// Opens the database to make and drop roles: tables are an arbiter's to make.
    ///
    /// # Errors
    /// As [`open`](Self::open), and `Older`.
    pub fn open_for_roles(address: Address) -> Result<Self, StoreError> {
        let mut store = Self::connect(address, "")?;
        let known = MIGRATIONS.len() as u32;
        let schema = store.schema()?;
        if schema < known {
            return Err(StoreError::Older { database: store.address.to_string(), schema, known });
        }
        Ok(store)
    }

    fn connect(address: Address, arbiter: &str) -> Result<Self, StoreError> {
        let connection = address.connect().map_err(|why| unreached(&address, &why))?;
        Ok(Self {
            address,
            connection: Some(connection),
            arbiter: arbiter.to_owned(),
            is_closing: Arc::default(),
            outages: Outages::default(),
        })
    }

    /// The same store over another connection, for another thread.
    pub fn another(&self) -> Self {
        Self {
            address: self.address.clone(),
            connection: None,
            arbiter: self.arbiter.clone(),
            is_closing: Arc::clone(&self.is_closing),
            outages: self.outages.clone(),
        }
    }

    /// What becomes known of its outages.
    pub(super) fn outages(&self) -> Outages {
        self.outages.clone()
    }

    /// What makes this store's verbs give up.
    pub fn closer(&self) -> Closer {
        Closer(Arc::clone(&self.is_closing))
    }

    fn migrate(&mut self) -> Result<(), StoreError> {
        let encoding = self.read(|tx| {
            let row = tx.one("SELECT current_setting('server_encoding')", &[])?;
            Ok(row.get::<_, String>(0))
        })?;
        if encoding != "UTF8" {
            return Err(StoreError::Io {
                database: self.address.to_string(),
                attempt: "use database",
                cause: format!("its encoding is {encoding}: use one made with ENCODING 'UTF8'"),
            });
        }
        let schema = self.schema()?;
        if schema as usize == MIGRATIONS.len() {
            return Ok(());
        }
        for (number, (name, migration)) in (1i32..).zip(MIGRATIONS) {
            let is_new = self.write(|tx| {
                tx.batch("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")?;
                tx.lock(Alone::Migrating)?;
                tx.batch(MIGRATION_TABLE)?;
                let seen = "SELECT FROM arbiter.migration WHERE number = $1";
                if tx.maybe(seen, &[&number])?.is_some() {
                    return Ok(false);
                }
                tx.batch(migration)?;
                tx.execute(
                    "INSERT INTO arbiter.migration (number, name) VALUES ($1, $2)",
                    &[&number, name],
                )?;
                Ok(true)
            })?;
            if is_new {
                info!(number, name; "database brought up to date");
            }
        }
        // Statements that were prepared before there were tables.
        self.connection = None;
        Ok(())
    }

    /// How many migrations the database has seen; 0 for an empty one.
    fn schema(&mut self) -> Result<u32, StoreError> {
        let schema = self.read(|tx| {
            let any = "SELECT to_regclass('arbiter.migration') IS NOT NULL";
            if !tx.one(any, &[])?.get::<_, bool>(0) {
                return Ok(0);
            }
            let seen = "SELECT coalesce(max(number), 0) FROM arbiter.migration";
            Ok(tx.one(seen, &[])?.get::<_, i32>(0))
        })?;
        let schema = u32::try_from(schema).unwrap_or_default();
        let known = MIGRATIONS.len() as u32;
        if schema > known {
            return Err(StoreError::Newer { database: self.address.to_string(), schema, known });
        }
        Ok(schema)
    }

    /// Does `verb` in a transaction and commits it, unless `verb` fails. `verb` may be called
    /// several times: what it did before is undone then.
    pub(super) fn write<T>(
        &mut self,
        mut verb: impl FnMut(&mut PostgresTx<'_>) -> Result<T, Cause>,
    ) -> Result<T, StoreError> {
        let mut conflicts = 0;
        loop {
            let arbiter = self.arbiter.clone();
            let connection = self.connected()?;
            let (cause, committing) = match connection.transaction(&arbiter, &mut verb) {
                Ok(value) => return Ok(value),
                Err(TransactionEnded::Before(cause)) => (cause, None),
                Err(TransactionEnded::Committing(cause, value, number)) => {
                    (Cause::Postgres(cause), Some((value, number)))
                }
            };
            let cause = match cause {
                Cause::Postgres(cause) => cause,
                other => return Err(other.of(self.address.to_string())),
            };
            if is_lost(&cause) {
                debug!(database:% = self.address, cause = said(&cause).as_str(); "lost the database");
                self.connection = None;
                if let Some((value, number)) = committing
                    && self.was_committed(&number)?
                {
                    return Ok(value);
                }
            } else if is_conflict(&cause) && conflicts < CONFLICTS_MAX {
                conflicts += 1;
            } else {
                return Err(store_error(&self.address, &cause));
            }
        }
    }

    /// What became of a transaction whose commit was not answered.
    fn was_committed(&mut self, number: &str) -> Result<bool, StoreError> {
        loop {
            let status = self.read(|tx| {
                let row = tx.one("SELECT pg_xact_status($1::text::xid8)", &[&number])?;
                Ok(row.get::<_, Option<String>>(0))
            });
            match status.as_ref().map(Option::as_deref) {
                Ok(Some("committed")) => return Ok(true),
                // The server hasn't noticed yet that nobody is there.
                Ok(Some("in progress")) => clock::sleep(PAUSE),
                Ok(_) => return Ok(false),
                // A standby that was promoted may not have heard of it: its number lies ahead.
                Err(StoreError::Internal { .. }) => return Ok(false),
                Err(_) => return status.map(|_| false),
            }
        }
    }

    /// Does `verb`, which only reads, over one state of the database.
    pub(super) fn read<T>(
        &mut self,
        mut verb: impl FnMut(&mut PostgresTx<'_>) -> Result<T, Cause>,
    ) -> Result<T, StoreError> {
        loop {
            let arbiter = self.arbiter.clone();
            let connection = self.connected()?;
            let cause = match connection.snapshot(&arbiter, &mut verb) {
                Ok(value) => return Ok(value),
                Err(Cause::Postgres(cause)) => cause,
                Err(other) => return Err(other.of(self.address.to_string())),
            };
            if !is_lost(&cause) {
                return Err(store_error(&self.address, &cause));
            }
            debug!(database:% = self.address, cause = said(&cause).as_str(); "lost the database");
            self.connection = None;
        }
    }

    /// The connection; waits until there is one.
    fn connected(&mut self) -> Result<&mut Connection, StoreError> {
        let mut next = PAUSE;
        while self.connection.is_none() {
            match self.address.connect() {
                Ok(connection) => {
                    debug!(database:% = self.address; "connected to the database");
                    self.outages.ends();
                    self.connection = Some(connection);
                }
                Err(why) => {
                    self.outages.begins(&unreached(&self.address, &why));
                    let mut pause = next;
                    next = (next * 2).min(PAUSE_MAX);
                    while !pause.is_zero() {
                        if self.is_closing.load(Ordering::Relaxed) {
                            return Err(unreached(&self.address, &why));
                        }
                        clock::sleep(pause.min(LOOK_EVERY));
                        pause = pause.saturating_sub(LOOK_EVERY);
                    }
                }
            }
        }
        Ok(self.connection.as_mut().expect("it was just made"))
    }
}

/// A transaction. All statements of verbs go through here, so each is prepared once a connection. What
/// nobody waits for (its beginning, what is to be done [`later`](sql::Tx::later), what is asked
/// [`ahead`](sql::Tx::ahead)) goes with the next that somebody does: a trip to the database and back is what
/// costs where that is far away.
pub(super) struct PostgresTx<'a> {
    connection: &'a mut Connection,
    /// What goes with the next.
    queue: Vec<Queued>,
    /// What was asked ahead and answered.
    answered: Vec<(&'static str, Vec<SqlValue<'static>>, Vec<Row>)>,
    /// How it begins.
    begin: (&'static str, &'static str),
    has_begun: bool,
    /// Its own, once it has begun.
    number: Option<String>,
    /// Who this is among the arbiters.
    arbiter: &'a str,
}

/// Most things that nobody waits for before they are said all the same.
const QUEUED_MAX: usize = 1024;

/// Something that nobody waits for.
struct Queued {
    sql: &'static str,
    statement: Statement,
    values: Vec<SqlValue<'static>>,
    is_asked: bool,
}

type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How a transaction begins, with its number: of one that writes, and of one that reads one state of the
/// database.
const WRITES: (&str, &str) = ("BEGIN", "SELECT pg_current_xact_id()::text");
const READS: (&str, &str) = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SELECT ''");

impl<'a> PostgresTx<'a> {
    fn new(
        connection: &'a mut Connection,
        begin: (&'static str, &'static str),
        arbiter: &'a str,
    ) -> Self {
        Self {
            connection,
            begin,
            queue: Vec::new(),
            answered: Vec::new(),
            has_begun: false,
            number: None,
            arbiter,
        }
    }

    /// Says what waits, and this behind it, whose answer it is.
    fn say(&mut self, last: ToDatabase<'_>) -> Result<Answer, Error> {
        let number = match self.has_begun {
            true => None,
            false => Some(self.connection.prepared(self.begin.1)?),
        };
        self.has_begun = true;
        let queue = std::mem::take(&mut self.queue);
        let begin = number.iter().flat_map(|number| {
            [ToDatabase::Batch(self.begin.0), ToDatabase::Query(number.clone(), Vec::new())]
        });
        let waiting = queue.iter().map(|it| {
            let (statement, values) = (it.statement.clone(), sent(&it.values));
            if it.is_asked {
                ToDatabase::Query(statement, values)
            } else {
                ToDatabase::Execute(statement, values)
            }
        });
        let said = begin.chain(waiting).chain([last]).collect();
        let mut answers = self.connection.say(said)?.into_iter();
        if number.is_some() {
            let number = answers.nth(1).unwrap_or_default();
            self.number = number.rows.first().map(|row| row.get(0));
        }
        for (it, answer) in queue.into_iter().zip(answers.by_ref()) {
            if it.is_asked {
                self.answered.push((it.sql, it.values, answer.rows));
            }
        }
        Ok(answers.next().unwrap_or_default())
    }

    fn execute(&mut self, sql: &'static str, values: Values<'_>) -> Result<u64, Error> {
        let statement = self.connection.prepared(sql)?;
        Ok(self.say(ToDatabase::Execute(statement, values.to_vec()))?.changed)
    }

    fn query(&mut self, sql: &'static str, values: Values<'_>) -> Result<Vec<Row>, Error> {
        let statement = self.connection.prepared(sql)?;
        Ok(self.say(ToDatabase::Query(statement, values.to_vec()))?.rows)
    }

    fn maybe(&mut self, sql: &'static str, values: Values<'_>) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    /// The one row of a query that gives one.
    fn one(&mut self, sql: &'static str, values: Values<'_>) -> Result<Row, Cause> {
        self.maybe(sql, values)?.ok_or_else(|| Cause::Broken(format!("no row for {sql}")))
    }

    /// Statements without values, not prepared.
    fn batch(&mut self, sql: &str) -> Result<(), Error> {
        self.say(ToDatabase::Batch(sql)).map(drop)
    }

    fn queue(
        &mut self,
        sql: &'static str,
        values: &[SqlValue<'_>],
        is_asked: bool,
    ) -> Result<(), Cause> {
        let statement = self.bound(sql, values)?;
        let values = values.iter().cloned().map(SqlValue::into_owned).collect();
        self.queue.push(Queued { sql, statement, values, is_asked });
        if self.queue.len() >= QUEUED_MAX {
            self.say(ToDatabase::Nothing)?;
        }
        Ok(())
    }

    /// What was asked ahead by the same words.
    fn asked(
        &mut self,
        sql: &'static str,
        values: &[SqlValue<'_>],
    ) -> Result<Option<Vec<Row>>, Error> {
        let is_it = |text: &str, given: &[SqlValue<'_>]| text == sql && given == values;
        if self.queue.iter().any(|it| it.is_asked && is_it(it.sql, &it.values)) {
            self.say(ToDatabase::Nothing)?;
        }
        let at = self.answered.iter().position(|(text, given, _)| is_it(text, given));
        Ok(at.map(|at| self.answered.swap_remove(at).2))
    }

    /// Commits; what may be unknown of that is the transaction's number.
    fn commit(mut self) -> Result<(), (Error, Option<String>)> {
        if self.number.is_none() {
            if self.queue.is_empty() {
                return Ok(());
            }
            // Its number must be known before it may be committed.
            self.say(ToDatabase::Nothing).map_err(|cause| (cause, None))?;
        }
        let number = self.number.clone();
        match self.say(ToDatabase::Batch("COMMIT")) {
            Ok(_) => Ok(()),
            Err(cause) => Err((cause, number)),
        }
    }

    /// Ends it, whatever it is at.
    fn end(self, word: &str) {
        if self.has_begun {
            self.connection.cast(word);
        }
    }
}

/// Why a transaction isn't known to be committed.
enum TransactionEnded<T> {
    Before(Cause),
    /// It may be: with what it would have returned, and its number.
    Committing(Error, T, String),
}

impl From<Error> for Cause {
    fn from(cause: Error) -> Self {
        match cause.as_db_error() {
            // What the functions in `migration/postgres/` refuse.
            Some(said) if said.code().code() == "CN001" => Self::Refused(said.message().to_owned()),
            _ => Self::Postgres(cause),
        }
    }
}

impl PostgresTx<'_> {
    /// A statement that takes these values. One that doesn't is a bug, and must not be taken for a
    /// connection that is lost.
    fn bound(&mut self, sql: &'static str, values: &[SqlValue<'_>]) -> Result<Statement, Cause> {
        let statement = self.connection.prepared(sql)?;
        let types = statement.params();
        let is_right = types.len() == values.len() && types.iter().zip(values).all(suits);
        if is_right { Ok(statement) } else { Err(Cause::Broken(format!("{types:?} for {sql}"))) }
    }
}

/// Whether a value is one of a type.
fn suits((of, value): (&Type, &SqlValue<'_>)) -> bool {
    match value {
        SqlValue::Bool(_) => *of == Type::BOOL,
        SqlValue::Bytes(_) => *of == Type::BYTEA,
        SqlValue::Int(number) => {
            *of == Type::INT8 || *of == Type::INT4 && i32::try_from(*number).is_ok()
        }
        SqlValue::Null => true,
        SqlValue::Text(_) => <&str as ToSql>::accepts(of),
        SqlValue::Texts(_) => *of == Type::TEXT_ARRAY || *of == Type::VARCHAR_ARRAY,
    }
}

fn sent<'a>(values: &'a [SqlValue<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value as _).collect()
}

impl sql::Tx for PostgresTx<'_> {
    fn run(&mut self, sql: Sql, values: &[SqlValue<'_>]) -> Result<u64, Cause> {
        if sql.postgres.is_empty() {
            return Ok(0);
        }
        let statement = self.bound(sql.postgres, values)?;
        Ok(self.say(ToDatabase::Execute(statement, sent(values)))?.changed)
    }

    fn later(&mut self, sql: Sql, values: &[SqlValue<'_>]) -> Result<(), Cause> {
        if sql.postgres.is_empty() { Ok(()) } else { self.queue(sql.postgres, values, false) }
    }

    fn ahead(&mut self, sql: Sql, values: &[SqlValue<'_>]) -> Result<(), Cause> {
        let is_asked = self
            .queue
            .iter()
            .any(|it| it.is_asked && it.sql == sql.postgres && it.values == values)
            || self
                .answered
                .iter()
                .any(|(text, given, _)| *text == sql.postgres && given == values);
        if is_asked { Ok(()) } else { self.queue(sql.postgres, values, true) }
    }

    fn each(
        &mut self,
        sql: Sql,
        values: &[SqlValue<'_>],
        read: RowReader<'_>,
    ) -> Result<(), Cause> {
        let rows = match self.asked(sql.postgres, values)? {
            Some(rows) => rows,
            None => {
                let statement = self.bound(sql.postgres, values)?;
                self.say(ToDatabase::Query(statement, sent(values)))?.rows
            }
        };
        let places = sql::Places::default();
        rows.iter().try_for_each(|row| read(sql::Row::next(row, &places)))
    }

    fn lock(&mut self, alone: Alone) -> Result<(), Cause> {
        // What comes after it waits with it.
        let lock = "SELECT pg_advisory_xact_lock($1)";
        self.queue(lock, values![alone as i64], false)
    }

    fn try_lock(&mut self, alone: Alone) -> Result<bool, Cause> {
        let row = self.one("SELECT pg_try_advisory_xact_lock($1)", &[&(alone as i64)])?;
        Ok(row.get(0))
    }

    fn tell(&mut self, event: events::Event) -> Result<(), Cause> {
        let told = events::told(self.arbiter, event);
        let told = told.map_err(|cause| Cause::Broken(cause.to_string()))?;
        self.queue(events::TELL, values![told], false)
    }

    fn arbiter(&self) -> &str {
        self.arbiter
    }
}

impl sql::Apart for PostgresTx<'_> {
    fn put(&mut self, peer: &str, token: u64, rows: &Rows, now: Timestamp) -> Result<(), Cause> {
        staging::put(self, peer, token, rows, now)
    }

    fn compare(&mut self, source: &SourceState, held: &StagedLease) -> Result<Differences, Cause> {
        publish::compare(self, source, held)
    }

    fn publish(
        &mut self,
        source: &SourceState,
        held: &StagedLease,
        now: Timestamp,
    ) -> Result<Published, Cause> {
        publish::publish(self, source, held, now)
    }
}

impl Columns for Row {
    fn find(&self, name: &str) -> Option<usize> {
        self.columns().iter().position(|column| column.name() == name)
    }

    fn value(&self, at: usize) -> Result<SqlValue<'_>, Cause> {
        let value = match *self.columns()[at].type_() {
            Type::BOOL => self.try_get::<_, Option<bool>>(at).map(SqlValue::from),
            Type::BYTEA => self.try_get::<_, Option<&[u8]>>(at).map(SqlValue::from),
            Type::INT4 => self.try_get::<_, Option<i32>>(at).map(SqlValue::from),
            Type::INT8 => self.try_get::<_, Option<i64>>(at).map(SqlValue::from),
            Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => {
                self.try_get::<_, Option<Vec<String>>>(at).map(SqlValue::from)
            }
            _ => self.try_get::<_, Option<&str>>(at).map(SqlValue::from),
        };
        value.map_err(|cause| Cause::Broken(cause.to_string()))
    }
}

impl ToSql for SqlValue<'_> {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Bool(is) => is.to_sql(of, out),
            Self::Bytes(bytes) => bytes.to_sql(of, out),
            Self::Int(number) if *of == Type::INT4 => i32::try_from(*number)?.to_sql(of, out),
            Self::Int(number) => number.to_sql(of, out),
            Self::Null => Ok(IsNull::Yes),
            Self::Text(text) => text.to_sql(of, out),
            Self::Texts(texts) => (&**texts).to_sql(of, out),
        }
    }

    // Asked before: see `bound`.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Connection {
    fn transaction<T>(
        &mut self,
        arbiter: &str,
        verb: &mut impl FnMut(&mut PostgresTx<'_>) -> Result<T, Cause>,
    ) -> Result<T, TransactionEnded<T>> {
        let mut tx = PostgresTx::new(self, WRITES, arbiter);
        let value = match verb(&mut tx) {
            Ok(value) => value,
            Err(cause) => {
                tx.end("ROLLBACK");
                return Err(TransactionEnded::Before(cause));
            }
        };
        match tx.commit() {
            Ok(()) => Ok(value),
            Err((cause, Some(number))) if is_lost(&cause) => {
                Err(TransactionEnded::Committing(cause, value, number))
            }
            Err((cause, _)) => Err(TransactionEnded::Before(cause.into())),
        }
    }

    fn snapshot<T>(
        &mut self,
        arbiter: &str,
        verb: &mut impl FnMut(&mut PostgresTx<'_>) -> Result<T, Cause>,
    ) -> Result<T, Cause> {
        let mut tx = PostgresTx::new(self, READS, arbiter);
        let value = verb(&mut tx);
        // Nothing depends on its end.
        tx.end("COMMIT");
        value
    }
}

/// Whether the server is gone, or isn't the one that is written to any more.
fn is_lost(cause: &Error) -> bool {
    match cause.code() {
        Some(code) => {
            let shutting_down = [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
                SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                SqlState::READ_ONLY_SQL_TRANSACTION,
            ];
            shutting_down.contains(code) || code.code().starts_with("08")
        }
        None => true,
    }
}

/// Whether another transaction was in the way.
fn is_conflict(cause: &Error) -> bool {
    cause.code().is_some_and(|code| {
        [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
        ]
        .contains(code)
    })
}

fn unreached(address: &Address, why: &str) -> StoreError {
    StoreError::Io {
        database: address.to_string(),
        attempt: "connect to database",
        cause: why.to_owned(),
    }
}

fn internal(address: &Address, cause: String) -> StoreError {
    StoreError::Internal { database: address.to_string(), cause }
}

fn store_error(address: &Address, cause: &Error) -> StoreError {
    let database = address.to_string();
    let io = |attempt, help: &str| StoreError::Io {
        database: address.to_string(),
        attempt,
        cause: format!("{}{help}", said(cause)),
    };
    match cause.code() {
        Some(code) if *code == SqlState::DISK_FULL => StoreError::Full { database },
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => io(
            "use database",
            ": make the arbiter's role its owner, and the owner of an earlier Canister's tables",
        ),
        Some(code) if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
            StoreError::Corrupt { database, cause: said(cause) }
        }
        Some(code) if code.code().starts_with("53") || code.code().starts_with("57") => {
            io("use database", "")
        }
        Some(_) if is_conflict(cause) => io("lock database", ": somebody keeps it locked"),
        Some(_) => internal(address, said(cause)),
        None => io("use database", ""),
    }
}

/// What the server says, or what happened to the connection, in one line.
fn said(cause: &Error) -> String {
    use std::error::Error as _;
    match (cause.as_db_error(), cause.source()) {
        (Some(said), _) => match said.detail() {
            Some(detail) => format!("{} ({detail})", said.message()),
            None => said.message().to_owned(),
        },
        (None, Some(source)) => format!("{cause}: {source}"),
        (None, None) => cause.to_string(),
    }
}

impl ToSql for Timestamp {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        signed(self.millis()).to_sql(of, out)
    }

    fn accepts(of: &Type) -> bool {
        <i64 as ToSql>::accepts(of)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Timestamp {
    fn from_sql(
        of: &Type,
        bytes: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        i64::from_sql(of, bytes).map(|millis| Self::from_millis(unsigned(millis)))
    }

    fn accepts(of: &Type) -> bool {
        <i64 as FromSql<'_>>::accepts(of)
    }
}

/// A number as a column holds it. What is larger came from a peer's counting and is no count.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A column that the schema keeps from being negative.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn count(row: &Row, column: &str) -> u64 {
    unsigned(row.get(column))
}
