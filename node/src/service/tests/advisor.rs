//! What would be and why it is not, over a socket.

use actors::store::View;
use protocol::{
    swarm::{ExplainRequest, PlanRequest, advisor_client::AdvisorClient, planned_task::Action},
    wire::{CreateServiceRequest, ListServicesRequest},
};
use tonic::Code;

use super::{calls::spec, check, run};

#[test]
fn a_plan_is_told_and_nothing_written() {
    run(&View::default(), async |world| {
        let mut advisor = AdvisorClient::new(world.channel.clone());
        let request = PlanRequest { spec: Some(spec("web")), ..PlanRequest::default() };
        let plan = advisor.plan(request).await.expect("answered").into_inner();
        let actions: Vec<_> = plan.tasks.iter().map(|task| (task.slot, task.action())).collect();
        assert_eq!(actions, [(1, Action::Create), (2, Action::Create)]);
        assert_eq!(plan.tasks[0].reason, "no suitable node");
        let services = world.control().list_services(ListServicesRequest::default()).await;
        assert!(services.expect("answered").into_inner().services.is_empty());
        let none = advisor.plan(PlanRequest::default()).await;
        check(none, Code::InvalidArgument, "invalid argument");
    });
}

#[test]
fn a_service_without_tasks_has_nothing_to_explain() {
    run(&View::default(), async |world| {
        let request = CreateServiceRequest { spec: Some(spec("web")) };
        let created = world.control().create_service(request).await.expect("created");
        let service_id = created.into_inner().service.expect("a service").id;
        let mut advisor = AdvisorClient::new(world.channel.clone());
        let request = ExplainRequest { service_id, task_id: String::new() };
        let answer = advisor.explain(request).await.expect("answered").into_inner();
        assert_eq!((answer.tasks.len(), answer.left_out), (0, 0));
        let none = advisor.explain(ExplainRequest::default()).await;
        check(none, Code::InvalidArgument, "invalid argument");
    });
}
