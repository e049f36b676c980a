//! Snapshots of and for peers go through this thread slice by slice: between two of them everybody
//! else gets a turn.

use actix::{ActorFutureExt, AsyncContext, Context, Response, WrapFuture};
use protocol::raftpb;

use super::{Error, Peer, Removed, receiving::Progress, recovery::Failure, storage::Place};

impl Peer {
    /// Begins to make the snapshot that a member waits for.
    pub(super) fn begin_sending(&mut self, ctx: &mut Context<Self>) {
        let view = self.links.published.view();
        let Some(running) = self.running() else { return };
        if running.node.mut_store().begin_sending(&view) && !running.is_encoding {
            running.is_encoding = true;
            self.encode_later(ctx);
        }
    }

    fn encode_later(&self, ctx: &mut Context<Self>) {
        let turn = tokio::task::yield_now().into_actor(self);
        ctx.spawn(turn.map(|(), peer, ctx| {
            let Some(running) = peer.running() else { return };
            running.is_encoding = running.node.mut_store().sending.advance();
            if running.is_encoding {
                peer.encode_later(ctx);
            }
        }));
    }

    /// Reads a snapshot of the leader. Its sender hears that it has arrived when raft-rs has it:
    /// the leader would otherwise go on with entries that do not fit yet.
    pub(super) fn read_snapshot(
        &mut self,
        ctx: &mut Context<Self>,
        message: raftpb::Message,
        place: Place,
    ) -> Response<Result<(), Removed>> {
        let Some(running) = self.running() else { return Response::reply(Ok(())) };
        match running.receiving.add(message, place) {
            Ok(arrived) => {
                if !std::mem::replace(&mut running.is_reading, true) {
                    self.read_later(ctx);
                }
                Response::fut(async {
                    arrived.await.ok();
                    Ok(())
                })
            }
            Err(error) => {
                self.failed(ctx, Failure::Ended(error));
                Response::reply(Ok(()))
            }
        }
    }

    fn read_later(&self, ctx: &mut Context<Self>) {
        let turn = tokio::task::yield_now().into_actor(self);
        ctx.spawn(turn.map(|(), peer, ctx| {
            if let Err(error) = peer.read_on(ctx) {
                peer.failed(ctx, Failure::Ended(error));
            }
        }));
    }

    fn read_on(&mut self, ctx: &mut Context<Self>) -> Result<(), Error> {
        let Some(running) = self.running() else { return Ok(()) };
        match running.receiving.advance()? {
            Progress::Nothing => running.is_reading = false,
            Progress::More => self.read_later(ctx),
            Progress::Whole(message, waiting) => {
                running.is_reading = false;
                running.step(*message);
                self.proceed(ctx);
                if let Some(running) = self.running() {
                    running.receiving.decided();
                }
                for waiting in waiting {
                    waiting.send(()).ok();
                }
            }
        }
        Ok(())
    }
}
