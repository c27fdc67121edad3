//! The real apt accepts the repositories that the tests make, and refuses what it should.

use canister_tests::apt::{Apt, Compression, Package, Repository, Signature, big_index, stanzas};
use canister_tests::origin::{Fault, Origin, Validators};
use std::collections::BTreeSet;

fn filled(mut repository: Repository) -> Repository {
    repository.add(Package::new("a", "1:1.0-1", "iphoneos-arm64").with("Name", "An \"A\""));
    repository.add(Package::new("b", "2.0~rc1", "all").with("Section", "Tweaks"));
    repository.release();
    repository
}

fn versions(apt: &Apt) -> BTreeSet<(String, String)> {
    let stanzas = apt.stanzas().into_iter();
    let versions = stanzas.map(|stanza| (stanza["Package"].clone(), stanza["Version"].clone()));
    versions.collect()
}

fn pairs(of: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    of.iter().map(|(name, version)| ((*name).into(), (*version).into())).collect()
}

#[test]
fn apt_accepts_both_layouts_as_they_change() {
    let dists = Repository::dists(&["iphoneos-arm64", "iphoneos-arm"]);
    for repository in [Repository::flat(), dists] {
        let mut repository = filled(repository);
        let origin = Origin::of(repository.dir());
        origin.validators(Validators::Both);
        let apt = Apt::new(&[repository.source_line(&origin.uri())], "iphoneos-arm64");
        apt.update().unwrap();
        assert_eq!(versions(&apt), pairs(&[("a", "1:1.0-1"), ("b", "2.0~rc1")]));
        let stanza = apt.stanzas().into_iter().find(|s| s["Package"] == "a").unwrap();
        assert_eq!(stanza["Name"], "An \"A\"");
        let deb = repository.dir().join(&stanza["Filename"]);
        assert_eq!(stanza["Size"], deb.metadata().unwrap().len().to_string());
        assert_eq!(stanza["SHA256"], canister_tests::apt::sha256(&deb));

        // Again: one conditional request.
        origin.take_requests();
        apt.update().unwrap();
        let requests = origin.take_requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert_eq!(requests[0].status, 304);

        repository.add(Package::new("a", "1:1.0-2", "iphoneos-arm64"));
        repository.remove("b");
        repository.release();
        apt.update().unwrap();
        assert_eq!(versions(&apt), pairs(&[("a", "1:1.0-1"), ("a", "1:1.0-2")]));
    }
}

#[test]
fn apt_reads_each_compression_and_signature() {
    for compression in Compression::ALL {
        let mut repository = Repository::flat();
        repository.compressions = vec![compression];
        repository.signature = Signature::Detached;
        let repository = filled(repository);
        let origin = Origin::of(repository.dir());
        let apt = Apt::new(&[repository.source_line(&origin.uri())], "iphoneos-arm64");
        apt.update().unwrap();
        assert_eq!(versions(&apt).len(), 2, "{compression:?}");
        let path = format!("/./Packages{}", compression.suffix());
        assert_eq!(origin.requests_for(&path).len(), 1, "{compression:?}");
    }
    for signature in [Signature::Inline, Signature::None] {
        let mut repository = Repository::dists(&["iphoneos-arm64"]);
        repository.signature = signature;
        repository.by_hash = true;
        repository.compressions = vec![Compression::Xz];
        let repository = filled(repository);
        let origin = Origin::of(repository.dir());
        let apt = Apt::new(&[repository.source_line(&origin.uri())], "iphoneos-arm64");
        apt.update().unwrap();
        assert_eq!(versions(&apt).len(), 2, "{signature:?}");
        let requests = origin.requests();
        assert!(requests.iter().any(|request| request.path.contains("by-hash")));
    }
}

#[test]
fn apt_refuses_what_is_not_as_released() {
    let repository = filled(Repository::flat());
    let origin = Origin::of(repository.dir());
    for fault in [Fault::WrongByte, Fault::Truncate(100)] {
        for file in ["/./InRelease", "/./Packages.xz"] {
            origin.fault(file, fault.clone());
            // All compressions at once, or apt would take another.
            for compression in Compression::ALL {
                if file != "/./InRelease" {
                    let path = format!("/./Packages{}", compression.suffix());
                    origin.fault(&path, fault.clone());
                }
            }
            let apt = Apt::new(&[repository.source_line(&origin.uri())], "iphoneos-arm64");
            let said = apt.update().unwrap_err();
            assert!(said.contains("E: "), "{said}");
            for compression in Compression::ALL {
                origin.heal(&format!("/./Packages{}", compression.suffix()));
            }
            origin.heal(file);
        }
    }
}

#[test]
fn the_big_index_is_one_that_apt_takes() {
    let text = big_index(1000);
    assert_eq!(text, big_index(1000));
    let all = stanzas(std::str::from_utf8(&text).unwrap());
    assert_eq!(all.len(), 1000);
    let triples: BTreeSet<_> = all.iter().map(|s| (&s["Package"], &s["Version"])).collect();
    assert_eq!(triples.len(), 1000);
    // Like real ones: about a thousand bytes a stanza.
    assert!((700..1500).contains(&(text.len() / 1000)), "{}", text.len());

    let mut repository = Repository::flat();
    repository.compressions = vec![Compression::Gz];
    repository.release_text(&text);
    let origin = Origin::of(repository.dir());
    let apt = Apt::new(&[repository.source_line(&origin.uri())], "iphoneos-arm64");
    apt.update().unwrap();
    assert_eq!(apt.stanzas(), all);
}
