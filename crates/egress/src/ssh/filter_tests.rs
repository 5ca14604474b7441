use super::*;
use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn key(seed: u8) -> Key {
    Key::new(&strings(&[b"ssh-ed25519", pair(seed).public_key().as_ref()]))
}

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    parts.iter().for_each(|part| put(&mut all, part));
    all
}

fn bind(host: u8, session: &[u8], forwarding: bool) -> Vec<u8> {
    let signature = strings(&[b"ssh-ed25519", pair(host).sign(session).as_ref()]);
    [&[EXTENSION], &strings(&[BIND, key(host).bytes(), session, &signature])[..], &[u8::from(forwarding)]].concat()
}

fn sign(with: u8, data: &[u8]) -> Vec<u8> {
    [&[SIGN_REQUEST], &strings(&[key(with).bytes(), data])[..], &[0; 4]].concat()
}

fn login(session: &[u8], with: u8, method: &[u8], host: &[&[u8]]) -> Vec<u8> {
    let mut data = strings(&[session]);
    data.push(USERAUTH_REQUEST);
    data.extend(strings(&[b"git", b"ssh-connection", method]));
    data.push(1);
    data.extend(strings(&[b"ssh-ed25519", key(with).bytes()]));
    data.extend(strings(host));
    data
}

fn plain(session: &[u8], with: u8) -> Vec<u8> {
    login(session, with, b"publickey", &[])
}

const MINE: u8 = 1;
const SIGNING: u8 = 2;
const SERVER: u8 = 3;
const OTHER: u8 = 4;

fn lent() -> LentKeys {
    let target = Target::parse("git.example.org:22", None).unwrap();
    LentKeys { servers: vec![Server { target, keys: vec![key(SERVER)] }], signing: vec![key(SIGNING)] }
}

/// Allows the server.
fn policy() -> Policy {
    let allow = vec![crate::Rule::parse("git.example.org:22").unwrap()];
    let rules = crate::Rules { mode: crate::Mode::Allow, allow, ..crate::Rules::default() };
    Policy { rules, ceiling: None }
}

/// One connection under that policy.
struct Under<'a>(Connection, &'a LentKeys, Policy);

impl<'a> Under<'a> {
    fn new(lent: &'a LentKeys) -> Self {
        Self(Connection::default(), lent, policy())
    }

    fn judge(&mut self, request: &[u8]) -> Fate {
        self.0.judge(request, self.1, &self.2)
    }
}

fn refused(fate: Fate) -> String {
    match fate {
        Fate::Refused(_, why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_login_where_keys_are_lent() {
    let lent = lent();
    let mut connection = Under::new(&lent);
    assert_eq!(connection.judge(&[REQUEST_IDENTITIES]), Fate::Forward);
    assert_eq!(connection.judge(&bind(SERVER, b"session", false)), Fate::Answer(SUCCESS));
    assert_eq!(connection.judge(&sign(MINE, &plain(b"session", MINE))), Fate::Forward);
    let method = b"publickey-hostbound-v00@openssh.com";
    let bound = login(b"session", MINE, method, &[key(SERVER).bytes()]);
    assert_eq!(connection.judge(&sign(MINE, &bound)), Fate::Forward);
}

#[test]
fn no_signature_with_sha_1() {
    let (mut lent, rsa) = (lent(), strings(&[b"ssh-rsa", b"\x01\0\x01", &[1; 256]]));
    lent.signing.push(Key::new(&rsa));
    let mut connection = Under::new(&lent);
    let data = [SSHSIG, &strings(&[GIT, b"", b"sha512", &[0; 64]])].concat();
    let mut ask = |flags: u32| {
        let request = [&[SIGN_REQUEST], &strings(&[&rsa, &data])[..], &flags.to_be_bytes()].concat();
        connection.judge(&request)
    };
    assert_eq!(refused(ask(0)), "a signature with SHA-1");
    assert_eq!((ask(2), ask(4)), (Fate::Forward, Fate::Forward));
}

#[test]
fn no_login_elsewhere() {
    let lent = lent();
    let refuse = |bound: &[Vec<u8>], request: Vec<u8>| {
        let mut connection = Under::new(&lent);
        bound.iter().for_each(|bind| drop(connection.judge(bind)));
        refused(connection.judge(&request))
    };
    let good = || vec![bind(SERVER, b"session", false)];
    let why = |bound: &[Vec<u8>], data: Vec<u8>| refuse(bound, sign(MINE, &data));
    assert_eq!(why(&[], plain(b"session", MINE)), "ssh has not proved to which server it is connected");
    let other = [bind(OTHER, b"session", false)];
    assert_eq!(why(&other, plain(b"session", MINE)), "a login at another server");
    // The first one holds.
    let both = [bind(OTHER, b"session", false), bind(SERVER, b"session", false)];
    assert_eq!(why(&both, plain(b"session", MINE)), "a login at another server");
    let not = "a login that is not the connection's";
    assert_eq!(why(&good(), plain(b"another", MINE)), not);
    assert_eq!(why(&good(), plain(b"session", SIGNING)), not);
    let method = b"publickey-hostbound-v00@openssh.com";
    assert_eq!(why(&good(), login(b"session", MINE, method, &[key(OTHER).bytes()])), not);
    let unknown = "a signature for something unknown";
    assert_eq!(why(&good(), login(b"session", MINE, b"hostbased", &[])), unknown);
    assert_eq!(why(&good(), [plain(b"session", MINE), vec![0]].concat()), unknown);
    assert_eq!(why(&good(), b"text".to_vec()), unknown);
}

/// Where its server may be reached no more, a key is lent no more: who passes its bytes on elsewhere gains nothing.
#[test]
fn no_login_where_the_policy_says_no() {
    let lent = lent();
    let mut connection = Under::new(&lent);
    assert_eq!(connection.judge(&bind(SERVER, b"session", false)), Fate::Answer(SUCCESS));
    connection.2.rules.deny = vec![crate::Rule::parse("git.example.org:*").unwrap()];
    let why = refused(connection.judge(&sign(MINE, &plain(b"session", MINE))));
    assert!(why.starts_with("the server may not be reached: a rule denies it"), "{why}");
    connection.2 = policy();
    connection.2.ceiling = Some(crate::Rules { mode: crate::Mode::Allow, ..crate::Rules::default() });
    refused(connection.judge(&sign(MINE, &plain(b"session", MINE))));
}

/// Who only says so is not the server.
#[test]
fn a_binding_is_proved() {
    let lent = lent();
    let mut false_one = bind(OTHER, b"session", false);
    let from = false_one.windows(32).position(|part| part == pair(OTHER).public_key().as_ref()).unwrap();
    false_one[from..from + 32].copy_from_slice(pair(SERVER).public_key().as_ref());
    for request in [false_one, bind(SERVER, b"session", true), bind(SERVER, b"session", false)[..60].to_vec()] {
        let mut connection = Under::new(&lent);
        assert_eq!(connection.judge(&request), Fate::Answer(FAILURE));
        refused(connection.judge(&sign(MINE, &plain(b"session", MINE))));
    }
}

#[test]
fn signatures_for_git() {
    let lent = lent();
    let signed = |namespace: &[u8]| [SSHSIG, &strings(&[namespace, b"", b"sha512", &[0; 64]])].concat();
    let judge = |lent, request: Vec<u8>| Under::new(lent).judge(&request);
    assert_eq!(judge(&lent, sign(SIGNING, &signed(b"git"))), Fate::Forward);
    assert!(refused(judge(&lent, sign(MINE, &signed(b"git")))).contains("another key"));
    assert!(refused(judge(&lent, sign(SIGNING, &signed(b"file")))).contains("\"file\", and not for git"));
    let none = LentKeys { signing: Vec::new(), ..lent.clone() };
    assert_eq!(refused(judge(&none, sign(SIGNING, &signed(b"git")))), "a signature for git");
}

#[test]
fn what_else_an_agent_can_do() {
    let lent = lent();
    // Adding, removing, locking; extensions of others; nothing at all.
    for request in [&[17][..], &[19], &[22], &[23], &[25], &[0], &[], &[EXTENSION, 0, 0, 0, 5, b'q']] {
        assert_eq!(Under::new(&lent).judge(request), Fate::Answer(FAILURE));
    }
}

#[test]
fn keys_are_shown_without_their_names() {
    let lent = lent();
    let (mine, signing) = (key(MINE), key(SIGNING));
    let all = strings(&[mine.bytes(), b"me@home", signing.bytes(), b"/secret/path"]);
    let says = [&[IDENTITIES_ANSWER, 0, 0, 0, 2], &all[..]].concat();
    let shown = |lent: &LentKeys| answer(lent, &[REQUEST_IDENTITIES], &says);
    let expected = strings(&[mine.bytes(), b"", signing.bytes(), b""]);
    assert_eq!(shown(&lent), [&[IDENTITIES_ANSWER, 0, 0, 0, 2], &expected[..]].concat());
    let only = LentKeys { servers: Vec::new(), ..lent.clone() };
    let expected = strings(&[signing.bytes(), b""]);
    assert_eq!(shown(&only), [&[IDENTITIES_ANSWER, 0, 0, 0, 1], &expected[..]].concat());
    assert_eq!(answer(&lent, &[REQUEST_IDENTITIES], &says[..20]), [FAILURE]);
    // An answer to something else than what was asked.
    assert_eq!(answer(&lent, &[SIGN_REQUEST], &says), [FAILURE]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_sign(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..40) {
        let lent = lent();
        let request = [&[kind], &bytes[..]].concat();
        let fate = Under::new(&lent).judge(&request);
        prop_assert!(fate != Fate::Forward || kind == REQUEST_IDENTITIES);
        let _ = answer(&lent, &request, &bytes);
    }
}
