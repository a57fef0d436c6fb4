//! Rules of users, and what they come to.

use super::*;

fn changed(rules: &str) -> Result<String, String> {
    let fresh = Fresh::default();
    let rules = merge(rules.split(' ').map(str::as_bytes)).map_err(|first| String::from_utf8(first).unwrap())?;
    let mut user = User::new(b"u".to_vec(), fresh);
    for rule in &rules {
        user.apply(rule, fresh).map_err(|bad| format!("{}: {bad:?}", String::from_utf8_lossy(rule)))?;
    }
    Ok(String::from_utf8(user.text()).unwrap())
}

const SHA: &str = "34344e4d60c2b6d639b7bd22e18f2b0b91bc34bf0ac5f9952744435093cfb4ff";

#[test]
fn users_are_shown_as_redis_shows_them() {
    for (rules, expect) in [
        ("", "off sanitize-payload resetchannels -@all"),
        ("ON nopass ~* &* +@all", "on nopass sanitize-payload ~* &* +@all"),
        ("allkeys allchannels allcommands skip-sanitize-payload", "off skip-sanitize-payload ~* &* +@all"),
        ("~a ~b ~a %R~c %w~d %RW~e %R~d", "off sanitize-payload ~a ~b %R~c ~d ~e resetchannels -@all"),
        ("&a &b &a", "off sanitize-payload resetchannels &a &b -@all"),
        ("+@all -get -@write +set", "off sanitize-payload resetchannels +@all -get -@write +set"),
        ("+get +set +get", "off sanitize-payload resetchannels -@all +set +get"),
        ("+config|get +config|set -config", "off sanitize-payload resetchannels -@all -config"),
        ("+config +config|get +CONFIG|SET", "off sanitize-payload resetchannels -@all +config +config|get +config|set"),
        ("+select|0 +select|1", "off sanitize-payload resetchannels -@all +select|0 +select|1"),
        ("+@READ -@all +ping", "off sanitize-payload resetchannels -@all +ping"),
        (
            "~a (%R~b +get) (+@all ~*) on",
            "on sanitize-payload ~a resetchannels -@all (%R~b resetchannels -@all +get) (~* resetchannels +@all)",
        ),
        ("(+get) clearselectors", "off sanitize-payload resetchannels -@all"),
        ("on nopass ~* &* +@all (+get) reset", "off sanitize-payload resetchannels -@all"),
        (&format!("nopass #{SHA} #{SHA}"), &format!("off sanitize-payload #{SHA} resetchannels -@all")),
        (&format!("#{SHA} !{SHA}"), "off sanitize-payload resetchannels -@all"),
        (
            "#$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA",
            "off sanitize-payload #$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA resetchannels -@all",
        ),
    ] {
        assert_eq!(changed(rules).as_deref(), Ok(expect), "{rules}");
    }
}

#[test]
fn what_is_shown_makes_the_same_user() {
    for rules in [
        "on ~a %R~b &c +@all -@admin +config|get (+get ~x) (%W~y -@all +set)",
        "off -@all +@read +select|1 allkeys",
        "%RW~* ~a %R~b ~c) (~d %RW~*)",
    ] {
        let shown = changed(rules).unwrap();
        assert_eq!(changed(&shown).unwrap(), shown);
    }
}

#[test]
fn wrong_rules_are_refused_as_redis_refuses_them() {
    for (rules, expect) in [
        ("foo", "foo: Syntax"),
        ("+foo", "+foo: Unknown"),
        ("-foo|bar", "-foo|bar: Unknown"),
        ("+@foo", "+@foo: Unknown"),
        ("+config|foo", "+config|foo: Unknown"),
        ("+config|get|x", "+config|get|x: FirstArgOfSubcommand"),
        ("+config|", "+config|: Syntax"),
        ("-select|1", "-select|1: Unknown"),
        ("~* ~a", "~a: PatternAfterAllKeys"),
        ("allkeys %R~a", "%R~a: PatternAfterAllKeys"),
        ("&* &a", "&a: PatternAfterAllChannels"),
        ("%X~a", "%X~a: Syntax"),
        ("%RR~a", "%RR~a: Syntax"),
        ("%~a", "%~a: Syntax"),
        ("#abc", "#abc: Hash"),
        ("!abc", "!abc: Hash"),
        (&format!("!{SHA}"), &format!("!{SHA}: NoSuchPassword")),
        (&format!("#{}", SHA.to_uppercase()), &format!("#{}: Hash", SHA.to_uppercase())),
        ("(+foo)", "(+foo): Unknown"),
        ("(on)", "(on): Syntax"),
        ("+get (+set ~a", "(+set"),
        (">password", ">password: ClearPassword"),
    ] {
        assert_eq!(changed(rules), Err(expect.to_owned()), "{rules}");
    }
}

#[test]
fn a_selector_that_no_file_could_hold_is_refused() {
    let mut user = User::new(b"u".to_vec(), Fresh::default());
    for rule in ["(~a) +get)", "(~a))"] {
        assert_eq!(user.apply(rule.as_bytes(), Fresh::default()), Err(Bad::Syntax), "{rule}");
    }
}

#[test]
fn passwords_have_a_bound() {
    let rules: Vec<String> = (0..=PASSWORDS_MAX).map(|n| format!("#{n:064x}")).collect();
    assert!(changed(&rules[1..].join(" ")).is_ok());
    assert!(changed(&rules.join(" ")).unwrap_err().ends_with("TooManyPasswords"));
}
