//! Tables over the grammar and the meaning of constraints.

use proptest::prelude::*;

use super::*;

fn node() -> Node {
    wire::Node {
        id: "n1".into(),
        role: wire::NodeRole::Manager.into(),
        spec: Some(wire::NodeSpec {
            annotations: Some(wire::Annotations {
                labels: [("disk".into(), "SSD".into())].into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        description: Some(wire::NodeDescription {
            hostname: "Host-1".into(),
            platform: Some(wire::Platform { architecture: "x86_64".into(), os: "linux".into() }),
            engine: Some(wire::EngineDescription {
                labels: [("zone".into(), "a/b".into())].into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        status: Some(wire::NodeStatus { addr: "10.0.1.5".into(), ..Default::default() }),
        ..Default::default()
    }
    .into()
}

fn holds(text: &str, node: &Node) -> bool {
    let constraint: Constraint = text.parse().expect("a constraint");
    constraint.matches(node)
}

#[test]
fn what_a_node_satisfies() {
    for (text, expected) in [
        ("node.id == n1", true),
        ("NODE.ID==N1", true),
        ("node.id != n1", false),
        ("node.id == n", false),
        ("node.hostname == host-1", true),
        ("node.hostname != host-2", true),
        ("node.role == manager", true),
        ("node.role == worker", false),
        ("node.platform.os == Linux", true),
        ("node.platform.arch == x86_64", true),
        ("node.platform.arch == amd64", false),
        ("node.labels.disk == ssd", true),
        ("Node.Labels.disk == ssd", true),
        ("node.labels.DISK == ssd", false),
        ("node.labels.disk == ss.", false),
        ("node.labels.gone == x", false),
        ("node.labels.gone != x", true),
        ("engine.labels.zone == A/B", true),
        ("engine.labels.zone != a/b", false),
        ("node.ip == 10.0.1.5", true),
        ("node.ip == ::ffff:10.0.1.5", true),
        ("node.ip != 10.0.1.5", false),
        ("node.ip == 10.0.0.0/16", true),
        ("node.ip != 10.0.0.0/16", false),
        ("node.ip == 10.0.2.0/24", false),
        ("node.ip == 0.0.0.0/0", true),
        ("node.ip == ::/0", true),
        ("node.ip == 10.0.0.0/33", false),
        ("node.ip != 10.0.0.0/33", false),
        ("node.ip == somewhere", false),
        ("node.ip != somewhere", false),
        ("node.labels. == x", false),
        ("node.labels. != x", false),
        ("node.colour != x", false),
    ] {
        assert_eq!(holds(text, &node()), expected, "{text}");
    }
}

#[test]
fn a_node_that_has_not_described_itself() {
    let node = Node::from(wire::Node::default());
    for (text, expected) in [
        ("node.hostname == host-1", false),
        ("node.hostname != host-1", true),
        ("node.platform.os != linux", true),
        ("engine.labels.zone != a", true),
        ("node.ip == 10.0.0.1", false),
        ("node.ip != 10.0.0.1", true),
    ] {
        assert_eq!(holds(text, &node), expected, "{text}");
    }
}

#[test]
fn what_is_refused_and_why() {
    for (text, error) in [
        ("", "constraint expected one operator from ==, !="),
        ("node.id = n1", "constraint expected one operator from ==, !="),
        ("n == x", "key 'n' is invalid"),
        (" == x", "key '' is invalid"),
        ("1a == x", "key '1a' is invalid"),
        ("a b == x", "key 'a b' is invalid"),
        ("a!=b == c", "key 'a!=b' is invalid"),
        ("ké == x", "key 'ké' is invalid"),
        ("node.id ==", "value '' is invalid"),
        ("node.id == a==b", "value 'a==b' is invalid"),
        ("node.id == é", "value 'é' is invalid"),
        ("node.id != a,b", "value 'a,b' is invalid"),
    ] {
        let refused = text.parse::<Constraint>().expect_err(text);
        assert_eq!(refused.to_string(), error, "{text}");
    }
}

#[test]
fn the_first_wrong_expression_is_the_error() {
    let texts = ["node.id == a".to_owned(), "x == y".to_owned(), "z".to_owned()];
    assert_eq!(Constraint::parse_all(&texts), Err(InvalidConstraint::Key("x".into())));
    assert_eq!(Constraint::parse_all(&texts[..1]).map(|all| all.len()), Ok(1));
}

#[test]
fn a_preference_names_a_label() {
    for (descriptor, expected) in [
        ("node.labels.disk", Some("SSD")),
        ("NODE.LABELS.disk", Some("SSD")),
        ("node.labels.rack", Some("")),
        ("engine.labels.zone", Some("a/b")),
        ("node.labels.", None),
        ("node.id", None),
        ("é", None),
    ] {
        let (label, node) = (Label::named(descriptor), node());
        assert_eq!(label.as_ref().map(|label| label.of(&node)), expected, "{descriptor}");
    }
}

#[test]
fn a_constraint_is_shown_as_it_is_understood() {
    for (text, shown) in [
        ("NODE.ID==a", "node.id == a"),
        ("node.labels.Disk != ssd", "node.labels.Disk != ssd"),
        ("some.key == v", "some.key == v"),
    ] {
        let constraint: Constraint = text.parse().expect("a constraint");
        assert_eq!(constraint.to_string(), shown);
        assert_eq!(shown.parse(), Ok(constraint), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text: String, key in "node[.](ip|labels[.]é|id)", value in "[0-9a-f:./]{0,20}") {
        let _ = text.parse::<Constraint>().map(|constraint| constraint.matches(&node()));
        let about_a_node = format!("{key} == {value}");
        let _ = about_a_node.parse::<Constraint>().map(|constraint| constraint.matches(&node()));
        let _ = Label::named(&text).map(|label| label.of(&node()).to_owned());
    }

    #[test]
    fn the_operators_are_opposites(
        key in "node[.](id|hostname|role|labels[.]disk|platform[.]os)", value in "[a-z0-9:.*/]{1,6}",
    ) {
        let equal = holds(&format!("{key}=={value}"), &node());
        prop_assert_ne!(equal, holds(&format!("{key}!={value}"), &node()));
    }
}
