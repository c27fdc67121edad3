//! Lists that the operator's own configuration names, read from a web server wherever it is. They
//! come as a stream; who reads one bounds its length.

use canister_link::dial::web;
use std::io::Read;
use std::time::Duration;

/// How long one list may take in all.
const LIST_MAX: Duration = Duration::from_secs(10 * 60);
/// The User-Agent header: who asks, and where to read about it and complain.
pub(super) const USER_AGENT: &str =
    concat!("canister-arbiter/", env!("CARGO_PKG_VERSION"), " (+https://canister.me)");

/// Opens the list at `url`; the operator named it, so it may be at a private address.
///
/// # Errors
/// One line: what the network, TLS or the server says.
pub fn open(url: &str) -> Result<impl Read, String> {
    let answer = web::client(USER_AGENT, LIST_MAX, None).get(url).call();
    let answer = answer.map_err(|cause| cause.to_string())?;
    match answer.status().as_u16() {
        200 => Ok(answer.into_body().into_reader()),
        status => Err(format!("status {status}")),
    }
}
