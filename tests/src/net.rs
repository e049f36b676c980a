//! A network of messages between members: it loses, delays, repeats and reorders them, and can be
//! cut in two.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actors::{
    raft::{Delivery, Intake, Peer, Receive, Removed, Report, Transport},
    supervision::Address,
};
use protocol::raftpb::{Message, MessageType};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    checkers::messages,
    cluster::Cluster,
    counts::Counts,
    identity::{Identity, door},
    plan::Weather,
    trace::Trace,
};

/// How long a transport waits before it dials a member again that has refused it.
const REDIALED_AFTER: Range<Duration> = Duration::from_millis(60)..Duration::from_millis(90);

/// So many messages of a member are kept, and come again so late once it was removed.
const REMEMBERED: usize = 8;
const REPEATED_AFTER: Range<Duration> = Duration::from_millis(500)..Duration::from_secs(8);

/// What the network does beside carrying.
#[derive(Clone, Debug)]
pub struct Temper {
    /// How long a message takes, drawn for each alone: they overtake each other.
    pub delay: Range<Duration>,
    /// How likely it is lost.
    pub loss: f64,
    /// How likely it arrives twice.
    pub repeat: f64,
}

impl Temper {
    /// A network in a good hour.
    pub fn calm() -> Self {
        let millis = Duration::from_millis;
        Self { delay: millis(1)..millis(3), loss: 0.0, repeat: 0.0 }
    }
}

impl From<Weather> for Temper {
    fn from(weather: Weather) -> Self {
        let Weather { delay_millis_max, lost_percent, repeated_percent } = weather;
        Self {
            delay: Duration::from_millis(1)..Duration::from_millis(delay_millis_max),
            loss: f64::from(lost_percent) / 100.0,
            repeat: f64::from(repeated_percent) / 100.0,
        }
    }
}

/// The network. Clones are the same one.
#[derive(Clone)]
pub struct Network(Rc<RefCell<Wires>>);

struct Wires {
    random: StdRng,
    temper: Temper,
    /// Whom each raft id reaches.
    peers: BTreeMap<u64, Address<Peer>>,
    /// Whose each raft id is, or was.
    names: BTreeMap<u64, u64>,
    /// The ways between machines on which nothing arrives, from and to.
    cut: BTreeSet<(u64, u64)>,
    /// Messages that are on their way, to tell when one overtakes another.
    sent: u64,
    arrived: BTreeMap<(u64, u64), u64>,
    /// What each raft id has said last.
    said: BTreeMap<u64, VecDeque<Message>>,
    /// Who judges by certificates, if there are any.
    cluster: Option<Cluster>,
    /// The certificates that were shown when connections came about, from and to a machine.
    connections: BTreeMap<(u64, u64), Identity>,
    /// What a member has sent that no member may.
    broken: Option<String>,
    counts: Counts,
    trace: Trace,
}

struct Plug(mpsc::UnboundedSender<Message>);

impl Transport for Plug {
    fn send(&self, message: Message) {
        self.0.send(message).ok();
    }
}

impl Network {
    /// A calm network without members.
    pub fn new(seed: u64, counts: Counts, trace: Trace) -> Self {
        Self(Rc::new(RefCell::new(Wires {
            random: StdRng::seed_from_u64(seed),
            temper: Temper::calm(),
            peers: BTreeMap::new(),
            names: BTreeMap::new(),
            cut: BTreeSet::new(),
            sent: 0,
            arrived: BTreeMap::new(),
            said: BTreeMap::new(),
            cluster: None,
            connections: BTreeMap::new(),
            broken: None,
            counts,
            trace,
        })))
    }

    /// The way out for one life of a member. It ends with that life.
    pub fn plug(&self, from: u64) -> Arc<dyn Transport> {
        let (plug, mut wire) = mpsc::unbounded_channel();
        let network = self.clone();
        spawn(async move {
            while let Some(message) = wire.recv().await {
                network.carry(from, &message);
            }
        });
        Arc::new(Plug(plug))
    }

    /// A raft id is that of a machine.
    pub fn name(&self, raft_id: u64, machine: u64) {
        self.0.borrow_mut().names.insert(raft_id, machine);
    }

    /// A member can be reached from now on.
    pub fn attach(&self, raft_id: u64, peer: Address<Peer>) {
        self.0.borrow_mut().peers.insert(raft_id, peer);
    }

    /// A member is gone, and with it its connections.
    pub fn detach(&self, raft_id: u64) {
        let wires = &mut *self.0.borrow_mut();
        wires.peers.remove(&raft_id);
        let machine = wires.names.get(&raft_id).copied().unwrap_or_default();
        wires.connections.retain(|(from, to), _| *from != machine && *to != machine);
    }

    /// From now on, members hear only what their certificates let others say.
    pub fn judge_by(&self, cluster: Cluster) {
        self.0.borrow_mut().cluster = Some(cluster);
    }

    /// What a member said last comes again, some time after it was removed: it waited somewhere.
    pub fn repeat_old(&self, raft_id: u64) {
        let said = self.0.borrow().said.get(&raft_id).cloned().unwrap_or_default();
        for message in said {
            let delay = self.0.borrow_mut().random.gen_range(REPEATED_AFTER);
            self.0.borrow().counts.count("fault: old message comes late");
            drop(spawn(self.clone().deliver(message, delay, 0)));
        }
    }

    /// How long a call takes in one direction.
    pub fn draw_delay(&self) -> Duration {
        let wires = &mut *self.0.borrow_mut();
        wires.random.gen_range(wires.temper.delay.clone())
    }

    /// Whether two machines cannot call each other.
    pub fn is_cut_between(&self, one: u64, other: u64) -> bool {
        let cut = &self.0.borrow().cut;
        cut.contains(&(one, other)) || cut.contains(&(other, one))
    }

    /// Whether no way is cut.
    pub fn is_whole(&self) -> bool {
        self.0.borrow().cut.is_empty()
    }

    /// The process of a member has ended, and its machine runs on: whoever is connected sees the
    /// end, dials again, and is refused until somebody listens there again.
    pub fn close(&self, raft_id: u64) {
        let others: Vec<_> = self.0.borrow().peers.keys().copied().collect();
        for other in others.into_iter().filter(|other| *other != raft_id) {
            drop(spawn(self.clone().dial(other, raft_id)));
        }
    }

    /// Changes how the network behaves from now on.
    pub fn set_temper(&self, temper: Temper) {
        self.0.borrow_mut().temper = temper;
    }

    /// Cuts these ways, from and to, and no other.
    pub fn set_cut(&self, ways: BTreeSet<(u64, u64)>) {
        self.0.borrow_mut().cut = ways;
    }

    /// What a member has sent that no member may.
    pub fn broken(&self) -> Option<String> {
        self.0.borrow().broken.clone()
    }

    /// Mends everything.
    pub fn heal(&self) {
        let mut wires = self.0.borrow_mut();
        wires.cut.clear();
        wires.temper = Temper::calm();
    }

    fn carry(&self, from: u64, message: &Message) {
        let wires = &mut *self.0.borrow_mut();
        let to_id = message.to.expect("raft addresses its messages");
        // A learner that was never started has no machine yet.
        let to = wires.names.get(&to_id).copied().unwrap_or_default();
        if let Err(text) = messages::check(message) {
            wires.broken.get_or_insert(text);
        }
        let sender = format!("m{from}");
        let text = format!(
            "{:?} to m{to} term {} index {} entries {}",
            message.r#type(),
            message.term(),
            message.index(),
            message.entries.len()
        );
        let said = wires.said.entry(message.from()).or_default();
        said.push_back(message.clone());
        if said.len() > REMEMBERED {
            said.pop_front();
        }
        let lost = wires.random.gen_bool(wires.temper.loss);
        if lost {
            wires.counts.count("fault: message lost");
        }
        let cut = wires.cut.contains(&(from, to));
        if lost || cut {
            wires.trace.note(sender, text, if cut { "cut off" } else { "lost" });
            drop(spawn(self.clone().lose(message.from(), to_id, message.r#type())));
            return;
        }
        let copies = if wires.random.gen_bool(wires.temper.repeat) { 2 } else { 1 };
        if copies == 2 {
            wires.counts.count("fault: message repeated");
        }
        for _ in 0..copies {
            let delay = wires.random.gen_range(wires.temper.delay.clone());
            if delay > Temper::calm().delay.end {
                wires.counts.count("fault: message delayed");
            }
            wires.trace.note(&sender, &text, format_args!("arrives in {delay:?}"));
            wires.sent += 1;
            let number = wires.sent;
            drop(spawn(self.clone().deliver(message.clone(), delay, number)));
        }
    }

    async fn deliver(self, message: Message, delay: Duration, number: u64) {
        sleep(delay).await;
        let (from, to, kind) = (message.from(), message.to(), message.r#type());
        let peer = {
            let wires = &mut *self.0.borrow_mut();
            let newest = wires.arrived.entry((from, to)).or_default();
            if number < *newest {
                wires.counts.count("fault: message overtaken");
            }
            *newest = number.max(*newest);
            wires.peers.get(&to).cloned()
        };
        if peer.is_some() && !self.is_heard(&message) {
            return self.lose(from, to, kind).await;
        }
        let answer = match peer {
            Some(peer) => peer.send(Receive(message)).await.ok(),
            None => None,
        };
        match answer {
            Some(Ok(())) if kind == MessageType::MsgSnap => {
                self.0.borrow().counts.count("seen: snapshot sent");
                self.report(from, to, Delivery::SnapshotArrived);
            }
            Some(Ok(())) => {}
            Some(Err(Removed)) => self.refuse(from, to).await,
            None => self.lose(from, to, kind).await,
        }
    }

    /// Whether whoever a message is for hears it, by the certificate that was shown when the
    /// connection came about. Whoever is refused connects anew.
    fn is_heard(&self, message: &Message) -> bool {
        let (cluster, from, to) = {
            let wires = self.0.borrow();
            let name = |raft_id: u64| wires.names.get(&raft_id).copied().unwrap_or_default();
            let Some(cluster) = wires.cluster.clone() else { return true };
            (cluster, name(message.from()), name(message.to()))
        };
        let shown = self.0.borrow().connections.get(&(from, to)).cloned();
        let Some(shown) = shown.or_else(|| cluster.member(from).borrow().identity()) else {
            return false;
        };
        let machine = cluster.member(to).borrow();
        let Some(standing) = machine.standing() else { return false };
        let judged = door::hears(&machine, Some(&shown))
            .map(|()| standing.group().judge(message, Some(shown.subject.node_id.as_str())));
        let wires = &mut *self.0.borrow_mut();
        if matches!(judged, Ok(Intake::Hear | Intake::Ignore)) {
            wires.connections.insert((from, to), shown);
        } else {
            wires.counts.count("seen: message refused by certificate");
            wires.trace.note(format_args!("m{to}"), "refuses", format_args!("{judged:?}"));
            wires.connections.remove(&(from, to));
        }
        judged == Ok(Intake::Hear)
    }

    /// The answer that the sender was removed takes a way as well.
    async fn refuse(self, from: u64, to: u64) {
        sleep(Temper::calm().delay.start).await;
        if !self.is_cut(to, from) {
            self.0.borrow().counts.count("seen: removed member told so");
            self.report(from, to, Delivery::RefusedAsRemoved);
        }
    }

    /// The sender hears after a while that a message did not arrive.
    async fn lose(self, from: u64, to: u64, kind: MessageType) {
        sleep(Duration::from_millis(50)).await;
        let snapshot = kind == MessageType::MsgSnap;
        let delivery = if snapshot { Delivery::SnapshotLost } else { Delivery::Unreachable };
        self.report(from, to, delivery);
    }

    /// Dials a member whose process has ended, until it lives again or whoever dials does not.
    async fn dial(self, from: u64, to: u64) {
        let mut pause = Temper::calm().delay;
        loop {
            let waits = self.0.borrow_mut().random.gen_range(pause);
            sleep(waits).await;
            if self.0.borrow().peers.contains_key(&to) || !self.0.borrow().peers.contains_key(&from)
            {
                return;
            }
            if !self.is_cut(from, to) && !self.is_cut(to, from) {
                self.0.borrow().counts.count("seen: dial refused");
                self.report(from, to, Delivery::Refused);
            }
            pause = REDIALED_AFTER;
        }
    }

    /// Whether nothing arrives on the way from one raft id to another.
    fn is_cut(&self, from: u64, to: u64) -> bool {
        let wires = self.0.borrow();
        let [from, to] = [from, to].map(|id| wires.names.get(&id).copied().unwrap_or_default());
        wires.cut.contains(&(from, to))
    }

    fn report(&self, from: u64, to: u64, delivery: Delivery) {
        if let Some(sender) = self.0.borrow().peers.get(&from) {
            sender.try_send(Report { to, delivery }).ok();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the network is no actor and has no supervisor")]
fn spawn(future: impl Future<Output = ()> + 'static) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(future)
}
