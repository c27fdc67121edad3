//! What is shipped for Prometheus, by the real one: its rules, and a dashboard that shows something.

use canister_tests::network::{Network, WAIT, flat, serve};
use canister_tests::origin::Origin;
use canister_tests::programs::{until, workspace};
use canister_tests::web::{ask, send};
use serde_json::Value;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

#[test]
fn the_alert_rules_fire_and_clear() {
    for words in [["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]] {
        let folder = workspace().join("packaging/prometheus");
        let ran = Command::new("promtool").args(words).current_dir(folder).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&ran.stdout));
    }
    // Each rule has a test that fires it.
    let read = |name: &str| {
        std::fs::read_to_string(workspace().join("packaging/prometheus").join(name)).unwrap()
    };
    let tests = read("alerts.test.yml");
    for rule in read("alerts.yml").lines().filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(tests.contains(&format!("alertname: {rule}\n")), "{rule}");
    }
}

/// Ends with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_query_of_the_dashboard_returns_a_series() {
    let origin = Origin::empty();
    serve(&origin, b"Package: p\nVersion: 1\nArchitecture: all\n\n");
    let sources = [flat("a", &origin.uri()), flat("gone", "http://127.0.0.2:1")];
    let network = Network::start(&sources, &[]);
    let _agent = network.agent("p1", &[]);
    until("one to fail", WAIT, || (network.status().failing == 1).then_some(()));
    let json = "Content-Type: application/json";
    assert_eq!(
        send(&network.public, "POST", "/announce", &[json], b"{\"source\":\"a\"}").status,
        204
    );

    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: canister\n  static_configs:\n  \
         - targets: ['{}']\n",
        network.public
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut prometheus = Command::new("prometheus");
    prometheus.arg("--config.file=prometheus.yml");
    prometheus.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    prometheus.arg(format!("--web.listen-address={free}")).arg("--storage.tsdb.path=data");
    let _prometheus = Prometheus(prometheus.spawn().unwrap());
    until("Prometheus to listen", WAIT, || std::net::TcpStream::connect(&free).ok().map(drop));

    let dashboard = workspace().join("packaging/prometheus/dashboard.json");
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(dashboard).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = queries.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 30, "{}", queries.len());
    for query in queries {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        until(&format!("a series of {query}"), WAIT, || {
            let reply = ask(&free, "GET", &format!("/api/v1/query?query={encoded}"));
            let said: Value = serde_json::from_str(&reply.body).ok()?;
            assert_ne!(said["status"], "error", "{query}: {said}");
            (!said["data"]["result"].as_array()?.is_empty()).then_some(())
        });
    }
}
