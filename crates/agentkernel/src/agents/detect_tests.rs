use super::*;
use proptest::prelude::*;

#[test]
fn words_of_commands() {
    for (command, expected) in [
        ("a  b", &["a", "b"][..]),
        ("a 'b c' \"d 'e'\"f", &["a", "b c", "d 'e'f"]),
        ("a;b|c&&d>e", &["a", "b", "c", "d", "e"]),
        (r#"a \"b 'c\' "d\"e""#, &["a", "\"b", "c\\", "d\"e"]),
        ("don't stop", &["dont stop"]),
        ("", &[]),
    ] {
        assert_eq!(words(command), expected, "{command}");
    }
}

#[test]
fn names_tell_by_their_words() {
    for name in
        ["API_KEY", "userPass", "refreshToken", "DBPASS2", "SECRET_PROFILE", "apikeyurl", "X-Api-Key", "--auth-token"]
    {
        assert!(has_secret_name(name), "{name}");
    }
    for name in ["MYPASS", "mypass_2", "X_CREDS", "X_CRED", "dbCreds", "DB_PASS"] {
        assert!(has_secret_name(name) && is_secret_name(name), "{name}");
    }
    for name in ["bypass", "BYPASS_CACHE", "dangerouslyBypassApprovals", "compass", "passthrough", "sacred", "credo"] {
        assert!(!has_secret_name(name), "{name}");
    }
    for name in
        ["tokenUrl", "cli_auth_credentials_store", "authProviderType", "API_KEY_HELPER_TTL_MS", "--auth-timeout"]
    {
        assert!(!has_secret_name(name), "{name}");
    }
    for name in ["maxTokens", "TOKENIZERS_PARALLELISM", "bearer_token_env_var", "monkey", "author", "path"] {
        assert!(!has_secret_name(name), "{name}");
    }
}

#[test]
fn what_nobody_could_remember() {
    for random in [
        "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "q8Xw7e6r5t4y3u2i1o0pAbCd",
        "name_0a1b2c3d4e5f60718293",
        "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA1",
    ] {
        assert!(is_random(random), "{random}");
    }
    for other in [
        "claude-sonnet-4-5-20250929",
        "550e8400-e29b-41d4-a716-446655440000",
        "a-rather-long-name-of-a-thing-v1-2-3",
        "pkg@0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "gpt-4o-2024-08-06-preview-of-a-thing",
        "theOauth2ClientOfMineAndMore",
        "20260101123456789012",
    ] {
        assert!(!is_random(other), "{other}");
    }
}

#[test]
fn a_header_for_passwords_is_one() {
    // `me:LEAK`, and `agentkernel`.
    assert!(logs_in("Basic bWU6TEVBSw==") && !logs_in("Basic YWdlbnRrZXJuZWw=") && !logs_in("Basic usage"));
}

proptest! {
    #[test]
    fn no_text_is_a_crash(text in "[ -~é\n]{0,60}", before in "[-a-zH]{0,8}") {
        logs_in(&text);
        is_told_by(&before, &text);
    }

    #[test]
    fn quotes_without_end_end(text in "['\"\\\\ a]{0,4000}") {
        logs_in(&text);
    }
}
