//! Canonical JSON: against the RFC's own examples, and against an independent implementation.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::collections::HashMap;

use proptest::prelude::*;
use seaworthy_core::canonical_json::to_vec;
use serde::Serialize;
use serde_json::{Value, json};

fn text<T: Serialize>(value: &T) -> String {
    String::from_utf8(to_vec(value).unwrap()).unwrap()
}

#[test]
fn the_example_of_the_rfc_comes_out_as_printed_there() {
    let value: Value = serde_json::from_str(
        r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#,
    )
    .unwrap();
    assert_eq!(
        text(&value),
        r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
    );
}

#[test]
fn the_keys_of_the_rfc_are_sorted_as_printed_there() {
    let value = json!({
        "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh", "1": "One",
        "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis",
    });
    let sorted = [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ];
    let text = text(&value);
    let places: Vec<usize> = sorted.iter().map(|name| text.find(name).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn the_fields_of_a_type_are_sorted_at_every_depth() {
    #[derive(Serialize)]
    struct Outer {
        z: u8,
        b: Vec<Inner>,
        a: Option<Inner>,
    }
    #[derive(Serialize)]
    struct Inner {
        y: &'static str,
        x: HashMap<String, u8>,
    }
    let inner = |keys: &[&str]| Inner {
        y: "}{,",
        x: keys.iter().map(|key| ((*key).to_owned(), 1)).collect(),
    };
    let outer = Outer {
        z: 1,
        b: vec![inner(&["b", "a b", "a", "a!"]), inner(&[])],
        a: Some(inner(&["only"])),
    };
    assert_eq!(
        text(&outer),
        r#"{"a":{"x":{"only":1},"y":"}{,"},"b":[{"x":{"a":1,"a b":1,"a!":1,"b":1},"y":"}{,"},{"x":{},"y":"}{,"}],"z":1}"#
    );
}

#[test]
fn integers_beyond_what_a_double_tells_apart_are_the_nearest_double() {
    let exact = 1_u64 << 53;
    assert_eq!(text(&exact), "9007199254740992");
    assert_eq!(text(&-9_007_199_254_740_992_i64), "-9007199254740992");
    assert_eq!(text(&(exact + 1)), "9007199254740992");
    assert_eq!(text(&u64::MAX), "18446744073709552000");
    assert_eq!(text(&i64::MIN), "-9223372036854776000");
    assert_eq!(text(&u128::MAX), "3.402823669209385e+38");
    assert_eq!(text(&i128::from(7_i8)), "7");
    assert_eq!(text(&-0.0), "0");
}

/// Everything that serde can describe, with its members in order.
#[derive(Serialize)]
struct All<'a> {
    bytes: &'a [u8],
    bytes_as_such: Bytes<'a>,
    character: char,
    in_a_tuple: (u8, i8, &'a str),
    more: Pair,
    negative: (i16, i32, i64),
    none: Option<u8>,
    positive: (u16, u32, u64),
    shown: Shown,
    some: Option<f32>,
    unit: (),
    unit_struct: Nothing,
    variants: [Variant; 4],
    wrapped: Wrapped,
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct Shown;

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str("\"shown\" \u{1} \u{7f} with a tab\t in it")
    }
}

#[derive(Serialize)]
struct Nothing;

#[derive(Serialize)]
struct Pair(u8, bool);

#[derive(Serialize)]
struct Wrapped(String);

#[derive(Serialize)]
enum Variant {
    Unit,
    Newtype(Vec<u8>),
    Tuple(u8, u8),
    Struct { a: u8, b: u8 },
}

#[test]
fn whatever_serde_describes_is_the_same_json() {
    let all = All {
        bytes: &[1, 2],
        bytes_as_such: Bytes(&[3, 4]),
        character: '"',
        in_a_tuple: (1, -1, "\\"),
        more: Pair(1, true),
        negative: (-1, -2, -3),
        none: None,
        positive: (1, 2, 3),
        shown: Shown,
        some: Some(0.5),
        unit: (),
        unit_struct: Nothing,
        variants: [
            Variant::Unit,
            Variant::Newtype(vec![]),
            Variant::Tuple(1, 2),
            Variant::Struct { a: 1, b: 2 },
        ],
        wrapped: Wrapped("\u{8}\u{c}\n\r\t".to_owned()),
    };
    assert_eq!(text(&all), serde_json::to_string(&all).unwrap());
}

#[test]
fn keys_that_are_no_strings_are_written_as_some_or_refused() {
    #[derive(Serialize, PartialEq, Eq, Hash)]
    enum Word {
        Unit,
        Newtype(u8),
    }
    let ten = HashMap::from([(10_u8, 0), (9, 1)]);
    assert_eq!(text(&ten), r#"{"10":0,"9":1}"#);
    assert_eq!(text(&HashMap::from([(true, 0)])), r#"{"true":0}"#);
    assert_eq!(text(&HashMap::from([('"', 0)])), r#"{"\"":0}"#);
    assert_eq!(text(&HashMap::from([(Word::Unit, 0)])), r#"{"Unit":0}"#);
    assert!(to_vec(&HashMap::from([(Word::Newtype(1), 0)])).is_err());
    assert!(to_vec(&HashMap::from([((), 0)])).is_err());
    assert!(to_vec(&HashMap::from([(vec![1], 0)])).is_err());
}

#[test]
fn no_number_is_written_for_what_is_none() {
    assert_eq!(text(&[f64::NAN, f64::INFINITY, 1.0]), "[null,null,1]");
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1000..1000_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![any::<String>(), "[ -~]{0,4}", "[\u{e000}-\u{10ffff}]{0,3}"];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn it_is_what_an_independent_implementation_writes(value in values()) {
        let theirs = serde_json_canonicalizer::to_vec(&value).unwrap();
        prop_assert_eq!(text(&value), String::from_utf8(theirs).unwrap());
    }

    #[test]
    fn what_is_read_back_is_written_the_same(value in values()) {
        let first = text(&value);
        let again: Value = serde_json::from_str(&first).unwrap();
        prop_assert_eq!(text(&again), first);
    }
}
