//! The real openssl, and what it says of an authority's files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many of each kind an authority's folder has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judged {
    /// Certificates, each time one stands in a file.
    pub certificates: usize,
    /// Private keys.
    pub keys: usize,
    /// Revocation lists, each time one stands in a file.
    pub lists: usize,
}

/// Runs a command line in a folder, which must succeed; returns what it said.
pub fn succeeds(dir: &Path, line: &str) -> String {
    let (is_good, said) = shell(dir, line);
    assert!(is_good, "{line}: {said}");
    said
}

/// The same, which must fail.
pub fn fails(dir: &Path, line: &str) -> String {
    let (is_good, said) = shell(dir, line);
    assert!(!is_good, "{line}: {said}");
    said
}

/// Runs `openssl req -verify` or `openssl crl -CAfile`, whose exit status is 0 whatever they find;
/// what they must say is "verify OK".
pub fn verified(dir: &Path, line: &str) -> String {
    let said = succeeds(dir, line);
    assert!(said.contains("verify OK"), "{line}: {said}");
    said
}

/// A peer's certificate, as `openssl x509 -text` shows it, has nothing of what the greedy requests of
/// the tests ask for.
pub fn assert_nothing_asked_for(shown: &str) {
    for part in ["CA:TRUE", "a.example", "Certificate Sign", "Server Authentication"] {
        assert!(!shown.contains(part), "{part:?} in {shown}");
    }
}

fn shell(dir: &Path, line: &str) -> (bool, String) {
    let mut shell = Command::new("sh");
    shell.args(["-ec", line]).current_dir(dir);
    let output = shell.output().expect("there is a shell");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

/// Has openssl judge everything in an authority's folder, file by file and block by block: each
/// certificate is the root's and on no list, each list is signed by who it says, each key opens.
/// Panics where one isn't, and where a file is of no kind that is known here. `password` is how
/// openssl gets the keys' passphrase (`-passin file:…`), `more` further flags for `openssl verify`.
pub fn judge(ca: &Path, password: &str, more: &str) -> Judged {
    let mut judged = Judged::default();
    let block_file = tempfile::NamedTempFile::new().expect("make a file");
    let block_path = block_file.path().display();
    for path in files(ca) {
        let text = fs::read_to_string(&path).expect("a file of an authority is text");
        let name = path.strip_prefix(ca).expect("it is in the folder");
        let name = name.display().to_string();
        if name.ends_with(".json") || name.ends_with("lock") {
            continue;
        }
        let mut blocks = 0;
        for block in text.split_inclusive("-----\n").collect::<Vec<_>>().chunks(2) {
            fs::write(block_file.path(), block.concat()).expect("write a file");
            let kind = block[0].trim_start_matches("-----BEGIN ");
            match kind.trim_end_matches("-----\n") {
                "CERTIFICATE" => {
                    judged.certificates += 1;
                    let line = format!(
                        "openssl verify -x509_strict -crl_check_all -CAfile ca.crt -CRLfile \
                         crl.pem {more} {block_path}"
                    );
                    succeeds(ca, &line);
                }
                "X509 CRL" => {
                    judged.lists += 1;
                    verified(ca, &format!("openssl crl -in {block_path} -CAfile ca.crt -noout"));
                }
                "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => {
                    judged.keys += 1;
                    succeeds(
                        ca,
                        &format!("openssl pkey -in {block_path} {password} -check -noout"),
                    );
                }
                other => panic!("{name}: a block {other:?}"),
            }
            blocks += 1;
        }
        assert!(blocks > 0, "{name} has no block");
    }
    judged
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let inside = |path: PathBuf| {
        if path.is_dir() { files(&path) } else { vec![path] }
    };
    paths.flat_map(inside).collect()
}
