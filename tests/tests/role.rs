//! A peer's role in the database, in psql, with everything that it may say: what it learns, and what
//! it costs others.
//!
//! `TEST_ROLE_SECS` says how long the latter is tried, 600 unless it is set.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_tests::direct::{Direct, index, peers_address};
use canister_tests::network::{WAIT, flat, role, serve};
use canister_tests::origin::Origin;
use canister_tests::postgres::psql;
use canister_tests::programs::{Ends, until};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Peers whose names nobody else is to learn.
const OTHERS: [&str; 2] = ["quiet-anna", "quiet-ben"];
/// The one that is hostile.
const RUDE: &str = "rude";
/// What no file of the server may grow by, in bytes.
const GROWN_MAX: u64 = 64 * 1024 * 1024;
/// Most bytes of what psql prints that are looked at.
const SAID_MAX: usize = 64 * 1024 * 1024;

/// A server, a network with these sources and its peers, all of which have roles.
fn network(origins: &[Origin]) -> Direct {
    let sources: Vec<_> = (0..)
        .zip(origins)
        .map(|(number, origin)| flat(&format!("r{number}"), &origin.uri()))
        .collect();
    let mut direct = Direct::start(&sources, &[OTHERS[0], OTHERS[1], RUDE], Duration::ZERO);
    direct.network.restart_with(&["--interval", "4s", "--retry-after", "2s", "--lease", "30s"]);
    direct
}

/// Where the hostile one logs in.
fn door(direct: &Direct) -> (String, String) {
    let files = direct.network.peer(RUDE);
    let role = role(&files);
    let address = peers_address(&direct.cluster, &role, &files);
    (role, address)
}

/// Statements that read whatever the role may read: every view and table, every function that takes
/// nothing, every object by its number.
fn everything(direct: &Direct, role: &str) -> String {
    direct.database.psql(&format!(
        "SELECT format('SELECT * FROM %s;', relation.oid::regclass)
         FROM pg_class AS relation JOIN pg_namespace AS place ON place.oid = relnamespace
         WHERE relkind IN ('r', 'v', 'm', 'f') AND relname <> 'pg_proc'
           AND has_schema_privilege('{role}', place.oid, 'USAGE')
           AND has_table_privilege('{role}', relation.oid, 'SELECT')
         UNION ALL
         SELECT format('SELECT %s;', pg_proc.oid::regprocedure) FROM pg_proc
         WHERE pronargs = 0 AND prokind = 'f' AND has_function_privilege('{role}', oid, 'EXECUTE')
           AND has_schema_privilege('{role}', pronamespace, 'USAGE')
           AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)
         UNION ALL
         SELECT format('SELECT string_agg(%s, chr(10)) FROM generate_series(1, 60000) AS i;', call)
         FROM unnest(ARRAY['i::regrole::text', 'pg_get_userbyid(i::oid)::text',
             'pg_describe_object(1260, i::oid, 0)', 'pg_identify_object(1260, i::oid, 0)::text',
             'pg_describe_object(1262, i::oid, 0)', 'pg_get_functiondef(i::oid)',
             'obj_description(i::oid, ''pg_proc'')', 'shobj_description(i::oid, ''pg_authid'')',
             'pg_stat_get_backend_pid(i)::text', 'pg_stat_get_activity(i)::text']) AS call"
    ))
}

/// Has psql say all of `script`, one statement after the other whatever comes of each; what it prints.
/// It is killed once `is_over`.
fn say(address: &str, script: &str, is_over: &AtomicBool) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (path, output) = (dir.path().join("script"), dir.path().join("output"));
    fs::write(&path, script).unwrap();
    let file = File::create(&output).unwrap();
    let mut child = Command::new("psql")
        .args(["--no-psqlrc", "--no-align", "--tuples-only", "--file"])
        .arg(&path)
        .arg(address)
        .env("PGCONNECT_TIMEOUT", "10")
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    while child.try_wait().unwrap().is_none() {
        if is_over.load(Ordering::Relaxed) {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = fs::read(&output).unwrap();
    String::from_utf8_lossy(&said[..said.len().min(SAID_MAX)]).into_owned()
}

/// The names in what was said, which should be none.
fn names(said: &str) -> Vec<&str> {
    said.lines().filter(|line| OTHERS.iter().any(|name| line.contains(name))).collect()
}

#[test]
fn it_learns_no_name_whatever_it_reads() {
    let origins = [Origin::at(2), Origin::at(3)];
    for origin in &origins {
        serve(origin, index(50, "1.0", 30).0.as_bytes());
    }
    let direct = network(&origins);
    let _agents = OTHERS.map(|name| direct.network.agent(name, &[]));
    direct.network.until_all("indexed", 0);
    let (own, address) = door(&direct);
    let said = say(&address, &everything(&direct, &own), &AtomicBool::new(false));
    assert_eq!(names(&said), Vec::<&str>::new());
    // It found out what the roles are called, which says nothing.
    for name in OTHERS {
        let role = role(&direct.network.peer(name));
        assert!(said.lines().any(|line| line == role), "{role} isn't in {} bytes", said.len());
    }
    // Nor is a guess confirmed.
    for name in [OTHERS[0], "quiet-nobody"] {
        for guess in [
            format!("SELECT has_table_privilege('{name}', 'pg_class', 'SELECT')"),
            format!("SELECT pg_has_role('{name}', 'MEMBER')"),
            format!("SELECT '{name}'::regrole"),
            format!("SET ROLE \"{name}\""),
            format!("GRANT canister_peer TO \"{name}\""),
            format!("ALTER ROLE \"{name}\" LOGIN"),
        ] {
            let said = psql(&address, &guess, &[]).unwrap_err().replace(name, "X");
            let like = said.contains("does not exist") || said.contains("permission denied");
            assert!(like, "{guess}: {said}");
            let nobody = guess.replace(name, "quiet-nobody-else");
            let of_nobody = psql(&address, &nobody, &[]).unwrap_err();
            assert_eq!(said, of_nobody.replace("quiet-nobody-else", "X"), "{guess}");
        }
    }
}

/// The files below a folder with their bytes.
fn sizes(folder: &Path, found: &mut HashMap<PathBuf, u64>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(data) if data.is_dir() => sizes(&entry.path(), found),
            Ok(data) => drop(found.insert(entry.path(), data.len())),
            // It has gone meanwhile.
            Err(_) => {}
        }
    }
}

/// Holds a transaction open in which it listens, so that the queue of notifications isn't emptied.
const HOLDS: &str = "SET idle_in_transaction_session_timeout = 0;
    SET idle_session_timeout = 0; LISTEN z; BEGIN; SELECT 1;\n\\! sleep 20\nCOMMIT;\n";

/// Fills what is written whoever speaks: the queue, the log, the line.
const FILLS: &str = "SET client_min_messages = 'debug5'; SET debug_print_parse = on;
    SET debug_print_plan = on; SET trace_notify = on;
    SELECT format('NOTIFY z, %L', repeat('x', 7900) || i) FROM generate_series(1, 3000) AS i \\gexec
    SELECT format('SELECT %L::int', repeat('x', 1000000)) FROM generate_series(1, 100) AS i \\gexec
    SELECT format('SELECT peer.known(%s)', i) FROM generate_series(1, 300) AS i \\gexec
    \\o /dev/null
    COPY (SELECT repeat('x', 10000) FROM generate_series(1, 50000)) TO STDOUT;\n";

/// Costs time, memory and room for what is sorted.
const COSTS: &str = "SET statement_timeout = 0; SET lock_timeout = 0; SET work_mem = '64kB';
    SET temp_file_limit = -1; SET log_min_messages = 'debug5';
    SELECT count(*) FROM (SELECT md5(i::text) AS x, repeat('y', 500) FROM
        generate_series(1, 100000000) AS i ORDER BY 1) AS sorted;
    BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT repeat('x', 1000) FROM generate_series(1, 10000000);
    COMMIT;
    LOCK TABLE pg_class IN ACCESS EXCLUSIVE MODE;
    SELECT count(*) FROM pg_class FOR UPDATE;
    SELECT length(repeat('x', 100000000));
    SELECT count(*) FROM pg_proc AS a, pg_proc AS b, pg_proc AS c;\n";

#[test]
#[ignore = "ten minutes; make attack"]
fn three_connections_with_everything_it_can_do_hold_up_nobody() {
    let seconds = std::env::var("TEST_ROLE_SECS").map_or(600, |text| text.parse().unwrap());
    let origins: Vec<_> = (0..20).map(|number| Origin::at(10 + number)).collect();
    for origin in &origins {
        serve(origin, index(50, "0", 30).0.as_bytes());
    }
    let direct = network(&origins);
    let _agents = OTHERS.map(|name| direct.network.agent(name, &["--slots", "4", "--cpu", "2"]));
    until("every source to be indexed", WAIT, || {
        let all = direct.network.sources();
        all.iter().all(|source| source.last_attempt.is_some()).then_some(())
    });
    let finished = || -> f64 {
        let finished = "SELECT sum(finished) FROM arbiter.peer";
        direct.database.psql(finished).parse().unwrap()
    };
    let mut changes = 0;
    // A second, in which one of the sources changes.
    let mut second = || {
        changes += 1;
        let (text, _) = index(50, &changes.to_string(), 30);
        serve(&origins[changes % origins.len()], text.as_bytes());
        std::thread::sleep(Duration::from_secs(1));
    };
    let mut rate = |length: Duration, look: &mut dyn FnMut()| {
        let (since, before) = (Instant::now(), finished());
        while since.elapsed() < length {
            second();
            look();
        }
        (finished() - before) / since.elapsed().as_secs_f64()
    };
    let alone = rate(Duration::from_secs((seconds / 10).max(30)), &mut || {});

    let (own, address) = door(&direct);
    let reads = everything(&direct, &own);
    let folder = direct.cluster.socket_dir().to_owned();
    let measured = || {
        let mut found = HashMap::new();
        sizes(&folder, &mut found);
        found
    };
    let before = measured();
    let (is_over, learned) = (AtomicBool::new(false), Mutex::new((Vec::new(), [0; 3])));
    let (mut grown, mut all) = ((0, PathBuf::new()), 0);
    let beside = std::thread::scope(|scope| {
        let over = Ends(&is_over);
        for (number, script) in
            [format!("{HOLDS}{reads}"), FILLS.to_owned(), COSTS.to_owned()].into_iter().enumerate()
        {
            let (address, is_over, learned) = (&address, &is_over, &learned);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let said = say(address, &script, is_over);
                    let mut learned = learned.lock().unwrap();
                    learned.0.extend(names(&said).into_iter().map(str::to_owned));
                    learned.1[number] += 1;
                }
            });
        }
        let beside = rate(Duration::from_secs(seconds), &mut || {
            let now = measured();
            all = all.max(now.values().sum::<u64>());
            for (path, bytes) in now {
                let more = bytes.saturating_sub(before.get(&path).copied().unwrap_or(0));
                if more > grown.0 {
                    grown = (more, path);
                }
            }
        });
        drop(over);
        beside
    });
    let (learned, said) = learned.into_inner().unwrap();
    let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    println!(
        "{seconds} s: {alone:.2} leases a second alone, {beside:.2} beside it; the file that grew most, {}, by \
         {:.1} MiB; all files from {:.0} to at most {:.0} MiB; scripts said {said:?} times",
        grown.1.strip_prefix(&folder).unwrap_or(&grown.1).display(),
        mib(grown.0),
        mib(before.values().sum()),
        mib(all),
    );
    assert_eq!(learned, Vec::<String>::new());
    assert!(said.iter().all(|&times| times > 0), "{said:?}");
    assert!(grown.0 <= GROWN_MAX, "{} grew by {}", grown.1.display(), grown.0);
    assert!(beside >= alone / 2.0, "{beside} after {alone}");
}
