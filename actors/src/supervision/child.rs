//! One supervised actor: its lives, one after the other, and what its tree tells it.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use actix::{Context, dev::ContextFut};
use tokio::{
    sync::{Notify, Semaphore},
    time::sleep,
};

use super::{
    Life, Supervised, Tree,
    census::{ActorState, Record},
    lay_down_next_life,
    logic::Verdict,
};

/// A poll that takes longer starves everybody else on the thread.
const POLL_LONG: Duration = Duration::from_millis(50);

/// What a tree wants of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Do nothing until told otherwise.
    Pause,
    /// Begin the next life.
    Restart,
    /// End for good.
    Stop,
}

/// How a tree tells a child what to do.
pub(super) struct Control {
    command: Cell<Option<Command>>,
    told: Notify,
    ended: Notify,
    has_ended: Cell<bool>,
}

impl Control {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            command: Cell::new(None),
            told: Notify::new(),
            ended: Notify::new(),
            has_ended: Cell::new(false),
        })
    }

    /// The last command counts; nothing is taken back once a child was told to stop.
    pub(super) fn tell(&self, command: Command) {
        if self.command.get() != Some(Command::Stop) {
            self.command.set(Some(command));
        }
        self.told.notify_one();
    }

    /// Waits until the child is gone.
    pub(super) async fn ended(&self) {
        while !self.has_ended.get() {
            self.ended.notified().await;
        }
    }

    async fn next(&self) -> Command {
        loop {
            if let Some(command) = self.command.take() {
                return command;
            }
            self.told.notified().await;
        }
    }
}

/// Tells whoever waits that the child is gone, also when its task was aborted.
struct Ending {
    control: Rc<Control>,
    permits: Arc<Semaphore>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.permits.close();
        self.control.has_ended.set(true);
        self.control.ended.notify_waiters();
    }
}

/// Why a life is over.
enum Over {
    Died(String),
    Told(Command),
}

/// A body that actix polls; before the first life there is only its mailbox.
enum Body<A: Supervised> {
    Unborn(Context<A>),
    Born(ContextFut<A, Context<A>>),
    Gone,
}

pub(super) struct Child<A: Supervised, F> {
    body: Body<A>,
    factory: F,
    life: Life,
    record: Arc<Record>,
    control: Rc<Control>,
    tree: Tree,
    ending: Ending,
}

impl<A: Supervised, F: FnMut(Life) -> A> Child<A, F> {
    pub(super) fn new(
        mailbox: Context<A>,
        factory: F,
        record: Arc<Record>,
        permits: Arc<Semaphore>,
        control: Rc<Control>,
        tree: Tree,
    ) -> Self {
        let ending = Ending { control: control.clone(), permits };
        let body = Body::Unborn(mailbox);
        Self { body, factory, life: Life(0), record, control, tree, ending }
    }

    /// Lives until the tree says stop.
    pub(super) async fn run(mut self) {
        loop {
            let over = match self.begin() {
                Ok(()) => self.live().await,
                Err(reason) => Over::Died(reason),
            };
            let mut command = match over {
                Over::Told(command) => command,
                Over::Died(reason) => self.mourn(&reason).await,
            };
            while command == Command::Pause {
                self.record.enter(ActorState::BackingOff);
                command = self.control.next().await;
            }
            if command == Command::Stop {
                break;
            }
            self.life = Life(self.life.0 + 1);
            self.record.restarted();
        }
        self.end();
    }

    /// Builds the actor and puts it behind the address. A factory may panic as well.
    fn begin(&mut self) -> Result<(), String> {
        let (factory, life) = (&mut self.factory, self.life);
        let actor = catch_unwind(AssertUnwindSafe(|| factory(life))).map_err(reason_of)?;
        match std::mem::replace(&mut self.body, Body::Gone) {
            Body::Unborn(mailbox) => self.body = Body::Born(mailbox.into_future(actor)),
            Body::Born(mut body) => {
                lay_down_next_life(actor);
                // The dead actor is dropped in there.
                let restarted = catch_unwind(AssertUnwindSafe(|| body.restart()));
                self.body = Body::Born(body);
                let kept = restarted.map_err(reason_of)?;
                assert!(kept, "the tree holds an address, so the mailbox is open");
            }
            Body::Gone => unreachable!("only the end leaves no body"),
        }
        Ok(())
    }

    /// Lets the actor live until it dies or the tree says something.
    async fn live(&mut self) -> Over {
        let Self { body, control, record, .. } = self;
        let Body::Born(body) = body else { unreachable!("a life has begun") };
        let mut command = Box::pin(control.next());
        poll_fn(|cx| {
            if let Poll::Ready(command) = command.as_mut().poll(cx) {
                return Poll::Ready(Over::Told(command));
            }
            let began = wall_clock();
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *body).poll(cx)));
            watch(record, began.elapsed());
            match polled {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(())) => {
                    Poll::Ready(Over::Died("it stopped without being told to".to_owned()))
                }
                Err(panic) => Poll::Ready(Over::Died(reason_of(panic))),
            }
        })
        .await
    }

    /// Waits out the back-off; returns what follows.
    async fn mourn(&mut self, reason: &str) -> Command {
        tracing::error!(actor = self.record.path(), life = self.life.0, reason, "actor died");
        self.record.failed(reason);
        self.record.enter(ActorState::BackingOff);
        match self.tree.died(reason) {
            Verdict::Escalate => self.control.next().await,
            Verdict::Restart(after) => {
                tokio::select! {
                    biased;
                    command = self.control.next() => command,
                    () = sleep(after) => Command::Restart,
                }
            }
        }
    }

    fn end(self) {
        let Self { body, record, tree, ending, .. } = self;
        record.enter(ActorState::Stopped);
        // An actor may panic while it is dropped, too.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(body))) {
            let reason = reason_of(panic);
            tracing::error!(actor = record.path(), reason, "actor died while it was stopped");
        }
        tree.ended(&record);
        drop(ending);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures what a poll costs; nothing is decided by it"
)]
fn wall_clock() -> std::time::Instant {
    std::time::Instant::now()
}

fn watch(record: &Record, took: Duration) {
    record.polled(took);
    if took > POLL_LONG {
        let millis = took.as_millis();
        tracing::warn!(actor = record.path(), millis, "an actor held its thread for long");
    }
}

/// What a panic says.
fn reason_of(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => match panic.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(_) => "it panicked without a text".to_owned(),
        },
    }
}
