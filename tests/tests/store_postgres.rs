//! What the PostgreSQL store does beyond what every store does: it takes over an earlier Canister's
//! tables, decides by itself what a row is, survives its server's death and a standby's promotion,
//! and is not held up by a peer that writes there itself.

use canister_arbiter::rules::timestamp::Timestamp;
use canister_arbiter::store::postgres::Address;
use canister_arbiter::store::{
    Expired, Finished, Grant, Lease, PeerProgram, Postgres, Renewal, Store, StoreError, Terms,
    Verdict,
};
use canister_authority::{Authority, DAYS};
use canister_link::clock;
use canister_link::identity::Files;
use canister_protocol::limits::{ROW_BYTES_MAX, ROW_TAGS_MAX};
use canister_protocol::message::{Cost, Counts, Facts, Origin, Outcome};
use canister_protocol::{Digest, Head, PackageRow, Rows, Source, row, version};
use canister_tests::acts;
use canister_tests::api::API;
use canister_tests::postgres::{Cluster, Database, Line, Tls};
use canister_tests::programs::{Ends, until};
use canister_tests::random::Random;
use postgres::{Client, NoTls};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A minute for a lease, no pause, and nothing that brakes.
fn terms() -> Terms {
    let mut terms = Terms { lease: Duration::from_secs(60), ..Terms::default() };
    terms.politeness.pause = Duration::ZERO;
    (terms.brake.share, terms.brake.source_share) = (100, 100);
    terms
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + secs).unwrap()
}

fn program(agent: &str) -> PeerProgram {
    PeerProgram { agent: agent.into(), ..PeerProgram::default() }
}

fn open(address: &str) -> Result<Store, StoreError> {
    open_as(address, "tested")
}

fn open_as(address: &str, name: &str) -> Result<Store, StoreError> {
    Postgres::open(address.parse().unwrap(), name).map(Store::Postgres)
}

fn store(database: &Database) -> Store {
    open(&database.address()).unwrap()
}

fn list(store: &mut Store, slugs: &[&str]) {
    let list: Vec<Source> = slugs
        .iter()
        .map(|slug| Source {
            slug: (*slug).into(),
            uri: format!("https://{slug}.example/repo"),
            suite: "./".into(),
            ranking: 3,
            ..Source::default()
        })
        .collect();
    acts::list(store, &list, at(0));
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
        ..PackageRow::default()
    }
}

fn digest(row: &PackageRow) -> Digest {
    row.digest(&mut Vec::new())
}

fn claim(store: &mut Store, now: Timestamp) -> Grant {
    store.claim("p1", 1, now, &terms()).unwrap().remove(0)
}

fn indexed(put: usize, dropped: usize) -> Outcome {
    Outcome::Indexed {
        origin: origin(),
        facts: Facts::default(),
        counts: Counts { put: put as u64, dropped: dropped as u64, ..Counts::default() },
    }
}

fn origin() -> Origin {
    Origin {
        head: Head::from_sha256([1; 32]).to_string(),
        release_path: "InRelease".into(),
        etag: None,
        last_modified: None,
        index_path: "Packages".into(),
        index_digest: "sha256:00".into(),
    }
}

fn finish(store: &mut Store, token: u64, outcome: &Outcome, now: Timestamp) -> Finished {
    let finished = store.finish("p1", token, outcome, &Cost::default(), now, &terms());
    finished.unwrap()
}

/// One whole lease of the source that is due first: `put` in, `dropped` out.
fn cycle(
    store: &mut Store,
    put: &[PackageRow],
    dropped: &[PackageRow],
    now: Timestamp,
) -> Finished {
    let token = claim(store, now).token;
    deliver(store, token, put, dropped, now)
}

/// What one does under a lease that was granted.
fn deliver(
    store: &mut Store,
    token: u64,
    put: &[PackageRow],
    dropped: &[PackageRow],
    now: Timestamp,
) -> Finished {
    for batch in put.chunks(500) {
        store.put("p1", token, &Rows::of(batch), now).unwrap();
    }
    let dropped: Vec<Digest> = dropped.iter().map(digest).collect();
    store.dropped("p1", token, &dropped, now).unwrap();
    finish(store, token, &indexed(put.len(), dropped.len()), now)
}

/// Anything that a text may be.
fn text(random: &mut Random) -> String {
    const PARTS: [&str; 13] =
        ["a", "Z", " ", "\t", "'", "\"", "\\", "{", ",", "é", "中", "😀", "\u{a0}"];
    (0..random.below(9)).map(|_| PARTS[random.below(PARTS.len())]).collect()
}

fn maybe(random: &mut Random) -> Option<String> {
    (random.below(3) > 0).then(|| text(random))
}

#[test]
fn ids_and_digests_are_the_same_in_sql() {
    let database = Cluster::shared().database();
    let mut store = store(&database);
    list(&mut store, &["a"]);
    let token = claim(&mut store, at(0)).token;
    let mut random = Random(11);
    let rows: Vec<PackageRow> = (0..2000)
        .map(|number| PackageRow {
            package_id: format!("{number}{}", text(&mut random)),
            version: format!("{}{number}", text(&mut random)),
            architecture: format!("x{}", text(&mut random)),
            package_filename: text(&mut random),
            package_size: [0, 1, i64::MAX as u64][random.below(3)],
            price: format!("{}.", text(&mut random)),
            sha256_hash: maybe(&mut random),
            name: maybe(&mut random),
            description: maybe(&mut random).map(|text| format!("{text}\n{text}")),
            author: maybe(&mut random),
            maintainer: maybe(&mut random),
            depiction: maybe(&mut random),
            native_depiction: maybe(&mut random),
            sileo_depiction: maybe(&mut random),
            header_url: maybe(&mut random),
            tint_color: maybe(&mut random),
            icon_url: maybe(&mut random),
            section: maybe(&mut random),
            tags: (0..random.below(4)).map(|_| text(&mut random)).collect(),
            installed_size: [None, Some(0), Some(i64::MAX as u64)][random.below(3)],
        })
        .collect();
    for batch in rows.chunks(300) {
        store.put("p1", token, &Rows::of(batch), at(0)).unwrap();
    }
    let mut client = Client::connect(&database.address(), NoTls).unwrap();
    let staged = client.query("SELECT * FROM arbiter.staging", &[]).unwrap();
    assert_eq!(staged.len(), rows.len());
    let mut by_id: std::collections::HashMap<String, &PackageRow> =
        rows.iter().map(|row| (row.id("a"), row)).collect();
    for staged in staged {
        let row = by_id.remove(staged.get::<_, &str>("id")).expect("an id that no row has");
        assert_eq!(staged.get::<_, &[u8]>("digest"), digest(row).0, "{row:?}");
        assert_eq!(staged.get::<_, &[u8]>("version_key"), version::key(&row.version));
        assert_eq!(staged.get::<_, Vec<String>>("tags"), row.tags);
        assert_eq!(staged.get::<_, Option<&str>>("section"), row.section.as_deref());
        assert_eq!(staged.get::<_, i64>("package_size"), row.package_size as i64);
    }
    let bytes: usize = rows.iter().map(PackageRow::bytes).sum();
    let staged = || database.psql("SELECT put, put_bytes FROM arbiter.staged");
    assert_eq!(staged(), format!("{}|{bytes}", rows.len()));

    // The database makes the same of the same rows, for whoever puts them there.
    let columns = "package_id, version, architecture, package_filename, package_size, price, sha256_hash,
        name, description, author, maintainer, depiction, native_depiction, sileo_depiction, header_url,
        tint_color, icon_url, section, tags, installed_size, version_key";
    let all: Vec<String> = columns
        .split(',')
        .map(str::trim)
        .map(|column| match column {
            "tags" => "array_agg((SELECT coalesce(string_agg(E'\x1f' || tag, '' ORDER BY at), '')
                FROM unnest(tags) WITH ORDINALITY AS t (tag, at)) ORDER BY place)"
                .to_owned(),
            other => format!("array_agg({other} ORDER BY place)"),
        })
        .collect();
    let now = at(0).millis();
    let put = format!(
        "SELECT arbiter.put('p1', {token}, {now}, {}) FROM arbiter.staging",
        all.join(", ")
    );
    assert_eq!(database.psql(&put), rows.len().to_string());
    assert_eq!(staged(), format!("{}|{}", 2 * rows.len(), 2 * bytes));
    let same = format!(
        "SELECT count(*) FROM (SELECT FROM arbiter.staging GROUP BY id, digest, {columns}
             HAVING count(*) = 2 AND count(DISTINCT place) = 2) AS same"
    );
    assert_eq!(database.psql(&same), rows.len().to_string());
    // And they are published once.
    let finished = finish(&mut store, token, &indexed(rows.len(), 0), at(0));
    assert_eq!((finished.put, finished.packages), (rows.len() as u64, rows.len() as u64));
}

/// Calls the function that stages rows as a peer does that writes by itself.
fn put_raw(client: &mut Client, peer: &str, token: u64, change: &str) -> Result<i64, String> {
    let mut values: Vec<(&str, String)> = [
        ("package_id", "'x'::text"),
        ("version", "'1'"),
        ("architecture", "'a'"),
        ("package_filename", "''"),
        ("package_size", "7::bigint"),
        ("price", "'Free'"),
        ("sha256_hash", "NULL::text"),
        ("name", "NULL::text"),
        ("description", "NULL::text"),
        ("author", "NULL::text"),
        ("maintainer", "NULL::text"),
        ("depiction", "NULL::text"),
        ("native_depiction", "NULL::text"),
        ("sileo_depiction", "NULL::text"),
        ("header_url", "NULL::text"),
        ("tint_color", "NULL::text"),
        ("icon_url", "NULL::text"),
        ("section", "NULL::text"),
        ("tags", "''"),
        ("installed_size", "NULL::bigint"),
        ("version_key", "'k'::bytea"),
    ]
    .into_iter()
    .map(|(field, value)| (field, value.to_owned()))
    .collect();
    if let Some((field, value)) = change.split_once('=') {
        let place = values.iter_mut().find(|(name, _)| *name == field);
        value.clone_into(&mut place.expect("a field").1);
    }
    let arrays: Vec<String> = values.iter().map(|(_, value)| format!("ARRAY[{value}]")).collect();
    let sql =
        format!("SELECT arbiter.put('{peer}', {token}, {}, {})", at(0).millis(), arrays.join(", "));
    client.query_one(&sql, &[]).map(|row| row.get(0)).map_err(|cause| {
        let said = cause.as_db_error().expect("the server refuses");
        assert_eq!(said.code().code(), "CN001", "{said:?}");
        said.message().to_owned()
    })
}

#[test]
fn what_a_peer_writes_itself_is_checked_as_what_is_relayed() {
    let database = Cluster::shared().database();
    let mut store = store(&database);
    list(&mut store, &["a"]);
    let token = claim(&mut store, at(0)).token;
    let mut client = Client::connect(&database.address(), NoTls).unwrap();
    for (change, why) in [
        ("package_id=''", "a field is empty"),
        ("price=''", "a field is empty"),
        ("version=NULL", "a field is missing"),
        ("tags=NULL", "a field is missing"),
        ("package_size=-1", "a size is negative"),
        ("installed_size=-1", "a size is negative"),
        ("name=E'a\\x1fb'", "has a control character"),
        ("section=E'\\x1e'", "has a control character"),
        ("architecture=E'\\x7f'", "has a control character"),
        ("description=repeat('x', 131600)", "at most 131072"),
        ("tags='one'", "have no U+001F before them"),
        ("tags=E'\\x1fa\\x0bb'", "has a control character"),
        ("tags=repeat(E'\\x1fx', 257)", "257 tags, at most 256"),
        ("version_key=decode(repeat('00', 100), 'hex')", "its version key is too long"),
    ] {
        let said = put_raw(&mut client, "p1", token, change).unwrap_err();
        assert!(said.contains(why), "{change}: {said}");
    }
    for (peer, token) in [("p2", token), ("p1", token + 1), ("p1", 0)] {
        let said = put_raw(&mut client, peer, token, "").unwrap_err();
        assert!(said.contains("is over, or was never this peer's"), "{said}");
    }
    assert_eq!(database.psql("SELECT count(*) FROM arbiter.staging"), "0");
    assert_eq!(put_raw(&mut client, "p1", token, ""), Ok(1));
    assert_eq!(put_raw(&mut client, "p1", token, ""), Ok(1));
    let id = database.psql("SELECT DISTINCT id FROM arbiter.staging");
    assert_eq!(id, row::id("a", "x", "1", "a"));
}

#[test]
fn a_row_as_large_as_may_be_never_fails_a_publication() {
    let database = Cluster::shared().database();
    let mut store = store(&database);
    list(&mut store, &["a"]);
    let room = ROW_BYTES_MAX - 64;
    let mut random = Random(3);
    // No two words alike, and none that compresses: the worst for every index.
    let mut noise = |length: usize, blank: usize| -> String {
        (0..length)
            .map(|place| match place % blank {
                0 => ' ',
                _ => char::from(b'!' + random.below(93) as u8),
            })
            .collect()
    };
    let base = |id: &str| package(id, "1", "Name");
    let rows = [
        PackageRow { package_id: noise(room, 1 << 20).trim().into(), ..base("x") },
        PackageRow { version: noise(room, 1 << 20).trim().into(), ..base("version") },
        PackageRow { architecture: noise(room, 1 << 20).trim().into(), ..base("arch") },
        PackageRow { section: Some(noise(room, 1 << 20)), ..base("section") },
        PackageRow { name: Some(noise(room, 4)), ..base("name") },
        PackageRow { author: Some(noise(room, 1 << 20)), ..base("author") },
        PackageRow { description: Some(noise(room, 4)), ..base("description") },
        PackageRow { description: Some(noise(room, 2)), ..base("letters") },
        PackageRow { description: Some("a-b.c/d?e ".repeat(room / 10)), ..base("compound") },
        PackageRow {
            tags: vec![noise(room / ROW_TAGS_MAX, 1 << 20); ROW_TAGS_MAX],
            ..base("tags")
        },
    ];
    for row in &rows {
        row.check().unwrap();
    }
    let finished = cycle(&mut store, &rows, &[], at(0));
    assert_eq!((finished.put, finished.packages), (10, 10));
    let finished = cycle(&mut store, &[], &rows, at(4000));
    assert_eq!((finished.left, finished.packages), (10, 0));
    assert_eq!(database.psql("SELECT sections FROM repository"), "{}");
}

#[test]
fn nothing_new_is_written_for_what_is_unchanged() {
    let database = Cluster::shared().database();
    let mut store = store(&database);
    list(&mut store, &["a"]);
    let rows: Vec<PackageRow> =
        (0..2000).map(|number| package(&format!("p{number}"), "1", "Before")).collect();
    cycle(&mut store, &rows, &[], at(0));
    let written = |database: &Database| -> (u64, u64) {
        // What is counted reaches the statistics when a session is idle for a while, or over.
        let sql =
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FILTER (WHERE relname = 'package'),
                sum(n_tup_ins + n_tup_upd + n_tup_del) FILTER (WHERE relname = 'repository')
            FROM pg_stat_user_tables";
        let text = database.psql(sql);
        let (packages, repositories) = text.split_once('|').unwrap();
        (packages.parse().unwrap(), repositories.parse().unwrap())
    };
    let reopened = |store: Store| {
        drop(store);
        until("the session to be over", Duration::from_secs(30), || {
            let sessions = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
            (database.psql(sessions) == "0").then_some(())
        });
        let before = written(&database);
        (open(&database.address()).unwrap(), before)
    };
    let (mut store, before) = reopened(store);
    assert!(before.0 >= 2000, "{before:?}");
    let token = claim(&mut store, at(4000)).token;
    let unchanged = Outcome::Unchanged { origin: origin(), facts: None };
    finish(&mut store, token, &unchanged, at(4000));
    let (mut store, after) = reopened(store);
    assert_eq!(after, before);
    // Twenty of two thousand: as many rows travel, and each is written once.
    let changed: Vec<PackageRow> =
        (0..20).map(|number| package(&format!("p{number}"), "1", "After")).collect();
    let finished = cycle(&mut store, &changed, &rows[..20], at(8000));
    assert_eq!((finished.put, finished.left, finished.packages), (20, 0, 2000));
    let (_store, last) = reopened(store);
    assert_eq!(last.0 - after.0, 20);
}

/// What an earlier Canister made.
const EARLIER: &str = r#"
CREATE TABLE IF NOT EXISTS "package" (
    "id" varchar PRIMARY KEY NOT NULL, "package_id" varchar NOT NULL,
    "latest_version" boolean NOT NULL DEFAULT false, "visible" boolean NOT NULL DEFAULT true,
    "quality" integer NOT NULL, "repository_id" varchar NOT NULL, "price" varchar NOT NULL,
    "version" varchar NOT NULL, "architecture" varchar NOT NULL, "package_filename" varchar NOT NULL,
    "package_size" bigint NOT NULL, "sha256_hash" varchar, "name" varchar, "description" varchar,
    "author" varchar, "maintainer" varchar, "depiction" varchar, "native_depiction" varchar,
    "sileo_depiction" varchar, "header_url" varchar, "tint_color" varchar, "icon_url" varchar,
    "section" varchar, "tags" varchar[] DEFAULT ARRAY[]::varchar[], "installed_size" bigint
);
CREATE TABLE IF NOT EXISTS "repository" (
    "id" varchar PRIMARY KEY NOT NULL, "aliases" varchar[] DEFAULT ARRAY[]::varchar[],
    "visible" boolean NOT NULL DEFAULT true, "quality" integer NOT NULL,
    "package_count" bigint NOT NULL DEFAULT 0, "sections" varchar[] DEFAULT ARRAY[]::varchar[],
    "bootstrap" boolean NOT NULL DEFAULT false, "uri" varchar NOT NULL,
    "suite" varchar NOT NULL DEFAULT './', "component" varchar, "name" varchar, "version" varchar,
    "description" varchar, "date" timestamp, "payment_gateway" varchar, "sileo_endpoint" varchar,
    "origin_hostname" varchar NOT NULL, "origin_release_path" varchar NOT NULL,
    "origin_release_hash" varchar NOT NULL, "origin_packages_path" varchar NOT NULL,
    "origin_packages_hash" varchar NOT NULL, "origin_last_updated" timestamp NOT NULL,
    "origin_has_in_release" boolean NOT NULL, "origin_has_release_gpg" boolean NOT NULL,
    "origin_supports_payment_v1" boolean NOT NULL, "origin_supports_payment_v2" boolean NOT NULL,
    "origin_uses_https" boolean NOT NULL
);
CREATE INDEX IF NOT EXISTS visible_repository ON repository ("visible");
CREATE INDEX IF NOT EXISTS visible_package ON package ("visible");
CREATE INDEX IF NOT EXISTS quality_repository ON repository ("quality");
CREATE INDEX IF NOT EXISTS quality_package ON package ("quality");
CREATE INDEX IF NOT EXISTS latest_version ON package ("latest_version");
CREATE INDEX IF NOT EXISTS package_id ON package ("package_id");
CREATE UNIQUE INDEX IF NOT EXISTS repository_id ON repository ("id");
INSERT INTO repository SELECT slug, '{}', true, 3, 99, NULL, false, 'https://old.example', './', NULL,
    'Old ' || slug, NULL, 'Words of old', NULL, NULL, NULL, 'old.example', '', '', '', '',
    '2024-01-01', true, true, false, false, true FROM unnest(ARRAY['a', 'gone']) AS slug;
INSERT INTO package SELECT 'OLD' || slug || number, 'org.old' || number, true, true, 3, slug, 'Free',
    '1', 'arm64', 'x.deb', 7, NULL, 'Ancient', 'Of old', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, 'Tweaks', NULL, NULL
    FROM unnest(ARRAY['a', 'gone']) AS slug, generate_series(1, 50) AS number;
"#;

#[test]
fn an_earlier_canister_is_taken_over_without_losing_a_row() {
    let database = Cluster::shared().database();
    database.psql(EARLIER);
    let mut store = store(&database);
    let visible = "SELECT count(*) FROM package WHERE visible";
    assert_eq!(database.psql(visible), "100");
    // They are found, until their source is indexed by an arbiter.
    assert_eq!(store.search("ancient", 200).unwrap().len(), 100);
    list(&mut store, &["a"]);
    assert_eq!(database.psql(visible), "100");
    assert_eq!(
        database.psql("SELECT uri FROM repository WHERE id = 'a'"),
        "https://a.example/repo"
    );
    let rows = [package("org.old1", "1", "New"), package("new", "1", "New")];
    let finished = cycle(&mut store, &rows, &[], at(0));
    assert_eq!((finished.put, finished.left, finished.packages), (2, 50, 2));
    assert_eq!(database.psql(visible), "52");
    assert_eq!(database.psql("SELECT count(*) FROM package"), "102");
    let counted = "SELECT package_count, sections FROM repository WHERE id = 'a'";
    assert_eq!(database.psql(counted), "2|{Tweaks}");
    assert_eq!(store.search("new", 9).unwrap().len(), 2);
    // Once is enough.
    drop(store);
    let before = database.psql("SELECT * FROM arbiter.migration");
    drop(open(&database.address()).unwrap());
    assert_eq!(database.psql("SELECT * FROM arbiter.migration"), before);
}

#[test]
fn arbiters_that_start_at_once_migrate_once() {
    let database = Cluster::shared().database();
    let address = database.address();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| open(&address).unwrap());
        }
    });
    let applied = database.psql("SELECT count(*), max(number) FROM arbiter.migration");
    let (count, newest) = applied.split_once('|').unwrap();
    assert_eq!(count, newest);
}

#[test]
fn two_arbiters_are_one_network() {
    let database = Cluster::shared().database();
    let mut one = open_as(&database.address(), "one").unwrap();
    let mut two = open_as(&database.address(), "two").unwrap();
    let with = |store: &mut Store| -> Option<String> {
        let session = store.peers().unwrap().remove(0).session;
        session.map(|session| session.arbiter)
    };
    one.beat("a:1", "tested", at(0)).unwrap();
    two.beat("b:2", "tested", at(1)).unwrap();
    one.session("p1", &acts::here("192.0.2.1:5", 1), at(1)).unwrap();
    assert_eq!(with(&mut two).as_deref(), Some("one"));
    // It moves; that its old session ends is no end of the new one.
    two.session("p1", &acts::here("192.0.2.1:6", 1), at(2)).unwrap();
    one.session_over("p1").unwrap();
    assert_eq!(with(&mut one).as_deref(), Some("two"));
    // One that is silent while the other is not is gone.
    one.beat("a:1", "tested", at(30)).unwrap();
    assert_eq!(with(&mut one).as_deref(), Some("two"));
    one.beat("a:1", "tested", at(42)).unwrap();
    assert_eq!(with(&mut one), None);
    two.beat("b:2", "tested", at(43)).unwrap();
    assert_eq!(with(&mut one).as_deref(), Some("two"));
    // Work is done by one of them, once.
    let hour = Duration::from_secs(3600);
    assert!(one.take_turn("list", hour, at(0)).unwrap());
    assert!(!two.take_turn("list", hour, at(0)).unwrap());
    assert!(!two.take_turn("list", hour, at(3599)).unwrap());
    assert!(two.take_turn("list", hour, at(3600)).unwrap());
    assert!(!one.take_turn("list", hour, at(3601)).unwrap());
    // They grant no source twice, however often they try at once.
    let slugs: Vec<String> = (0..60).map(|number| format!("s{number}")).collect();
    list(&mut one, &slugs.iter().map(String::as_str).collect::<Vec<_>>());
    let claims = |store: &mut Store, peers: [&str; 8]| -> Vec<String> {
        let mut slugs = Vec::new();
        // A peer that nothing is known of gets a few.
        for peer in peers {
            while let grants @ [_, ..] = &*store.claim(peer, 3, at(5000), &terms()).unwrap() {
                slugs.extend(grants.iter().map(|grant| grant.source.slug.clone()));
            }
        }
        slugs
    };
    let (mut granted, others) = std::thread::scope(|scope| {
        let other =
            scope.spawn(|| claims(&mut two, ["b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8"]));
        let own = claims(&mut one, ["a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"]);
        (own, other.join().unwrap())
    });
    granted.extend(others);
    let count = granted.len();
    granted.sort();
    granted.dedup();
    assert_eq!((count, granted.len()), (60, 60));
}

#[test]
fn a_database_that_cannot_be_used_is_named_with_what_would_work() {
    let said = |address: &str| open(address).map(|_| ()).unwrap_err().to_string();
    let cluster = Cluster::shared();
    let database = cluster.database();
    drop(store(&database));
    database.psql("INSERT INTO arbiter.migration (number, name) VALUES (999, 'newer')");
    let text = said(&database.address());
    assert!(text.contains("written by a newer arbiter (schema 999"), "{text}");
    let known = "DELETE FROM arbiter.migration WHERE number > 1";
    database.psql(known);
    let older = Postgres::open_read_only(database.address().parse().unwrap());
    let text = older.unwrap_err().to_string();
    assert!(text.contains("written by an older arbiter"), "{text}");
    let text = said(&database.address().replace(database.name(), "missing"));
    assert!(text.contains("database \"missing\" does not exist"), "{text}");
    let text = said("host=127.0.0.1 port=1 dbname=x user=y sslmode=disable");
    assert!(text.starts_with("connect to database x on 127.0.0.1 port 1: "), "{text}");
    let text = said("host=127.0.0.1 port=1 dbname=x user=y password=secret");
    assert!(!text.contains("secret"), "{text}");
    cluster
        .psql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let text = said(&database.address().replace(database.name(), "latin"));
    cluster.psql("postgres", "DROP DATABASE latin WITH (FORCE)");
    assert!(text.contains("its encoding is LATIN1"), "{text}");
}

#[test]
fn a_peer_that_keeps_its_transaction_open_holds_up_nobody() {
    let database = Cluster::shared().database();
    let mut store = store(&database);
    list(&mut store, &["a"]);
    let token = claim(&mut store, at(0)).token;
    let mut client = Client::connect(&database.address(), NoTls).unwrap();
    client.batch_execute("BEGIN").unwrap();
    assert_eq!(put_raw(&mut client, "p1", token, ""), Ok(1));
    let begun = clock::now();
    assert_eq!(store.renew("p1", &[token], at(1), &terms()).unwrap(), [token]);
    let finished = store.finish("p1", token, &indexed(1, 0), &Cost::default(), at(2), &terms());
    assert!(matches!(&finished, Err(cause) if cause.is_refusal()), "{finished:?}");
    assert_eq!(store.expire(at(100), &[], &terms()).unwrap().ended.len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(5), "it waited for the peer");
    // What it put is nobody's, and goes.
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(database.psql("SELECT count(*) FROM arbiter.staging"), "1");
    assert_eq!(store.expire(at(101), &[], &terms()).unwrap().ended, []);
    assert_eq!(database.psql("SELECT count(*) FROM arbiter.staging"), "0");
    let said = put_raw(&mut client, "p1", token, "").unwrap_err();
    assert!(said.contains("is over"), "{said}");
    assert_eq!(claim(&mut store, at(102)).token, token + 1);
}

#[test]
fn what_may_not_wait_leaves_a_locked_lease_alone() {
    let database = Cluster::shared().database();
    let mut store = store(&database);
    list(&mut store, &["a", "b"]);
    let [published, other] = [0, 0].map(|_| claim(&mut store, at(0)).token);
    let mut client = Client::connect(&database.address(), NoTls).unwrap();
    let lock = format!("BEGIN; SELECT * FROM arbiter.lease WHERE token = {published} FOR UPDATE");
    client.batch_execute(&lock).unwrap();
    let begun = clock::now();
    let heard = |secs: u64| Renewal {
        token: published,
        peer: "p1".into(),
        at: at(secs),
        is_finishing: false,
    };
    // It isn't gone, it isn't renewed, and it isn't ended.
    assert_eq!(store.expire(at(50), &[heard(50)], &terms()).unwrap(), Expired::default());
    assert_eq!(store.renew("p1", &[published], at(51), &terms()).unwrap(), [published]);
    let held = store.greet("p1", &program("agent"), &[published, other], at(52), &terms()).unwrap();
    assert_eq!(held, [published, other]);
    store.bring_forward(at(0), &terms()).unwrap();
    assert_eq!(store.next_deadline(at(59), &terms()).unwrap(), Some(at(60)));
    let tokens = |leases: Vec<Lease>| leases.iter().map(|lease| lease.token).collect::<Vec<_>>();
    assert_eq!(tokens(store.expire(at(200), &[], &terms()).unwrap().ended), [other]);
    list(&mut store, &["a", "b"]);
    let again = claim(&mut store, at(200)).token;
    assert_eq!(tokens(store.end_all("p1", at(201)).unwrap()), [again]);
    assert_eq!(store.next_deadline(at(201), &terms()).unwrap(), None);
    assert!(begun.elapsed() < Duration::from_secs(2), "it waited for the lease");
    client.batch_execute("ROLLBACK").unwrap();
    assert_eq!(tokens(store.expire(at(202), &[], &terms()).unwrap().ended), [published]);
}

/// While a finish waits for a lock on the whole catalogue, as CREATE INDEX takes one, nothing waits for
/// the finish.
#[test]
fn a_publication_that_waits_holds_up_nobody() {
    let database = Cluster::shared().database();
    let mut store = store(&database);
    let slugs = ["a", "b", "c", "d", "e"];
    list(&mut store, &slugs);
    for _ in slugs {
        cycle(&mut store, &[package("x", "1", "X")], &[], at(0));
    }
    let published = claim(&mut store, at(5400));
    let [other, third] = [0, 0].map(|_| claim(&mut store, at(5400)).token);
    let put = [package("x", "2", "X"), package("y", "1", "Y")];
    store.put("p1", published.token, &Rows::of(&put), at(5400)).unwrap();
    let mut client = Client::connect(&database.address(), NoTls).unwrap();
    client.batch_execute("BEGIN; LOCK TABLE package IN SHARE MODE").unwrap();
    let mut publisher = open_as(&database.address(), "publisher").unwrap();
    std::thread::scope(|scope| {
        let token = published.token;
        let finished = scope.spawn(move || {
            let outcome = indexed(2, 0);
            publisher.finish("p1", token, &outcome, &Cost::default(), at(5401), &terms()).unwrap()
        });
        until("the finish to wait", Duration::from_secs(30), || {
            let waiting = "SELECT count(*) FROM pg_locks
                WHERE relation = 'arbiter.package'::regclass AND NOT granted";
            (database.psql(waiting) == "1").then_some(())
        });
        let mut timed = |what: &str, verb: &mut dyn FnMut(&mut Store)| {
            let begun = clock::now();
            verb(&mut store);
            assert!(begun.elapsed() < Duration::from_secs(1), "{what} waited");
        };
        let heard = |token: u64, secs: u64| Renewal {
            token,
            peer: "p1".into(),
            at: at(5400 + secs),
            is_finishing: false,
        };
        timed("expire", &mut |store| {
            let renewals = [heard(token, 30), heard(other, 30)];
            let expired = store.expire(at(5461), &renewals, &terms()).unwrap();
            let ended: Vec<u64> = expired.ended.iter().map(|lease| lease.token).collect();
            assert_eq!((ended, expired.gone), (vec![third], vec![]));
            // And lives on, should this try fail: another arbiter would end it else.
            let until = format!("SELECT expires_at FROM arbiter.lease WHERE token = {token}");
            assert_eq!(database.psql(&until), at(5490).millis().to_string());
        });
        timed("claim", &mut |store| {
            assert_eq!(store.claim("p1", 1, at(5462), &terms()).unwrap().len(), 1);
            assert_eq!(store.claim("p2", 9, at(5462), &terms()).unwrap().len(), 2);
        });
        timed("renew", &mut |store| {
            assert_eq!(store.renew("p1", &[other], at(5463), &terms()).unwrap(), [other]);
        });
        timed("greet", &mut |store| {
            let held =
                store.greet("p1", &program("agent"), &[token, other], at(5464), &terms()).unwrap();
            assert_eq!(held, [token, other]);
        });
        timed("another finish", &mut |store| {
            let unchanged = Outcome::Unchanged { origin: origin(), facts: None };
            let finished =
                store.finish("p1", other, &unchanged, &Cost::default(), at(5465), &terms());
            assert_eq!(finished.unwrap().verdict, Verdict::Unchanged);
        });
        timed("announce", &mut |store| {
            store.announce(&published.source.slug, Some("x"), at(5466)).unwrap();
        });
        timed("end_all", &mut |store| {
            assert_eq!(store.end_all("p2", at(5467)).unwrap().len(), 2);
            assert!(store.end_all("p1", at(5467)).unwrap().is_empty());
        });
        timed("status", &mut |store| {
            assert_eq!(store.counts(at(5468)).unwrap().visible, 5);
            assert_eq!(store.sources().unwrap().len(), 5);
            assert_eq!(store.search("X", 9).unwrap().len(), 5);
            store.next_deadline(at(5468), &terms()).unwrap();
            store.peers().unwrap();
            store.held().unwrap();
        });
        timed("ca revoke", &mut |_| {
            let mut authority = Postgres::open(database.address().parse().unwrap(), "ca").unwrap();
            assert_eq!(authority.drop_role("p1").unwrap(), []);
        });
        client.batch_execute("COMMIT").unwrap();
        let finished = finished.join().unwrap();
        assert_eq!((finished.put, finished.packages), (2, 3));
    });
    // What was announced meanwhile wasn't forgotten.
    let state = store.source(&published.source.slug).unwrap().unwrap();
    assert!(state.is_announced && state.lease.is_none());
}

/// Publishes one generation of a whole index after the other until told to stop; returns how many.
/// No verb may fail, whatever the server does meanwhile.
fn publish(store: &mut Store, is_over: &AtomicBool) -> u64 {
    let generation = |number: u64| -> Vec<PackageRow> {
        let name = format!("generation {number}");
        (0..300).map(|row| package(&format!("p{row}"), "1", &name)).collect()
    };
    let mut before = Vec::new();
    let (mut number, mut lost) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        let rows = generation(number);
        // No poll is later than half an interval after its time.
        let now = at((number + lost) * 5400);
        let grant = claim(store, now);
        let dropped: Vec<Digest> = before.iter().map(digest).collect();
        let done = store
            .put("p1", grant.token, &Rows::of(&rows), now)
            .and_then(|()| store.dropped("p1", grant.token, &dropped, now))
            .and_then(|()| {
                let outcome = indexed(rows.len(), before.len());
                store.finish("p1", grant.token, &outcome, &Cost::default(), now, &terms())
            });
        let finished = match done {
            Ok(finished) => finished,
            // The crash took what was staged, and nothing of it was published.
            Err(StoreError::Refused { .. }) => {
                store.give_back("p1", grant.token, now).unwrap();
                lost += 1;
                continue;
            }
            Err(cause) => panic!("{cause}"),
        };
        assert_eq!((finished.put, finished.packages), (300, 300));
        before = rows;
        number += 1;
    }
    number
}

fn check_whole(cluster: &Cluster, database: &str, published: u64) {
    let names = "SELECT name, count(*) FROM package WHERE visible AND latest_version GROUP BY name";
    let expected = format!("generation {}|300", published - 1);
    assert_eq!(cluster.psql(database, names), expected);
    assert_eq!(cluster.psql(database, "SELECT count(*) FROM arbiter.staging"), "0");
    // One attempt for each generation: done once, none twice.
    let attempts = "SELECT count(*) - count(DISTINCT started) FROM arbiter.attempt
        WHERE verdict = 'indexed'";
    assert_eq!(cluster.psql(database, attempts), "0");
}

#[test]
fn a_server_that_dies_again_and_again_is_waited_for() {
    let mut cluster = Cluster::start();
    let database = cluster.database();
    let mut store = store(&database);
    list(&mut store, &["a"]);
    let is_over = AtomicBool::new(false);
    let published = std::thread::scope(|scope| {
        let over = Ends(&is_over);
        let publishing = scope.spawn(|| publish(&mut store, &is_over));
        let mut random = Random(5);
        for round in 0..8 {
            std::thread::sleep(Duration::from_millis(300 + random.below(500) as u64));
            if round % 2 == 0 {
                cluster.kill9();
            } else {
                cluster.stop();
            }
            let newest = "SELECT coalesce(max(token), 0) FROM arbiter.attempt
                WHERE verdict = 'indexed'";
            cluster.up();
            let before = cluster.psql(database.name(), newest);
            until("the store to go on", Duration::from_secs(30), || {
                (cluster.psql(database.name(), newest) != before).then_some(())
            });
        }
        drop(over);
        publishing.join().unwrap()
    });
    assert!(published >= 8, "{published} generations only");
    check_whole(&cluster, database.name(), published);
}

#[test]
fn a_crash_takes_what_is_staged_as_a_whole_and_nothing_of_it_is_published() {
    let mut cluster = Cluster::start();
    let database = cluster.database();
    let mut store = store(&database);
    list(&mut store, &["a"]);
    let old = [package("x", "1", "old"), package("y", "1", "old")];
    cycle(&mut store, &old, &[], at(0));
    let new = [package("x", "1", "new"), package("z", "1", "new")];
    let names = "SELECT package_id, name FROM package WHERE visible ORDER BY 1";
    for (lease, step, crashes) in [(1, 1, true), (2, 2, true), (3, 3, true), (4, 3, false)] {
        let now = at(5400 * lease);
        let token = claim(&mut store, now).token;
        let put = |store: &mut Store| store.put("p1", token, &Rows::of(&new), now);
        let dropped =
            |store: &mut Store| store.dropped("p1", token, &old.each_ref().map(digest), now);
        if step > 1 {
            put(&mut store).unwrap();
        }
        if step > 2 {
            dropped(&mut store).unwrap();
        }
        if crashes {
            cluster.kill9();
        } else {
            cluster.stop();
        }
        cluster.up();
        let outcome = indexed(2, 2);
        let end = |store: &mut Store| {
            store.finish("p1", token, &outcome, &Cost::default(), now, &terms())
        };
        if crashes {
            // Whatever the peer does next.
            for said in [put(&mut store), dropped(&mut store), end(&mut store).map(drop)] {
                assert!(matches!(said, Err(StoreError::Refused { .. })), "{step}: {said:?}");
            }
            assert_eq!(database.psql(names), "x|old\ny|old");
            store.give_back("p1", token, now).unwrap();
        } else {
            assert_eq!(end(&mut store).unwrap().put, 2);
            assert_eq!(database.psql(names), "x|new\nz|new");
        }
        let left =
            "SELECT (SELECT count(*) FROM arbiter.staging), (SELECT count(*) FROM arbiter.staged),
            (SELECT count(*) FROM arbiter.staging_dropped)";
        assert_eq!(database.psql(left), "0|0|0");
    }
}

/// What an arbiter leaves that is killed after it said the first, the second, ... thing of a finish.
#[test]
fn an_arbiter_that_dies_at_any_step_of_a_publication_published_all_or_nothing() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let mut near = store(&database);
    list(&mut near, &["a"]);
    let line = Line::to(cluster.port(), Duration::ZERO);
    let address = database.address_over(&line);
    // Of each generation one package has a new version, one another text, one is new, one stays.
    let generation = |number: usize| {
        let name = format!("generation {number}");
        [
            package("versioned", &number.to_string(), &name),
            package("reworded", "1", &name),
            package(&format!("new-{number}"), "1", &name),
            package("same", "1", "same"),
        ]
    };
    let shown = "SELECT package_id, version, name FROM package
        WHERE visible AND latest_version AND package_id <> 'same' ORDER BY package_id";
    let counted = "SELECT package_count = (SELECT count(*) FROM package WHERE visible)
        FROM repository";
    cycle(&mut near, &generation(0), &[], at(0));
    let (mut here, mut nothing, mut all) = (0, 0, 0);
    for step in 1.. {
        let (old, new) = (generation(here), generation(step));
        let now = at(5400 * step as u64);
        let token = claim(&mut near, now).token;
        near.put("p1", token, &Rows::of(&new[..3]), now).unwrap();
        near.dropped("p1", token, &old[..3].iter().map(digest).collect::<Vec<_>>(), now).unwrap();
        let far = Postgres::open(address.parse().unwrap(), "far").unwrap();
        let closer = far.closer();
        let is_over = AtomicBool::new(false);
        line.cut_after(step);
        let ended = std::thread::scope(|scope| {
            let _over = Ends(&is_over);
            scope.spawn(|| {
                until("the line to be cut", Duration::from_secs(30), || {
                    (line.is_cut() || is_over.load(Ordering::Relaxed)).then_some(())
                });
                closer.close();
            });
            let mut far = Store::Postgres(far);
            far.finish("p1", token, &indexed(3, 3), &Cost::default(), now, &terms())
        });
        let was_cut = line.is_cut();
        line.mend();
        // Until the server has noticed that nobody is there.
        let alone = "SELECT count(*) = 0 FROM pg_stat_activity
            WHERE datname = current_database() AND backend_xid IS NOT NULL";
        until("the far end to be gone", Duration::from_secs(30), || {
            (database.psql(alone) == "t").then_some(())
        });
        let is_shown = |rows: &[PackageRow]| {
            let mut lines: Vec<String> = rows[..3]
                .iter()
                .map(|row| {
                    let name = row.name.as_deref().unwrap();
                    format!("{}|{}|{name}", row.package_id, row.version)
                })
                .collect();
            lines.sort();
            database.psql(shown) == lines.join("\n")
        };
        assert_eq!(database.psql(counted), "t", "step {step}");
        if is_shown(&new) {
            all += 1;
            here = step;
        } else {
            assert!(ended.is_err() && is_shown(&old), "step {step}: {}", database.psql(shown));
            nothing += 1;
            near.give_back("p1", token, now).unwrap();
        }
        if !was_cut {
            ended.unwrap();
            break;
        }
    }
    println!("died before the commit {nothing} times, after it {all} times");
    assert!(nothing > 10, "{nothing} steps only");
}

#[test]
fn a_promoted_standby_is_found_and_nothing_is_half_done() {
    let mut primary = Cluster::start();
    let database = primary.database();
    let standby = primary.standby();
    // What was committed is on the standby, too.
    primary.psql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
    primary.reload();
    until("the standby to be waited for", Duration::from_secs(30), || {
        let state = primary.psql("postgres", "SELECT sync_state FROM pg_stat_replication");
        (state == "sync").then_some(())
    });
    let both = format!(
        "host={},{} port={},{} user=postgres dbname={}",
        standby.socket_dir().display(),
        primary.socket_dir().display(),
        standby.port(),
        primary.port(),
        database.name()
    );
    let mut store = open(&both).unwrap();
    list(&mut store, &["a"]);
    let is_over = AtomicBool::new(false);
    let published = std::thread::scope(|scope| {
        let over = Ends(&is_over);
        let publishing = scope.spawn(|| publish(&mut store, &is_over));
        std::thread::sleep(Duration::from_millis(700));
        primary.kill9();
        standby.promote();
        std::thread::sleep(Duration::from_secs(2));
        drop(over);
        publishing.join().unwrap()
    });
    check_whole(&standby, database.name(), published);
    assert!(published > 1, "{published} generations only");
}

#[test]
fn an_arbiter_gets_in_by_its_certificate_and_knows_its_server_by_the_authority() {
    let dir = tempfile::tempdir().unwrap();
    let make = |folder: &str, name: &str| {
        let folder = dir.path().join(folder);
        let authority = Authority::open(&folder).or_else(|_| Authority::init(&folder)).unwrap();
        let names = [name.to_owned(), "127.0.0.1".to_owned()];
        let pair = authority.new_server(&names, DAYS).unwrap();
        pair.write(&folder, name).unwrap();
        (authority.certificate().to_owned(), pair, folder)
    };
    let (authority, server, folder) = make("ca", "db.example");
    make("ca", "i1.peer.canister.me");
    make("ca", "stranger.example");
    let (_, _, elsewhere) = make("other", "i1.peer.canister.me");
    let cluster = Cluster::with_certificates(&Tls {
        certificate: &server.certificate,
        key: &server.key,
        authority: &authority,
        revoked: None,
    });
    let address = |more: &str| -> Address {
        let text =
            format!("postgresql://canister_arbiter@127.0.0.1:{}/canister{more}", cluster.port());
        text.parse().unwrap()
    };
    let files = |of: &std::path::Path, name: &str| Files {
        certificate: of.join(format!("{name}.crt")),
        key: of.join(format!("{name}.key")),
        authority: of.join("ca.crt"),
    };
    // It makes its tables without being a superuser.
    let own = files(&folder, "i1.peer.canister.me");
    let known = address("?sslmode=verify-full").with_identity(&own).unwrap();
    let mut store = Store::Postgres(Postgres::open(known, "tested").unwrap());
    list(&mut store, &["a"]);
    cycle(&mut store, &[package("x", "1", "X")], &[], at(0));
    let refused = |address: Address, why: &str| {
        let said = Postgres::open(address, "tested").map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    };
    // Neither under another name, nor with another authority's certificate, nor without one.
    let stranger = files(&folder, "stranger.example");
    refused(address("").with_identity(&stranger).unwrap(), "certificate authentication failed");
    refused(address("?sslmode=disable"), "pg_hba.conf");
    // A server that another authority knows is none of ours.
    let deceived = Files { authority: elsewhere.join("ca.crt"), ..own };
    refused(address("").with_identity(&deceived).unwrap(), "invalid peer certificate");
}

#[test]
fn a_server_that_accepts_and_is_silent_is_given_up() {
    let cluster = Cluster::start();
    let database = cluster.database();
    cluster.freeze();
    let begun = clock::now();
    let opened = open(&database.address());
    let waited = begun.elapsed();
    cluster.thaw();
    let said = opened.unwrap_err().to_string();
    assert!(said.contains("no answer within"), "{said}");
    assert!(waited < Duration::from_secs(20), "{waited:?}");
}

/// By which index each of the API's statements finds its rows, and whose they are.
const ANSWERS: [(&str, &str, &[&str]); 11] = [
    ("look-up", "package_lookup", &["b org.term 1", "a org.term 1.10", "a org.term 1.9"]),
    (
        "look-up with repository",
        "package_lookup",
        &["b org.term 1", "a org.term 1.10", "a org.term 1.9"],
    ),
    ("multi-look-up", "package_lookup", &["b org.term 1", "a org.term 1.10", "a org.other 1"]),
    ("search", "package_search", &["b org.term 1", "a org.term 1.10", "a org.other 1"]),
    (
        "search with repository",
        "package_search",
        &["b org.term 1", "a org.term 1.10", "a org.other 1"],
    ),
    ("ingest", "package_lookup", &["an id"]),
    ("repository", "repository_pkey", &["a"]),
    ("packages", "package_shown", &["a org.other 1", "a org.term 1.10", "a org.term 1.9"]),
    ("ranking", "repository_ranking", &["b"]),
    // So few rows are read one after the other, or all of them are wanted.
    ("repository search", "repository", &["b"]),
    ("health", "Result", &["PostgreSQL"]),
];

/// What it reads of a repository: what was agreed, with its types, and who signed it.
const API_REPOSITORY: &str = "id character varying!, aliases character varying[], \
    visible boolean!, quality integer!, package_count bigint!, sections character varying[], \
    bootstrap boolean!, uri character varying!, suite character varying!, \
    component character varying, name character varying, version character varying, \
    description character varying, date timestamp without time zone, \
    payment_gateway character varying, sileo_endpoint character varying, \
    origin_hostname character varying!, origin_release_path character varying!, \
    origin_release_hash character varying!, origin_packages_path character varying!, \
    origin_packages_hash character varying!, origin_last_updated timestamp without time zone!, \
    origin_has_in_release boolean!, origin_has_release_gpg boolean!, \
    origin_supports_payment_v1 boolean!, origin_supports_payment_v2 boolean!, \
    origin_uses_https boolean!, search_vector tsvector, origin_signed_by character varying";

/// What it reads of a package: nothing of what the arbiters keep for themselves.
const API_COLUMNS: &str = "id package_id latest_version visible quality repository_id price version \
    architecture package_filename package_size sha256_hash name description author maintainer \
    depiction native_depiction sileo_depiction header_url tint_color icon_url section tags \
    installed_size search_vector";

#[test]
fn the_api_reads_its_own_columns_and_may_go_on_reading_after_an_upgrade() {
    let database = Cluster::shared().database();
    let reader = format!("reader_{}", std::process::id());
    // An earlier Canister's table, and who reads it.
    database.psql(EARLIER);
    database.psql(&format!(
        "CREATE ROLE {reader}; GRANT USAGE ON SCHEMA public TO {reader};
         GRANT SELECT ON package TO {reader}"
    ));
    let mut store = store(&database);
    list(&mut store, &["a"]);
    cycle(&mut store, &[package("x", "1", "X")], &[], at(0));
    let columns = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = 'public.package'::regclass AND attnum > 0";
    assert_eq!(database.psql(columns), API_COLUMNS);
    let columns = "SELECT string_agg(attname || ' ' || format_type(atttypid, NULL)
            || CASE WHEN attnotnull THEN '!' ELSE '' END, ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = 'public.repository'::regclass AND attnum > 0 AND NOT attisdropped";
    assert_eq!(database.psql(columns), API_REPOSITORY);
    let read =
        format!("SET ROLE {reader}; SELECT package_id FROM public.package WHERE id IS NOT NULL");
    assert!(database.psql(&read).ends_with('x'));
    database.psql(&format!("DROP OWNED BY {reader}; DROP ROLE {reader}"));
}

#[test]
fn the_api_has_right_answers_from_indexes() {
    let database = Cluster::shared().database();
    let mut store = store(&database);
    list(&mut store, &["a", "b"]);
    let described = PackageRow {
        description: Some("Makes a terminal of it".into()),
        ..package("org.other", "1", "Other")
    };
    let rows = [
        package("org.term", "1.9", "Terminal"),
        package("org.term", "1.10", "Terminal"),
        described,
    ];
    cycle(&mut store, &rows, &[], at(0));
    cycle(&mut store, &[package("org.term", "1", "Terminal of b")], &[], at(0));
    // Its ranking is its source's.
    let better = Source {
        ranking: 1,
        aliases: vec!["zeta".into()],
        ..store.known_sources().unwrap().remove(1).source
    };
    acts::list_also(&mut store, better, at(1));
    database.psql(
        "INSERT INTO repository SELECT 'r' || number, '{}', true, 3, 200, '{}', false,
             'https://r.example', './', NULL, 'Repository ' || number, NULL, NULL, NULL, NULL, NULL,
             '', '', '', '', '', '2024-01-01', true, true, false, false, true
         FROM generate_series(1, 2000) AS number;
         INSERT INTO package SELECT 'id' || number, 'bulk.p' || number, true, true, 3,
             'r' || (number % 2000 + 1), 'Free', '1', 'arm64', 'x.deb', 7, NULL, 'Bulk ' || number,
             'Some text of package ' || number, 'Somebody ' || (number % 977)
         FROM generate_series(1, 100000) AS number;
         ANALYZE package, repository",
    );
    let mut client = Client::connect(&database.address(), NoTls).unwrap();
    for (name, index, expected) in ANSWERS {
        let query = API.iter().find(|query| query.name == name).unwrap();
        let [prepare, execute] = query.statements();
        let plan = database.psql(&format!("{prepare}; EXPLAIN {execute}"));
        assert!(plan.contains(index), "{name} doesn't use {index}:\n{plan}");
        assert!(!plan.contains("Seq Scan on package"), "{name}:\n{plan}");
        client.batch_execute(&prepare).unwrap();
        let found = client.query(&*execute, &[]).unwrap();
        client.batch_execute("DEALLOCATE asked").unwrap();
        let mut found: Vec<String> = found.iter().map(|row| told(name, row)).collect();
        // Where two are equal by what the API asks, either may be first.
        let is_ordered = name != "packages";
        assert!(!is_ordered || found[0] == expected[0], "{name}: {found:?}");
        let mut expected: Vec<String> = expected.iter().map(|&text| text.to_owned()).collect();
        found.sort();
        expected.sort();
        assert_eq!((name, found), (name, expected));
    }
    // A repository's columns have no names that are a package's alone: some statements name those bare.
    let shared = database.psql(
        "SELECT string_agg(a.column_name, ' ' ORDER BY a.column_name)
         FROM information_schema.columns AS a JOIN information_schema.columns AS b USING (column_name)
         WHERE a.table_name = 'package' AND b.table_name = 'repository'
             AND a.table_schema = 'public' AND b.table_schema = 'public'",
    );
    assert_eq!(shared, "description id name quality search_vector version visible");
}

/// What a lease costs is what its own source has, however much others have.
#[test]
fn no_lease_reads_the_whole_catalogue() {
    let database = Cluster::shared().database();
    list(&mut store(&database), &["a"]);
    database.psql(
        "INSERT INTO arbiter.package (id, package_id, latest_version, visible, quality, repository_id, price,
             version, architecture, package_filename, package_size, digest, version_key)
         SELECT 'id' || number, 'bulk.p' || number, true, true, 3, 'r' || (number % 2000), 'Free',
             '1', 'arm64', 'x.deb', 7, substr(sha256(convert_to('' || number, 'UTF8')), 1, 16), '\\x31'
         FROM generate_series(1, 200000) AS number;
         ANALYZE arbiter.package",
    );
    let scans = || {
        let scans = "SELECT seq_scan FROM pg_stat_user_tables
             WHERE relname = 'package' AND schemaname = 'arbiter'";
        database.psql(scans).parse::<u64>().unwrap()
    };
    let before = scans();
    let mut store = store(&database);
    let (old, new, other) =
        (package("a", "1", "A"), package("a", "2", "A"), package("b", "1", "B"));
    for (round, (put, dropped)) in [
        (vec![old.clone(), other.clone()], vec![]),
        (vec![new.clone()], vec![old.clone()]),
        // It is there again.
        (vec![old], vec![new]),
        (vec![], vec![other]),
        (vec![package("c", "1", "C")], vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let now = at(7200 * round as u64);
        let token = claim(&mut store, now).token;
        if round == 4 {
            // What it has is told of by its commitment.
            database.psql(
                "INSERT INTO arbiter.dispute (slug, publication, opened_at, doubles)
                 SELECT slug, publication, 0, '{}' FROM arbiter.source;
                 UPDATE arbiter.lease SET kind = 'reread'",
            );
        }
        deliver(&mut store, token, &put, &dropped, now);
    }
    // A session tells what it counted when it ends.
    drop(store);
    let gone = "SELECT count(*) FROM pg_stat_activity
         WHERE application_name LIKE 'canister-arbiter%' AND datname = current_database()";
    until("the store's session to end", Duration::from_secs(20), || {
        (database.psql(gone) == "0").then_some(())
    });
    assert_eq!(scans() - before, 0);
}

/// A row of the API's answer, with columns as it reads them.
fn told(name: &str, row: &postgres::Row) -> String {
    let text = |column: &str| row.get::<_, String>(column);
    match name {
        "ingest" => text("id").len().eq(&26).then(|| "an id".to_owned()).unwrap(),
        "health" => text("version").split(' ').next().unwrap().to_owned(),
        _ if name.contains("look-up")
            || ["packages"].contains(&name)
            || name.starts_with("search") =>
        {
            let _: (i32, i64, bool) =
                (row.get("quality"), row.get("package_size"), row.get("visible"));
            format!("{} {} {}", text("repository_id"), text("package_id"), text("version"))
        }
        _ => {
            let _: (i32, i64, bool) =
                (row.get("quality"), row.get("package_count"), row.get("bootstrap"));
            text("id")
        }
    }
}

#[test]
fn a_list_takes_few_trips_to_a_database_far_away() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    drop(store(&database));
    let line = Line::to(cluster.port(), Duration::from_millis(40));
    let mut far = open_as(&database.address_over(&line), "far").unwrap();
    let slugs: Vec<String> = (0..600).map(|number| format!("s{number}")).collect();
    let slugs: Vec<&str> = slugs.iter().map(String::as_str).collect();
    let before = line.trips();
    list(&mut far, &slugs);
    let trips = line.trips() - before;
    println!("{} sources are listed by {trips} trips", slugs.len());
    assert_eq!(far.sources().unwrap().len(), slugs.len());
    // Most are those that prepare the statements.
    assert!(trips < 40, "{trips}");
}

#[test]
fn leases_take_few_trips_to_a_database_far_away() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let slugs: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
    list(&mut store(&database), &slugs.iter().map(String::as_str).collect::<Vec<_>>());
    let line = Line::to(cluster.port(), Duration::from_millis(40));
    let address = database.address_over(&line);
    let mut far = open_as(&address, "far").unwrap();
    let mut trips = |verb: &mut dyn FnMut(&mut Store)| {
        let before = line.trips();
        verb(&mut far);
        line.trips() - before
    };
    let read = Origin { head: Head::from_sha256([1; 32]).to_string(), ..Origin::default() };
    let mut terms = terms();
    terms.audits.share = 0;
    // The first round prepares the statements, and reads what the others find unchanged.
    for round in 0..3 {
        let now = at(1 + round * 7200);
        let expired = trips(&mut |store| {
            assert_eq!(store.expire(now, &[], &terms).unwrap(), Expired::default());
        });
        let deadline = trips(&mut |store| drop(store.next_deadline(now, &terms)));
        let mut granted = Vec::new();
        let claim = trips(&mut |store| granted = store.claim("peer", 8, now, &terms).unwrap());
        assert_eq!(granted.len(), 8);
        let mut finishes = Vec::new();
        for grant in granted {
            let outcome = match grant.origin {
                Some(origin) => Outcome::Unchanged { origin, facts: None },
                None => Outcome::Indexed {
                    origin: read.clone(),
                    facts: Facts::default(),
                    counts: Counts::default(),
                },
            };
            finishes.push(trips(&mut |store| {
                let (cost, now) = (Cost::default(), now.plus(Duration::from_secs(1)));
                drop(store.finish("peer", grant.token, &outcome, &cost, now, &terms).unwrap());
            }));
        }
        println!("expire {expired}, deadline {deadline}, claim of 8 {claim}, finish {finishes:?}");
        if round == 2 {
            // One of them is the end of the first read, for which nobody waits.
            assert!(expired + deadline + claim <= 5);
            assert!(finishes.iter().all(|trips| *trips == 2));
        }
    }
}
