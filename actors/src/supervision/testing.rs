//! Deaths that a test asks for: an actor panics before or after it handles its next message. And
//! an ear for whoever wants to know which actor handles what.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

/// When an actor dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The message has no effect.
    BeforeHandling,
    /// Everything that the handler does at once is done; what it waits for is not.
    AfterHandling,
}

/// How the panic of such a death begins.
pub const WISH: &str = "a test wants";

/// How many actors have died as they were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    /// Before they handled a message.
    pub before_handling: u64,
    /// After they did.
    pub after_handling: u64,
}

/// Is told the place of an actor in its tree, and the type of a message that it is about to handle.
pub type Listener = Box<dyn Fn(&str, &str)>;

thread_local! {
    static DEATHS: Cell<Deaths> = const { Cell::new(Deaths { before_handling: 0, after_handling: 0 }) };
    static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) };
    static DOOMED: RefCell<BTreeMap<String, When>> = const { RefCell::new(BTreeMap::new()) };
}

/// Lets the actor at `path` die at its next message. The last wish for a path counts.
pub fn doom(path: &str, when: When) {
    DOOMED.with_borrow_mut(|doomed| doomed.insert(path.to_owned(), when));
}

/// Forgets the wishes for everything below a path, as a machine does that crashes.
pub fn pardon(prefix: &str) {
    DOOMED.with_borrow_mut(|doomed| doomed.retain(|path, _| !path.starts_with(prefix)));
}

/// Lets somebody hear of every message that an actor on this thread handles, or nobody.
pub fn listen(listener: Option<Listener>) {
    LISTENER.set(listener);
}

/// The deaths on this thread since the last question.
pub fn take_deaths() -> Deaths {
    DEATHS.take()
}

/// Tells whoever listens; `message` is the full name of a type.
pub(super) fn handles(path: &str, message: &str) {
    LISTENER.with_borrow(|listener| {
        if let Some(listener) = listener {
            listener(path, message.rsplit("::").next().unwrap_or(message));
        }
    });
}

/// Panics if this is when the actor is to die.
pub(super) fn die_if_doomed(path: &str, when: When) {
    let dies = DOOMED.with_borrow_mut(|doomed| {
        let dies = doomed.get(path) == Some(&when);
        if dies {
            doomed.remove(path);
        }
        dies
    });
    if dies {
        let mut deaths = DEATHS.get();
        match when {
            When::BeforeHandling => deaths.before_handling += 1,
            When::AfterHandling => deaths.after_handling += 1,
        }
        DEATHS.set(deaths);
        panic!("{WISH} {path} dead");
    }
}
