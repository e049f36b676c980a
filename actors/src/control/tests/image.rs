//! Which strings name an image.

use proptest::prelude::*;

use crate::control::image::is_reference;

#[track_caller]
fn check(text: &str, expected: bool) {
    assert_eq!(is_reference(text), expected, "{text:?}");
}

#[test]
fn names_tags_digests_and_registries_are_references() {
    check("host", true);
    check("redis", true);
    check("redis:3.0.5", true);
    check("library/redis:Latest_1", true);
    check("registry.example.com:5000/team/app", true);
    check("localhost/app", true);
    check("UPPER/app", true);
    check("e/a.b__c--d", true);
    check(&format!("redis@sha256:{}", "a0".repeat(32)), true);
    check(&format!("redis:3@sha256:{}", "a0".repeat(32)), true);
}

#[test]
fn everything_else_is_none() {
    check("", false);
    check("Redis", false);
    check("redis:", false);
    check("redis:-tag", false);
    check(&format!("redis:{}", "t".repeat(129)), false);
    check("a//b", false);
    check("/a", false);
    check("a/", false);
    check("a..b", false);
    check("a___b", false);
    check("-a", false);
    check("a b", false);
    check("é", false);
    check("aé", false);
    check("-bad.example/app", false);
    check("example.com:port/app", false);
    check("redis@sha256:short", false);
    check("redis@nothing", false);
    check(&"a0".repeat(32), false);
    check(&"a".repeat(256), false);
}

proptest! {
    #[test]
    fn no_text_panics(text: String, near in "[a-zA-Z0-9./:@_-]{0,40}") {
        is_reference(&text);
        is_reference(&near);
    }

    #[test]
    fn a_digest_makes_no_difference(name in "[a-zA-Z./:@_-]{0,9}") {
        let with_digest = format!("{name}@sha256:{}", "a0".repeat(32));
        prop_assert_eq!(is_reference(&name), is_reference(&with_digest));
    }
}
