//! Measures a store with a real package index, read from standard input: the embedded one, or the one
//! in an empty PostgreSQL database.
//!
//! ```sh
//! xz -dc Packages.xz | cargo run --release -p canister-arbiter --example measure_store
//! xz -dc Packages.xz | cargo run --release -p canister-arbiter --example measure_store -- \
//!   'host=/run/postgresql dbname=measured'
//! ```
//!
//! Prints seconds and rows per second of putting and publishing the whole index, of an index of
//! which 20 packages changed, of hiding and showing the source, and the size of the database.

#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

use canister_arbiter::rules::changes::Act;
use canister_arbiter::rules::policy::PolicySettings;
use canister_arbiter::rules::timestamp::Timestamp;
use canister_arbiter::store::{Postgres, Sqlite, Store, Terms};
use canister_link::clock;
use canister_protocol::limits::{DIGESTS_MAX, PUT_BYTES, PUT_ROWS_MAX};
use canister_protocol::message::{Cost, Counts, Facts, Origin, Outcome};
use canister_protocol::{Digest, Head, PackageRow, Rows, Source};
use std::collections::VecDeque;
use std::error::Error;
use std::io::BufRead;
use std::time::Duration;

fn terms() -> Terms {
    let mut terms = Terms::default();
    terms.politeness.pause = Duration::ZERO;
    terms.brake.share = 100;
    terms.brake.packages = u64::MAX;
    terms
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut rows = rows(std::io::stdin().lock())?;
    let bytes: usize = rows.iter().map(PackageRow::bytes).sum();
    println!("index: {} rows, {:.1} MB in texts", rows.len(), mb(bytes as u64));

    let before = memory("VmRSS")?;

    let folder = std::env::temp_dir().join(format!("measure_store.{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let file = folder.join("arbiter.db");
    let mut store = match std::env::args().nth(1) {
        Some(address) => Store::Postgres(Postgres::open(address.parse()?, "measured")?),
        None => Store::Sqlite(Sqlite::open(&file)?),
    };
    let store = &mut store;
    let source = Source {
        slug: "measured".to_owned(),
        uri: "https://measured.example".to_owned(),
        suite: "./".to_owned(),
        ranking: 3,
        ..Source::default()
    };
    let another = Source { slug: "another".to_owned(), ..source.clone() };
    let settings = PolicySettings::default();
    let terms = terms();
    let listed = |sources: &[&Source]| Act::Listed {
        sources: Some(sources.iter().copied().cloned().collect()),
        blocked_hosts: None,
    };
    store.settle(&listed(&[&source]), &settings, &terms, day(0))?;

    cycle(store, "whole index", &rows, day(1))?;
    let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    println!("database {:.1} MB, log {:.1} MB", mb(size("arbiter.db")), mb(size("arbiter.db-wal")));
    cycle(store, "nothing changed", &rows, day(2))?;
    let step = rows.len() / 20;
    for row in rows.iter_mut().step_by(step.max(1)).take(20) {
        row.version.push_str("+1");
    }
    cycle(store, "20 changed", &rows, day(3))?;

    for (what, act) in [("hide", listed(&[&another])), ("show", listed(&[&another, &source]))] {
        let begin = clock::now();
        store.settle(&act, &settings, &terms, day(4))?;
        println!("{what}: {:.3} s", (clock::now() - begin).as_secs_f64());
    }
    for text in ["editor", "lib", "python3 library"] {
        let begin = clock::now();
        let found = store.search(text, 20)?;
        let first = found.first().map_or("nothing", |found| &found.package_id);
        println!("search {text:?}: {first}, {:.1} ms", 1e3 * (clock::now() - begin).as_secs_f64());
    }
    for row in &mut rows {
        row.package_filename.push('x');
    }
    cycle(store, "all changed", &rows, day(5))?;
    println!("database {:.1} MB, log {:.1} MB", mb(size("arbiter.db")), mb(size("arbiter.db-wal")));
    println!("{before} with the index alone, {} in all", memory("VmHWM")?);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// One lease, as an agent works it.
fn cycle(
    store: &mut Store,
    what: &str,
    rows: &[PackageRow],
    now: Timestamp,
) -> Result<(), Box<dyn Error>> {
    let grant = store.claim("peer", 1, now, &terms())?.pop().ok_or("nothing is due")?;
    let token = grant.token;
    let begin = clock::now();
    let mut known: Vec<Digest> = Vec::new();
    loop {
        let page = store.known("peer", token, known.last().copied(), DIGESTS_MAX, now)?;
        known.extend(&page);
        if page.len() < DIGESTS_MAX {
            break;
        }
    }
    let known_secs = (clock::now() - begin).as_secs_f64();

    let mut scratch = Vec::new();
    let mut is_seen = vec![false; known.len()];
    let mut new = VecDeque::new();
    for row in rows {
        match known.binary_search(&row.digest(&mut scratch)) {
            Ok(place) => is_seen[place] = true,
            Err(_) => new.push_back(row),
        }
    }
    let dropped: Vec<Digest> = (known.iter().zip(&is_seen))
        .filter(|(_, is_seen)| !**is_seen)
        .map(|(digest, _)| *digest)
        .collect();

    let put = new.len() as u64;
    let mut batches = 0;
    let begin = clock::now();
    while !new.is_empty() {
        let mut bytes = 0;
        let is_room = |row: &&&PackageRow| {
            let room = bytes < PUT_BYTES;
            bytes += row.bytes();
            room
        };
        let length = new.iter().take(PUT_ROWS_MAX).take_while(is_room).count();
        let batch: Vec<PackageRow> = new.drain(..length).cloned().collect();
        store.put("peer", token, &Rows::of(&batch), now)?;
        batches += 1;
    }
    for digests in dropped.chunks(DIGESTS_MAX) {
        store.dropped("peer", token, digests, now)?;
    }
    let put_secs = (clock::now() - begin).as_secs_f64();

    let outcome = Outcome::Indexed {
        origin: Origin { head: Head::from_sha256([1; 32]).to_string(), ..Origin::default() },
        facts: Facts::default(),
        counts: Counts {
            packages: rows.len() as u64,
            put,
            dropped: dropped.len() as u64,
            ..Counts::default()
        },
    };
    let begin = clock::now();
    let finished = store.finish("peer", token, &outcome, &Cost::default(), now, &terms())?;
    let finish_secs = (clock::now() - begin).as_secs_f64();
    println!(
        "{what}: known {known_secs:.3} s, put {put} rows in {} batches {put_secs:.3} s ({:.0}/s), \
         finish {finish_secs:.3} s ({:.0}/s): {} new or changed, {} left, {} packages",
        batches,
        put as f64 / put_secs,
        put as f64 / finish_secs,
        finished.put,
        finished.left,
        finished.packages
    );
    Ok(())
}

/// A reader for well-formed indexes, enough for measuring.
fn rows(index: impl BufRead) -> std::io::Result<Vec<PackageRow>> {
    let mut rows = Vec::new();
    let mut row: PackageRow = PackageRow::default();
    for line in index.lines().chain([Ok(String::new())]) {
        let line = line?;
        if line.is_empty() {
            let done = std::mem::take(&mut row);
            if !done.package_id.is_empty() {
                rows.push(PackageRow { price: "Free".to_owned(), ..done });
            }
            continue;
        }
        let Some((field, value)) = line.split_once(": ") else {
            continue;
        };
        let value = value.to_owned();
        match field {
            "Package" => row.package_id = value,
            "Version" => row.version = value,
            "Architecture" => row.architecture = value,
            "Filename" => row.package_filename = value,
            "Size" => row.package_size = value.parse().unwrap_or_default(),
            "SHA256" => row.sha256_hash = Some(value),
            "Description" => row.description = Some(value),
            "Maintainer" => row.maintainer = Some(value),
            "Section" => row.section = Some(value),
            "Tag" => row.tags = value.split(", ").map(str::to_owned).collect(),
            "Installed-Size" => row.installed_size = value.parse().ok(),
            _ => {}
        }
    }
    Ok(rows)
}

fn memory(field: &str) -> std::io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field));
    Ok(line.unwrap_or_default().replace('\t', " "))
}

fn day(number: u64) -> Timestamp {
    Timestamp::from_millis((20_000 + number) * 86_400_000)
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
