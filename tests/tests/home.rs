//! The home that an agent runs in, of which nobody can have it ask anything.

use canister_tests::index::failed_with;
use canister_tests::origin::{Fault, Origin};
use canister_tests::own_network::{OtherNetwork, is_inside};
use std::net::{IpAddr, SocketAddr, TcpListener};

/// A home with a global address of IPv6 and its router, where all servers of the world are, too.
const LINES: &str = "
ip link add line type veth peer name router netns $OTHER
in_other() { nsenter --target $OTHER --net \"$@\"; }
ip link set line up
ip address add 192.168.7.2/24 dev line
ip address add 9.9.8.2/24 dev line
ip address add 2606:4700::1111/64 dev line nodad
in_other ip link set lo up
in_other ip link set router up
in_other ip address add 192.168.7.1/24 dev router
in_other ip address add 9.9.8.1/24 dev router
in_other ip address add 2606:4700::1/64 dev router nodad
in_other ip address add 9.9.9.9/32 dev lo
in_other ip address add 2620:fe::9/128 dev lo nodad
ip route add default via 192.168.7.1
ip -6 route add default via 2606:4700::1
";

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

#[test]
fn no_server_has_an_agent_ask_its_own_home() {
    const NAME: &str = "home::no_server_has_an_agent_ask_its_own_home";
    let hosts = "127.0.0.1 localhost
2606:4700::1111 own
2606:4700::1 near
2606:4700::1111 both
192.168.7.1 both
9.9.9.9 far
";
    if !is_inside(NAME, "", hosts) {
        return;
    }
    let other = OtherNetwork::new();
    other.set_up(LINES);
    // What the house has: on this machine, and on another of its network.
    let here = TcpListener::bind(at("2606:4700::1111", 80)).unwrap();
    let near = other.there(|| TcpListener::bind(at("2606:4700::1", 80)).unwrap());
    let elsewhere = other.there(|| TcpListener::bind(at("9.9.9.9", 8080)).unwrap());
    for house in [&here, &near, &elsewhere] {
        house.set_nonblocking(true).unwrap();
    }
    let server = other.there(|| Origin::at_socket(at("9.9.9.9", 80)));
    let with = |to: &str| {
        for path in ["/InRelease", "/Release", "/Packages"] {
            server.fault(path, Fault::Redirect(format!("{to}{path}")));
        }
        failed_with("http://9.9.9.9", &[], &[]).said[0].clone()
    };
    for house in [
        "http://9.9.8.2",
        "http://9.9.8.1",
        "http://[2606:4700::1111]",
        "http://[2606:4700::1]",
        "http://own",
        "http://near",
        "http://both",
    ] {
        let said = with(house);
        assert!(said.contains("this home's own"), "{house}: {said}");
        // Nor by a source that is said to be there.
        let said = failed_with(house, &[], &[]).said[0].clone();
        assert!(said.contains("this home's own"), "{house}: {said}");
    }
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "10.0.0.1",
        "192.168.7.1",
        "169.254.169.254",
        "100.64.0.1",
    ] {
        let said = with(&format!("http://{host}"));
        assert!(said.contains("public internet") && said.contains("--allow-private"), "{said}");
    }
    for host in ["127.1", "2130706433", "0x7f.1"] {
        let said = with(&format!("http://{host}"));
        assert!(said.contains("no whole IPv4 address"), "{said}");
    }
    let said = with("http://far:8080");
    assert!(said.contains("at port 8080"), "{said}");
    for house in [here, near, elsewhere] {
        let asked = house.accept().err().map(|cause| cause.kind());
        assert_eq!(asked, Some(std::io::ErrorKind::WouldBlock), "{house:?} was asked");
    }
    // And the server itself is.
    assert!(server.requests().len() >= 18);
}
