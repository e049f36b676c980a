//! Trees: children that are started in order, restarted together when they die too often, and
//! stopped in reverse.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use actix::Context;
use tokio::{
    sync::Semaphore,
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::{
    Address, Census, Life, Supervised,
    census::Record,
    child::{Child, Command, Control},
    logic::{Budget, Deaths, Verdict},
};

/// A root tree has given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{tree} gave up: {reason}")]
pub struct Lost {
    /// Which tree.
    pub tree: String,
    /// What the last death said.
    pub reason: String,
}

/// A tree of supervised actors. Lives on one thread, inside a `LocalSet`.
///
/// When the children of a tree die more often than its budget allows, all of them start again, in
/// order. When that happens more often than the budget allows, the parent starts again; a root
/// gives up and says so.
#[derive(Clone)]
pub struct Tree {
    inner: Rc<Inner>,
}

/// Told once, when a root tree gives up.
type OnLost = Box<dyn FnOnce(Lost)>;

struct Inner {
    path: String,
    began: Instant,
    deaths: RefCell<Deaths>,
    restarts: RefCell<Deaths>,
    parent: Option<Tree>,
    members: RefCell<Vec<Member>>,
    census: Census,
    on_lost: RefCell<Option<OnLost>>,
    over: Cell<bool>,
}

/// What hangs directly in a tree, in start order.
#[derive(Clone)]
enum Member {
    Child { control: Rc<Control>, record: Arc<Record>, task: AbortHandle },
    Tree(Tree),
}

impl Tree {
    /// A tree without a parent; `on_lost` is called at most once, after which nothing in it lives.
    pub fn root(
        name: &str,
        budget: Budget,
        census: Census,
        on_lost: impl FnOnce(Lost) + 'static,
    ) -> Self {
        Self::new(name.to_owned(), budget, budget, census, None, Some(Box::new(on_lost)))
    }

    /// A tree inside this one.
    pub fn subtree(&self, name: &str, budget: Budget) -> Self {
        self.branch(name, budget, budget)
    }

    /// A tree inside this one whose children live and die together: the death of one starts all
    /// of them again, as often as the budget allows.
    pub fn unit(&self, name: &str, budget: Budget) -> Self {
        self.branch(name, Budget { restarts: 0, ..budget }, budget)
    }

    fn branch(&self, name: &str, deaths: Budget, restarts: Budget) -> Self {
        let path = format!("{}/{name}", self.inner.path);
        let (census, parent) = (self.inner.census.clone(), Some(self.clone()));
        let tree = Self::new(path, deaths, restarts, census, parent, None);
        self.inner.members.borrow_mut().push(Member::Tree(tree.clone()));
        tree
    }

    fn new(
        path: String,
        deaths: Budget,
        restarts: Budget,
        census: Census,
        parent: Option<Self>,
        on_lost: Option<OnLost>,
    ) -> Self {
        let inner = Inner {
            path,
            began: Instant::now(),
            deaths: RefCell::new(Deaths::new(deaths)),
            restarts: RefCell::new(Deaths::new(restarts)),
            parent,
            members: RefCell::default(),
            census,
            on_lost: RefCell::new(on_lost),
            over: Cell::new(false),
        };
        Self { inner: Rc::new(inner) }
    }

    /// Starts what `factory` builds, and builds it again whenever it dies. The address stays.
    pub fn child<A: Supervised>(
        &self,
        name: &str,
        mut factory: impl FnMut(Life) -> A + 'static,
    ) -> Address<A> {
        self.child_with_address(name, move |life, _| factory(life))
    }

    /// As [`Tree::child`], for an actor that gives its own address to others.
    pub fn child_with_address<A: Supervised>(
        &self,
        name: &str,
        mut factory: impl FnMut(Life, &Address<A>) -> A + 'static,
    ) -> Address<A> {
        let permits = Arc::new(Semaphore::new(A::MAILBOX));
        let path = format!("{}/{name}", self.inner.path);
        let record = Arc::new(Record::new(path, A::MAILBOX, permits.clone()));
        self.inner.census.add(record.clone());
        let mailbox = Context::new();
        let address =
            Address::new(actix::AsyncContext::address(&mailbox), permits.clone(), record.clone());
        let control = Control::new();
        let own_address = address.clone();
        let factory = move |life| factory(life, &own_address);
        let child =
            Child::new(mailbox, factory, record.clone(), permits, control.clone(), self.clone());
        let keep_open = address.clone();
        let task = spawn(async move {
            child.run().await;
            drop(keep_open);
        });
        self.inner.members.borrow_mut().push(Member::Child { control, record, task });
        address
    }

    /// Stops the children, last started first, and returns when all are gone. Whoever breaks it off
    /// can begin it again: a child is held until it is gone.
    pub async fn stop(&self) {
        self.inner.over.set(true);
        loop {
            let Some(member) = self.inner.members.borrow().last().cloned() else { break };
            match member {
                Member::Child { control, record, .. } => {
                    control.tell(Command::Stop);
                    control.ended().await;
                    self.ended(&record);
                }
                Member::Tree(tree) => {
                    Box::pin(tree.stop()).await;
                    self.forget(&tree);
                }
            }
        }
        if let Some(parent) = &self.inner.parent {
            parent.forget(self);
        }
    }

    #[cfg(test)]
    pub(super) fn has_no_members(&self) -> bool {
        self.inner.members.borrow().is_empty()
    }

    /// Forgets a tree inside this one that is over.
    fn forget(&self, over: &Self) {
        self.inner.members.borrow_mut().retain(|member| match member {
            Member::Child { .. } => true,
            Member::Tree(tree) => !Rc::ptr_eq(&tree.inner, &over.inner),
        });
    }

    /// Ends everything at once, in the middle of whatever it does, as a crash would.
    pub fn abort(&self) {
        self.inner.over.set(true);
        for member in self.inner.members.take().into_iter().rev() {
            match member {
                Member::Child { task, record, .. } => {
                    task.abort();
                    self.inner.census.remove(&record);
                }
                Member::Tree(tree) => tree.abort(),
            }
        }
    }

    /// Forgets a child that is gone.
    pub(super) fn ended(&self, gone: &Arc<Record>) {
        self.inner.census.remove(gone);
        self.inner.members.borrow_mut().retain(|member| match member {
            Member::Child { record, .. } => !Arc::ptr_eq(record, gone),
            Member::Tree(_) => true,
        });
    }

    /// Counts the death of a child; says what follows for it.
    pub(super) fn died(&self, reason: &str) -> Verdict {
        let verdict = self.inner.deaths.borrow_mut().count(self.inner.began.elapsed());
        if verdict == Verdict::Escalate {
            self.escalate(reason);
        }
        verdict
    }

    /// The children died too often: starts all of them again, or leaves it to the parent.
    fn escalate(&self, reason: &str) {
        let verdict = if self.is_lone() {
            // Starting the whole tree again is what was just done too often.
            Verdict::Escalate
        } else {
            self.inner.restarts.borrow_mut().count(self.inner.began.elapsed())
        };
        let verdict = match (verdict, &self.inner.parent) {
            (Verdict::Restart(_), _) => verdict,
            (Verdict::Escalate, Some(parent)) => parent.died(reason),
            (Verdict::Escalate, None) => return self.give_up(reason),
        };
        // When the parent escalates as well, it restarts this tree with all its others.
        let Verdict::Restart(after) = verdict else { return };
        tracing::warn!(tree = self.inner.path, reason, "restarting a whole tree");
        self.tell_backwards(Command::Pause);
        let tree = self.clone();
        spawn(async move {
            sleep(after).await;
            if !tree.inner.over.get() {
                tree.tell_forwards(Command::Restart);
            }
        });
    }

    /// Whether one child is all there is.
    fn is_lone(&self) -> bool {
        matches!(self.inner.members.borrow()[..], [Member::Child { .. }])
    }

    fn give_up(&self, reason: &str) {
        let lost = Lost { tree: self.inner.path.clone(), reason: reason.to_owned() };
        tracing::error!(tree = lost.tree, reason, "a tree gave up");
        self.inner.over.set(true);
        self.tell_backwards(Command::Stop);
        if let Some(on_lost) = self.inner.on_lost.take() {
            on_lost(lost);
        }
    }

    fn tell_backwards(&self, command: Command) {
        for member in self.inner.members.borrow().iter().rev() {
            match member {
                Member::Child { control, .. } => control.tell(command),
                Member::Tree(tree) => tree.tell_backwards(command),
            }
        }
    }

    fn tell_forwards(&self, command: Command) {
        for member in self.inner.members.borrow().iter() {
            match member {
                Member::Child { control, .. } => control.tell(command),
                Member::Tree(tree) => tree.tell_forwards(command),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts what runs on its own")]
fn spawn(future: impl Future<Output = ()> + 'static) -> AbortHandle {
    tokio::task::spawn_local(future).abort_handle()
}
