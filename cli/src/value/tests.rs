//! Tables over what flags take, and what they refuse.

use protocol::wire::{generic_resource::Resource, mount::Type, port_config::Protocol};

use super::{
    List, bind, duration, generic_resources, labels, memory_bytes, nano_cpus, port, reference,
    tmpfs, ulimit,
};

fn list(text: &str) -> Result<Vec<String>, String> {
    let list = text.parse::<List>().map_err(|invalid| invalid.to_string())?;
    Ok(List::join(Some(&[list])).unwrap_or_default())
}

#[test]
fn lists_are_one_csv_record() {
    let check = |text, items: &[&str]| assert_eq!(list(text).unwrap(), items, "{text}");
    check("", &[]);
    check("a", &["a"]);
    check("a,b", &["a", "b"]);
    check("a,", &["a", ""]);
    check("\"a,b\",c", &["a,b", "c"]);
    check("\"say \"\"hi\"\"\"", &["say \"hi\""]);
    for text in ["a\"b", "\"a", "\"a\"b"] {
        list(text).unwrap_err();
    }
}

#[test]
fn labels_are_trimmed_pairs() {
    let read = |item: &str| labels(&[item.to_owned()]);
    assert_eq!(read(" a = b=c ").unwrap()["a"], "b=c");
    assert_eq!(read("plain").unwrap_err().to_string(), "malformed label: plain");
}

#[test]
fn sizes_are_binary() {
    let check = |text, bytes| assert_eq!(memory_bytes(text).unwrap(), bytes, "{text}");
    check("4096", 4096);
    check("64m", 64 << 20);
    check("64MiB", 64 << 20);
    check("1.5 gb", 3 << 29);
    check("2k", 2048);
    for text in ["abc", "", "-1m", "5x", "1e3", "1..2k", "9999999p"] {
        assert_eq!(memory_bytes(text).unwrap_err().to_string(), format!("invalid size: '{text}'"));
    }
}

#[test]
fn cpus_are_exact() {
    let check = |text, nanos| assert_eq!(nano_cpus(text).unwrap(), nanos, "{text}");
    check("1", 1_000_000_000);
    check("0.25", 250_000_000);
    check(".5", 500_000_000);
    check("1/2", 500_000_000);
    check("0.000000001", 1);
    let refuse = |text, why: &str| assert_eq!(nano_cpus(text).unwrap_err().to_string(), why);
    refuse("1/3", "CPU value cannot have more than 9 decimal places: 1/3");
    refuse("0.0000000001", "CPU value cannot have more than 9 decimal places: 0.0000000001");
    refuse("1/0", "invalid cpu: 1/0");
    refuse("x", "invalid cpu: x");
    refuse("1.-5", "invalid cpu: 1.-5");
}

#[test]
fn durations_have_units() {
    let check = |text, seconds, nanos| {
        let read = duration(text).unwrap();
        assert_eq!((read.seconds, read.nanos), (seconds, nanos), "{text}");
    };
    check("10s", 10, 0);
    check("1h30m", 5400, 0);
    check("1.5s", 1, 500_000_000);
    check("300ms", 0, 300_000_000);
    check("-2s", -2, 0);
    check("0", 0, 0);
    check("1h0.000000001s", 3600, 1);
    for text in ["", "5", "s", "1x", "1.2.3s", "99999999999h", "-"] {
        let why = format!("time: invalid duration \"{text}\"");
        assert_eq!(duration(text).unwrap_err().to_string(), why);
    }
}

#[test]
fn ports_name_a_target() {
    let read = port("http:80:8080").unwrap();
    assert_eq!((&*read.name, read.target_port, read.published_port), ("http", 80, 8080));
    let read = port("dns:53/UDP").unwrap();
    assert_eq!((read.protocol(), read.published_port), (Protocol::Udp, 0));
    let refuse = |text, why: &str| assert_eq!(port(text).unwrap_err().to_string(), why);
    refuse("http", "insufficient parameters in port configuration");
    refuse("a:80:81/udp", "protocol mismatch");
    refuse("a:x", "failed to parse port: x is no port from 0 to 65535");
    refuse("a:80:99999", "failed to parse node port: 99999 is no port from 0 to 65535");
    refuse("a:80/icmp", "failed to parse port: invalid protocol string: icmp");
}

#[test]
fn generic_resources_are_counted() {
    let read = generic_resources("gpu=2,fpga=1").unwrap();
    let counts: Vec<_> = read
        .iter()
        .map(|generic| match generic.resource.as_ref().unwrap() {
            Resource::DiscreteResourceSpec(counted) => (&*counted.kind, counted.value),
            Resource::NamedResourceSpec(_) => panic!("named"),
        })
        .collect();
    assert_eq!(counts, [("fpga", 1), ("gpu", 2)]);
    let refuse =
        |text, why: &str| assert_eq!(generic_resources(text).unwrap_err().to_string(), why);
    let prefix = "could not parse GenericResource: ";
    let incorrect = "incorrect term gpu, missing '=' or malformed expression";
    refuse("gpu", &format!("{prefix}{incorrect}"));
    refuse("gpu=-1", &format!("{prefix}cannot ask for negative resource gpu"));
    let mixed = "mixed discrete and named resources in expression 'gpu=[1, a]'";
    refuse("gpu=1,gpu=a", &format!("{prefix}{mixed}"));
    refuse("gpu=1\n", &format!("{prefix}unexpected '\\n' character"));
    refuse("gpu=a,gpu=b", "invalid argument for resource gpu");
}

#[test]
fn limits_of_processes_are_soft_and_hard() {
    let read = |text| ulimit(text).map(|limit| (limit.name, limit.soft, limit.hard));
    let is = |name: &str, soft, hard| Ok((name.to_owned(), soft, hard));
    assert_eq!(read("nofile=5"), is("nofile", 5, 5));
    assert_eq!(read("core=0:-1"), is("core", 0, -1));
    assert_eq!(read("core=-1"), is("core", -1, -1));
    let refuse = |text, why: &str| assert_eq!(ulimit(text).unwrap_err().to_string(), why);
    refuse("nofile", "invalid ulimit argument: nofile");
    refuse("nofile=x", "invalid ulimit argument: nofile=x");
    refuse("nofile=-2", "invalid ulimit argument: nofile=-2");
    refuse("files=1", "invalid ulimit type: files");
    let order = "ulimit soft limit must be less than or equal to hard limit: ";
    refuse("cpu=9:8", &format!("{order}9 > 8"));
    refuse("cpu=-1:8", &format!("{order}-1 > 8"));
}

#[test]
fn mounts_have_a_source_or_options() {
    let read = bind("/a:/b:c").unwrap();
    assert_eq!((read.r#type(), &*read.source, &*read.target), (Type::Bind, "/a", "/b:c"));
    let read = tmpfs("/t:size=10m,mode=700,ro,noexec").unwrap();
    let options = read.tmpfs_options.unwrap();
    assert!(read.readonly);
    assert_eq!((options.size_bytes, options.mode, &*options.options), (10 << 20, 0o700, "noexec"));
    assert_eq!(tmpfs("/t:size=7").unwrap().tmpfs_options.unwrap().size_bytes, 7);
    let refuse = |text: &str, why: &str| assert_eq!(tmpfs(text).unwrap_err().to_string(), why);
    refuse("t", "invalid mount spec: t");
    refuse("/t:ro:rw", "invalid mount spec: /t:ro:rw");
    refuse("/t:mode=9", "invalid mount spec: /t:mode=9");
    refuse("/t:suid", "unsupported flag suid");
    refuse("/t:uid=1", "unsupported flag uid=1");
    for size in ["x", "", "1x", "-1", "9999999999999g", "1.5m"] {
        refuse(&format!("/t:size={size}"), &format!("invalid size format: {size}"));
    }
}

#[test]
fn references_name_a_file() {
    let read = |text| reference("secret", text).map(|read| (read.name, read.file));
    assert_eq!(read("a"), Ok(("a".to_owned(), "a".to_owned())));
    assert_eq!(read("a:b:c"), Ok(("a".to_owned(), "b:c".to_owned())));
    read(":b").unwrap_err();
    read("a:").unwrap_err();
}
