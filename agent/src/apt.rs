//! The formats of an APT repository.
pub mod stanza;
