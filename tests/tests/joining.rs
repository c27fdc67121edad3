//! From a request to a peer, with the real programs and the real openssl on both sides.

use canister_link::identity::Files;
use canister_tests::direct::{Certificates, Direct, arbiters_address, index};
use canister_tests::network::{Network, agent_command, check, flat, role, serve};
use canister_tests::openssl::{assert_nothing_asked_for, fails, judge, succeeds, verified};
use canister_tests::origin::Origin;
use canister_tests::peer::Peer;
use canister_tests::programs::{Ran, run, run_command, until, workspace};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

fn network() -> Network {
    Network::start(&[flat("a", "http://127.0.0.1:1")], &[])
}

fn ca(words: &[&str]) -> Ran {
    run("canister-arbiter", [&["ca"], words].concat(), SOON)
}

fn ca_succeeds(words: &[&str]) -> String {
    let ran = ca(words);
    assert!(ran.status.success(), "{words:?}: {}", ran.stderr);
    ran.stdout
}

fn ca_refuses(words: &[&str], part: &str) {
    let ran = ca(words);
    assert_eq!(ran.status.code(), Some(1), "{words:?}: {}", ran.stdout);
    assert!(ran.stderr.contains(part), "{words:?}: {}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

/// The blocks of a kind in a section of the README.
fn readme(section: &str, kind: &str) -> Vec<String> {
    let text = fs::read_to_string(workspace().join("README.md")).unwrap();
    let section = text
        .split(&format!("\n{section}\n"))
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("the README has this section");
    let begin = format!("```{kind}\n");
    section
        .split(&begin)
        .skip(1)
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}

/// The volunteer has openssl, Canister the shipped configuration of PostgreSQL.
#[test]
fn the_openssl_commands_of_the_readme_make_a_peer_who_enters_by_both_doors() {
    let origin = Origin::empty();
    let (text_of_index, packages) = index(300, "1.0", 100);
    serve(&origin, text_of_index.as_bytes());
    let direct = Direct::start(&[flat("a", &origin.uri())], &[], Duration::ZERO);
    let network = &direct.network;
    let dir = network.dir().join("volunteer");
    fs::create_dir(&dir).unwrap();
    let section = "### A request by openssl";
    let config = readme(section, "ini").remove(0);
    fs::write(dir.join("config.conf"), config).unwrap();
    let lines = readme(section, "sh").remove(0);
    for line in lines.lines() {
        assert!(line.starts_with("openssl "), "{line}");
        let run = if line.contains("-verify") { verified } else { succeeds };
        run(&dir, line);
    }
    assert!(lines.contains("-verify"), "{lines}");
    let said = succeeds(&dir, "openssl req -in peer.csr -noout -text");
    for part in [
        "4096 bit",
        "sha512WithRSAEncryption",
        "C = US, ST = New York, O = Canister, OU = Indexer, CN = your-name",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }

    let request = text(dir.join("peer.csr"));
    let shown = ca_succeeds(&["show", &request]);
    assert!(shown.contains("RSA 4096") && shown.contains("your-name"), "{shown}");
    // As an agent of this name has its files here.
    let ca = network.dir().join("ca");
    let files = Files {
        certificate: network.dir().join("your-name.crt"),
        key: network.dir().join("your-name.key"),
        authority: ca.join("ca.crt"),
    };
    fs::rename(dir.join("peer.key"), &files.key).unwrap();
    ca_succeeds(&[
        "sign",
        "--dir",
        &text(&ca),
        "--out",
        &text(&files.certificate),
        "--database",
        &arbiters_address(&direct.cluster),
        "--database-certificate",
        &text(ca.join("arbiter.crt")),
        "--database-key",
        &text(ca.join("arbiter.key")),
        &request,
    ]);
    let ran = check(&files, &network.listen, &["--allow-private"]);
    assert!(ran.status.success(), "{}", ran.stdout);
    assert!(ran.stdout.contains("rows go directly"), "{}", ran.stdout);

    let _agent = network.agent("your-name", &[]);
    network.until_all("indexed", 0);
    direct.has("a", &packages);
    assert_eq!(network.peers()[0].peer, "your-name");
    assert_eq!((&*direct.writes(), direct.heard("Put")), ("direct", 0));
    let role = role(&files);
    let shown = direct.database.psql(&format!(
        "SELECT version, client_dn FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE usename = '{role}'"
    ));
    assert_eq!(shown, format!("TLSv1.3|/O=Canister/UID={role}/CN=your-name"));
}

#[test]
fn openssl_accepts_everything_that_the_authority_writes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let folder = text(dir.join("ca"));
    fs::write(dir.join("word"), "correct horse\n").unwrap();
    let word = text(dir.join("word"));
    let with = ["--dir", &folder, "--passphrase-file", &word];
    ca_succeeds(&[&["init"], &with[..]].concat());
    let out = text(dir);
    ca_succeeds(&[&["server", "--out", &out, "a.example", "192.0.2.1"], &with[..]].concat());
    let database = ["server", "--out", &out, "--as", "database", "db.example"];
    ca_succeeds(&[&database, &with[..]].concat());
    let made = run("canister-agent", ["request", "--dir", &out, "peer-1"], SOON);
    assert!(made.status.success(), "{}", made.stderr);
    verified(dir, "openssl req -verify -noout -in peer.csr");
    ca_succeeds(
        &[&["sign", "--out", &text(dir.join("peer.crt")), &text(dir.join("peer.csr"))], &with[..]]
            .concat(),
    );

    let verify = "openssl verify -x509_strict -crl_check_all -CAfile ca/ca.crt -CRLfile ca/crl.pem";
    for line in [
        "openssl verify -x509_strict -CAfile ca/ca.crt ca/ca.crt",
        "openssl verify -x509_strict -purpose sslclient -CAfile ca/ca.crt peer.crt",
        "openssl verify -x509_strict -CAfile ca/root/root.crt ca/issuer/issuer.crt",
        "openssl verify -x509_strict -purpose crlsign -CAfile ca/ca.crt ca/issuer/issuer.crt",
        &format!("{verify} -purpose sslserver -untrusted arbiter.crt arbiter.crt"),
        &format!(
            "{verify} -purpose sslserver -verify_hostname a.example -untrusted arbiter.crt arbiter.crt"
        ),
        &format!(
            "{verify} -purpose sslserver -verify_ip 192.0.2.1 -untrusted arbiter.crt arbiter.crt"
        ),
        &format!("{verify} -purpose sslclient -untrusted peer.crt peer.crt"),
        &format!(
            "{verify} -purpose sslserver -verify_hostname db.example -untrusted database.crt database.crt"
        ),
        "openssl pkey -in database.key -noout",
        "openssl pkey -in arbiter.key -noout",
        "openssl pkey -in ca/issuer/issuer.key -passin file:word -noout",
        "openssl pkey -in ca/root/root.key -passin file:word -noout",
        "openssl pkey -in peer.key -noout",
    ] {
        succeeds(dir, line);
    }
    verified(dir, "openssl crl -in ca/crl.pem -CAfile ca/issuer/issuer.crt -noout");
    verified(dir, "openssl crl -in ca/issuer/root.crl -CAfile ca/ca.crt -noout");
    for line in [
        &format!("{verify} -purpose sslserver -untrusted peer.crt peer.crt"),
        // What a server's certificate is for besides, the issuing one isn't.
        &format!("{verify} -purpose sslclient ca/issuer/issuer.crt"),
        "openssl pkey -in ca/issuer/issuer.key -passin pass:wrong -noout",
    ] {
        fails(dir, line);
    }
    let said = succeeds(dir, "openssl x509 -in peer.crt -noout -text");
    for part in [
        "CA:FALSE",
        "Digital Signature",
        "TLS Web Client Authentication",
        "Subject Key Identifier",
        "Authority Key Identifier",
        "O = Canister, UID = peer_",
        ", CN = peer-1",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let said = succeeds(dir, "openssl x509 -in ca/issuer/issuer.crt -noout -text");
    assert!(said.contains("CA:TRUE, pathlen:0"), "{said}");

    // Revoked: by a wrong passphrase not, by the right one for both.
    fs::write(dir.join("wrong"), "battery staple\n").unwrap();
    let wrong = text(dir.join("wrong"));
    ca_refuses(
        &["revoke", "peer-1", "--why", "x", "--dir", &folder, "--passphrase-file", &wrong],
        "passphrase is wrong",
    );
    ca_refuses(&["revoke", "peer-1", "--why", "x", "--dir", &folder], "--passphrase-file");
    ca_succeeds(&[&["revoke", "peer-1", "--why", "key-compromise"], &with[..]].concat());
    let said =
        verified(dir, "openssl crl -in ca/crl.pem -CAfile ca/issuer/issuer.crt -noout -text");
    for part in ["Key Compromise", "X509v3 CRL Number", "X509v3 Authority Key Identifier"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let said = fails(dir, &format!("{verify} -untrusted peer.crt peer.crt"));
    assert!(said.contains("certificate revoked"), "{said}");
    let listed = ca_succeeds(&["list", "--dir", &folder]);
    assert!(listed.contains("revoked: key-compromise"), "{listed}");
}

/// Whatever the commands leave in the folder, with a passphrase and without.
#[test]
fn openssl_accepts_each_file_of_an_authority_that_has_done_everything() {
    for password in [None, Some("-passin file:../word")] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let folder = text(dir.join("ca"));
        let word = text(dir.join("word"));
        fs::write(&word, "correct horse\n").unwrap();
        let mut with = vec!["--dir", &folder];
        if password.is_some() {
            with.extend(["--passphrase-file", &word]);
        }
        let ca = |words: &[&str]| ca_succeeds(&[words, &with[..]].concat());
        let judged = |certificates: usize| {
            let judged = judge(Path::new(&folder), password.unwrap_or_default(), "");
            // ca.crt, issuer.crt, root.crt, and two each that was handed out; crl.pem has two
            // lists, root.crl one.
            assert_eq!((judged.keys, judged.lists), (2, 3));
            assert_eq!(judged.certificates, 4 + 2 * certificates);
        };
        ca(&["init"]);
        judged(0);
        ca(&["server", "--out", &text(dir), "a.example"]);
        ca(&["server", "--out", &text(dir), "--as", "database", "db.example"]);
        let signed = |folder: &str, more: &[&str]| {
            let home = dir.join(folder);
            fs::create_dir(&home).unwrap();
            let made = canister_link::request::make(&home, "peer-1").unwrap();
            ca(&[&["sign", &text(&made.request)], more].concat());
        };
        signed("first", &[]);
        signed("second", &["--again"]);
        judged(4);
        // That this can fail: it does for another's.
        let own = fs::read(dir.join("ca/ca.crt")).unwrap();
        let elsewhere = dir.join("elsewhere");
        canister_authority::Authority::init(&elsewhere).unwrap();
        fs::copy(elsewhere.join("ca.crt"), dir.join("ca/ca.crt")).unwrap();
        assert!(std::panic::catch_unwind(|| judged(4)).is_err());
        fs::write(dir.join("ca/ca.crt"), own).unwrap();
        // The issuing certificate is another from here on, its key the same.
        ca(&["issuer"]);
        judged(4);
        ca(&["crl"]);
        judged(4);
        ca(&["revoke", "--server", "--why", "test", "a.example"]);
        for name in ["arbiter", "database"] {
            let line = format!(
                "openssl verify -crl_check_all -CAfile ca/ca.crt -CRLfile ca/crl.pem {name}.crt"
            );
            if name == "database" {
                succeeds(dir, &line);
            } else {
                let said = fails(dir, &line);
                assert!(said.contains("certificate revoked"), "{said}");
            }
        }
    }
}

#[test]
fn requests_that_ask_for_more_or_have_weak_keys() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let folder = text(dir.join("ca"));
    ca_succeeds(&["init", "--dir", &folder]);
    let request = |key: &str, more: &str| {
        succeeds(
            dir,
            &format!("openssl req -new -nodes -newkey {key} -keyout k.pem -out r.csr {more}"),
        );
        text(dir.join("r.csr"))
    };
    let sign = |request: &str, part: &str| ca_refuses(&["sign", "--dir", &folder, request], part);
    let subject = "-subj /CN=peer-1";
    sign(&request("rsa:1024", subject), "use 2048 or more");
    let curve = "ec -pkeyopt ec_paramgen_curve";
    sign(&request(&format!("{curve}:secp256k1"), subject), "use P-256 or P-384");
    sign(&request(&format!("{curve}:P-521"), subject), "use P-256 or P-384");
    sign(&request("ed448", subject), "use ");
    for name in ["/CN=Peer One", "/CN=a\tb", "/CN=a.b", "/O=nobody", "/CN=a/CN=b"] {
        sign(
            &request(&format!("{curve}:P-256"), &format!("-utf8 -subj '{name}'")),
            "can't be a name",
        );
    }
    // Longer than RFC 5280 has it, so openssl won't write it; a peer could.
    let key = rcgen::KeyPair::generate().unwrap();
    for name in ["a".repeat(1000), "a\u{7}b".to_owned(), "a\nb".to_owned()] {
        let long = canister_link::request::signed(&key, &name).unwrap();
        fs::write(dir.join("long.csr"), long).unwrap();
        sign(&text(dir.join("long.csr")), "can't be a name");
    }
    // Somebody else's signature under it.
    let good = fs::read_to_string(request(&format!("{curve}:P-256"), subject)).unwrap();
    let mut lines: Vec<&str> = good.lines().collect();
    let last = lines.len() - 2;
    let spoilt = lines[last].replacen(|it: char| it.is_ascii_alphabetic(), "0", 1);
    lines[last] = &spoilt;
    fs::write(dir.join("spoilt.csr"), lines.join("\n")).unwrap();
    sign(&text(dir.join("spoilt.csr")), "spoilt.csr");

    // What it asks for besides a name is ignored.
    fs::write(
        dir.join("more.conf"),
        "[req]\nprompt=no\ndistinguished_name=s\nreq_extensions=x\n[s]\nCN=greedy\n[x]\n\
         basicConstraints=critical,CA:TRUE\nsubjectAltName=DNS:a.example\nkeyUsage=keyCertSign\n\
         extendedKeyUsage=serverAuth\n",
    )
    .unwrap();
    let greedy = request(&format!("{curve}:P-384"), "-config more.conf");
    let shown = ca_succeeds(&["show", &greedy]);
    assert!(shown.contains("BasicConstraints") && shown.contains("ignored"), "{shown}");
    ca_succeeds(&["sign", "--dir", &folder, "--out", &text(dir.join("g.crt")), &greedy]);
    let said = succeeds(dir, "openssl x509 -in g.crt -noout -text");
    assert_nothing_asked_for(&said);
    assert!(said.contains("CN = greedy"), "{said}");
    // The same request again: the same certificate. Another for the same name: refused.
    let first = fs::read_to_string(dir.join("g.crt")).unwrap();
    assert_eq!(ca_succeeds(&["sign", "--dir", &folder, &greedy]), first);
    let other = request(&format!("{curve}:P-256"), "-subj /CN=greedy");
    sign(&other, "in use");
    ca_succeeds(&["sign", "--dir", &folder, "--again", &other]);
}

#[test]
fn what_makes_a_request_may_be_killed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let program = canister_tests::programs::binary("canister-agent");
    // From before its first write to after its last: a request takes about this long.
    let mut completed = 0;
    for step in 0..60_u64 {
        let home = dir.path().join(step.to_string());
        fs::create_dir(&home).unwrap();
        let mut child = Command::new(&program)
            .args(["request", "a", "--dir"])
            .arg(&home)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(step * 150));
        let _ = child.kill();
        child.wait().unwrap();
        let (key, request) = (home.join("peer.key"), home.join("peer.csr"));
        if request.exists() {
            completed += 1;
        } else {
            let was = fs::read(&key).ok();
            let ran = run("canister-agent", ["request", "a", "--dir", &text(&home)], SOON);
            assert!(ran.status.success(), "{}", ran.stderr);
            assert!(was.is_none_or(|was| was == fs::read(&key).unwrap()));
        }
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let of = |line: &str| succeeds(&home, line);
        assert_eq!(
            of("openssl pkey -in peer.key -pubout"),
            of("openssl req -in peer.csr -noout -pubkey")
        );
    }
    assert!(completed < 60, "none was killed in time");
}

#[test]
fn the_authoritys_commands_may_be_killed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let folder = text(dir.join("ca"));
    let program = canister_tests::programs::binary("canister-arbiter");
    let killed = |words: &[&str], after: Duration| {
        let mut child = Command::new(&program)
            .args([&["ca"], words].concat())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(after);
        let _ = child.kill();
        child.wait().unwrap();
    };
    // An authority that was begun is completed; nothing that was made is made again.
    for step in 0..40_u32 {
        let _ = fs::remove_dir_all(&folder);
        killed(&["init", "--dir", &folder], Duration::from_micros(500) * step);
        let ran = ca(&["init", "--dir", &folder]);
        assert!(ran.status.success() || ran.stderr.contains("exists already"), "{}", ran.stderr);
        ca_succeeds(&["list", "--dir", &folder]);
    }
    let verify = "openssl verify -crl_check_all -CAfile ca/ca.crt -CRLfile ca/crl.pem";
    for step in 0..40_u32 {
        let name = format!("peer-{step}");
        let (home, after) = (dir.join(&name), Duration::from_micros(400) * step);
        fs::create_dir(&home).unwrap();
        canister_link::request::make(&home, &name).unwrap();
        let (request, out) = (text(home.join("peer.csr")), text(home.join("peer.crt")));
        let words = ["sign", "--dir", &folder, "--out", &out, &request];
        killed(&words, after);
        if !Path::new(&out).exists() {
            ca_succeeds(&words);
        }
        succeeds(dir, &format!("{verify} {out}"));
        let words = ["revoke", "--dir", &folder, "--why", "test", &name];
        killed(&words, after);
        ca_succeeds(&words);
        let said = fails(dir, &format!("{verify} {out}"));
        assert!(said.contains("certificate revoked"), "{said}");
    }
}

#[test]
fn check_finds_what_is_wrong_and_nothing_where_all_is_well() {
    let network = network();
    let files = network.peer("own");
    let fails = |ran: &Ran, part: &str| {
        assert_eq!(ran.status.code(), Some(1), "{}", ran.stdout);
        let line = ran.stdout.lines().find(|line| line.contains(part));
        let line = line.unwrap_or_else(|| panic!("no {part:?} in {}", ran.stdout));
        assert!(line.starts_with("FAIL  "), "{line}");
        assert!(ran.stderr.contains("failed"), "{}", ran.stderr);
    };

    // An open session is not disturbed.
    let mut peer = Peer::greet(&network.listen, &files, 1).unwrap();
    let (lease, _) = peer.granted();
    let ran = check(&files, &network.listen, &[]);
    assert!(ran.status.success(), "{}", ran.stdout);
    for part in [
        "a pair",
        "name is own",
        "days left, until",
        "signed by the authority",
        "takes us",
        "clock is right",
        "rows go over the session: no arbiter names a database",
        "memory",
        "CPU",
    ] {
        assert!(ran.stdout.contains(part), "no {part:?} in {}", ran.stdout);
    }
    peer.say(&canister_protocol::ToArbiter::Renew { leases: vec![lease] });
    assert!(
        matches!(peer.hear(), Ok(canister_protocol::ToPeer::Renewed { leases }) if leases == [lease])
    );

    fails(&check(&files, "127.0.0.1:1", &[]), "Connection refused");
    fails(&check(&files, "nowhere.invalid:1", &[]), "look up the name nowhere.invalid");
    let missing = Files { key: PathBuf::from("/nowhere/peer.key"), ..files.clone() };
    fails(&check(&missing, &network.listen, &[]), "/nowhere/peer.key");
    let other = Files { key: network.peer("other").key, ..files.clone() };
    fails(&check(&other, &network.listen, &[]), "no pair");
    let elsewhere = self::network();
    let strange = Files { authority: elsewhere.dir().join("ca/ca.crt"), ..files.clone() };
    fails(&check(&strange, &network.listen, &[]), "didn't sign");
    fails(&check(&strange, &network.listen, &[]), "--authority");
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    fails(&check(&files, &network.listen, &[]), "others may use it, too");
    until("the session to be there still", SOON, || {
        (network.status().peers_connected == 1).then_some(())
    });
}

/// The line in which a check that found nothing wrong tells where rows would go.
fn rows(ran: &Ran) -> String {
    assert!(ran.status.success(), "{}", ran.stdout);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let mut lines = lines.into_iter().filter(|line| line.contains("  rows go "));
    let line = lines.next().expect("it tells").to_owned();
    assert_eq!(lines.next(), None);
    line
}

#[test]
fn check_tries_the_database_and_changes_nothing_there() {
    let direct = Direct::start(&[flat("a", "http://127.0.0.1:1")], &["own"], Duration::ZERO);
    let files = direct.network.peer("own");
    let told = |more: &[&str]| rows(&check(&files, &direct.network.listen, more));
    let is_used = || told(&["--private-database"]);
    let is_not = |line: &str, part: &str| {
        assert!(line.starts_with("note  rows go over the session"), "{line}");
        assert!(line.contains(part), "no {part:?} in {line}");
    };
    let written = "SELECT count(*), (SELECT count(*) FROM arbiter.staging),
        (SELECT last_value FROM arbiter.token) FROM arbiter.lease";
    let works = format!("ok    rows go directly into the database, {}", direct.named());

    // With a session of the same peer that holds a lease, and stays.
    let mut peer = Peer::greet(&direct.network.listen, &files, 1).unwrap();
    let (lease, _) = peer.granted();
    let before = direct.database.psql(written);
    assert_eq!(is_used(), works);
    assert_eq!(direct.database.psql(written), before);
    peer.say(&canister_protocol::ToArbiter::Renew { leases: vec![lease] });
    assert!(
        matches!(peer.hear(), Ok(canister_protocol::ToPeer::Renewed { leases }) if leases == [lease])
    );
    drop(peer);

    is_not(&told(&[]), "use --private-database");
    // A proxy is of no help there, and not needed for the arbiter.
    let mut proxied = agent_command("check", &files, &[&direct.network.listen]);
    proxied.env("HTTPS_PROXY", "http://127.0.0.1:1").env("NO_PROXY", "127.0.0.1");
    let line = rows(&run_command("check", &mut proxied, SOON));
    is_not(&line, "; a database is not reached through a proxy");
    let operator = |statement: &str| direct.cluster.psql("canister", statement);
    // Both functions are called.
    for function in ["known", "put"] {
        operator(&format!(
            "REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA peer FROM canister_peer;
             GRANT EXECUTE ON ALL ROUTINES IN SCHEMA peer TO canister_peer;
             DO $$ BEGIN EXECUTE (SELECT 'REVOKE EXECUTE ON FUNCTION ' || oid::regprocedure
                || ' FROM canister_peer' FROM pg_proc WHERE proname = '{function}'
                AND pronamespace = 'peer'::regnamespace); END $$"
        ));
        is_not(&is_used(), "isn't set up for peers");
    }
    operator("GRANT EXECUTE ON ALL ROUTINES IN SCHEMA peer TO canister_peer");
    assert_eq!(is_used(), works);
    let role = role(&files);
    operator(&format!("ALTER ROLE {role} CONNECTION LIMIT 0"));
    is_not(&is_used(), "as many connections as it takes");
    operator(&format!("ALTER ROLE {role} CONNECTION LIMIT 3 NOLOGIN"));
    is_not(&is_used(), "has no role for our name");
    operator(&format!("DROP ROLE {role}"));
    is_not(&is_used(), "has no role for our name");
    // Hung up on, as by a server that is down behind a line that isn't.
    direct.line.cut();
    is_not(&is_used(), &direct.named());
}

#[test]
fn check_tells_which_certificate_the_database_is_wrong_about() {
    let elsewhere = tempfile::tempdir().unwrap();
    let other = canister_authority::Authority::init(elsewhere.path()).unwrap();
    let list = fs::read_to_string(elsewhere.path().join("crl.pem")).unwrap();
    for (case, part) in [
        (
            "the server's of another authority",
            "the database's certificate is not of the authority that --authority names",
        ),
        ("the server's for another name", "must give it a certificate for this name"),
        (
            "ours of an authority it doesn't know",
            "the database doesn't know the authority that signed our certificate",
        ),
        (
            "no list of this authority",
            "the database doesn't know the authority that signed our certificate",
        ),
        ("none", "ok    rows go directly"),
    ] {
        let sources = [flat("a", "http://127.0.0.1:1")];
        let direct = Direct::start_with(&sources, &["own"], Duration::ZERO, |authority| {
            let mut has = Certificates::of(authority);
            match case {
                "the server's of another authority" => has.own = Certificates::of(&other).own,
                "the server's for another name" => {
                    has.own = authority.new_server(&["db.example".to_owned()], 1).unwrap();
                }
                "ours of an authority it doesn't know" => {
                    other.certificate().clone_into(&mut has.authority);
                }
                "no list of this authority" => has.revoked = Some(list.clone()),
                _ => {}
            }
            has
        });
        let files = direct.network.peer("own");
        let said = rows(&check(&files, &direct.network.listen, &["--allow-private"]));
        assert!(said.contains(part), "{case}: {said}");
    }
}
