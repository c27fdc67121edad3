//! The rules: what is decided, as functions of values and of the time that they are told. Nothing
//! here waits, reads a clock, or knows a database.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`schedule`] | when a source is due, hidden, delisted, and who comes first |
//! | [`fault`], [`record`] | whose fault a failed lease is; what a peer gets by how its last leases ended |
//! | [`owner`] | what a source's owner says, and how that slows it down |
//! | [`politeness`] | who runs a server, and how the network keeps its distance |
//! | [`families`], [`nearness`] | which peers can reach a host at all; which are near |
//! | [`plan`] | what one peer may be asked for in the coming hours |
//! | [`forecast`] | what a schedule will ask, or would have asked |
//! | [`policy`], [`entry`] | who may be indexed, and who may announce for whom; what names sources |
//! | [`decision`] | what the operator said, which outranks what is measured |
//! | [`changes`], [`brake`] | what the rules in force make of the sources; what is held |
//! | [`signatures`] | who is to sign a source, and what of a change of that is held |
//! | [`sources`] | the source list, read as a stream and compared |
//! | [`advertisement`], [`publisher`] | what is published for those who follow by IPNI; what others publish |
//! | [`announcement`], [`announcer`] | what an announcement says; who signed it |
//! | [`alert`] | what the operator is told of what is wrong, and when |
//! | [`exchange`] | what arbiters tell each other of sources, and what is made of that |
//! | [`fate`] | what became of an announcement |
//! | [`feed`] | how far a reader of the change feed has come |
//! | [`hints`] | how often strangers may have a source asked |
//! | [`rate`], [`proxies`], [`crowd`] | how often anybody may; where a request comes from; who gives way at a door |
//! | [`revocations`], [`expiry`] | what the authority took back; when what the arbiter lives by ends |
//! | [`model`] | what is remembered of sources, leases and peers |
//! | [`trust`] | whom the network believes: audits, disputes, probation |
//! | [`traffic`] | what volunteers may fetch of a source |
//! | [`room`] | how much of a disk is taken |
//! | [`turns`] | whose turn it is among one session's messages |
//! | [`timestamp`], [`text`] | a moment as a value; numbers as people read them |

pub mod advertisement;
pub mod alert;
pub mod announcement;
pub mod announcer;
pub mod brake;
pub mod changes;
pub mod crowd;
pub mod decision;
pub mod entry;
pub mod exchange;
pub mod expiry;
pub mod families;
pub mod fate;
pub mod fault;
pub mod feed;
pub mod forecast;
pub mod hints;
pub mod model;
pub mod nearness;
pub mod owner;
pub mod plan;
pub mod policy;
pub mod politeness;
pub mod proxies;
pub mod publisher;
pub mod rate;
pub mod record;
pub mod revocations;
pub mod room;
pub mod schedule;
pub mod signatures;
pub mod sources;
pub mod text;
pub mod timestamp;
pub mod traffic;
pub mod trust;
pub mod turns;
