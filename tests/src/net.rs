//! A network of messages between members: it loses, delays, repeats and reorders them, and can be
//! cut in two.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actors::{
    raft::{Delivery, Peer, Receive, Report, Transport},
    supervision::Address,
};
use protocol::raftpb::{Message, MessageType};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::mpsc, time::sleep};

use crate::{counts::Counts, trace::Trace};

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

/// The network. Clones are the same one.
#[derive(Clone)]
pub struct Network(Rc<RefCell<Wires>>);

struct Wires {
    random: StdRng,
    temper: Temper,
    peers: BTreeMap<u64, Address<Peer>>,
    cut: BTreeSet<(u64, u64)>,
    /// Messages that are on their way, to tell when one overtakes another.
    sent: u64,
    arrived: BTreeMap<(u64, u64), u64>,
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
            cut: BTreeSet::new(),
            sent: 0,
            arrived: BTreeMap::new(),
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

    /// A member can be reached from now on.
    pub fn attach(&self, member: u64, peer: Address<Peer>) {
        self.0.borrow_mut().peers.insert(member, peer);
    }

    /// A member is gone.
    pub fn detach(&self, member: u64) {
        self.0.borrow_mut().peers.remove(&member);
    }

    /// Changes how the network behaves from now on.
    pub fn set_temper(&self, temper: Temper) {
        self.0.borrow_mut().temper = temper;
    }

    /// Cuts every way between the two sides.
    pub fn cut(&self, one: &BTreeSet<u64>, other: &BTreeSet<u64>) {
        let ways = one.iter().flat_map(|a| other.iter().map(|b| (*a, *b)));
        let cut = &mut self.0.borrow_mut().cut;
        for (a, b) in ways {
            cut.extend([(a, b), (b, a)]);
        }
    }

    /// Mends everything.
    pub fn heal(&self) {
        let mut wires = self.0.borrow_mut();
        wires.cut.clear();
        wires.temper = Temper::calm();
    }

    fn carry(&self, from: u64, message: &Message) {
        let wires = &mut *self.0.borrow_mut();
        let to = message.to.expect("raft addresses its messages");
        wires.trace.note(format_args!(
            "{from} -> {to} {:?} term {} index {} entries {}",
            message.r#type(),
            message.term(),
            message.index(),
            message.entries.len()
        ));
        let lost = wires.random.gen_bool(wires.temper.loss);
        if lost {
            wires.counts.count("fault: message lost");
        }
        if lost || wires.cut.contains(&(from, to)) {
            drop(spawn(self.clone().lose(from, to, message.r#type())));
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
            wires.sent += 1;
            let number = wires.sent;
            drop(spawn(self.clone().deliver(from, message.clone(), delay, number)));
        }
    }

    async fn deliver(self, from: u64, message: Message, delay: Duration, number: u64) {
        sleep(delay).await;
        let (to, kind) = (message.to(), message.r#type());
        let arrived = {
            let wires = &mut *self.0.borrow_mut();
            let newest = wires.arrived.entry((from, to)).or_default();
            if number < *newest {
                wires.counts.count("fault: message overtaken");
            }
            *newest = number.max(*newest);
            // A full mailbox loses it, as a transport's bounded queue does.
            let peer = wires.peers.get(&to).cloned();
            peer.is_some_and(|peer| peer.try_send(Receive(message)).is_ok())
        };
        if kind == MessageType::MsgSnap && arrived {
            self.0.borrow().counts.count("seen: snapshot sent");
            self.report(from, to, Delivery::SnapshotArrived);
        } else if !arrived {
            self.lose(from, to, kind).await;
        }
    }

    /// The sender hears after a while that a message did not arrive.
    async fn lose(self, from: u64, to: u64, kind: MessageType) {
        sleep(Duration::from_millis(50)).await;
        let snapshot = kind == MessageType::MsgSnap;
        let delivery = if snapshot { Delivery::SnapshotLost } else { Delivery::Unreachable };
        self.report(from, to, delivery);
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
