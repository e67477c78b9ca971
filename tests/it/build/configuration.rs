//! `configuration.json`: what is read, what is refused, and slugs and limits made of it.

use trends_earth::{
    build::configuration::{Caps, Configuration, slug},
    engine::{Limits, Network},
};

fn parse(text: &str) -> Result<Configuration, String> {
    Configuration::parse(text.as_bytes()).map_err(|reject| {
        assert_eq!(reject.code, "invalid_configuration");
        reject.detail
    })
}

fn with(rest: &str) -> Result<Configuration, String> {
    parse(&format!(r#"{{"name":"x",{rest}}}"#))
}

#[test]
fn slugs_are_made_as_the_contract_says() {
    for (name, expected) in [
        ("My Script 1_0", "my-script-1-0"),
        ("It's 5.1", "it-s-5-1"),
        ("Straße", "strasse"),
        ("日本", "ri-ben"),
        ("1,000 x", "1000-x"),
        ("1,5,7", "157"),
        ("a, b", "a-b"),
        ("1, 2", "1-2"),
        ("R&amp;D", "r-d"),
        ("&#65;bc", "abc"),
        ("&#x41;bc", "abc"),
        ("Índice Ñandú 2", "indice-nandu-2"),
        ("Область", "oblast"),
        ("--a--b--", "a-b"),
        ("sdg-15-3-1-sub-indicators 2_3_2", "sdg-15-3-1-sub-indicators-2-3-2"),
        ("½ tree", "1-2-tree"),
        ("!!!", ""),
        ("", ""),
    ] {
        assert_eq!(slug(name), expected, "{name}");
    }
}

#[test]
fn a_configuration_is_read_with_every_key_that_it_has() {
    let all = parse(
        r#"{"name":"Vegetation index 1_0","id":"ignored","description":5,"cpu_reservation":1000,"cpu_limit":"5000",
        "memory_reservation":1e8,"memory_limit":2000000000,"environment":"trends.earth-environment",
        "environment_version":"2.1.17","compute_type":"batch","batch_job_definition":"d","batch_job_queue":"q",
        "batch_image":"img","uses_gee":false,"openeo_backend_url":"https://openeo.example.org/1.2","timeout_s":600,
        "network":"none","max_processes":8,"max_file_bytes":1048576,
        "params_schema":{"type": "object"},"retry":0}"#,
    )
    .unwrap();
    assert_eq!(
        (all.slug.as_str(), all.cpu_limit, all.memory_reservation),
        ("vegetation-index-1-0", Some(5000), Some(100_000_000))
    );
    assert_eq!(all.compute_type.as_deref(), Some("batch"));
    assert_eq!(all.params_schema.as_deref(), Some(r#"{"type": "object"}"#));
    assert_eq!((all.uses_gee, all.network, all.retry), (false, Some(Network::None), Some(0)));
}

#[test]
fn what_is_not_said_is_left_to_the_default() {
    for text in [
        r#"{"name":"x"}"#,
        "\u{feff}{\"name\":\"x\"}",
        r#"{"name":"x","cpu_limit":null,"uses_gee":null,"batch_image":""}"#,
    ] {
        let little = parse(text).unwrap();
        assert_eq!((little.cpu_limit, little.uses_gee, &little.batch_image), (None, true, &None));
        assert_eq!(
            little.limits(&Caps::default()),
            Limits {
                cpu_nanos: 500_000_000,
                memory_bytes: 1_000_000_000,
                timeout_s: 259_200,
                max_processes: 256,
                max_file_bytes: 10 << 30,
                scratch_bytes: 2 << 30,
                network: Network::Https,
            }
        );
    }
}

#[test]
fn limits_stay_within_what_the_settings_allow() {
    let asked = with(
        r#""cpu_limit":64000000000,"memory_limit":999999999999,"timeout_s":9999999,"network":"full","max_processes":30000,"max_file_bytes":9999999999999"#,
    )
    .unwrap();
    let mut caps = Caps {
        timeout_max_s: 100,
        cpu_max: 2_000_000_000,
        memory_max: 4 << 30,
        processes_max: 300,
        file_bytes_max: 1 << 30,
        ..Caps::default()
    };
    let limits = asked.limits(&caps);
    assert_eq!((limits.cpu_nanos, limits.memory_bytes, limits.timeout_s), (2_000_000_000, 4 << 30, 100));
    assert_eq!((limits.max_processes, limits.max_file_bytes, limits.network), (300, 1 << 30, Network::Https));
    caps.allow_full = true;
    assert_eq!(asked.limits(&caps).network, Network::Full);

    let tiny = with(r#""cpu_limit":1,"memory_limit":1"#).unwrap().limits(&caps);
    assert!(tiny.cpu_nanos >= 10_000_000 && tiny.memory_bytes >= 32 << 20, "an interpreter must start");
}

#[test]
fn a_name_is_judged_in_the_contract_s_words() {
    for text in ["{}", r#"{"name":null}"#, r#"{"name":""}"#, r#"{"environment":"e"}"#] {
        assert_eq!(parse(text).unwrap_err(), "Script configuration must include a 'name'");
    }
    for text in [r#"{"name":"!!!"}"#, r#"{"name":"   "}"#] {
        assert_eq!(parse(text).unwrap_err(), "Cannot generate valid slug from script name");
    }
    let long = |n: usize| parse(&format!(r#"{{"name":"{}"}}"#, "L".repeat(n)));
    assert!(long(80).is_ok());
    assert!(long(81).unwrap_err().contains("slug of 81 characters"));
    assert!(long(121).unwrap_err().contains("1 to 120 characters"));
    // 120 characters, not bytes.
    assert!(parse(&format!(r#"{{"name":"a{}"}}"#, "'".repeat(119))).is_ok());
}

#[test]
fn a_bad_value_is_refused_with_a_sentence_that_names_key_value_and_what_is_right() {
    let right_number = "a whole number of bytes from 1 to 70368744177664";
    for (rest, sentence) in [
        (r#""memory_limit":0"#, format!("memory_limit in configuration.json is 0; it must be {right_number}.")),
        (r#""memory_limit":-5"#, format!("is -5; it must be {right_number}")),
        (r#""memory_limit":"-5""#, right_number.into()),
        (r#""memory_limit":"""#, right_number.into()),
        (r#""memory_limit":"1 GB""#, r#"is "1 GB"; it must be"#.into()),
        (r#""memory_limit":1.5"#, right_number.into()),
        (r#""memory_limit":true"#, right_number.into()),
        (r#""memory_limit":[1]"#, right_number.into()),
        (r#""memory_limit":1e300"#, right_number.into()),
        (r#""memory_limit":99999999999999999999999999"#, right_number.into()),
        (r#""cpu_limit":2000000000000"#, "nano-CPUs (1000000000 is one core) from 1 to 1024000000000".into()),
        (r#""cpu_reservation":0"#, "cpu_reservation".into()),
        (r#""memory_reservation":0"#, "memory_reservation".into()),
        (r#""cpu_limit":5,"cpu_reservation":6"#, "more than cpu_limit".into()),
        (r#""memory_limit":5,"memory_reservation":6"#, "more than memory_limit".into()),
        (r#""timeout_s":0"#, "seconds from 1 to".into()),
        (r#""timeout_s":999999999"#, "seconds".into()),
        (r#""max_processes":0"#, "processes".into()),
        (r#""max_file_bytes":-1"#, "bytes".into()),
        (r#""retry":6"#, "from 0 to 5".into()),
        (r#""network":"lan""#, r#"is "lan"; it must be one of "none", "https", "full"."#.into()),
        (r#""network":false"#, "network".into()),
        (r#""compute_type":"mainframe""#, r#"one of "gee", "batch", "openeo""#.into()),
        (r#""uses_gee":"yes""#, "true or false".into()),
        (r#""uses_gee":1"#, "true or false".into()),
        (r#""environment":5"#, "a text".into()),
        (r#""environment":"a b; rm -rf""#, "letters, digits".into()),
        (r#""environment_version":2.1"#, "is 2.1; it must be a text".into()),
        (r#""batch_image":{}"#, "a text".into()),
        (r#""batch_image":"a\nb""#, "one line".into()),
        (r#""openeo_backend_url":"http://openeo.example.org""#, "https://".into()),
        (r#""openeo_backend_url":"https://u:p@openeo.example.org""#, "without a user name".into()),
        (r#""openeo_backend_url":"openeo""#, "https://".into()),
        (r#""params_schema":[]"#, "a JSON Schema".into()),
        (r#""params_schema":"x""#, "a JSON Schema".into()),
    ] {
        let detail = with(rest).expect_err(rest);
        assert!(detail.contains(&sentence), "{rest}: {detail}");
        assert!(detail.len() < 300);
    }
    let deep = format!(r#""params_schema":{{"a":{}1{}}}"#, "[".repeat(1000), "]".repeat(1000));
    assert!(with(&deep).unwrap_err().contains("128 levels"));
    let large = format!(r#""params_schema":{{"a":"{}"}}"#, "a".repeat(65_536));
    assert!(with(&large).unwrap_err().contains("at most 65536"));
    assert!(parse(r#"{"name":5}"#).unwrap_err().contains("is 5; it must be a text of 1 to 120"));
    assert!(parse(r#"{"name":"a\nb"}"#).unwrap_err().contains("one line"));
    assert!(parse(r#"{"name":"a\u0000b"}"#).unwrap_err().contains("one line"));
    assert!(parse(r#"{"name":"\ud800"}"#).unwrap_err().contains("a text"));
}

#[test]
fn what_is_no_json_object_is_refused_with_its_place() {
    for (text, sentence) in [
        ("", "not valid JSON: EOF"),
        ("{bad", "at line 1 column 2"),
        ("{", "not valid JSON"),
        ("[]", "must hold a JSON object"),
        ("\"x\"", "must hold a JSON object"),
        ("{\"name\":\"x\"} x", "trailing characters"),
    ] {
        let detail = parse(text).expect_err(text);
        assert!(detail.contains(sentence), "{text}: {detail}");
    }
    assert!(Configuration::parse(b"{\"name\":\"\xff\"}").is_err());
}
