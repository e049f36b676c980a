//! Decides about what is due, one object after the other.

use std::sync::Arc;

use prost_types::Timestamp;
use protocol::{
    id::{Id, NetworkId},
    objects::{Kind, Network, Object, Service, Task, TaskStatus},
};

use super::{
    board::{Board, Due, Promise},
    decision::Decision,
    lack::{Cause, Lack},
    network,
    networks::{self, Networks},
    node,
    pools::{Draft, Pools},
    service, subnets,
    task::{self, is_new},
};
use crate::store::View;

/// What comes of looking at what is due.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// What is to be written.
    pub(crate) decisions: Vec<Decision>,
    /// Networks and nodes that lack something: they cannot be told.
    pub(crate) unmet: Vec<(Due, Lack)>,
    /// What was due though nothing had announced it.
    pub(crate) overlooked: Vec<Due>,
}

/// How many objects of a store that is gone through are looked at for each that is decided about:
/// that takes much less.
const STEPS_FOR_ONE: usize = 10;

/// What becomes of one object.
#[derive(Default)]
struct Verdict {
    object: Option<Object>,
    premises: Vec<(Kind, Id, u64)>,
    lacks: Vec<Lack>,
}

impl Board {
    /// Decides about what is due, and looks at so much at most, and at ten times as many objects of a
    /// store that is gone through. `view` is the newest that is
    /// committed: it may be ahead of what the board follows, which then has more in use, never less.
    pub(crate) fn decide(&mut self, view: &View, now: Timestamp, at_most: usize) -> Pass {
        let mut pass = Pass::default();
        let mut steps = STEPS_FOR_ONE.saturating_mul(at_most);
        if !self.take_in(&mut steps) {
            return pass;
        }
        self.sweep_on(&mut steps);
        pass.overlooked = self.retry_on(&mut steps);
        for _ in 0..at_most {
            let Some(due) = self.due.pop_first() else { break };
            // One write at a time: what comes of it is announced, and looked at then.
            if self.promises.contains_key(&due) {
                continue;
            }
            let networks = Networks::new(view, self.ingress.as_ref());
            let mut draft = Draft::new(&mut self.pools);
            let verdict = verdict(view, networks, &due, &mut draft, now);
            let taken = draft.keep();
            if !verdict.lacks.is_empty() {
                self.let_wait(view, &due, &verdict.lacks);
                if matches!(due, Due::Ingress(_) | Due::Network(_) | Due::Node(_)) {
                    pass.unmet.extend(verdict.lacks.into_iter().map(|lack| (due.clone(), lack)));
                }
            }
            if let Some(object) = verdict.object {
                let version = object.meta().version;
                self.promises.insert(due.clone(), Promise { version, taken });
                pass.decisions.push(Decision { due, object, premises: verdict.premises });
            }
        }
        pass
    }

    /// Lets something wait for what it lacks, and others have what it asks for and is there: it may
    /// have been woken for that.
    fn let_wait(&mut self, view: &View, due: &Due, lacks: &[Lack]) {
        let causes: Vec<_> = lacks.iter().map(Lack::cause).collect();
        self.waiting.insert(due.clone(), causes.clone());
        let ingress = self.ingress.clone();
        let networks = Networks::new(view, ingress.as_ref());
        for id in asked_for(view, networks, due, &self.pools) {
            let cause = Cause::Address(id.clone());
            let is_for_others = !causes.contains(&cause) && self.waiting.is_awaited(&cause);
            let has_room = |network: &Arc<Network>| network::has_room(network, &self.pools);
            if is_for_others && networks.ready(&id).is_ok_and(has_room) {
                self.wake_one(&cause);
            }
        }
    }
}

/// The networks in which something may ask for an address.
fn asked_for(view: &View, networks: Networks<'_>, due: &Due, pools: &Pools) -> Vec<NetworkId> {
    match due {
        Due::Ingress(_) | Due::Network(_) => Vec::new(),
        Due::Node(id) => node::needed(pools.used_by(id), networks),
        Due::Service(id) => {
            let service = view.service(id);
            service.and_then(|one| service::wished_networks(one, networks).ok()).unwrap_or_default()
        }
        Due::Task(id) => view.task(id).map_or_else(Vec::new, |task| {
            let service = view.service(&task.service_id).map(AsRef::as_ref);
            let ingress =
                networks.ingress().ok().filter(|_| service.is_some_and(service::needs_ingress));
            let named =
                networks::of_task(task, service).iter().map(|network| (&*network.target).into());
            ingress.cloned().into_iter().chain(named).collect()
        }),
    }
}

fn verdict(
    view: &View,
    networks: Networks<'_>,
    due: &Due,
    draft: &mut Draft<'_>,
    now: Timestamp,
) -> Verdict {
    match due {
        Due::Ingress(id) | Due::Network(id) => network(view, networks, id, draft),
        Due::Node(id) => {
            let Some(node) = view.node(id) else { return Verdict::default() };
            let (node, lacks) = node::allocated(node, networks, draft);
            let premises = node.iter().flat_map(node::relies_on);
            let premises = premises_on(networks, premises);
            Verdict { object: node.map(Object::from), premises, lacks }
        }
        Due::Service(id) => match view.service(id) {
            Some(service) => of_service(networks, service, draft),
            None => Verdict::default(),
        },
        Due::Task(id) => match view.task(id) {
            Some(task) if is_new(task) => of_task(view, networks, task, draft, now),
            Some(_) | None => Verdict::default(),
        },
    }
}

fn network(view: &View, networks: Networks<'_>, id: &NetworkId, draft: &mut Draft<'_>) -> Verdict {
    let network = view.network(id).filter(|network| !network::is_allocated(&network.body));
    let Some(network) = network else { return Verdict::default() };
    let first = networks.ingress().ok().filter(|first| *first != id);
    let result = match first.filter(|_| network.body.is_ingress()) {
        Some(first) => Err(Lack::SecondIngress(first.clone())),
        None => network::allocated(network, &subnets::pools(view), draft),
    };
    match result {
        Ok(network) => Verdict { object: Some(network.into()), ..Verdict::default() },
        Err(lack) => {
            draft.undo();
            Verdict { lacks: vec![lack], ..Verdict::default() }
        }
    }
}

fn of_service(networks: Networks<'_>, service: &Service, draft: &mut Draft<'_>) -> Verdict {
    if service::is_allocated(service, networks) && service.allocation_error.is_empty() {
        return Verdict::default();
    }
    match service::allocated(service, networks, draft) {
        Ok(service) => {
            let premises = premises_on(networks, service::relies_on(&service));
            Verdict { object: Some(service.into()), premises, ..Verdict::default() }
        }
        Err(lack) => {
            draft.undo();
            let text = lack.to_string();
            let told = (text != *service.allocation_error)
                .then(|| Service { allocation_error: text.into(), ..service.clone() });
            Verdict { object: told.map(Object::from), lacks: vec![lack], ..Verdict::default() }
        }
    }
}

fn of_task(
    view: &View,
    networks: Networks<'_>,
    task: &Task,
    draft: &mut Draft<'_>,
    now: Timestamp,
) -> Verdict {
    let service = view.service(&task.service_id);
    let result = match service {
        None if !task.service_id.is_empty() => Err(Lack::Service(task.service_id.clone())),
        Some(_) | None => task::allocated(task, service.map(AsRef::as_ref), networks, draft, now),
    };
    match result {
        Ok(task) => {
            let mut premises = premises_on(networks, task::relies_on(&task));
            premises.extend(
                service.map(|one| (Kind::Service, one.id.as_id().clone(), one.meta.version)),
            );
            Verdict { object: Some(task.into()), premises, ..Verdict::default() }
        }
        Err(lack) => {
            draft.undo();
            let err =
                lack.is_told().then(|| lack.to_string()).filter(|text| **text != *task.status.err);
            let told = err.map(|text| {
                let status = TaskStatus { err: text.into(), ..task.status.clone() };
                Task { status, ..task.clone() }
            });
            Verdict { object: told.map(Object::from), lacks: vec![lack], ..Verdict::default() }
        }
    }
}

/// The versions of networks that are relied on.
fn premises_on(
    networks: Networks<'_>,
    ids: impl Iterator<Item = NetworkId>,
) -> Vec<(Kind, Id, u64)> {
    let known = ids.filter_map(|id| networks.get(&id));
    known.map(|network| (Kind::Network, network.id.as_id().clone(), network.meta.version)).collect()
}
