//! What becomes of nodes and members, as a table; and the actor over a group that is a list.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use actix::ResponseFuture;
use protocol::{
    objects::{Kind, Node},
    wire::{self, NodeRole, NodeSpec},
};
use tokio::{
    task::LocalSet,
    time::{Instant, sleep},
};

use super::{
    logic::{Members, Next, carry_out, everybody, leaving, next, touched},
    *,
};
use crate::{
    raft::{Founder, GetStatus, Remove, Status},
    store::{TRANSACTION_BYTES_MAX, Transaction, View, testing},
    supervision::{Budget, Census, Tree},
};

const SECOND: Duration = Duration::from_secs(1);

fn role(letter: Option<char>) -> NodeRole {
    match letter {
        Some('m') => NodeRole::Manager,
        _ => NodeRole::Worker,
    }
}

/// A node from a word as `a:wm`: its id, the role that it has, and the one that it should have.
fn node(word: &str) -> Node {
    let (id, roles) = word.split_once(':').expect("id and roles");
    let mut roles = roles.chars();
    let has = role(roles.next()).into();
    let desired_role = role(roles.next()).into();
    let spec = Some(NodeSpec { desired_role, ..NodeSpec::default() });
    wire::Node { id: id.to_owned(), role: has, spec, ..wire::Node::default() }.into()
}

fn view(words: &str) -> View {
    let mut transaction = Transaction::begin(&View::default());
    words.split_whitespace().for_each(|word| transaction.create(node(word)).unwrap());
    transaction.seal(1, Default::default()).view
}

/// How nodes are, as [`node`] reads it.
fn words(view: &View) -> String {
    let letter = |role: NodeRole| if role == NodeRole::Manager { 'm' } else { 'w' };
    let word = |node: &Node| {
        let (has, desired) = (NodeRole::try_from(node.role).unwrap(), node.spec.desired_role());
        format!("{}:{}{}", node.id, letter(has), letter(desired))
    };
    view.nodes().map(|node| word(node)).collect::<Vec<_>>().join(" ")
}

/// A group from words as `1:a`, the first of them the leader.
fn members(words: &str) -> Members {
    let member = |word: &str| {
        let (raft_id, node) = word.split_once(':').expect("raft id and node");
        (raft_id.parse().expect("a number"), NodeId::from(node))
    };
    let nodes: Vec<(u64, NodeId)> = words.split_whitespace().map(member).collect();
    let own = nodes.first().map_or(0, |(raft_id, _)| *raft_id);
    Members { own, nodes: nodes.into_iter().collect() }
}

/// Looks at everything once.
#[track_caller]
fn check(before: &str, group: Option<&str>, after: &str, waiting: &str, left: &[u64]) {
    let before = view(before);
    let group = group.map(members);
    let mut head = Transaction::begin(&before);
    let found = carry_out(&mut head, everybody(&before), group.as_ref()).unwrap();
    let view = head.seal(2, Default::default()).view;
    assert_eq!(words(&view), after);
    let waits: Vec<_> = found.waiting.iter().map(|id| id.as_str()).collect();
    assert_eq!((waits.join(" ").as_str(), &found.leaving[..]), (waiting, left));
}

#[test]
fn a_worker_that_is_to_be_a_manager_is_one_at_once() {
    check("a:mm b:wm", Some("1:a"), "a:mm b:mm", "", &[]);
    check("a:mm b:wm", None, "a:mm b:mm", "", &[]);
    check("a:mm b:ww", Some("1:a"), "a:mm b:ww", "", &[]);
}

#[test]
fn a_manager_is_no_worker_before_it_has_left_the_group() {
    check("a:mm b:mw", Some("1:a 2:b"), "a:mm b:mw", "b", &[2]);
    check("a:mm b:mw", Some("1:a"), "a:mm b:ww", "", &[]);
    // Whether it is a member is not known.
    check("a:mm b:mw", None, "a:mm b:mw", "b", &[]);
}

#[test]
fn the_leader_leaves_after_all_others() {
    check("a:mw b:mw c:mw", Some("2:b 1:a 3:c"), "a:mw b:mw c:mw", "a b c", &[1, 3, 2]);
}

#[test]
fn members_without_a_manager_leave() {
    // The node is gone, or it joined again before it was a worker.
    check("a:mm", Some("1:a 2:b"), "a:mm", "", &[2]);
    check("a:mm b:ww", Some("1:a 2:b"), "a:mm b:ww", "", &[2]);
    // It is about to be one.
    check("a:mm b:wm", Some("1:a 2:b"), "a:mm b:mm", "", &[]);
}

#[test]
fn lost_managers_that_are_no_members_are_left_alone() {
    check("a:mm b:mm c:mm", Some("1:a"), "a:mm b:mm c:mm", "", &[]);
}

#[test]
fn a_look_is_decided_on_the_head() {
    // Meanwhile it was made a manager again, and another was removed.
    let before = view("a:mm b:mm");
    let mut head = Transaction::begin(&before);
    let due = ["b".into(), "c".into()].into();
    let found = carry_out(&mut head, due, Some(&members("1:a 2:b"))).unwrap();
    assert!(head.is_empty());
    assert!(found.waiting.is_empty() && found.leaving.is_empty());
}

#[test]
fn a_role_that_nobody_knows_is_a_worker() {
    let odd = Node { role: 7, ..node("a:ww") };
    assert_eq!(next(&odd, None), Next::Stays);
    assert_eq!(leaving(&view("a:mm"), &members("1:a")), [0; 0]);
}

#[test]
fn only_nodes_with_another_role_than_they_should_have_are_looked_at() {
    let before = view("a:mm b:ww c:mm");
    let concerned = |write: &dyn Fn(&mut Transaction)| {
        let mut transaction = Transaction::begin(&before);
        write(&mut transaction);
        let touched = touched(&transaction.seal(2, Default::default()).changes);
        touched.iter().map(|id| id.to_string()).collect::<Vec<_>>()
    };
    let set = |word: &'static str| {
        move |head: &mut Transaction| {
            let meta = head.node(&node(word).id).unwrap().meta;
            head.update(Node { meta, ..node(word) }).unwrap();
        }
    };
    assert_eq!(concerned(&set("b:ww")), [""; 0]);
    assert_eq!(concerned(&set("b:wm")), ["b"]);
    assert_eq!(concerned(&set("c:mw")), ["c"]);
    assert_eq!(concerned(&|head| head.remove(Kind::Node, &"c".into()).unwrap()), ["c"]);
}

/// A group that does what it is asked, unless it is told otherwise.
#[derive(Clone, Default)]
struct Group(Rc<RefCell<Told>>);

#[derive(Default)]
struct Told {
    members: Members,
    refuses: BTreeMap<u64, ChangeError>,
    answers_after: Duration,
    is_silent: bool,
    asked: Vec<u64>,
}

impl Actor for Group {
    type Context = Context<Self>;
}

supervised!(Group, mailbox = 16);

impl Handler<GetStatus> for Group {
    type Result = Option<Status>;

    fn handle(&mut self, _: GetStatus, _: &mut Context<Self>) -> Self::Result {
        let told = self.0.borrow();
        if told.is_silent {
            return None;
        }
        let (raft_id, nodes) = (told.members.own, &told.members.nodes);
        let member = |(raft_id, node): (&u64, &NodeId)| Founder {
            raft_id: *raft_id,
            node_id: node.to_string(),
            address: String::new(),
        };
        Some(Status {
            raft_id,
            term: 2,
            leader: Some(raft_id),
            committed: 1,
            applied: 1,
            last: 1,
            voters: nodes.keys().copied().collect(),
            learners: Vec::new(),
            members_since: 1,
            removed: Vec::new(),
            members: nodes.iter().map(member).collect(),
            reachable: Vec::new(),
        })
    }
}

impl Handler<Remove> for Group {
    type Result = ResponseFuture<Result<Removal, ChangeError>>;

    fn handle(&mut self, Remove { raft_id }: Remove, _: &mut Context<Self>) -> Self::Result {
        let group = self.clone();
        Box::pin(async move {
            let answers_after = group.0.borrow().answers_after;
            sleep(answers_after).await;
            let told = &mut *group.0.borrow_mut();
            told.asked.push(raft_id);
            if let Some(error) = told.refuses.get(&raft_id) {
                return Err(*error);
            }
            if raft_id == told.members.own {
                return Ok(Removal::HandedOver { to: 9 });
            }
            let known = told.members.nodes.remove(&raft_id);
            known.map(|_| Removal::Removed).ok_or(ChangeError::UnknownMember)
        })
    }
}

struct Rig {
    store: Store,
    group: Group,
}

/// Runs a test over a store and a group in which the loop has just begun.
fn run(nodes: &str, group: &str, test: impl AsyncFnOnce(&Rig)) {
    run_over(view(nodes), group, test);
}

fn run_over(nodes: View, group: &str, test: impl AsyncFnOnce(&Rig)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |lost| panic!("{lost}"));
        let store = testing::start(&tree, nodes);
        testing::until_leading(&store).await;
        let rig = Rig { store: store.clone(), group: Group::default() };
        rig.group.0.borrow_mut().members = members(group);
        let of_tree = rig.group.clone();
        let peer = tree.child("group", move |_| of_tree.clone());
        let raft = Raft::default();
        raft.bind(peer.recipient(), peer.recipient());
        tree.child_with_address("roles", move |_, own| {
            Roles::new(store.clone(), raft.clone(), own)
        });
        test(&rig).await;
        tree.stop().await;
    });
}

impl Rig {
    fn told(&self) -> std::cell::RefMut<'_, Told> {
        self.group.0.borrow_mut()
    }

    fn words(&self) -> String {
        words(&self.store.view())
    }

    async fn write(&self, write: impl FnOnce(&mut Transaction) + Send + 'static) {
        let written = self.store.transact(|head| {
            write(head);
            Ok::<_, ()>(())
        });
        written.await.expect("written");
    }

    /// A node should be what the word says.
    async fn want(&self, word: &'static str) {
        self.write(move |head| {
            let wanted = node(word);
            let stored = head.node(&wanted.id).expect("there").as_ref().clone();
            head.update(Node { spec: wanted.spec, ..stored }).expect("updated");
        })
        .await;
    }

    /// Lets time pass until the nodes are so, and returns how much that was.
    async fn until(&self, expected: &str) -> Duration {
        let began = Instant::now();
        while self.words() != expected {
            assert!(began.elapsed() < 60 * SECOND, "{} is not {expected}", self.words());
            sleep(SECOND / 100).await;
        }
        began.elapsed()
    }
}

#[test]
fn a_promotion_and_a_demotion_take_no_time_when_nothing_is_in_the_way() {
    run("a:mm b:ww c:mm", "1:a 3:c", async |rig| {
        sleep(SECOND).await;
        rig.want("b:wm").await;
        assert!(rig.until("a:mm b:mm c:mm").await < SECOND / 10);
        rig.want("c:mw").await;
        assert!(rig.until("a:mm b:mm c:ww").await < SECOND / 10);
        assert_eq!(rig.told().asked, [3]);
    });
}

#[test]
fn a_new_leader_finishes_what_it_finds() {
    run("a:mm b:wm c:mw", "1:a 3:c 4:gone", async |rig| {
        assert!(rig.until("a:mm b:mm c:ww").await < SECOND / 10);
        sleep(SECOND).await;
        let told = rig.told();
        assert_eq!((&told.asked[..], told.members.nodes.len()), (&[3, 4][..], 1));
    });
}

#[test]
fn a_removal_that_would_cost_the_quorum_is_tried_again() {
    run("a:mm b:mm c:mm", "1:a 2:b 3:c", async |rig| {
        rig.told().refuses.insert(3, ChangeError::LosesQuorum);
        sleep(SECOND).await;
        rig.want("c:mw").await;
        sleep(12 * SECOND).await;
        assert_eq!((rig.words().as_str(), rig.told().asked.len()), ("a:mm b:mm c:mw", 3));
        // Meanwhile others are promoted and demoted.
        rig.want("b:mw").await;
        assert!(rig.until("a:mm b:ww c:mw").await < 6 * SECOND);
        rig.told().refuses.clear();
        assert!(rig.until("a:mm b:ww c:ww").await < 6 * SECOND);
    });
}

#[test]
fn nobody_waits_for_a_member_that_is_slow_to_go() {
    run("a:mm b:ww c:mw", "1:a 3:c", async |rig| {
        rig.told().answers_after = 8 * SECOND;
        sleep(SECOND).await;
        rig.want("b:wm").await;
        assert!(rig.until("a:mm b:mm c:mw").await < SECOND / 10, "while raft is asked");
        // It goes, although nobody heard the answer.
        assert!(rig.until("a:mm b:mm c:ww").await < 12 * SECOND);
    });
}

#[test]
fn a_removed_node_leaves_the_group() {
    run("a:mm b:mm", "1:a 2:b", async |rig| {
        sleep(SECOND).await;
        rig.write(|head| head.remove(Kind::Node, &"b".into()).expect("removed")).await;
        sleep(SECOND / 10).await;
        assert_eq!(rig.told().asked, [2]);
        sleep(20 * SECOND).await;
        assert_eq!(rig.told().asked, [2], "once is enough");
    });
}

/// Found by a simulated swarm: it asked to be a member with the certificate that it still had.
#[test]
fn a_member_that_joins_again_while_it_becomes_a_worker_is_let_go_again() {
    run("a:mm b:mw", "1:a 2:b", async |rig| {
        rig.until("a:mm b:ww").await;
        rig.told().members.nodes.insert(5, "b".into());
        sleep(6 * SECOND).await;
        assert_eq!(rig.told().asked, [2, 5]);
    });
}

#[test]
fn a_leader_that_is_to_be_a_worker_stays_a_manager_until_another_has_let_it_go() {
    run("a:mw b:mm", "1:a 2:b", async |rig| {
        sleep(SECOND).await;
        assert_eq!((rig.words().as_str(), rig.told().asked.clone()), ("a:mw b:mm", vec![1]));
    });
    run("a:mw b:mm", "2:b 1:a", async |rig| {
        assert!(rig.until("a:ww b:mm").await < SECOND / 10);
    });
}

#[test]
fn a_raft_that_says_nothing_keeps_managers_what_they_are() {
    run("a:mm b:wm c:mw", "1:a 3:c", async |rig| {
        rig.told().is_silent = true;
        assert!(rig.until("a:mm b:mm c:mw").await < SECOND / 10);
        sleep(20 * SECOND).await;
        assert_eq!((rig.words().as_str(), rig.told().asked.len()), ("a:mm b:mm c:mw", 0));
        rig.told().is_silent = false;
        assert!(rig.until("a:mm b:mm c:ww").await < 6 * SECOND);
    });
}

#[test]
fn a_worker_that_was_let_in_too_late_leaves_soon() {
    run("a:mm c:mw", "1:a", async |rig| {
        assert!(rig.until("a:mm c:ww").await < SECOND / 10);
        // Nothing is left to do, and that is seen once before it is let in.
        sleep(6 * SECOND).await;
        rig.told().members.nodes.insert(3, "c".into());
        sleep(5 * SECOND).await;
        assert_eq!(rig.told().asked, [3]);
    });
}

#[test]
fn nodes_too_large_for_one_transaction_are_promoted_in_several() {
    let names: Vec<_> = (100..100 + NODES_AT_ONCE).map(|number| format!("n{number}")).collect();
    let all = |roles: &str| {
        names.iter().map(|name| format!("{name}:{roles}")).collect::<Vec<_>>().join(" ")
    };
    let hostname = "x".repeat(TRANSACTION_BYTES_MAX / 10);
    let description = Arc::new(wire::NodeDescription { hostname, ..Default::default() });
    let mut large = Transaction::begin(&View::default());
    for word in all("wm").split_whitespace() {
        large.create(Node { description: Some(description.clone()), ..node(word) }).unwrap();
    }
    run_over(large.seal(1, Default::default()).view, "1:a", async |rig| {
        assert!(rig.until(&all("mm")).await < SECOND);
    });
}

#[test]
fn many_nodes_are_promoted_a_few_at_a_time() {
    let names: Vec<_> = (100..100 + 3 * NODES_AT_ONCE).map(|number| format!("n{number}")).collect();
    let all = |roles: &str| {
        names.iter().map(|name| format!("{name}:{roles}")).collect::<Vec<_>>().join(" ")
    };
    run(&all("wm"), "1:a", async |rig| {
        assert!(rig.until(&all("mm")).await < SECOND / 2);
        assert!(rig.store.view().index() > 3, "in several transactions");
    });
}
