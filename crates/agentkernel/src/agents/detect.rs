//! Hides how it is recognised that something in a user's settings would log in: by what it is called, by its form, and in
//! commands by what stands before it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// How names tell that their values log in: what is in them, whatever is between their words. A command that tells headers is
/// the host's, as one that tells a key is: see [`NO_NAMES`].
const IN_NAMES: [&str; 17] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "credential",
    "authorization",
    "bearer",
    "cookie",
    "jwt",
    "headershelper",
    "passcode",
    "seedphrase",
    "mnemonic",
];
/// The same of one word of a name.
const WORDS: [&str; 11] = ["auth", "cred", "creds", "dsn", "key", "pass", "pat", "pw", "pwd", "sas", "sid"];
/// The same of the end of one word of a name, such as `MYPASS`; and words that end so and mean something else.
const PASS: &str = "pass";
const NO_PASS: [&str; 13] = [
    "bandpass",
    "bypass",
    "compass",
    "encompass",
    "highpass",
    "keepass",
    "lowpass",
    "multipass",
    "overpass",
    "singlepass",
    "surpass",
    "trespass",
    "underpass",
];
/// The same of a parameter in an address.
const PARAMETERS: [&str; 5] = ["code", "k", "sig", "signature", "subscription"];
/// Names that only sound so: numbers of tokens, and what names a variable that has them. A command that tells them
/// (`apiKeyHelper`) is the host's, which the sandbox has not: it would fail, and what it is lent would not be used.
const NO_NAMES: [&str; 5] = ["maxtokens", "tokenlimit", "tokenizer", "envvar", "envkey"];
/// The last words of names that only say where, how, or for how long: `cli_auth_credentials_store`, `tokenUrl`. What an address has
/// in itself is looked at.
const NO_ENDS: [&str; 18] = [
    "store", "method", "type", "url", "urls", "uri", "endpoint", "mode", "enabled", "policy", "path", "file", "dir",
    "ttl", "ms", "timeout", "seconds", "limit",
];
/// Headers that log nobody in.
const HARMLESS: [&str; 5] = ["accept", "accept-encoding", "accept-language", "content-type", "user-agent"];
/// How what logs in begins where its makers want it to be found.
const BEGINNINGS: [&str; 33] = [
    "sk-",
    "sk_",
    "rk_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "hf_",
    "npm_",
    "pypi-",
    "dckr_pat_",
    "lin_api_",
    "ntn_",
    "sbp_",
    "dop_v1_",
    "shpat_",
    "figd_",
    "glsa_",
    "whsec_",
    "xai-",
    "gsk_",
    "pplx-",
    "tvly-",
    "eyJ",
];
/// Programs that are given a password by an option, and whether by the next word, or with no blank in between.
const PASSWORDS: [(&str, &str, bool, bool); 19] = [
    ("sshpass", "-p", true, true),
    ("mysql", "-p", false, true),
    ("mysqldump", "-p", false, true),
    ("mysqladmin", "-p", false, true),
    ("mysqlimport", "-p", false, true),
    ("mariadb", "-p", false, true),
    ("mariadb-dump", "-p", false, true),
    ("mariadb-admin", "-p", false, true),
    ("mongosh", "-p", true, true),
    ("mongo", "-p", true, true),
    ("redis-cli", "-a", true, true),
    ("docker login", "-p", true, true),
    ("podman login", "-p", true, true),
    ("sqlcmd", "-P", true, true),
    ("7z", "-p", false, true),
    ("unzip", "-P", true, true),
    ("zip", "-P", true, true),
    ("ldapsearch", "-w", true, true),
    ("ldapmodify", "-w", true, true),
];
/// Those that run another program: what follows its name is not theirs.
const RUNS_OTHERS: &str = "sshpass";
/// What stands before a name whose value follows, in other shells.
const SETS: [&str; 4] = ["setenv", "setx", "-gx", "-Ux"];
/// The least that such a thing is long.
const LEAST: usize = 16;
/// The least that what nobody could remember is long, and how often letters and digits meet in it.
const LEAST_RANDOM: (usize, usize) = (16, 3);
/// The least that what is taken where a variable is not set could log in.
const LEAST_OTHERWISE: usize = 8;
/// How a digest begins, which is as random and no secret.
const DIGESTS: [&str; 7] = ["sha1-", "sha256-", "sha384-", "sha512-", "sha1:", "sha256:", "sha512:"];
/// How deep a command is searched for commands that stand in it as one word.
const DEPTH: usize = 8;

/// Whether a name tells that its value logs in.
pub(super) fn has_secret_name(name: &str) -> bool {
    let name = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let joined: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    if joined.ends_with("env") || NO_NAMES.iter().any(|no| joined.contains(no)) {
        return false;
    }
    // `userPass` has two words.
    let mut words = vec![String::new()];
    let mut was_small = false;
    for letter in name.chars() {
        if !letter.is_ascii_alphanumeric() || (was_small && letter.is_ascii_uppercase()) {
            words.push(String::new());
        }
        if let (true, Some(word)) = (letter.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(letter.to_ascii_lowercase());
        }
        was_small = letter.is_ascii_lowercase();
    }
    let only_tells = words.last().is_some_and(|last| NO_ENDS.contains(&last.as_str()));
    let by_part = IN_NAMES.iter().any(|part| joined.contains(part));
    let is_one = |word: &str| WORDS.contains(&word) || (word.ends_with(PASS) && !NO_PASS.contains(&word));
    !only_tells && (by_part || words.iter().any(|word| is_one(word)))
}

/// Whether a name is that of one thing that logs in, and does not only have to do with such: `API_KEY`, not `tokens`.
pub(super) fn is_secret_name(name: &str) -> bool {
    let joined: String = name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
    let ends = IN_NAMES.iter().chain(&WORDS).chain(&["password", "passwd"]).any(|word| joined.ends_with(word));
    ends && has_secret_name(name)
}

/// Whether a table or a variable of this name has headers, and not the names of variables that have them.
pub(super) fn has_headers(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    (name.ends_with("headers") || name.ends_with("header")) && !name.starts_with("env_")
}

/// Whether a table of this name has headers with the names of the variables that have them (Codex).
pub(super) fn names_variables(table: &str) -> bool {
    table == "env_http_headers"
}

/// Whether a header of this name may log in.
pub(super) fn is_secret_header(name: &str) -> bool {
    !HARMLESS.contains(&name.to_ascii_lowercase().as_str())
}

/// Whether a text is nothing but the name of a variable, or of a file, that has what is meant.
pub(super) fn is_reference(text: &str) -> bool {
    let named = ["Bearer ", "Basic ", "token "].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let within = |begin: &str| named.strip_prefix(begin).and_then(|rest| rest.strip_suffix('}'));
    // `${NAME:-none}`: what is taken if it is not set is short.
    let otherwise = |name: &str| {
        let (name, other) = name.split_once(":-").unwrap_or((name, ""));
        is_name(name) && other.len() < LEAST_OTHERWISE && (other.is_empty() || is_name(other)) && !is_random(other)
    };
    named.strip_prefix('$').is_some_and(is_name)
        || ["${", "${env:", "{env:"].into_iter().filter_map(within).any(otherwise)
        || within("{file:").is_some_and(|path| !path.contains(['{', '}']))
}

/// Whether a text is a header that may log in: `NAME: VALUE`.
pub(super) fn is_header(text: &str) -> bool {
    text.split_once(':').is_some_and(|(name, value)| is_secret_header(name.trim()) && !is_reference(value.trim()))
}

/// Whether a text logs in because of the word before it: the option whose value it is.
pub(super) fn is_told_by(before: &str, text: &str) -> bool {
    if is_header_option(before) {
        return is_header(text);
    }
    // `curl -u NAME:PASSWORD`; of containers' commands it is a user and a group.
    let is_login = || text.split_once(':').is_some_and(|(name, word)| !name.is_empty() && !is_plain(word));
    let is_option = before.starts_with('-') && !before.contains(|letter: char| letter == '=' || letter.is_whitespace());
    let named = is_option && has_secret_name(before);
    (named && !text.starts_with('-')) || (["-u", "--user", "--proxy-user"].contains(&before) && is_login())
}

/// Whether a text logs in, wherever it stands: a key of some maker's, an address with what logs in, a header, a variable with
/// its value, what nobody could remember, or a command in which there is such a thing.
pub(super) fn logs_in(text: &str) -> bool {
    is_assignment(text) || is_named(text) || is_known(text) || has_login(text, DEPTH)
}

/// Whether a text, or a word in it, is of a form that only what logs in has.
pub(super) fn is_known(text: &str) -> bool {
    let has_beginning = |word: &str| word.len() >= LEAST && BEGINNINGS.iter().any(|begin| word.starts_with(begin));
    // In a command or a sentence there are other words that begin so, such as `npm_config_registry`.
    let mut words = text.split(|letter: char| letter.is_whitespace() || "\"'`=:;,()<>|&".contains(letter));
    let alone = !text.contains(char::is_whitespace) && has_beginning(text);
    let begins = alone || words.any(|word| has_beginning(word) && word.bytes().any(|byte| byte.is_ascii_digit()));
    begins || has_address(text) || is_data_source(text) || has_authorization(text) || text.contains("-----BEGIN ")
}

/// Whether an option is about headers.
fn is_header_option(option: &str) -> bool {
    option == "-H" || (option.starts_with('-') && !option.contains('=') && has_headers(option))
}

/// Whether a text gives something a value that logs in: `--token=VALUE`, `TOKEN=VALUE`, `--header=NAME: VALUE`.
fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, value)| {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_value = !value.is_empty() && !is_reference(value) && !value.starts_with('`') && !value.starts_with("$(");
        let named = !name.is_empty() && name.bytes().all(is_name) && is_value;
        let variable = !name.starts_with('-') && has_headers(name);
        // An option may have another assignment for its value: `--env=TOKEN=VALUE`.
        let option = name.starts_with('-') && (is_told_by(name, value) || is_assignment(value));
        named && (has_secret_name(name) || variable || option)
    })
}

/// Whether a text is `NAME:PASSWORD@tcp(HOST)/DATABASE`, as Go's drivers have it.
fn is_data_source(text: &str) -> bool {
    let login = text.split_once("@tcp(").or_else(|| text.split_once("@unix(")).map(|(login, _)| login);
    login.is_some_and(|login| login.split_once(':').is_some_and(|(_, word)| !is_plain(word)))
}

/// Whether a text is `NAME: VALUE` of something that logs in, or one word is `NAME:VALUE`.
fn is_named(text: &str) -> bool {
    let in_words = text.split_once(": ");
    let in_one = text.split_once(':').filter(|(_, value)| !value.starts_with("//"));
    in_words.or(in_one.filter(|_| !text.contains(char::is_whitespace))).is_some_and(|(name, value)| {
        let is_name = name.len() > "key".len() && !name.contains(char::is_whitespace);
        is_name && is_secret_name(name) && !is_plain(value.trim())
    })
}

/// Whether there is an address in a text that has what logs in.
fn has_address(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let scheme = text[..at].rsplit(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
        let rest = text[at + 3..].split(|letter: char| letter.is_whitespace() || "\"'`<>".contains(letter));
        let rest = rest.into_iter().next().unwrap_or_default();
        let (authority, place) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        let by_user = user.is_some_and(|user| user.contains(':') || scheme.starts_with("http"));
        let by_parameter = place.split(['?', '&', '#', ';']).skip(1).any(|parameter| {
            let named = |(name, value): (&str, &str)| PARAMETERS.contains(&name) && !is_plain(value);
            is_assignment(parameter) || parameter.split_once('=').is_some_and(named)
        });
        // What only those know who were told it.
        let is_unguessable = |part: &str| part.len() == 36 && part.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
        by_user
            || by_parameter
            || place.split('/').any(is_unguessable)
            || place.split(['/', '?', '&', '#', ';', '=']).any(is_random)
    })
}

/// An address without what may log in, if a text is nothing but one: first without its user and what follows its path, then of
/// its host alone.
pub(super) fn plain_addresses(text: &str) -> Vec<String> {
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let parts = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty() && scheme.bytes().all(is_scheme));
    let Some((scheme, rest)) = parts.filter(|_| !text.contains(char::is_whitespace)) else { return Vec::new() };
    let (authority, place) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = place.split(['?', '#']).next().unwrap_or_default();
    match host {
        "" => Vec::new(),
        _ => vec![format!("{scheme}://{host}{path}"), format!("{scheme}://{host}/")],
    }
}

/// Whether a value is none, or a reference to one.
fn is_plain(value: &str) -> bool {
    value.is_empty() || is_reference(value) || value.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text has a header `Authorization` with its value, or `Bearer` and what may be one.
fn has_authorization(text: &str) -> bool {
    // Of the same length, so that places in one are places in the other.
    let lower = text.to_ascii_lowercase();
    let after = |(at, word): (usize, &str)| text.get(at + word.len()..).unwrap_or_default();
    let by_header = lower.match_indices("authorization").map(after).any(|rest| {
        let value = rest.trim_start_matches(|letter: char| letter.is_whitespace() || "\"'\\:=".contains(letter));
        let told = rest[..rest.len() - value.len()].contains([':', '=']);
        let value = value.split(['"', '\'', '\\', ',', '\n']).next().unwrap_or_default();
        told && !value.is_empty() && !is_reference(value.trim())
    });
    let by_scheme = |at: usize| {
        let mut words =
            after((at, "bearer ")).split(|letter: char| letter.is_whitespace() || "\"'\\,".contains(letter));
        words.find(|word| !word.is_empty()).is_some_and(|value| {
            // In a sentence another word stands there.
            let may_be_one = at == 0 || value.len() >= LEAST || value.bytes().any(|byte| byte.is_ascii_digit());
            may_be_one && !is_reference(value)
        })
    };
    // NAME:PASSWORD, as it is told there.
    let basic = lower.starts_with("basic ").then(|| text["basic ".len()..].trim());
    let is_login = |word: &str| STANDARD.decode(word).is_ok_and(|login| login.contains(&b':'));
    by_header || lower.match_indices("bearer ").any(|(at, _)| by_scheme(at)) || basic.is_some_and(is_login)
}

/// Whether a command has a word that logs in, or one that is such a command itself.
fn has_login(command: &str, depth: usize) -> bool {
    if is_random_alone(command) {
        return true;
    }
    // What a shell puts in is no value itself.
    let is_put_in = |word: &str| word.split_once('=').is_some_and(|(_, value)| value.starts_with(['$', '`']));
    let (mut before, mut before_that) = (String::new(), String::new());
    let words = words(command);
    let is_curl = words.iter().any(|word| word.rsplit('/').next() == Some("curl"));
    has_password(command)
        || words.iter().any(|word| {
            let is_variable =
                || before.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
            let is_set =
                || SETS.contains(&&*before_that) && is_variable() && has_secret_name(&before) && !is_plain(word);
            let attached = || is_curl && word.strip_prefix("-u").is_some_and(|login| is_told_by("-u", login));
            let told = (is_told_by(&before, word) || is_set()) && !word.starts_with(['$', '`']);
            let found = told
                || attached()
                || (is_assignment(word) && !is_put_in(word))
                || is_random_alone(word)
                || (word.starts_with(['{', '[']) && serde_json::from_str(word).is_ok_and(|value| is_in(&value)))
                || (depth > 0 && word != command && word.contains(char::is_whitespace) && has_login(word, depth - 1));
            before_that = std::mem::replace(&mut before, word.clone());
            found
        })
}

/// Whether a program of a command is given a password by an option of its own.
fn has_password(command: &str) -> bool {
    // Quotes are not looked at: what stands in them is searched by itself.
    command.split([';', '|', '&', '\n', '(', ')']).any(|part| {
        let words = words(part);
        let programs = PASSWORDS.iter().filter_map(|program| Some((program, behind(&words, program.0)?)));
        programs.into_iter().any(|((name, option, apart, attached), rest)| {
            let before = std::iter::once("").chain(rest.iter().map(String::as_str));
            let is_own =
                |(before, word): &(&str, &String)| *name != RUNS_OTHERS || word.starts_with('-') || before == option;
            before.zip(rest).take_while(is_own).any(|(before, word)| {
                let value = match word.strip_prefix(option) {
                    _ if *apart && before == *option => Some(word.as_str()),
                    value => value.filter(|_| *attached),
                };
                let is_port = |it: &str| it.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
                value.is_some_and(|it| !is_port(it) && !is_reference(it) && !it.starts_with(['-', '$', '`', '<']))
            })
        })
    })
}

/// What follows the name of a program, or of one and its first argument.
fn behind<'a>(words: &'a [String], program: &str) -> Option<&'a [String]> {
    let (name, first) = program.split_once(' ').map_or((program, None), |(name, first)| (name, Some(first)));
    // What stands behind an option is called so only.
    let is_one =
        |at: &usize| words[*at].rsplit('/').next() == Some(name) && (*at == 0 || !words[*at - 1].starts_with('-'));
    let at = (0..words.len()).find(is_one)? + 1;
    match first {
        None => words.get(at..),
        Some(first) => words.get(at).filter(|word| *word == first).and_then(|_| words.get(at + 1..)),
    }
}

/// Whether something logs in of what is told in JSON.
fn is_in(value: &Value) -> bool {
    match value {
        Value::Object(values) => values.iter().any(|(key, value)| {
            let is_named = |text: &str| !text.is_empty() && !is_reference(text) && has_secret_name(key);
            value.as_str().is_some_and(is_named) || is_in(value)
        }),
        Value::Array(values) => values.iter().any(is_in),
        Value::String(text) => is_known(text),
        _ => false,
    }
}

/// The words of a command, as shells have them; if there are more than one.
pub(super) fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None | Some('"'), '\\') => word.extend(letters.next()),
            (None, _) if letter.is_whitespace() || ";|&<>()".contains(letter) => {
                words.push(std::mem::take(&mut word));
            }
            _ => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Whether one word of a command is what nobody could remember, and no path or digest; or has it for a value.
fn is_random_alone(word: &str) -> bool {
    let is_path = |text: &str| text.starts_with(['/', '~', '.']) || text.contains(['\\', ' ']);
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    // In base64, it fills up.
    let value = word.split_once('=').filter(|(name, value)| is_name(name) && !value.trim_matches('=').is_empty());
    let value = value.map_or(word, |(_, value)| value);
    let is_digest = |text: &str| DIGESTS.iter().any(|digest| text.contains(digest));
    !is_path(value) && !is_digest(value) && value.split([':', '=', ',', '/']).any(is_random)
}

/// Whether a text is what nobody could remember: letters and digits that follow upon each other as they come, for long.
/// Names of models and versions are not, which have their dashes, nor what only tells things apart: a UUID, or what a package
/// is pinned to.
fn is_random(text: &str) -> bool {
    let text = match text.rsplit_once(['#', '@']) {
        Some((name, digest)) if digest.bytes().all(|byte| byte.is_ascii_hexdigit()) => name,
        _ => text,
    };
    let meet = |two: &[u8]| {
        (two[0].is_ascii_digit() && two[1].is_ascii_alphabetic())
            || (two[0].is_ascii_alphabetic() && two[1].is_ascii_digit())
    };
    let (least, met) = LEAST_RANDOM;
    let parts = text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|part| part.len() >= least);
    parts.into_iter().any(|part| part.as_bytes().windows(2).filter(|two| meet(two)).count() >= met)
}

#[cfg(test)]
#[path = "detect_tests.rs"]
mod tests;
