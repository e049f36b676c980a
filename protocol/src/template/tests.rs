//! Tables over the language, and what no text may do.

use proptest::prelude::*;

use super::*;
use crate::wire::mount::VolumeOptions;

fn context() -> Context {
    Context {
        service_id: "sid".into(),
        service_name: "web".into(),
        service_labels: [("key", "value"), ("a.b", "dotted")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        node_id: "nid".into(),
        node_hostname: "host-1".into(),
        node_architecture: "x86_64".into(),
        node_os: "linux".into(),
        task_id: "tid".into(),
        task_name: "web.3.tid".into(),
        task_slot: "3".into(),
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(expand(text, &context()).map_err(|error| error.to_string()), Ok(expected.into()));
}

#[track_caller]
fn refuse(text: &str, expected: &str) {
    let error = expand(text, &context()).expect_err(text);
    assert_eq!(error.to_string(), format!("template: expansion:{expected}"), "{text}");
}

#[test]
fn placeholders() {
    check("", "");
    check("plain } text }} { x", "plain } text }} { x");
    check("{{.Service.ID}}-{{.Service.Name}}", "sid-web");
    check("{{.Node.ID}} {{ .Node.Hostname }}", "nid host-1");
    check("{{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}", "linux/x86_64");
    check("{{.Task.ID}},{{.Task.Name}},{{.Task.Slot}}", "tid,web.3.tid,3");
    check("{{.Service.Labels.key}}", "value");
    check(
        "{{$.Task.Slot}}{{$}}",
        "3{{sid web map[a.b:dotted key:value]} {nid host-1 {x86_64 linux}} {tid web.3.tid 3}}",
    );
    check("{{.Service.Labels}}", "map[a.b:dotted key:value]");
    check("é{{.Task.Slot}}é", "é3é");
}

#[test]
fn functions_and_pipelines() {
    check(r#"{{index .Service.Labels "key"}}"#, "value");
    check(r#"{{index .Service.Labels "a.b"}}"#, "dotted");
    check(r#"{{index .Service.Labels "gone"}}|"#, "|");
    check(r#"{{join "-" .Service.Name .Task.Slot "x"}}"#, "web-3-x");
    check(r#"{{join ","}}|"#, "|");
    check(r#"{{.Task.Slot | join "-" .Service.Name}}"#, "web-3");
    check(r#"{{"a" | join "b" "c" | join "d" "e"}}"#, "edcba");
    check(r#"{{join "" (join "+" "a" "b") (index .Service.Labels "key")}}"#, "a+bvalue");
    check("{{`raw \\n`}}{{\"q\\\"\\\\\\n\"}}", "raw \\nq\"\\\n");
    check("{{42}} {{-7}} {{true}} {{len .Service.Name}}", "42 -7 true 3");
    check(r#"{{eq .Task.Slot "3"}} {{ne .Task.Slot "3"}} {{eq 1 2 1}}"#, "true false true");
    check(r#"{{or "" "b"}} {{and "a" "b"}} {{not ""}} {{and "" "b"}}|"#, "b b true |");
    check("{{(.Service).Name}} {{(index .Service.Labels `key`)}}", "web value");
}

#[test]
fn conditions() {
    let slot = |test: &str| format!("{{{{if {test}}}}}yes{{{{else}}}}no{{{{end}}}}");
    check(&slot(r#"eq .Task.Slot "3""#), "yes");
    check(&slot(r#"eq .Task.Slot "4""#), "no");
    check("{{if .Service.Labels}}a{{end}}{{if 0}}b{{end}}", "a");
    check("{{if false}}a{{else if true}}b{{else}}c{{end}}d", "bd");
    check("{{if false}}a{{else if false}}b{{else}}c{{end}}d", "cd");
    // What is not chosen is not looked at.
    check("{{if false}}{{.Bad}}{{end}}", "");
}

#[test]
fn dashes_trim_and_comments_vanish() {
    check("a  {{- .Task.Slot -}}  \n b", "a3b");
    check("a {{- \"x\" }} b", "ax b");
    check("a{{/* nothing */}}b {{- /* }} */ -}} c", "abc");
}

#[test]
fn texts_that_are_no_templates() {
    refuse("{{", "1: unclosed action");
    refuse("a\n{{.Task.Slot", "2: unclosed action");
    refuse("{{.Task.Slot}", r#"1: unexpected "}" in operand"#);
    refuse("{{\"x}}", "1: unterminated quoted string");
    refuse("{{`x}}", "1: unterminated quoted string");
    refuse("{{/* x }}", "1: unclosed comment");
    refuse("{{}}", "1: missing value for command");
    refuse("{{if}}{{end}}", "1: missing value for if");
    refuse("{{.Task.Slot | }}", "1: missing value for command");
    refuse("{{if true}}", "1: unexpected EOF");
    refuse("{{end}}", "1: unexpected {{end}}");
    refuse("{{else}}", "1: unexpected {{else}}");
    refuse("{{if 1}}{{else}}{{else}}{{end}}", "1: unexpected {{else}}");
    refuse("{{secret \"x\"}}", r#"1: function "secret" not defined"#);
    refuse("{{$x}}", r#"1: undefined variable "$x""#);
    refuse(
        "{{range .Service.Labels}}{{end}}",
        r#"1: "range" is not offered by this version of swarmd"#,
    );
    refuse("{{(\"a\"}}", "1: unclosed left paren");
    refuse("{{1x}}", r#"1: bad number syntax: "1x""#);
    refuse("{{99999999999999999999}}", r#"1: bad number syntax: "99999999999999999999""#);
    refuse("{{\"\\q\"}}", r#"1: unexpected "\\q" in operand"#);
    refuse("{{end x}}", r#"1: unexpected "x" in operand"#);
}

#[test]
fn templates_that_mean_nothing() {
    refuse(
        "{{.Bad}}",
        r#"1:2: executing "expansion" at <.Bad>: can't evaluate field Bad in type *template.Context"#,
    );
    refuse(
        "a\nb {{.Service.Bad}}",
        "2:12: executing \"expansion\" at <.Service.Bad>: can't evaluate field Bad in type \
         struct { ID string; Name string; Labels map[string]string }",
    );
    refuse(
        "{{.Service.Labels.gone}}",
        r#"1:10: executing "expansion" at <.Service.Labels.gone>: map has no entry for key "gone""#,
    );
    refuse(
        "{{.Task.Slot 1}}",
        r#"1:2: executing "expansion" at <.Task.Slot 1>: can't give argument to non-function .Task.Slot"#,
    );
    refuse(
        "{{join 1 2}}",
        r#"1:2: executing "expansion" at <join 1 2>: wrong type for value; expected string; got int"#,
    );
    refuse(
        "{{join}}",
        r#"1:2: executing "expansion" at <join>: wrong number of args for join: want at least 1 got 0"#,
    );
    refuse(
        "{{index .Service.Name \"x\"}}",
        "1:2: executing \"expansion\" at <index .Service.Name ...>: wrong type for value; \
         expected map[string]string; got string",
    );
    refuse(
        "{{eq 1 \"a\"}}",
        r#"1:2: executing "expansion" at <eq 1 "a">: error calling eq: incompatible types for comparison"#,
    );
    refuse("{{nil}}", r#"1:2: executing "expansion" at <nil>: nil is not a command"#);
}

#[test]
fn nothing_grows_without_end() {
    let deep = |count: usize| format!("{{{{{}1{}}}}}", "(".repeat(count), ")".repeat(count));
    check(&deep(32), "1");
    refuse(&deep(33), "1: too many blocks and parentheses within each other");
    refuse(&deep(100_000), "1: too many blocks and parentheses within each other");
    let blocks = "{{if 1}}".repeat(100_000);
    refuse(&blocks, "1: too many blocks and parentheses within each other");
    let elses = format!("{{{{if 0}}}}{}", "{{else if 0}}".repeat(100_000));
    refuse(&elses, "1: too many blocks and parentheses within each other");
    let mut large = context();
    large.service_labels.insert("large".into(), "x".repeat(EXPANDED_BYTES_MAX / 2));
    let twice = "{{.Service.Labels.large}}{{.Service.Labels.large}}";
    assert!(expand(twice, &large).is_ok());
    assert!(expand(&format!("{twice}{{{{1}}}}"), &large).is_err());
    let joined = "{{join `--` .Service.Labels.large .Service.Labels.large}}";
    assert!(expand(joined, &large).is_err());
}

#[test]
fn only_some_texts_of_a_spec_are_templates() {
    let slot = || "{{.Task.Slot}}".to_owned();
    let options = || [(slot(), slot())].into();
    let driver = Some(wire::Driver { options: options(), ..Default::default() });
    let volume = VolumeOptions { labels: options(), driver_config: driver, ..Default::default() };
    let mount = wire::Mount {
        source: slot(),
        target: slot(),
        volume_options: Some(volume),
        ..Default::default()
    };
    let spec = wire::ContainerSpec {
        image: slot(),
        command: vec![slot()],
        dir: slot(),
        env: ["A={{.Task.Slot}}={{.Task.Slot}}", "{{.Bad}}=b", "{{.Bad}}"].map(Into::into).into(),
        hostname: slot(),
        mounts: vec![mount],
        ..Default::default()
    };
    let found = expand_container(&spec, &context()).expect("it is valid");
    assert_eq!(found.env, ["A=3=3", "{{.Bad}}=b", "{{.Bad}}"]);
    assert_eq!((found.hostname.as_str(), &found.image), ("3", &slot()));
    assert_eq!((&found.command[0], &found.dir), (&slot(), &slot()));
    let mount = &found.mounts[0];
    assert_eq!((mount.source.as_str(), mount.target.as_str()), ("3", "3"));
    let volume = mount.volume_options.as_ref().expect("it was there");
    assert_eq!(volume.labels, [(slot(), "3".to_owned())].into());
    let options = &volume.driver_config.as_ref().expect("it was there").options;
    assert_eq!(options, &[(slot(), "3".to_owned())].into());
}

#[test]
fn mistakes_in_a_spec_say_where() {
    #[track_caller]
    fn check(change: impl Fn(&mut wire::ContainerSpec, String), expected: &str) {
        let mut spec = wire::ContainerSpec::default();
        change(&mut spec, "{{.Bad".to_owned());
        let error = expand_container(&spec, &Context::default()).expect_err(expected);
        assert_eq!(
            error.to_string(),
            format!("{expected}: template: expansion:1: unclosed action")
        );
    }
    let mount = |mount| vec![mount];
    let volume = |options| wire::Mount { volume_options: Some(options), ..Default::default() };
    check(
        |spec, bad| spec.env = vec![format!("A={bad}")],
        r#"expanding env failed: expanding env "A={{.Bad""#,
    );
    check(
        |spec, bad| spec.mounts = mount(wire::Mount { source: bad, ..Default::default() }),
        r#"expanding mounts failed: expanding mount source "{{.Bad""#,
    );
    check(
        |spec, bad| spec.mounts = mount(wire::Mount { target: bad, ..Default::default() }),
        r#"expanding mounts failed: expanding mount target "{{.Bad""#,
    );
    let options = |bad| [("k".to_owned(), bad)].into();
    check(
        |spec, bad| {
            let labels = options(bad);
            spec.mounts = mount(volume(VolumeOptions { labels, ..Default::default() }));
        },
        r#"expanding mounts failed: expanding volume labels: expanding map entry "k"="{{.Bad""#,
    );
    check(
        |spec, bad| {
            let driver_config = Some(wire::Driver { options: options(bad), ..Default::default() });
            spec.mounts = mount(volume(VolumeOptions { driver_config, ..Default::default() }));
        },
        "expanding mounts failed: expanding volume driver config: \
         expanding map entry \"k\"=\"{{.Bad\"",
    );
    check(|spec, bad| spec.hostname = bad, "expanding hostname failed");
}

#[test]
fn what_a_task_says_of_itself() {
    let labels = || -> BTreeMap<String, String> { [("a".to_owned(), "b".to_owned())].into() };
    let mut task = wire::Task {
        id: "tid".into(),
        service_id: "sid".into(),
        node_id: "nid".into(),
        slot: 3,
        service_annotations: Some(wire::Annotations {
            name: "web".into(),
            labels: labels(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let platform = Some(wire::Platform { architecture: "x86_64".into(), os: "linux".into() });
    let node = wire::NodeDescription { hostname: "host-1".into(), platform, ..Default::default() };
    let expected = Context { service_labels: labels(), ..context() };
    assert_eq!(Context::of_task(&task, &node), expected);
    task.slot = 0;
    let global = Context::of_task(&task, &node);
    assert_eq!((global.task_slot.as_str(), global.task_name.as_str()), ("nid", "web.nid.tid"));
    task.annotations = Some(wire::Annotations { name: "own".into(), ..Default::default() });
    assert_eq!(Context::of_task(&task, &node).task_name, "own");
}

proptest! {
    #[test]
    fn no_text_panics(text: String, words in prop::collection::vec(words(), 0..12)) {
        expand(&text, &context()).ok();
        expand(&format!("{{{{{text}}}}}"), &context()).ok();
        expand(&words.concat(), &context()).ok();
    }

    #[test]
    fn text_without_braces_stays(text in "[^{]*") {
        prop_assert_eq!(expand(&text, &Context::default()), Ok(text));
    }

    #[test]
    fn what_is_filled_in_is_not_expanded_again(text: String) {
        let context = Context { service_name: text.clone(), ..Context::default() };
        prop_assert_eq!(expand("<{{.Service.Name}}>", &context), Ok(format!("<{text}>")));
    }
}

/// Pieces of the language in any order.
fn words() -> impl Strategy<Value = String> {
    let known = [
        "{{",
        "}}",
        "{{-",
        " -}}",
        "if ",
        "else ",
        "end",
        "(",
        ")",
        "|",
        ".Service",
        ".Labels",
        ".Task.Slot",
        ".",
        "$",
        "index ",
        "join ",
        "eq ",
        "\"a\"",
        "`b`",
        "\"",
        " ",
        "1",
        "nil",
        "/*",
        "*/",
        "\\",
        "\n",
        "é",
    ];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

#[test]
fn all_texts_of_a_spec_together_are_bounded() {
    let mut large = context();
    large.service_labels.insert("large".into(), "x".repeat(EXPANDED_BYTES_MAX / 2));
    let expanded = |texts: usize, hostname: &str| {
        let container = wire::ContainerSpec {
            env: vec!["A={{.Service.Labels.large}}".to_owned(); texts],
            hostname: hostname.to_owned(),
            ..Default::default()
        };
        expand_container(&container, &large).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(expanded(2, "plain"), Ok(()));
    let too_long = "template: expansion:1: the result is longer than 1048576 bytes";
    let why = "expanding env failed: expanding env \"A={{.Service.Labels.large}}\": ".to_owned();
    assert_eq!(expanded(3, "plain"), Err(why + too_long));
    assert_eq!(
        expanded(2, "{{.Task.Slot}}"),
        Err(format!("expanding hostname failed: {too_long}"))
    );
}
