//! `canister-agent index` on repositories as they are met in the wild: built by tools that stumble,
//! served by servers that mean well. What their users see is what is indexed, and success means that
//! it was read.

use canister_tests::apt::{Compression, big_index};
use canister_tests::index::{
    RUN_MAX, failed, failed_with, indexed, name_of, packed, release, run_as, tool,
};
use canister_tests::openssl;
use canister_tests::origin::{Fault, Origin};
use canister_tests::programs::{Program, binary};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

/// What Release says where it lists nothing.
const BARE: &str = "Origin: Tests\nLabel: Tests\nSuite: ./\nMD5Sum:\nSHA256:\n";

/// Serves these files.
fn serving(files: &[(&str, &[u8])]) -> Origin {
    let origin = Origin::empty();
    for (name, bytes) in files {
        origin.put(&format!("/{name}"), *bytes);
    }
    origin
}

/// Serves these files, and a Release that lists them.
fn listing(files: &[(&str, &[u8])]) -> Origin {
    let origin = serving(files);
    origin.put("/Release", release("SHA256", files));
    origin
}

/// How many packages are read there.
fn packages(origin: &Origin) -> u64 {
    indexed(&origin.uri(), &[]).number("packages")
}

#[test]
fn an_empty_file_under_a_packed_name_is_no_index() {
    let plain = big_index(4);
    let gz = packed(Compression::Gz, &plain);
    // The packer failed: Release lists what it left.
    for empty in ["Packages.xz", "Packages.zst", "Packages.bz2", "Packages.lzma"] {
        let origin = listing(&[("Packages", &plain), (empty, b""), ("Packages.gz", &gz)]);
        assert_eq!(packages(&origin), 4, "{empty}");
        assert_eq!(origin.requests_for(&format!("/{empty}")).len(), 0);
        let origin = listing(&[(empty, b""), ("Packages", &plain)]);
        assert_eq!(packages(&origin), 4, "{empty}");
        // Nobody lists it.
        let origin = serving(&[(empty, b""), ("Packages", &plain), ("Release", BARE.as_bytes())]);
        assert_eq!(packages(&origin), 4, "{empty}");
        // There is nothing else.
        for origin in [listing(&[(empty, b"")]), serving(&[(empty, b"")])] {
            failed(&origin, &[empty, "an empty file"]);
        }
    }
}

#[test]
fn what_was_unpacked_is_what_release_lists_for_the_plain_index() {
    let (plain, old) = (big_index(40), big_index(39));
    for compression in Compression::ALL.into_iter().filter(|it| *it != Compression::Plain) {
        let name = name_of(compression);
        // Packed before the last change, or out of nothing; Release lists it nevertheless.
        for packed in [packed(compression, &old), packed(compression, b"")] {
            let origin = listing(&[("Packages", &plain), (&name, &packed)]);
            assert_eq!(packages(&origin), 40, "{name}");
            origin.remove("/Packages");
            failed(&origin, &[&name, "and Release don't match", "unpacks to"]);
        }
        // It is not packed at all, but of the right size.
        let mut other = plain.clone();
        other[10] ^= 1;
        let origin = listing(&[("Packages", &plain), (&name, &other)]);
        assert_eq!(packages(&origin), 40, "{name}");
        let origin = listing(&[("Packages", &plain), (&name, &plain)]);
        assert_eq!(packages(&origin), 40, "{name}");
    }
}

#[test]
fn an_index_of_nothing_counts_where_there_is_no_other() {
    let plain = big_index(4);
    for compression in Compression::ALL {
        let name = name_of(compression);
        for nothing in [&b""[..], b"\n", b" \n\r\n"] {
            if nothing.is_empty() && compression == Compression::Plain {
                continue;
            }
            let nothing = packed(compression, nothing);
            let release = ("Release", BARE.as_bytes());
            // A repository that was emptied.
            assert_eq!(packages(&listing(&[(&name, &nothing)])), 0, "{name}");
            assert_eq!(packages(&serving(&[(&name, &nothing), release])), 0, "{name}");
            assert_eq!(packages(&serving(&[(&name, &nothing)])), 0, "{name}");
            // One that has the index under another name, too.
            let other =
                if compression == Compression::Bz2 { "Packages.xz" } else { "Packages.bz2" };
            let full = tool(&[if other.ends_with("xz") { "xz" } else { "bzip2" }, "-c"], &plain);
            for origin in [
                listing(&[(&name, &nothing), (other, &full)]),
                serving(&[(&name, &nothing), (other, &full), release]),
            ] {
                assert_eq!(packages(&origin), 4, "{name}");
                // If that can't be read, nothing is known.
                let path = format!("/{other}");
                origin.fault(&path, Fault::Truncate(30));
                failed(&origin, &[other]);
                origin.fault(&path, Fault::Status(500, vec![]));
                failed(&origin, &[other, "500"]);
            }
        }
    }
    // The same as a plain one: listed empty beside a packed one that isn't.
    let bz2 = packed(Compression::Bz2, &plain);
    let origin = listing(&[("Packages", b""), ("Packages.bz2", &bz2)]);
    assert_eq!(packages(&origin), 4);
    assert_eq!(packages(&listing(&[("Packages", b"")])), 0);
    assert_eq!(packages(&serving(&[("Packages", b"")])), 0);
    // A server that answers everything with nothing.
    let origin = serving(&[("Release", b""), ("InRelease", b""), ("Release.gpg", b"")]);
    for compression in Compression::ALL {
        origin.put(&format!("/{}", name_of(compression)), "");
    }
    failed(&origin, &["an empty file"]);
}

#[test]
fn what_stands_behind_the_last_member_is_passed_over() {
    let plain = big_index(4);
    for compression in [Compression::Gz, Compression::Bz2, Compression::Lzma, Compression::Xz] {
        let name = name_of(compression);
        for behind in [
            &[0; 17][..],
            &[0; 4],
            &[0; 5000],
            &[0xff; 70_000],
            b"\n",
            b"\r\n\x1a",
            b"</html>\n",
            b"\x1f",
            b"BZ",
            b"\xfd7zX",
            b"Package: b\nVersion: 1\nArchitecture: all\n",
        ] {
            let file = [packed(compression, &plain), behind.to_vec()].concat();
            let run = |origin: Origin| {
                let run = indexed(&origin.uri(), &[]);
                (run.number("packages"), run.number("bytes_fetched") >= file.len() as u64)
            };
            let origin = listing(&[("Packages", &plain), (&name, &file)]);
            origin.remove("/Packages");
            assert_eq!(run(origin), (4, true));
            assert_eq!(run(listing(&[(&name, &file)])), (4, true));
            assert_eq!(run(serving(&[(&name, &file)])), (4, true));
        }
        if compression == Compression::Lzma {
            continue;
        }
        // What is of the same kind but broken is no such thing.
        let member = packed(compression, &plain);
        let file = [&member[..], &member[..member.len() / 2]].concat();
        failed(&listing(&[(&name, &file)]), &[&name]);
    }
    let file = [packed(Compression::Zst, &plain), vec![0; 17]].concat();
    failed(&listing(&[("Packages.zst", &file)]), &["Packages.zst"]);
}

#[test]
fn a_server_that_refuses_a_name_may_know_another() {
    let plain = big_index(4);
    for status in [400, 401, 402, 403, 405, 406, 409, 412, 415, 418, 421, 451, 499] {
        let origin = listing(&[("Packages", &plain)]);
        origin.fault("/InRelease", Fault::Status(status, vec![]));
        assert_eq!(packages(&origin), 4, "{status}");
        // Neither: the index is looked for under its names.
        origin.fault("/Release", Fault::Status(status, vec![]));
        assert_eq!(packages(&origin), 4, "{status}");
        origin.fault("*", Fault::Status(status, vec![]));
        origin.fault("/Packages", Fault::Status(status, vec![]));
        failed(&origin, &["status", &status.to_string()]);
    }
    // What leads nowhere, or is no answer.
    for status in [204, 205, 206, 300, 301, 302, 303, 304, 305, 307, 308] {
        let origin = listing(&[("Packages", &plain)]);
        origin.put("/InRelease", "");
        origin.fault("/InRelease", Fault::Told(status, vec![]));
        assert_eq!(packages(&origin), 4, "{status}");
        origin.put("/Release", "");
        origin.fault("/Release", Fault::Told(status, vec![]));
        assert_eq!(packages(&origin), 4, "{status}");
    }
    for to in ["/InRelease", "ftp://repo.example/InRelease", "http:///x", "\\\\host\\x", ""] {
        let origin = listing(&[("Packages", &plain)]);
        origin.fault("/InRelease", Fault::Redirect(to.to_owned()));
        assert_eq!(packages(&origin), 4, "{to}");
        // The same of one of several packed files.
        let (gz, xz) = (packed(Compression::Gz, &plain), packed(Compression::Xz, &plain));
        let origin = listing(&[("Packages.gz", &gz), ("Packages.xz", &xz)]);
        origin.fault("/Packages.xz", Fault::Redirect(to.to_owned()));
        assert_eq!(packages(&origin), 4, "{to}");
    }
    for status in [429, 500, 502] {
        let origin = listing(&[("Packages", &plain)]);
        origin.fault("/InRelease", Fault::Status(status, vec![]));
        let run = failed(&origin, &["InRelease", &status.to_string()]);
        assert_eq!(run.number("requests"), 1);
    }
}

#[test]
fn a_page_for_whatever_is_asked_is_no_release() {
    let plain = big_index(4);
    let other: Vec<u8> = plain.iter().rev().copied().collect();
    let tags = "<p>Not: found</p>".repeat(9000);
    for page in [
        "<!DOCTYPE html>\n<title>Hello: world</title>\n",
        "<a href='https://repo.example'>\nstyle: x\n",
        "{\"error\": \"not found\"}\n",
        "",
        " \n\n",
        "\0\0\0\0",
        &tags,
    ] {
        for names in [&["InRelease", "Release"][..], &["InRelease"], &["Release"]] {
            let origin = serving(&[("Packages", &plain)]);
            for name in names {
                origin.put(&format!("/{name}"), page);
            }
            assert_eq!(packages(&origin), 4, "{names:?} {:?}", page.get(..20));
            // A Release that there is counts all the same.
            if *names == ["InRelease"] {
                origin.put("/Release", release("SHA256", &[("Packages", &other)]));
                failed(&origin, &["Packages and Release don't match"]);
            }
        }
    }
}

#[test]
fn a_redirect_leads_to_the_file_whatever_its_kind() {
    let plain = big_index(4);
    let gz = packed(Compression::Gz, &plain);
    for status in [301, 302, 303, 307, 308] {
        for name in ["InRelease", "Release", "Packages.gz"] {
            let origin = listing(&[("Packages.gz", &gz)]);
            if name == "InRelease" {
                origin.put("/InRelease", "");
            }
            let to = if name == "Packages.gz" { "/moved.gz" } else { "/moved" };
            origin.put("/moved", release("SHA256", &[("Packages.gz", &gz)]));
            origin.put("/moved.gz", &*gz);
            let location = vec![("Location", format!("{}{to}", origin.uri()))];
            origin.fault(&format!("/{name}"), Fault::Told(status, location));
            assert_eq!(packages(&origin), 4, "{status} {name}");
            assert_eq!(origin.requests_for(to).len(), 1, "{status} {name}");
        }
    }
}

#[test]
fn hash_lists_are_read_as_they_are_written() {
    let plain = big_index(4);
    let gz = packed(Compression::Gz, &plain);
    let listed = |name: &str| {
        let line = release("SHA256", &[(name, &gz)]);
        line.lines().last().unwrap().trim().to_owned()
    };
    let line = listed("Packages.gz");
    let (digest, rest) = line.split_once(' ').unwrap();
    let size = gz.len();
    let other = "0".repeat(64);
    for list in [
        format!(" {} {rest}", digest.to_uppercase()),
        format!("\t{digest}\t{size}\tPackages.gz"),
        format!(" {digest}    {size}   Packages.gz   "),
        format!("  {digest} {size:>16} Packages.gz\r"),
        format!(" {digest} 000{size} ./Packages.gz"),
        format!(" {line}\n {line}"),
        // The first one counts, as to apt.
        format!(" {line}\n {other} 7 Packages.gz"),
        format!(" {other} 7 other/Packages.gz\n {line}\n {other} 7 Packages.gz.old"),
        format!(" {other} -7 Packages.gz\n {other} 1e3 Packages.gz\n {line}"),
        format!(" {other} 99999999999999999999999 Packages.gz\n {line}"),
        format!(" \n {line}\n \t"),
    ] {
        let text =
            format!("Origin: Tests\nMD5Sum:\n {} 1 Packages.gz\nSHA256:\n{list}\n", &other[..32]);
        let origin = serving(&[("Packages.gz", &gz), ("Release", text.as_bytes())]);
        assert_eq!(packages(&origin), 4, "{list}");
        // It is what counts.
        let mut changed = gz.clone();
        changed[4] ^= 1;
        origin.put("/Packages.gz", changed);
        failed(&origin, &["Packages.gz and Release don't match"]);
    }
    // A path that isn't below Release is of another file: nobody lists the index then.
    for path in ["/Packages.gz", "../Packages.gz", "dists/x/Packages.gz", "packages.gz"] {
        let text = format!("Origin: Tests\nSHA256:\n {other} 7 {path}\n");
        let origin = serving(&[("Packages.gz", &gz), ("Release", text.as_bytes())]);
        assert_eq!(packages(&origin), 4, "{path}");
    }
}

#[test]
fn stanzas_are_parted_as_their_owners_see_them() {
    let head = "Package: a\nVersion: 1\nArchitecture: all\n";
    let last = "Package: b\nVersion: 2\nArchitecture: all\nDescription: z\n";
    let text = "Description: one\n two\n";
    let rest = " three\nName: Nice\nAuthor: Somebody\n";
    for blanks in [
        " ",
        "\t",
        " \t ",
        "  \r",
        "\x0c",
        " .",
        "\t.",
        " \u{a0}",
        "\u{a0}",
        " \u{3000}",
        "\u{feff}",
        "\x0b",
        "#",
        "# a remark",
        " \n\t\n ",
    ] {
        for (unix, is_marked) in [(true, false), (false, true)] {
            let mut index = format!("{head}{text}{blanks}\n{rest}\n{last}{blanks}\n");
            if !unix {
                index = index.replace("\r", "").replace('\n', "\r\n");
            }
            if is_marked {
                index.insert(0, '\u{feff}');
            }
            for compression in [Compression::Plain, Compression::Gz] {
                let file = packed(compression, index.as_bytes());
                let run = indexed(&serving(&[(&name_of(compression), &file)]).uri(), &[]);
                let rows: Vec<Value> =
                    run.rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
                let of = |key: &str| rows.iter().map(|row| row[key].as_str()).collect::<Vec<_>>();
                assert_eq!(of("package_id"), [Some("a"), Some("b")], "{blanks:?} {index:?}");
                assert_eq!(of("name"), [Some("Nice"), None], "{blanks:?}");
                assert_eq!(of("author"), [Some("Somebody"), None], "{blanks:?}");
                let description = of("description")[0].unwrap();
                assert!(description.starts_with("one") && description.ends_with("three"));
            }
        }
    }
}

#[test]
fn an_in_release_that_the_build_forgot_is_left_for_release() {
    let (plain, old) = (big_index(40), big_index(39));
    let (gz, old_gz) = (packed(Compression::Gz, &plain), packed(Compression::Gz, &old));
    let mut other = gz.clone();
    other[4] ^= 1;
    // Another size, the same size, a file that is gone, what it unpacks to.
    let stale: [&[(&str, &[u8])]; 4] = [
        &[("Packages.gz", &old_gz)],
        &[("Packages.gz", &other)],
        &[("Packages.xz", &old_gz)],
        &[("Packages.gz", &gz), ("Packages", &old)],
    ];
    for files in stale {
        let origin = listing(&[("Packages.gz", &gz)]);
        origin.put("/InRelease", release("SHA256", files));
        let run = indexed(&origin.uri(), &[]);
        assert_eq!(run.number("packages"), 40, "{}", run.summary);
        // Where Release says the same, or what isn't so either, that costs one request.
        for same in [release("SHA256", files), "Origin: x\n".to_owned()] {
            origin.put("/Release", same);
            origin.take_requests();
            let asked = failed(&origin, &["Packages"]).number("requests");
            let tried = origin.take_requests();
            assert_eq!(tried.iter().filter(|it| it.path == "/Release").count(), 1, "{asked}");
        }
    }
}

/// Says what a server did to a file, and whether it did.
fn encoded(name: &str) -> Fault {
    Fault::Told(200, vec![("Content-Encoding", name.to_owned())])
}

#[test]
fn a_file_that_its_server_keeps_packed_is_unpacked() {
    let plain = big_index(40);
    for compression in Compression::ALL {
        let name = name_of(compression);
        let file = packed(compression, &plain);
        let stored = packed(Compression::Gz, &file);
        for (encoding, bytes) in [
            ("gzip", &stored),
            ("x-gzip", &stored),
            ("GZIP", &stored),
            ("identity, x-gzip ,", &stored),
            // Said of what was stored as it is, and of a gzip file because it is one.
            ("gzip", &file),
            ("identity", &file),
            ("br", &file),
            ("deflate", &file),
            ("", &file),
        ] {
            let path = format!("/{name}");
            let release_of_file = release("SHA256", &[("Packages", &plain), (&name, &file)]);
            for is_listed in [true, false] {
                let origin = serving(&[(&name, bytes)]);
                let release = if is_listed { &*release_of_file } else { BARE };
                // Release itself, too.
                origin.put("/Release", packed(Compression::Gz, release.as_bytes()));
                origin.fault("/Release", encoded("gzip"));
                origin.fault(&path, encoded(encoding));
                let run = indexed(&origin.uri(), &[]);
                assert_eq!(run.number("packages"), 40, "{name} {encoding} {is_listed}");
                // The head is that of the file, however it is kept.
                origin.put("/Release", release);
                origin.put(&path, file.clone());
                origin.heal("/Release");
                origin.heal(&path);
                let plainly = indexed(&origin.uri(), &[]);
                assert_eq!(run.summary["head"], plainly.summary["head"], "{name} {encoding}");
            }
        }
        // It is what Release lists that counts.
        let origin = listing(&[(&name, &file)]);
        let path = format!("/{name}");
        origin.put(&path, packed(Compression::Gz, &packed(compression, &big_index(39))));
        origin.fault(&path, encoded("gzip"));
        failed(&origin, &[&name, "Release", "Content-Encoding gzip"]);
        origin.fault(&path, encoded("br"));
        origin.put(&path, vec![0xff; file.len()]);
        failed(&origin, &[&name]);
    }
    // What is packed once more may be no bomb.
    let origin = Origin::empty();
    let bomb = packed(Compression::Gz, &packed(Compression::Gz, &vec![b'\n'; 64 << 20]));
    origin.put("/Packages.gz", bomb);
    origin.fault("/Packages.gz", encoded("gzip"));
    failed(&origin, &["Packages.gz", "times its size"]);
    // Lines that differ, for the same line packs to about the ratio that another limit stands for.
    let long: String = (0..2 << 20).map(|n| format!("X-{n}: a\n")).collect();
    assert!(long.len() > 16 << 20);
    origin.put("/Release", packed(Compression::Gz, long.as_bytes()));
    origin.fault("/Release", encoded("gzip"));
    failed(&origin, &["Release", "longer than"]);
}

#[test]
fn what_somebody_on_the_way_hands_on_is_taken() {
    let plain = big_index(4);
    let gz = packed(Compression::Gz, &plain);
    let told = || Fault::Told(203, vec![]);
    for path in ["/Release", "/Packages.gz", "*"] {
        let origin = listing(&[("Packages.gz", &gz)]);
        origin.fault(path, told());
        assert_eq!(packages(&origin), 4, "{path}");
        let origin = serving(&[("Packages.gz", &gz)]);
        origin.fault(path, told());
        assert_eq!(packages(&origin), 4, "{path}");
    }
    for status in [201, 202, 206] {
        let origin = listing(&[("Packages.gz", &gz)]);
        origin.fault("/Packages.gz", Fault::Told(status, vec![]));
        failed(&origin, &["Packages.gz", &status.to_string()]);
    }
}

#[test]
fn half_an_index_is_none() {
    let plain = big_index(40);
    let ends = |end: usize| String::from_utf8_lossy(&plain[..end]).ends_with('\n');
    let half = (plain.len() / 2..).find(|end| !ends(*end)).unwrap();
    let without_end = plain.trim_ascii_end().len();
    // No length, no Release: only the end of the last line tells.
    let origin = serving(&[("Packages", &plain)]);
    origin.fault("/Packages", Fault::Undelimited(plain.len()));
    assert_eq!(packages(&origin), 40);
    for end in [half, without_end, 5] {
        origin.fault("/Packages", Fault::Undelimited(end));
        failed(&origin, &["Packages", "in the middle of a line"]);
    }
    // What is packed has an end, and so has what Release lists.
    for compression in Compression::ALL {
        let name = name_of(compression);
        let file = packed(compression, &plain);
        for origin in [listing(&[(&name, &file)]), serving(&[(&name, &file)])] {
            let path = format!("/{name}");
            origin.fault(&path, Fault::Undelimited(file.len()));
            assert_eq!(packages(&origin), 40, "{name}");
            let is_plain = compression == Compression::Plain;
            let end = if is_plain { half } else { file.len() / 2 };
            origin.fault(&path, Fault::Undelimited(end));
            failed(&origin, &[&name]);
        }
    }
    // A file whose last line has no end is whole where its server says how long it is.
    let origin = serving(&[("Packages", &plain[..without_end])]);
    assert_eq!(packages(&origin), 40);
    origin.fault("/Packages", Fault::Chunked(100));
    assert_eq!(packages(&origin), 40);
}

#[test]
fn requests_share_a_connection_whatever_is_answered() {
    let plain = big_index(4);
    let page = |bytes: usize| "x".repeat(bytes).into_bytes();
    let served = || serving(&[("Packages", &plain), ("Release", BARE.as_bytes())]);
    let once = |origin: &Origin, requests: u64| {
        let run = indexed(&origin.uri(), &[]);
        assert_eq!((run.number("packages"), run.number("requests")), (4, requests));
        assert_eq!(origin.connections(), 1);
    };
    once(&served(), 9);
    // What isn't there, said with a page of any usual size, whole or in chunks.
    for status in [404, 410, 403, 406] {
        for bytes in [0, 1, 9000, 60_000] {
            let origin = served();
            for name in ["InRelease", "Release.gpg", "Packages.zst", "Packages.xz", "Packages.gz"] {
                origin.put(&format!("/{name}"), page(bytes));
                origin.fault(&format!("/{name}"), Fault::Told(status, vec![]));
            }
            once(&origin, 9);
        }
    }
    // A signature is asked for, and not read.
    let origin = served();
    origin.put("/Release.gpg", page(900));
    once(&origin, 9);
    // Redirects with a page, and without.
    let origin = served();
    origin.put("/InRelease", page(5000));
    origin.fault("/InRelease", Fault::Told(301, vec![("Location", "/elsewhere".to_owned())]));
    origin.fault("/Packages.xz", Fault::Redirect("/nowhere".to_owned()));
    once(&origin, 11);
    // A page that is long, or has no end, isn't worth a connection.
    let origin = served();
    origin.put("/InRelease", page(70_000));
    origin.fault("/InRelease", Fault::Told(404, vec![]));
    let run = indexed(&origin.uri(), &[]);
    assert_eq!((run.number("packages"), origin.connections()), (4, 2));
    assert!(run.number("bytes_fetched") < 20_000, "{}", run.summary);
}

/// Certificates as servers have them, by the real openssl: an authority `root`, another `int` below
/// it, and servers' of that one.
const CERTIFICATES: &str = r#"
new() { openssl req -newkey rsa:2048 -nodes -keyout $1.key -subj "/CN=$1" "${@:2}" 2>/dev/null; }
sign() { openssl x509 -req -CA int.crt -CAkey int.key -CAcreateserial -extfile $1.ext -out $1.crt "${@:2}" 2>/dev/null; }
ca="basicConstraints=critical,CA:TRUE"
new root -x509 -addext $ca -out root.crt
echo $ca > int.ext
new int | openssl x509 -req -CA root.crt -CAkey root.key -CAcreateserial -extfile int.ext -out int.crt 2>/dev/null
for name in good wrong client; do echo "subjectAltName=DNS:localhost" > $name.ext; done
echo "subjectAltName=DNS:other.example" > wrong.ext
echo "extendedKeyUsage=clientAuth" >> client.ext
for name in good wrong client; do new $name | sign $name; done
new self -x509 -addext "subjectAltName=DNS:localhost" -out self.crt
new alone -x509 -addext "subjectAltName=DNS:localhost" -addext basicConstraints=CA:FALSE -out alone.crt
"#;

#[test]
fn what_is_wrong_with_a_server_s_tls_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("make"), CERTIFICATES).unwrap();
    openssl::succeeds(folder.path(), "bash -e make");
    // A server's options; what is said. Where TLS is well there is no repository behind it.
    for (options, part) in [
        ("-cert good.crt -key good.key -cert_chain int.crt", "no package in it"),
        ("-cert good.crt -key good.key", "leaves out the certificate in between"),
        ("-cert wrong.crt -key wrong.key -cert_chain int.crt", "is for other.example, not for"),
        ("-cert self.crt -key self.key", "signed by itself"),
        ("-cert alone.crt -key alone.key", "no authority that this machine trusts"),
        ("-cert client.crt -key client.key -cert_chain int.crt", "is not one for a server"),
        (
            "-cert good.crt -key good.key -cert_chain int.crt -tls1_2 -cipher AES128-SHA",
            "RSA key exchange or CBC",
        ),
        (
            "-cert good.crt -key good.key -cert_chain int.crt -tls1_1 -cipher ALL@SECLEVEL=0",
            "neither TLS 1.2 nor TLS 1.3",
        ),
        (
            "-cert good.crt -key good.key -cert_chain int.crt -Verify 1",
            "certificate of its clients",
        ),
    ] {
        let mut command = Command::new("sh");
        let line = format!("exec openssl s_server -accept 0 -www {options} >&2");
        command.args(["-c", &line]).current_dir(folder.path());
        let mut server = Program::start_command("s_server", &mut command);
        let ready = server.wait_for_line("ACCEPT ", RUN_MAX);
        let port = ready.rsplit(':').next().unwrap();
        let mut command = Command::new(binary("canister-agent"));
        command.env("SSL_CERT_FILE", folder.path().join("root.crt"));
        let uri = format!("https://localhost:{port}");
        let run = run_as(command, &uri, &["--allow-private"]);
        assert_eq!(run.code, Some(1));
        assert!(run.said[0].contains(part), "{options}: {:?}", run.said);
    }
    // No TLS at all.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("https://{}", plain.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    failed_with(&uri, &["--allow-private"], &["what answers there doesn't speak TLS"]);
    answering.join().unwrap();
}

#[test]
fn what_is_no_web_server_is_told() {
    let greetings: [&[u8]; 3] =
        [b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64", b"SSH-2.0-OpenSSH_9.2\r\n", b"220 ftp\r\n\r\n"];
    for greeting in greetings {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.write_all(greeting);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        failed_with(&uri, &["--allow-private"], &["isn't HTTP/1.1"]);
    }
}
