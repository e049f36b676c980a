//! The peer's actor: one input after the other into raft-rs, and out what it decides.

use std::{cell::Cell, mem, rc::Rc};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Response, ResponseFuture,
    WrapFuture,
};
use raft::{Ready, SnapshotStatus, StateRole, eraftpb::MessageType};
use tokio::sync::oneshot;

use super::{
    Config, Delivery, Ended, Error, GetCommitted, GetStatus, LeadershipChanged, Links, NotLeading,
    ReadIndex, Receive, Removed, Report, Status, logic,
    recovery::{Beginning, Failure, ask, recover},
    running::Running,
    unsaved::{Batch, Held},
};
use crate::{
    log::{Append, InstallSnapshot},
    store::{Event, Events, Propose, Refused},
    supervised,
    supervision::{Address, Closed, Life, Recipient, fail},
};

/// One member of the raft group.
pub struct Peer {
    pub(super) config: Config,
    pub(super) links: Links,
    /// Which life this is: what an earlier one said does not count any more.
    epoch: u64,
    proposals: Recipient<Propose>,
    stage: Stage,
    /// Whether a life has read the log. A new cluster is forced before that and never again: who
    /// has joined since stays.
    has_begun: Rc<Cell<bool>>,
}

/// How far a life has come.
enum Stage {
    /// The log is being read.
    Recovering,
    /// It takes part.
    Member(Box<Running>),
    /// It cannot go on, and the process is told to end.
    Ended,
}

impl Peer {
    /// Returns what supervision calls for each life of the peer.
    pub fn factory(config: Config, links: Links) -> impl FnMut(Life, &Address<Self>) -> Self {
        let has_begun = Rc::<Cell<bool>>::default();
        move |life, own| Self {
            config: config.clone(),
            links: links.clone(),
            epoch: life.0,
            proposals: own.recipient(),
            stage: Stage::Recovering,
            has_begun: has_begun.clone(),
        }
    }

    pub(super) fn running(&mut self) -> Option<&mut Running> {
        match &mut self.stage {
            Stage::Member(running) => Some(running),
            Stage::Recovering | Stage::Ended => None,
        }
    }

    fn begin(&mut self, ctx: &mut Context<Self>, beginning: Result<Beginning, Failure>) {
        let Beginning { node, view } = match beginning {
            Ok(beginning) => beginning,
            Err(failure) => return self.failed(ctx, failure),
        };
        self.has_begun.set(true);
        self.links.standing.forget_leader();
        let index = view.index();
        let recovered = Event::Recovered { view, proposals: self.proposals.clone() };
        self.stage = Stage::Member(Box::new(Running::new(node, recovered, index)));
        self.tick_later(ctx);
        self.proceed(ctx);
    }

    /// Missed ticks are not made up for: a process that slept has not watched its leader.
    fn tick_later(&self, ctx: &mut Context<Self>) {
        ctx.run_later(self.config.tick, |peer, ctx| {
            peer.tick_later(ctx);
            if let Stage::Member(running) = &mut peer.stage {
                running.tick(&peer.links.standing, peer.config.tick);
            }
            peer.knock();
            peer.proceed(ctx);
        });
    }

    /// Ends for good, unless a new life may do better.
    pub(super) fn failed(&mut self, ctx: &mut Context<Self>, failure: Failure) {
        let error = match failure {
            Failure::LogRestarting => fail(&"the log died"),
            Failure::Ended(error) => error,
        };
        self.end(ctx, error, Vec::new());
    }

    /// Ends for good: nobody hears of this member any more. The store does what is left.
    fn end(&mut self, ctx: &mut Context<Self>, error: Error, mut events: Vec<Event>) {
        // Dropping the reads and telling the store answers everybody who waits.
        self.stage = Stage::Ended;
        self.links.standing.forget_leader();
        events.push(Event::Follow);
        let (epoch, ended) = (self.epoch, self.links.ended.clone());
        let told = self.links.store.send(Events { epoch, events });
        let leadership = self.links.leadership.clone();
        let announced = async move {
            told.await.ok();
            leadership.send(LeadershipChanged { term: None }).await.ok();
            ended.send(Ended { error }).await.ok();
        };
        ctx.spawn(announced.into_actor(self));
    }

    /// Does everything that raft-rs wants done after an input.
    pub(super) fn proceed(&mut self, ctx: &mut Context<Self>) {
        loop {
            self.elect_sole_voter();
            let Some(running) = self.running() else { return };
            running.deliver(Vec::new());
            if running.removed {
                let events = mem::take(&mut running.outbox).into();
                return self.end(ctx, Removed.into(), events);
            }
            if let Some(round) = running.reads.begin() {
                running.node.read_index(round);
            }
            if !running.node.has_ready() {
                break;
            }
            let ready = running.node.ready();
            if let Err(error) = self.take(ready) {
                return self.failed(ctx, Failure::Ended(error));
            }
            self.save(ctx);
        }
        let Self { config, stage: Stage::Member(running), .. } = self else { return };
        let raft = &mut running.node.raft;
        let ticks = logic::election_ticks(config.seed, raft.id, raft.term, &config.election_ticks);
        raft.set_randomized_election_timeout(ticks);
        running.remember_leader();
        running.follow_leadership();
        running.publish(&self.links.standing);
        running.reads.applied(running.applied);
        self.tell_store(ctx);
        self.announce(ctx);
        self.change_members(ctx);
        self.begin_sending(ctx);
    }

    /// Takes what raft-rs says, up to what the disk has to do.
    fn take(&mut self, mut ready: Ready) -> Result<(), Error> {
        let Self { links, stage: Stage::Member(running), .. } = self else { return Ok(()) };
        for message in ready.take_messages() {
            links.transport.send(running.outgoing(message));
        }
        for state in ready.take_read_states() {
            running.reads.confirm(&state);
        }
        if !ready.snapshot().is_empty() {
            running.install(ready.snapshot())?;
        }
        let storage = running.node.mut_store();
        storage.append(ready.entries());
        running.unsaved.add_entries(ready.entries().iter().map(logic::to_entry));
        let elects = ready.hs().is_some_and(|state| storage.elects(state));
        if let Some(state) = ready.hs() {
            storage.set_hard_state(state.clone());
            running.unsaved.set_hard_state(logic::to_hard_state(state));
        }
        let mut messages = ready.take_persisted_messages();
        if planted!(SentBeforeSaved) {
            messages.drain(..).for_each(|message| links.transport.send(logic::to_wire(message)));
        }
        if !elects && !running.unsaved.elects() {
            // They acknowledge nothing that has to be durable; a leader must not wait for them.
            for message in messages.extract_if(.., |message| {
                message.get_msg_type() == MessageType::MsgHeartbeatResponse
            }) {
                links.transport.send(running.outgoing(message));
            }
        }
        running.deliver(ready.take_committed_entries());
        let number = ready.number();
        running.node.advance_append_async(ready);
        running.unsaved.hold(Held { number, elects, messages });
        if running.forgets_removal() {
            running.unsaved.hurry();
        }
        Ok(())
    }

    /// Writes what is unsaved, one write at a time.
    fn save(&mut self, ctx: &mut Context<Self>) {
        loop {
            let Some(batch) = self.running().and_then(|running| running.unsaved.begin()) else {
                return;
            };
            if !batch.is_empty() {
                return self.write(ctx, batch);
            }
            self.saved();
        }
    }

    fn write(&mut self, ctx: &mut Context<Self>, batch: Batch) {
        let log = self.links.log.clone();
        let written = async move {
            let Batch { snapshot, entries, hard_state } = batch;
            if let Some(snapshot) = snapshot {
                let _: () = ask(&log, InstallSnapshot(snapshot)).await?;
            }
            ask(&log, Append { entries, hard_state }).await
        };
        ctx.spawn(written.into_actor(self).map(|written: Result<(), Failure>, peer, ctx| {
            match written {
                Ok(()) => {
                    peer.saved();
                    peer.save(ctx);
                    peer.proceed(ctx);
                }
                Err(failure) => peer.failed(ctx, failure),
            }
        }));
    }

    /// A write is durable: raft-rs goes on, and what waited for it may be said.
    fn saved(&mut self) {
        let Self { links, stage: Stage::Member(running), .. } = self else { return };
        let Some((number, messages)) = running.unsaved.saved() else { return };
        running.node.on_persist_ready(number);
        running.advance();
        for message in messages {
            links.transport.send(running.outgoing(message));
        }
    }

    /// A member that votes alone leads as soon as it has applied what it knows to be committed.
    fn elect_sole_voter(&mut self) {
        let Some(running) = self.running() else { return };
        let raft = &running.node.raft;
        let alone = running.voters() == [raft.id];
        let whole = running.applied == raft.raft_log.committed
            && raft.raft_log.persisted == raft.raft_log.last_index();
        let idle = raft.state == StateRole::Follower && running.unsaved.is_empty();
        if alone
            && whole
            && idle
            && !mem::replace(&mut running.campaigned, true)
            && let Err(error) = running.node.campaign()
        {
            tracing::warn!(%error, "cannot campaign");
        }
    }

    fn tell_store(&mut self, ctx: &mut Context<Self>) {
        let (epoch, store) = (self.epoch, self.links.store.clone());
        let Some(running) = self.running() else { return };
        if running.telling || running.outbox.is_empty() {
            return;
        }
        running.telling = true;
        let (events, applied, bytes) = running.take_outbox();
        let told = store.send(Events { epoch, events }).into_actor(self);
        ctx.spawn(told.map(move |told, peer, ctx| {
            // A store that died takes this life with it: they are one unit.
            if told.is_ok() {
                peer.told(ctx, applied, bytes);
            }
        }));
    }

    /// The store has done all of it.
    fn told(&mut self, ctx: &mut Context<Self>, applied: u64, bytes: u64) {
        let Some(running) = self.running() else { return };
        running.telling = false;
        running.applied = applied;
        running.applied_bytes += bytes;
        running.advance();
        self.save_snapshot(ctx);
        self.proceed(ctx);
    }

    /// Tells who wants to know that this member leads or does not, once the store knows.
    fn announce(&mut self, ctx: &mut Context<Self>) {
        let leadership = self.links.leadership.clone();
        let Some(running) = self.running() else { return };
        if running.announcing || running.telling || !running.outbox.is_empty() {
            return;
        }
        let Some(change) = running.announcements.pop_front() else { return };
        running.announcing = true;
        ctx.spawn(leadership.send(change).into_actor(self).map(move |told, peer, ctx| {
            let Some(running) = peer.running() else { return };
            running.announcing = false;
            match told {
                Ok(()) => peer.announce(ctx),
                // Whoever heard it has died of it. The next tick says it again.
                Err(Closed) => running.announcements.push_front(change),
            }
        }));
    }
}

impl Actor for Peer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (mut config, links) = (self.config.clone(), self.links.clone());
        config.force_new_cluster &= !self.has_begun.get();
        let recovered = async move { recover(&config, &links).await };
        ctx.wait(recovered.into_actor(self).map(|beginning, peer, ctx| peer.begin(ctx, beginning)));
    }
}

supervised!(Peer, mailbox = 1024);

impl Handler<Propose> for Peer {
    type Result = Result<(), Refused>;

    fn handle(&mut self, propose: Propose, ctx: &mut Context<Self>) -> Self::Result {
        let running = self.running().ok_or(Refused::NotLeading)?;
        running.propose(propose)?;
        self.proceed(ctx);
        Ok(())
    }
}

impl Handler<Receive> for Peer {
    type Result = Response<Result<(), Removed>>;

    fn handle(&mut self, Receive(message): Receive, ctx: &mut Context<Self>) -> Self::Result {
        let Some(running) = self.running() else { return Response::reply(Ok(())) };
        if running.node.store().membership().is_removed(message.from()) {
            // Its vote may be needed once more as long as this member could forget.
            let needed = running.forgets_removal();
            return Response::reply(if needed { Ok(()) } else { Err(Removed) });
        }
        if running.is_deaf_to(message.from()) {
            return Response::reply(Ok(()));
        }
        if let Some(place) = running.brings_news(&message) {
            return self.read_snapshot(ctx, message, place);
        }
        running.step(message);
        // Only what happens between two rounds can be batched.
        if !planted!(BatchAppend) {
            self.proceed(ctx);
        }
        Response::reply(Ok(()))
    }
}

impl Handler<Report> for Peer {
    type Result = ();

    fn handle(&mut self, Report { to, delivery }: Report, ctx: &mut Context<Self>) {
        if let Some(running) = self.running() {
            match delivery {
                Delivery::Unreachable => running.node.report_unreachable(to),
                Delivery::SnapshotArrived => {
                    running.node.report_snapshot(to, SnapshotStatus::Finish);
                }
                Delivery::SnapshotLost => {
                    running.node.report_snapshot(to, SnapshotStatus::Failure);
                }
                Delivery::RefusedAsRemoved => return self.end(ctx, Removed.into(), Vec::new()),
                Delivery::Refused => {
                    running.node.report_unreachable(to);
                    self.refused(ctx, to);
                }
            }
        }
        self.proceed(ctx);
    }
}

impl Handler<ReadIndex> for Peer {
    type Result = ResponseFuture<Result<u64, NotLeading>>;

    fn handle(&mut self, _: ReadIndex, ctx: &mut Context<Self>) -> Self::Result {
        let Some(running) = self.running().filter(|running| running.leading.is_some()) else {
            return Box::pin(async { Err(NotLeading) });
        };
        let (reply, answer) = oneshot::channel();
        running.reads.add(reply);
        self.proceed(ctx);
        Box::pin(async { answer.await.unwrap_or(Err(NotLeading)) })
    }
}

impl Handler<GetStatus> for Peer {
    type Result = Option<Status>;

    fn handle(&mut self, _: GetStatus, _: &mut Context<Self>) -> Self::Result {
        let heard_within = self.config.election_ticks.start as u64;
        self.running().map(|running| running.status(heard_within))
    }
}

impl Handler<GetCommitted> for Peer {
    type Result = MessageResult<GetCommitted>;

    fn handle(
        &mut self,
        GetCommitted { from }: GetCommitted,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let page = self.running().map(|running| running.committed_since(from));
        MessageResult(page.unwrap_or_default())
    }
}
