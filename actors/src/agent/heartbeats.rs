//! The heartbeats of one session. They need nothing of the agent, so that they can be sent from
//! where nothing else has to be waited for.

use std::{sync::Arc, time::Duration};

use protocol::wire;
use tokio::time::{sleep, timeout};

use super::port::{Manager, ManagerError};

/// How long a manager may take to register the node, or to answer a heartbeat.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// When a manager does not say how often it wants to hear from us.
const PERIOD: Duration = Duration::from_secs(5);
/// How long a node waits at least, whatever a manager says: no pause would keep a processor busy
/// with nothing else. Half of the shortest period, which managers vary by half.
const PERIOD_MIN: Duration = Duration::from_millis(50);

/// Sends the first one at once and each of the others when the manager expects it, until one
/// fails. Returns why.
pub(super) async fn beat(manager: Arc<dyn Manager>, session_id: String) -> ManagerError {
    loop {
        let request = wire::HeartbeatRequest { session_id: session_id.clone() };
        let answer = match timeout(ANSWER_TIMEOUT, manager.heartbeat(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return error,
            Err(_) => return ManagerError::Failed("heartbeat timed out".to_owned()),
        };
        let period = answer.period.and_then(|period| Duration::try_from(period).ok());
        sleep(period.unwrap_or(PERIOD).max(PERIOD_MIN)).await;
    }
}
