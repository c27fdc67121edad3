//! Several arbiters on one PostgreSQL database, and agents that know them all.

use crate::network::{WAIT, list, make_authority, peer, start_agent, start_arbiter};
use crate::programs::{Program, until};
use canister_arbiter::config::SOCKET_NAME;
use canister_arbiter::doors::admin::{
    self, PeerReport, Request, SourceReport, StatusReport, pages_of_sources,
};
use canister_arbiter::rules::changes::Changed;
use canister_link::identity::Files;
use canister_protocol::Source;
use std::convert::Infallible;
use std::path::Path;
use tempfile::TempDir;

/// The arbiters. Dropping them kills them.
pub struct Arbiters {
    dir: TempDir,
    programs: Vec<Option<Program>>,
    listens: Vec<String>,
    options: Vec<String>,
}

impl Arbiters {
    /// Makes an authority and starts `count` arbiters on the database at `address`, with these
    /// options and these sources.
    pub fn start(count: usize, address: &str, sources: &[Source], options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        make_authority(dir.path());
        let file = dir.path().join("sources.json");
        std::fs::write(&file, list(sources)).unwrap();
        let file = file.display().to_string();
        let mut options: Vec<String> = options.iter().map(|&word| word.to_owned()).collect();
        // Some of a test's sources are on one host.
        options.extend(["--audit-share", "0"].map(str::to_owned));
        if !options.iter().any(|word| word == "--pause") {
            options.extend(["--pause", "0s"].map(str::to_owned));
        }
        options.extend(["--database", address, "--sources", &file].map(str::to_owned));
        let mut arbiters = Self {
            dir,
            programs: (0..count).map(|_| None).collect(),
            listens: vec!["127.0.0.1:0".to_owned(); count],
            options,
        };
        (0..count).for_each(|number| arbiters.up(number));
        arbiters
    }

    /// Starts an arbiter, where it listened before.
    pub fn up(&mut self, number: usize) {
        let state = format!("state-{number}");
        let listen = &self.listens[number];
        let (program, listen, _) =
            start_arbiter(self.dir.path(), &state, listen, &self.options, &[]);
        self.programs[number] = Some(program);
        self.listens[number] = listen;
    }

    /// An arbiter that runs.
    pub fn arbiter(&mut self, number: usize) -> &mut Program {
        self.programs[number].as_mut().expect("it runs")
    }

    /// Kills an arbiter, as `kill -9` does.
    pub fn kill9(&mut self, number: usize) {
        self.arbiter(number).kill9();
        self.programs[number] = None;
    }

    /// The folder of everything.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts an agent that knows all of them, and begins with any.
    pub fn agent(&self, name: &str, options: &[&str]) -> Program {
        let listens: Vec<&str> = self.listens.iter().map(String::as_str).collect();
        start_agent(&peer(self.dir.path(), name), name, &listens, options)
    }

    /// `status` of an arbiter.
    pub fn status(&self, number: usize) -> StatusReport {
        self.ask(number, &Request::Status)
    }

    /// `sources` of an arbiter.
    pub fn sources(&self, number: usize) -> Vec<SourceReport> {
        let pages = pages_of_sources(|request| Ok::<_, Infallible>(self.ask(number, request)));
        pages.flat_map(Result::unwrap).collect()
    }

    /// `peers` of an arbiter.
    pub fn peers(&self, number: usize) -> Vec<PeerReport> {
        self.ask(number, &Request::Peers)
    }

    /// `sync` of an arbiter: all sources are due.
    pub fn sync(&self, number: usize) -> u64 {
        self.ask(number, &Request::Sync { source: None, by: "a test".to_owned() })
    }

    /// Waits until an arbiter shows so many peers with a session.
    pub fn until_connected(&self, number: usize, peers: u64) {
        until("the peers to be connected", WAIT, || {
            (self.status(number).peers_connected == peers).then_some(())
        });
    }

    /// Where an arbiter listens for peers.
    pub fn listen(&self, number: usize) -> &str {
        &self.listens[number]
    }

    /// Makes a peer's files.
    pub fn peer(&self, name: &str) -> Files {
        peer(self.dir.path(), name)
    }

    /// `allow` or `block`, told to an arbiter.
    pub fn rule(&self, number: usize, entry: &str, is_allowed: bool) -> Changed {
        let request = Request::Rule {
            entry: entry.parse().expect("an entry"),
            is_allowed,
            by: "a test".to_owned(),
            why: String::new(),
        };
        self.ask(number, &request)
    }

    /// `policy check` of an arbiter.
    pub fn check(&self, number: usize, source: &str) -> String {
        let request = Request::Check { source: source.to_owned(), announcer: None };
        self.ask(number, &request)
    }

    fn ask<T: serde::de::DeserializeOwned>(&self, number: usize, request: &Request) -> T {
        let socket = self.dir.path().join(format!("state-{number}/{SOCKET_NAME}"));
        until("an answer of now", WAIT, || match admin::ask(&socket, request) {
            Err(why) if why.contains("takes its time") => None,
            answer => Some(answer.unwrap()),
        })
    }
}
