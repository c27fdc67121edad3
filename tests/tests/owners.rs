//! Owners who announce under a name: keys by the real openssl, gpg and ssh-keygen, by certificates, and what strangers can't do.

use canister_link::clock;
use canister_link::identity::Files;
use canister_tests::apt::Key;
use canister_tests::index;
use canister_tests::network::{Network, WAIT, check, flat};
use canister_tests::openssl::{fails, succeeds};
use canister_tests::origin::{Origin, Validators};
use canister_tests::programs::{self, Ends, documented, until};
use canister_tests::web::{Reply, ask, send};
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const JSON: &str = "Content-Type: application/json";

/// Serves a version of a repository whose owner is the holder of that key.
fn publish(server: &Origin, version: u32, key: &str) {
    let packages = format!("Package: p\nVersion: {version}\nArchitecture: all\n\n");
    let listed = index::release("SHA256", &[("Packages", packages.as_bytes())]);
    server.put("/Packages", packages);
    server.put("/Release", format!("Canister-Announcer: {key}\n{listed}"));
}

fn post(network: &Network, client: &str, body: &Value) -> Reply {
    let forwarded = format!("X-Forwarded-For: {client}");
    let body = body.to_string();
    send(&network.public, "POST", "/announce", &[JSON, &forwarded], body.as_bytes())
}

/// As docs/announcing.md has it, by openssl.
fn by_openssl(dir: &Path, key: &str, source: &str, cid: &str, secs: u64) -> Value {
    let how = match key {
        "rsa" => "openssl dgst -sha256 -sign rsa.pem announcement",
        _ => "openssl pkeyutl -sign -rawin -inkey ed25519.pem -in announcement",
    };
    std::fs::write(
        dir.join("announcement"),
        format!("canister-announce\n{source}\n{cid}\n{secs}\n"),
    )
    .unwrap();
    let signature = succeeds(dir, &format!("{how} | base64 -w0"));
    let mut body =
        json!({ "uri": source, "time": secs, "key": spki(dir, key), "signature": signature });
    if !cid.is_empty() {
        body["Cid"] = cid.into();
    }
    body
}

fn spki(dir: &Path, key: &str) -> String {
    let der = format!("openssl pkey -in {key}.pem -pubout -outform DER | base64 -w0");
    format!("spki:{}", succeeds(dir, &der))
}

fn now() -> u64 {
    clock::wall_millis() / 1000
}

/// An arbiter where nobody but owners may announce, and sources whose keys these programs made.
fn world(options: &[&str]) -> (Network, Vec<Origin>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    for line in [
        "openssl genpkey -algorithm ed25519 -out ed25519.pem",
        "openssl genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:3072 -out rsa.pem 2>&1",
        "ssh-keygen -q -t ed25519 -N '' -f ssh",
    ] {
        succeeds(dir.path(), line);
    }
    let ssh = std::fs::read_to_string(dir.path().join("ssh.pub")).unwrap();
    let keys = [spki(dir.path(), "ed25519"), spki(dir.path(), "rsa"), ssh.trim().to_owned()];
    let servers: Vec<Origin> = keys
        .iter()
        .enumerate()
        .map(|(number, key)| {
            let server = Origin::at(number as u8 + 1);
            server.validators(Validators::Both);
            publish(&server, 1, key);
            server
        })
        .collect();
    let sources: Vec<_> = ["ed25519", "rsa", "ssh"]
        .iter()
        .zip(&servers)
        .map(|(slug, server)| flat(slug, &server.uri()))
        .collect();
    let network = Network::start(&sources, options);
    (network, servers, dir)
}

fn until_packages(network: &Network, slug: &str, version: u32) {
    until("the new version to be published", WAIT, || {
        network
            .rows(slug)
            .iter()
            .any(|row| format!("{row:?}").contains(&format!("\"{version}\"")))
            .then_some(())
    });
}

#[test]
fn an_owner_passes_by_its_key_and_nobody_else() {
    let (network, servers, dir) = world(&["--publish", "no", "--trusted-proxy", "127.0.0.1"]);
    let _agent = network.agent("p", &[]);
    network.until_all("indexed", 0);
    let dir = dir.path();
    // A stranger floods from 250 addresses.
    for number in 1..=250 {
        let body = json!({ "uri": servers[0].uri() });
        let reply = post(&network, &format!("198.51.100.{number}"), &body);
        assert!(matches!(reply.status, 403 | 429), "{reply:?}");
    }
    let asked = servers[0].requests().len();
    // The owner of each passes, by whatever made its key.
    for (number, slug) in ["ed25519", "rsa"].into_iter().enumerate() {
        publish(&servers[number], 2, &spki(dir, slug));
        let body = by_openssl(dir, slug, &servers[number].uri(), "", now());
        let reply = post(&network, "198.51.100.7", &body);
        assert_eq!(reply.status, 204, "{reply:?}");
        let fate = reply.header("location").unwrap().to_owned();
        until_packages(&network, slug, 2);
        let told = until("its fate", WAIT, || {
            let told: Value =
                serde_json::from_str(&ask(&network.public, "GET", &fate).body).unwrap();
            (told["state"] == "indexed").then_some(told)
        });
        assert!(told["text"].as_str().unwrap().starts_with("indexed: 1 package, 1 new"), "{told}");
        // Captured, it is good for nothing: not again, not for another head, source or time.
        let again = post(&network, "198.51.100.8", &body);
        assert_eq!((again.status, again.body.contains("taken already")), (403, true), "{again:?}");
        for (field, value) in [
            ("uri", json!(servers[2].uri())),
            ("Cid", json!("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")),
            ("time", json!(body["time"].as_u64().unwrap() + 1)),
        ] {
            let mut other = body.clone();
            other[field] = value;
            let reply = post(&network, "198.51.100.8", &other);
            assert_eq!(
                (reply.status, reply.body.contains("isn't its key's")),
                (403, true),
                "{reply:?}"
            );
        }
    }
    assert!(servers[0].requests().len() - asked <= 4);
    // OpenSSH's way.
    let ssh = std::fs::read_to_string(dir.join("ssh.pub")).unwrap();
    publish(&servers[2], 2, ssh.trim());
    let (uri, secs) = (servers[2].uri(), now());
    std::fs::write(dir.join("text"), format!("canister-announce\n{uri}\n\n{secs}\n")).unwrap();
    succeeds(dir, "ssh-keygen -Y sign -f ssh -n canister-announce text 2>&1");
    let signature = std::fs::read_to_string(dir.join("text.sig")).unwrap();
    let body = json!({ "uri": uri, "time": secs, "key": ssh.trim(), "signature": signature });
    assert_eq!(post(&network, "198.51.100.9", &body).status, 204);
    until_packages(&network, "ssh", 2);
    // A key counts for the source that names it alone; an old moment and an unknown key for none.
    let other = by_openssl(dir, "ed25519", &servers[2].uri(), "", now());
    assert_eq!(post(&network, "198.51.100.9", &other).status, 403);
    let old = by_openssl(dir, "ed25519", &servers[0].uri(), "", now() - 3600);
    let reply = post(&network, "198.51.100.9", &old);
    assert_eq!((reply.status, reply.body.contains("sign anew")), (403, true), "{reply:?}");
    succeeds(dir, "openssl genpkey -algorithm ed25519 -out ed25519.pem");
    let unknown = by_openssl(dir, "ed25519", &servers[0].uri(), "", now());
    let reply = post(&network, "198.51.100.9", &unknown);
    assert_eq!(
        (reply.status, reply.body.contains("no source names the key")),
        (403, true),
        "{reply:?}"
    );
}

#[test]
fn a_key_that_was_named_a_moment_ago_counts_as_anybodys_until_it_is_read() {
    let (network, servers, dir) = world(&["--trusted-proxy", "127.0.0.1"]);
    let _agent = network.agent("p", &[]);
    network.until_all("indexed", 0);
    let dir = dir.path();
    let announce = |server: &Origin, ahead: u64| {
        // The list of keys is renewed every ten seconds, and no announcement may be of a later hour.
        std::thread::sleep(Duration::from_secs(1));
        let body = by_openssl(dir, "ed25519", &server.uri(), "", now() + ahead);
        // From another address each time, for each has its limit.
        post(&network, &format!("198.51.100.{}", 7 + ahead), &body)
    };
    let is_anybodys = |reply: &Reply| {
        assert_eq!(
            (reply.status, &*reply.body),
            (202, "taken as anybody's: no source names the key that it is signed by, yet\n"),
            "{reply:?}"
        );
        assert!(reply.header("location").unwrap().starts_with("/announced/"), "{reply:?}");
    };
    // In Release, which is due at once and read.
    succeeds(dir, "openssl genpkey -algorithm ed25519 -out ed25519.pem");
    publish(&servers[0], 2, &spki(dir, "ed25519"));
    is_anybodys(&announce(&servers[0], 0));
    until_packages(&network, "ed25519", 2);
    let mut ahead = 0;
    until("the key to count", WAIT, || {
        ahead += 1;
        let reply = announce(&servers[0], ahead);
        assert!(matches!(reply.status, 202 | 204 | 429), "{reply:?}");
        (reply.status == 204).then_some(())
    });
    // In the host's file, which was read today, and is read again: by two requests more, whoever invents keys.
    succeeds(dir, "openssl genpkey -algorithm ed25519 -out ed25519.pem");
    let file = "/.well-known/canister.txt";
    servers[2].put(file, format!("Announcer: {}\n", spki(dir, "ed25519")));
    let database = network.state().join(canister_arbiter::store::DATABASE_NAME);
    let database = rusqlite::Connection::open(database).unwrap();
    database.busy_timeout(WAIT).unwrap();
    database.execute("UPDATE owner_file SET asked_at = asked_at - 3600000", []).unwrap();
    servers[2].take_requests();
    is_anybodys(&announce(&servers[2], 0));
    until("the file to be read", WAIT, || (servers[2].asked_owner().len() == 2).then_some(()));
    assert!(servers[2].requests().len() <= 1);
    until("the key to count", WAIT, || {
        ahead += 1;
        (announce(&servers[2], ahead).status == 204).then_some(())
    });
}

#[test]
fn an_owner_passes_while_strangers_flood() {
    let (network, servers, dir) = world(&["--trusted-proxy", "127.0.0.1"]);
    let _agent = network.agent("p", &[]);
    network.until_all("indexed", 0);
    let uri = servers[0].uri();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = Ends(&is_over);
        let flood = scope.spawn(|| {
            let mut statuses = BTreeMap::new();
            for number in (1..=250).cycle() {
                let body = match number % 2 {
                    0 => json!({ "uri": uri }),
                    _ => json!({ "uri": format!("https://r{number}.example/apt") }),
                };
                let reply = post(&network, &format!("198.51.100.{number}"), &body);
                *statuses.entry(reply.status).or_insert(0) += 1;
                if number == 250 && is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
            statuses
        });
        for version in 2..=4 {
            publish(&servers[0], version, &spki(dir.path(), "ed25519"));
            // A moment of its own: two of one second are the same.
            let body = by_openssl(dir.path(), "ed25519", &uri, "", now() + u64::from(version));
            let reply = post(&network, "203.0.113.7", &body);
            assert_eq!(reply.status, 204, "{version}: {reply:?}");
            until_packages(&network, "ed25519", version);
        }
        drop(over);
        let statuses = flood.join().unwrap();
        println!("strangers' announcements by their answers: {statuses:?}");
        assert!(statuses.values().sum::<u32>() >= 250 && statuses[&429] >= 50, "{statuses:?}");
    });
}

#[test]
fn an_owner_announces_by_the_key_that_signs_its_releases() {
    let (signing, named) = (Key::made("ed25519", "never", &[]), Key::made("rsa2048", "never", &[]));
    let servers = [Origin::at(1), Origin::at(2)];
    let publish = |number: usize, version: u32| {
        let packages = format!("Package: p\nVersion: {version}\nArchitecture: all\n\n");
        let release = index::release("SHA256", &[("Packages", packages.as_bytes())]);
        servers[number].put("/Packages", packages);
        match number {
            0 => {
                let signed = signing.signed("--clearsign", &release, &["--include-key-block"]);
                servers[0].put("/InRelease", signed);
            }
            _ => {
                let key = format!("Canister-Announcer: openpgp:{}\n", named.fingerprint());
                servers[1].put("/Release", format!("{key}{release}"));
            }
        }
    };
    (0..2).for_each(|number| publish(number, 1));
    let sources = [flat("signed", &servers[0].uri()), flat("named", &servers[1].uri())];
    let network = Network::start(&sources, &["--publish", "no"]);
    let _agent = network.agent("p", &[]);
    network.until_all("indexed", 0);
    let by = |key: &Key, number: usize| {
        let (uri, secs) = (servers[number].uri(), now());
        let text = format!("canister-announce\n{uri}\n\n{secs}\n");
        let armor = ["--armor", "--export", "--export-options", "export-minimal"];
        let text_of = |bytes| String::from_utf8(bytes).unwrap();
        let signature = text_of(key.signed("--detach-sign", &text, &[]));
        json!({ "uri": uri, "time": secs, "key": text_of(key.run(&armor)), "signature": signature })
    };
    for (number, (slug, key, other)) in
        [("signed", &signing, &named), ("named", &named, &signing)].into_iter().enumerate()
    {
        publish(number, 2);
        assert_eq!(post(&network, "198.51.100.9", &by(other, number)).status, 403);
        // Said of another moment, it isn't what was signed.
        let mut later = by(key, number);
        later["time"] = json!(now() + 1);
        let reply = post(&network, "198.51.100.9", &later);
        assert!(reply.status == 403 && reply.body.contains("isn't its key's"), "{reply:?}");
        let reply = post(&network, "198.51.100.9", &by(key, number));
        assert_eq!(reply.status, 204, "{reply:?}");
        until_packages(&network, slug, 2);
    }
}

/// The peer id of a key, by Python's own arithmetic and libp2p's specification.
const PEER_ID: &str = "
import hashlib, sys
spki = sys.stdin.buffer.read()
n, varint = len(spki), b''
while n > 127: varint, n = varint + bytes([n & 127 | 128]), n >> 7
key = b'\\x08\\x00\\x12' + varint + bytes([n]) + spki
n, text = int.from_bytes(b'\\x12\\x20' + hashlib.sha256(key).digest(), 'big'), ''
while n: n, at = divmod(n, 58); text = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'[at] + text
print(text, end='')
";

#[test]
fn an_ipni_announcement_is_its_owners_if_it_brings_the_proof() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "openssl genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:2048 -out rsa.pem 2>&1");
    std::fs::write(dir.join("id.py"), PEER_ID).unwrap();
    let id =
        succeeds(dir, "openssl pkey -in rsa.pem -pubout -outform DER | /usr/bin/python3 id.py");
    assert!(id.starts_with("Qm") && id.len() == 46, "{id}");
    let server = Origin::at(1);
    publish(&server, 1, &id);
    let network = Network::start(&[flat("rsa", &server.uri())], &["--publish", "no"]);
    let _agent = network.agent("p", &[]);
    network.until_all("indexed", 0);
    publish(&server, 2, &id);
    let address = server.address();
    let address = format!("/ip4/{}/tcp/{}/http/p2p/{id}", address.ip(), address.port());
    let cid = "baguqeeraceirceirceirceirceirceirceirceirceirceirceirceirceiq";
    // The peer id alone proves nothing.
    let mut body = json!({ "Cid": { "/": cid }, "Addrs": [address], "ExtraData": null });
    let reply = post(&network, "198.51.100.9", &body);
    assert_eq!((reply.status, reply.body.contains("policy.publish")), (403, true), "{reply:?}");
    let mut proof = by_openssl(dir, "rsa", &address, cid, now());
    let extra = |proof: &Value| BASE64.encode(proof.to_string().as_bytes()).into();
    // Nor does another's, or one of another address.
    succeeds(dir, "openssl genpkey -algorithm ed25519 -out ed25519.pem");
    body["ExtraData"] = extra(&by_openssl(dir, "ed25519", &address, cid, now()));
    let reply = post(&network, "198.51.100.9", &body);
    assert_eq!((reply.status, reply.body.contains("peer id")), (400, true), "{reply:?}");
    body["ExtraData"] = extra(&by_openssl(dir, "rsa", &server.uri(), cid, now()));
    let reply = post(&network, "198.51.100.9", &body);
    assert_eq!((reply.status, reply.body.contains("isn't its key's")), (403, true), "{reply:?}");
    // (Only what proves it is read there.)
    proof["uri"] = json!("https://elsewhere.example");
    body["ExtraData"] = extra(&proof);
    let reply = post(&network, "198.51.100.9", &body);
    assert_eq!(reply.status, 204, "{reply:?}");
    until_packages(&network, "rsa", 2);
}

#[test]
fn an_announcers_certificate_announces_as_the_policy_says_and_opens_no_door() {
    let server = Origin::at(1);
    let files = tempfile::tempdir().unwrap();
    let dir = files.path();
    let config = dir.join("arbiter.toml");
    let policy = "[policy]\npublish = false\npublish_except = [\"announcer:ci\"]\n";
    std::fs::write(&config, policy).unwrap();
    publish(&server, 1, "");
    let sources = [flat("a", &server.uri())];
    let network = Network::start(&sources, &["--config", config.to_str().unwrap()]);
    let _agent = network.agent("p", &[]);
    network.until_all("indexed", 0);
    let path = |name: &str| dir.join(name).display().to_string();
    // As docs/announcing.md has it, for each kind of key, and each a name of its own.
    let make = [
        ("ci", "genpkey -algorithm ed25519"),
        ("p", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"),
        ("other", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384"),
    ];
    for (name, how) in make {
        succeeds(dir, &format!("openssl {how} -out {name}.pem && chmod 600 {name}.pem"));
        succeeds(
            dir,
            &format!("openssl req -new -key {name}.pem -subj /CN={name} -out {name}.csr"),
        );
        let crt = path(&format!("{name}.crt"));
        let csr = path(&format!("{name}.csr"));
        let said = network.ca(&["sign", "--announcer", "--out", &crt, &csr]);
        assert!(said.contains(&format!("announcer {name}, 36")), "{said}");
    }
    assert!(network.ca(&["list"]).contains("announcer"));
    let to = format!("http://{}", network.public);
    let announce = |name: &str, source: &str| {
        let (key, crt) = (path(&format!("{name}.pem")), path(&format!("{name}.crt")));
        let words = ["announce", source, "--to", &to, "--allow-private", "--key", &key];
        programs::run("canister-agent", words.iter().chain(&["--certificate", &crt]), WAIT)
    };
    publish(&server, 2, "");
    // The policy names `ci`; that a peer is called as an announcer says nothing.
    for name in ["p", "other"] {
        let ran = announce(name, "a");
        assert!(ran.stderr.contains("answers 403: blocked: policy.publish = false"), "{ran:?}");
    }
    assert_eq!(announce("ci", "a").status.code(), Some(0));
    until_packages(&network, "a", 2);
    // A peer's certificate announces nothing, however good it is, nor does another authority's.
    let peer = network.peer("q");
    let (key, crt) = (peer.key.display().to_string(), peer.certificate.display().to_string());
    let words = ["announce", "a", "--to", &to, "--allow-private", "--key", &key, "--certificate"];
    let ran = programs::run("canister-agent", words.iter().chain(&[&*crt]), WAIT);
    assert!(ran.stderr.contains("its certificate isn't an announcer's"), "{ran:?}");
    // By openssl's own judgement it is good for signing documents and no TLS client's.
    let ca = network.dir().join("ca/ca.crt");
    let judge = format!("openssl verify -CAfile {} -untrusted ci.crt", ca.display());
    let text = succeeds(dir, "openssl x509 -in ci.crt -noout -ext extendedKeyUsage");
    assert!(text.contains("1.3.6.1.5.5.7.3.36") && !text.contains("Client"), "{text}");
    succeeds(dir, &format!("{judge} ci.crt"));
    let said = fails(dir, &format!("{judge} -purpose sslclient ci.crt"));
    assert!(said.contains("unsuitable certificate purpose"), "{said}");
    // Nor does it get in at the peers' door.
    let knock = format!(
        "(sleep 2; echo) | openssl s_client -connect {} -tls1_3 -cert ci.crt -cert_chain ci.crt -key ci.pem \
         -CAfile {} 2>&1",
        network.listen,
        ca.display()
    );
    let said = fails(dir, &knock);
    assert!(said.contains("alert"), "{said}");
    let files = Files { certificate: dir.join("ci.crt"), key: dir.join("ci.pem"), authority: ca };
    let said = check(&files, &network.listen, &[]);
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    // Taken back, it is worth nothing from then on.
    network.ca(&["revoke", "--announcer", "--why", "superseded", "ci"]);
    until("it to be revoked", WAIT, || {
        announce("ci", "a").stderr.contains("its certificate was revoked").then_some(())
    });
}

#[test]
fn an_owner_tells_the_network_from_impostors_and_reads_what_to_mend() {
    let server = Origin::at(1);
    let packages =
        "Package: a\nVersion: 1\nArchitecture: all\nFileName: a.deb\n\nPackage: b\nVersion: 1\n";
    server.put("/Packages", packages);
    let network = Network::start(&[flat("a", &server.uri())], &[]);
    let _agent = network.agent("a-secret-name", &[]);
    network.until_all("indexed", 0);
    let now = clock::wall_millis();
    let requests = server.requests();
    assert!(requests.len() >= 3, "{requests:?}");
    for request in &requests {
        let id = request.header("canister-request").unwrap();
        let reply = ask(&network.public, "GET", &format!("/request/{id}"));
        let told: Value = serde_json::from_str(&reply.body).unwrap();
        let (began, ended) =
            (told["began_at"].as_u64().unwrap(), told["ended_at"].as_u64().unwrap());
        assert!(now - 60_000 < began && began <= ended && ended <= now, "{told}");
        assert_eq!(
            (&told["source"], &told["operator"]),
            (&json!("a"), &json!(server.uri()[7..].split(':').next()))
        );
        // Nothing else is told, and so nothing of who asked.
        let mut fields: Vec<_> = told.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["began_at", "ended_at", "operator", "requests", "source", "uri"]);
        assert!(!reply.body.contains("secret"));
    }
    // Invented, of a lease that there is, of none, and of any length.
    let id = requests[0].header("canister-request").unwrap().to_owned();
    let (token, _) = id.split_once('-').unwrap();
    for invented in [
        token.to_owned(),
        format!("{token}-0"),
        format!("{id}0"),
        format!("9{id}"),
        "x".to_owned(),
        String::new(),
        format!("{token}-{}", "0".repeat(4000)),
    ] {
        let reply = ask(&network.public, "GET", &format!("/request/{invented}"));
        assert_eq!(reply.status, 404, "{invented}: {reply:?}");
    }
    // What to mend, with line and package.
    let page = ask(&network.public, "GET", "/source/a.json").body;
    let told: Value = serde_json::from_str(&page).unwrap();
    let odd: Vec<&str> =
        told["oddities"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let has = |begin: &str, end: &str| {
        odd.iter().any(|line| line.starts_with(begin) && line.ends_with(end))
    };
    assert!(
        has("line 4: \"FileName\"", "compare case (package \"a\") [field-misspelt]"),
        "{odd:?}"
    );
    assert!(
        has("line 6: stanza without Architecture", "(package \"b\") [field-missing]"),
        "{odd:?}"
    );
    assert!(ask(&network.public, "GET", "/source/a").body.contains("What is odd in its index"));
    // Mended, it is gone; what wasn't read again stays as it was.
    server.put("/Packages", "Package: a\nVersion: 2\nArchitecture: all\nFilename: a.deb\nSize: 1\nSHA256: 0123456701234567012345670123456701234567012345670123456701234567\n");
    let last = network.sources()[0].last_attempt.as_ref().unwrap().lease;
    network.sync();
    network.until_all("indexed", last);
    let page = ask(&network.public, "GET", "/source/a.json").body;
    assert!(page.contains("\"oddities\":[]"), "{page}");
}

#[test]
fn the_agent_announces_for_an_owner() {
    let (network, servers, dir) = world(&["--publish", "no"]);
    let _agent = network.agent("p", &[]);
    network.until_all("indexed", 0);
    let to = format!("http://{}", network.public);
    let at = |name: &str| dir.path().join(name).display().to_string();
    let uri = servers[0].uri();
    let announce = |more: &[&str]| {
        let words = ["announce", &uri, "--to", &to, "--allow-private"];
        programs::run("canister-agent", words.iter().chain(more), WAIT)
    };
    let ran = announce(&["--key", &at("ed25519.pem"), "--show-key"]);
    assert_eq!(ran.stdout, format!("Canister-Announcer: {}\n", spki(dir.path(), "ed25519")));
    publish(&servers[0], 2, &spki(dir.path(), "ed25519"));
    let release = String::from_utf8(std::fs::read("/dev/null").unwrap()).unwrap();
    std::fs::write(at("Release"), release).unwrap();
    let ran = announce(&["--key", &at("ed25519.pem")]);
    assert!(
        ran.stdout.starts_with(&format!("announced {uri}; what becomes of it: {to}/announced/")),
        "{ran:?}"
    );
    until_packages(&network, "ed25519", 2);
    // Under no name, or a file's that holds no key.
    let ran = announce(&[]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stderr.contains("answers 403: blocked: policy.publish = false"), "{ran:?}");
    let ran = announce(&["--key", &at("Release")]);
    assert!(ran.stderr.contains("use a key that openssl genpkey made"), "{ran:?}");
}

#[test]
fn the_examples_of_the_page_announce() {
    const PAGE: &str = "announcing.md";
    let server = Origin::at(1);
    server.validators(Validators::Both);
    let dir = tempfile::tempdir().unwrap();
    let network = Network::start(&[flat("a", &server.uri())], &["--publish", "no"]);
    let gpg = Key::made("ed25519", "never", &[]);
    // A runner of workflows, where the agent is installed; the servers are this machine's.
    let runs = |script: &str| {
        let script = script
            .replace("https://repo.example/apt", &server.uri())
            .replace("https://arbiter.example.org", &format!("http://{}", network.public));
        let path = std::env::var("PATH").unwrap();
        let own = programs::binary("canister-agent").parent().unwrap().display().to_string();
        let key = std::fs::read_to_string(dir.path().join("announcer.pem")).unwrap_or_default();
        let mut command = std::process::Command::new("bash");
        command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &script]);
        command.env("PATH", format!("{own}:{path}")).env("CANISTER_ALLOW_PRIVATE", "yes");
        command.env("KEY", key.trim_end()).env("GNUPGHOME", gpg.home());
        let out = command.current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{script}: {said}{}", String::from_utf8_lossy(&out.stdout));
        String::from_utf8(out.stdout).unwrap()
    };
    // The key, and the line by which Release names it.
    let by_agent = documented(PAGE, "sh", "--show-key");
    let lines: Vec<&str> = by_agent.lines().collect();
    let named = runs(&lines[..2].join("\n"));
    let key = named.trim().strip_prefix("Canister-Announcer: ").unwrap();
    let keys = format!("{key}\nCanister-Announcer: openpgp:{}", gpg.fingerprint());
    let put = |version| {
        publish(&server, version, &keys);
        let release = ask(
            server.uri().trim_start_matches("http://").trim_end_matches('/'),
            "GET",
            "/Release",
        );
        std::fs::write(dir.path().join("InRelease"), release.body).unwrap();
    };
    put(1);
    let _agent = network.agent("p", &[]);
    until_packages(&network, "a", 1);
    let by_openssl = documented(PAGE, "sh", "openssl pkeyutl");
    let (begin, _) = by_openssl.split_once("signature=").unwrap();
    for (at, script) in [
        lines[2..].join("\n"),
        documented(PAGE, "yaml", "announce"),
        by_openssl.clone(),
        format!("{begin}{}", documented(PAGE, "sh", "gpg --detach-sign")),
    ]
    .iter()
    .enumerate()
    {
        let version = at as u32 + 2;
        put(version);
        runs(script);
        until_packages(&network, "a", version);
    }
}
