//! The embedded store: one SQLite file, one arbiter.
//!
//! The file is in WAL mode with `synchronous=FULL`: a verb that returned survives a power cut,
//! which `finish` relies on. Beside it lies `<file>.lock`, locked for as long as
//! an arbiter has the file open; SQLite's own locks are held for single transactions only, so
//! without it two arbiters could grant leases from one file in turn. Readers need no lock.
//!
//! Tables and their laws: `migration/sqlite/`. This file opens, migrates, teaches SQLite what it
//! doesn't know of PostgreSQL's texts, runs transactions and turns what SQLite says into a
//! [`StoreError`].

mod publish;
mod staging;

use super::postgres::events::Event;
use super::sql::{self, Alone, Cause, Columns, RowReader, Sql, SqlValue, refused};
use super::values::{Differences, Published, StagedLease};
use super::{SourceState, StoreError};
use crate::rules::room::Disk;
use crate::rules::timestamp::Timestamp;
use canister_link::durable::{folder, sync_folder};
use canister_protocol::Rows;
use rusqlite::config::DbConfig;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{
    CachedStatement, Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior,
};
use serde::Serialize;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Applied in order, each once and in a transaction of its own; the database's `user_version` says
/// how many are. One that was released is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("migration/sqlite/0001_catalogue_and_leases.sql"),
    include_str!("migration/sqlite/0002_prices.sql"),
    include_str!("migration/sqlite/0003_headers.sql"),
    include_str!("migration/sqlite/0004_sessions.sql"),
    include_str!("migration/sqlite/0005_writes.sql"),
    include_str!("migration/sqlite/0006_announcements.sql"),
    include_str!("migration/sqlite/0007_standing.sql"),
    include_str!("migration/sqlite/0008_decisions.sql"),
    include_str!("migration/sqlite/0009_losses.sql"),
    include_str!("migration/sqlite/0010_families.sql"),
    include_str!("migration/sqlite/0011_signatures.sql"),
    include_str!("migration/sqlite/0012_witnesses.sql"),
    include_str!("migration/sqlite/0013_strangers.sql"),
    include_str!("migration/sqlite/0014_provenance.sql"),
    include_str!("migration/sqlite/0015_audits.sql"),
    include_str!("migration/sqlite/0016_feed.sql"),
    include_str!("migration/sqlite/0017_public_names.sql"),
    include_str!("migration/sqlite/0018_tally.sql"),
    include_str!("migration/sqlite/0019_next_signers.sql"),
    include_str!("migration/sqlite/0020_applicants.sql"),
    include_str!("migration/sqlite/0021_owners.sql"),
    include_str!("migration/sqlite/0022_advertisements.sql"),
    include_str!("migration/sqlite/0023_oddities.sql"),
    include_str!("migration/sqlite/0024_fronts.sql"),
    include_str!("migration/sqlite/0025_publishers.sql"),
    include_str!("migration/sqlite/0026_nearness.sql"),
    include_str!("migration/sqlite/0027_seen.sql"),
];

/// Marks the file as an arbiter's (`application_id`): "Cnst".
const APPLICATION: i32 = 0x436e_7374;

/// How long to wait for a reader that holds a lock while the log is written back.
const BUSY: Duration = Duration::from_secs(10);

/// Pages kept in memory, in KiB, and those of temporary tables. A publication touches many pages several
/// times, but the system keeps the files in its own memory, too, and gives that to whoever needs it more: ten
/// times as many pages here save three percent of a publication's CPU time. What sorting needs beyond them goes
/// to a temporary file.
const CACHE_KIB: i32 = 3 * 1024;
const TEMP_CACHE_KIB: i32 = 1024;

/// The log is cut back to this many bytes after a large publication was written back.
const LOG_BYTES_KEPT: i64 = 16 * 1024 * 1024;

/// Room for every statement there is.
const STATEMENTS_KEPT: usize = 128;

/// The store in a SQLite file. Verbs block; it belongs to one thread.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    file: PathBuf,
    /// Locked until it is dropped; none where the file was opened for reading only.
    _lock: Option<File>,
}

/// The room on the disk of a database, with what the database has to spare.
fn room(connection: &Connection) -> Result<Disk, Cause> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let spare = number("freelist_count")?.cast_unsigned() * number("page_size")?.cast_unsigned();
    let found = rustix::fs::statvfs(connection.path().unwrap_or("/"))
        .map_err(|cause| Cause::Broken(format!("look at the disk: {cause}")))?;
    Ok(Disk {
        whole: found.f_blocks * found.f_frsize,
        free: found.f_bavail * found.f_frsize,
        spare,
    })
}

impl Sqlite {
    /// Opens `file` for the one arbiter that writes it, and makes it or brings its schema up to
    /// date where needed.
    ///
    /// # Errors
    /// All but `Refused` and `Older`; nothing was changed then, but that a new file may be there.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        // Absolute: SQLite takes an empty name, and some others, for a database in memory.
        let file = &absolute(file)?;
        if file.is_dir() {
            return Err(StoreError::Io {
                database: name(file),
                attempt: "open database",
                cause: "is a directory: name a file in it".to_owned(),
            });
        }
        let lock = lock(file)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut store = Self::connect(file, flags, Some(lock))?;
        store.prepare()?;
        Ok(store)
    }

    /// The disk that the database is on.
    ///
    /// # Errors
    /// `Io`
    pub fn disk(&self) -> Result<Disk, StoreError> {
        self.read(room)
    }

    /// Opens `file` for searching and counting, beside the arbiter that writes it or without one.
    /// Verbs that write give [`StoreError::ReadOnly`].
    ///
    /// # Errors
    /// `Io` where there is no such file, `Older`, `Newer`, `Corrupt`.
    pub fn open_read_only(file: &Path) -> Result<Self, StoreError> {
        let file = &absolute(file)?;
        if !file.is_file() {
            return Err(StoreError::Io {
                database: name(file),
                attempt: "open database",
                cause: "no such file: an arbiter makes it when it first runs".to_owned(),
            });
        }
        let store = Self::connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY, None)?;
        let schema = store.schema()?;
        if (schema as usize) < MIGRATIONS.len() {
            return Err(StoreError::Older {
                database: name(file),
                schema,
                known: MIGRATIONS.len() as u32,
            });
        }
        Ok(store)
    }

    /// Writes all that the database has at one moment into a file that isn't there yet; others go on
    /// meanwhile. How many bytes it has then. It is there whole or not at all.
    ///
    /// # Errors
    /// `Io`: there is such a file, or it can't be written; and what reading fails with.
    pub fn backup(&self, to: &Path) -> Result<u64, StoreError> {
        let to = absolute(to)?;
        let failed =
            |cause: String| StoreError::Io { database: name(&to), attempt: "write backup", cause };
        if to.exists() {
            return Err(failed("it is there already; name another file".to_owned()));
        }
        let mut partial = to.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        // Where peers come from stands in it.
        let made =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let made = made.map_err(|cause| failed(cause.to_string()))?;
        let copied = self.connection.execute("VACUUM INTO ?1", [partial.to_string_lossy()]);
        copied.map_err(|cause| store_error(&self.file, cause))?;
        let kept = || -> io::Result<u64> {
            made.sync_all()?;
            std::fs::rename(&partial, &to)?;
            sync_folder(folder(&to))?;
            Ok(made.metadata()?.len())
        };
        kept().map_err(|cause| failed(cause.to_string()))
    }

    fn connect(file: &Path, flags: OpenFlags, lock: Option<File>) -> Result<Self, StoreError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(file, flags).map_err(|cause| store_error(file, cause))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        let store = Self { connection, file: file.to_owned(), _lock: lock };
        store.read(|connection| {
            connection.busy_timeout(BUSY)?;
            // Or each new value of a parameter that an index is searched by has its statement prepared anew,
            // which takes longer than most of them run.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            Ok(teach(connection)?)
        })?;
        Ok(store)
    }

    fn prepare(&mut self) -> Result<(), StoreError> {
        let read_only = StoreError::ReadOnly { database: name(&self.file) };
        // SQLite falls back to reading where it may not write.
        match self.connection.is_readonly("main") {
            Ok(false) => {}
            Ok(true) => return Err(read_only),
            Err(cause) => return Err(store_error(&self.file, cause)),
        }
        let applied = self.schema()? as usize;
        let settings = format!(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA cache_size = -{CACHE_KIB};
             PRAGMA temp.cache_size = -{TEMP_CACHE_KIB};
             PRAGMA journal_size_limit = {LOG_BYTES_KEPT};"
        );
        self.read(|connection| Ok(connection.execute_batch(&settings)?))?;
        for (number, migration) in MIGRATIONS.iter().enumerate().skip(applied) {
            self.write(|tx| {
                tx.execute_batch(migration)?;
                tx.pragma_update(None, "application_id", APPLICATION)?;
                tx.pragma_update(None, "user_version", number as u32 + 1)?;
                Ok(())
            })?;
        }
        // No session outlives its arbiter.
        self.write(|tx| {
            tx.execute("UPDATE peer SET address = NULL, slots = NULL", [])?;
            Ok(())
        })?;
        self.read(publish::prepare)
    }

    /// How many migrations the file has seen; 0 for an empty one.
    fn schema(&self) -> Result<u32, StoreError> {
        let known = MIGRATIONS.len() as u32;
        let (schema, application, tables) = self.read(|connection| {
            let number =
                |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let tables: u32 =
                connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            Ok((number("user_version")?, number("application_id")?, tables))
        })?;
        if tables > 0 && application != i64::from(APPLICATION) {
            return Err(StoreError::Corrupt {
                database: name(&self.file),
                cause: "another program's tables are in it".to_owned(),
            });
        }
        match u32::try_from(schema) {
            Ok(schema) if schema <= known => Ok(schema),
            _ => Err(StoreError::Newer {
                database: name(&self.file),
                schema: u32::try_from(schema).unwrap_or(u32::MAX),
                known,
            }),
        }
    }

    /// Does `verb` in a transaction and commits it, unless `verb` fails.
    pub(super) fn write<T>(
        &mut self,
        verb: impl FnOnce(&Transaction<'_>) -> Result<T, Cause>,
    ) -> Result<T, StoreError> {
        let Self { connection, file, .. } = self;
        // Immediate: a transaction that begins by reading could not always become a writing one.
        let run = || -> Result<T, Cause> {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = verb(&tx)?;
            tx.commit()?;
            Ok(value)
        };
        run().map_err(|cause| cause.in_file(file))
    }

    /// Does `verb`, which only reads.
    pub(super) fn read<T>(
        &self,
        verb: impl FnOnce(&Connection) -> Result<T, Cause>,
    ) -> Result<T, StoreError> {
        verb(&self.connection).map_err(|cause| cause.in_file(&self.file))
    }
}

/// What SQLite must know to understand PostgreSQL's texts.
fn teach(connection: &Connection) -> rusqlite::Result<()> {
    connection.create_collation("C", |one, other| one.cmp(other))?;
    // As PostgreSQL has them: what is NULL doesn't count.
    let numbers = |context: &Context<'_>| -> rusqlite::Result<Vec<i64>> {
        let numbers = (0..context.len()).map(|at| context.get::<Option<i64>>(at));
        Ok(numbers.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
    };
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("greatest", -1, flags, move |context| {
        Ok(numbers(context)?.into_iter().max())
    })?;
    connection.create_scalar_function("least", -1, flags, move |context| {
        Ok(numbers(context)?.into_iter().min())
    })
}

/// A transaction.
pub(super) struct Once<'a>(pub(super) &'a Connection);

impl Once<'_> {
    fn bound(&self, sql: &str, values: &[SqlValue<'_>]) -> Result<CachedStatement<'_>, Cause> {
        let mut statement = self.0.prepare_cached(sql)?;
        for at in 1..=statement.parameter_count() {
            // `$3` is the third value, whichever name comes first.
            let number = statement.parameter_name(at).and_then(|name| name.get(1..)?.parse().ok());
            let value = number.and_then(|number: usize| values.get(number.checked_sub(1)?));
            let value = value.ok_or_else(|| Cause::Broken(format!("no value for {sql}")))?;
            statement.raw_bind_parameter(at, value)?;
        }
        Ok(statement)
    }
}

impl sql::Tx for Once<'_> {
    fn run(&mut self, sql: Sql, values: &[SqlValue<'_>]) -> Result<u64, Cause> {
        if sql.sqlite.is_empty() {
            return Ok(0);
        }
        Ok(self.bound(sql.sqlite, values)?.raw_execute()? as u64)
    }

    fn later(&mut self, sql: Sql, values: &[SqlValue<'_>]) -> Result<(), Cause> {
        self.run(sql, values).map(drop)
    }

    fn ahead(&mut self, _: Sql, _: &[SqlValue<'_>]) -> Result<(), Cause> {
        Ok(())
    }

    fn each(
        &mut self,
        sql: Sql,
        values: &[SqlValue<'_>],
        read: RowReader<'_>,
    ) -> Result<(), Cause> {
        let mut statement = self.bound(sql.sqlite, values)?;
        let mut rows = statement.raw_query();
        let places = sql::Places::default();
        while let Some(row) = rows.next()? {
            read(sql::Row::next(row, &places))?;
        }
        Ok(())
    }

    fn lock(&mut self, _: Alone) -> Result<(), Cause> {
        Ok(())
    }

    fn try_lock(&mut self, _: Alone) -> Result<bool, Cause> {
        Ok(true)
    }

    fn tell(&mut self, _: Event) -> Result<(), Cause> {
        Ok(())
    }

    fn arbiter(&self) -> &str {
        ""
    }
}

impl sql::Apart for Once<'_> {
    fn put(&mut self, peer: &str, token: u64, rows: &Rows, now: Timestamp) -> Result<(), Cause> {
        staging::put(self, peer, token, rows, now)
    }

    fn compare(&mut self, source: &SourceState, held: &StagedLease) -> Result<Differences, Cause> {
        publish::compare(self.0, source, held)
    }

    fn publish(
        &mut self,
        source: &SourceState,
        held: &StagedLease,
        now: Timestamp,
    ) -> Result<Published, Cause> {
        publish::publish(self.0, source, held, now)
    }
}

impl Columns for Row<'_> {
    fn find(&self, name: &str) -> Option<usize> {
        self.as_ref().column_index(name).ok()
    }

    fn value(&self, at: usize) -> Result<SqlValue<'_>, Cause> {
        Ok(match self.get_ref(at)? {
            ValueRef::Blob(bytes) => SqlValue::Bytes(bytes.into()),
            ValueRef::Integer(number) => SqlValue::Int(number),
            ValueRef::Null => SqlValue::Null,
            ValueRef::Real(number) => return Err(Cause::Broken(format!("a number {number}"))),
            ValueRef::Text(_) => {
                SqlValue::Text(self.get_ref(at)?.as_str().map_err(rusqlite::Error::from)?.into())
            }
        })
    }
}

impl ToSql for SqlValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Bool(is) => (*is).into(),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Int(number) => (*number).into(),
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Texts(texts) => array(texts).into(),
        })
    }
}

fn absolute(file: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(file).map_err(|cause| StoreError::Io {
        database: name(file),
        attempt: "open database",
        cause: format!("{cause}: name a file"),
    })
}

/// Locks `<file>.lock`, which stays when the arbiter is gone: removing it would let two arbiters
/// lock two files of that name.
fn lock(file: &Path) -> Result<File, StoreError> {
    let mut path = file.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let io = |cause: io::Error| StoreError::Io {
        database: name(&path),
        attempt: "open lock of database",
        cause: match cause.kind() {
            io::ErrorKind::NotFound => "its folder is missing: make it first".to_owned(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                format!("{cause}: give this user write access to its folder")
            }
            _ => cause.to_string(),
        },
    };
    let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { database: name(file) }),
        Err(TryLockError::Error(cause)) => Err(io(cause)),
    }
}

impl Cause {
    fn in_file(self, file: &Path) -> StoreError {
        match self {
            Self::Sqlite(cause) => store_error(file, cause),
            other => other.of(name(file)),
        }
    }
}

impl From<rusqlite::Error> for Cause {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Sqlite(cause)
    }
}

/// The database as the operator knows it.
fn name(file: &Path) -> String {
    file.display().to_string()
}

fn store_error(file: &Path, cause: rusqlite::Error) -> StoreError {
    let database = name(file);
    match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt { database, cause: cause.to_string() }
        }
        Some(ErrorCode::DiskFull) => StoreError::Full { database },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StoreError::ReadOnly { database }
        }
        Some(ErrorCode::CannotOpen) => StoreError::Io {
            database,
            attempt: "open database",
            cause: format!("{cause}: its folder must exist, and it must be a file in it"),
        },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Io {
            database,
            attempt: "lock database",
            cause: format!("{cause}: another program keeps it locked: stop that one"),
        },
        Some(ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed) => StoreError::Io {
            database,
            attempt: "read or write database",
            cause: format!("{cause}: check its disk"),
        },
        _ => StoreError::Internal { database, cause: cause.to_string() },
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(signed(self.millis()).into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(|millis| Self::from_millis(unsigned(millis)))
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

/// A list of texts as a column holds it.
fn array(texts: &[impl Serialize]) -> String {
    serde_json::to_string(texts).expect("strings are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::sql::values;
    use canister_protocol::Rows;

    fn said(result: Result<Sqlite, StoreError>) -> String {
        result.expect_err("it was opened").to_string()
    }

    #[test]
    fn a_statement_is_postgresqls_text() {
        let connection = Connection::open_in_memory().unwrap();
        teach(&connection).unwrap();
        let tx: &mut dyn sql::Tx = &mut Once(&connection);
        for (text, expected) in [
            ("SELECT greatest(2, NULL, 3)", Some(3)),
            ("SELECT least(2, NULL, 3)", Some(2)),
            ("SELECT greatest(NULL, NULL)", None),
            // Values go by their numbers, whichever is named first.
            ("SELECT $2 - $1", Some(4)),
            ("SELECT $2", Some(5)),
            ("SELECT 'B' < 'a' COLLATE \"C\"", Some(1)),
        ] {
            let found: Option<i64> = tx.value(text, values![1_u64, 5_u64]).unwrap();
            assert_eq!(found, expected, "{text}");
        }
        let texts = vec!["a\"b".to_owned(), String::new()];
        let found: Vec<String> = tx.value("SELECT $1", values![&texts]).unwrap();
        assert_eq!(found, texts);
        // What isn't there is said, not taken for NULL.
        assert!(tx.value::<Option<u64>>("SELECT $1", &[]).is_err());
        assert!(tx.value::<u64>("SELECT 'text'", &[]).is_err());
        assert!(tx.value::<u64>("SELECT 1 WHERE false", &[]).is_err());
    }

    #[test]
    fn a_second_arbiter_is_refused_and_readers_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("arbiter.db");
        assert!(said(Sqlite::open_read_only(&file)).contains("no such file"));
        let first = Sqlite::open(&file).unwrap();
        let text = said(Sqlite::open(&file));
        assert!(text.ends_with("in use by another arbiter: stop that one, or name another file"));
        let mut reader = Store::Sqlite(Sqlite::open_read_only(&file).unwrap());
        assert_eq!(reader.search("anything", 9).unwrap(), []);
        let refused = reader.seen("p1", "agent", Timestamp::default());
        assert!(matches!(refused, Err(StoreError::ReadOnly { .. })), "{refused:?}");
        drop((first, reader));
        // Without an arbiter, too.
        let mut reader = Store::Sqlite(Sqlite::open_read_only(&file).unwrap());
        assert_eq!(reader.search("anything", 9).unwrap(), []);
        Sqlite::open(&file).unwrap();
    }

    #[test]
    fn files_that_cannot_be_a_database_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(said(Sqlite::open(path)).contains("is a directory: name a file in it"));
        assert!(said(Sqlite::open(Path::new(""))).ends_with("name a file"));
        let missing = path.join("missing/arbiter.db");
        assert!(said(Sqlite::open(&missing)).contains("its folder is missing: make it first"));
        let text = path.join("notes.txt");
        std::fs::write(&text, "no database, but a text of some length\n".repeat(40)).unwrap();
        assert!(said(Sqlite::open(&text)).contains("damaged or no database of an arbiter"));
        let other = path.join("other.db");
        let connection = Connection::open(&other).unwrap();
        connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(said(Sqlite::open(&other)).contains("another program's tables are in it"));
    }

    #[test]
    fn what_an_older_arbiter_remembered_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("arbiter.db");
        let connection = Connection::open(&file).unwrap();
        for migration in &MIGRATIONS[..6] {
            connection.execute_batch(migration).unwrap();
        }
        connection
            .execute_batch(
                "INSERT INTO source (slug, uri, suite, ranking, aliases, bootstrap, operator, listed,
                     due_at, announced, last_contact, last_attempt, failures)
                 VALUES ('a', 'https://someone.github.io/repo', './', 3, '[]', 0,
                     'someone.github.io', 1, 5, 0, 3, 4, 2);
                 INSERT INTO peer (name, agent, first_seen, last_seen) VALUES ('p', '', 1, 1);
                 INSERT INTO attempt VALUES (7, 'a', 9, 'p', 3, 4, 'source failed', 1, 2, 3, 4, 5,
                     6, 7, 8, 'why');",
            )
            .unwrap();
        connection.pragma_update(None, "application_id", APPLICATION).unwrap();
        connection.pragma_update(None, "user_version", 6).unwrap();
        drop(connection);
        let mut store = Store::Sqlite(Sqlite::open(&file).unwrap());
        let now = Timestamp::from_millis(6);
        store.bring_forward(now, &crate::store::Terms::default()).unwrap();
        let state = store.source("a").unwrap().unwrap();
        assert_eq!((&*state.operator, &*state.domain), ("github.io", "github.io"));
        assert_eq!(state.standing, crate::rules::schedule::Standing::Active);
        let last = Timestamp::from_millis(4);
        assert_eq!((state.failures, state.failed), (2, Some((last, last))));
        let attempt = store.attempts("a", 9).unwrap().remove(0);
        assert_eq!((attempt.token, attempt.skipped), (9, 8));
        assert_eq!(attempt.error.as_deref(), Some("why"));
        assert_eq!(store.claim("p", 1, now, &crate::store::Terms::default()).unwrap().len(), 1);
    }

    #[test]
    fn another_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("arbiter.db");
        drop(Sqlite::open(&file).unwrap());
        let connection = Connection::open(&file).unwrap();
        let known = MIGRATIONS.len() as u32;
        connection.pragma_update(None, "user_version", known + 1).unwrap();
        assert!(said(Sqlite::open(&file)).contains("written by a newer arbiter"));
        assert!(said(Sqlite::open_read_only(&file)).contains("written by a newer arbiter"));
        connection.pragma_update(None, "user_version", known - 1).unwrap();
        assert!(said(Sqlite::open_read_only(&file)).contains("written by an older arbiter"));
    }

    #[test]
    fn a_full_disk_loses_nothing_and_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::Sqlite(Sqlite::open(&folder.path().join("arbiter.db")).unwrap());
        let now = Timestamp::default();
        let source = canister_protocol::Source {
            slug: "a".into(),
            uri: "https://a.example".into(),
            suite: "./".into(),
            ranking: 3,
            ..canister_protocol::Source::default()
        };
        let listed =
            crate::rules::changes::Act::Listed { sources: Some(vec![source]), blocked_hosts: None };
        let terms = crate::store::Terms {
            lease: Duration::from_secs(60),
            ..crate::store::Terms::default()
        };
        let settings = crate::rules::policy::PolicySettings::default();
        store.settle(&listed, &settings, &terms, now).unwrap();
        let token = store.claim("p1", 1, now, &terms).unwrap()[0].token;
        let rows: Vec<_> = (0..500)
            .map(|number| canister_protocol::PackageRow::<String> {
                package_id: format!("p{number}"),
                version: "1".into(),
                architecture: "arm64".into(),
                price: "Free".into(),
                description: Some("x".repeat(1000)),
                ..canister_protocol::PackageRow::default()
            })
            .collect();
        let rows = Rows::of(&rows);
        let pages = |store: &Store, most: i64| {
            let Store::Sqlite(store) = store else { unreachable!("it was opened as one") };
            let mut pragma = store.connection.prepare("PRAGMA page_count").unwrap();
            let now: i64 = pragma.query_row([], |row| row.get(0)).unwrap();
            let sql = format!("PRAGMA max_page_count = {}", now + most);
            store.connection.query_row(&sql, [], |_| Ok(())).unwrap();
        };
        pages(&store, 10);
        let full = store.put("p1", token, &rows, now);
        assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
        pages(&store, 10_000);
        store.put("p1", token, &rows, now).unwrap();
        pages(&store, 10);
        let outcome = canister_protocol::message::Outcome::Indexed {
            origin: canister_protocol::message::Origin::default(),
            facts: canister_protocol::message::Facts::default(),
            counts: canister_protocol::message::Counts {
                put: 500,
                ..canister_protocol::message::Counts::default()
            },
        };
        let cost = canister_protocol::message::Cost::default();
        let full = store.finish("p1", token, &outcome, &cost, now, &terms);
        assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
        assert_eq!(store.counts(now).unwrap().packages, 0);
        pages(&store, 10_000);
        let finished = store.finish("p1", token, &outcome, &cost, now, &terms).unwrap();
        assert_eq!(finished.packages, 500);
    }
}
