//! The formats of an APT repository.

pub mod index;
pub mod package;
pub mod release;
