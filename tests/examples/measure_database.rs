//! Measures how fast rows get into PostgreSQL, side by side: an agent that writes them itself or
//! is relayed, `COPY BINARY` of the same rows, and an indexer that inserts row after row; at
//! once, and with a database that is 40 ms away. Prints a section of docs/performance.md.
//!
//! Its input is a package index in a file, its only argument. `benches/database.py` calls it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement prints, fails by panicking and reads the time"
)]

use canister_arbiter::store::Postgres;
use canister_authority::DAYS;
use canister_tests::network::{Network, flat};
use canister_tests::origin::Origin;
use canister_tests::postgres::{Cluster, Line, Tls};
use canister_tests::programs::until;
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::{Client, NoTls};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How far away the database is.
const DELAYS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(40)];
/// How long each measurement may take at most, where it can end early.
const ROW_BY_ROW_MAX: Duration = Duration::from_secs(10);
/// How long an agent may take.
const WAIT: Duration = Duration::from_secs(900);
/// The columns that rows have of their own.
const COLUMNS: &str = "id, package_id, latest_version, visible, quality, repository_id, price, \
    version, architecture, package_filename, package_size, sha256_hash, name, description, author, \
    maintainer, depiction, native_depiction, sileo_depiction, header_url, tint_color, icon_url, \
    section, tags, installed_size, digest, version_key, left_at";

/// What one way of writing came to.
struct Measured {
    rows: usize,
    took: Duration,
    /// The agent's peak resident set, where it is one.
    peak: Option<u64>,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.rows as f64 / self.took.as_secs_f64()
    }
}

fn main() {
    let path = std::env::args().nth(1).expect("the package index's path");
    let index = std::fs::read(&path).unwrap_or_else(|cause| panic!("read {path}: {cause}"));
    let mut table = Vec::new();
    let mut count = 0;
    let mut peaks = Vec::new();
    for delay in DELAYS {
        let (direct, relayed, others) = measure(&index, delay);
        count = direct.rows;
        peaks.extend([direct.peak, relayed.peak]);
        let base = direct.rate();
        let mut line = vec![format!("{} ms", delay.as_millis())];
        for measured in [&direct, &relayed].into_iter().chain(&others) {
            line.push(format!("{:.0} ({:.2})", measured.rate(), measured.rate() / base));
        }
        table.push(format!("| {} |", line.join(" | ")));
    }
    let peaks: Vec<String> =
        peaks.into_iter().flatten().map(|bytes| format!("{:.1}", bytes as f64 / 1e6)).collect();
    println!(
        "## Rows into PostgreSQL\n\n\
         Rows a second, and in brackets the ratio to *direct*, all in one run: {count} \
         rows into an empty\n\
         catalogue. Server and database are on the same machine; *away* is the round trip to \
         the database.\n\
         *Direct* and *relayed* are everything that an agent and an arbiter do from the moment a \
         source is due until its\n\
         rows are published: fetching gz, digests, unpacking, parsing, TLS, checking, staging, \
         and the catalogue's\n\
         indexes. *COPY* is `COPY BINARY` of the same prepared rows into a table without any \
         index, and into one with\n\
         the catalogue's. *Row by row* is `INSERT ... ON CONFLICT DO UPDATE` of one prepared row \
         after the other into\n\
         such a table, as an indexer without batches does it. PostgreSQL doesn't wait for its \
         disk (`fsync=off`), which\n\
         is to its advantage.\n\n\
         | away | direct | relayed | COPY, no index | COPY, indexes | row by row |\n\
         | --- | --- | --- | --- | --- | --- |\n{}\n\n\
         The agent's peak memory meanwhile, in MB: {} direct, {} relayed; {} and {} with the database \
         40 ms away.",
        table.join("\n"),
        peaks[0],
        peaks[1],
        peaks[2],
        peaks[3],
    );
}

/// Direct, relayed, and the others in the order of the table.
fn measure(index: &[u8], delay: Duration) -> (Measured, Measured, Vec<Measured>) {
    let origin = Origin::empty();
    let sources = [flat("measured", &origin.uri())];
    let mut kept = None;
    let network = Network::start_with(&sources, |authority| {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = authority.new_server(&names, DAYS).unwrap();
        let cluster = Cluster::with_certificates(&Tls {
            certificate: &server.certificate,
            key: &server.key,
            authority: authority.certificate(),
            revoked: None,
        });
        let access = cluster.data().join("pg_hba.conf");
        let own = std::fs::read_to_string(&access).unwrap();
        // What is measured beside the agent comes without TLS: to its advantage.
        cluster.write(&access, &format!("hostnossl canister postgres all trust\n{own}"));
        cluster.reload();
        let line = Line::to(cluster.port(), delay);
        let options = [
            "--database".to_owned(),
            cluster.canister().address().replace("user=postgres", "user=canister_arbiter"),
            "--peers-database".to_owned(),
            format!("localhost:{}/canister", line.port()),
            "--interval".to_owned(),
            "1d".to_owned(),
        ];
        kept = Some((cluster, line));
        options.to_vec()
    });
    let (cluster, line) = kept.unwrap();
    let address = cluster.canister().address();
    let mut roles = Postgres::open_for_roles(address.parse().unwrap()).unwrap();
    roles.create_role("direct", "direct").unwrap();

    // An index that has nothing yet, so that the agent is connected and the tables are warm.
    let agent_of = |name: &str| {
        let agent = network.agent(name, &[]);
        until("the agent to be connected", WAIT, || {
            network.peers().iter().any(|peer| peer.peer == name && peer.is_connected).then_some(())
        });
        agent
    };
    let indexed = |name: &str, direct: &str| {
        let agent = agent_of(name);
        serve(&origin, index);
        let newest = network.sources()[0].last_attempt.as_ref().map_or(0, |last| last.lease);
        let began = Instant::now();
        network.sync();
        let reports = until("the source to be indexed", WAIT, || {
            let reports = network.sources();
            let last = reports[0].last_attempt.as_ref()?;
            (last.lease > newest && last.verdict == "indexed").then_some(reports)
        });
        let took = began.elapsed();
        let writes = network.peers().into_iter().find(|peer| peer.peer == name);
        let writes = writes.and_then(|peer| peer.writes).unwrap_or_default();
        assert!(writes.starts_with(direct), "{writes}");
        Measured {
            rows: reports[0].last_attempt.as_ref().unwrap().put as usize,
            took,
            peak: Some(agent.peak_rss_bytes()),
        }
    };
    let empty = || {
        // As if nothing had been indexed ever.
        cluster.canister().psql(
            "TRUNCATE arbiter.package; UPDATE public.repository SET package_count = 0;
             UPDATE arbiter.source SET origin_head = NULL, origin_release_path = NULL,
                 origin_index_path = NULL, origin_index_digest = NULL, origin_etag = NULL,
                 origin_last_modified = NULL; CHECKPOINT",
        );
    };
    let direct = indexed("direct", "direct");

    let near = format!(
        "host=127.0.0.1 port={} user=postgres dbname=canister sslmode=disable",
        line.port()
    );
    let mut client = Client::connect(&near, NoTls).unwrap();
    let mut binary = Vec::new();
    client
        .copy_out(&format!(
            "COPY (SELECT {COLUMNS} FROM arbiter.package) TO STDOUT (FORMAT binary)"
        ))
        .unwrap()
        .read_to_end(&mut binary)
        .unwrap();
    client
        .batch_execute(
            "CREATE TABLE public.heap (LIKE arbiter.package);
             CREATE TABLE public.copied (LIKE arbiter.package INCLUDING ALL);
             CREATE TABLE public.inserted (LIKE arbiter.package INCLUDING ALL); CHECKPOINT",
        )
        .unwrap();
    let mut others: Vec<Measured> =
        ["heap", "copied"].map(|table| copy(&mut client, table, &binary, direct.rows)).into();
    others.push(row_by_row(&mut client));
    client.batch_execute("DROP TABLE public.heap, public.copied, public.inserted").unwrap();

    empty();
    let relayed = indexed("relayed", "relayed");
    (direct, relayed, others)
}

fn copy(client: &mut Client, table: &str, binary: &[u8], rows: usize) -> Measured {
    let began = Instant::now();
    let mut writer = client
        .copy_in(&format!("COPY public.{table} ({COLUMNS}) FROM STDIN (FORMAT binary)"))
        .unwrap();
    for piece in binary.chunks(64 * 1024) {
        writer.write_all(piece).unwrap();
    }
    let copied = writer.finish().unwrap();
    assert_eq!(copied, rows as u64);
    Measured { rows, took: began.elapsed(), peak: None }
}

/// One statement a row, each its own transaction, for as long as is measured.
fn row_by_row(client: &mut Client) -> Measured {
    let rows = client
        .query_raw::<_, i64, _>(
            "SELECT to_jsonb(p)::text FROM arbiter.package AS p LIMIT 20000",
            [],
        )
        .unwrap()
        .map(|row| Ok(row.get::<_, String>(0)))
        .collect::<Vec<_>>()
        .unwrap();
    let set: Vec<String> = COLUMNS
        .split(", ")
        .filter(|column| *column != "id")
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    let insert = client
        .prepare(&format!(
            "INSERT INTO public.inserted ({COLUMNS})
             SELECT {COLUMNS} FROM jsonb_populate_record(NULL::arbiter.package, $1::text::jsonb)
             ON CONFLICT (id) DO UPDATE SET {}",
            set.join(", ")
        ))
        .unwrap();
    let (began, mut done) = (Instant::now(), 0);
    for row in &rows {
        client.execute(&insert, &[row]).unwrap();
        done += 1;
        if began.elapsed() > ROW_BY_ROW_MAX {
            break;
        }
    }
    Measured { rows: done, took: began.elapsed(), peak: None }
}

/// Serves the index as gz, with a Release that lists it.
fn serve(origin: &Origin, index: &[u8]) {
    let mut gzip = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, plain) = (gzip.stdin.take().unwrap(), index.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&plain));
    let packed = gzip.wait_with_output().unwrap().stdout;
    writer.join().unwrap().unwrap();
    let digest: String = Sha256::digest(&packed).iter().map(|byte| format!("{byte:02x}")).collect();
    let release = format!("Origin: Test\nSHA256:\n {digest} {} Packages.gz\n", packed.len());
    origin.put("/Packages.gz", packed);
    origin.put("/InRelease", release);
}
