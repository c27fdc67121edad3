//! One way to say SQL to either database, so that a verb is written once.
//!
//! A statement is PostgreSQL's text as far as SQLite understands it too: `$1`, `coalesce`, `CASE`,
//! `IS DISTINCT FROM`, `ON CONFLICT`, `RETURNING`, `CAST`. SQLite is taught the rest when it is
//! opened: the functions `greatest` and `least`, the collation "C". Where the two must differ,
//! [`sql!`] holds both texts.

use super::postgres::events::Event;
use super::values::{Differences, Published, StagedLease};
use super::{HeldKind, SourceState, Stage, StoreError, Verdict};
use crate::rules::families::HostFamilies;
use crate::rules::fault::Witnesses;
use crate::rules::publisher::Followed;
use crate::rules::record::Record;
use crate::rules::schedule::Standing;
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::{LeaseKind, PeerTrust};
use canister_protocol::address::AddressFamilies;
use canister_protocol::message::{FailureKind, SignatureState};
use canister_protocol::owner::OwnerSays;
use canister_protocol::{Digest, Rows};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// A statement. Each text is prepared once a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sql {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

/// A statement of which parts differ: what stands in brackets is SQLite's, then PostgreSQL's. One
/// that is empty does nothing there. SQLite takes only the values that its text names; PostgreSQL's
/// must name all.
///
/// ```ignore
/// sql!("SELECT slug FROM lease WHERE token = $1" ["" | " FOR UPDATE SKIP LOCKED"])
/// ```
macro_rules! sql {
    ($($both:literal $([$sqlite:literal | $postgres:literal])?)*) => {
        $crate::store::sql::Sql {
            sqlite: concat!($($both $(, $sqlite)?),*),
            postgres: concat!($($both $(, $postgres)?),*),
        }
    };
}
pub(super) use sql;

/// Values for a statement, each as it is.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::store::sql::SqlValue::from($value)),*] };
}
pub(super) use values;

/// A row's columns as the fields of the same names, and some other fields.
macro_rules! read {
    ($row:expr => $kind:ident { $($field:ident),* $(; $($other:ident: $value:expr),*)? $(,)? }) => {
        Ok($kind { $($field: $row.get(stringify!($field))?,)* $($($other: $value,)*)? })
    };
}
pub(super) use read;

/// A transaction of either database: what is done in it is done when it is committed, or never.
pub(super) trait Tx: Apart {
    /// How many rows a statement changed.
    fn run(&mut self, sql: Sql, values: &[SqlValue<'_>]) -> Result<u64, Cause>;

    /// Has a statement done before the next that somebody waits for, or before the transaction ends: how
    /// many rows it changes nobody asks.
    fn later(&mut self, sql: Sql, values: &[SqlValue<'_>]) -> Result<(), Cause>;

    /// That a query is about to be made, by the same words and values: its answer may be fetched with that of
    /// another. What it finds is as of before whatever is written since.
    fn ahead(&mut self, sql: Sql, values: &[SqlValue<'_>]) -> Result<(), Cause>;

    /// Shows each row of a query to `read`, until that fails.
    fn each(&mut self, sql: Sql, values: &[SqlValue<'_>], read: RowReader<'_>)
    -> Result<(), Cause>;

    /// Waits until no other arbiter does this; until the transaction ends none will.
    fn lock(&mut self, alone: Alone) -> Result<(), Cause>;

    /// As [`lock`](Self::lock), but doesn't wait: whether this arbiter is the one.
    fn try_lock(&mut self, alone: Alone) -> Result<bool, Cause>;

    /// Tells the other arbiters once it is committed.
    fn tell(&mut self, event: Event) -> Result<(), Cause>;

    /// Who this is among the arbiters; empty where there is only one.
    fn arbiter(&self) -> &str;
}

/// What each database does in its own way.
pub(super) trait Apart {
    /// Stages rows under the lease `token`, if `peer` holds it.
    fn put(&mut self, peer: &str, token: u64, rows: &Rows, now: Timestamp) -> Result<(), Cause>;

    /// What publishing what is staged under a lease would change of its source. Writes nothing of the
    /// catalogue; remembers what is to be written.
    fn compare(&mut self, source: &SourceState, held: &StagedLease) -> Result<Differences, Cause>;

    /// Publishes what [`compare`](Self::compare) found last. Locks rows of the source's packages and
    /// no others.
    fn publish(
        &mut self,
        source: &SourceState,
        held: &StagedLease,
        now: Timestamp,
    ) -> Result<Published, Cause>;
}

/// What is done with each row of a query.
pub(super) type RowReader<'a> = &'a mut dyn FnMut(Row<'_>) -> Result<(), Cause>;

impl dyn Tx + '_ {
    /// How many rows a statement changed.
    pub(super) fn execute(
        &mut self,
        sql: impl Into<Sql>,
        values: &[SqlValue<'_>],
    ) -> Result<u64, Cause> {
        self.run(sql.into(), values)
    }

    /// Has a statement done that nobody waits for.
    pub(super) fn defer(
        &mut self,
        sql: impl Into<Sql>,
        values: &[SqlValue<'_>],
    ) -> Result<(), Cause> {
        self.later(sql.into(), values)
    }

    /// That a query is about to be made.
    pub(super) fn foresee(
        &mut self,
        sql: impl Into<Sql>,
        values: &[SqlValue<'_>],
    ) -> Result<(), Cause> {
        self.ahead(sql.into(), values)
    }

    /// The rows of a query, each as `read` makes it.
    pub(super) fn query<T, C: FromIterator<T> + Extend<T> + Default>(
        &mut self,
        sql: impl Into<Sql>,
        values: &[SqlValue<'_>],
        mut read: impl FnMut(Row<'_>) -> Result<T, Cause>,
    ) -> Result<C, Cause> {
        let mut found = C::default();
        self.each(sql.into(), values, &mut |row| {
            found.extend([read(row)?]);
            Ok(())
        })?;
        Ok(found)
    }

    /// The row of a query that gives one or none.
    pub(super) fn maybe<T>(
        &mut self,
        sql: impl Into<Sql>,
        values: &[SqlValue<'_>],
        mut read: impl FnMut(Row<'_>) -> Result<T, Cause>,
    ) -> Result<Option<T>, Cause> {
        let mut found = None;
        self.each(sql.into(), values, &mut |row| {
            found = Some(read(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// The row of a query that gives one.
    pub(super) fn one<T>(
        &mut self,
        sql: impl Into<Sql>,
        values: &[SqlValue<'_>],
        read: impl FnMut(Row<'_>) -> Result<T, Cause>,
    ) -> Result<T, Cause> {
        let sql = sql.into();
        let found = self.maybe(sql, values, read)?;
        found.ok_or_else(|| Cause::Broken(format!("no row for {}", sql.postgres)))
    }

    /// The only column of the row of a query that gives one.
    pub(super) fn value<T: FromValue>(
        &mut self,
        sql: impl Into<Sql>,
        values: &[SqlValue<'_>],
    ) -> Result<T, Cause> {
        self.one(sql, values, first)
    }
}

/// Why a verb did nothing, before the database's name is known.
#[derive(Debug)]
pub(super) enum Cause {
    /// A row that the schema doesn't allow.
    Broken(String),
    Postgres(postgres::Error),
    /// Why, for the peer.
    Refused(String),
    Sqlite(rusqlite::Error),
}

impl Cause {
    /// As the caller hears it; what a database said is for that database to put into words.
    pub(super) fn of(self, database: String) -> StoreError {
        match self {
            Self::Refused(why) => StoreError::Refused { why },
            Self::Broken(cause) => StoreError::Internal { database, cause },
            Self::Postgres(cause) => StoreError::Internal { database, cause: cause.to_string() },
            Self::Sqlite(cause) => StoreError::Internal { database, cause: cause.to_string() },
        }
    }
}

pub(super) fn refused<T>(why: impl Into<String>) -> Result<T, Cause> {
    Err(Cause::Refused(why.into()))
}

/// What one arbiter at a time does for all; the numbers are the database's advisory locks. (Negative
/// ones are leases' that are being finished.)
#[derive(Debug, Clone, Copy)]
pub(super) enum Alone {
    Migrating = 0x436e_7301,
    Expiring = 0x436e_7302,
    Listing = 0x436e_7303,
    Cleaning = 0x436e_7304,
    Advertising = 0x436e_7305,
}

/// A value on its way to a statement, or a column on its way here. SQLite has truths as 0 and 1,
/// and texts as JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SqlValue<'a> {
    Bool(bool),
    Bytes(Cow<'a, [u8]>),
    Int(i64),
    Null,
    Text(Cow<'a, str>),
    Texts(Cow<'a, [String]>),
}

impl SqlValue<'_> {
    /// The same, of nobody's memory but its own.
    pub(super) fn into_owned(self) -> SqlValue<'static> {
        match self {
            Self::Bool(is) => SqlValue::Bool(is),
            Self::Bytes(bytes) => SqlValue::Bytes(bytes.into_owned().into()),
            Self::Int(number) => SqlValue::Int(number),
            Self::Null => SqlValue::Null,
            Self::Text(text) => SqlValue::Text(text.into_owned().into()),
            Self::Texts(texts) => SqlValue::Texts(texts.into_owned().into()),
        }
    }
}

/// A row of a query, for as long as it is looked at.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    columns: &'a dyn Columns,
    places: &'a Places,
}

/// Where the columns of a query are, in the order in which a row of it was read: the next is read alike, and a name
/// isn't looked for again among seventy.
#[derive(Default)]
pub(super) struct Places {
    asked: RefCell<Vec<(&'static str, usize)>>,
    /// How many of this row were asked for.
    so_far: Cell<usize>,
}

/// What a database's own row can do.
pub(super) trait Columns {
    /// Where the column of this name is.
    fn find(&self, name: &str) -> Option<usize>;

    fn value(&self, at: usize) -> Result<SqlValue<'_>, Cause>;
}

impl<'a> Row<'a> {
    /// The next row of the query that these places are of.
    pub(super) fn next(columns: &'a dyn Columns, places: &'a Places) -> Self {
        places.so_far.set(0);
        Self { columns, places }
    }

    /// The column of this name.
    pub(super) fn get<T: FromValue>(self, name: &'static str) -> Result<T, Cause> {
        let at = self.find(name).ok_or_else(|| Cause::Broken(format!("no column {name}")))?;
        T::from_value(self.columns.value(at)?)
            .ok_or_else(|| Cause::Broken(format!("column {name} is none of its kind")))
    }

    fn find(self, name: &'static str) -> Option<usize> {
        let number = self.places.so_far.replace(self.places.so_far.get() + 1);
        let mut asked = self.places.asked.borrow_mut();
        if let Some((known, at)) = asked.get(number)
            && std::ptr::eq(*known, name)
        {
            return Some(*at);
        }
        let at = self.columns.find(name)?;
        asked.truncate(number);
        asked.push((name, at));
        Some(at)
    }
}

/// The first column of a row.
pub(super) fn first<T: FromValue>(row: Row<'_>) -> Result<T, Cause> {
    T::from_value(row.columns.value(0)?)
        .ok_or_else(|| Cause::Broken("a column is none of its kind".to_owned()))
}

/// What a column can be read as.
pub(super) trait FromValue: Sized {
    /// It, unless the column is of another kind.
    fn from_value(value: SqlValue<'_>) -> Option<Self>;
}

impl FromValue for i64 {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        match value {
            SqlValue::Int(number) => Some(number),
            _ => None,
        }
    }
}

/// The schema keeps counts from being negative.
impl FromValue for u64 {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        i64::from_value(value).map(|number| Self::try_from(number).unwrap_or(0))
    }
}

impl FromValue for u32 {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        u64::from_value(value).map(|number| Self::try_from(number).unwrap_or(Self::MAX))
    }
}

impl FromValue for u8 {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        u64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for bool {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        match value {
            SqlValue::Bool(is) => Some(is),
            SqlValue::Int(number) => Some(number != 0),
            _ => None,
        }
    }
}

impl FromValue for String {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        match value {
            SqlValue::Text(text) => Some(text.into_owned()),
            _ => None,
        }
    }
}

impl FromValue for Vec<String> {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        match value {
            SqlValue::Texts(texts) => Some(texts.into_owned()),
            SqlValue::Text(json) => serde_json::from_str(&json).ok(),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        match value {
            SqlValue::Bytes(bytes) => Some(bytes.into_owned()),
            _ => None,
        }
    }
}

impl FromValue for Digest {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        match value {
            SqlValue::Bytes(bytes) => bytes.as_ref().try_into().ok().map(Self),
            _ => None,
        }
    }
}

impl FromValue for SignatureState {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        let word = String::from_value(value)?;
        Self::WORDS.into_iter().find(|(_, known)| *known == word).map(|(state, _)| state)
    }
}

impl FromValue for Duration {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        u64::from_value(value).map(Self::from_millis)
    }
}

impl FromValue for FailureKind {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        let words = String::from_value(value)?;
        Self::WORDS.into_iter().find(|(_, known)| *known == words).map(|(kind, _)| kind)
    }
}

impl FromValue for Timestamp {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        u64::from_value(value).map(Self::from_millis)
    }
}

/// What is stored in its words.
macro_rules! stored_in_words {
    ($($kind:ident)*) => {$(
        impl FromValue for $kind {
            fn from_value(value: SqlValue<'_>) -> Option<Self> {
                Self::from_words(&String::from_value(value)?)
            }
        }
    )*};
}
stored_in_words!(HeldKind HostFamilies LeaseKind PeerTrust Stage Standing Verdict);

/// As it is displayed.
impl FromValue for AddressFamilies {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        let said = String::from_value(value)?;
        Some(Self { v4: said.contains("IPv4"), v6: said.contains("IPv6") })
    }
}

/// What is stored as JSON; its default as nothing.
macro_rules! stored_as_json {
    ($($kind:ident)*) => {$(
        impl FromValue for $kind {
            fn from_value(value: SqlValue<'_>) -> Option<Self> {
                match value {
                    SqlValue::Null => Some(Self::default()),
                    text => serde_json::from_str(&String::from_value(text)?).ok(),
                }
            }
        }

        impl From<&$kind> for SqlValue<'_> {
            fn from(value: &$kind) -> Self {
                let text = || serde_json::to_string(value).expect("texts and numbers are always JSON");
                (*value != $kind::default()).then(text).into()
            }
        }
    )*};
}
stored_as_json!(Followed Record Witnesses);

/// As the owner's file would say it; nothing as nothing.
impl FromValue for OwnerSays {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        Option::<String>::from_value(value).map(|said| Self::read(&said.unwrap_or_default()))
    }
}

impl From<&OwnerSays> for SqlValue<'_> {
    fn from(says: &OwnerSays) -> Self {
        (*says != OwnerSays::default()).then(|| says.to_string()).into()
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: SqlValue<'_>) -> Option<Self> {
        match value {
            SqlValue::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

/// What goes into a statement, and as which value.
macro_rules! into_value {
    ($($it:ident: $kind:ty => $value:expr),* $(,)?) => {
        $(impl<'a> From<$kind> for SqlValue<'a> {
            fn from($it: $kind) -> Self {
                $value
            }
        })*
    };
}

into_value! {
    bytes: &'a [u8] => Self::Bytes(bytes.into()),
    digest: &'a Digest => Self::Bytes(digest.0.as_slice().into()),
    is: bool => Self::Bool(is),
    moment: Timestamp => moment.millis().into(),
    number: i32 => Self::Int(number.into()),
    number: i64 => Self::Int(number),
    number: u8 => Self::Int(number.into()),
    number: u32 => Self::Int(number.into()),
    // What is larger came from a peer's counting and is no count.
    number: u64 => Self::Int(i64::try_from(number).unwrap_or(i64::MAX)),
    number: usize => Self::Int(i64::try_from(number).unwrap_or(i64::MAX)),
    text: &'a str => Self::Text(text.into()),
    text: &'a String => Self::Text(text.into()),
    text: String => Self::Text(text.into()),
    text: &'a Option<String> => text.as_deref().into(),
    texts: &'a Vec<String> => Self::Texts(texts.into()),
    texts: Vec<String> => Self::Texts(texts.into()),
    time: Duration => Self::Int(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
}

impl<'a, T: Into<Self>> From<Option<T>> for SqlValue<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
