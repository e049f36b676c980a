//! The agent's handle on one task.

use std::rc::Rc;

use actors::agent::port::{Controller, ExecutorError};
use futures_util::future::LocalBoxFuture;
use protocol::wire;

use super::process::Process;

/// Hands each verb on to the process, which outlives a verb that is given up.
pub(super) struct ProcessController {
    process: Rc<Process>,
    ports: Option<wire::PortStatus>,
}

impl ProcessController {
    pub(super) fn new(process: Process, ports: Option<wire::PortStatus>) -> Self {
        Self { process: Rc::new(process), ports }
    }
}

impl Controller for ProcessController {
    fn update(&self, _: &wire::Task) -> LocalBoxFuture<'static, Result<(), ExecutorError>> {
        // The spec of a task never changes, and nothing else of it matters to a process.
        Box::pin(async { Ok(()) })
    }

    fn prepare(&self) -> LocalBoxFuture<'static, Result<(), ExecutorError>> {
        let process = self.process.clone();
        Box::pin(async move { process.prepare().await })
    }

    fn start(&self) -> LocalBoxFuture<'static, Result<(), ExecutorError>> {
        let process = self.process.clone();
        Box::pin(async move { process.end_failed(process.start().await).await })
    }

    fn wait(&self) -> LocalBoxFuture<'static, Result<(), ExecutorError>> {
        let process = self.process.clone();
        Box::pin(async move { process.end_failed(process.wait().await).await })
    }

    fn shutdown(&self) -> LocalBoxFuture<'static, Result<(), ExecutorError>> {
        let process = self.process.clone();
        Box::pin(async move { process.shutdown().await })
    }

    fn remove(&self) -> LocalBoxFuture<'static, Result<(), ExecutorError>> {
        let process = self.process.clone();
        Box::pin(async move { process.remove().await })
    }

    fn container_status(&self) -> Option<wire::ContainerStatus> {
        Some(self.process.status())
    }

    fn port_status(&self) -> Option<wire::PortStatus> {
        self.ports.clone()
    }
}
