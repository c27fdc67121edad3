//! Owners who announce under a name: keys by the real openssl and ssh-keygen, and what strangers can't do.

use canister_link::clock;
use canister_tests::index;
use canister_tests::network::{Network, WAIT, flat};
use canister_tests::openssl::succeeds;
use canister_tests::origin::{Origin, Validators};
use canister_tests::programs::{self, until};
use canister_tests::web::{Reply, ask, send};
use serde_json::{Value, json};
use std::path::Path;

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
        assert!(told["text"].as_str().unwrap().starts_with("indexed: 1 packages, 1 new"), "{told}");
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
