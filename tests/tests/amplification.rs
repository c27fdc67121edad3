//! What strangers' announcements make volunteers ask of others.

use canister_tests::network::{Network, WAIT, flat, serve};
use canister_tests::origin::Origin;
use canister_tests::programs::until;
use canister_tests::web::{Reply, send};
use serde_json::{Value, json};

const INDEX: &[u8] = b"Package: a\nVersion: 1\nArchitecture: all\n\n";

fn announce(network: &Network, client: &str, body: &Value) -> Reply {
    let headers = ["Content-Type: application/json", &format!("X-Forwarded-For: {client}")];
    send(&network.public, "PUT", "/announce", &headers, body.to_string().as_bytes())
}

fn strangers(count: u8) -> impl Iterator<Item = String> {
    (1..=count).map(|number| format!("198.18.{number}.1"))
}

#[test]
fn a_server_that_nobody_knows_is_asked_eight_times_at_most() {
    let (known, victim) = (Origin::empty(), Origin::at(3));
    serve(&known, INDEX);
    let options = ["--trusted-proxy", "127.0.0.1", "--interval", "2s", "--retry-after", "1s"];
    let network = Network::start(&[flat("a", &known.uri())], &options);
    let _agent = network.agent("p1", &["--slots", "8"]);
    network.until_all("indexed", 0);
    // (Nobody is asked at a private address whom the operator doesn't name.)
    network.command(&["allow", "127.0.0.3"]);
    let mut taken = 0;
    for (number, client) in strangers(60).enumerate() {
        for place in 0..3 {
            let uri = format!("{}/{number}/{place}", victim.uri());
            let reply = announce(&network, &client, &json!({ "uri": uri }));
            // Taken, too many wait, or too many announce at all.
            assert!([204, 429].contains(&reply.status), "{reply:?}");
            taken += u32::from(reply.status == 204);
        }
    }
    assert_eq!(taken, 4);
    // All looks are over when what is known was asked again since.
    let is_looking = || {
        network
            .sources()
            .iter()
            .any(|report| report.uri.contains("127.0.0.3") && report.state != "refused")
    };
    until("all to be looked at", WAIT, || (!is_looking()).then_some(()));
    assert_eq!(network.status().refused, 4);
    let requests = victim.requests();
    assert_eq!(requests.len(), 8, "{requests:?}");
    assert!(requests.iter().all(|request| request.path.ends_with("Release")));
}

#[test]
fn a_source_is_not_asked_more_often_by_strangers_and_its_owner_is_heard() {
    let origin = Origin::empty();
    serve(&origin, INDEX);
    let config = "trusted_proxies = [\"127.0.0.1\"]";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arbiter.toml");
    let text = format!(
        "[listeners]\n{config}\n[politeness]\npause = \"0s\"\n\
         [policy.publishers.\"slug:a\"]\nallow = true\nexcept = []\n\
         [policy.publishers.\"slug:b\"]\nallow = false\nexcept = [\"203.0.113.7\"]\n"
    );
    std::fs::write(&path, text).unwrap();
    let sources = [flat("a", &origin.uri()), flat("b", &format!("{}/b", origin.uri()))];
    origin.put("/b/Packages", INDEX);
    let network = Network::start(&sources, &["--config", path.to_str().unwrap()]);
    let _agent = network.agent("p1", &[]);
    network.until_all("indexed", 0);
    origin.take_requests();
    let statuses = |clients: Vec<String>, source: &str| -> Vec<u16> {
        let of = json!({ "source": source });
        clients.iter().map(|client| announce(&network, client, &of).status).collect()
    };
    // One look for all of them; the others are asked to wait.
    let taken = statuses(strangers(30).collect(), "a");
    assert_eq!(taken[0], 204);
    let lease =
        network.sources().iter().filter_map(|it| it.last_attempt.as_ref()).map(|it| it.lease).max();
    until("it to be looked at", WAIT, || {
        let again = network.sources().into_iter().find(|report| report.source == "a")?;
        (again.last_attempt?.lease > lease?.saturating_sub(1)).then_some(())
    });
    let again = statuses(strangers(30).collect(), "a");
    assert!(again.iter().all(|status| *status == 429), "{again:?}");
    assert!(origin.requests().len() <= 2, "{:?}", origin.requests());
    // Strangers may not at all here, and its owner may.
    assert!(statuses(strangers(9).collect(), "b").iter().all(|status| *status == 403));
    assert_eq!(statuses(vec!["203.0.113.7".to_owned()], "b"), [204]);
}
