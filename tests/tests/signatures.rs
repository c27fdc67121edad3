//! Who signed a Release: made by the real gpg, checked by the real agent; and what an arbiter makes of
//! it over time.

use canister_arbiter::doors::admin::SourceReport;
use canister_tests::apt::Key;
use canister_tests::index::{indexed, release};
use canister_tests::network::{Network, WAIT, flat};
use canister_tests::origin::{Origin, Validators};
use canister_tests::programs::until;
use std::fs;

const DETACHED: &str = "--detach-sign";
const CLEAR: &str = "--clearsign";
const SHA512: [&str; 2] = ["--digest-algo", "SHA512"];

fn index(version: u32) -> String {
    format!("Package: a\nVersion: {version}\nArchitecture: all\n\n")
}

/// A Release with all that clear-signing changes: blanks at ends, dashes, an empty line.
fn text(version: u32) -> String {
    let index = index(version);
    let release = release("SHA256", &[("Packages", index.as_bytes())]);
    format!("Description: blanks \t \n- dashes: a\n-----b: c\n{release}\n")
}

/// Serves a repository of this version, its Release signed so by a key; returns the Release's path.
fn serve(origin: &Origin, version: u32, how: &str, key: &Key, options: &[&str]) -> &'static str {
    let text = text(version);
    origin.put("/Packages", index(version));
    let signed = key.signed(how, &text, options);
    if how == CLEAR {
        origin.put("/InRelease", signed);
        return "/InRelease";
    }
    origin.put("/Release.gpg", signed);
    origin.put("/Release", text);
    "/Release"
}

fn found(origin: &Origin) -> (String, String) {
    let run = indexed(&origin.uri(), &[]);
    let word = |key: &str| run.summary[key].as_str().unwrap().to_owned();
    (word("signature"), word("signed_by"))
}

fn ed25519() -> Key {
    Key::made("ed25519", "never", &[])
}

fn both_ways(test: impl Fn(&Origin, &str)) {
    for how in [CLEAR, DETACHED] {
        test(&Origin::empty(), how);
    }
}

#[test]
fn a_signature_is_good_by_the_key_that_its_server_has() {
    let keys = ["ed25519", "rsa3072", "nistp256", "nistp521"].map(|it| Key::made(it, "never", &[]));
    let places = ["/KEY.gpg", "/gpg.key", "/Release.key", "/KEY.gpg"];
    let digests = ["SHA512", "SHA256", "SHA384", "SHA512"];
    for ((key, place), digest) in keys.iter().zip(places).zip(digests) {
        both_ways(|origin, how| {
            let options = ["--digest-algo", digest];
            serve(origin, 1, how, key, &options);
            origin.put(place, fs::read(key.public()).unwrap());
            assert_eq!(found(origin), ("good".to_owned(), key.fingerprint()), "{place} {how}");
        });
    }
    // In armor, among other keys, and a signature without armor.
    let (key, other) = (&keys[0], &keys[1]);
    let armor = |key: &Key| String::from_utf8(key.run(&["--armor", "--export"])).unwrap();
    let origin = Origin::empty();
    serve(&origin, 1, DETACHED, key, &[]);
    origin.put("/Release.gpg", key.signed(DETACHED, &text(1), &["--no-armor"]));
    origin.put("/KEY.gpg", [other, key].map(|it| fs::read(it.public()).unwrap()).concat());
    assert_eq!(found(&origin), ("good".to_owned(), key.fingerprint()));
    origin.put("/KEY.gpg", armor(key));
    assert_eq!(found(&origin), ("good".to_owned(), key.fingerprint()));
}

#[test]
fn a_signature_may_bring_its_key_and_be_by_a_subkey() {
    let key = ed25519();
    both_ways(|origin, how| {
        serve(origin, 1, how, &key, &["--include-key-block"]);
        assert_eq!(found(origin), ("good".to_owned(), key.fingerprint()));
        assert_eq!(origin.requests_for("/KEY.gpg").len(), 0, "nobody asks for what is there");
    });
    let primary = key.fingerprint();
    key.run(&["--passphrase", "", "--quick-add-key", &primary, "ed25519", "sign", "never"]);
    both_ways(|origin, how| {
        // gpg signs with the newest.
        serve(origin, 1, how, &key, &SHA512);
        origin.put("/KEY.gpg", key.run(&["--export"]));
        assert_eq!(found(origin), ("good".to_owned(), primary.clone()));
        // The key as it was before.
        origin.put("/KEY.gpg", fs::read(key.public()).unwrap());
        assert_eq!(found(origin).0, "unverifiable");
    });
}

#[test]
fn what_isnt_good_is_told_in_a_word() {
    const LONG_AGO: [&str; 2] = ["--faked-system-time", "20200101T000000"];
    let (key, other) = (ed25519(), ed25519());
    let ended = Key::made("ed25519", "30d", &LONG_AGO);
    let brainpool = Key::made("brainpoolP256r1", "never", &[]);
    let short = [&LONG_AGO[..], &["--default-sig-expire", "30d"]].concat();
    let long_lived = Key::made("ed25519", "never", &LONG_AGO);
    let cases: [(&str, &Key, &[&str], &Key); 6] = [
        ("unverifiable", &key, &SHA512, &other),
        ("expired", &ended, &LONG_AGO, &ended),
        ("expired", &long_lived, &short, &long_lived),
        ("weak", &key, &["--digest-algo", "SHA1"], &key),
        ("weak", &key, &["--digest-algo", "RIPEMD160"], &key),
        ("unknown", &brainpool, &["--digest-algo", "SHA256"], &brainpool),
    ];
    for (state, signer, options, served) in cases {
        both_ways(|origin, how| {
            serve(origin, 1, how, signer, options);
            origin.put("/KEY.gpg", served.run(&["--export"]));
            assert_eq!(
                found(origin),
                (state.to_owned(), signer.fingerprint()),
                "{how} {options:?}"
            );
        });
    }
    both_ways(|origin, how| {
        let revoked = ed25519();
        serve(origin, 1, how, &revoked, &SHA512);
        revoked.run(&["--import", revoked.revocation().to_str().unwrap()]);
        origin.put("/KEY.gpg", revoked.run(&["--export"]));
        assert_eq!(found(origin), ("revoked".to_owned(), revoked.fingerprint()), "{how}");
    });
}

#[test]
fn what_was_changed_is_bad_and_what_isnt_there_is_missing() {
    let key = ed25519();
    both_ways(|origin, how| {
        origin.put("/KEY.gpg", fs::read(key.public()).unwrap());
        let path = serve(origin, 1, how, &key, &SHA512);
        let signed =
            if how == CLEAR { key.signed(CLEAR, &text(1), &SHA512) } else { text(1).into() };
        let signed = String::from_utf8(signed).unwrap();
        origin.put(path, signed.replace("Label: Tests", "Label: Other"));
        assert_eq!(found(origin), ("bad".to_owned(), key.fingerprint()), "{how}");
        // No signature, though something is there.
        let armor = "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n";
        match how {
            CLEAR => {
                let (text, _) = signed.split_once("-----BEGIN PGP SIGNATURE").unwrap();
                origin.put(path, format!("{text}{armor}"));
            }
            _ => origin.put("/Release.gpg", armor),
        }
        assert_eq!(found(origin), ("bad".to_owned(), String::new()), "{how}");
        match how {
            CLEAR => origin.put(path, text(1)),
            // A page for whatever is asked.
            _ => origin.put("/Release.gpg", "<html>Not found</html>"),
        }
        assert_eq!(found(origin), ("missing".to_owned(), String::new()), "{how}");
    });
}

#[test]
fn of_two_signatures_the_good_one_counts_and_only_what_is_signed_is_release() {
    let (key, other) = (ed25519(), ed25519());
    key.run(&["--import", other.public().to_str().unwrap()]);
    let secret = other.run(&["--export-secret-keys"]);
    let file = key.public().with_file_name("secret");
    fs::write(&file, secret).unwrap();
    key.run(&["--import", file.to_str().unwrap()]);
    let (first, second) = (key.fingerprint(), other.fingerprint());
    let by_both = ["--digest-algo", "SHA512", "-u", &second, "-u", &first];
    both_ways(|origin, how| {
        serve(origin, 1, how, &key, &by_both);
        for (served, name) in [(&key, &first), (&other, &second)] {
            origin.put("/KEY.gpg", fs::read(served.public()).unwrap());
            assert_eq!(found(origin), ("good".to_owned(), name.clone()), "{how}");
        }
    });
    // What stands around it says something else, and lists another index.
    let origin = Origin::empty();
    origin.put("/KEY.gpg", fs::read(key.public()).unwrap());
    serve(&origin, 1, CLEAR, &key, &SHA512);
    let signed = String::from_utf8(key.signed(CLEAR, &text(1), &["-u", &first])).unwrap();
    let evil = release("SHA256", &[("Packages", b"x")]);
    origin.put("/InRelease", format!("{evil}{signed}{evil}"));
    assert_eq!(found(&origin), ("good".to_owned(), first));
}

/// A signed source with an arbiter and an agent.
struct Signed {
    origin: Origin,
    network: Network,
}

impl Signed {
    fn start(options: &[&str]) -> Self {
        let origin = Origin::empty();
        origin.validators(Validators::Both);
        let network = Network::start(&[flat("a", &origin.uri())], options);
        Self { origin, network }
    }

    fn source(&self) -> SourceReport {
        self.network.sources().remove(0)
    }

    /// Has the source read, and waits until that ended so; how many requests it took.
    fn read(&self, verdict: &str) -> u64 {
        let last = |source: &SourceReport| source.last_attempt.as_ref().map_or(0, |it| it.lease);
        let before = last(&self.source());
        self.network.sync();
        let ended = until("the source to be read", WAIT, || {
            Some(self.source()).filter(|source| last(source) > before)
        });
        let attempt = ended.last_attempt.unwrap();
        assert_eq!(attempt.verdict, verdict, "{:?}", attempt.error);
        attempt.requests
    }

    fn said(&self) -> (String, String) {
        let source = self.source();
        (source.signature.unwrap(), source.signed_by.unwrap())
    }

    /// The catalogue's row.
    fn signed_by(&self) -> Option<String> {
        let sql = "SELECT origin_signed_by FROM repository WHERE id = 'a'";
        self.network.database().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn version(&self) -> String {
        self.network.rows("a").remove(0).package.1
    }

    fn number_held(&self) -> String {
        let held = self.network.command(&["held"]);
        held.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    }
}

#[test]
fn a_signer_is_expected_again_whoever_looks() {
    for how in [CLEAR, DETACHED] {
        let signed = Signed::start(&["--pause", "0s"]);
        let Signed { origin, network } = &signed;
        let (key, other) = (ed25519(), ed25519());
        let (first, second) = (key.fingerprint(), other.fingerprint());
        origin.put("/KEY.gpg", fs::read(key.public()).unwrap());
        serve(origin, 1, how, &key, &SHA512);
        let agent = network.agent("peer-1", &[]);
        network.until_all("indexed", 0);
        assert_eq!(signed.said(), ("good".to_owned(), first.clone()));
        assert_eq!(signed.signed_by().as_ref(), Some(&first));

        // The key is remembered: two requests, three where its signature is detached; another peer
        // checks by it as well.
        drop(agent);
        origin.remove("/KEY.gpg");
        let agent = network.agent("peer-2", &[]);
        serve(origin, 2, how, &key, &SHA512);
        assert_eq!(signed.read("indexed"), if how == CLEAR { 2 } else { 3 });
        assert_eq!(signed.said(), ("good".to_owned(), first.clone()));
        assert_eq!(signed.read("unchanged"), 1);

        // Another key, no signature, and a changed text are held, each; the last good data stays.
        serve(origin, 3, how, &other, &["--include-key-block"]);
        signed.read("held");
        let report = network.command(&["source", "a"]);
        assert!(
            report.contains(&format!("is good by {second}, and was good by {first}")),
            "{report}"
        );
        match how {
            CLEAR => origin.put("/InRelease", text(3)),
            _ => origin.remove("/Release.gpg"),
        }
        signed.read("held");
        let report = network.command(&["source", "a"]);
        assert!(report.contains("is missing, and was good by"), "{report}");
        let path = serve(origin, 3, how, &key, &SHA512);
        let bad = match how {
            CLEAR => String::from_utf8(key.signed(CLEAR, &text(3), &SHA512)).unwrap(),
            _ => text(3),
        };
        origin.put(path, bad.replace("Label: Tests", "Label: Other"));
        signed.read("held");
        assert_eq!((signed.version(), signed.said().0), ("2".to_owned(), "good".to_owned()));

        // It ends by itself when the old key signs again.
        serve(origin, 4, how, &key, &SHA512);
        signed.read("indexed");
        assert_eq!(network.status().held, 0);
        assert_eq!(signed.version(), "4");

        // The operator accepts the new one, which is expected then.
        serve(origin, 5, how, &other, &["--include-key-block"]);
        signed.read("held");
        network.command(&["accept", &signed.number_held()]);
        until("the new key to be expected", WAIT, || (signed.said().1 == second).then_some(()));
        assert_eq!(signed.signed_by(), Some(second));
        assert_eq!(signed.version(), "5");
        serve(origin, 6, how, &key, &SHA512);
        signed.read("held");
        drop(agent);
    }
}

#[test]
fn what_isnt_there_is_asked_for_once() {
    let signed = Signed::start(&["--pause", "0s"]);
    let Signed { origin, network } = &signed;
    let paid = |version: u32| {
        let index = index(version).replace("\n\n", "\nTag: cydia::commercial\n\n");
        origin.put("/Release", release("SHA256", &[("Packages", index.as_bytes())]));
        origin.put("/Packages", index);
    };
    paid(1);
    let _agent = network.agent("peer-1", &[]);
    network.until_all("indexed", 0);
    // InRelease, Release, Release.gpg, Packages, payment_endpoint.
    assert_eq!(origin.take_requests().len(), 5);
    paid(2);
    assert_eq!(signed.read("indexed"), 2);
    assert_eq!(signed.said(), ("missing".to_owned(), String::new()));
    assert_eq!(signed.signed_by(), None);
    // A key that can't be found is not asked for each time either, and what it signs may stay so.
    let key = ed25519();
    serve(origin, 3, CLEAR, &key, &SHA512);
    origin.remove("/Release");
    signed.read("indexed");
    origin.take_requests();
    serve(origin, 4, CLEAR, &key, &SHA512);
    assert_eq!(signed.read("indexed"), 2);
    assert_eq!(signed.said(), ("unverifiable".to_owned(), key.fingerprint()));
    assert_eq!(signed.signed_by(), None);
}

#[test]
fn a_key_that_the_operator_gave_must_sign() {
    let (key, other) = (ed25519(), ed25519());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("arbiter.toml");
    let settings = format!(
        "[signatures.keys.a]\nfingerprint = \"{}\"\nfile = \"{}\"\n",
        key.fingerprint().to_lowercase(),
        key.public().display()
    );
    fs::write(&file, settings).unwrap();
    let signed = Signed::start(&["--pause", "0s", "--config", file.to_str().unwrap()]);
    let Signed { origin, network } = &signed;
    serve(origin, 1, CLEAR, &other, &["--include-key-block"]);
    let _agent = network.agent("peer-1", &[]);
    network.until_all("held", 0);
    let report = network.command(&["source", "a"]);
    assert!(report.contains(&format!("and must be good by {}", key.fingerprint())), "{report}");
    serve(origin, 2, CLEAR, &key, &SHA512);
    // Nobody needs to find the key.
    assert_eq!(signed.read("indexed"), 2);
    assert_eq!(signed.said(), ("good".to_owned(), key.fingerprint()));
}
