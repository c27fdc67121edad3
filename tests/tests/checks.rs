//! What `canister-agent check` answers where something is wrong: one line for each of the ways to be
//! wrong, the first cause alone, with what to do.

use canister_authority::Authority;
use canister_link::certificate::{fingerprint, spoken};
use canister_tests::network::{Network, flat};
use canister_tests::openssl::succeeds;
use canister_tests::own_network::{Home, is_inside, world};
use canister_tests::programs::{Ran, binary, run_command};
use rcgen::KeyPair;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// A peer called anna with an arbiter, and a folder of her files, fresh for each case.
struct Anna {
    network: Network,
}

impl Anna {
    fn new() -> Self {
        let anna = Self { network: Network::start(&[flat("a", "http://127.0.0.1:1")], &[]) };
        anna.network.peer("anna");
        anna
    }

    fn folder(&self) -> PathBuf {
        let dir = self.network.dir().join("anna");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        let files = self.network.peer("anna");
        for (from, to) in [
            (&files.certificate, "peer.crt"),
            (&files.key, "peer.key"),
            (&files.authority, "ca.crt"),
        ] {
            fs::copy(from, dir.join(to)).unwrap();
        }
        dir
    }

    fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new(binary("canister-agent"));
        command.args(["check", "--trial", "none", "--dir"]).arg(dir);
        command
    }

    fn check(&self, dir: &Path, more: &[&str]) -> Ran {
        let arbiter = format!("wss://{}", self.network.listen);
        run_command("check", self.command(dir).args(["--arbiter", &arbiter]).args(more), SOON)
    }
}

/// The one thing that it finds wrong.
fn only_failure(case: &str, ran: &Ran) -> String {
    assert_eq!(ran.status.code(), Some(1), "{case}: {} {}", ran.stdout, ran.stderr);
    let failed: Vec<&str> =
        ran.stdout.lines().filter_map(|line| line.strip_prefix("FAIL  ")).collect();
    assert_eq!(failed.len(), 1, "{case}: {}", ran.stdout);
    assert!(ran.stderr.ends_with("checks failed\n"), "{case}: {}", ran.stderr);
    assert!(!ran.stdout.contains("all is well"), "{case}: {}", ran.stdout);
    failed[0].to_owned()
}

fn is_well(case: &str, ran: &Ran) {
    assert!(ran.status.success(), "{case}: {}", ran.stdout);
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.starts_with("all is well; next: canister-agent run"), "{case}: {last}");
}

/// What makes a folder wrong, and what is said then, `D` being the folder.
type Case = (&'static str, fn(&Path), &'static str);

fn edit(path: PathBuf, change: impl FnOnce(String) -> String) {
    fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
}

fn rename(dir: &Path, from: &str, to: &str) {
    fs::rename(dir.join(from), dir.join(to)).unwrap();
}

const CASES: &[Case] = &[
    (
        "there is no folder",
        |dir| fs::remove_dir_all(dir).unwrap(),
        "there is no folder D; `canister-agent join NAME` makes it, --dir names another",
    ),
    (
        "nothing was begun",
        |dir| {
            ["peer.crt", "peer.key", "ca.crt"]
                .iter()
                .for_each(|it| fs::remove_file(dir.join(it)).unwrap())
        },
        "D/peer.crt isn't there: this is no peer yet; `canister-agent join NAME` makes it one",
    ),
    (
        "nothing came back yet",
        |dir| {
            rename(dir, "peer.crt", "peer.csr");
            fs::remove_file(dir.join("ca.crt")).unwrap();
        },
        "D/peer.crt isn't there: it comes back for D/peer.csr; send that to support@canister.me, or \
         `canister-agent join NAME`",
    ),
    (
        "saved as text",
        |dir| rename(dir, "peer.crt", "peer.crt.txt"),
        "read certificate D/peer.crt: it isn't there, but another is: mv 'D/peer.crt.txt' D/peer.crt",
    ),
    (
        "downloaded twice",
        |dir| rename(dir, "peer.crt", "peer (1).crt"),
        "read certificate D/peer.crt: it isn't there, but another is: mv 'D/peer (1).crt' D/peer.crt",
    ),
    (
        "called .pem",
        |dir| rename(dir, "peer.crt", "peer.pem"),
        "read certificate D/peer.crt: it isn't there, but another is: mv 'D/peer.pem' D/peer.crt",
    ),
    (
        "called .cer",
        |dir| rename(dir, "peer.crt", "peer.cer"),
        "read certificate D/peer.crt: it isn't there, but another is: mv 'D/peer.cer' D/peer.crt",
    ),
    (
        "in capitals",
        |dir| rename(dir, "peer.crt", "PEER.CRT"),
        "read certificate D/peer.crt: it isn't there, but another is: mv 'D/PEER.CRT' D/peer.crt",
    ),
    (
        "the authority saved as text",
        |dir| rename(dir, "ca.crt", "ca.crt.txt"),
        "read authority's certificate D/ca.crt: it isn't there, but another is: mv 'D/ca.crt.txt' \
         D/ca.crt",
    ),
    (
        "no key",
        |dir| fs::remove_file(dir.join("peer.key")).unwrap(),
        "read private key D/peer.key: No such file or directory (os error 2); --key names another",
    ),
    (
        "no authority",
        |dir| fs::remove_file(dir.join("ca.crt")).unwrap(),
        "read authority's certificate D/ca.crt: No such file or directory (os error 2); --authority \
         names another",
    ),
    (
        "an empty certificate",
        |dir| edit(dir.join("peer.crt"), |_| String::new()),
        "read certificate D/peer.crt: it is empty; copy it again",
    ),
    (
        "an empty key",
        |dir| edit(dir.join("peer.key"), |_| String::new()),
        "read private key D/peer.key: it is empty; copy it again",
    ),
    (
        "an empty authority",
        |dir| edit(dir.join("ca.crt"), |_| "\n".to_owned()),
        "read authority's certificate D/ca.crt: it is empty; copy it again",
    ),
    (
        "a certificate that is cut off",
        |dir| edit(dir.join("peer.crt"), |text| text[..text.len() / 3].to_owned()),
        "read certificate D/peer.crt: it isn't whole: its last line must be -----END \
         CERTIFICATE-----; copy it again",
    ),
    (
        "a key that is cut off",
        |dir| edit(dir.join("peer.key"), |text| text[..text.len() / 2].to_owned()),
        "read private key D/peer.key: it isn't whole: its last line must be -----END PRIVATE \
         KEY-----; copy it again",
    ),
    (
        "an authority that is cut off",
        |dir| edit(dir.join("ca.crt"), |text| text[..text.len() - 30].to_owned()),
        "read authority's certificate D/ca.crt: it isn't whole: its last line must be -----END \
         CERTIFICATE-----; copy it again",
    ),
    (
        "a certificate on one line",
        |dir| edit(dir.join("peer.crt"), |text| text.replace('\n', " ")),
        "read certificate D/peer.crt: its line ends are lost; copy the file itself, not its text",
    ),
    (
        "a damaged certificate",
        |dir| edit(dir.join("peer.crt"), |text| text.replacen('M', "?", 1)),
        "read certificate D/peer.crt: it is damaged; copy it again",
    ),
    (
        "a damaged key",
        |dir| edit(dir.join("peer.key"), |text| text.replacen('M', "?", 1)),
        "read private key D/peer.key: it is damaged; use the file as it was made",
    ),
    (
        "a certificate in DER",
        |dir| {
            succeeds(dir, "openssl x509 -in peer.crt -outform der -out der && mv der peer.crt");
        },
        "read certificate D/peer.crt: it is DER, not PEM; `openssl x509 -inform der -in FILE -out \
         FILE.pem` makes one of it",
    ),
    (
        "a page instead of the file",
        |dir| edit(dir.join("peer.crt"), |_| "<!DOCTYPE html>\n<p>Log in\n".to_owned()),
        "read certificate D/peer.crt: it is a web page; download it again, as a file",
    ),
    (
        "text in two bytes a letter",
        |dir| {
            let text = fs::read_to_string(dir.join("peer.crt")).unwrap();
            let wide = std::iter::once(0xfeff).chain(text.encode_utf16());
            let bytes: Vec<u8> = wide.flat_map(u16::to_le_bytes).collect();
            fs::write(dir.join("peer.crt"), bytes).unwrap();
        },
        "read certificate D/peer.crt: it is UTF-16 text; save it as plain text, UTF-8",
    ),
    (
        "something else",
        |dir| edit(dir.join("peer.crt"), |_| "hello\n".to_owned()),
        "read certificate D/peer.crt: no certificate in it; use a PEM file with BEGIN CERTIFICATE",
    ),
    (
        "the request instead of the certificate",
        |dir| {
            let made = canister_link::request::make(&dir.join("new"), "anna").unwrap();
            fs::write(dir.join("peer.crt"), made.text).unwrap();
        },
        "read certificate D/peer.crt: it is the request; the certificate is what came back for it",
    ),
    (
        "the key instead of the certificate",
        |dir| {
            fs::copy(dir.join("peer.key"), dir.join("peer.crt")).unwrap();
        },
        "read certificate D/peer.crt: it is a private key; the certificate is what came back for the \
         request",
    ),
    (
        "the certificate instead of the key",
        |dir| edit(dir.join("peer.key"), |_| fs::read_to_string(dir.join("peer.crt")).unwrap()),
        "read private key D/peer.key: it is a certificate; use the key that was made for it",
    ),
    (
        "certificate and authority swapped",
        |dir| {
            rename(dir, "peer.crt", "new");
            rename(dir, "ca.crt", "peer.crt");
            rename(dir, "new", "ca.crt");
        },
        "read certificate D/peer.crt: it is an authority's; is it swapped with ca.crt?",
    ),
    (
        "the certificate twice",
        |dir| {
            fs::copy(dir.join("peer.crt"), dir.join("ca.crt")).unwrap();
        },
        "read authority's certificate D/ca.crt: it is the certificate of anna; use the authority's \
         ca.crt",
    ),
    (
        "an encrypted key",
        |dir| {
            succeeds(
                dir,
                "openssl pkey -in peer.key -aes256 -passout pass:x -out new && mv new peer.key",
            );
        },
        "read private key D/peer.key: it is encrypted, and nobody is asked for its passphrase; \
         `openssl pkey -in FILE -out NEW` makes one that isn't",
    ),
    (
        "the public key instead of the private one",
        |dir| {
            succeeds(dir, "openssl pkey -in peer.key -pubout -out new && mv new peer.key");
        },
        "read private key D/peer.key: it is a public key; use the private one",
    ),
    (
        "a key that is open to others",
        |dir| {
            let open = fs::Permissions::from_mode(0o644);
            fs::set_permissions(dir.join("peer.key"), open).unwrap();
        },
        "read private key D/peer.key: others may use it, too (mode 0644); chmod 0600 D/peer.key",
    ),
    (
        "another's key",
        |dir| {
            edit(dir.join("peer.key"), |_| KeyPair::generate().unwrap().serialize_pem());
        },
        "use D/peer.crt with D/peer.key: they are no pair; the key that the certificate was asked \
         for with would work",
    ),
    (
        "a folder where a file should be",
        |dir| {
            fs::remove_file(dir.join("peer.crt")).unwrap();
            fs::create_dir(dir.join("peer.crt")).unwrap();
        },
        "read certificate D/peer.crt: it is a folder; --certificate names the file",
    ),
    (
        "the authority of somebody else",
        |dir| {
            Authority::init(&dir.join("ca")).unwrap();
            fs::copy(dir.join("ca/ca.crt"), dir.join("ca.crt")).unwrap();
        },
        "the authority that --authority names didn't sign the certificate; use its file that came with \
         the certificate, and the certificate as it came, with all that is in its file",
    ),
];

#[test]
fn each_wrong_file_is_told_in_a_line() {
    let anna = Anna::new();
    for (case, spoil, says) in CASES {
        let dir = anna.folder();
        spoil(&dir);
        let said = only_failure(case, &anna.check(&dir, &[]));
        // A key of root's may be readable for the service's group.
        let said = said.replace("chmod 0640", "chmod 0600");
        let dir = dir.display().to_string();
        let says = says.replace("D/", &format!("{dir}/")).replace(" D;", &format!(" {dir};"));
        assert_eq!(said, says, "{case}");
    }
    println!("{} wrong sets of files", CASES.len());
}

#[test]
fn what_only_looks_wrong_is_well() {
    let anna = Anna::new();
    let ran = anna.check(&anna.folder(), &[]);
    is_well("nothing is wrong", &ran);
    assert!(ran.stdout.contains("ok    memory: 256 MiB by default, "), "{}", ran.stdout);
    let dir = anna.folder();
    for file in ["peer.crt", "peer.key", "ca.crt"] {
        edit(dir.join(file), |text| format!("\u{feff}{}", text.replace('\n', "\r\n")));
    }
    is_well("saved on Windows", &anna.check(&dir, &[]));
    let dir = anna.folder();
    edit(dir.join("peer.crt"), |text| format!("anna's\n\n{text}\n\n"));
    is_well("text around it", &anna.check(&dir, &[]));
    // A run goes on to an arbiter that works.
    let ran = anna.check(&anna.folder(), &["--arbiter", "wss://127.0.0.1:1"]);
    is_well("one of two arbiters is down", &ran);
    assert!(ran.stdout.contains("note  wss://127.0.0.1:1/connect: connect to"), "{}", ran.stdout);
    // A variable that nobody reads.
    let arbiter = format!("wss://{}", anna.network.listen);
    let mut command = anna.command(&anna.folder());
    command.args(["--arbiter", &arbiter]).env("CANISTER_SLOT", "3");
    let ran = run_command("check", &mut command, SOON);
    is_well("a misspelt variable", &ran);
    let note = "note  CANISTER_SLOT is set, and no setting has this variable; did you mean \
                CANISTER_SLOTS?\n";
    assert!(ran.stdout.starts_with(note), "{}", ran.stdout);
}

#[test]
fn who_waits_to_be_admitted_is_told_the_words() {
    let anna = Anna::new();
    let dir = anna.network.dir().join("new");
    let mut join = Command::new(binary("canister-agent"));
    join.args(["join", "new", "--no-wait", "--dir"]).arg(&dir);
    join.arg("--join-at").arg(format!("http://{}", anna.network.public));
    let ran = run_command("join", &mut join, SOON);
    assert!(ran.status.success(), "{}", ran.stderr);
    let key = KeyPair::from_pem(&fs::read_to_string(dir.join("peer.key")).unwrap()).unwrap();
    let words = spoken(&fingerprint(&rcgen::PublicKeyData::subject_public_key_info(&key)));
    let said = only_failure("waits", &anna.check(&dir, &[]));
    assert_eq!(
        said,
        format!(
            "not admitted yet by http://{}; wait, and read these words out when you are asked for \
             them: {words}",
            anna.network.public
        )
    );
}

/// The clock of a process, by faketime.
#[test]
fn a_wrong_clock_is_told_once() {
    let anna = Anna::new();
    let at = |when: &str| {
        let mut command = Command::new("faketime");
        command.arg(when).arg(binary("canister-agent")).args(["check", "--trial", "none", "--dir"]);
        command.arg(anna.folder()).arg("--arbiter").arg(format!("wss://{}", anna.network.listen));
        run_command("check", &mut command, SOON)
    };
    let said = only_failure("1970", &at("1970-01-02 00:00:00 UTC"));
    assert!(said.contains("/peer.crt is not yet valid: it begins on "), "{said}");
    assert!(said.ends_with("is this machine's clock right?"), "{said}");
    let said = only_failure("2100", &at("2100-01-01 00:00:00 UTC"));
    assert!(said.contains("/peer.crt ended on "), "{said}");
    assert!(
        said.contains("ask for a new one, if this machine's clock is right: it says"),
        "{said}"
    );
    let ran = at("+10 minutes");
    is_well("ten minutes", &ran);
    let note = ran.stdout.lines().find(|line| line.starts_with("note  this machine's clock says"));
    assert!(note.is_some(), "{}", ran.stdout);
}

/// Something that is no arbiter: what it answers to whoever connects.
fn listener(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked);
            let _ = stream.write_all(answer);
        }
    });
    address
}

/// The same server under another address.
fn forwarded(to: &str) -> String {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let (address, to) = (listener.local_addr().unwrap().to_string(), to.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(ours), Ok(theirs)) = (stream, TcpStream::connect(&to)) else { return };
            let ways = [(&ours, &theirs), (&theirs, &ours)];
            for (from, to) in ways.map(|(a, b)| (a.try_clone(), b.try_clone())) {
                let (mut from, mut to) = (from.unwrap(), to.unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    address
}

#[test]
fn each_wrong_way_to_an_arbiter_is_told_in_a_line() {
    let anna = Anna::new();
    let dir = anna.folder();
    let at = |addresses: &[&str], variables: &[(&str, &str)]| {
        let mut command = anna.command(&dir);
        for address in addresses {
            command.args(["--arbiter", &format!("wss://{address}")]);
        }
        command.envs(variables.iter().copied());
        run_command("check", &mut command, SOON)
    };
    let said = only_failure("closed", &at(&["127.0.0.1:1"], &[]));
    assert_eq!(
        said,
        "wss://127.0.0.1:1/connect: connect to 127.0.0.1:1: Connection refused (os error 111); a \
         firewall refuses port 1, or --arbiter names a host or port where no arbiter is"
    );
    let said = only_failure("all closed", &at(&["127.0.0.1:1", "127.0.0.2:1"], &[]));
    assert_eq!(
        said,
        "no arbiter is reached: connect to 127.0.0.1:1: Connection refused (os error 111); a \
         firewall refuses port 1, or --arbiter names a host or port where no arbiter is"
    );
    let said = only_failure("no name", &at(&["nowhere.invalid", "nowhere2.invalid"], &[]));
    assert!(
        said.starts_with("no arbiter is reached: look up the name nowhere.invalid: "),
        "{said}"
    );
    assert!(
        said.ends_with(
            "; no name can be looked up: is this machine connected, and is the name server in \
             /etc/resolv.conf right?"
        ),
        "{said}"
    );
    let mut command = anna.command(&dir);
    command.args(["--trial", "http://localhost:1", "--arbiter", "wss://nowhere.invalid"]);
    let said = only_failure("a wrong name", &run_command("check", &mut command, SOON));
    let end = "; other names are found: --arbiter names another than nowhere.invalid";
    assert!(said.ends_with(end), "{said}");

    let http = listener(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let said = only_failure("plain HTTP", &at(&[&http], &[]));
    assert_eq!(
        said,
        format!(
            "wss://{http}/connect: TLS handshake: something on the way answers without TLS: a proxy, \
             or a hotspot that wants a login"
        )
    );
    let shut = listener(b"");
    let said = only_failure("hung up", &at(&[&shut], &[]));
    assert!(
        said.starts_with(&format!("wss://{shut}/connect: TLS handshake: the connection was ended")),
        "{said}"
    );

    // Its name isn't in the certificate: localhost and 127.0.0.1 are.
    let elsewhere = forwarded(&anna.network.listen);
    let said = only_failure("another name", &at(&[&elsewhere], &[]));
    let end = "the arbiter's operator must give it a certificate for this name";
    assert!(said.ends_with(end), "{said}");
    let other = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let said = only_failure("another authority", &at(&[&other.listen], &[]));
    assert!(
        said.ends_with(
            "the arbiter's certificate is not of the authority that --authority names; use the \
             ca.crt that came with your certificate"
        ),
        "{said}"
    );

    let said = only_failure(
        "a proxy of another kind",
        &at(&[&anna.network.listen], &[("HTTPS_PROXY", "socks5://127.0.0.1:1")]),
    );
    assert_eq!(
        said,
        "arbiters and sources by https are not reached: HTTPS_PROXY: socks5 isn't understood; use \
         http://HOST:PORT"
    );
    let said = only_failure(
        "a proxy that is down",
        &at(&[&anna.network.listen], &[("HTTPS_PROXY", "http://127.0.0.1:1")]),
    );
    assert!(said.contains("proxy http://127.0.0.1:1 (HTTPS_PROXY): Connection refused"), "{said}");
    assert!(
        said.ends_with("; ask whoever runs the proxy, or name the arbiter in NO_PROXY"),
        "{said}"
    );

    anna.network.ca(&["revoke", "--why", "test", "anna"]);
    let revoked = canister_tests::programs::until("the list to be read", SOON, || {
        let ran = at(&[&anna.network.listen], &[]);
        (!ran.status.success()).then_some(ran)
    });
    let said = only_failure("revoked", &revoked);
    assert!(
        said.ends_with("our certificate was revoked; ask Canister why, and for a new one"),
        "{said}"
    );
}

/// Homes that packets leave for nowhere, or don't leave.
#[test]
fn each_home_without_a_way_out_is_told_in_a_line() {
    const NAME: &str = "checks::each_home_without_a_way_out_is_told_in_a_line";
    const SILENT: &str = "ip route add blackhole 11.9.9.9\n";
    const HOSTS: &str = "11.9.9.9 four.example\n2a00:9::9 six.example\n";
    const V4: &str = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip address add 11.LINE.0.2/24 dev home
ip route add default via 11.LINE.0.1
";
    const V6: &str = "ip address add 2a00:LINE::2/64 dev home nodad
ip route add default via 2a00:LINE::1
";
    if !is_inside(NAME, &(world(&[1, 2, 3, 4]) + SILENT), "127.0.0.1 localhost\n") {
        return;
    }
    let anna = Anna::new();
    let dir = anna.folder();
    let unreachable = "Network is unreachable (os error 101)";
    for (line, setup, host, says) in [
        (
            1,
            V4,
            "four.example",
            "no answer; a firewall lets no connection out to port 443? It has to let TCP to \
             four.example:443 out, and nothing in"
                .to_owned(),
        ),
        (
            2,
            "",
            "four.example",
            format!("{unreachable}; nothing leads out of this machine: is it connected?"),
        ),
        (
            3,
            V4,
            "six.example",
            "Cannot assign requested address (os error 99); this machine has no IPv6, and six.example \
             nothing else"
                .to_owned(),
        ),
        (
            4,
            V6,
            "four.example",
            format!("{unreachable}; this machine has no IPv4, and four.example nothing else"),
        ),
    ] {
        let home = Home::new(line, setup, HOSTS);
        let mut command = anna.command(&dir);
        command.args(["--arbiter", &format!("wss://{host}")]);
        let ran = run_command("check", &mut home.command(&command), SOON);
        let said = only_failure(host, &ran);
        assert_eq!(said, format!("wss://{host}/connect: connect to {host}:443: {says}"));
    }
}

#[test]
fn sources_that_are_not_reached_are_told() {
    let anna = Anna::new();
    let dir = anna.folder();
    let trial = |uri: &str| anna.check(&dir, &["--trial", uri]);
    let good = listener(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    let ran = trial(&format!("http://{good}/x"));
    is_well("reached", &ran);
    assert!(
        ran.stdout.contains("ok    sources are reached by http: 127.0.0.1 is\n"),
        "{}",
        ran.stdout
    );
    let page =
        listener(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n<html>\n");
    let said = only_failure("a hotspot", &trial(&format!("http://{page}/x")));
    let port = page.rsplit(':').next().unwrap();
    assert_eq!(
        said,
        format!(
            "sources aren't reached by http: http://{page}/x: a page for people came instead: a \
             hotspot that wants a login?; a firewall or proxy on the way has to let port {port} out, \
             --trial names another file to try"
        )
    );
    let gone =
        listener(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let said = only_failure("forbidden", &trial(&format!("http://{gone}/x")));
    assert!(said.contains("/x: status 403; a firewall or proxy"), "{said}");
    let said = only_failure("closed", &trial("http://127.0.0.1:1/x"));
    assert!(
        said.contains("http://127.0.0.1:1/x: connect to 127.0.0.1:1: Connection refused"),
        "{said}"
    );
    let said = only_failure("no TLS", &trial(&format!("https://{good}/x")));
    assert!(
        said.starts_with("sources aren't reached by https: ") && said.contains("doesn't speak TLS"),
        "{said}"
    );
    let said = only_failure("no name", &trial("http://nowhere.invalid/x"));
    assert!(said.contains("look up the name nowhere.invalid"), "{said}");
}

#[test]
fn the_service_s_settings_are_what_is_checked() {
    let anna = Anna::new();
    let dir = anna.folder();
    let file = anna.network.dir().join("settings");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut command = Command::new(binary("canister-agent"));
        command.args(["check", "--service"]).arg(&file);
        // What whoever types has otherwise isn't the service's.
        command.env("CANISTER_SLOTS", "0").env("CANISTER_MEMROY", "1");
        command.env("HTTPS_PROXY", "http://127.0.0.1:1");
        run_command("check", &mut command, SOON)
    };
    let (listen, folder) = (&anna.network.listen, dir.display());
    let good = format!(
        "CANISTER_DIR={folder}\nCANISTER_ARBITER=\"wss://{listen}\"\nCANISTER_TRIAL=none\n"
    );
    let ran = check(&good);
    is_well("the service's", &ran);
    let first =
        format!("ok    the service's settings, {}; it runs as canister-agent", file.display());
    assert_eq!(ran.stdout.lines().next(), Some(&*first));
    let ran = check(&format!("{good}CANISTER_MEMROY=64\n"));
    assert!(ran.stdout.contains("did you mean CANISTER_MEMORY?"), "{}", ran.stdout);
    for (line, code, says) in [
        (
            "export CANISTER_SLOTS=1",
            1,
            "line 4: the service passes over export CANISTER_SLOTS=1; use NAME=VALUE",
        ),
        (
            "CANISTER_SLOTS = 1",
            1,
            "line 4: the service passes over CANISTER_SLOTS = 1; use NAME=VALUE",
        ),
        ("CANISTER_SLOTS=0", 2, "CANISTER_SLOTS=0: use 1 to 64"),
        ("CANISTER_MEMORY=1GB", 2, "CANISTER_MEMORY=1GB: use 32 or more, as 32 or 32MiB"),
        (
            "CANISTER_ARBITER=a.example",
            2,
            "CANISTER_ARBITER=a.example: use an arbiter's address, such as wss://",
        ),
        ("CANISTER_ALLOW_PRIVATE=1", 2, "CANISTER_ALLOW_PRIVATE=1: use yes or no"),
    ] {
        let ran = check(&format!("{good}{line}\n"));
        assert_eq!(ran.status.code(), Some(code), "{line}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(says) && ran.stderr.lines().count() == 1,
            "{line}: {}",
            ran.stderr
        );
    }
}
