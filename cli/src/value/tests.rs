//! Tables over what flags take, and what they refuse.

use protocol::wire::port_config::Protocol;

use super::{List, duration, labels, memory_bytes, nano_cpus, port};

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
