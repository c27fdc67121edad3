//! What a peer asks an IPNI publisher that a source's owner names, before it asks the source.
//!
//! The peer compares Cids and nothing else: who signed a head the arbiter looks at.
//!
//! Spec: ipni/specs, IPNI_HTTP_PROVIDER.md.

use nanoserde::{DeJson, SerJson};

/// A publisher, in a [`Grant`](crate::ToPeer::Grant).
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct NamedPublisher {
    /// Where its head is, `/head` left out.
    pub uri: String,
    /// The Cid in the head that was taken from it last; empty where none was.
    pub head: String,
}

/// What it answered, in [`OwnerFound`](crate::message::OwnerFound).
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct PublishedHead {
    /// Whether the source itself was not asked, because the Cid is the one that was taken last.
    pub is_all: bool,
    /// The signed head as it came, at most [`SIGNED_HEAD_BYTES_MAX`](crate::limits::SIGNED_HEAD_BYTES_MAX); empty where none did.
    pub head: String,
}

/// A signed head, as far as a peer reads it.
#[derive(DeJson)]
struct SaidHead {
    head: HeadLink,
}

#[derive(DeJson)]
struct HeadLink {
    #[nserde(rename = "/")]
    cid: String,
}

impl PublishedHead {
    /// The Cid that it names, as it is written.
    pub fn cid(&self) -> Option<String> {
        SaidHead::deserialize_json(&self.head).ok().map(|said| said.head.cid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heads_cid_is_found_and_nothing_elses() {
        for (head, cid) in [
            (r#"{"head":{"/":"bag"},"pubkey":{"/":{"bytes":"AA"}},"topic":"x"}"#, Some("bag")),
            (r#"{"topic":"x","head":{"/":"bag"}}"#, Some("bag")),
            (r#"{"head":"bag"}"#, None),
            (r#"{"head":{"/":{"bytes":"bag"}}}"#, None),
            ("<html>", None),
            ("", None),
        ] {
            let said = PublishedHead { is_all: false, head: head.into() };
            assert_eq!(said.cid().as_deref(), cid, "{head}");
        }
    }
}
