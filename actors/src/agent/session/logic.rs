//! The course of the sessions with managers, one after the other (cluster-security-dispatch §13).

use std::time::Duration;

use protocol::wire::{self, assignments_message::Type};

use crate::agent::back_off::BackOff;

/// What can happen to a session.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// The time for a session has come.
    Begin,
    /// What the machine offers; none when it cannot tell.
    Described(Option<Box<wire::NodeDescription>>),
    /// The manager knows this node by a certificate that it has replaced; and what the machine offers now.
    Outdated(Option<Box<wire::NodeDescription>>),
    /// The manager sent a session message. The first one means that the node is registered; every
    /// one carries the session's id.
    Received(String),
    /// The manager sent assignments.
    Assigned(wire::AssignmentsMessage),
    /// Any part of the session failed or ended.
    Failed,
}

/// What to do about it, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Asks what the machine offers; `Input::Described` follows.
    Describe,
    /// Asks again after the polling period, or once the node has another certificate.
    DescribeLater,
    /// Chooses a manager and registers there.
    Open(Box<wire::SessionRequest>),
    /// Tells agent and reporter that the node is registered under this session id.
    Register(String),
    /// Sends heartbeats under this session id until one fails.
    KeepAlive(String),
    /// Opens the stream of assignments; one that was open is dropped.
    OpenAssignments(String),
    /// Hands assignments to the agent, then reads on.
    Apply(wire::AssignmentsMessage),
    /// Drops everything that belongs to the session.
    Close,
    /// The same, through no fault of the manager's.
    LetGo,
    /// Begins again after a time drawn below this bound.
    BeginAfter(Duration),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Between sessions.
    Apart,
    /// Finding out what to register.
    Describing,
    /// A manager has been asked.
    Opening,
    Registered,
}

/// The sessions of this node.
#[derive(Debug)]
pub(super) struct Sessions {
    phase: Phase,
    /// Kept over the end of a session: a manager that still knows it resumes.
    id: String,
    description: Option<Box<wire::NodeDescription>>,
    /// What the last assignments resulted in; empty at the start of a stream.
    results_in: String,
    back_off: BackOff,
}

impl Sessions {
    /// No session, and none tried yet.
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Apart,
            id: String::new(),
            description: None,
            results_in: String::new(),
            back_off: BackOff::default(),
        }
    }

    /// Takes one input and returns what to do now.
    pub(super) fn step(&mut self, input: Input) -> Vec<Effect> {
        match (input, self.phase) {
            (Input::Begin, Phase::Apart) => {
                self.phase = Phase::Describing;
                vec![Effect::Describe]
            }
            (Input::Described(description), Phase::Describing) => self.open(description),
            (Input::Described(description), Phase::Registered) => self.described(description),
            (Input::Outdated(description), Phase::Registered) => self.reopen(description),
            (Input::Received(id), Phase::Opening) => self.registered(id),
            (Input::Assigned(message), Phase::Registered) => self.assigned(message),
            (Input::Failed, Phase::Opening | Phase::Registered) => {
                self.phase = Phase::Apart;
                vec![Effect::Close, Effect::BeginAfter(self.back_off.grow())]
            }
            // Later session messages only bring news (`news.rs`); whatever else comes belongs to a
            // session that is over.
            (
                Input::Begin
                | Input::Described(_)
                | Input::Outdated(_)
                | Input::Received(_)
                | Input::Assigned(_)
                | Input::Failed,
                _,
            ) => Vec::new(),
        }
    }

    fn open(&mut self, description: Option<Box<wire::NodeDescription>>) -> Vec<Effect> {
        self.phase = Phase::Opening;
        self.description.clone_from(&description);
        let description = description.map(|described| *described);
        let request = wire::SessionRequest { description, session_id: self.id.clone() };
        vec![Effect::Open(Box::new(request))]
    }

    fn registered(&mut self, id: String) -> Vec<Effect> {
        self.phase = Phase::Registered;
        self.back_off.reset();
        self.id.clone_from(&id);
        self.results_in.clear();
        vec![
            Effect::Register(id.clone()),
            Effect::KeepAlive(id.clone()),
            Effect::OpenAssignments(id),
            Effect::DescribeLater,
        ]
    }

    /// A machine that cannot tell just now has not changed.
    fn described(&mut self, description: Option<Box<wire::NodeDescription>>) -> Vec<Effect> {
        if description.is_none() || description == self.description {
            return vec![Effect::DescribeLater];
        }
        self.reopen(description)
    }

    fn reopen(&mut self, description: Option<Box<wire::NodeDescription>>) -> Vec<Effect> {
        let description = description.or_else(|| self.description.clone());
        let mut effects = vec![Effect::LetGo];
        effects.extend(self.open(description));
        effects
    }

    /// A gap means that changes were missed: the stream is opened anew, which begins with the
    /// complete list. What was received is right all the same.
    fn assigned(&mut self, message: wire::AssignmentsMessage) -> Vec<Effect> {
        let follows = message.r#type() == Type::Complete || message.applies_to == self.results_in;
        self.results_in.clone_from(&message.results_in);
        let mut effects = vec![Effect::Apply(message)];
        if !follows {
            self.results_in.clear();
            effects.push(Effect::OpenAssignments(self.id.clone()));
        }
        effects
    }
}
