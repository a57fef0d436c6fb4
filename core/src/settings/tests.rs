//! Values are taken, shown and refused as Redis does.

use super::*;

fn set(settings: &mut Settings, name: &str, value: &str) -> Result<SetOutcome, SettingError> {
    settings.set(Source::Runtime, name, &[value])
}

#[test]
fn the_defaults_are_what_the_fields_say() {
    let settings = Settings::default();
    assert_eq!((settings.port, settings.databases, settings.maxclients), (6379, 16, 10_000));
    assert_eq!(settings.bind, ["127.0.0.1", "-::1"]);
    assert_eq!(settings.proto_max_bulk_len, 512 << 20);
    assert_eq!(settings.get("proto-max-bulk-len"), Some("536870912"));
    let normal = OutputLimit { hard_bytes: 1 << 30, soft_bytes: 0, soft_seconds: 0 };
    assert_eq!(settings.client_output_buffer_limit.normal, normal);
    assert_eq!(settings.latency_tracking_info_percentiles, [50.0, 99.0, 99.9]);
    assert_eq!(settings.get("latency-tracking-info-percentiles"), Some("50 99 99.9"));
    assert_eq!(settings.requirepass, None);
    assert!(settings.changed().is_empty());
}

#[test]
fn every_default_is_valid_and_every_name_stands_once() {
    let mut names = Vec::new();
    for parameter in parameters() {
        names.push(parameter.name);
        names.extend((!parameter.alias.is_empty()).then_some(parameter.alias));
        if !parameter.default.is_empty() {
            let value = value::parse(parameter.form, &[parameter.default], &OutputLimits::default());
            assert!(value.is_ok(), "{}: {value:?}", parameter.name);
            let shown = value::show(parameter.form, &value.unwrap());
            let again = value::parse(parameter.form, &[&shown], &OutputLimits::default());
            assert!(again.is_ok(), "{} shows as {shown}", parameter.name);
        }
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count > 195, "{count}");
}

#[test]
fn numbers_are_taken_up_to_their_bounds() {
    let max = (i64::from(u32::MAX)).to_string();
    for (name, good, bad) in [
        ("maxclients", vec!["1", &max], vec!["0", "-1", "4294967296", "x", ""]),
        ("timeout", vec!["0", "2147483647"], vec!["-1", "2147483648", "1 "]),
        ("slowlog-log-slower-than", vec!["-1", "0", "9223372036854775807"], vec!["-2", "9223372036854775808"]),
        (
            "proto-max-bulk-len",
            vec!["1mb", "1048576", "536870912", "512mb"],
            vec!["1048575", "536870913", "1m", "1gbb"],
        ),
        ("client-query-buffer-limit", vec!["1048576", "1gb"], vec!["1048575", "-1"]),
        ("slowlog-max-len", vec!["0", "1"], vec!["-1"]),
        ("hz", vec!["0", "500"], vec!["-1"]),
        ("maxmemory", vec!["0", "18446744073709551615", "1k"], vec!["18446744073709551616", "1t", "kb"]),
    ] {
        let mut settings = Settings::default();
        for value in good {
            assert!(set(&mut settings, name, value).is_ok(), "{name} {value}");
        }
        for value in bad {
            let before = settings.get(name).unwrap().to_owned();
            assert!(matches!(set(&mut settings, name, value), Err(SettingError::Invalid(_))), "{name} {value}");
            assert_eq!(settings.get(name), Some(before.as_str()), "{name} {value}");
        }
    }
}

#[test]
fn units_are_binary_with_a_b_and_decimal_without() {
    for (text, expect) in [
        ("1", Some(1)),
        ("1b", Some(1)),
        ("1k", Some(1000)),
        ("1kb", Some(1024)),
        ("1M", Some(1_000_000)),
        ("1Mb", Some(1 << 20)),
        ("2g", Some(2_000_000_000)),
        ("2GB", Some(2 << 30)),
        ("", None),
        ("b", None),
        ("-1", None),
        ("1.5k", None),
        ("18446744073709551615gb", None),
    ] {
        assert_eq!(bytes(text), expect, "{text}");
    }
}

#[test]
fn output_limits_change_class_by_class() {
    let mut settings = Settings::default();
    set(&mut settings, "client-output-buffer-limit", "normal 1mb 2k 3").unwrap();
    settings.set(Source::File, "client-output-buffer-limit", &["replica", "0", "0", "0"]).unwrap();
    assert_eq!(
        settings.get("client-output-buffer-limit"),
        Some("normal 1048576 2000 3 slave 0 0 0 pubsub 33554432 8388608 60")
    );
    for (bad, text) in [
        ("normal 1 2", "Wrong number of arguments in buffer limit configuration."),
        ("normal 1 2 3 pubsub", "Wrong number of arguments in buffer limit configuration."),
        ("master 0 0 0", "Invalid client class specified in buffer limit configuration."),
        ("normal 0 0 -1", "Error in hard, soft or soft_seconds setting in buffer limit configuration."),
    ] {
        let error = set(&mut settings, "client-output-buffer-limit", bad).unwrap_err();
        assert_eq!(error.to_string(), text, "{bad}");
    }
    // An empty list changes no class.
    set(&mut settings, "client-output-buffer-limit", "").unwrap();
    assert!(settings.get("client-output-buffer-limit").unwrap().starts_with("normal 1048576 2000 3"));
    assert!(settings.set(Source::File, "client-output-buffer-limit", &[]).is_err());
}

#[test]
fn texts_are_those_of_redis() {
    let mut settings = Settings::default();
    for (name, value, text) in [
        ("nothing-like-it", "1", "Unknown option or number of arguments"),
        ("port", "1", "can't set immutable config"),
        ("latency-tracking", "maybe", "argument must be 'yes' or 'no'"),
        ("maxclients", "x", "argument couldn't be parsed into an integer"),
        ("timeout", "-1", "argument must be between 0 and 2147483647 inclusive"),
        ("maxmemory", "x", "argument must be a memory value"),
        ("loglevel", "x", "argument(s) must be one of the following: debug, verbose, notice, warning, nothing"),
        ("maxmemory-clients", "101%", "percentage argument must be less or equal to 100"),
        ("save", "1 2 3", "Invalid save parameters"),
        ("latency-tracking-info-percentiles", "a", "Invalid latency-tracking-info-percentiles parameters"),
        (
            "latency-tracking-info-percentiles",
            "100.1",
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        ),
    ] {
        assert_eq!(set(&mut settings, name, value).unwrap_err().to_string(), text, "{name}");
    }
}

#[test]
fn what_has_no_effect_says_why_and_is_still_shown() {
    let mut settings = Settings::default();
    let outcome = set(&mut settings, "slave-read-only", "no").unwrap();
    assert!(matches!(outcome, SetOutcome::Ignored { reason } if !reason.is_empty()));
    assert_eq!(settings.get("replica-read-only"), Some("no"));
    // What Cairn promises cannot be switched off, whoever asks.
    assert_eq!(set(&mut settings, "appendfsync", "always"), Ok(SetOutcome::Set));
    assert!(matches!(set(&mut settings, "appendfsync", "no"), Err(SettingError::Fixed(_))));
    assert!(matches!(settings.set(Source::File, "save", &["900", "1"]), Ok(SetOutcome::Ignored { .. })));
    assert_eq!((settings.get("appendfsync"), settings.get("save")), (Some("always"), Some("")));
    assert_eq!(set(&mut settings, "save", ""), Ok(SetOutcome::Set));
}

#[test]
fn values_know_where_they_come_from() {
    let mut settings = Settings::default();
    settings.set(Source::File, "PORT", &["7000"]).unwrap();
    settings.set(Source::Flag, "port", &["7001"]).unwrap();
    set(&mut settings, "timeout", "5").unwrap();
    assert_eq!((settings.source("port"), settings.port), (Some(Source::Flag), 7001));
    assert_eq!(settings.source("dir"), Some(Source::Default));
    assert_eq!(settings.changed(), [("port", "7001"), ("timeout", "5")]);
    assert_eq!(
        settings.matching(|name| name == "slave-priority" || name == "port"),
        [("port", "7001"), ("slave-priority", "100")]
    );
}

#[test]
fn a_password_is_never_kept_in_clear_text() {
    let mut settings = Settings::default();
    assert!(set(&mut settings, "requirepass", "secret").is_err());
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA";
    set(&mut settings, "requirepass", hash).unwrap();
    assert_eq!(settings.requirepass.as_deref(), Some(hash));
    set(&mut settings, "requirepass", "").unwrap();
    assert_eq!(settings.requirepass, None);
}

#[test]
fn directives_of_the_file_are_known_there_only() {
    let mut settings = Settings::default();
    assert!(settings.set(Source::File, "rename-command", &["CONFIG", ""]).is_ok());
    assert_eq!(set(&mut settings, "rename-command", "a b"), Err(SettingError::Unknown));
    assert_eq!(settings.get("rename-command"), None);
    assert!(settings.changed().is_empty());
    assert!(settings.matching(|_| true).iter().all(|(name, _)| *name != "user"));
}
