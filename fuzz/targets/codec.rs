//! Any bytes give a message or an error, and a message stays what it is when it is encoded.

#![no_main]

use canister_protocol::codec::{Message, decode, decode_binary, encode};
use canister_protocol::limits::MESSAGE_BYTES_MAX;
use canister_protocol::{ToArbiter, ToPeer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    stays::<ToArbiter>(bytes);
    stays::<ToPeer>(bytes);
});

fn stays<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = decode::<M>(bytes) {
        let text = encode(&message);
        assert!(text.len() <= MESSAGE_BYTES_MAX, "{} bytes", text.len());
        assert_eq!(decode::<M>(text.as_bytes()).as_ref(), Ok(&message));
    }
    if let Ok(message) = decode_binary::<M>(bytes) {
        let packed = message.pack().expect("it was binary");
        assert!(packed.len() <= MESSAGE_BYTES_MAX, "{} bytes", packed.len());
        assert_eq!(decode_binary::<M>(&packed).as_ref(), Ok(&message));
    }
}
