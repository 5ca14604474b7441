use super::*;
use proptest::prelude::*;

const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn every_spelling_of_a_name_is_one_value() {
    let pinned = |name: &str| format!("{name}@{DIGEST}");
    // As written, in full, as people write it.
    #[rustfmt::skip]
    let table = [
        ("debian", "docker.io/library/debian:latest", "debian"),
        ("debian:bookworm-slim", "docker.io/library/debian:bookworm-slim", "debian:bookworm-slim"),
        ("library/debian", "docker.io/library/debian:latest", "debian"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian"),
        ("docker.io/library/debian:latest", "docker.io/library/debian:latest", "debian"),
        ("index.docker.io/library/debian", "docker.io/library/debian:latest", "debian"),
        ("Docker.IO/debian", "docker.io/library/debian:latest", "debian"),
        ("owner/image", "docker.io/owner/image:latest", "owner/image"),
        ("owner/group/image:1.0", "docker.io/owner/group/image:1.0", "owner/group/image:1.0"),
        ("library/owner/image", "docker.io/library/owner/image:latest", "library/owner/image"),
        ("localhost", "docker.io/library/localhost:latest", "localhost"),
        ("localhost/image", "localhost/image:latest", "localhost/image"),
        ("localhost:5000/image:x", "localhost:5000/image:x", "localhost:5000/image:x"),
        ("LOCALHOST:5000/image", "localhost:5000/image:latest", "localhost:5000/image"),
        ("registry.example.com/image", "registry.example.com/image:latest", "registry.example.com/image"),
        ("Registry.Example.com:0443/a/b:T_1", "registry.example.com:443/a/b:T_1", "registry.example.com:443/a/b:T_1"),
        ("example.com/debian:latest", "example.com/debian:latest", "example.com/debian"),
        ("host:1/image", "host:1/image:latest", "host:1/image"),
        ("host:65535/image", "host:65535/image:latest", "host:65535/image"),
        ("192.0.2.1:5000/image", "192.0.2.1:5000/image:latest", "192.0.2.1:5000/image"),
        ("[2001:DB8::1]:5000/image", "[2001:db8::1]:5000/image:latest", "[2001:db8::1]:5000/image"),
        ("[::1]/image", "[::1]/image:latest", "[::1]/image"),
        ("a", "docker.io/library/a:latest", "a"),
        ("a.b", "docker.io/library/a.b:latest", "a.b"),
        ("a.b:5000", "docker.io/library/a.b:5000", "a.b:5000"),
        ("a__b", "docker.io/library/a__b:latest", "a__b"),
        ("a-----b", "docker.io/library/a-----b:latest", "a-----b"),
        ("xn--7o8h.com/image", "xn--7o8h.com/image:latest", "xn--7o8h.com/image"),
        ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c"),
        ("docker.io/localhost/c", "docker.io/localhost/c:latest", "docker.io/localhost/c"),
        ("image:_", "docker.io/library/image:_", "image:_"),
        ("image:A.b-C_9", "docker.io/library/image:A.b-C_9", "image:A.b-C_9"),
    ];
    for (written, full, familiar) in table {
        let parsed: Reference = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(parsed.to_string(), full, "{written}");
        assert_eq!(parsed.familiar(), familiar, "{written}");
        assert_eq!(full.parse(), Ok(parsed.clone()));
        assert_eq!(familiar.parse(), Ok(parsed));
        // With a digest, no tag is made up.
        let parsed: Reference = pinned(written).parse().unwrap();
        let has_tag = written.rsplit('/').next().unwrap().contains(':');
        let expected = if has_tag { full } else { full.strip_suffix(":latest").unwrap() };
        assert_eq!(parsed.to_string(), pinned(expected), "{written}");
        assert_eq!(parsed.digest().unwrap().to_string(), DIGEST);
        assert_eq!(parsed.familiar().parse(), Ok(parsed));
    }
}

/// As `docker run` takes an id.
#[test]
fn digits_alone_are_a_digest() {
    let digits = "0123456789abcdef".repeat(4);
    let parsed: Reference = digits.parse().unwrap();
    assert_eq!(parsed.bare_digest(), Some(&*digits));
    assert_eq!(parsed.familiar(), format!("sha256:{digits}"));
    assert_eq!(parsed, format!("sha256:{digits}").parse().unwrap());
    // A name like any other where it has a place.
    for name in [&digits[1..], &format!("a/{digits}"), &format!("localhost/{digits}")] {
        assert!(name.parse::<Reference>().unwrap().familiar().contains(name), "{name}");
    }
    let pinned = format!("{digits}@{DIGEST}").parse::<Reference>().unwrap_err();
    assert_eq!(pinned.mistake, Mistake::Digits);
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let long = "a".repeat(256);
    let digits = "0123456789abcdef".repeat(4) + ":1";
    let tag = format!("a:{}", "t".repeat(129));
    let part = "a/".repeat(100) + &"b".repeat(56);
    #[rustfmt::skip]
    let table = [
        ("", "The name of an image is missing, at character 1"),
        ("https://example.com/a", "An image is named without 'http://' or 'https://', at character 1"),
        ("HTTP://example.com/a", "An image is named without 'http://' or 'https://', at character 1"),
        ("/a", "A part of the repository is missing, at character 1"),
        ("a/", "A part of the repository is missing, at character 3"),
        ("a//b", "A part of the repository is missing, at character 3"),
        ("example.com/", "A part of the repository is missing, at character 13"),
        (":tag", "A part of the repository is missing, at character 1"),
        ("a:", "'' is not a tag: letters, digits and '_', after the first also '.' and '-', at character 3"),
        ("a:-b", "'-b' is not a tag: letters, digits and '_', after the first also '.' and '-', at character 3"),
        ("a:.b", "'.b' is not a tag: letters, digits and '_', after the first also '.' and '-', at character 3"),
        ("a:b:c", "'b:c' is not a tag: letters, digits and '_', after the first also '.' and '-', at character 4"),
        ("a:b/c", "'b' is not a port, at character 3"),
        ("x/a:b/c", "'b/c' is not a tag: letters, digits and '_', after the first also '.' and '-', at character 6"),
        ("a:ü", "'ü' is not a tag: letters, digits and '_', after the first also '.' and '-', at character 3"),
        ("Debian", "A repository is in lower case, so without 'D', at character 1"),
        ("dEbian", "A repository is in lower case, so without 'E', at character 2"),
        ("owner/Image", "A repository is in lower case, so without 'I', at character 7"),
        ("Owner/image", "'Owner' is a host or an owner: write a host with its port, an owner in lower case, at character 1"),
        ("a b", "A repository has letters, digits, '.', '_', '-' and '/', but not ' ', at character 2"),
        ("a\n", "A repository has letters, digits, '.', '_', '-' and '/', but not '\u{fffd}', at character 2"),
        ("ä", "A repository has letters, digits, '.', '_', '-' and '/', but not 'ä', at character 1"),
        ("a\0b", "A repository has letters, digits, '.', '_', '-' and '/', but not '\u{fffd}', at character 2"),
        ("a..b", "'.' stands between letters or digits in a repository, '.' alone and '_' at most twice, at character 2"),
        ("a___b", "'_' stands between letters or digits in a repository, '.' alone and '_' at most twice, at character 2"),
        ("a._b", "'.' stands between letters or digits in a repository, '.' alone and '_' at most twice, at character 2"),
        ("-a", "'-' stands between letters or digits in a repository, '.' alone and '_' at most twice, at character 1"),
        ("a-", "'-' stands between letters or digits in a repository, '.' alone and '_' at most twice, at character 2"),
        ("a/.b", "'.' stands between letters or digits in a repository, '.' alone and '_' at most twice, at character 3"),
        ("a/..", "'.' stands between letters or digits in a repository, '.' alone and '_' at most twice, at character 3"),
        ("../a", "'..' is not the host of a registry, at character 1"),
        ("./a", "'.' is not the host of a registry, at character 1"),
        ("-a.com/b", "'-a.com' is not the host of a registry, at character 1"),
        ("a_b.com/b", "'a_b.com' is not the host of a registry, at character 1"),
        ("a..com/b", "'a..com' is not the host of a registry, at character 1"),
        ("user:secret@example.com/a", "'example.com/a' is no digest such as sha256:…, at character 13"),
        ("127.1/a", "'127.1' is not the host of a registry, at character 1"),
        ("2130706433:80/a", "'2130706433:80' is not the host of a registry, at character 1"),
        ("0x7f.1/a", "'0x7f.1' is not the host of a registry, at character 1"),
        ("1.2.3.256/a", "'1.2.3.256' is not the host of a registry, at character 1"),
        ("[::1/a", "'[::1' is not the host of a registry, at character 1"),
        ("[::1]x:1/a", "'[::1]x:1' is not the host of a registry, at character 1"),
        ("[fe80::1%eth0]:1/a", "'[fe80::1%eth0]:1' is not the host of a registry, at character 1"),
        ("::1/a", "'::1' is not the host of a registry, at character 1"),
        ("host:/a", "'' is not a port, at character 6"),
        ("host:0/a", "'0' is not a port, at character 6"),
        ("host:+5/a", "'+5' is not a port, at character 6"),
        ("host:65536/a", "'65536' is not a port, at character 6"),
        ("host:1:2/a", "'1:2' is not a port, at character 6"),
        ("a@", "'' is no digest such as sha256:…, at character 3"),
        ("ab@sha256:12", "A digest of sha256 has 64 hexadecimal digits, not 2, at character 4"),
        ("@sha256:12", "A digest of sha256 has 64 hexadecimal digits, not 2, at character 2"),
        ("a@md5:12", "The digest's algorithm 'md5' is neither sha256 nor sha512, at character 3"),
        (&long, "A repository has at most 255 bytes, at character 1"),
        (&part, "A repository has at most 255 bytes, at character 1"),
        (&digits, "64 hexadecimal digits are the name of no repository, at character 1"),
        (&tag, "A tag has at most 128 characters, at character 131"),
    ];
    for (written, words) in table {
        let parsed = written.parse::<Reference>();
        assert_eq!(parsed.map_err(|error| error.to_string()), Err(words.to_owned()), "{written:?}");
    }
    assert_eq!("a".repeat(1025).parse::<Reference>().unwrap_err().mistake, Mistake::TooLong);
    assert_eq!(
        format!("@{DIGEST}").parse::<Reference>().unwrap_err().to_string(),
        "A part of the repository is missing, at character 1"
    );
}

#[test]
fn the_default_registry_answers_elsewhere() {
    let debian: Reference = "debian".parse().unwrap();
    assert_eq!((debian.registry(), debian.endpoint()), ("docker.io", "registry-1.docker.io"));
    let other: Reference = "example.com:5000/debian".parse().unwrap();
    assert_eq!(other.endpoint(), other.registry());
}

#[test]
fn a_name_is_pinned_and_tagged() {
    let debian: Reference = "debian:12".parse().unwrap();
    let pinned = debian.pinned(DIGEST.parse().unwrap());
    assert_eq!(pinned.to_string(), format!("docker.io/library/debian:12@{DIGEST}"));
    assert_eq!(pinned.tagged("13").unwrap().to_string(), "docker.io/library/debian:13");
    assert_eq!(debian.tagged("a b").unwrap_err().place, 2);
    let json = serde_json::to_string(&pinned).unwrap();
    assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), pinned);
}

/// What the reference implementation's regular expression takes for a repository's part.
fn part() -> impl Strategy<Value = String> {
    "[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}"
}

#[test]
fn a_digest_can_stand_for_a_name() {
    let hex = "0123456789abcdef".repeat(4);
    let digits = |text: &str| text.parse::<Reference>().unwrap().bare_digest().map(str::to_owned);
    for text in [format!("sha256:{hex}"), format!("sha256:{}", &hex[..12]), hex[..12].to_owned(), hex[..63].to_owned()]
    {
        assert_eq!(digits(&text).as_deref(), Some(text.trim_start_matches("sha256:")), "{text}");
    }
    for text in
        ["0123456789a", "sha256:0123", "0123456789abcdeg", "a/0123456789ab", "0123456789ab:1", "x.y/0123456789ab"]
    {
        assert_eq!(digits(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}") {
        let _ = text.parse::<Reference>();
    }

    #[test]
    fn what_is_read_is_read_again(text in "[a-cA:@/._\\-\\[\\]0-9]{0,24}") {
        match text.parse::<Reference>() {
            Ok(reference) => {
                prop_assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
                prop_assert_eq!(reference.familiar().parse(), Ok(reference));
            }
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.place)),
        }
    }

    #[test]
    fn every_name_of_the_grammar_is_taken(
        host in proptest::option::of("[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?\\.[a-z]{2,5}(:[1-9][0-9]{0,3})?"),
        parts in proptest::collection::vec(part(), 1..4),
        tag in proptest::option::of("[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"),
        digest: bool,
    ) {
        let repository = parts.join("/");
        // Without a host, the first part must not look like one.
        prop_assume!(host.is_some() || parts.len() == 1 || !is_host(&parts[0]));
        let name = host.as_ref().map_or(repository.clone(), |host| format!("{host}/{repository}"));
        let text = with_rest(&name, tag.as_deref(), digest.then(|| DIGEST.parse().unwrap()).as_ref());
        let reference: Reference = text.parse().unwrap();
        if let Some(host) = host {
            prop_assert_eq!(reference.registry(), host);
            prop_assert_eq!(reference.repository(), repository);
        }
        prop_assert_eq!(reference.digest().is_some(), digest);
        let tag = tag.or_else(|| (!digest).then(|| "latest".to_owned()));
        prop_assert_eq!(reference.tag(), tag.as_deref());
        prop_assert_eq!(reference.to_string().parse(), Ok(reference));
    }
}
