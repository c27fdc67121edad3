//! What both programs need to speak the protocol over a socket, and to run as a program at all.
//!
//! **In scope**: the WebSocket, who stands at either end of it (certificates and their files), what
//! refuses a connection, and a program's surroundings: clock, files that are whole or not there,
//! logs, the command line, the system's manager.
//!
//! **Out of scope**: what is said over the socket is `canister-protocol`'s; what it is said for is
//! each program's own.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`websocket`] | one connection between a peer and an arbiter, as messages |
//! | [`identity`], [`certificate`] | certificate, key and authority, and the TLS settings they give; what a certificate says |
//! | [`dial`] | the way to a host that has several addresses, or is behind a proxy |
//! | [`meter`] | what connections carry, counted and bounded |
//! | [`request`] | a new peer's key and signing request |
//! | [`refusal`] | what TLS and the database refuse, in words |
//! | [`roots`] | whom the machine trusts for `https://` |
//! | [`clock`], [`process`] | the only reader of time; what the kernel says of a process |
//! | [`durable`], [`local`] | files that are whole or not there; sockets for this machine alone |
//! | [`words`] | what people type |
//! | [`usage`], [`settings`](mod@settings) | command lines; what can be set by flag, variable and file |
//! | [`logging`], [`notify`] | logs, what systemd is told |

pub mod certificate;
pub mod clock;
pub mod dial;
pub mod durable;
pub mod identity;
pub mod local;
pub mod logging;
pub mod meter;
pub mod notify;
pub mod process;
pub mod refusal;
pub mod request;
pub mod roots;
pub mod settings;
pub mod usage;
pub mod websocket;
pub mod words;
