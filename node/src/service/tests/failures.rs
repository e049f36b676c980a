//! Codes and texts of everything that can become of a call.

use actors::{
    control::Error,
    raft::NotLeading,
    store::{self, NotWritten, TransactError, View},
};
use protocol::wire::{
    Annotations, CreateExtensionRequest, CreateServiceRequest, ListServicesRequest,
};
use tonic::{Code, Status};

use super::{calls::spec, check, run};
use crate::service::status::{leaderless, refused, unwritten};

#[track_caller]
fn check_status(status: &Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, text));
}

#[test]
fn refusals() {
    let text = || "text".to_owned();
    check_status(&refused(&Error::InvalidArgument(text())), Code::InvalidArgument, "text");
    check_status(&refused(&Error::NotFound(text())), Code::NotFound, "text");
    check_status(&refused(&Error::AlreadyExists(text())), Code::AlreadyExists, "text");
    check_status(&refused(&Error::FailedPrecondition(text())), Code::FailedPrecondition, "text");
    check_status(&refused(&Error::Unimplemented(text())), Code::Unimplemented, "text");
    check_status(&refused(&Error::Internal(text())), Code::Internal, "text");
    check_status(&refused(&Error::Unknown(text())), Code::Unknown, "text");
    let conflict = Error::Store(store::Error::NameConflict);
    check_status(&refused(&conflict), Code::Unknown, "name conflicts with an existing object");
}

#[test]
fn writes_that_were_not_committed() {
    let aborted = TransactError::Aborted(Error::NotFound("text".to_owned()));
    check_status(&unwritten(&aborted), Code::NotFound, "text");
    check_status(
        &unwritten(&TransactError::NotWritten(NotWritten::NotLeading)),
        Code::Unavailable,
        "raft: failed to process the request: node lost leader status",
    );
    check_status(
        &unwritten(&TransactError::NotWritten(NotWritten::Busy)),
        Code::Unavailable,
        "too many changes are in flight: nothing was written; try again",
    );
    check_status(
        &unwritten(&TransactError::NotWritten(NotWritten::CutOff)),
        Code::Unavailable,
        "a change that it built on was not written: nothing was written; try again",
    );
    check_status(
        &unwritten(&TransactError::OutcomeUnknown),
        Code::Unknown,
        "the leader changed while this was being written: it may have been written or not; look \
         before you try again",
    );
    check_status(
        &unwritten(&TransactError::TooLarge { bytes: 9 }),
        Code::Unknown,
        "raft: raft message is too large and can't be sent",
    );
}

#[test]
fn a_manager_that_does_not_lead_answers_nothing() {
    let text = "raft: no elected cluster leader";
    check_status(&leaderless(NotLeading), Code::Unavailable, text);
    run(&View::default(), async |world| {
        world.leads.set(false);
        let outcome = world.control().list_services(ListServicesRequest::default()).await;
        check(outcome, Code::Unavailable, text);
    });
}

#[test]
fn a_refused_call_has_written_nothing() {
    run(&View::default(), async |world| {
        let mut control = world.control();
        let create = CreateServiceRequest { spec: Some(spec("web")) };
        control.create_service(create.clone()).await.expect("created");
        let before = world.store.view().index();
        check(
            control.create_service(create).await,
            Code::AlreadyExists,
            "name conflicts with an existing object: service web already exists",
        );
        assert_eq!(world.store.view().index(), before);
    });
}

#[test]
fn what_no_entry_holds_is_refused() {
    run(&View::default(), async |world| {
        let labels = [("large".to_owned(), "x".repeat(store::TRANSACTION_BYTES_MAX))].into();
        let annotations = Annotations { name: "web".to_owned(), labels, ..Default::default() };
        let create =
            CreateExtensionRequest { annotations: Some(annotations), ..Default::default() };
        let outcome = world.control().create_extension(create).await;
        check(outcome, Code::Unknown, "raft: raft message is too large and can't be sent");
        assert_eq!(world.store.view().index(), 0);
    });
}
