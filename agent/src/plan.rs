//! `canister-agent plan`: what the arbiter may ask of this peer in the coming hours. It disturbs no session.

use crate::config::AgentConfig;
use crate::dial::dial;
use crate::ledger::table;
use canister_link::dial::reaches;
use canister_link::identity::Identity;
use canister_link::websocket::HANDSHAKE_MAX;
use canister_protocol::limits::PROTOCOL;
use canister_protocol::message::PlannedHost;
use canister_protocol::{ToArbiter, ToPeer, Veto};
use nanoserde::SerJson;
use smol::Timer;
use smol::future::FutureExt as _;
use std::fmt;
use std::sync::Arc;

/// What it is told.
#[derive(Debug, SerJson)]
pub struct PeerPlan {
    pub hours: u32,
    pub planned: Vec<PlannedHost>,
    pub left_out: u32,
}

/// Asks the arbiters in turn, until one answers.
///
/// # Errors
/// One line: why the last of them didn't.
pub fn ask(config: &AgentConfig, hours: u32) -> Result<PeerPlan, String> {
    let identity = Identity::load(&config.files()).map_err(|cause| cause.to_string())?;
    let tls = Arc::new(identity.client_config().map_err(|cause| cause.to_string())?);
    let never = Veto::new(config.never.clone()).texts();
    let question = ToArbiter::Plan {
        protocol: PROTOCOL,
        never: Some(never),
        reaches: Some(reaches()),
        // A day's cap bounds one lease, too.
        bytes: config.traffic.and_then(|caps| [caps.day, caps.month].into_iter().flatten().min()),
        hours,
    };
    let mut why = "no arbiter is named".to_owned();
    for address in &config.arbiter {
        let executor = smol::LocalExecutor::new();
        let asked = smol::block_on(executor.run(async {
            let dialled = dial(&executor, address, &tls, &None).await;
            let mut link = dialled.map_err(|cause| cause.to_string())?.link;
            link.send(&question);
            let answer = async { link.receive().await.map_err(|cause| cause.to_string()) };
            let silence = async {
                Timer::after(HANDSHAKE_MAX).await;
                Err(format!("no answer within {} s", HANDSHAKE_MAX.as_secs()))
            };
            let answer = answer.or(silence).await?;
            link.close(1000, "that is all").await;
            Ok::<ToPeer, String>(answer)
        }));
        match asked {
            Ok(ToPeer::Planned { planned, left_out }) => {
                return Ok(PeerPlan { hours, planned, left_out });
            }
            Ok(_) => {
                why = format!("{address}: it answers something else; is it older than this agent?")
            }
            Err(cause) => why = format!("{address}: {cause}"),
        }
    }
    Err(why)
}

impl fmt::Display for PeerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "in the next {} h this peer, or another, is asked to poll", self.hours)?;
        let titles = ["operator", "host", "sources", "polls"].map(str::to_owned).to_vec();
        let row = |it: &PlannedHost| {
            vec![it.operator.clone(), it.host.clone(), it.sources.to_string(), it.polls.to_string()]
        };
        let rows = self.planned.iter().map(row);
        f.write_str(&table([titles].into_iter().chain(rows).collect()))?;
        match self.left_out {
            0 => Ok(()),
            left_out => writeln!(f, "and {left_out} more hosts"),
        }
    }
}
