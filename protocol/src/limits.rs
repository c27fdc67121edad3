//! Every bound that both sides keep, with its unit and its reason.
//!
//! A limit that only one side keeps (how large a Release may be, how long a lease lives) stands
//! with that side. Relations between limits are checked when this file is compiled.

/// The protocol's number, sent in the first message of each side. Raised when an older side could
/// misunderstand a newer one; new optional fields don't raise it, for unknown fields are ignored.
pub const PROTOCOL: u32 = 1;

/// Longest message, in bytes as it is sent. tungstenite's own default is 64 MiB, which one peer could
/// make the arbiter hold for each connection.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Longest WebSocket frame in bytes. A message is sent as one frame.
pub const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

/// Most bytes that wait to be written to a WebSocket before sending fails. tungstenite's default
/// is unlimited; two messages are what a healthy session ever has under way.
pub const WRITE_BUFFER_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX + 64 * 1024;

/// Deepest nesting of a message. The deepest real one is `Finish` (message, fields, outcome, its fields, facts,
/// signature, next, keys: 8).
pub const JSON_DEPTH_MAX: usize = 8;

/// Most bytes in all the fields of one package row. A longer row is counted and skipped. In the
/// wild the longest description seen is under 20 KB.
pub const ROW_BYTES_MAX: usize = 128 * 1024;

/// Most tags of one row.
pub const ROW_TAGS_MAX: usize = 256;

/// Most rows in one `Put`. Larger batches save no round trips worth having (they are sent while
/// the next is parsed) and cost the peer memory.
pub const PUT_ROWS_MAX: usize = 500;

/// A batch is sent as soon as its rows' fields reach this many bytes, so it holds at most this
/// plus one row.
pub const PUT_BYTES: usize = 96 * 1024;

/// What one row costs in a `Put` besides its fields' bytes: what it has in 5, two numbers of 10 and 18
/// lengths of 3, and a byte before each tag.
pub const ROW_OVERHEAD_BYTES: usize = 5 + 2 * 10 + 18 * 3 + ROW_TAGS_MAX;

/// Most bytes that the rows of one `Put` unpack to.
pub const PUT_PLAIN_BYTES_MAX: usize =
    PUT_BYTES + ROW_BYTES_MAX + PUT_ROWS_MAX * ROW_OVERHEAD_BYTES;

/// Most digests in one message, of 16 bytes each.
pub const DIGESTS_MAX: usize = 16_384;

/// Most ids in an audit that stand more than once in an index.
pub const DOUBLES_MAX: usize = 4096;

/// Most packages of a source that is audited: 32 MB of memory, twice that while it grows.
pub const AUDIT_PACKAGES_MAX: u64 = 1_000_000;

/// Longest name of a lease in requests to sources, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Most prices, or package ids, in one message.
pub const PRICES_MAX: usize = 1000;

/// Longest package id that has a price, in bytes.
pub const PRICED_ID_BYTES_MAX: usize = 256;

/// Longest price in bytes: an amount and a currency.
pub const PRICE_BYTES_MAX: usize = 64;

/// Most hosts of the database that peers write to.
pub const DATABASE_HOSTS_MAX: usize = 8;

/// Longest name of that database, in bytes: PostgreSQL's names have 63.
pub const DATABASE_NAME_BYTES_MAX: usize = 63;

/// Longest host name in bytes (RFC 1035 §2.3.4, without the final dot).
pub const HOST_BYTES_MAX: usize = 253;

/// Most rows that a peer puts into the database by one statement of its own. One that is far away
/// answers late, so there are more of them than in a `Put`.
pub const DIRECT_ROWS_MAX: usize = 4000;

/// Most bytes in all texts of those rows.
pub const DIRECT_BYTES_MAX: usize = 1024 * 1024;

/// Most slots a peer may offer, and most leases it may hold.
pub const SLOTS_MAX: usize = 64;

/// Longest pause between two requests of a lease, in milliseconds: a minute. A lease has a dozen
/// requests at most, besides prices.
pub const PAUSE_MILLIS_MAX: u32 = 60_000;

/// Most bytes of bodies under a lease that says nothing of it: what the longest index of a distribution
/// takes unpacked, and its Release.
pub const LEASE_BYTES: u64 = 1024 * 1024 * 1024;

/// Most requests of a lease that only looks whether there is a repository: somebody said so, whom nobody
/// knows, of a server that may never have heard of it.
pub const LOOK_REQUESTS_MAX: u64 = 2;

/// Most hosts, domains and networks that a peer's owner can have it never ask.
pub const VETO_MAX: usize = 256;

/// Most hosts of which a peer is told what may be asked of it.
pub const PLANNED_MAX: usize = 1000;

/// Longest time for which a server can send a peer away, in seconds: 31 days. What a server says
/// beyond that is cut by the peer.
pub const RETRY_AFTER_SECS_MAX: u32 = 31 * 24 * 60 * 60;

/// Longest slug in bytes. The longest in Canister's list has 27.
pub const SLUG_BYTES_MAX: usize = 64;

/// Longest uri of a source in bytes.
pub const URI_BYTES_MAX: usize = 2048;

/// Longest suite, component, architecture or alias in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// Most aliases of a source.
pub const ALIASES_MAX: usize = 32;

/// Longest name under which a peer is shown to everybody, in bytes.
pub const PUBLIC_NAME_BYTES_MAX: usize = 64;

/// Longest free text in a message (a reason, an error, an agent's version, a Release's
/// description), in bytes. Senders cut theirs to it.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Longest signing request in bytes of PEM. One with an RSA key of 8,192 bits has 3 KB.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Longest line by which an applicant can be reached, in bytes.
pub const CONTACT_BYTES_MAX: usize = 200;

/// Longest token of an applicant, in bytes.
pub const JOIN_TOKEN_BYTES_MAX: usize = 200;

/// Longest application in bytes of JSON: its texts with every byte escaped to two.
pub const APPLICATION_BYTES_MAX: usize =
    2 * (REQUEST_BYTES_MAX + CONTACT_BYTES_MAX + JOIN_TOKEN_BYTES_MAX) + 256;

/// Most bits of work that an applicant is asked for: minutes on a Raspberry Pi.
pub const WORK_BITS_MAX: u32 = 26;

/// Longest certificate with those of its issuers, in bytes of PEM.
pub const CHAIN_BYTES_MAX: usize = 64 * 1024;

/// Longest OpenPGP key of a source, or file of such keys, in bytes. An RSA key of 4,096 bits with
/// subkeys has 5 KB, Debian's keyring 57 KB.
pub const KEYS_BYTES_MAX: usize = 64 * 1024;

/// The same in base64 (RFC 4648 §4).
pub const KEYS_TEXT_BYTES_MAX: usize = KEYS_BYTES_MAX.div_ceil(3) * 4;

/// Longest signed head of an IPNI publisher, in bytes: with an RSA key of 8,192 bits one has 3,000.
pub const SIGNED_HEAD_BYTES_MAX: usize = 4 * 1024;

/// Most keys that a Release may name for the next one. Debian's name four.
pub const NEXT_SIGNERS_MAX: usize = 16;

/// Longest WebSocket close reason in bytes (RFC 6455 §5.5: a control frame has 125, two of them
/// for the code).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

// A full batch must fit a message even if it can't be packed.
const _: () = assert!(PUT_PLAIN_BYTES_MAX + PUT_PLAIN_BYTES_MAX / 1024 + 1024 < MESSAGE_BYTES_MAX);
// A page of digests must fit a message.
const _: () = assert!(16 * DIGESTS_MAX + 1024 < MESSAGE_BYTES_MAX);
const _: () = assert!(PLANNED_MAX * (2 * NAME_BYTES_MAX + 128) + 1024 < MESSAGE_BYTES_MAX);
const _: () = assert!(32 * DOUBLES_MAX + 16 * URI_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(
    PRICES_MAX * (2 * (PRICED_ID_BYTES_MAX + PRICE_BYTES_MAX) + 64) + 1024 < MESSAGE_BYTES_MAX
);
// What fits a `Put` fits a statement.
const _: () = assert!(DIRECT_ROWS_MAX >= PUT_ROWS_MAX);
const _: () = assert!(DIRECT_BYTES_MAX >= PUT_BYTES + ROW_BYTES_MAX);
const _: () = assert!(WRITE_BUFFER_BYTES_MAX > MESSAGE_BYTES_MAX);

/// The longest beginning of `text` that has at most `limit` bytes and cuts no character.
pub fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
