//! What every store does, as tests over a freshly opened one, each against SQLite and against a real
//! PostgreSQL. They use verbs only, and look at the tables through [`Fresh::sql`].

use canister_arbiter::rules::brake::Brake;
use canister_arbiter::rules::decision::Decided;
use canister_arbiter::rules::politeness::Politeness;
use canister_arbiter::rules::record::{Record, Went};
use canister_arbiter::rules::sources::{Diff, Known};
use canister_arbiter::rules::timestamp::Timestamp;
use canister_arbiter::rules::trust::PeerTrust;
use canister_arbiter::store::postgres::Address;
use canister_arbiter::store::{
    APPLICANT_KEPT, APPLICANTS_PER_NETWORK_MAX, ATTEMPTS_KEPT, Applicant, ApplicantAnswer,
    DISCOVERIES_PER_ANNOUNCER_MAX, DISCOVERIES_UNDECIDED_MAX, Discovered, Expired, Finished, Grant,
    LOOKS_MAX, Lease, Peer, PeerProgram, Postgres, REFUSED_FOR, Renewal, STAGED_ROWS_MAX,
    SourceLine, Sqlite, Stage, Store, StoreCounts, StoreError, Terms, Verdict,
};
use canister_protocol::message::{
    Cost, Counts as Counted, Facts, FailureKind, Origin, Outcome, Price,
};
use canister_protocol::{Digest, Head, PackageRow, Rows, Source, Uri, row, version};
use canister_tests::acts;
use canister_tests::postgres::{Cluster, Database};
use canister_tests::programs::until;
use canister_tests::random::Random;
use postgres::{Client, NoTls, SimpleQueryMessage};
use rusqlite::Connection;
use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// Which store a test is run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

/// Makes a test of a function, one for each store.
macro_rules! both {
    ($name:ident) => {
        mod $name {
            #[test]
            fn sqlite() {
                super::$name(super::Kind::Sqlite);
            }

            #[test]
            fn postgres() {
                super::$name(super::Kind::Postgres);
            }
        }
    };
}

// What is beside the life of leases; behind the macro, for it is used there.
mod brake;
mod feed;
mod forecast;
mod fronts;
mod nearness;
mod opinions;
mod owner;
mod provenance;
mod rules;
mod signatures;
mod strangers;
mod trust;

/// A minute for a lease, no pause, and nothing that brakes.
fn terms() -> Terms {
    Terms {
        lease: Duration::from_secs(60),
        politeness: Politeness { pause: Duration::ZERO, ..Politeness::default() },
        brake: Brake { share: 100, source_share: 100, packages: u64::MAX },
        ..Terms::default()
    }
}

/// The same with a pause.
fn patient() -> Terms {
    let mut terms = terms();
    terms.politeness.pause = Duration::from_secs(10);
    terms
}

/// Counted from a moment that is the source `a`'s own of the hour, so that it is due an hour after a
/// contact at `at(0)`.
fn at(secs: u64) -> Timestamp {
    Timestamp::from_millis(1_699_999_362_250).plus(Duration::from_secs(secs))
}

/// A store of the test's own.
struct Fresh {
    store: Store,
    /// What looks at its tables, from the first look on: to connect takes longer than to look.
    eye: RefCell<Option<Eye>>,
    place: Place,
}

/// Somebody else's connection.
enum Eye {
    Sqlite(Connection),
    Postgres(Client),
}

/// Where it is.
enum Place {
    Folder(tempfile::TempDir),
    Database(Database),
}

impl Place {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::Folder(tempfile::tempdir().unwrap()),
            Kind::Postgres => Self::Database(Cluster::shared().database()),
        }
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Folder(_) => Kind::Sqlite,
            Self::Database(_) => Kind::Postgres,
        }
    }

    /// Waits until nobody is connected: a server notices only after a while that a client is gone,
    /// and may be committing for it.
    fn until_alone(&self) {
        if let Self::Database(database) = self {
            let others = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
            until("the server to notice", Duration::from_secs(60), || {
                (database.psql(others) == "0").then_some(())
            });
        }
    }

    /// Somebody else, who does this in a transaction and commits it a moment after it is returned.
    fn somebody(&self, sql: &str) -> JoinHandle<()> {
        let (kind, address, sql) = (self.kind(), self.address(), sql.to_owned());
        let (begun, has_begun) = mpsc::channel();
        let somebody = std::thread::spawn(move || {
            let wait = || {
                begun.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(300));
            };
            match kind {
                Kind::Sqlite => {
                    let client = Connection::open(address).unwrap();
                    client.execute_batch(&format!("BEGIN IMMEDIATE; {sql}")).unwrap();
                    wait();
                    client.execute_batch("COMMIT").unwrap();
                }
                Kind::Postgres => {
                    let mut client = Client::connect(&address, NoTls).unwrap();
                    let path = "SET search_path = arbiter, public";
                    client.batch_execute(&format!("{path}; BEGIN; {sql}")).unwrap();
                    wait();
                    client.batch_execute("COMMIT").unwrap();
                }
            }
        });
        has_begun.recv().unwrap();
        somebody
    }

    /// What [`open`] takes.
    fn address(&self) -> String {
        match self {
            Self::Folder(folder) => folder.path().join("arbiter.db").display().to_string(),
            Self::Database(database) => database.address(),
        }
    }
}

fn program(agent: &str) -> PeerProgram {
    PeerProgram { agent: agent.into(), ..PeerProgram::default() }
}

fn open(address: &str) -> Store {
    if Address::is_meant(address) {
        Store::Postgres(Postgres::open(address.parse().unwrap(), "tested").unwrap())
    } else {
        // A program that another test has just started has this one's files, and so its lock, for a moment.
        until("the database to be let go", Duration::from_secs(20), || {
            match Sqlite::open(&PathBuf::from(address)) {
                Err(StoreError::InUse { .. }) => None,
                opened => Some(Store::Sqlite(opened.unwrap())),
            }
        })
    }
}

/// What the catalogue says of one live or left package, without the texts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    name: Option<String>,
    is_latest: bool,
    is_visible: bool,
    is_live: bool,
    quality: u8,
}

impl Fresh {
    fn new(kind: Kind) -> Self {
        /// A database with all tables, from which others are copied: to make them takes longer.
        static MADE: OnceLock<Database> = OnceLock::new();
        let made = || {
            let made = Cluster::shared().database();
            drop(open(&made.address()));
            made
        };
        Self::at(match kind {
            Kind::Sqlite => Place::new(kind),
            Kind::Postgres => {
                Place::Database(Cluster::shared().copy_of(MADE.get_or_init(made).name()))
            }
        })
    }

    fn at(place: Place) -> Self {
        Self { store: open(&place.address()), eye: RefCell::default(), place }
    }

    fn with(kind: Kind, slugs: &[&str]) -> Self {
        let mut fresh = Self::new(kind);
        fresh.list(&slugs.iter().map(|slug| source(slug)).collect::<Vec<_>>(), at(0));
        fresh
    }

    /// Lets go of the store, and of what looks at its tables.
    fn close(self) -> Place {
        let Self { store, eye, place } = self;
        drop((eye, store));
        place
    }

    fn reopen(self) -> Self {
        Self::at(self.close())
    }

    fn eye(&self) -> RefMut<'_, Eye> {
        RefMut::map(self.eye.borrow_mut(), |eye| {
            eye.get_or_insert_with(|| match &self.place {
                Place::Folder(_) => Eye::Sqlite(Connection::open(self.place.address()).unwrap()),
                Place::Database(database) => {
                    let mut client = Client::connect(&database.address(), NoTls).unwrap();
                    client.batch_execute("SET search_path = arbiter, public").unwrap();
                    Eye::Postgres(client)
                }
            })
        })
    }

    /// Looks at the tables: every column as text.
    fn sql(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        match &mut *self.eye() {
            Eye::Sqlite(connection) => {
                let mut statement = connection.prepare(sql).unwrap();
                let columns = statement.column_count();
                let mut rows = statement.query([]).unwrap();
                let mut all = Vec::new();
                while let Some(row) = rows.next().unwrap() {
                    let text = |column| match row.get_ref(column).unwrap() {
                        rusqlite::types::ValueRef::Null => None,
                        rusqlite::types::ValueRef::Integer(number) => Some(number.to_string()),
                        other => Some(other.as_str().unwrap().to_owned()),
                    };
                    all.push((0..columns).map(text).collect());
                }
                all
            }
            Eye::Postgres(client) => {
                let messages = client.simple_query(sql).unwrap();
                let rows = messages.iter().filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                });
                rows.map(|row| {
                    let text = |column| row.get(column).map(str::to_owned);
                    (0..row.len()).map(text).collect()
                })
                .collect()
            }
        }
    }

    /// Changes the tables behind the store's back.
    fn sql_do(&self, sql: &str) {
        match &mut *self.eye() {
            Eye::Sqlite(connection) => connection.execute_batch(sql).unwrap(),
            Eye::Postgres(client) => client.batch_execute(sql).unwrap(),
        }
    }

    /// The first column of what [`sql`](Self::sql) gives, where nothing is missing.
    fn column(&self, sql: &str) -> Vec<String> {
        let rows = self.sql(sql).into_iter();
        rows.map(|mut row| row.remove(0).unwrap()).collect()
    }

    /// Applies a source list.
    fn list(&mut self, list: &[Source], now: Timestamp) -> Vec<Lease> {
        let ended = acts::list(&mut self.store, list, now).ended;
        ended.into_iter().map(|(lease, _)| lease).collect()
    }

    /// Makes a source due, or all; how many.
    fn sync(&mut self, slug: Option<&str>, now: Timestamp) -> u64 {
        acts::sync(&mut self.store, slug, now)
    }

    /// Ends what is past its time.
    fn expire(&mut self, now: Timestamp) -> Vec<Lease> {
        self.store.expire(now, &[], &terms()).unwrap().ended
    }

    /// The tokens of the leases that a peer holds.
    fn held_by(&self, peer: &str, now: Timestamp) -> Vec<u64> {
        let held = self.column(&format!(
            "SELECT token FROM lease WHERE peer = '{peer}' AND expires_at > {} ORDER BY token",
            now.millis()
        ));
        held.iter().map(|token| token.parse().unwrap()).collect()
    }

    fn claim_one(&mut self, peer: &str, now: Timestamp) -> Grant {
        let mut grants = self.store.claim(peer, 1, now, &terms()).unwrap();
        assert_eq!(grants.len(), 1, "nothing was granted");
        grants.remove(0)
    }

    /// Does what an agent does with an index of `rows`: learn, put what is new, drop what is gone.
    fn work(&mut self, grant: &Grant, peer: &str, rows: &[PackageRow], now: Timestamp) -> Counted {
        let known = self.known(grant, peer, now);
        let mut put = Vec::new();
        let mut seen = BTreeSet::new();
        for row in rows {
            if seen.insert(digest(row)) && !known.contains(&digest(row)) {
                put.push(row.clone());
            }
        }
        let dropped: Vec<Digest> = known.difference(&seen).copied().collect();
        for batch in put.chunks(7) {
            self.store.put(peer, grant.token, &Rows::of(batch), now).unwrap();
        }
        self.store.dropped(peer, grant.token, &dropped, now).unwrap();
        Counted {
            packages: rows.len() as u64,
            known: known.intersection(&seen).count() as u64,
            put: put.len() as u64,
            dropped: dropped.len() as u64,
            ..Counted::default()
        }
    }

    fn known(&mut self, grant: &Grant, peer: &str, now: Timestamp) -> BTreeSet<Digest> {
        let mut known: Vec<Digest> = Vec::new();
        loop {
            let after = known.last().copied();
            let page = self.store.known(peer, grant.token, after, 3, now).unwrap();
            known.extend(&page);
            if page.len() < 3 {
                assert!(known.is_sorted());
                return known.into_iter().collect();
            }
        }
    }

    fn finish(
        &mut self,
        peer: &str,
        token: u64,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<Finished, StoreError> {
        self.store.finish(peer, token, outcome, &cost(), now, &terms())
    }

    /// One whole lease of the source that is due first.
    fn cycle(&mut self, peer: &str, rows: &[PackageRow], now: Timestamp) -> Finished {
        let grant = self.claim_one(peer, now);
        let counts = self.work(&grant, peer, rows, now);
        self.finish(peer, grant.token, &indexed(counts), now).unwrap()
    }

    fn catalogue(&self) -> BTreeMap<(String, String, String, String), Seen> {
        let rows = self.sql(
            "SELECT repository_id, package_id, version, architecture, name,
                 CAST(latest_version AS INTEGER), CAST(visible AS INTEGER),
                 CAST(left_at IS NULL AS INTEGER), quality, id
             FROM package",
        );
        let seen = rows.into_iter().map(|row| {
            let text = |column: usize| row[column].clone().unwrap();
            let is = |column: usize| text(column) == "1";
            let key = (text(0), text(1), text(2), text(3));
            assert_eq!(text(9), row::id(&key.0, &key.1, &key.2, &key.3));
            let seen = Seen {
                name: row[4].clone(),
                is_latest: is(5),
                is_visible: is(6),
                is_live: is(7),
                quality: text(8).parse().unwrap(),
            };
            (key, seen)
        });
        seen.collect()
    }

    /// The visible packages of the catalogue as `package_id version name`.
    fn visible(&self) -> Vec<String> {
        let catalogue = self.catalogue();
        let visible = catalogue.iter().filter(|(_, seen)| seen.is_visible);
        visible
            .map(|((_, package, version, _), seen)| {
                format!("{package} {version} {}", seen.name.as_deref().unwrap_or("-"))
            })
            .collect()
    }

    fn latest(&self) -> Vec<String> {
        let catalogue = self.catalogue();
        let latest = catalogue.iter().filter(|(_, seen)| seen.is_latest);
        latest
            .map(|((_, package, version, architecture), _)| {
                format!("{package} {version} {architecture}")
            })
            .collect()
    }

    fn repository(&self, slug: &str, column: &str) -> Option<String> {
        let column = match (column, self.place.kind()) {
            ("visible" | "origin_uses_https", _) => format!("CAST({column} AS INTEGER)"),
            ("aliases" | "sections", Kind::Postgres) => format!("to_json({column})"),
            _ => column.to_owned(),
        };
        let sql = format!("SELECT {column} FROM repository WHERE id = '{slug}'");
        self.sql(&sql).remove(0).remove(0)
    }

    /// The laws that must hold after every verb.
    fn check_laws(&self) {
        let everywhere = [
            (
                "a source or an operator has two leases",
                "SELECT source.operator FROM lease JOIN source ON source.slug = lease.slug
                 GROUP BY source.operator HAVING count(*) > 1",
            ),
            (
                "something is staged without a lease",
                "SELECT token FROM (SELECT token FROM staging UNION SELECT token
                 FROM staging_dropped) AS staged WHERE token NOT IN (SELECT token FROM lease)",
            ),
            (
                "a lease has no count of what is staged, or the reverse",
                "SELECT coalesce(lease.token, staged.token)
                 FROM lease FULL JOIN staged ON staged.token = lease.token
                 WHERE lease.token IS NULL OR staged.token IS NULL",
            ),
            (
                "the count of what is staged is wrong",
                "SELECT token FROM staged
                 WHERE put <> (SELECT count(*) FROM staging WHERE staging.token = staged.token)",
            ),
            (
                "a package has no latest version, or two",
                "SELECT package_id FROM package WHERE left_at IS NULL
                 GROUP BY repository_id, package_id, architecture
                 HAVING sum(CAST(latest_version AS INTEGER)) <> 1",
            ),
            (
                "a repository counts other packages than it has",
                "SELECT id FROM repository WHERE package_count <> (SELECT count(*) FROM package
                 WHERE repository_id = repository.id AND left_at IS NULL)",
            ),
            (
                "a source counts other packages by name than it has",
                "SELECT slug FROM source WHERE names <> (SELECT count(DISTINCT package_id)
                 FROM package WHERE repository_id = slug AND left_at IS NULL)",
            ),
            (
                "a live package is shown where its source is not, or the reverse",
                "SELECT package.id FROM package JOIN repository ON repository.id = repository_id
                 JOIN source ON slug = repository_id
                 WHERE left_at IS NULL
                   AND (package.visible <> repository.visible OR repository.visible <> shown)",
            ),
            (
                "a front is not the first of its sources, or is missing",
                "SELECT slug FROM (
                     SELECT domain, head_start, slug, due_at, operator, row_number() OVER (
                         PARTITION BY domain, head_start ORDER BY due_at, slug) AS place
                     FROM source WHERE polled) AS first
                 FULL JOIN front USING (domain, head_start, slug, due_at, operator)
                 WHERE (place IS NULL OR place = 1) AND (front.domain IS NULL OR place IS NULL)",
            ),
            (
                "a front says that an operator has a lease which has none",
                "SELECT slug FROM front WHERE leased AND operator NOT IN (
                     SELECT operator FROM lease
                     UNION SELECT source.operator FROM lease JOIN source ON source.slug = lease.slug)",
            ),
            (
                "a peer's counters don't add up",
                "SELECT name FROM peer WHERE granted <> finished + failed + given_back + expired
                 + revoked + (SELECT count(*) FROM lease WHERE peer = name)",
            ),
        ];
        // SQLite keeps its search index by triggers.
        let sqlite = [
            (
                "the search index has other packages than the visible latest ones",
                "SELECT number FROM (SELECT number FROM package WHERE visible AND latest_version
                 EXCEPT SELECT id FROM package_search_docsize)",
            ),
            (
                "the search index has packages that aren't shown",
                "SELECT id FROM (SELECT id FROM package_search_docsize
                 EXCEPT SELECT number FROM package WHERE visible AND latest_version)",
            ),
        ];
        let postgres = [(
            "a repository lists other sections than it has",
            "SELECT id FROM repository WHERE sections <> (
                     SELECT coalesce(array_agg(DISTINCT section COLLATE \"C\")
                         FILTER (WHERE section IS NOT NULL), '{}')
                     FROM package WHERE repository_id = repository.id AND left_at IS NULL)",
        )];
        let others = match self.place.kind() {
            Kind::Sqlite => &sqlite[..],
            Kind::Postgres => &postgres[..],
        };
        for (law, sql) in everywhere.iter().chain(others) {
            let broken = self.column(sql);
            assert!(broken.is_empty(), "{law}: {broken:?}");
        }
    }
}

fn source(slug: &str) -> Source {
    Source {
        slug: slug.into(),
        uri: format!("https://{slug}.example/repo"),
        suite: "./".into(),
        ranking: 3,
        ..Source::default()
    }
}

fn package(id: &str, version: &str, name: &str) -> PackageRow {
    PackageRow {
        package_id: id.into(),
        version: version.into(),
        architecture: "arm64".into(),
        package_filename: format!("debs/{id}_{version}.deb"),
        package_size: 7,
        price: "Free".into(),
        name: Some(name.into()),
        section: Some("Tweaks".into()),
        tags: vec!["role::user".into()],
        ..PackageRow::default()
    }
}

fn digest(row: &PackageRow) -> Digest {
    row.digest(&mut Vec::new())
}

fn origin(state: u8) -> Origin {
    Origin {
        head: Head::from_sha256([state; 32]).to_string(),
        release_path: "InRelease".into(),
        etag: Some(format!("\"{state}\"")),
        last_modified: None,
        index_path: "Packages.xz".into(),
        index_digest: format!("sha256:{state:064x}"),
    }
}

fn indexed(counts: Counted) -> Outcome {
    Outcome::Indexed {
        origin: origin(1),
        facts: Facts {
            name: Some("Example".into()),
            date: Some(1_600_000_000),
            has_in_release: true,
            ..Facts::default()
        },
        counts,
    }
}

fn failed(kind: FailureKind) -> Outcome {
    Outcome::Failed {
        kind,
        retry_after_secs: None,
        status: None,
        reason: "read Release: 404".into(),
    }
}

fn cost() -> Cost {
    Cost { requests: 2, bytes_fetched: 100, bytes_plain: 1000, millis: 50, first_byte_millis: None }
}

fn slugs(leases: &[Lease]) -> Vec<&str> {
    leases.iter().map(|lease| &*lease.slug).collect()
}

#[track_caller]
fn assert_refused<T: fmt::Debug>(result: Result<T, StoreError>, why: &str) {
    match result {
        Err(StoreError::Refused { why: said }) => assert!(said.contains(why), "{said}"),
        other => panic!("not refused: {other:?}"),
    }
}

both!(a_new_source_is_due_and_its_grant_says_all);
fn a_new_source_is_due_and_its_grant_says_all(kind: Kind) {
    let mut fresh = Fresh::new(kind);
    assert_eq!(fresh.store.claim("p1", 4, at(0), &terms()).unwrap(), []);
    let listed = Source {
        aliases: vec!["other".into()],
        bootstrap: true,
        component: Some("main".into()),
        architecture: Some("arm64".into()),
        suite: "stable".into(),
        ..source("a")
    };
    fresh.list(std::slice::from_ref(&listed), at(0));
    let grant = fresh.claim_one("p1", at(1));
    assert_eq!((&grant.source, &grant.origin, grant.expires_at), (&listed, &None, at(61)));
    fresh.finish("p1", grant.token, &indexed(Counted::default()), at(2)).unwrap();
    assert_eq!(fresh.store.claim("p1", 4, at(2), &terms()).unwrap(), []);
    assert_eq!(fresh.store.next_deadline(at(2), &terms()).unwrap(), Some(at(3600)));
    let again = fresh.claim_one("p1", at(3602));
    assert_eq!(again.origin, Some(origin(1)));
    assert!(again.token > grant.token);
    assert_eq!(fresh.store.next_deadline(at(3602), &terms()).unwrap(), Some(at(3662)));
}

both!(one_lease_a_source_and_one_an_operator);
fn one_lease_a_source_and_one_an_operator(kind: Kind) {
    let mut fresh = Fresh::new(kind);
    let shared =
        |slug: &str| Source { uri: format!("https://HOST.example:443/{slug}"), ..source(slug) };
    fresh.list(&[shared("a"), shared("b"), source("c")], at(0));
    let first = fresh.store.claim("p1", 9, at(0), &terms()).unwrap();
    assert_eq!(first.len(), 2, "{first:?}");
    assert_eq!(fresh.store.claim("p2", 9, at(0), &terms()).unwrap(), []);
    let shared = first.iter().find(|grant| grant.source.slug != "c").unwrap();
    fresh.store.give_back("p1", shared.token, at(1)).unwrap();
    // A pause between two leases of one operator is counted from the end of the first.
    let patient = patient();
    for (secs, granted) in [(1, 0), (10, 0), (11, 1)] {
        let grants = fresh.store.claim("p2", 9, at(secs), &patient).unwrap();
        assert_eq!(grants.len(), granted, "after {secs} s");
    }
    fresh.check_laws();
}

both!(a_peer_holds_no_more_than_it_may);
fn a_peer_holds_no_more_than_it_may(kind: Kind) {
    let mut fresh = Fresh::new(kind);
    let many: Vec<Source> = (0..100).map(|number| source(&format!("s{number}"))).collect();
    fresh.list(&many, at(0));
    // Nobody knows yet whether they can.
    assert_eq!(fresh.store.claim("p1", 60, at(0), &terms()).unwrap().len(), 8);
    let first = fresh.store.claim("p2", usize::MAX, at(0), &terms()).unwrap();
    assert_eq!(first.len(), 8);
    fresh.finish("p2", first[0].token, &indexed(Counted::default()), at(0)).unwrap();
    assert_eq!(fresh.store.claim("p2", 50, at(0), &terms()).unwrap().len(), 50);
    assert_eq!(fresh.store.claim("p2", 50, at(0), &terms()).unwrap().len(), 7);
    assert_eq!(fresh.store.claim("p2", usize::MAX, at(0), &terms()).unwrap().len(), 0);
}

both!(an_old_or_foreign_token_changes_nothing);
fn an_old_or_foreign_token_changes_nothing(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let grant = fresh.claim_one("p1", at(0));
    let rows = [package("x", "1", "X")];
    fresh.store.put("p1", grant.token, &Rows::of(&rows), at(1)).unwrap();
    let tokens = [
        ("p2", grant.token, at(1)),
        ("p1", grant.token + 1, at(1)),
        ("p1", 0, at(1)),
        ("p1", u64::MAX, at(1)),
        ("p1", grant.token, at(60)),
    ];
    for (peer, token, now) in tokens {
        let why = "is over, or was never";
        assert_refused(fresh.store.put(peer, token, &Rows::of(&rows), now), why);
        assert_refused(fresh.store.dropped(peer, token, &[digest(&rows[0])], now), why);
        assert_refused(fresh.store.known(peer, token, None, 9, now), why);
        assert_refused(fresh.store.give_back(peer, token, now), why);
        for outcome in [indexed(Counted::default()), failed(FailureKind::Status)] {
            assert_refused(fresh.finish(peer, token, &outcome, now), why);
        }
        assert!(fresh.store.renew(peer, &[token], now, &terms()).unwrap().is_empty());
    }
    assert!(fresh.catalogue().is_empty());
    // The lease itself is none the worse for it.
    let one = Counted { put: 1, ..Counted::default() };
    fresh.finish("p1", grant.token, &indexed(one), at(59)).unwrap();
    assert_eq!(fresh.visible(), ["x 1 X"]);
}

both!(renewing_keeps_a_lease_and_expiring_ends_it);
fn renewing_keeps_a_lease_and_expiring_ends_it(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let grants = fresh.store.claim("p1", 2, at(0), &terms()).unwrap();
    let [kept, lost] = [grants[0].token, grants[1].token];
    fresh.store.put("p1", lost, &Rows::of(&[package("x", "1", "X")]), at(1)).unwrap();
    let renewed = fresh.store.renew("p1", &[99, kept, u64::MAX], at(30), &terms()).unwrap();
    assert_eq!(renewed, [kept]);
    assert_eq!(fresh.expire(at(59)), []);
    let ended = fresh.expire(at(60));
    assert_eq!(ended.iter().map(|lease| lease.token).collect::<Vec<_>>(), [lost]);
    assert_eq!(fresh.expire(at(60)), []);
    assert_eq!(fresh.store.renew("p1", &[lost, kept], at(60), &terms()).unwrap(), [kept]);
    assert_eq!(fresh.held_by("p1", at(60)), [kept]);
    // A vanished peer isn't the source's failure, and the next one begins anew.
    let again = fresh.claim_one("p2", at(60));
    assert_eq!(again.source.slug, ended[0].slug);
    assert!(again.token > lost);
    let state = fresh.store.source(&again.source.slug).unwrap().unwrap();
    assert_eq!((state.failures, state.last_attempt), (0, None));
    fresh.finish("p2", again.token, &indexed(Counted::default()), at(61)).unwrap();
    assert!(fresh.catalogue().is_empty());
    let verdicts: Vec<Verdict> = fresh
        .store
        .attempts(&again.source.slug, 9)
        .unwrap()
        .iter()
        .map(|attempt| attempt.verdict)
        .collect();
    assert_eq!(verdicts, [Verdict::Indexed, Verdict::Expired]);
    fresh.check_laws();
}

both!(a_lease_past_its_time_blocks_until_it_is_expired);
fn a_lease_past_its_time_blocks_until_it_is_expired(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.claim_one("p1", at(0));
    assert_eq!(fresh.store.claim("p2", 1, at(100), &terms()).unwrap(), []);
    assert!(fresh.held_by("p1", at(100)).is_empty());
    assert_eq!(slugs(&fresh.expire(at(100))), ["a"]);
    fresh.claim_one("p2", at(100));
}

both!(given_back_is_due_at_once);
fn given_back_is_due_at_once(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let grant = fresh.claim_one("p1", at(0));
    fresh.store.put("p1", grant.token, &Rows::of(&[package("x", "1", "X")]), at(0)).unwrap();
    let lease = fresh.store.give_back("p1", grant.token, at(1)).unwrap();
    assert_eq!((lease.token, &*lease.slug), (grant.token, "a"));
    assert_refused(fresh.store.give_back("p1", grant.token, at(1)), "is over");
    fresh.check_laws();
    fresh.claim_one("p2", at(1));
}

both!(a_peer_that_must_leave_loses_its_leases);
fn a_peer_that_must_leave_loses_its_leases(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b", "c"]);
    let [first, second] = [0, 0].map(|_| fresh.claim_one("p1", at(0)));
    let other = fresh.claim_one("p2", at(0));
    fresh.store.put("p1", first.token, &Rows::of(&[package("x", "1", "X")]), at(0)).unwrap();
    let ended = fresh.store.end_all("p1", at(1)).unwrap();
    assert_eq!(slugs(&ended), [&*first.source.slug, &*second.source.slug]);
    assert_eq!(fresh.store.end_all("p1", at(1)).unwrap(), []);
    assert_refused(fresh.finish("p1", first.token, &failed(FailureKind::Peer), at(1)), "is over");
    assert_eq!(fresh.held_by("p2", at(1)), [other.token]);
    assert_eq!(fresh.store.claim("p2", 9, at(1), &terms()).unwrap().len(), 2);
    fresh.check_laws();
}

both!(a_renewal_is_of_the_moment_it_was_heard);
fn a_renewal_is_of_the_moment_it_was_heard(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b", "c"]);
    let grants = fresh.store.claim("p1", 3, at(0), &terms()).unwrap();
    let [kept, late, lost] = [0, 1, 2].map(|number| grants[number].token);
    let heard = |token: u64, peer: &str, secs: u64| Renewal {
        token,
        peer: peer.into(),
        at: at(secs),
        is_finishing: false,
    };
    // The store was busy from the 40th second to the 130th.
    let in_time = [heard(kept, "p1", 100), heard(kept, "p1", 50)];
    let others = [heard(late, "p1", 61), heard(lost, "p2", 50), heard(u64::MAX, "p1", 50)];
    let renewals: Vec<Renewal> = in_time.iter().chain(&others).cloned().collect();
    let expired = fresh.store.expire(at(130), &renewals, &terms()).unwrap();
    let ended: Vec<u64> = expired.ended.iter().map(|lease| lease.token).collect();
    assert_eq!(ended, [late, lost]);
    let gone: BTreeSet<u64> = expired.gone.iter().map(|renewal| renewal.token).collect();
    assert_eq!(gone, BTreeSet::from([late, lost, u64::MAX]));
    assert_eq!(fresh.held_by("p1", at(159)), [kept]);
    assert!(fresh.held_by("p1", at(160)).is_empty());
    let last_seen = |fresh: &mut Fresh| fresh.store.peers().unwrap()[0].last_seen;
    assert_eq!(last_seen(&mut fresh), at(100));
    // An earlier one shortens nothing.
    let earlier = fresh.store.expire(at(131), &in_time, &terms()).unwrap();
    assert_eq!(earlier, Expired::default());
    assert_eq!((fresh.held_by("p1", at(159)), last_seen(&mut fresh)), (vec![kept], at(100)));
    fresh.check_laws();
}

both!(a_greeting_says_what_is_held_whatever_ends_meanwhile);
fn a_greeting_says_what_is_held_whatever_ends_meanwhile(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b", "c"]);
    let grants = fresh.store.claim("p1", 3, at(0), &terms()).unwrap();
    let [kept, unknown, ended] = [0, 1, 2].map(|number| grants[number].token);
    // Somebody is ending one that the peer doesn't know of.
    let somebody = fresh.place.somebody(&format!(
        "DELETE FROM staged WHERE token = {ended};
         DELETE FROM lease WHERE token = {ended};
         UPDATE front SET leased = false;
         UPDATE peer SET expired = expired + 1"
    ));
    let held = fresh
        .store
        .greet("p1", &program("agent 1"), &[9, kept, u64::MAX], at(30), &terms())
        .unwrap();
    assert_eq!(held, [kept]);
    somebody.join().unwrap();
    assert_eq!(fresh.held_by("p1", at(89)), [kept]);
    let sources = fresh.column(&format!("SELECT slug FROM attempt WHERE token = {unknown}"));
    assert_eq!(sources, [&*grants[1].source.slug]);
    let peer = fresh.store.peers().unwrap().remove(0);
    assert_eq!((&*peer.agent, peer.given_back, peer.expired), ("agent 1", 1, 1));
    // Somebody is ending the one that it knows of, or renewing it.
    let sql = format!("UPDATE lease SET expires_at = expires_at + 1 WHERE token = {kept}");
    let somebody = fresh.place.somebody(&sql);
    assert_eq!(fresh.store.greet("p1", &program(""), &[kept], at(31), &terms()).unwrap(), [kept]);
    somebody.join().unwrap();
    fresh.check_laws();
}

both!(putting_twice_is_putting_once);
fn putting_twice_is_putting_once(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let grant = fresh.claim_one("p1", at(0));
    let rows = [package("x", "1", "X"), package("y", "1", "Y"), package("x", "1", "X")];
    for _ in 0..3 {
        fresh.store.put("p1", grant.token, &Rows::of(&rows), at(1)).unwrap();
        fresh.store.dropped("p1", grant.token, &[Digest([7; 16])], at(1)).unwrap();
    }
    let counts = Counted { packages: 3, put: 2, dropped: 1, ..Counted::default() };
    let wrong = [
        (Counted { put: 1, ..counts.clone() }, "1 rows put, but 2 arrived"),
        (Counted { put: 0, ..counts.clone() }, "0 rows put, but 2 arrived"),
        (Counted { dropped: 0, ..counts.clone() }, "0 digests dropped, but 1 arrived"),
    ];
    for (counts, why) in wrong {
        assert_refused(fresh.finish("p1", grant.token, &indexed(counts), at(2)), why);
        assert!(fresh.catalogue().is_empty());
    }
    let finished = fresh.finish("p1", grant.token, &indexed(counts), at(2)).unwrap();
    assert_eq!((finished.put, finished.left, finished.packages), (2, 0, 2));
    assert_eq!(fresh.visible(), ["x 1 X", "y 1 Y"]);
    fresh.check_laws();
}

both!(a_lease_takes_no_more_than_its_limit);
fn a_lease_takes_no_more_than_its_limit(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let grant = fresh.claim_one("p1", at(0));
    let fill = |fresh: &Fresh, put: u64, dropped: u64| {
        fresh.sql(&format!("UPDATE staged SET put = {put}, dropped = {dropped}"));
    };
    fill(&fresh, STAGED_ROWS_MAX, STAGED_ROWS_MAX);
    let why = "at most 4000000";
    assert_refused(
        fresh.store.put("p1", grant.token, &Rows::of(&[package("x", "1", "X")]), at(1)),
        why,
    );
    assert_refused(fresh.store.dropped("p1", grant.token, &[Digest([7; 16])], at(1)), why);
    // Nothing of it stayed.
    fill(&fresh, 0, 0);
    fresh.finish("p1", grant.token, &indexed(Counted::default()), at(2)).unwrap();
    assert!(fresh.catalogue().is_empty());
}

both!(a_row_that_is_none_spoils_its_batch_only);
fn a_row_that_is_none_spoils_its_batch_only(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let grant = fresh.claim_one("p1", at(0));
    let good = package("x", "1", "X");
    fresh.store.put("p1", grant.token, &Rows::of(std::slice::from_ref(&good)), at(0)).unwrap();
    let too_large = PackageRow { package_size: u64::MAX, ..package("z", "1", "Z") };
    for bad in [package("", "1", "X"), package("y", "", "Y"), too_large] {
        let batch = [package("other", "1", "Other"), bad];
        assert_refused(fresh.store.put("p1", grant.token, &Rows::of(&batch), at(0)), "row of ");
    }
    let one = Counted { put: 1, ..Counted::default() };
    fresh.finish("p1", grant.token, &indexed(one), at(1)).unwrap();
    assert_eq!(fresh.visible(), ["x 1 X"]);
}

both!(a_clock_that_was_set_back_makes_nothing_wait);
fn a_clock_that_was_set_back_makes_nothing_wait(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let year = 365 * 86_400;
    fresh.cycle("p1", &[], at(year));
    let lost = fresh.claim_one("p1", at(year));
    assert_eq!(fresh.store.claim("p2", 2, at(0), &terms()).unwrap(), []);
    let patient = patient();
    for _ in 0..2 {
        fresh.store.bring_forward(at(0), &patient).unwrap();
        assert_eq!(fresh.held_by("p1", at(59)), [lost.token]);
        assert_eq!(fresh.store.next_deadline(at(0), &terms()).unwrap(), Some(at(60)));
    }
    assert_eq!(fresh.expire(at(60)).len(), 1);
    let grants = fresh.store.claim("p2", 2, at(5400), &patient).unwrap();
    assert_eq!(grants.len(), 2);
}

both!(only_changes_change_the_catalogue);
fn only_changes_change_the_catalogue(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let first = [
        package("same", "1", "Same"),
        package("changed", "1", "Before"),
        package("gone", "1", "Gone"),
    ];
    let finished = fresh.cycle("p1", &first, at(0));
    assert_eq!((finished.put, finished.left, finished.packages), (3, 0, 3));
    assert_eq!((&*finished.slug, finished.due_at), ("a", at(3600)));
    let second = [
        package("same", "1", "Same"),
        package("changed", "1", "After"),
        package("new", "1", "New"),
    ];
    let finished = fresh.cycle("p1", &second, at(3600));
    assert_eq!((finished.put, finished.left, finished.packages), (2, 1, 3));
    assert_eq!(fresh.visible(), ["changed 1 After", "new 1 New", "same 1 Same"]);
    let gone = ("a".into(), "gone".into(), "1".into(), "arm64".into());
    let left = fresh.catalogue()[&gone].clone();
    assert!(!left.is_live && !left.is_latest);
    assert!(fresh.store.search("gone", 9).unwrap().is_empty());
    // What left may come back as it was.
    let finished = fresh.cycle("p1", &first, at(7200));
    assert_eq!((finished.put, finished.left), (2, 1));
    assert_eq!(fresh.visible(), ["changed 1 Before", "gone 1 Gone", "same 1 Same"]);
    let finished = fresh.cycle("p1", &first, at(10_800));
    assert_eq!((finished.put, finished.left), (0, 0));
    fresh.check_laws();
}

both!(of_two_stanzas_with_one_id_the_first_stands);
fn of_two_stanzas_with_one_id_the_first_stands(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let both = [package("x", "1", "First"), package("x", "1", "Second")];
    for cycle in 0..4 {
        let finished = fresh.cycle("p1", &both, at(cycle * 3600));
        assert_eq!((finished.put, finished.packages), (u64::from(cycle == 0), 1));
        assert_eq!(fresh.visible(), ["x 1 First"]);
    }
    // When the first goes the second takes its place, and it is one package all along.
    let finished = fresh.cycle("p1", &both[1..], at(4 * 3600));
    assert_eq!((finished.put, finished.left, finished.packages), (1, 0, 1));
    assert_eq!(fresh.visible(), ["x 1 Second"]);
    // And it stands even when the other comes back before it.
    fresh.cycle("p1", &both, at(5 * 3600));
    assert_eq!(fresh.visible(), ["x 1 Second"]);
    let third = [package("x", "1", "Third"), package("x", "1", "Fourth")];
    fresh.cycle("p1", &third, at(6 * 3600));
    assert_eq!(fresh.visible(), ["x 1 Third"]);
    fresh.check_laws();
}

both!(prices_are_kept_apart_and_stand_in_the_catalogue_after_a_publication);
fn prices_are_kept_apart_and_stand_in_the_catalogue_after_a_publication(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let paid = |id: &str, version: &str| PackageRow {
        price: "Paid".into(),
        ..package(id, version, "Name")
    };
    let price = |id: &str, price: &str| Price { package_id: id.into(), price: price.into() };
    let prices = |fresh: &Fresh| -> Vec<String> {
        fresh.column("SELECT package_id || ' ' || version || ' ' || price FROM package ORDER BY 1")
    };
    let rows = [paid("x", "1"), paid("x", "2"), paid("y", "1"), package("z", "1", "Name")];
    let grant = fresh.claim_one("p1", at(0));
    let counts = fresh.work(&grant, "p1", &rows, at(0));
    let told = [price("x", "$1"), price("z", "$9"), price("gone", "$5")];
    for _ in 0..2 {
        fresh.store.prices("p1", grant.token, &told, at(1)).unwrap();
    }
    let priced = |fresh: &mut Fresh, grant: &Grant, after: &str, limit, since, now| {
        fresh.store.priced("p1", grant.token, after, limit, at(since), at(now)).unwrap()
    };
    assert_eq!(priced(&mut fresh, &grant, "", 9, 0, 1), ["gone", "x", "z"]);
    assert_eq!(priced(&mut fresh, &grant, "gone", 1, 0, 1), ["x"]);
    assert_eq!(priced(&mut fresh, &grant, "", 9, 2, 2), Vec::<String>::new());
    assert_refused(fresh.store.prices("p2", grant.token, &told, at(1)), "is over, or was never");
    fresh.finish("p1", grant.token, &indexed(counts), at(2)).unwrap();
    // What is free stays free, whoever says otherwise; what isn't there is forgotten.
    assert_eq!(prices(&fresh), ["x 1 $1", "x 2 $1", "y 1 Paid", "z 1 Free"]);

    // A new version has the price of its package, also where nobody asked again.
    let more = [rows.as_slice(), &[paid("x", "3")]].concat();
    let finished = fresh.cycle("p1", &more, at(4000));
    assert_eq!((finished.put, finished.left), (1, 0));
    assert_eq!(prices(&fresh)[2], "x 3 $1");

    // A new price reaches rows that didn't change.
    let grant = fresh.claim_one("p1", at(8000));
    let counts = fresh.work(&grant, "p1", &more, at(8000));
    fresh.store.prices("p1", grant.token, &[price("y", "$2")], at(8000)).unwrap();
    assert_eq!(priced(&mut fresh, &grant, "", 9, 0, 8000), ["x", "y", "z"]);
    fresh.finish("p1", grant.token, &indexed(counts), at(8001)).unwrap();
    assert_eq!(prices(&fresh)[3], "y 1 $2");
    fresh.check_laws();
}

both!(the_latest_version_is_debians);
fn the_latest_version_is_debians(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    let ascending = [
        "~~",
        "~",
        "0.1",
        "1~rc1",
        "1",
        "1a",
        "1+",
        "1.2",
        "1.10",
        "99999999999999999999",
        "v1 0",
        "v1,0",
        "1:0",
        "2:",
    ];
    assert!(ascending.iter().map(|text| version::key(text)).is_sorted());
    let mut rows: Vec<PackageRow> = ascending.iter().map(|text| package("x", text, "X")).collect();
    rows.rotate_left(5);
    for (secs, length) in [14, 13, 9, 10, 3, 1, 14].into_iter().enumerate() {
        rows.retain(|row| ascending[..length].contains(&&*row.version));
        for text in &ascending[..length] {
            if !rows.iter().any(|row| row.version == *text) {
                rows.push(package("x", text, "X"));
            }
        }
        fresh.cycle("p1", &rows, at(secs as u64 * 5400));
        let other = fresh.claim_one("p1", at(secs as u64 * 5400));
        fresh
            .finish("p1", other.token, &indexed(Counted::default()), at(secs as u64 * 5400))
            .unwrap();
        let latest = format!("x {} arm64", ascending[length - 1]);
        assert_eq!(fresh.latest(), [latest]);
    }
    fresh.check_laws();
}

both!(equal_versions_and_other_architectures_have_one_latest_each);
fn equal_versions_and_other_architectures_have_one_latest_each(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let other = PackageRow { architecture: "arm".into(), ..package("x", "0.9", "X") };
    let rows = [package("x", "1", "X"), package("x", "1-0", "X"), package("x", "0:1", "X"), other];
    let highest = rows[..3].iter().max_by_key(|row| row.id("a")).unwrap();
    fresh.cycle("p1", &rows, at(0));
    let mut expected = vec!["x 0.9 arm".to_owned(), format!("x {} arm64", highest.version)];
    expected.sort();
    let mut latest = fresh.latest();
    latest.sort();
    assert_eq!(latest, expected);
    fresh.check_laws();
}

both!(unchanged_writes_no_more_than_what_is_new);
fn unchanged_writes_no_more_than_what_is_new(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let unchanged = |state, facts| Outcome::Unchanged { origin: origin(state), facts };
    let grant = fresh.claim_one("p1", at(0));
    let too_early = fresh.finish("p1", grant.token, &unchanged(1, None), at(0));
    assert_refused(too_early, "nothing was published of a yet");
    let counts = fresh.work(&grant, "p1", &[package("x", "1", "X")], at(0));
    fresh.finish("p1", grant.token, &indexed(counts), at(0)).unwrap();
    let published = fresh.repository("a", "origin_last_updated");
    assert_eq!(published, Some(at(0).to_string()));

    // The same head, with another validator.
    let grant = fresh.claim_one("p1", at(3600));
    let same = Outcome::Unchanged {
        origin: Origin { etag: Some("\"other\"".into()), ..origin(1) },
        facts: None,
    };
    let finished = fresh.finish("p1", grant.token, &same, at(3600)).unwrap();
    assert_eq!((finished.verdict, finished.packages), (Verdict::Unchanged, 1));
    assert_eq!(finished.due_at, at(7200));
    assert_eq!(fresh.repository("a", "origin_last_updated"), published);
    let state = fresh.store.source("a").unwrap().unwrap();
    assert_eq!(state.last_contact, Some(at(3600)));
    assert_eq!(state.origin.unwrap().etag.as_deref(), Some("\"other\""));

    // Another head over the same index, and what was staged by mistake is not published.
    let grant = fresh.claim_one("p1", at(7200));
    fresh.store.put("p1", grant.token, &Rows::of(&[package("y", "1", "Y")]), at(7200)).unwrap();
    let facts = Facts { name: Some("Renamed".into()), ..Facts::default() };
    fresh.finish("p1", grant.token, &unchanged(2, Some(facts)), at(7200)).unwrap();
    assert_eq!(fresh.repository("a", "name").as_deref(), Some("Renamed"));
    assert_eq!(
        fresh.repository("a", "origin_release_hash"),
        Some(format!("sha256:{}", "02".repeat(32)))
    );
    assert_eq!(fresh.visible(), ["x 1 X"]);
    let grant = fresh.claim_one("p1", at(10_800));
    fresh.finish("p1", grant.token, &unchanged(3, None), at(10_800)).unwrap();
    assert_eq!(fresh.repository("a", "name").as_deref(), Some("Renamed"));
    assert_eq!(fresh.repository("a", "origin_last_updated"), Some(at(10_800).to_string()));
    fresh.check_laws();
}

both!(failures_are_counted_by_fault);
fn failures_are_counted_by_fault(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    let mut now = 3600;
    for (kind, failures, pause) in
        [(FailureKind::Status, 1, 900), (FailureKind::Peer, 1, 60), (FailureKind::Status, 2, 1800)]
    {
        let grant = fresh.claim_one("p1", at(now));
        fresh.store.put("p1", grant.token, &Rows::of(&[package("y", "1", "Y")]), at(now)).unwrap();
        let finished = fresh.finish("p1", grant.token, &failed(kind), at(now)).unwrap();
        assert_eq!(finished.due_at, at(now + pause));
        assert_eq!(finished.packages, 1);
        let state = fresh.store.source("a").unwrap().unwrap();
        assert_eq!((state.failures, state.last_contact), (failures, Some(at(0))));
        assert_eq!(state.last_attempt, Some(at(now)));
        assert_eq!(state.last_error.as_deref(), Some("read Release: 404"));
        now += pause;
    }
    assert_eq!(fresh.visible(), ["x 1 X"]);
    assert_eq!(fresh.store.counts(at(now)).unwrap().failing, 1);
    fresh.cycle("p1", &[package("x", "1", "X")], at(now));
    let state = fresh.store.source("a").unwrap().unwrap();
    assert_eq!((state.failures, state.last_error), (0, None));
    fresh.check_laws();
}

both!(history_keeps_the_newest);
fn history_keeps_the_newest(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    for cycle in 0..60 {
        for _ in 0..2 {
            let grant = fresh.claim_one("p1", at(cycle * 5400));
            let outcome = indexed(Counted {
                packages: cycle,
                skipped: 1,
                first_skipped: "line 3: no Version".into(),
                ..Counted::default()
            });
            fresh.finish("p1", grant.token, &outcome, at(cycle * 5400 + 5)).unwrap();
        }
    }
    let attempts = fresh.store.attempts("a", 999).unwrap();
    assert_eq!(attempts.len(), ATTEMPTS_KEPT as usize);
    let newest = &attempts[0];
    assert_eq!((newest.packages, newest.skipped, newest.requests), (59, 1, 2));
    assert_eq!(newest.ended.since(newest.started), Duration::from_secs(5));
    assert_eq!(newest.error.as_deref(), Some("line 3: no Version"));
    assert!(attempts.is_sorted_by(|a, b| a.token > b.token));
    assert_eq!(fresh.store.attempts("a", 3).unwrap().len(), 3);
    assert_eq!(fresh.store.attempts("none", 3).unwrap(), []);
}

both!(a_removed_source_is_hidden_and_comes_back);
fn a_removed_source_is_hidden_and_comes_back(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    assert_eq!(fresh.visible().len(), 2);
    let grants = fresh.store.claim("p1", 2, at(5400), &terms()).unwrap();
    let ended = fresh.list(&[source("b")], at(5401));
    assert_eq!(slugs(&ended), ["a"]);
    assert_eq!(fresh.visible().len(), 1);
    assert_eq!(fresh.repository("a", "visible").as_deref(), Some("0"));
    assert_eq!(fresh.store.search("x", 9).unwrap().len(), 1);
    fresh.check_laws();
    let removed = grants.iter().find(|grant| grant.source.slug == "a").unwrap();
    assert_refused(
        fresh.finish("p1", removed.token, &failed(FailureKind::Status), at(5402)),
        "is over",
    );
    let counts = fresh.store.counts(at(5402)).unwrap();
    assert_eq!((counts.sources, counts.hidden, counts.leased), (1, 1, 1));
    assert_eq!((counts.packages, counts.visible), (2, 1));
    assert_eq!(fresh.store.claim("p2", 9, at(9000), &terms()).unwrap(), []);
    assert_eq!(fresh.sync(Some("a"), at(9000)), 0);

    fresh.list(&[source("a"), source("b")], at(9000));
    assert_eq!(fresh.visible().len(), 2);
    let again = fresh.claim_one("p2", at(9000));
    assert_eq!((&*again.source.slug, again.origin), ("a", Some(origin(1))));
    fresh.check_laws();
}

both!(a_changed_source_changes_the_catalogue);
fn a_changed_source_changes_the_catalogue(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    let better = Source { ranking: 1, aliases: vec!["alias \"quoted\"".into()], ..source("a") };
    assert_eq!(fresh.list(std::slice::from_ref(&better), at(1)), []);
    assert_eq!(fresh.catalogue().values().next().unwrap().quality, 1);
    assert_eq!(fresh.repository("a", "quality").as_deref(), Some("1"));
    assert_eq!(fresh.repository("a", "aliases").as_deref(), Some(r#"["alias \"quoted\""]"#));
    // Not due by that: it was indexed a second ago.
    assert_eq!(fresh.store.claim("p1", 1, at(1), &terms()).unwrap(), []);
    let grant = fresh.claim_one("p1", at(3600));

    let moved = Source { uri: "http://elsewhere.example/".into(), ..better };
    let ended = fresh.list(std::slice::from_ref(&moved), at(3601));
    assert_eq!(ended.iter().map(|lease| lease.token).collect::<Vec<_>>(), [grant.token]);
    let state = fresh.store.source("a").unwrap().unwrap();
    assert_eq!((&*state.operator, &state.origin), ("elsewhere.example", &None));
    // The last good packages stay until there are new ones, and only changes travel.
    assert_eq!(fresh.visible(), ["x 1 X"]);
    let finished = fresh.cycle("p1", &[package("x", "1", "X")], at(3601));
    assert_eq!((finished.put, finished.left), (0, 0));
    assert_eq!(fresh.repository("a", "origin_uses_https").as_deref(), Some("0"));
    assert_eq!(fresh.repository("a", "origin_hostname").as_deref(), Some("elsewhere.example"));
    fresh.check_laws();
}

both!(applying_a_list_twice_changes_nothing);
fn applying_a_list_twice_changes_nothing(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b", "c"]);
    fresh.list(&[source("a"), source("b")], at(1));
    fresh.claim_one("p1", at(2));
    let moved = Source { uri: "https://moved.example".into(), ..source("a") };
    let list = [source("new"), moved, source("c")];
    let settled = acts::list(&mut fresh.store, &list, at(3));
    let diff = settled.listed.unwrap().diff;
    let sizes = [&diff.added, &diff.changed, &diff.returned].map(Vec::len);
    assert_eq!((sizes, &diff.removed), ([1, 1, 1], &vec!["b".to_owned()]));
    assert_eq!(settled.ended.len(), 1);
    let after = fresh.store.sources().unwrap();
    let again = acts::list(&mut fresh.store, &list, at(3));
    assert_eq!((again.listed.unwrap().diff, again.ended), (Diff::default(), vec![]));
    assert_eq!(fresh.store.sources().unwrap(), after);
    let listed: Vec<Known> = fresh.store.known_sources().unwrap();
    let listed: Vec<(&str, bool)> =
        listed.iter().map(|known| (&*known.source.slug, known.is_listed)).collect();
    assert_eq!(listed, [("a", true), ("b", false), ("c", true), ("new", true)]);
}

both!(sources_are_gone_through_in_pages_with_their_newest_attempts);
fn sources_are_gone_through_in_pages_with_their_newest_attempts(kind: Kind) {
    // In the order of their bytes, which isn't that of a language.
    let mut fresh = Fresh::with(kind, &["b-1", "b.0", "b1", "c", "a"]);
    for number in 0..7 {
        fresh.cycle("p1", &[package("x", "1", "X")], at(number));
        fresh.sync(None, at(number));
    }
    let all = fresh.store.sources().unwrap();
    for limit in 1..7 {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = fresh.store.sources_after(&after, limit).unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after.clone_from(&last.source.slug);
            found.extend(page);
        }
        assert_eq!(found, all, "{limit}");
    }
    let mut newest = fresh.store.newest_attempts(&["a", "b.0", "b1", "c", "none"]).unwrap();
    for slug in ["a", "b.0", "b1", "c", "none"] {
        let expected = fresh.store.attempts(slug, 1).unwrap().pop();
        assert_eq!(newest.remove(slug), expected, "{slug}");
    }
    assert!(newest.is_empty());
}

both!(what_is_told_of_all_sources_is_read_in_parts);
fn what_is_told_of_all_sources_is_read_in_parts(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b", "c", "d", "e", "gone", "f"]);
    let listed = ["a", "b", "c", "d", "e", "f"].map(source);
    // One that isn't listed any more, one that is blocked, one that was found, one that was approved.
    fresh.list(&listed, at(1));
    acts::decide(&mut fresh.store, Decided::Block("slug:b".parse().unwrap()), at(1)).unwrap();
    for (slug, grants) in [("found", 6), ("approved", 1)] {
        fresh.store.discover(&source(slug), "x", false, at(2)).unwrap();
        for _ in 0..grants {
            fresh.cycle("p1", &[package("x", "1", "X")], at(2));
        }
    }
    acts::decide(&mut fresh.store, Decided::Approve("approved".to_owned()), at(3)).unwrap();
    acts::decide(&mut fresh.store, Decided::Delist("c".to_owned()), at(3)).unwrap();
    // One that fails, and one that is read.
    fresh.sync(Some("d"), at(4));
    let grant = fresh.claim_one("p1", at(4));
    fresh.finish("p1", grant.token, &failed(FailureKind::NoIndex), at(5)).unwrap();
    fresh.sync(None, at(6));
    fresh.claim_one("p1", at(6));

    let all = fresh.store.sources().unwrap();
    let told: Vec<SourceLine> =
        all.iter().filter(|state| state.is_for_everybody()).map(SourceLine::from).collect();
    let slugs: Vec<&str> = told.iter().map(|line| &*line.slug).collect();
    assert_eq!(slugs, ["a", "approved", "c", "d", "e", "f"]);
    assert!(told.iter().any(|line| line.is_leased) && told.iter().any(|line| line.failures > 0));
    let counts = fresh.store.counts(at(7)).unwrap();
    assert_eq!((counts.sources, counts.hidden), (7, 3));
    assert_eq!(counts.packages, all.iter().map(|state| state.packages).sum::<u64>());
    for limit in 1..=all.len() + 1 {
        let (mut lines, mut after) = (Vec::new(), Some(String::new()));
        while let Some(from) = after {
            let (page, next) = fresh.store.lines_after(&from, limit).unwrap();
            lines.extend(page);
            after = next;
        }
        assert_eq!(lines, told, "{limit}");
        let (mut sum, mut after) = (StoreCounts::default(), Some(String::new()));
        while let Some(from) = after {
            let (part, next) = fresh.store.counts_after(&from, limit, at(7)).unwrap();
            sum += part;
            after = next;
        }
        assert_eq!(sum, counts, "{limit}");
    }
    let uris = fresh.store.uris_of(&["b".to_owned(), "none".to_owned()]).unwrap();
    assert_eq!(uris, HashMap::from([("b".to_owned(), source("b").uri)]));
}

both!(a_source_is_found_by_where_it_is);
fn a_source_is_found_by_where_it_is(kind: Kind) {
    let mut fresh = Fresh::new(kind);
    let at_place = |slug: &str, uri: &str, suite: &str| Source {
        uri: uri.to_owned(),
        suite: suite.to_owned(),
        ..source(slug)
    };
    let list = [
        at_place("b", "https://one.example/repo", "./"),
        at_place("a", "http://ONE.example/repo/", "./"),
        at_place("c", "https://one.example/other", "./"),
        at_place("d", "https://two.example", "./"),
    ];
    fresh.list(&list, at(0));
    for (uris, slugs) in [
        (&["https://one.example/repo"][..], &["a", "b"][..]),
        (&["http://one.example/repo/", "https://two.example/"], &["a", "b", "d"]),
        (&["https://one.example/"], &[]),
        (&["https://three.example/repo"], &[]),
        (&[], &[]),
    ] {
        let places: Vec<Uri> = uris.iter().map(|uri| Uri::parse(uri).unwrap()).collect();
        let found = fresh.store.sources_at(&places).unwrap();
        assert_eq!(found.iter().map(|it| &*it.slug).collect::<Vec<_>>(), slugs, "{uris:?}");
    }
}

both!(sync_makes_due_at_once);
fn sync_makes_due_at_once(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    fresh.cycle("p1", &[], at(0));
    fresh.cycle("p1", &[], at(0));
    assert_eq!(fresh.sync(Some("b"), at(10)), 1);
    assert_eq!(fresh.sync(Some("none"), at(10)), 0);
    assert_eq!(fresh.store.counts(at(10)).unwrap().due, 1);
    assert_eq!(fresh.claim_one("p1", at(10)).source.slug, "b");
    assert_eq!(fresh.sync(None, at(11)), 2);
    assert_eq!(fresh.claim_one("p1", at(11)).source.slug, "a");
    fresh.list(&[source("a")], at(12));
    let standing = |fresh: &mut Fresh, secs| -> Vec<&str> {
        let sources = fresh.store.sources().unwrap();
        sources.iter().map(|source| source.standing(at(secs))).collect()
    };
    assert_eq!(standing(&mut fresh, 12), ["leased", "hidden"]);
    assert_eq!(fresh.expire(at(9000)).len(), 1);
    assert_eq!(standing(&mut fresh, 9000), ["due", "hidden"]);
    fresh.cycle("p1", &[], at(9000));
    assert_eq!(standing(&mut fresh, 9001), ["waiting", "hidden"]);
}

both!(an_announcement_makes_due_at_once_and_outlives_a_lease_that_is_older);
fn an_announcement_makes_due_at_once_and_outlives_a_lease_that_is_older(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    let state = |fresh: &mut Fresh| fresh.store.source("a").unwrap().unwrap();
    let announced = |fresh: &mut Fresh| {
        let state = state(fresh);
        (state.is_announced, state.announced_cid, state.due_at)
    };
    let waiting = |fresh: &mut Fresh, now| {
        let (is_announced, cid, due_at) = announced(fresh);
        assert!(!is_announced && due_at > now);
        cid
    };
    assert_eq!(waiting(&mut fresh, at(1)), None);
    let cid = |text: &str| Some(text.to_owned());
    for _ in 0..2 {
        fresh.store.announce("a", Some("bx"), at(10)).unwrap();
        assert_eq!(announced(&mut fresh), (true, cid("bx"), at(10)));
    }
    fresh.store.announce("a", Some("by"), at(11)).unwrap();
    assert_eq!(announced(&mut fresh), (true, cid("by"), at(10)));
    // Others, and sources that don't exist, are left alone.
    fresh.store.announce("b", Some("bx"), at(11)).unwrap();
    assert_eq!(fresh.store.sources().unwrap().len(), 1);

    // What was announced before the lease is served by it, and remembered.
    let grant = fresh.claim_one("p1", at(20));
    let unchanged = |state| Outcome::Unchanged { origin: origin(state), facts: None };
    fresh.finish("p1", grant.token, &unchanged(1), at(21)).unwrap();
    assert_eq!(waiting(&mut fresh, at(22)), cid("by"));

    // What is announced meanwhile is not, whatever comes of the lease; but for the peer's failure,
    // after which it is due by its own rule.
    let outcomes = [unchanged(2), failed(FailureKind::Status)];
    for (at_secs, outcome) in (100..).step_by(100).zip(outcomes) {
        fresh.store.announce("a", Some("b1"), at(at_secs)).unwrap();
        let grant = fresh.claim_one("p1", at(at_secs + 1));
        fresh.store.announce("a", None, at(at_secs + 2)).unwrap();
        fresh.finish("p1", grant.token, &outcome, at(at_secs + 3)).unwrap();
        assert_eq!(announced(&mut fresh), (true, None, at(at_secs + 3)));
        let grant = fresh.claim_one("p1", at(at_secs + 4));
        fresh.finish("p1", grant.token, &unchanged(2), at(at_secs + 5)).unwrap();
        assert!(!announced(&mut fresh).0);
    }
    // Unless the lease found exactly that.
    fresh.store.announce("a", None, at(400)).unwrap();
    let grant = fresh.claim_one("p1", at(401));
    let head = origin(3).head;
    fresh.store.announce("a", Some(&head), at(402)).unwrap();
    fresh.finish("p1", grant.token, &unchanged(3), at(403)).unwrap();
    assert_eq!(waiting(&mut fresh, at(404)), Some(head));

    // One that led to a failure may be said again.
    fresh.store.announce("a", Some("bz"), at(500)).unwrap();
    let grant = fresh.claim_one("p1", at(501));
    fresh.finish("p1", grant.token, &failed(FailureKind::Status), at(502)).unwrap();
    assert_eq!(waiting(&mut fresh, at(503)), None);
    // A source that isn't listed is not polled, and so not announced.
    fresh.list(&[source("b")], at(600));
    fresh.store.announce("a", Some("bx"), at(601)).unwrap();
    assert!(!announced(&mut fresh).0);
}

both!(a_discovered_source_is_looked_at_once_and_waits);
fn a_discovered_source_is_looked_at_once_and_waits(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    for grant in fresh.store.claim("p0", 9, at(0), &terms()).unwrap() {
        fresh.finish("p0", grant.token, &indexed(Counted::default()), at(0)).unwrap();
    }
    let stage = |fresh: &mut Fresh, slug: &str| {
        let state = fresh.store.source(slug).unwrap();
        state.map(|state| (state.discovery.unwrap(), state.is_listed))
    };
    let discover = |fresh: &mut Fresh, slug: &str, by: &str, is_trusted, now| {
        let source = source(slug);
        fresh.store.discover(&source, by, is_trusted, now).unwrap()
    };
    // A slug that is taken is another's.
    let found = discover(&mut fresh, "a", "x", false, at(1));
    assert_eq!(found, Discovered::As("a-2".to_owned()));
    assert_eq!(stage(&mut fresh, "a-2"), Some((Stage::Look, true)));
    // What isn't on the list is not removed by it.
    assert!(fresh.list(&[source("a"), source("b")], at(1)).is_empty());
    assert_eq!(stage(&mut fresh, "a-2"), Some((Stage::Look, true)));

    let rows = [package("x", "1", "X")];
    let grant = fresh.claim_one("p1", at(2));
    assert_eq!(grant.source.slug, "a-2");
    let counts = fresh.work(&grant, "p1", &rows, at(3));
    fresh.finish("p1", grant.token, &indexed(counts), at(3)).unwrap();
    assert_eq!(stage(&mut fresh, "a-2"), Some((Stage::Found, false)));
    assert!(fresh.catalogue().is_empty());
    let attempt = fresh.store.attempts("a-2", 1).unwrap().remove(0);
    assert_eq!((attempt.verdict, attempt.packages), (Verdict::Indexed, 1));
    assert!(fresh.store.claim("p1", 1, at(4), &terms()).unwrap().is_empty(), "once");
    let counts = fresh.store.counts(at(4)).unwrap();
    assert_eq!((counts.sources, counts.hidden), (2, 0));

    // Approved, it is a source like any other, which the source list doesn't remove.
    let approve = |fresh: &mut Fresh, slug: &str| {
        acts::decide(&mut fresh.store, Decided::Approve(slug.to_owned()), at(5))
    };
    approve(&mut fresh, "a-2").unwrap();
    for slug in ["a-2", "a", "nobody"] {
        assert_refused(approve(&mut fresh, slug), "awaits approval or is delisted");
    }
    fresh.list(&[source("a"), source("b")], at(5));
    let grant = fresh.claim_one("p1", at(6));
    let counts = fresh.work(&grant, "p1", &rows, at(6));
    fresh.finish("p1", grant.token, &indexed(counts), at(7)).unwrap();
    assert_eq!(fresh.visible(), ["x 1 X"]);

    // Until the list names it: by its slug it stays what it is, by another it makes way.
    let listed = source("a-2");
    fresh.list(&[source("a"), source("b"), listed.clone()], at(8));
    assert_eq!(fresh.store.source("a-2").unwrap().unwrap().discovery, None);
    assert_eq!(fresh.visible(), ["x 1 X"]);
    discover(&mut fresh, "c", "x", false, at(9));
    let other = Source { slug: "c-of-the-list".into(), ..source("c") };
    fresh.list(&[source("a"), source("b"), listed, other], at(10));
    assert_eq!(stage(&mut fresh, "c"), Some((Stage::Refused, false)));
    fresh.check_laws();
}

both!(a_trusted_discovery_is_shown_and_a_failed_one_refused);
fn a_trusted_discovery_is_shown_and_a_failed_one_refused(kind: Kind) {
    let mut fresh = Fresh::new(kind);
    let rows = [package("x", "1", "X")];
    let trusted = fresh.store.discover(&source("t"), "x", true, at(0)).unwrap();
    assert_eq!(trusted, Discovered::As("t".to_owned()));
    // Looked at first, and then read.
    let grant = fresh.claim_one("p1", at(1));
    assert!(grant.is_look);
    fresh.finish("p1", grant.token, &indexed(Counted::default()), at(1)).unwrap();
    assert!(fresh.visible().is_empty());
    let grant = fresh.claim_one("p1", at(1));
    assert!(!grant.is_look);
    let counts = fresh.work(&grant, "p1", &rows, at(1));
    fresh.finish("p1", grant.token, &indexed(counts), at(2)).unwrap();
    assert_eq!(fresh.visible(), ["x 1 X"]);
    let stage =
        |fresh: &mut Fresh, slug: &str| fresh.store.source(slug).unwrap().unwrap().discovery;
    assert_eq!(stage(&mut fresh, "t"), Some(Stage::Approved));

    // It is refused for what its files hold, and for nothing else.
    fresh.store.discover(&source("f"), "x", false, at(10)).unwrap();
    let grant = fresh.claim_one("p1", at(10));
    fresh.finish("p1", grant.token, &failed(FailureKind::Status), at(11)).unwrap();
    assert_eq!(stage(&mut fresh, "f"), Some(Stage::Look));
    let grant = fresh.claim_one("p1", at(1000));
    fresh.finish("p1", grant.token, &failed(FailureKind::NoIndex), at(1000)).unwrap();
    assert_eq!(stage(&mut fresh, "f"), Some(Stage::Refused));
    // The operator has it looked at again, as if nobody had.
    fresh.store.look_again("f", at(1001)).unwrap();
    assert_eq!(stage(&mut fresh, "f"), Some(Stage::Look));
    assert!(fresh.store.attempts("f", 9).unwrap().is_empty());
    let grant = fresh.claim_one("p1", at(1001));
    assert_eq!(grant.retry, None);
    fresh.finish("p1", grant.token, &failed(FailureKind::NoIndex), at(1001)).unwrap();
    assert_eq!(stage(&mut fresh, "f"), Some(Stage::Refused));
    // One that nobody could read in many attempts is forgotten.
    fresh.store.discover(&source("g"), "x", true, at(1012)).unwrap();
    for number in 0..LOOKS_MAX {
        assert_eq!(stage(&mut fresh, "g"), Some(Stage::Trust), "{number}");
        let (peer, now) = (format!("p{number}"), at(1012));
        let grant = fresh.claim_one(&peer, now);
        fresh.store.give_back(&peer, grant.token, now).unwrap();
    }
    let forgotten = fresh.store.source("g").unwrap().unwrap();
    assert_eq!(forgotten.discovery, Some(Stage::Refused));
    assert_eq!(forgotten.discovered_at, Some(at(1012).minus(REFUSED_FOR)));
    assert!(fresh.store.claim("p1", 9, at(1060), &terms()).unwrap().is_empty());
    // Refusals are forgotten in time, with their history.
    let later = at(1012).plus(REFUSED_FOR);
    fresh.store.discover(&source("h"), "x", true, later).unwrap();
    assert!(fresh.store.source("f").unwrap().is_none());
    assert!(fresh.store.attempts("f", 9).unwrap().is_empty());
}

both!(discoveries_are_bounded_by_announcer_and_in_all);
fn discoveries_are_bounded_by_announcer_and_in_all(kind: Kind) {
    let mut fresh = Fresh::new(kind);
    let mut taken = 0;
    for announcer in 0..100 {
        for number in 0..DISCOVERIES_PER_ANNOUNCER_MAX + 1 {
            let source = source(&format!("s-{announcer}-{number}"));
            let by = format!("192.0.2.{announcer}");
            let found = fresh.store.discover(&source, &by, number % 2 == 0, at(0)).unwrap();
            taken += u64::from(found != Discovered::Full);
            if number == DISCOVERIES_PER_ANNOUNCER_MAX {
                assert_eq!(found, Discovered::Full);
            }
        }
    }
    assert_eq!(taken, DISCOVERIES_UNDECIDED_MAX);
}

both!(search_finds_visible_latest_versions_best_first);
fn search_finds_visible_latest_versions_best_first(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let described = PackageRow {
        description: Some("Makes a terminal of it".into()),
        author: Some("Zoë".into()),
        ..package("org.other", "1", "Other")
    };
    let rows = [
        package("org.term", "1", "Old Terminal"),
        package("org.term", "2", "Terminal"),
        described,
        package("org.longer", "1", "Terminals"),
    ];
    fresh.cycle("p1", &rows, at(0));
    let mut found = |text: &str| -> Vec<String> {
        let found = fresh.store.search(text, 9).unwrap();
        found.into_iter().map(|found| format!("{} {}", found.package_id, found.version)).collect()
    };
    assert_eq!(found("terminal"), ["org.term 2", "org.longer 1", "org.other 1"]);
    assert_eq!(found("zoë TERMINAL"), ["org.other 1"]);
    assert_eq!(found("org.term"), ["org.term 2"]);
    assert_eq!(found("old"), [""; 0]);
    assert_eq!(found(""), [""; 0]);
    assert_eq!(found("\" OR NOT ( * : ^ NEAR("), [""; 0]);
    assert_eq!(fresh.store.search("org", 2).unwrap().len(), 2);
}

both!(search_finds_first_what_is_called_so);
fn search_finds_first_what_is_called_so(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let described = |id: &str, name: &str, text: &str| PackageRow {
        description: Some(text.into()),
        ..package(id, "1", name)
    };
    let rows = [
        described("vim-vim", "vim vim vim", "vim and vim"),
        described("org.editor", "Vim", "Edits text, whatever it is in, wherever it comes from"),
        described("vim", "Vi IMproved", "Edits text, for long, in many words, and then in more"),
        described("not-vim", "vim", "vim"),
        described("vimdiff", "Differences", "Shows what vim would"),
        described("other", "About a vim of another kind", "vim vim"),
    ];
    fresh.cycle("p1", &rows, at(0));
    for text in ["vim", " VIM "] {
        let found = fresh.store.search(text, 9).unwrap();
        let found: Vec<&str> = found.iter().map(|found| &*found.package_id).collect();
        assert_eq!(found.len(), rows.len());
        let is_in = |ids: &[&str], range: &[&str]| range.iter().all(|id| ids.contains(id));
        assert!(is_in(&["org.editor", "vim", "not-vim"], &found[..3]), "{found:?}");
        assert!(is_in(&["vim-vim", "vimdiff"], &found[3..5]), "{found:?}");
    }
}

both!(peers_are_remembered_with_how_their_leases_went);
fn peers_are_remembered_with_how_their_leases_went(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b", "c", "d", "e", "f"]);
    fresh.store.seen("p1", "agent 1", at(0)).unwrap();
    let grants = fresh.store.claim("p1", 6, at(1), &terms()).unwrap();
    let tokens: Vec<u64> = grants.iter().map(|grant| grant.token).collect();
    fresh.finish("p1", tokens[0], &indexed(Counted::default()), at(2)).unwrap();
    fresh.finish("p1", tokens[1], &failed(FailureKind::Peer), at(3)).unwrap();
    fresh.store.give_back("p1", tokens[2], at(4)).unwrap();
    let left: Vec<&str> = grants.iter().map(|grant| &*grant.source.slug).collect();
    let list: Vec<Source> = [0, 1, 2, 4, 5].map(|number| source(left[number])).into();
    assert_eq!(fresh.list(&list, at(5)).remove(0).token, tokens[3]);
    fresh.store.renew("p1", &[tokens[4]], at(6), &terms()).unwrap();
    fresh.expire(at(61));
    fresh.store.seen("p0", "agent 2", at(70)).unwrap();
    let peers = fresh.store.peers().unwrap();
    let expected = Peer {
        name: "p1".into(),
        agent: "agent 1".into(),
        first_seen: at(0),
        last_seen: at(6),
        granted: 6,
        finished: 1,
        failed: 1,
        given_back: 1,
        expired: 1,
        revoked: 1,
        held: 1,
        trust: PeerTrust::First,
        trust_why: String::new(),
        confirmed: 0,
        audits: 0,
        public_name: None,
        record: Record::default(),
        session: None,
    };
    // Three went badly since the one that went well. It would rest for 5 s from the last one's grant.
    let mut record = Record::default();
    record.after(&Went::Well, at(1), at(2));
    [3, 4, 61].iter().for_each(|&secs| record.after(&Went::Lost, at(1), at(secs)));
    assert!(record.is_in_doubt() && !record.rests(at(61)));
    let expected = Peer { record, ..expected };
    assert_eq!(peers[1], expected);
    assert_eq!((&*peers[0].name, peers[0].granted), ("p0", 0));
    fresh.store.seen("p1", "agent 9", at(80)).unwrap();
    let peers = fresh.store.peers().unwrap();
    assert_eq!(
        (&*peers[1].agent, peers[1].first_seen, peers[1].last_seen),
        ("agent 9", at(0), at(80))
    );
    fresh.check_laws();
}

both!(a_session_is_shown_until_it_is_over);
fn a_session_is_shown_until_it_is_over(kind: Kind) {
    let mut fresh = Fresh::new(kind);
    let session = |fresh: &mut Fresh| {
        let session = fresh.store.peers().unwrap().remove(0).session;
        session.map(|session| (session.address, session.slots))
    };
    fresh.store.beat("[::]:443", "tested", at(0)).unwrap();
    fresh.store.seen("p1", "agent", at(0)).unwrap();
    assert_eq!(session(&mut fresh), None);
    for slots in [0, 4, 4] {
        fresh.store.session("p1", &acts::here("192.0.2.1:5", slots), at(1)).unwrap();
        assert_eq!(session(&mut fresh), Some(("192.0.2.1:5".into(), slots)));
    }
    fresh.store.session_over("p1").unwrap();
    assert_eq!(session(&mut fresh), None);
    // None outlives its arbiter.
    fresh.store.session("p1", &acts::here("192.0.2.1:6", 1), at(2)).unwrap();
    let mut fresh = fresh.reopen();
    fresh.store.beat("[::]:443", "tested", at(3)).unwrap();
    assert_eq!(session(&mut fresh), None);
}

both!(a_restart_forgets_nothing);
fn a_restart_forgets_nothing(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a", "b"]);
    fresh.cycle("p1", &[package("x", "1", "X")], at(0));
    let grant = fresh.claim_one("p1", at(1));
    fresh.store.put("p1", grant.token, &Rows::of(&[package("y", "1", "Y")]), at(1)).unwrap();
    let before = (
        fresh.store.sources().unwrap(),
        fresh.store.peers().unwrap(),
        fresh.store.attempts("a", 9).unwrap(),
        fresh.catalogue(),
    );
    let mut fresh = fresh.reopen();
    let after = (
        fresh.store.sources().unwrap(),
        fresh.store.peers().unwrap(),
        fresh.store.attempts("a", 9).unwrap(),
        fresh.catalogue(),
    );
    assert_eq!(before, after);
    let one = Counted { put: 1, ..Counted::default() };
    fresh.finish("p1", grant.token, &indexed(one), at(2)).unwrap();
    assert_eq!(fresh.visible(), ["x 1 X", "y 1 Y"]);
    // Not even of tokens whose leases are gone.
    let mut fresh = fresh.reopen();
    assert!(fresh.claim_one("p1", at(9000)).token > grant.token);
    fresh.check_laws();
}

/// Indexes that change over time; several stanzas may have one id.
fn index(random: &mut Random, length: usize) -> Vec<PackageRow> {
    (0..length)
        .map(|_| {
            let id = ["x", "y", "z", "w"][random.below(4)];
            let version = ["1", "1-0", "2~", "2", "1:0", "bad one"][random.below(6)];
            package(id, version, ["A", "B", "C"][random.below(3)])
        })
        .collect()
}

both!(random_moves_break_no_law);
/// Random moves of three peers, one of which loses track of its leases, over sources of which some
/// share an operator. `live` is the model: who holds what until when.
fn random_moves_break_no_law(kind: Kind) {
    let seeds = match kind {
        Kind::Sqlite => 24,
        Kind::Postgres => 6,
    };
    for seed in 0..seeds {
        let mut random = Random(seed);
        let mut fresh = Fresh::new(kind);
        let list: Vec<Source> = (0..6)
            .map(|number| Source {
                uri: format!("https://host{}.example", number / 2),
                ..source(&format!("s{number}"))
            })
            .collect();
        fresh.list(&list, at(0));
        let mut indexes: HashMap<String, Vec<PackageRow>> = HashMap::new();
        for source in &list {
            indexes.insert(source.slug.clone(), index(&mut random, 8));
        }
        let mut live: BTreeMap<u64, (Grant, &str, Timestamp)> = BTreeMap::new();
        let mut over: Vec<(u64, &str)> = Vec::new();
        let mut highest = 0;
        let mut now = 0;
        let mut reader = feed::Reader::new();
        for _ in 0..120 {
            if random.below(4) == 0 {
                reader.page(&mut fresh.store);
            }
            now += random.below(20) as u64;
            let moment = at(now);
            let peer = ["p1", "p2", "p3"][random.below(3)];
            let any =
                |random: &mut Random, live: &BTreeMap<u64, (Grant, &'static str, Timestamp)>| {
                    let place = random.below(live.len().max(1));
                    live.iter().nth(place).map(|(token, lease)| (*token, lease.clone()))
                };
            match random.below(8) {
                0 | 1 => {
                    for grant in fresh.store.claim(peer, random.below(4), moment, &terms()).unwrap()
                    {
                        assert!(grant.token > highest, "seed {seed}: token used again");
                        highest = grant.token;
                        for (held, ..) in live.values() {
                            assert_ne!(held.source.host(), grant.source.host(), "seed {seed}");
                        }
                        live.insert(grant.token, (grant.clone(), peer, grant.expires_at));
                    }
                }
                2 => {
                    let tokens: Vec<u64> = live.keys().copied().collect();
                    let renewed = fresh.store.renew(peer, &tokens, moment, &terms()).unwrap();
                    for (token, (_, holder, expires_at)) in &mut live {
                        let holds = *holder == peer && *expires_at > moment;
                        assert_eq!(renewed.contains(token), holds, "seed {seed}");
                        if holds {
                            *expires_at = moment.plus(terms().lease);
                        }
                    }
                }
                3 => {
                    let ended = fresh.expire(moment);
                    for lease in ended {
                        let (_, holder, expires_at) = live.remove(&lease.token).unwrap();
                        assert!(expires_at <= moment && holder == lease.peer, "seed {seed}");
                        over.push((lease.token, holder));
                    }
                    assert!(live.values().all(|lease| lease.2 > moment), "seed {seed}");
                }
                4 => {
                    if let Some((token, (_, holder, expires_at))) = any(&mut random, &live) {
                        let given = fresh.store.give_back(holder, token, moment);
                        assert_eq!(given.is_ok(), expires_at > moment, "seed {seed}");
                        if given.is_ok() {
                            live.remove(&token);
                            over.push((token, holder));
                        }
                    }
                }
                5 | 6 => {
                    if let Some((token, (grant, holder, expires_at))) = any(&mut random, &live) {
                        let rows = indexes[&grant.source.slug].clone();
                        if expires_at <= moment {
                            let put = fresh.store.put(holder, token, &Rows::of(&rows), moment);
                            assert_refused(put, "is over");
                            continue;
                        }
                        let counts = fresh.work(&grant, holder, &rows, moment);
                        if random.below(3) == 0 {
                            continue;
                        }
                        let outcome = match random.below(4) {
                            0 => failed(FailureKind::Status),
                            _ => indexed(counts),
                        };
                        // What was staged by an earlier try may be more than this one counts.
                        if fresh.finish(holder, token, &outcome, moment).is_ok() {
                            live.remove(&token);
                            over.push((token, holder));
                        }
                    }
                }
                _ => {
                    let slug = format!("s{}", random.below(6));
                    let length = random.below(9);
                    indexes.insert(slug.clone(), index(&mut random, length));
                    fresh.sync(Some(&slug), moment);
                    // Another is named no more, or again, or ranked otherwise.
                    let mut list = list.clone();
                    list[random.below(6)].ranking = 1 + random.below(5) as u8;
                    list.remove(random.below(6));
                    fresh.list(&list, moment);
                    live.retain(|token, (grant, holder, _)| {
                        let lease = fresh.store.source(&grant.source.slug).unwrap().unwrap().lease;
                        let is_held = lease.is_some_and(|lease| lease.token == *token);
                        if !is_held {
                            over.push((*token, *holder));
                        }
                        is_held
                    });
                }
            }
            if let Some((token, holder)) = over.last().copied() {
                let before = fresh.catalogue();
                let rows = [package("stale", "1", "Stale")];
                assert_refused(fresh.store.put(holder, token, &Rows::of(&rows), moment), "is over");
                let finish = fresh.finish(holder, token, &indexed(Counted::default()), moment);
                assert_refused(finish, "is over");
                assert_eq!(fresh.catalogue(), before, "seed {seed}");
            }
            fresh.check_laws();
        }
        // After a whole cycle the catalogue is what the indexes say.
        now += 100;
        fresh.list(&list, at(now));
        fresh.expire(at(now));
        reader.has_all(&mut fresh);
        fresh.sync(None, at(now));
        for _ in 0..6 {
            let grant = fresh.claim_one("new", at(now));
            let rows = indexes[&grant.source.slug].clone();
            let counts = fresh.work(&grant, "new", &rows, at(now));
            fresh.finish("new", grant.token, &indexed(counts), at(now)).unwrap();
        }
        fresh.check_laws();
        let catalogue = fresh.catalogue();
        let live: BTreeSet<_> = catalogue
            .iter()
            .filter(|(_, seen)| seen.is_visible)
            .map(|(key, _)| key.clone())
            .collect();
        let expected: BTreeSet<_> = indexes
            .iter()
            .flat_map(|(slug, rows)| rows.iter().map(move |row| (slug, row)))
            .map(|(slug, row)| {
                let row = row.clone();
                (slug.clone(), row.package_id, row.version, row.architecture)
            })
            .collect();
        assert_eq!(live, expected, "seed {seed}");
        fresh = fresh.reopen();
        reader.has_all(&mut fresh);
        feed::Reader::new().has_all(&mut fresh);
        for (key, seen) in catalogue.iter().filter(|(_, seen)| seen.is_live) {
            let texts: Vec<_> = indexes[&key.0]
                .iter()
                .filter(|row| (&row.package_id, &row.version) == (&key.1, &key.2))
                .map(|row| row.name.clone())
                .collect();
            assert!(texts.contains(&seen.name), "seed {seed}: {key:?} {seen:?} not in {texts:?}");
            let is_latest = !live.iter().any(|other| {
                (&other.0, &other.1, &other.3) == (&key.0, &key.1, &key.3)
                    && (version::key(&other.2), row::id(&key.0, &key.1, &other.2, &key.3))
                        > (version::key(&key.2), row::id(&key.0, &key.1, &key.2, &key.3))
            });
            assert_eq!(seen.is_latest, is_latest, "seed {seed}: {key:?}");
        }
    }
}

const KILLED_STORE: &str = "CANISTER_TEST_KILLED_STORE";
const KILLED_ROWS: usize = 2000;
const PUBLISHING: &str = "publishing";

fn generation(number: usize) -> Vec<PackageRow> {
    (0..KILLED_ROWS)
        .map(|row| package(&format!("p{row}"), "1", &format!("generation {number}")))
        .collect()
}

/// Not a test of its own: the process that the next one kills. It publishes one generation of a
/// whole index after the other, for ever.
#[test]
fn publish_until_killed() {
    let Ok(address) = std::env::var(KILLED_STORE) else {
        return;
    };
    let mut store = open(&address);
    let day = |number| at(number as u64 * 86_400);
    // Begin where the last one was killed, a day later, when its lease is over.
    let held = store.source("a").unwrap().unwrap().lease;
    let ended = store.attempts("a", 1).unwrap();
    let begin =
        held.map(|lease| lease.token).max(ended.first().map(|attempt| attempt.token)).unwrap_or(0)
            as usize;
    for number in begin + 1.. {
        // Another each time: one that died often would rest.
        let (now, peer) = (day(number), &*format!("p{number}"));
        store.expire(now, &[], &terms()).unwrap();
        let grant = store.claim(peer, 1, now, &terms()).unwrap().remove(0);
        let known = store.known(peer, grant.token, None, KILLED_ROWS, now).unwrap();
        store.put(peer, grant.token, &Rows::of(&generation(number)), now).unwrap();
        store.dropped(peer, grant.token, &known, now).unwrap();
        let outcome = indexed(Counted {
            put: KILLED_ROWS as u64,
            dropped: known.len() as u64,
            ..Counted::default()
        });
        println!("{PUBLISHING}");
        store.finish(peer, grant.token, &outcome, &cost(), now, &terms()).unwrap();
    }
}

both!(a_killed_publication_is_whole_or_not_there);
fn a_killed_publication_is_whole_or_not_there(kind: Kind) {
    let mut fresh = Fresh::with(kind, &["a"]);
    let mut random = Random(7);
    let mut published = 0;
    let mut reader = feed::Reader::new();
    for _ in 0..24 {
        let place = fresh.close();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::publish_until_killed", "--nocapture"])
            .env(KILLED_STORE, place.address())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..=random.below(2) {
            lines.by_ref().map(Result::unwrap).find(|line| line.ends_with(PUBLISHING)).unwrap();
        }
        // The moment is what is random here; nothing depends on how long it takes.
        let longest = match kind {
            Kind::Sqlite => 60_000,
            Kind::Postgres => 400_000,
        };
        std::thread::sleep(Duration::from_micros(random.below(longest) as u64));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "it died of something else");

        place.until_alone();
        fresh = Fresh::at(place);
        fresh.check_laws();
        let catalogue = fresh.catalogue();
        let generations: BTreeSet<_> = catalogue.values().map(|seen| seen.name.clone()).collect();
        assert!(generations.len() <= 1, "two generations at once: {generations:?}");
        assert!(catalogue.is_empty() || catalogue.len() == KILLED_ROWS);
        assert!(catalogue.values().all(|seen| seen.is_live && seen.is_latest && seen.is_visible));
        let found = fresh.store.search("generation", usize::MAX >> 1).unwrap();
        assert_eq!(found.len(), catalogue.len());
        reader.has_all(&mut fresh);
        published += usize::from(!catalogue.is_empty());
    }
    assert!(published > 0, "killed too early each time: nothing was shown");
}

both!(applicants_are_bounded_and_who_asks_again_stays);
fn applicants_are_bounded_and_who_asks_again_stays(kind: Kind) {
    const MOST: u64 = 20;
    let mut fresh = Fresh::new(kind);
    let who = |key: &str, network: &str, secs: u64| Applicant {
        key: key.to_owned(),
        name: format!("name-{key}"),
        request: "a request".to_owned(),
        contact: "a@a.example".to_owned(),
        network: network.to_owned(),
        applied_at: at(secs),
        asked_at: at(secs),
        answer: None,
    };
    let asks = |fresh: &mut Fresh, key: &str, network: &str, secs: u64| {
        fresh.store.applied(&who(key, network, secs), MOST, at(secs)).unwrap()
    };
    let keys = |fresh: &mut Fresh| -> Vec<String> {
        fresh.store.applicants().unwrap().into_iter().map(|it| it.key).collect()
    };
    assert_eq!(asks(&mut fresh, "first", "a", 0), None);
    assert_eq!(fresh.store.applicants().unwrap(), [who("first", "a", 0)]);
    // Of one network so many: the one that hasn't asked for longest gives way.
    for number in 1..=10 {
        asks(&mut fresh, &format!("a{number}"), "a", number);
    }
    let near = keys(&mut fresh);
    assert_eq!(near.len() as u64, APPLICANTS_PER_NETWORK_MAX);
    assert_eq!((&*near[0], &**near.last().unwrap()), ("a10", "a3"));
    // And so many in all; who asked again stays.
    asks(&mut fresh, "a3", "a", 100);
    for number in 0..100 {
        asks(&mut fresh, &format!("n{number}"), &format!("n{number}"), 101 + number);
        if number % 10 == 0 {
            asks(&mut fresh, "a3", "a", 161 + number * 60);
        }
    }
    let all = keys(&mut fresh);
    assert_eq!(all.len() as u64, MOST);
    assert!(all.contains(&"a3".to_owned()), "{all:?}");

    let admitted = ApplicantAnswer::Admitted { chain: "c".to_owned(), authority: "a".to_owned() };
    assert!(fresh.store.answer_applicant("a3", &admitted, at(10_000)).unwrap());
    assert!(!fresh.store.answer_applicant("a3", &admitted, at(10_001)).unwrap());
    assert!(!fresh.store.answer_applicant("nobody", &admitted, at(10_001)).unwrap());
    assert!(!keys(&mut fresh).contains(&"a3".to_owned()));
    assert_eq!(asks(&mut fresh, "a3", "a", 10_002), Some(admitted));
    let refused = ApplicantAnswer::Refused("no".to_owned());
    assert!(fresh.store.answer_applicant("n99", &refused, at(10_003)).unwrap());
    assert_eq!(asks(&mut fresh, "n99", "n99", 10_004), Some(refused));
    // What is old is forgotten, once somebody else comes.
    let late = 10_004 + APPLICANT_KEPT.as_secs() + 1;
    asks(&mut fresh, "late", "late", late);
    assert_eq!(keys(&mut fresh), ["late"]);
    assert_eq!(asks(&mut fresh, "a3", "a", late), None);
}
