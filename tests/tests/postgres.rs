//! The clusters of the other tests: that they are what those take them for.

use canister_link::clock;
use canister_tests::postgres::{Cluster, Line, psql};
use canister_tests::programs::until;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(30);

#[test]
fn what_is_committed_survives_a_restart_and_a_kill() {
    let mut cluster = Cluster::start();
    let database = cluster.database();
    database.psql("CREATE TABLE kept (number int)");
    for number in 1..=2 {
        database.psql(&format!("INSERT INTO kept VALUES ({number})"));
        if number == 1 {
            cluster.restart();
        } else {
            cluster.kill9();
            assert!(psql(&database.address(), "SELECT 1", &[]).is_err());
            cluster.up();
        }
    }
    assert_eq!(database.psql("SELECT * FROM kept ORDER BY number"), "1\n2");
}

#[test]
fn a_standby_follows_and_is_promoted() {
    let mut cluster = Cluster::start();
    let standby = cluster.standby();
    cluster.psql("postgres", "CREATE TABLE kept AS SELECT 7 AS number");
    until("the standby to follow", WAIT, || {
        let address = format!(
            "host={} port={} user=postgres",
            standby.socket_dir().display(),
            standby.port()
        );
        psql(&address, "SELECT * FROM kept", &[]).ok()
    });
    cluster.kill9();
    standby.promote();
    standby.psql("postgres", "INSERT INTO kept VALUES (8)");
    assert_eq!(standby.psql("postgres", "SELECT count(*) FROM kept"), "2");
}

#[test]
fn a_database_far_away_is_slow() {
    let line = Line::to(Cluster::shared().port(), Duration::from_millis(40));
    let address = format!("host=127.0.0.1 port={} user=postgres sslmode=disable", line.port());
    let began = clock::now();
    assert_eq!(psql(&address, "SELECT 1", &[]).unwrap(), "1");
    // One trip for the start-up, one for the statement.
    assert!(began.elapsed() >= Duration::from_millis(80));
    line.cut();
    assert!(psql(&address, "SELECT 1", &[]).is_err());
    line.mend();
    assert_eq!(psql(&address, "SELECT 1", &[]).unwrap(), "1");
}
