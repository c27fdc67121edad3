//! Leaving for good: the peer's leases are given back, and its certificate is to be revoked. Nothing is
//! deleted here: that is the owner's.

use crate::PROGRAM;
use crate::config::{AgentConfig, ArbiterAddress};
use crate::dial::dial;
use canister_link::identity::Identity;
use canister_protocol::limits::PROTOCOL;
use canister_protocol::row::MAPPING;
use canister_protocol::session::PeerSide;
use canister_protocol::{ToArbiter, ToPeer};
use smol::future::FutureExt as _;
use smol::{LocalExecutor, Timer};
use std::sync::Arc;
use std::time::Duration;

/// How long an arbiter may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What an arbiter said.
#[derive(Debug)]
pub struct Leaving {
    /// Its name for the peer.
    pub peer: String,
    /// Whether the certificate is revoked; else the operator does that.
    pub is_revoked: bool,
}

/// Tells the first arbiter that answers. A run's session ends by it.
///
/// # Errors
/// One line: none could be told, and why not.
pub fn leave(config: &AgentConfig) -> Result<Leaving, String> {
    let identity = Identity::load(&config.files()).map_err(|cause| cause.to_string())?;
    let tls = Arc::new(identity.client_config().map_err(|cause| cause.to_string())?);
    let executor = LocalExecutor::new();
    let mut failed = String::new();
    for address in &config.arbiter {
        let told = smol::block_on(executor.run(tell(&executor, address, &tls)));
        match told {
            Ok(said) => return Ok(said),
            Err(why) => failed = format!("{address}: {why}"),
        }
    }
    Err(failed)
}

async fn tell(
    executor: &LocalExecutor<'_>,
    address: &ArbiterAddress,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Leaving, String> {
    let mut link =
        dial(executor, address, tls, &None).await.map_err(|cause| cause.to_string())?.link;
    // It names no lease, so what the peer has is given back.
    link.send(&ToArbiter::Hello {
        protocol: PROTOCOL,
        mapping: Some(MAPPING),
        public_name: None,
        never: None,
        // What the operator wishes is no matter of a peer that leaves.
        obeys: None,
        agent: PROGRAM.to_owned(),
        leases: Vec::new(),
    });
    let mut side = PeerSide::default();
    let mut name = String::new();
    let talk = async {
        loop {
            let message: ToPeer = link.receive().await.map_err(|cause| cause.to_string())?;
            side.arrived(&message).map_err(|cause| cause.to_string())?;
            match message {
                ToPeer::Welcome { peer, .. } => {
                    name = peer;
                    link.send(&ToArbiter::Leave {});
                }
                ToPeer::Left { is_revoked } => return Ok(Leaving { peer: name, is_revoked }),
                _ => {}
            }
        }
    };
    let said = talk
        .or(async {
            Timer::after(ANSWER_MAX).await;
            Err(format!("no answer within {} s", ANSWER_MAX.as_secs()))
        })
        .await?;
    link.close(1000, "left").await;
    Ok(said)
}
