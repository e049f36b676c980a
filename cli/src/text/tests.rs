//! Tables over how values are written.

use prost_types::{Duration, Timestamp};

use super::{
    human,
    table::{Layout, Table},
};

#[test]
fn listings_keep_two_blanks_between_columns() {
    let mut table = Table::new(&["ID", "Name"]);
    table.row(&["q6euh1", "node-1"]);
    table.row(&["wcz2m5", ""]);
    let lines = ["ID      Name", "--      ----", "q6euh1  node-1", "wcz2m5  "];
    assert_eq!(table.align(Layout::LIST), lines.join("\n") + "\n");
}

#[test]
fn pages_start_anew_after_a_line_without_columns() {
    let page = Layout::PAGE.align("ID\t: x\nName\t: default\nSettings:\n  Log\t: y\n");
    assert_eq!(page, "ID          : x\nName        : default\nSettings:\n  Log        : y\n");
}

#[test]
fn columns_are_as_wide_as_their_neighbours_need() {
    assert_eq!(Layout::LIST.align("a\tb\tc\nlonger\td\n"), "a       b  c\nlonger  d\n");
}

#[test]
fn times_are_told_in_their_largest_unit() {
    let now = Timestamp { seconds: 1_000_000_000, nanos: 0 };
    let check = |before: i64, text| {
        let time = Timestamp { seconds: now.seconds - before, nanos: 0 };
        assert_eq!(human::relative(&time, &now), text);
    };
    check(0, "now");
    check(1, "1 second ago");
    check(59, "59 seconds ago");
    check(60, "1 minute ago");
    check(120, "2 minutes ago");
    check(3600, "1 hour ago");
    check(7200, "2 hours ago");
    check(86_400, "1 day ago");
    check(8 * 86_400, "1 week ago");
    check(20 * 86_400, "2 weeks ago");
    check(40 * 86_400, "1 month ago");
    check(100 * 86_400, "3 months ago");
    check(400 * 86_400, "1 year ago");
    check(600 * 86_400, "2 years ago");
    check(-5, "5 seconds from now");
}

#[test]
fn points_in_time_drop_trailing_zeros() {
    let check = |seconds, nanos, text| {
        assert_eq!(human::absolute(&Timestamp { seconds, nanos }), text);
    };
    check(1_795_000_000, 827_295_388, "2026-11-18T11:06:40.827295388Z");
    check(1_795_000_000, 500_000_000, "2026-11-18T11:06:40.5Z");
    check(1_795_000_000, 0, "2026-11-18T11:06:40Z");
}

#[test]
fn durations_name_hours_minutes_and_seconds() {
    let check = |seconds, nanos, text| {
        assert_eq!(human::duration(&Duration { seconds, nanos }), text);
    };
    check(7_776_000, 0, "2160h0m0s");
    check(5, 0, "5s");
    check(0, 0, "0s");
    check(90, 0, "1m30s");
    check(1, 500_000_000, "1.5s");
    check(0, 300_000_000, "300ms");
    check(0, 1_500, "1.5µs");
    check(-2, 0, "-2s");
}

#[test]
fn sizes_have_one_decimal_below_ten() {
    let check = |bytes, text| assert_eq!(human::bytes(bytes), text);
    check(5, "5 B");
    check(4096, "4.0 KiB");
    check(64 << 20, "64 MiB");
    check(24 << 30, "24 GiB");
}

#[test]
fn text_is_quoted_as_in_a_program() {
    assert_eq!(human::quoted("/bin/sh -c"), "\"/bin/sh -c\"");
    assert_eq!(human::quoted("a\"\n\u{1}"), "\"a\\\"\\n\\x01\"");
}
