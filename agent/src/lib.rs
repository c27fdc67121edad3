//! Canister's agent: fetches, verifies, unpacks and parses APT repositories as streams, and puts
//! what is new.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`agent`] | the loop: connect, offer slots, take leases, reconnect, drain |
//! | [`work`] | one lease from grant to finish |
//! | [`fetch`], [`address`] | one capped, conditional, timed download; where it may go |
//! | [`unpack`] | decoders within limits |
//! | [`apt`] | the formats: stanzas, Release, choice of index, package rows |
//! | [`price`] | what paid packages cost |
//! | [`sink`] | where rows go: to the arbiter, into the database, or to a stream of JSON |
//! | [`database`] | the peer's connection to the database |
//! | [`index`] | one source without any arbiter |
//! | `words` | short texts searched eight bytes at a time |
//! | [`throttle`] | half a thread |
//! | [`memory`], [`window`] | the memory that decoders may take, and how much each will |
//! | [`dial`], [`link`] | the way to an arbiter; the WebSocket of both programs |
//! | [`request`], [`certificate`], [`identity`] | asking to take part; what a certificate says; the files and their TLS settings |
//! | [`renewal`], [`pair`] | a new certificate over the session; two files that change as one |
//! | [`check`], [`cgroup`] | whether a run would work, and why not |
//! | [`refusal`], [`durable`] | what TLS refuses, in words; files that are whole or not there |
//! | [`notify`], [`pulse`] | what systemd is told; signs of life |
//! | [`backoff`], [`clock`], [`config`], [`settings`], [`logging`], [`usage`] | waiting, time, settings and where they come from, logs, command lines |

pub mod address;
pub mod agent;
pub mod apt;
pub mod backoff;
pub mod certificate;
pub mod cgroup;
pub mod check;
pub mod clock;
pub mod config;
pub mod database;
pub mod dial;
pub mod durable;
pub mod fetch;
pub mod identity;
pub mod index;
pub mod link;
pub mod logging;
pub mod memory;
pub mod notify;
pub mod pair;
pub mod price;
pub mod pulse;
pub mod refusal;
pub mod renewal;
pub mod request;
pub mod settings;
pub mod sink;
pub mod throttle;
pub mod unpack;
pub mod usage;
pub mod window;
mod words;
pub mod work;
