//! Serial numbers: 16 random bytes, of which the first eight are the certificate's *family*.
//!
//! What is signed for a request begins a family; a renewal stays in it. A revocation list names
//! serial numbers only, and one that names a member of a family revokes all of it: also a renewal
//! that another arbiter made a moment before, of which whoever signed the list didn't know.

use canister_link::certificate::role;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes of a serial number of ours.
const BYTES: usize = 16;

/// What a certificate and its renewals have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Family([u8; BYTES / 2]);

impl Family {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new() -> Result<Self, rcgen::Error> {
        let mut bytes = random()?;
        // A serial number is a positive integer; so it also has no leading zeros.
        bytes[0] = bytes[0] & 0x7f | 0x40;
        Ok(Self(bytes))
    }

    /// The family of a serial number (big-endian); `None` if it is none of ours.
    pub fn of(serial: &[u8]) -> Option<Self> {
        let serial: &[u8; BYTES] = serial.try_into().ok()?;
        let (family, _) = serial.split_first_chunk()?;
        (family[0] & 0xc0 == 0x40).then_some(Self(*family))
    }

    /// The role in PostgreSQL of the peer to whom it belongs.
    pub fn role(self) -> String {
        role(&text(&self.0))
    }

    /// A new serial number in it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn member(self) -> Result<Vec<u8>, rcgen::Error> {
        Ok([self.0, random()?].concat())
    }
}

/// A serial number as text: hexadecimal in lower case.
pub fn text(serial: &[u8]) -> String {
    serial.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a serial number from its text; `None` if it is none.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn random<const N: usize>() -> Result<[u8; N], rcgen::Error> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| rcgen::Error::RingUnspecified)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_by_their_family() {
        let (one, other) = (Family::new().unwrap(), Family::new().unwrap());
        assert_ne!(one, other);
        let (first, second) = (one.member().unwrap(), one.member().unwrap());
        assert_ne!(first, second);
        assert_eq!(Family::of(&first), Some(one));
        assert_eq!(Family::of(&first), Family::of(&second));
        assert_eq!(bytes(&text(&first)), Some(first.clone()));
        // Other authorities' serial numbers have none.
        for strange in [&first[1..], &[0xff; 16], &[0x01; 16], &[], &[1; 20]] {
            assert_eq!(Family::of(strange), None, "{strange:?}");
        }
        for strange in ["x", "0", "zz", "é0"] {
            assert_eq!(bytes(strange), None);
        }
    }
}
