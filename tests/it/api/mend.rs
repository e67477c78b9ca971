//! Lenient JSON: what is mended, what stays byte for byte, what is refused with its place.

use proptest::prelude::*;
use serde_json::value::RawValue;
use trends_earth::json::mend::{MAX_LEVELS, MAX_VALUES, mend};

fn mended(text: &str) -> String {
    let out = mend(text.as_bytes(), MAX_VALUES).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert!(serde_json::from_str::<&RawValue>(&out).is_ok(), "{out}");
    assert_eq!(mend(out.as_bytes(), MAX_VALUES).as_ref(), Ok(&out), "mending again changes nothing");
    out
}

#[test]
fn what_python_writes_is_mended() {
    let long = "9".repeat(401);
    for (text, expected) in [
        ("NaN", "null"),
        ("[NaN,Infinity, -Infinity ]", "[null,null, null ]"),
        (r#"{"a":NaN}"#, r#"{"a":null}"#),
        (r#""a\u0000b""#, r#""a\ufffdb""#),
        (r#"{"k\u0000":1}"#, r#"{"k\ufffd":1}"#),
        ("\"a\0b\"", "\"a\u{fffd}b\""),
        (r#""\ud83d\ude00 \uD83D\uDE00""#, r#""\ud83d\ude00 \uD83D\uDE00""#),
        (r#""\ud83d""#, r#""\ufffd""#),
        (r#""\ud83dx""#, r#""\ufffdx""#),
        (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
        (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
        (r#""\ud83d\u0000""#, r#""\ufffd\ufffd""#),
        (r#""\\u0000 \\ud800""#, r#""\\u0000 \\ud800""#),
        ("1e131071", "null"),
        ("[1e401,-1E+401,1e-401,1.5e99999999999999999999999]", "[null,null,null,null]"),
        ("[1e400,1e-400,1e0400,0e0]", "[1e400,1e-400,1e0400,0e0]"),
        (&long, "null"),
        (&format!("-{}.5", &long[1..]), "null"),
        (&long[1..], &long[1..]),
        ("\u{feff}{}", "{}"),
    ] {
        assert_eq!(mended(text), expected, "{text}");
    }
    assert_eq!(mend(b"\"a\xff\xfeb\"", MAX_VALUES).unwrap(), "\"a\u{fffd}\u{fffd}b\"");
}

#[test]
fn what_is_good_stays_byte_for_byte() {
    for text in [
        " {\"b\" : 1.50 , \"a\":\t[ ] ,\r\n\"b\":{}} \n",
        "[12345678901234567890.123456789012345678901234567890, -0, -0.0, 1E+5, 1e-07]",
        r#""é \u00e9 \" \\ \/ \b\f\n\r\t NaN Infinity 1e999999""#,
        "true",
        "null",
        "\"\"",
        "0",
    ] {
        assert_eq!(mended(text), text);
    }
}

#[test]
fn what_is_no_json_is_refused_with_line_and_column() {
    for (text, expected) in [
        ("", "line 1, column 1: it ends where a value is expected"),
        ("  \n ", "line 2, column 2: it ends where a value is expected"),
        ("{", "line 1, column 2: it ends where a key in double quotes is expected"),
        ("{\"a\":1,}", "line 1, column 8: a key in double quotes is expected, not `}`"),
        ("[1,]", "line 1, column 4: a value is expected, not `]`"),
        ("[1 2]", "column 4: `,` or `]` is expected, not `2`"),
        ("{\"é\" 1}", "line 1, column 6: `:` is expected, not `1`"),
        ("{\"a\":1\n \"b\":2}", "line 2, column 2: `,` or `}` is expected, not `\"`"),
        ("[1}", "`,` or `]` is expected, not `}`"),
        ("{a:1}", "a key in double quotes is expected, not `a`"),
        ("{'a':1}", "a key in double quotes is expected, not `'`"),
        ("{NaN:1}", "a key in double quotes"),
        ("{} x", "line 1, column 4: something stands behind the document"),
        ("{}{}", "something stands behind the document"),
        ("nul", "a value is expected, not `n`"),
        ("NaNa", "a value is expected, not `N`"),
        ("nullx", "a value is expected, not `n`"),
        ("-NaN", "a digit is expected, not `N`"),
        ("+1", "a value is expected, not `+`"),
        ("01", "the end of the number is expected, not `1`"),
        ("1.", "it ends where a digit is expected"),
        (".5", "a value is expected, not `.`"),
        ("1e", "it ends where a digit is expected"),
        ("1e5.5", "the end of the number"),
        ("-", "it ends where a digit is expected"),
        ("0x10", "the end of the number is expected, not `x`"),
        ("\"abc", "line 1, column 1: a string that does not end"),
        ("\"a\nb\"", "column 3: a control character in a string, which must be escaped"),
        ("\"\\x41\"", "an escape that JSON does not have"),
        ("\"\\u12\"", "four hexadecimal digits"),
        ("\"\\u+123\"", "four hexadecimal digits"),
        ("\"\\u00é\"", "four hexadecimal digits"),
        ("\"\\", "an escape"),
        ("[\u{a0}1]", "a value is expected, not \\u{a0}"),
        ("\0", "a value is expected, not \\u{0}"),
        ("/* x */ 1", "a value is expected, not `/`"),
        ("True", "a value is expected, not `T`"),
    ] {
        let error = mend(text.as_bytes(), MAX_VALUES).expect_err(text).to_string();
        assert!(error.starts_with("The JSON is not valid at line ") && error.contains(expected), "{text}: {error}");
    }
    assert!(mend(b"\xff", MAX_VALUES).is_err());
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert_eq!(mended(&deep(MAX_LEVELS)), deep(MAX_LEVELS));
    assert!(
        mend(deep(MAX_LEVELS + 1).as_bytes(), MAX_VALUES).unwrap_err().to_string().contains("more than 128 levels")
    );
    assert!(mend("[".repeat(10_000_000).as_bytes(), MAX_VALUES).is_err());
    assert!(mend("{\"a\":".repeat(1_000_000).as_bytes(), MAX_VALUES).is_err());

    let many = |n: usize| format!("[{}]", vec!["0"; n].join(","));
    assert!(mend(many(MAX_VALUES - 1).as_bytes(), MAX_VALUES).is_ok());
    let error = mend(many(MAX_VALUES).as_bytes(), MAX_VALUES).unwrap_err().to_string();
    assert!(error.contains("more than 1000000 values"), "{error}");
}

fn any_json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        any::<String>().prop_map(|s| serde_json::to_string(&s.replace('\0', "")).unwrap()),
    ];
    let blank = "[ \t\r\n]{0,2}";
    (scalar, blank).prop_map(|(value, blank)| format!("{blank}{value}{blank}")).prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec(("[a-c]{0,2}", inner), 0..6).prop_map(|items| {
                let items: Vec<String> = items.into_iter().map(|(key, value)| format!("\"{key}\" :{value}")).collect();
                format!("{{ {}}}", items.join(","))
            }),
        ]
    })
}

fn any_tokens() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        "[\\[\\]{},:\" ]",
        "(NaN|-?Infinity|null|true|-?[0-9]{1,3}(\\.[0-9])?(e[+-]?[0-9]{1,4})?)",
        "\"(\\\\u(0000|d83d|de00|00e9)|\\\\[nt\"\\\\]|[a-z\\x00é])*\"",
        any::<String>(),
    ];
    proptest::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn good_json_stays_byte_for_byte(text in any_json()) {
        prop_assume!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        let mended = mend(text.as_bytes(), MAX_VALUES);
        prop_assert_eq!(mended.as_deref(), Ok(text.as_str()));
    }

    #[test]
    fn what_comes_out_is_strict_json_and_stays_as_it_is(text in any_tokens()) {
        if let Ok(out) = mend(text.as_bytes(), MAX_VALUES) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok() || out.contains('e'), "{}", out);
            prop_assert!(serde_json::from_str::<&RawValue>(&out).is_ok(), "{}", out);
            prop_assert!(!out.contains("\\u0000") || out.contains("\\\\u0000"));
            let again = mend(out.as_bytes(), MAX_VALUES);
            prop_assert_eq!(again.as_deref(), Ok(out.as_str()));
        } else {
            // It never refuses what a strict parser takes.
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_err(), "{}", text);
        }
    }

    #[test]
    fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(out) = mend(&bytes, MAX_VALUES) {
            prop_assert!(serde_json::from_str::<&RawValue>(&out).is_ok());
        }
    }
}
