//! The dispatcher: its decisions as tables, then the actor with agents.

mod actor;
mod assignments;
mod doubt;
mod intake;
mod registry;
mod sessions;

use prost_types::Timestamp;
use protocol::objects::{Node, Object, Task, TaskState, TaskStatus};
use protocol::wire;

use crate::store::{Transaction, View};

const NOW: Timestamp = Timestamp { seconds: 1_000, nanos: 0 };

fn task(id: &str, node: &str, state: TaskState) -> Task {
    Task {
        id: id.into(),
        node_id: node.into(),
        desired_state: TaskState::RUNNING,
        status: TaskStatus { state, ..TaskStatus::default() },
        ..Task::default()
    }
}

fn node(id: &str, state: wire::node_status::State) -> Node {
    let status = wire::NodeStatus { state: state.into(), ..wire::NodeStatus::default() };
    wire::Node { id: id.to_owned(), status: Some(status), ..wire::Node::default() }.into()
}

/// What the store shows after one more transaction.
fn after(view: &View, write: impl FnOnce(&mut Transaction)) -> View {
    let mut transaction = Transaction::begin(view);
    write(&mut transaction);
    transaction.seal(view.index() + 1, NOW).view
}

fn with(objects: impl IntoIterator<Item = Object>) -> View {
    after(&View::default(), |tx| {
        for object in objects {
            tx.create(object).unwrap();
        }
    })
}
