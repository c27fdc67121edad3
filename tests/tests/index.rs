//! `canister-agent index`: the same rows whatever the compression and however the body comes, in
//! bounded memory; and one clear line when a server misbehaves.

use canister_protocol::Uri;
use canister_tests::apt::{
    self, Compression, Layout, Package, Repository, Signature, big_index, stanzas,
};
use canister_tests::index::{
    Indexed, MB, RUN_MAX, failed, failed_with, indexed, name_of, packed, release, run, serve, tool,
};
use canister_tests::origin::{Fault, Origin};
use canister_tests::programs::{Program, binary};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the rows of an index must be, without ids, said by another reader than the agent's.
fn truth(index: &str) -> Vec<Value> {
    let row = |stanza: apt::Stanza| {
        let text = |field: &str| stanza.get(field).cloned();
        let number = |field: &str| text(field).map(|text| text.parse::<u64>().unwrap());
        let line = |line: &str| match line.strip_prefix(' ') {
            Some(".") => String::new(),
            Some(rest) => rest.to_owned(),
            None => line.to_owned(),
        };
        let description = text("Description").map(|text| {
            let lines: Vec<String> = text.split('\n').map(line).collect();
            lines.join("\n")
        });
        let tags: Vec<String> =
            text("Tag").map_or_else(Vec::new, |text| text.split(", ").map(str::to_owned).collect());
        let is_paid = tags.iter().any(|tag| tag == "cydia::commercial");
        serde_json::json!({
            "package_id": text("Package"), "version": text("Version"),
            "architecture": text("Architecture"), "package_filename": text("Filename"),
            "package_size": number("Size").unwrap_or(0),
            "price": if is_paid { "Paid" } else { "Free" },
            "sha256_hash": text("SHA256"), "name": text("Name"), "description": description,
            "author": text("Author"), "maintainer": text("Maintainer"),
            "depiction": text("Depiction"), "native_depiction": text("Native-Depiction"),
            "sileo_depiction": text("SileoDepiction"), "header_url": text("Header"),
            "tint_color": text("Tint-Color"), "icon_url": text("Icon"),
            "section": text("Section"), "tags": tags, "installed_size": number("Installed-Size"),
        })
    };
    stanzas(index).into_iter().map(row).collect()
}

/// The rows that were written, without their ids, which must be ids and differ.
fn rows(run: &Indexed) -> Vec<Value> {
    let mut ids = std::collections::HashSet::new();
    let row = |line: &str| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let id = row.as_object_mut().unwrap().remove("id").unwrap();
        let id = id.as_str().unwrap();
        assert_eq!(id.len(), 26, "{id}");
        assert!(ids.insert(id.to_owned()), "{id} twice");
        row
    };
    run.rows.lines().map(row).collect()
}

/// A repository made by the real tools, with every field of the catalogue.
fn repository(mut repository: Repository) -> Repository {
    for number in 0..9 {
        let package = Package::new(&format!("com.example.tweak{number}"), "1:2.0-3", "all")
            .with("Name", "Twéak \"quoted\" \\ back")
            .with("Section", "Tweaks")
            .with("Author", "An Author <author@repo.example>")
            .with("Description", "short\n long line\n .\n  indented more")
            .with("Depiction", "https://repo.example/d")
            .with("SileoDepiction", "https://repo.example/s.json")
            .with("Icon", "https://repo.example/i.png")
            .with("Installed-Size", "12");
        let package = if number % 2 == 0 {
            package.with("Tag", "cydia::commercial, role::enduser")
        } else {
            package
        };
        repository.add(package);
    }
    repository
}

const DISTS: [&str; 6] =
    ["--suite", "stable", "--component", "main", "--architecture", "iphoneos-arm64"];

#[test]
fn rows_are_the_same_for_every_compression_layout_and_signature() {
    for (layout, options) in
        [(Repository::flat(), &[][..]), (Repository::dists(&["iphoneos-arm64"]), &DISTS[..])]
    {
        let mut repository = repository(layout);
        repository.release();
        let index = match repository.layout {
            Layout::Flat => "Packages",
            Layout::Dists { .. } => "dists/stable/main/binary-iphoneos-arm64/Packages",
        };
        let expected = truth(&std::fs::read_to_string(repository.dir().join(index)).unwrap());
        assert_eq!(expected.len(), 9);
        let origin = Origin::of(repository.dir());
        let all = indexed(&origin.uri(), options);
        assert_eq!(rows(&all), expected);
        for compression in Compression::ALL {
            repository.compressions = vec![compression];
            repository.release();
            let one = indexed(&origin.uri(), options);
            assert!(one.rows == all.rows, "{compression:?}");
            let asked = origin.take_requests();
            let file = format!("/{index}{}", compression.suffix());
            assert!(asked.iter().any(|r| r.path == file && r.status == 200), "{asked:#?}");
        }
        repository.compressions = vec![Compression::Gz, Compression::Xz];
        for signature in [Signature::Both, Signature::Detached, Signature::Inline, Signature::None]
        {
            repository.signature = signature;
            repository.release();
            let one = indexed(&origin.uri(), options);
            assert!(one.rows == all.rows, "{signature:?}");
        }
        // Without any Release the six names are tried.
        std::fs::remove_file(repository.release_dir().join("Release")).unwrap();
        let one = indexed(&origin.uri(), options);
        assert!(one.rows == all.rows);
    }
}

#[test]
fn rows_are_the_same_by_hash_declared_or_not_there() {
    let mut repository = repository(Repository::dists(&["iphoneos-arm64"]));
    repository.compressions = vec![Compression::Xz];
    repository.release();
    let origin = Origin::of(repository.dir());
    let plain = indexed(&origin.uri(), &DISTS);
    repository.by_hash = true;
    repository.release();
    // Where the strongest digest that this Release lists is.
    let folder = repository.release_dir().join("main/binary-iphoneos-arm64");
    let bytes = std::fs::read(folder.join("Packages.xz")).unwrap();
    let sum = String::from_utf8(tool(&["sha512sum"], &bytes)).unwrap();
    std::fs::create_dir(folder.join("by-hash/SHA512")).unwrap();
    std::fs::write(folder.join("by-hash/SHA512").join(&sum[..128]), &bytes).unwrap();
    origin.take_requests();
    let by_hash = indexed(&origin.uri(), &DISTS);
    assert!(by_hash.rows == plain.rows);
    let is_by_hash = |path: &str| path.contains("/by-hash/SHA512/");
    let asked = origin.take_requests();
    assert!(asked.iter().any(|r| is_by_hash(&r.path) && r.status == 200), "{asked:#?}");
    assert!(!asked.iter().any(|r| r.path.ends_with(".xz")), "{asked:#?}");

    std::fs::remove_dir_all(folder.join("by-hash")).unwrap();
    let absent = indexed(&origin.uri(), &DISTS);
    assert!(absent.rows == plain.rows);
    let asked = origin.take_requests();
    assert!(asked.iter().any(|r| r.path.ends_with("/Packages.xz")), "{asked:#?}");
    assert_eq!(absent.number("requests"), asked.len() as u64);
}

#[test]
fn rows_are_the_same_whichever_digests_release_has() {
    let plain = big_index(30);
    let bytes = packed(Compression::Gz, &plain);
    let expected = truth(std::str::from_utf8(&plain).unwrap());
    for field in ["MD5Sum", "SHA1", "SHA256", "SHA512"] {
        let origin = Origin::empty();
        origin.put("/Release", release(field, &[("Packages.gz", &bytes)]));
        origin.put("/Packages.gz", bytes.clone());
        assert_eq!(rows(&indexed(&origin.uri(), &[])), expected, "{field}");
        // And it is compared: a byte in the header of gzip that no decoder looks at.
        let mut changed = bytes.clone();
        changed[4] ^= 1;
        origin.put("/Packages.gz", changed);
        failed(&origin, &["Packages.gz and Release don't match"]);
    }
}

#[test]
fn rows_are_the_same_however_the_body_is_cut() {
    let plain = big_index(20);
    let origin = Origin::empty();
    for compression in Compression::ALL {
        let name = name_of(compression);
        let folder = format!("/{compression:?}");
        serve(&origin, &folder, &name, packed(compression, &plain));
        let uri = format!("{}{folder}", origin.uri());
        let whole = indexed(&uri, &[]);
        assert_eq!(whole.number("packages"), 20);
        for size in [1, 2, 3, 7, 64, 257, 1021] {
            for file in ["Release", &name] {
                origin.fault(&format!("{folder}/{file}"), Fault::Chunked(size));
            }
            let cut = indexed(&uri, &[]);
            assert!(cut.rows == whole.rows, "{compression:?} in {size}s");
        }
    }
}

/// The memory that is promised, and the same rows for every compression of a big index, however it
/// is cut.
#[test]
fn memory_does_not_grow_with_the_index() {
    let origin = Origin::empty();
    let plain = big_index(60_000);
    let (few, more) = (big_index(3_000), big_index(12_000));
    let mut first: Option<Indexed> = None;
    serve(&origin, "/least", "Packages", big_index(1));
    let least = indexed(&format!("{}/least", origin.uri()), &[]).peak_rss_bytes();
    for compression in Compression::ALL {
        let name = name_of(compression);
        let big = format!("/big-{compression:?}");
        serve(&origin, &big, &name, packed(compression, &plain));
        let cut = match compression {
            Compression::Gz => Some(4093),
            Compression::Xz => Some(65_537),
            Compression::Zst => Some(1_000_003),
            _ => None,
        };
        if let Some(size) = cut {
            origin.fault(&format!("{big}/{name}"), Fault::Chunked(size));
        }
        let small = format!("/small-{compression:?}");
        // A window fills with the first 8 MiB: fewer stanzas wouldn't need the whole of it.
        // What it takes beside the program itself, which in a debug build is most of it.
        let (few, promised) = match compression {
            Compression::Bz2 | Compression::Gz | Compression::Plain => (&few, 5 * MB),
            Compression::Lzma | Compression::Xz | Compression::Zst => (&more, 14 * MB),
        };
        serve(&origin, &small, &name, packed(compression, few));
        let few = indexed(&format!("{}{small}", origin.uri()), &[]);
        let run = indexed(&format!("{}{big}", origin.uri()), &[]);
        println!(
            "{compression:?}: {:.1} MB for {} stanzas, {:.1} MB for 60000, {} s CPU",
            few.peak_rss_bytes() as f64 / 1e6,
            few.number("packages"),
            run.peak_rss_bytes() as f64 / 1e6,
            run.summary["cpu_seconds"]
        );
        let (few, many) = (few.peak_rss_bytes(), run.peak_rss_bytes());
        assert!(many <= few + 2 * MB, "{compression:?}: {few} bytes for few, {many} for many");
        assert!(many < least + promised, "{compression:?}: {least} bytes at least, {many}");
        match &first {
            None => {
                assert_eq!(run.number("packages"), 60_000);
                assert_eq!(run.number("bytes_plain"), plain.len() as u64);
                assert!(rows(&run) == truth(std::str::from_utf8(&plain).unwrap()));
                first = Some(run);
            }
            Some(first) => assert!(first.rows == run.rows, "{compression:?}"),
        }
    }
}

#[test]
fn a_damaged_index_is_named() {
    let plain = big_index(3_000);
    for compression in Compression::ALL {
        let origin = Origin::empty();
        let name = name_of(compression);
        serve(&origin, "", &name, packed(compression, &plain));
        indexed(&origin.uri(), &[]);
        let path = format!("/{name}");
        for fault in [Fault::WrongByte, Fault::Truncate(20_000)] {
            origin.fault(&path, fault.clone());
            failed(&origin, &[&name]);
        }
        origin.fault(&path, Fault::Endless(b"X".to_vec()));
        failed(&origin, &[&name, "longer than"]);
        origin.heal(&path);
        // Longer, and its server says so.
        let mut longer = packed(compression, &plain);
        longer.push(b'\n');
        origin.put(&path, longer);
        failed(&origin, &[&name, "longer than"]);
    }
}

#[test]
fn a_mirror_in_the_middle_of_an_update_is_called_that() {
    let (old, new) = (big_index(50), big_index(49));
    let origin = Origin::empty();
    serve(&origin, "", "Packages", old);
    origin.put("/Packages", new);
    let run = failed(&origin, &["Packages and Release don't match", "update?"]);
    assert_eq!(run.number("requests"), 4, "{}", run.summary);
}

#[test]
fn a_broken_index_is_passed_over_for_the_next_best() {
    for count in [20, 3_000] {
        let plain = big_index(count);
        let gz = packed(Compression::Gz, &plain);
        let xz = packed(Compression::Xz, &plain);
        let origin = Origin::empty();
        let files: [(&str, &[u8]); 2] = [("Packages.gz", &gz), ("Packages.xz", &xz)];
        origin.put("/Release", release("SHA256", &files));
        origin.put("/Packages.gz", gz.clone());
        origin.put("/Packages.xz", xz.clone());
        let whole = indexed(&origin.uri(), &[]);
        assert!(origin.requests_for("/Packages.xz").is_empty());
        for fault in [
            Fault::Status(404, vec![]),
            Fault::Status(500, vec![]),
            Fault::Truncate(30),
            Fault::Truncate(gz.len() - 5),
        ] {
            origin.fault("/Packages.gz", fault.clone());
            let run = indexed(&origin.uri(), &[]);
            assert!(run.rows == whole.rows, "{count} {fault:?}");
        }
    }
}

#[test]
fn rows_of_a_broken_index_that_the_next_one_does_not_have_are_an_error() {
    // The best index isn't what Release says, and begins with other rows than the next.
    let (plain, other) = (big_index(3_000), big_index(6_000).split_off(3_000_000));
    let start = other.windows(2).position(|two| two == b"\n\n").unwrap() + 2;
    let gz = packed(Compression::Gz, &plain);
    let xz = packed(Compression::Xz, &plain);
    let origin = Origin::empty();
    let files: [(&str, &[u8]); 2] = [("Packages.gz", &gz), ("Packages.xz", &xz)];
    origin.put("/Release", release("SHA256", &files));
    let mut wrong = packed(Compression::Gz, &other[start..start + 900_000]);
    wrong.truncate(gz.len());
    origin.put("/Packages.gz", wrong);
    origin.put("/Packages.xz", xz);
    failed(&origin, &["Packages.gz"]);
}

#[test]
fn servers_without_a_repository_are_called_that() {
    // Nothing at all.
    let origin = Origin::empty();
    let run = failed(&origin, &["Packages", "not there"]);
    assert_eq!(run.number("requests"), 8);
    assert_eq!(run.rows, "");

    // A page for whatever is asked.
    let page = "<!DOCTYPE html>\n<html><head><title>Hello: world</title></head></html>\n";
    for name in ["InRelease", "Release", "Packages"] {
        origin.put(&format!("/{name}"), page);
    }
    for compression in Compression::ALL {
        origin.put(&format!("/{}", name_of(compression)), page);
    }
    failed(&origin, &["Packages", "no package in it"]);

    for (status, headers, said) in [
        (500, vec![], "status 500"),
        (503, vec![], "status 503"),
        (429, vec![("Retry-After", "120".to_owned())], "asked again after 120 s"),
    ] {
        let origin = Origin::empty();
        origin.fault("*", Fault::Status(status, headers));
        let run = failed(&origin, &["InRelease", said]);
        // A server in trouble, or one that has had enough, isn't asked for more.
        assert_eq!(run.number("requests"), 1);
    }
    let origin = Origin::empty();
    origin.fault("*", Fault::Status(403, vec![]));
    failed(&origin, &["status 403"]);
}

#[test]
fn redirects_are_followed_counted_and_bounded() {
    let origin = Origin::empty();
    let plain = big_index(10);
    serve(&origin, "/real", "Packages", plain.clone());
    for name in ["Release", "Packages"] {
        let to = format!("{}/real/{name}", origin.uri());
        origin.fault(&format!("/{name}"), Fault::Redirect(to));
    }
    let run = indexed(&origin.uri(), &[]);
    assert_eq!(rows(&run), truth(std::str::from_utf8(&plain).unwrap()));
    assert_eq!(run.number("requests"), origin.take_requests().len() as u64, "{}", run.summary);

    origin.fault("*", Fault::Redirect("/again".to_owned()));
    // InRelease and Release to the end; then no redirect is followed any more.
    let run = failed(&origin, &["Packages.zst", "redirects"]);
    assert_eq!(run.number("requests"), 3 * 6);
    for (to, why) in [
        ("ftp://repo.example/x", "\"ftp://repo.example/x\" is not an http:// or https:// address"),
        ("javascript:alert(1)", "not an http:// or https:// address"),
        ("", "redirect to nowhere"),
        ("http://é.example/x", "\"http://é.example/x\" names no host in ASCII"),
        ("\\\\repo.example\\x", "a backslash"),
        ("http://me@repo.example/x", "a user name"),
        ("http://127.1/x", "no whole IPv4 address"),
    ] {
        origin.fault("*", Fault::Redirect(to.to_owned()));
        failed(&origin, &[why]);
    }
}

/// Locations as servers write them, with blanks, dots and UTF-8 in them.
#[test]
fn redirects_lead_to_what_they_mean() {
    let plain = big_index(2);
    for (location, asked) in [
        ("/a b.gz", "/a%20b.gz"),
        ("a b  c", "/deep/repo/a%20b%20%20c"),
        (" /behind a/blank ", "/behind%20a/blank"),
        ("x%20y z?a b", "/deep/repo/x%20y%20z?a%20b"),
        ("../real/Packages", "/deep/real/Packages"),
        ("./../../real/./Packages", "/real/Packages"),
        ("../../../../../Packages", "/Packages"),
        ("/x/../deep/y/../real", "/deep/real"),
        ("%2e%2E/real/Packages", "/deep/real/Packages"),
        ("/é.gz", "/%C3%A9.gz"),
        ("日本/Packages", "/deep/repo/%E6%97%A5%E6%9C%AC/Packages"),
        ("%c3%a9/é?é", "/deep/repo/%c3%a9/%C3%A9?%C3%A9"),
        ("/100%/[é]", "/100%25/%5B%C3%A9%5D"),
        ("/real/Packages#part", "/real/Packages"),
        ("/real/Packages?v=1&w=%20#a?b#c", "/real/Packages?v=1&w=%20"),
        ("/", "/"),
        ("..", "/deep/"),
        ("/../../up", "/up"),
        ("%2E%2e/%2e%2E/%2e%2e/up", "/up"),
        ("HTTP://HERE/real", "/real"),
        ("hTtP://HERE", "/"),
        ("http://HERE?q", "/?q"),
        ("//HERE/./real/../x", "/x"),
        ("\thttp://HERE/tab ", "/tab"),
    ] {
        let origin = Origin::empty();
        serve(&origin, "/deep/repo", "Packages", plain.clone());
        let there = location.replace("HERE", &origin.address().to_string());
        origin.fault("/deep/repo/Packages", Fault::Redirect(there));
        let read = Uri::parse(&origin.uri()).and_then(|base| base.resolve(asked.as_bytes()));
        let steps = read.unwrap().steps();
        let path = steps.iter().map(|step| format!("/{}", String::from_utf8_lossy(step)));
        origin.put(&path.collect::<String>(), plain.clone());
        // That of a directory ends in a slash.
        origin.put(asked.split('?').next().unwrap(), plain.clone());
        let run = indexed(&format!("{}/deep/repo", origin.uri()), &[]);
        assert_eq!(rows(&run), truth(std::str::from_utf8(&plain).unwrap()), "{location}");
        let asked_last = origin.requests().pop().map(|request| request.path);
        assert_eq!(asked_last.as_deref(), Some(asked), "{location}");
    }
}

#[test]
fn a_uri_is_taken_as_it_is_meant() {
    let origin = Origin::empty();
    let plain = big_index(2);
    serve(&origin, "/a é", "Packages", plain.clone());
    let at = origin.address();
    for uri in [
        format!("HTTP://{at}/a é"),
        format!("Http://{at}/a%20é/"),
        format!(" http://{at}/a%20%c3%a9 "),
        format!("\thttp://{at}/./a é//\n"),
    ] {
        let run = indexed(&uri, &[]);
        assert_eq!(rows(&run), truth(std::str::from_utf8(&plain).unwrap()), "{uri}");
    }
}

#[test]
fn addresses_that_are_not_public_are_refused_unless_allowed() {
    let origin = Origin::empty();
    serve(&origin, "", "Packages", big_index(1));
    let port = origin.address().port();
    for host in ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "0.0.0.0"] {
        let uri = format!("http://{host}:{port}");
        let run = failed_with(&uri, &[], &["InRelease", "public internet", "--allow-private"]);
        assert_eq!(run.rows, "");
    }
    // 127.0.0.1 in another spelling.
    let mapped = run(&format!("http://[::ffff:127.0.0.1]:{port}"), &[]);
    assert!(mapped.said[0].contains("public internet"), "{:?}", mapped.said);
    assert_eq!(origin.take_requests().len(), 0);
    indexed(&format!("http://localhost:{port}"), &[]);
}

#[test]
fn bombs_and_endless_files_end_early() {
    // Lines that part stanzas, so that only the ratio can end it; then one line without an end.
    let blanks = format!("{}\n", " ".repeat(65_535)).repeat(2048);
    let zeros = vec![0; 128 << 20];
    for compression in Compression::ALL {
        if compression == Compression::Plain {
            continue;
        }
        let name = name_of(compression);
        for (what, plain, why) in [
            ("blanks", blanks.as_bytes(), "times its size"),
            ("zeros", &zeros, "stanza longer than"),
        ] {
            let origin = Origin::empty();
            serve(&origin, "", &name, packed(compression, plain));
            let run = failed(&origin, &[&name, why]);
            assert_eq!(run.rows, "", "{what}");
        }
    }
    // Nobody says how long these are.
    for pattern in ["a", "Package: a\n", " a\n"] {
        let origin = Origin::empty();
        origin.put("/Packages", "Package: a\n");
        origin.fault("/Packages", Fault::Endless(pattern.into()));
        failed(&origin, &["Packages", "stanza longer than"]);
    }
}

#[test]
fn a_release_over_its_limits_is_refused() {
    for (pattern, why) in [
        ("Label: aaaaaaaaa\n a", "longer than 16777216 bytes"),
        ("Origin: a\n", "longer than 16777216 bytes"),
        (" 00 1 x\n", "longer than 16777216 bytes"),
    ] {
        for name in ["InRelease", "Release"] {
            let origin = Origin::empty();
            origin.put(&format!("/{name}"), "Origin: a\nSHA256:\n");
            origin.fault(&format!("/{name}"), Fault::Endless(pattern.into()));
            failed(&origin, &[name, why]);
        }
    }
    for (start, why) in [
        ("Origin: a\n", "InRelease: line 2 is longer than 65536 bytes"),
        // A page in one line.
        ("", "Packages: not there"),
    ] {
        let origin = Origin::empty();
        origin.put("/InRelease", format!("{start}{}", "a".repeat(1 << 20)));
        failed(&origin, &[why]);
    }
    let origin = Origin::empty();
    origin.put("/Release", "Origin: a\n".repeat(10_000_000));
    let run = failed(&origin, &["Release", "longer than 16777216 bytes"]);
    // Its server says how long it is: nothing of it is read, but the page that says that there is no
    // InRelease.
    assert!(run.number("bytes_fetched") < 100, "{}", run.summary);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let origin = Origin::empty();
    serve(&origin, "", "Packages", big_index(3_000));
    for summary in ["none", "json"] {
        let pipe = format!(
            "{} index {} --allow-private --summary {summary} | head -n 1; echo ${{PIPESTATUS[0]}}",
            binary("canister-agent").display(),
            origin.uri()
        );
        let mut command = Command::new("bash");
        command.args(["-c", &pipe]).env("RUST_BACKTRACE", "1");
        let mut program = Program::start_command("a pipe", &mut command);
        assert_eq!(program.wait(RUN_MAX).code(), Some(0));
        let (stdout, stderr) = (program.stdout(), program.stderr());
        let lines: Vec<&str> = stdout.lines().collect();
        assert_eq!((lines.len(), lines[1]), (2, "0"), "{stdout} {stderr}");
        if summary == "none" {
            assert_eq!(stderr, "");
        } else {
            // What wasn't written isn't claimed.
            assert!(stderr.starts_with("{\"head\":null,\"packages\":0,"), "{stderr}");
            assert_eq!(stderr.lines().count(), 1);
        }
    }
    // Any other trouble with standard output is one.
    let mut command = Command::new(binary("canister-agent"));
    command.args(["index", &origin.uri(), "--allow-private"]);
    let full = std::fs::File::options().write(true).open("/dev/full");
    command.stdout(full.unwrap()).stderr(Stdio::piped());
    let run = command.output().unwrap();
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("write rows: No space left"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}

#[test]
fn progress_is_for_terminals() {
    let origin = Origin::empty();
    serve(&origin, "", "Packages", big_index(30));
    let agent = binary("canister-agent");
    let words = format!("{} index {} --allow-private", agent.display(), origin.uri());
    // No terminal: nothing but what is asked for.
    for (summary, lines) in [("", 0), (" --summary text", 3), (" --summary none", 0)] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{words}{summary}")]);
        let mut program = Program::start_command("index", &mut command);
        assert_eq!(program.wait(RUN_MAX).code(), Some(0));
        let stderr = program.stderr();
        assert_eq!(stderr.lines().count(), lines, "{stderr}");
        assert!(!stderr.contains(['\r', '\x1b']), "{stderr}");
    }
    // A terminal: a bar that is gone at the end, then the summary.
    let rows = tempfile::tempdir().unwrap();
    let rows = rows.path().join("rows");
    let typed = format!("{words} > {}", rows.display());
    let seen = script(&typed, Path::new("/dev/null"));
    let (bar, end) = seen.rsplit_once("\r\x1b[K").unwrap();
    assert!(bar.contains('[') && bar.contains(" packages"), "{seen:?}");
    assert!(end.starts_with("30 packages, 0 stanzas skipped"), "{end:?}");
    assert_eq!(std::fs::read_to_string(rows).unwrap().lines().count(), 30);
}

/// What a terminal shows of a command.
fn script(typed: &str, log: &Path) -> String {
    let mut command = Command::new("script");
    command.args(["-qec", typed]).arg(log);
    let mut program = Program::start_command("script", &mut command);
    assert_eq!(program.wait(RUN_MAX).code(), Some(0));
    program.stdout()
}
