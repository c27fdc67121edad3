//! Lists that the operator's own configuration names, read from a web server wherever it is. They
//! come as a stream; who reads one bounds its length.

use canister_link::dial::web;
use canister_link::roots;
use std::io::Read;
use std::time::Duration;

/// How long a name look-up or a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// How long a server may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long one list may take in all.
const LIST_MAX: Duration = Duration::from_secs(10 * 60);
/// Most redirects that are followed for one list.
const REDIRECTS_MAX: u32 = 5;
/// The User-Agent header: who asks, and where to read about it and complain.
const USER_AGENT: &str =
    concat!("canister-arbiter/", env!("CARGO_PKG_VERSION"), " (+https://canister.me)");

/// Opens the list at `url`; the operator named it, so it may be at a private address.
///
/// # Errors
/// One line: what the network, TLS or the server says.
pub fn open(url: &str) -> Result<impl Read, String> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(REDIRECTS_MAX)
        .proxy(None)
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_global(Some(LIST_MAX))
        .timeout_per_read(Some(SILENCE_MAX))
        .timeout_recv_response(Some(SILENCE_MAX))
        .timeout_resolve(Some(CONNECT_MAX))
        .tls_config(roots::tls(roots::of_the_machine()))
        .user_agent(USER_AGENT)
        .build();
    let answer = web::agent(config, web::Names, None, None).get(url).call();
    let answer = answer.map_err(|cause| cause.to_string())?;
    match answer.status().as_u16() {
        200 => Ok(answer.into_body().into_reader()),
        status => Err(format!("status {status}")),
    }
}
