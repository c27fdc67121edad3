//! Who signed a Release: made by the real gpg, checked by the real agent; and what an arbiter makes of
//! it over time.

use canister_arbiter::doors::admin::SourceReport;
use canister_protocol::Source;
use canister_tests::apt::{Apt, Compression, Key};
use canister_tests::index::{indexed, packed, release};
use canister_tests::network::{Network, WAIT, flat};
use canister_tests::origin::{Fault, Origin, Validators};
use canister_tests::programs::until;
use canister_tests::web::ask;
use serde_json::Value;
use std::fs;
use std::ops::Deref;
use std::process::Command;

const DETACHED: &str = "--detach-sign";
const CLEAR: &str = "--clearsign";
const SHA512: [&str; 2] = ["--digest-algo", "SHA512"];

fn index(version: u32) -> String {
    format!("Package: a\nVersion: {version}\nArchitecture: all\n\n")
}

/// A Release with all that clear-signing changes: blanks at ends, dashes, an empty line.
fn text(path: &str, version: u32) -> String {
    let index = index(version);
    let release = release("SHA256", &[(path, index.as_bytes())]);
    let date = "Sat, 11 Jul 2020 10:16:37 UTC";
    format!("Date: {date}\nDescription: blanks \t \n- dashes: a\n-----b: c\n{release}\n")
}

/// A repository on a server.
struct Place {
    origin: Origin,
    /// Where its Release is.
    dir: &'static str,
    /// The path of its package index below that.
    index: &'static str,
}

impl Deref for Place {
    type Target = Origin;

    fn deref(&self) -> &Origin {
        &self.origin
    }
}

impl Place {
    fn flat() -> Self {
        Self { origin: Origin::empty(), dir: "", index: "Packages" }
    }

    fn dists() -> Self {
        let index = "main/binary-amd64/Packages";
        Self { origin: Origin::empty(), dir: "/dists/stable", index }
    }

    fn source(&self) -> Source {
        let source = flat("a", &self.uri());
        match self.dir {
            "" => source,
            _ => Source {
                suite: "stable".into(),
                component: Some("main".into()),
                architecture: Some("amd64".into()),
                ..source
            },
        }
    }

    /// Serves this file beside its Release.
    fn beside(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.put(&format!("{}/{name}", self.dir), bytes);
    }

    fn text(&self, version: u32) -> String {
        text(self.index, version)
    }

    /// Serves a repository of this version, its Release signed so by a key; returns the Release's name.
    fn serve(&self, version: u32, how: &str, key: &Key, options: &[&str]) -> &'static str {
        self.serve_text(&self.text(version), version, how, key, options)
    }

    /// The same with another text.
    fn serve_text(
        &self,
        text: &str,
        version: u32,
        how: &str,
        key: &Key,
        options: &[&str],
    ) -> &'static str {
        self.beside(self.index, index(version));
        let signed = key.signed(how, text, options);
        if how == CLEAR {
            self.beside("InRelease", signed);
            return "InRelease";
        }
        self.beside("Release.gpg", signed);
        self.beside("Release", text);
        "Release"
    }

    fn found(&self) -> (String, String) {
        let layout = ["--suite", "stable", "--component", "main", "--architecture", "amd64"];
        let run = indexed(&self.uri(), if self.dir.is_empty() { &[] } else { &layout });
        let word = |key: &str| run.summary[key].as_str().unwrap().to_owned();
        (word("signature"), word("signed_by"))
    }
}

fn ed25519() -> Key {
    Key::made("ed25519", "never", &[])
}

/// Clear-signed and detached, in both layouts.
fn each_way(test: impl Fn(&Place, &str)) {
    for place in [Place::flat, Place::dists] {
        for how in [CLEAR, DETACHED] {
            test(&place(), how);
        }
    }
}

#[test]
fn a_signature_is_good_by_the_key_that_its_server_has() {
    let keys = ["ed25519", "rsa3072", "nistp256", "nistp521"].map(|it| Key::made(it, "never", &[]));
    let places = ["/KEY.gpg", "/gpg.key", "/Release.key", "/KEY.gpg"];
    let digests = ["SHA512", "SHA256", "SHA384", "SHA512"];
    for ((key, at), digest) in keys.iter().zip(places).zip(digests) {
        each_way(|place, how| {
            let options = ["--digest-algo", digest];
            place.serve(1, how, key, &options);
            match at {
                "/Release.key" => place.beside("Release.key", fs::read(key.public()).unwrap()),
                _ => place.put(at, fs::read(key.public()).unwrap()),
            }
            assert_eq!(place.found(), ("good".to_owned(), key.fingerprint()), "{at} {how}");
        });
    }
    // In armor, among other keys, and a signature without armor.
    let (key, other) = (&keys[0], &keys[1]);
    let armor = |key: &Key| String::from_utf8(key.run(&["--armor", "--export"])).unwrap();
    let place = Place::flat();
    place.serve(1, DETACHED, key, &[]);
    place.beside("Release.gpg", key.signed(DETACHED, &place.text(1), &["--no-armor"]));
    place.put("/KEY.gpg", [other, key].map(|it| fs::read(it.public()).unwrap()).concat());
    assert_eq!(place.found(), ("good".to_owned(), key.fingerprint()));
    place.put("/KEY.gpg", armor(key));
    assert_eq!(place.found(), ("good".to_owned(), key.fingerprint()));
    // A server that keeps all of it packed.
    let signature = key.signed(DETACHED, &place.text(1), &[]);
    for (name, file) in [("/Release.gpg", signature), ("/KEY.gpg", armor(key).into_bytes())] {
        place.put(name, packed(Compression::Gz, &file));
        let gzip = vec![("Content-Encoding", "gzip".to_owned())];
        place.fault(name, Fault::Told(200, gzip));
        assert_eq!(place.found(), ("good".to_owned(), key.fingerprint()), "{name}");
    }
}

#[test]
fn a_signature_may_bring_its_key_and_be_by_a_subkey() {
    let key = ed25519();
    each_way(|place, how| {
        place.serve(1, how, &key, &["--include-key-block"]);
        assert_eq!(place.found(), ("good".to_owned(), key.fingerprint()));
        assert_eq!(place.requests_for("/KEY.gpg").len(), 0, "nobody asks for what is there");
    });
    let primary = key.fingerprint();
    key.run(&["--passphrase", "", "--quick-add-key", &primary, "ed25519", "sign", "never"]);
    each_way(|place, how| {
        // gpg signs with the newest.
        place.serve(1, how, &key, &SHA512);
        place.put("/KEY.gpg", key.run(&["--export"]));
        assert_eq!(place.found(), ("good".to_owned(), primary.clone()));
        // The key as it was before.
        place.put("/KEY.gpg", fs::read(key.public()).unwrap());
        assert_eq!(place.found().0, "unverifiable");
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
        each_way(|place, how| {
            place.serve(1, how, signer, options);
            place.put("/KEY.gpg", served.run(&["--export"]));
            assert_eq!(
                place.found(),
                (state.to_owned(), signer.fingerprint()),
                "{how} {options:?}"
            );
        });
    }
    each_way(|place, how| {
        let revoked = ed25519();
        place.serve(1, how, &revoked, &SHA512);
        revoked.run(&["--import", revoked.revocation().to_str().unwrap()]);
        place.put("/KEY.gpg", revoked.run(&["--export"]));
        assert_eq!(place.found(), ("revoked".to_owned(), revoked.fingerprint()), "{how}");
    });
}

#[test]
fn what_was_changed_is_bad_and_what_isnt_there_is_missing() {
    let key = ed25519();
    each_way(|place, how| {
        place.put("/KEY.gpg", fs::read(key.public()).unwrap());
        let path = place.serve(1, how, &key, &SHA512);
        let signed = if how == CLEAR {
            key.signed(CLEAR, &place.text(1), &SHA512)
        } else {
            place.text(1).into()
        };
        let signed = String::from_utf8(signed).unwrap();
        place.beside(path, signed.replace("Label: Tests", "Label: Other"));
        assert_eq!(place.found(), ("bad".to_owned(), key.fingerprint()), "{how}");
        // No signature, though something is there.
        let armor = "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n";
        match how {
            CLEAR => {
                let (text, _) = signed.split_once("-----BEGIN PGP SIGNATURE").unwrap();
                place.beside(path, format!("{text}{armor}"));
            }
            _ => place.beside("Release.gpg", armor),
        }
        assert_eq!(place.found(), ("bad".to_owned(), String::new()), "{how}");
        match how {
            CLEAR => place.beside(path, place.text(1)),
            // A page for whatever is asked.
            _ => place.beside("Release.gpg", "<html>Not found</html>"),
        }
        assert_eq!(place.found(), ("missing".to_owned(), String::new()), "{how}");
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
    each_way(|place, how| {
        place.serve(1, how, &key, &by_both);
        for (served, name) in [(&key, &first), (&other, &second)] {
            place.put("/KEY.gpg", fs::read(served.public()).unwrap());
            assert_eq!(place.found(), ("good".to_owned(), name.clone()), "{how}");
        }
    });
    // What stands around it says something else, and lists another index.
    let place = Place::flat();
    place.put("/KEY.gpg", fs::read(key.public()).unwrap());
    place.serve(1, CLEAR, &key, &SHA512);
    let signed = String::from_utf8(key.signed(CLEAR, &place.text(1), &["-u", &first])).unwrap();
    let evil = release("SHA256", &[("Packages", b"x")]);
    place.beside("InRelease", format!("{evil}{signed}{evil}"));
    assert_eq!(place.found(), ("good".to_owned(), first));
}

/// A signed source with an arbiter and an agent.
struct Signed {
    place: Place,
    network: Network,
}

impl Signed {
    fn start(place: Place, options: &[&str]) -> Self {
        place.validators(Validators::Both);
        let network = Network::start(&[place.source()], options);
        Self { place, network }
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
    for (how, place) in [(CLEAR, Place::flat()), (DETACHED, Place::dists())] {
        let signed = Signed::start(place, &["--pause", "0s"]);
        let Signed { place, network } = &signed;
        let (key, other) = (ed25519(), ed25519());
        let (first, second) = (key.fingerprint(), other.fingerprint());
        place.put("/KEY.gpg", fs::read(key.public()).unwrap());
        place.serve(1, how, &key, &SHA512);
        let agent = network.agent("peer-1", &[]);
        network.until_all("indexed", 0);
        assert_eq!(signed.said(), ("good".to_owned(), first.clone()));
        assert_eq!(signed.signed_by().as_ref(), Some(&first));

        // The key is remembered: two requests, three where its signature is detached; another peer
        // checks by it as well.
        drop(agent);
        place.remove("/KEY.gpg");
        let agent = network.agent("peer-2", &[]);
        place.serve(2, how, &key, &SHA512);
        assert_eq!(signed.read("indexed"), if how == CLEAR { 2 } else { 3 });
        assert_eq!(signed.said(), ("good".to_owned(), first.clone()));
        assert_eq!(signed.read("unchanged"), 1);

        // Another key, no signature, and a changed text are held, each; the last good data stays.
        place.serve(3, how, &other, &["--include-key-block"]);
        signed.read("held");
        let report = network.command(&["source", "a"]);
        assert!(
            report.contains(&format!("is good by {second}, and was good by {first}")),
            "{report}"
        );
        match how {
            CLEAR => place.beside("InRelease", place.text(3)),
            _ => place.remove(&format!("{}/Release.gpg", place.dir)),
        }
        signed.read("held");
        let report = network.command(&["source", "a"]);
        assert!(report.contains("is missing, and was good by"), "{report}");
        let path = place.serve(3, how, &key, &SHA512);
        let bad = match how {
            CLEAR => String::from_utf8(key.signed(CLEAR, &place.text(3), &SHA512)).unwrap(),
            _ => place.text(3),
        };
        place.beside(path, bad.replace("Label: Tests", "Label: Other"));
        signed.read("held");
        assert_eq!((signed.version(), signed.said().0), ("2".to_owned(), "good".to_owned()));

        // It ends by itself when the old key signs again.
        place.serve(4, how, &key, &SHA512);
        signed.read("indexed");
        assert_eq!(network.status().held, 0);
        assert_eq!(signed.version(), "4");

        // The operator accepts the new one, which is expected then.
        place.serve(5, how, &other, &["--include-key-block"]);
        signed.read("held");
        network.command(&["accept", &signed.number_held()]);
        until("the new key to be expected", WAIT, || (signed.said().1 == second).then_some(()));
        assert_eq!(signed.signed_by(), Some(second));
        assert_eq!(signed.version(), "5");
        place.serve(6, how, &key, &SHA512);
        signed.read("held");
        drop(agent);
    }
}

#[test]
fn what_isnt_there_is_asked_for_once() {
    let signed = Signed::start(Place::flat(), &["--pause", "0s"]);
    let Signed { place, network } = &signed;
    let paid = |version: u32| {
        let index = index(version).replace("\n\n", "\nTag: cydia::commercial\n\n");
        place.put("/Release", release("SHA256", &[("Packages", index.as_bytes())]));
        place.put("/Packages", index);
    };
    paid(1);
    let _agent = network.agent("peer-1", &[]);
    network.until_all("indexed", 0);
    // InRelease, Release, Release.gpg, Packages, payment_endpoint.
    assert_eq!(place.take_requests().len(), 5);
    paid(2);
    assert_eq!(signed.read("indexed"), 2);
    assert_eq!(signed.said(), ("missing".to_owned(), String::new()));
    assert_eq!(signed.signed_by(), None);
    // A key that can't be found is not asked for each time either, and what it signs may stay so.
    let key = ed25519();
    place.serve(3, CLEAR, &key, &SHA512);
    place.remove("/Release");
    signed.read("indexed");
    place.take_requests();
    place.serve(4, CLEAR, &key, &SHA512);
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
    let signed =
        Signed::start(Place::flat(), &["--pause", "0s", "--config", file.to_str().unwrap()]);
    let Signed { place, network } = &signed;
    place.serve(1, CLEAR, &other, &["--include-key-block"]);
    let _agent = network.agent("peer-1", &[]);
    network.until_all("held", 0);
    let report = network.command(&["source", "a"]);
    assert!(report.contains(&format!("and must be good by {}", key.fingerprint())), "{report}");
    place.serve(2, CLEAR, &key, &SHA512);
    // Nobody needs to find the key.
    assert_eq!(signed.read("indexed"), 2);
    assert_eq!(signed.said(), ("good".to_owned(), key.fingerprint()));
}

/// A text that names these keys for the next Release, and ends as far from now as `ends` says.
fn naming(place: &Place, version: u32, keys: &[&str], ends: &str) -> String {
    let text = place.text(version);
    if keys.is_empty() {
        return text;
    }
    let ends = Command::new("date").args(["-R", "-u", "-d", ends]).output().unwrap();
    let ends = String::from_utf8(ends.stdout).unwrap();
    format!("Signed-By: {}\nValid-Until: {ends}{text}", keys.join(",\n "))
}

#[test]
fn whom_a_release_names_signs_the_next_one_as_apt_has_it() {
    let (key, other) = (ed25519(), ed25519());
    let (first, second) = (key.fingerprint(), other.fingerprint());
    key.run(&["--passphrase", "", "--quick-add-key", &first, "ed25519", "sign", "never"]);
    let listed = String::from_utf8(key.run(&["--with-colons", "--list-keys"])).unwrap();
    let mut prints = listed.lines().filter(|line| line.starts_with("fpr:"));
    let subkey = prints.next_back().unwrap().split(':').nth(9).unwrap().to_owned();
    let public = [&key, &other].map(|it| it.run(&["--export"])).concat();
    let alone = |print: &str| format!("{print}!");
    let (first_alone, subkey_alone) = (alone(&first), alone(&subkey));
    let by_primary = ["--digest-algo", "SHA512", "-u", &first_alone];
    let by_subkey = ["--digest-algo", "SHA512", "-u", &subkey_alone];
    let lower = second.to_lowercase();
    let short = &first[24..];
    let cases: [(&[&str], &Key, &[&str], bool); 10] = [
        (&[&first], &key, &by_subkey, true),
        (&[&first], &key, &by_primary, true),
        (&[&first, &lower], &other, &SHA512, true),
        (&[&lower], &other, &SHA512, true),
        (&[&lower], &key, &by_primary, false),
        (&[&first_alone], &key, &by_primary, true),
        (&[&first_alone], &key, &by_subkey, false),
        (&[&subkey], &key, &by_subkey, true),
        (&[&subkey], &key, &by_primary, false),
        // What isn't whole names nobody.
        (&[&lower, short], &key, &by_primary, true),
    ];
    for (names, signer, options, is_taken) in cases {
        let signed = Signed::start(Place::flat(), &["--pause", "0s"]);
        let Signed { place, network } = &signed;
        place.put("/KEY.gpg", public.clone());
        place.serve_text(&naming(place, 1, names, "1 day"), 1, CLEAR, &key, &by_primary);
        let apt = Apt::new(&[format!("deb {} /", place.uri())], "amd64");
        apt.trust("test.gpg", &public);
        apt.update().unwrap();
        let _agent = network.agent("peer-1", &[]);
        network.until_all("indexed", 0);
        assert_eq!(signed.said(), ("good".to_owned(), first.clone()));
        place.serve(2, CLEAR, signer, options);
        assert_eq!(apt.update().is_ok(), is_taken, "apt: {names:?} {options:?}");
        signed.read(if is_taken { "indexed" } else { "held" });
        let report = network.command(&["source", "a"]);
        let who = signer.fingerprint();
        if is_taken {
            assert_eq!(signed.said(), ("good".to_owned(), who.clone()));
            assert_eq!(signed.signed_by(), Some(who));
        } else {
            let said = format!("by its last Release must be good by {}", names[0].to_uppercase());
            assert!(report.contains(&said), "{report}");
            assert!(report.contains("; within 1 days the next by "), "{report}");
            assert_eq!(signed.version(), "1");
        }
    }
}

#[test]
fn what_a_release_names_counts_while_it_is_valid() {
    let (key, other) = (ed25519(), ed25519());
    for (how, place) in [(CLEAR, Place::dists()), (DETACHED, Place::flat())] {
        let signed = Signed::start(place, &["--pause", "0s"]);
        let Signed { place, network } = &signed;
        let (first, second) = (key.fingerprint(), other.fingerprint());
        place.put("/KEY.gpg", [&key, &other].map(|it| it.run(&["--export"])).concat());
        let serve = |version, by: &Key, keys: &[&str], ends| {
            place.serve_text(&naming(place, version, keys, ends), version, how, by, &SHA512);
        };
        // It has ended, so whoever signed is expected again.
        serve(1, &key, &[&second], "1 minute ago");
        let _agent = network.agent("peer-1", &[]);
        network.until_all("indexed", 0);
        serve(2, &key, &[&second, &first], "2 days");
        signed.read("indexed");
        let report = network.command(&["source", "a"]);
        let said = format!("good by {first}; within 2 days the next by {second} or {first}");
        assert!(report.contains(&said), "{report}");
        // A change of keys that was said waits for nobody; each Release says anew.
        serve(3, &other, &[], "");
        signed.read("indexed");
        assert_eq!(signed.said(), ("good".to_owned(), second.clone()));
        serve(4, &key, &[], "");
        signed.read("held");
        let report = network.command(&["source", "a"]);
        assert!(report.contains(&format!("is good by {first}, and was good by {second}")));
        // Also what wasn't signed by whom it names is held, and accepted as any other.
        serve(5, &other, &[&second], "1 day");
        signed.read("indexed");
        serve(6, &key, &[], "");
        signed.read("held");
        network.command(&["accept", &signed.number_held()]);
        until("the old key to be expected", WAIT, || (signed.said().1 == first).then_some(()));
        assert_eq!(signed.version(), "6");
    }
}

#[test]
fn each_state_is_told_wherever_a_source_is() {
    const LONG_AGO: [&str; 2] = ["--faked-system-time", "20200101T000000"];
    let (key, unknown) = (ed25519(), ed25519());
    let ended = Key::made("ed25519", "30d", &LONG_AGO);
    let revoked = ed25519();
    let brainpool = Key::made("brainpoolP256r1", "never", &[]);
    let places: Vec<(&str, Place)> =
        ["good", "expired", "revoked", "bad", "unknown", "weak", "unverifiable", "missing"]
            .into_iter()
            .zip([Place::flat, Place::dists].into_iter().cycle())
            .map(|(state, place)| (state, place()))
            .collect();
    let mut signers = Vec::new();
    for (number, (state, place)) in places.iter().enumerate() {
        let how = if number % 4 < 2 { CLEAR } else { DETACHED };
        let (signer, options): (&Key, &[&str]) = match *state {
            "expired" => (&ended, &LONG_AGO),
            "revoked" => (&revoked, &SHA512),
            "unknown" => (&brainpool, &["--digest-algo", "SHA256"]),
            "unverifiable" => (&unknown, &SHA512),
            "weak" => (&key, &["--digest-algo", "SHA1"]),
            _ => (&key, &SHA512),
        };
        let name = place.serve(1, how, signer, options);
        if *state == "revoked" {
            revoked.run(&["--import", revoked.revocation().to_str().unwrap()]);
        }
        match *state {
            "bad" => {
                let path = format!("{}/{name}", place.dir);
                let signed = if how == CLEAR {
                    String::from_utf8(key.signed(CLEAR, &place.text(1), &SHA512)).unwrap()
                } else {
                    place.text(1)
                };
                place.put(&path, signed.replace("Label: Tests", "Label: Other"));
            }
            "missing" => {
                place.remove(&format!("{}/Release.gpg", place.dir));
                place.beside(name, place.text(1));
            }
            _ => {}
        }
        if *state != "unverifiable" {
            place.put("/KEY.gpg", signer.run(&["--export"]));
        }
        let by = if *state == "missing" { String::new() } else { signer.fingerprint() };
        signers.push(by);
    }
    let sources: Vec<Source> = places
        .iter()
        .map(|(state, place)| Source { slug: (*state).into(), ..place.source() })
        .collect();
    let network = Network::start(&sources, &["--pause", "0s"]);
    let _agent = network.agent("peer-1", &[]);
    network.until_all("indexed", 0);
    // The pages may be a second behind.
    let page = until("the pages to tell it", WAIT, || {
        let status: Value =
            serde_json::from_str(&ask(&network.public, "GET", "/status.json").body).unwrap();
        let list = status["list"].as_array().unwrap().clone();
        list.iter().all(|source| source["signature"].is_string()).then_some(list)
    });
    let html = ask(&network.public, "GET", "/").body;
    for ((state, place), by) in places.iter().zip(&signers) {
        let of = |source: &&Value| source["source"] == *state;
        let told = page.iter().find(of).unwrap();
        assert_eq!(told["signature"], *state);
        // Who is expected from now on.
        let is_none = ["bad", "missing", "revoked"].contains(state);
        let expected = if is_none { Value::Null } else { Value::from(by.clone()) };
        assert_eq!(told["signed_by"], expected, "{state}");
        let ends = if *state == "expired" { ", its key ends" } else { "" };
        let (_, row) = html.split_once(&format!(">{state}</a>")).unwrap();
        let (row, _) = row.split_once("</tr>").unwrap();
        assert!(row.contains(&format!("data-label=\"Signature\">{state}{ends}</td>")), "{row}");
        let report = network.command(&["source", state]);
        let line = report.lines().find(|line| line.starts_with("signature")).unwrap();
        let mut said = (*state).to_owned();
        if !by.is_empty() {
            said += &format!(" by {by}");
        }
        if *state == "expired" {
            said += ", whose key has ended";
        }
        assert_eq!(line.trim_start_matches("signature").trim(), said, "{} {report}", place.dir);
        let sql = format!("SELECT origin_signed_by FROM repository WHERE id = '{state}'");
        let row: Option<String> = network.database().query_row(&sql, [], |row| row.get(0)).unwrap();
        let checked = ["good", "expired"].contains(state).then(|| by.clone());
        assert_eq!(row, checked, "{state}");
    }
}
