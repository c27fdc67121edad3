//! Peers behind a proxy, as `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name one: what goes through it,
//! what doesn't, and what is said of it.

use canister_tests::apt::big_index;
use canister_tests::index::{Indexed, RUN_MAX, run_as, serve};
use canister_tests::network::{Network, agent_command, flat};
use canister_tests::openssl;
use canister_tests::origin::Origin;
use canister_tests::programs::{Program, Ran, binary, run_command};
use canister_tests::proxy::Proxy;
use std::net::TcpListener;
use std::process::Command;

/// Indexes `uri` in this environment.
fn index(environment: &[(&str, &str)], uri: &str, options: &[&str]) -> Indexed {
    let mut command = Command::new(binary("canister-agent"));
    command.envs(environment.iter().copied());
    run_as(command, uri, options)
}

fn failed(environment: &[(&str, &str)], uri: &str, options: &[&str], part: &str) {
    let run = index(environment, uri, options);
    assert_eq!(run.code, Some(1), "{}", run.summary);
    assert!(run.said[0].contains(part), "no {part:?} in {:?}", run.said);
}

fn served() -> Origin {
    let origin = Origin::empty();
    serve(&origin, "", "Packages", big_index(7));
    origin
}

#[test]
fn sources_are_asked_of_the_proxy() {
    let origin = served();
    // A name that only the proxy finds. Nothing private is asked for.
    let proxy = Proxy::start(&[("repo.invalid", origin.address())], None);
    let url = proxy.url();
    for variable in ["HTTP_PROXY", "http_proxy"] {
        let run = index(&[(variable, &url)], "http://repo.invalid", &[]);
        assert_eq!(run.number("packages"), 7, "{:?}", run.said);
        let asked = proxy.take_asked();
        assert_eq!(asked.len() as u64, run.number("requests"), "{asked:?}");
        let first = "GET http://repo.invalid/InRelease HTTP/1.1";
        assert_eq!((asked[0].line.as_str(), &asked[0].authorization), (first, &None));
        let host = origin.take_requests()[0].header("host").map(str::to_owned);
        assert_eq!(host.as_deref(), Some("repo.invalid"));
    }
    // A password, as an address has it.
    let with_password = url.replace("http://", "http://al:se%40cret@");
    let run = index(&[("http_proxy", &with_password)], "http://repo.invalid", &[]);
    assert_eq!(run.number("packages"), 7, "{:?}", run.said);
    let sent = Some("Basic YWw6c2VAY3JldA==".to_owned());
    assert!(proxy.take_asked().iter().all(|asked| asked.authorization == sent));
    // Past it.
    let past = [("http_proxy", url.as_str()), ("no_proxy", "127.0.0.1")];
    let run = index(&past, &origin.uri(), &["--allow-private"]);
    assert_eq!((run.number("packages"), proxy.take_asked().len()), (7, 0));
    // That of TLS isn't that of plain HTTP.
    let run = index(&[("https_proxy", &url)], &origin.uri(), &["--allow-private"]);
    assert_eq!((run.number("packages"), proxy.take_asked().len()), (7, 0));
}

#[test]
fn only_the_public_internet_is_asked_of_a_proxy() {
    let origin = served();
    let proxy = Proxy::start(&[], None);
    let (url, port) = (proxy.url(), origin.address().port());
    let both = [("http_proxy", url.as_str()), ("https_proxy", url.as_str())];
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "10.0.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
    ] {
        for scheme in ["http", "https"] {
            failed(&both, &format!("{scheme}://{host}:{port}"), &[], "public internet");
        }
    }
    assert_eq!(proxy.take_asked(), []);
    let run = index(&both, &origin.uri(), &["--allow-private"]);
    assert_eq!(run.number("packages"), 7, "{:?}", run.said);
    assert!(!proxy.take_asked().is_empty());
}

#[test]
fn tls_goes_through_a_tunnel() {
    let folder = tempfile::tempdir().unwrap();
    let line = "openssl req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.crt -subj /CN=x \
                -addext subjectAltName=DNS:repo.invalid -addext basicConstraints=CA:FALSE";
    openssl::succeeds(folder.path(), line);
    let line = "exec openssl s_server -accept 0 -www -cert own.crt -key own.key >&2";
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder.path());
    let mut server = Program::start_command("s_server", &mut command);
    let ready = server.wait_for_line("ACCEPT ", RUN_MAX);
    let port = ready.rsplit(':').next().unwrap();
    let proxy =
        Proxy::start(&[("repo.invalid:443", format!("127.0.0.1:{port}").parse().unwrap())], None);
    let url = proxy.url();
    let trusted = folder.path().join("own.crt").display().to_string();
    let environment = [("SSL_CERT_FILE", trusted.as_str()), ("HTTPS_PROXY", &url)];
    // TLS is well; behind it is a page and no repository.
    failed(&environment, "https://repo.invalid", &[], "no package in it");
    let asked = proxy.take_asked();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|asked| asked.line == "CONNECT repo.invalid:443 HTTP/1.1"));
}

#[test]
fn what_a_proxy_does_not_do_is_told() {
    let uri = "http://repo.invalid";
    let refusing = Proxy::start(&[], Some(403));
    let secure = "https://repo.invalid";
    failed(&[("https_proxy", &refusing.url())], secure, &[], "to repo.invalid:443, status 403");
    let wanting = Proxy::start(&[], Some(407));
    failed(&[("https_proxy", &wanting.url())], secure, &[], "use http://USER:PASSWORD@HOST:PORT");
    failed(&[("http_proxy", &wanting.url())], uri, &[], "status 407");
    // Nobody listens on a port that was given back.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (variable, uri) in [("http_proxy", uri), ("https_proxy", secure)] {
        let gone = format!("http://{gone}");
        failed(&[(variable, &gone)], uri, &[], &format!("proxy {gone} ({variable}): "));
        failed(&[(variable, "socks5://127.0.0.1:1")], uri, &[], "use http://HOST:PORT");
        failed(&[(variable, "http://proxy.invalid:1")], uri, &[], "proxy http://proxy.invalid:1");
    }
}

#[test]
fn arbiters_are_reached_through_a_tunnel() {
    let origin = served();
    let network = Network::start(&[flat("a", &origin.uri())], &[]);
    let proxy = Proxy::start(&[("arbiter.invalid:443", network.listen.parse().unwrap())], None);
    let files = network.peer("p1");
    let check = |url: &str| -> Ran {
        let mut command = agent_command("check", &files, &[&network.listen]);
        run_command("check", command.env("HTTPS_PROXY", url), RUN_MAX)
    };
    let checked = check(&proxy.url());
    assert!(checked.status.success(), "{}", checked.stdout);
    let through = format!(
        "ok    arbiters and sources by https are reached through the proxy {} (HTTPS_PROXY)",
        proxy.url()
    );
    assert!(checked.stdout.contains(&through), "{}", checked.stdout);
    let line = format!("CONNECT {} HTTP/1.1", network.listen);
    let asked = proxy.take_asked();
    assert!(asked.len() == 1 && asked[0].line == line, "{asked:?}");

    let mut command = agent_command("run", &files, &[&network.listen]);
    command.arg("--allow-private").env("https_proxy", proxy.url());
    let _agent = Program::start_command("agent", &mut command);
    network.until_all("indexed", 0);
    assert!(proxy.take_asked().iter().any(|asked| asked.line == line));

    for (url, part) in [
        (
            "socks5://127.0.0.1:1",
            "FAIL  arbiters and sources by https are not reached: HTTPS_PROXY",
        ),
        (&Proxy::start(&[], Some(403)).url(), "status 403"),
    ] {
        let checked = check(url);
        assert!(!checked.status.success(), "{}", checked.stdout);
        assert!(checked.stdout.contains(part), "no {part:?} in {}", checked.stdout);
    }
}
