use super::*;

fn platform(text: &str) -> Platform {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn every_spelling_is_one_platform() {
    for (written, canonical) in [
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/amd64", "linux/amd64"),
        ("Linux/AMD64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("arm", "linux/arm/v7"),
        ("armhf", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("i386", "linux/386"),
        ("linux/i686", "linux/386"),
        ("macos/arm64", "darwin/arm64"),
        ("linux/s390x", "linux/s390x"),
        ("linux/riscv64", "linux/riscv64"),
    ] {
        assert_eq!(platform(written).to_string(), canonical, "{written}");
        assert_eq!(platform(canonical), platform(written));
    }
}

#[test]
fn what_is_no_platform_is_told_in_words() {
    for (text, words) in [
        ("", "'' is no operating system, architecture or variant"),
        ("linux", "'linux' is no platform such as linux/amd64 or linux/arm64/v8"),
        ("linux/", "'' is no operating system, architecture or variant"),
        ("linux/amd64/v1/x", "'linux/amd64/v1/x' is no platform such as linux/amd64 or linux/arm64/v8"),
        ("linux/am d64", "'am d64' is no operating system, architecture or variant"),
        ("linux/\x1b[1m", "'\u{fffd}[1m' is no operating system, architecture or variant"),
    ] {
        assert_eq!(text.parse::<Platform>().unwrap_err().to_string(), words, "{text:?}");
    }
    assert!(format!("linux/{}", "a".repeat(65)).parse::<Platform>().is_err());
}

#[test]
fn a_later_variant_runs_what_was_made_for_an_earlier_one() {
    for (own, other, runs) in [
        ("linux/amd64", "linux/amd64", true),
        ("linux/amd64", "linux/amd64/v1", true),
        ("linux/amd64", "linux/amd64/v2", false),
        ("linux/amd64/v3", "linux/amd64/v2", true),
        ("linux/amd64/v3", "linux/amd64", true),
        ("linux/amd64", "linux/386", false),
        ("linux/arm64", "linux/arm64/v8", true),
        ("linux/arm64", "linux/arm64/v9", false),
        ("linux/arm64", "linux/arm64/v8.1", false),
        ("linux/arm64/v9", "linux/arm64", true),
        ("linux/arm64/v8.5", "linux/arm64/v8.2", true),
        ("linux/arm64", "linux/arm/v7", false),
        ("linux/arm/v7", "linux/arm/v6", true),
        ("linux/arm/v6", "linux/arm/v7", false),
        ("linux/amd64", "windows/amd64", false),
        ("linux/ppc64le", "linux/ppc64le/power9", false),
        ("linux/amd64", "linux/amd64/v999", false),
    ] {
        assert_eq!(platform(own).runs(&platform(other)).is_some(), runs, "{own} {other}");
    }
    let best = |own: &str, others: [&str; 3]| {
        others.into_iter().max_by_key(|other| platform(own).runs(&platform(other))).unwrap().to_owned()
    };
    assert_eq!(best("linux/arm/v7", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"]), "linux/arm/v7");
    assert_eq!(best("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"]), "linux/amd64/v2");
}

#[test]
fn this_machine_runs_its_own() {
    let host = Platform::host();
    assert_eq!(host.os, "linux");
    assert!(host.runs(&host).is_some());
    #[cfg(target_arch = "x86_64")]
    assert_eq!(host.to_string(), "linux/amd64");
    #[cfg(target_arch = "aarch64")]
    assert_eq!(host.to_string(), "linux/arm64");
}

#[test]
fn json_is_kept_as_it_was_written() {
    let json = r#"{"architecture":"arm64","os":"linux","variant":"v8"}"#;
    let platform: Platform = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&platform).unwrap(), json);
    let nothing: Platform = serde_json::from_str(r#"{"architecture":"","os":"","os.version":"10"}"#).unwrap();
    assert_eq!(nothing.to_string(), "unknown/unknown");
    assert!(serde_json::from_str::<Platform>(r#"{"architecture":"a\nb","os":"linux"}"#).is_err());
}
