use super::*;
use crate::{
    Pattern, Reason,
    control::{Placeholders, SecretGrant},
    testing::run,
};
use ::http::{HeaderValue, header};
use std::collections::VecDeque;

const API: &str = "api.example.org";
const PLACE: &str = "placeholder-access-0123456789";

/// A supervisor and an endpoint, as the test has them.
#[derive(Default)]
struct World {
    leaves: RefCell<VecDeque<Leave>>,
    answers: RefCell<VecDeque<Result<(u16, String), Reason>>>,
    /// What the endpoint was asked.
    asked: RefCell<Vec<String>>,
    /// How renewals ended: the access token, if there was one.
    told: RefCell<Vec<Option<String>>>,
}

impl Outside for Rc<World> {
    fn leave(&self, _: u32) -> Later<'_, Leave> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.leaves.borrow_mut().pop_front().unwrap_or_else(|| Leave::Refused("enough".into()))
        })
    }

    fn tell(&self, _: u32, renewal: Renewal) {
        self.told.borrow_mut().push(match renewal {
            Renewal::Done(tokens) => Some(text(&tokens.access)),
            _ => None,
        });
    }

    fn post<'a>(&'a self, endpoint: &'a TokenEndpoint, body: Bytes) -> Later<'a, Result<Answered, Denial>> {
        Box::pin(async move {
            self.asked.borrow_mut().push(String::from_utf8(body.to_vec()).unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
            match self.answers.borrow_mut().pop_front().expect("it is asked too often") {
                Ok((status, answer)) => {
                    Ok((StatusCode::from_u16(status).unwrap(), Zeroizing::new(answer.into_bytes())))
                }
                Err(reason) => Err(Denial::new(reason, &endpoint.target)),
            }
        })
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn text(secret: &Secret) -> String {
    String::from_utf8(secret.expose().to_vec()).unwrap()
}

/// One login that expires so many seconds from now, and its world.
struct Scene {
    world: Rc<World>,
    logins: Rc<Logins>,
    secrets: Rc<Secrets>,
}

impl Scene {
    fn new(expires: Option<i64>) -> Self {
        Self::with(expires, |_| {})
    }

    fn with(expires: Option<i64>, change: impl Fn(&mut Login)) -> Self {
        let mut login = Login {
            name: "~/.agent/auth.json".into(),
            placeholders: Placeholders {
                access: PLACE.into(),
                refresh: "placeholder-refresh-0123456789".into(),
                id: None,
            },
            endpoint: TokenEndpoint {
                target: Target::parse("login.example.org:443", None).unwrap(),
                path: "/oauth/token".into(),
                encoding: Encoding::Json,
                parameters: vec![("client_id".into(), "me & you".into()), ("scope".into(), "{scope}".into())],
            },
            scope: Some("one two".into()),
            expires_ms: expires.map(|seconds| now_ms().saturating_add_signed(seconds * 1000)),
            remedy: "log in again".into(),
        };
        change(&mut login);
        let grant = SecretGrant {
            name: "access".into(),
            placeholder: PLACE.into(),
            value: secret("old"),
            hosts: vec![Pattern::parse(API).unwrap()],
        };
        let (world, secrets) = (Rc::<World>::default(), Rc::new(Secrets::new(&[grant])));
        let logins = Rc::new(Logins::new(&[login], secrets.clone(), Box::new(world.clone())));
        Self { world, logins, secrets }
    }

    fn allow(self, refresh: &str, status: u16, answer: &str) -> Self {
        self.world.leaves.borrow_mut().push_back(Leave::Renew(secret(refresh)));
        self.world.answers.borrow_mut().push_back(Ok((status, answer.into())));
        self
    }

    fn used(&self) -> Used {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {PLACE}")).unwrap());
        self.logins.used(&Host::parse(API).unwrap(), &headers).expect("it is used")
    }

    async fn ready(&self) -> Result<(), NotRenewed> {
        self.logins.ready(&mut self.used()).await
    }

    /// What is put in now.
    fn value(&self) -> String {
        self.secrets.look(PLACE, |value| String::from_utf8(value.to_vec()).unwrap()).unwrap()
    }

    fn asked(&self) -> usize {
        self.world.asked.borrow().len()
    }
}

const RENEWED: &str = r#"{"access_token":"new","refresh_token":"next","expires_in":28800}"#;

#[test]
fn a_login_that_is_valid_is_left_alone() {
    run(async {
        for expires in [None, Some(3600)] {
            let scene = Scene::new(expires);
            scene.ready().await.unwrap();
            assert_eq!((scene.value().as_str(), scene.asked()), ("old", 0));
        }
    });
}

#[test]
fn one_that_is_about_to_expire_is_renewed_first() {
    run(async {
        for expires in [-10, 60] {
            let scene = Scene::new(Some(expires)).allow("real-refresh", 200, RENEWED);
            scene.ready().await.unwrap();
            assert_eq!(scene.value(), "new");
            assert_eq!(*scene.world.told.borrow(), [Some("new".to_owned())]);
            let asked: serde_json::Value = serde_json::from_str(&scene.world.asked.borrow()[0]).unwrap();
            let expected = serde_json::json!({
                "grant_type": "refresh_token", "refresh_token": "real-refresh", "client_id": "me & you", "scope": "one two"
            });
            assert_eq!(asked, expected);
            scene.ready().await.unwrap();
            assert_eq!(scene.asked(), 1);
        }
    });
}

#[test]
fn requests_may_be_forms() {
    run(async {
        let scene = Scene::with(Some(-1), |login| {
            login.endpoint.encoding = Encoding::Form;
            login.scope = None;
        });
        let scene = scene.allow("r/1", 200, RENEWED);
        scene.ready().await.unwrap();
        let expected = "grant_type=refresh_token&refresh_token=r%2F1&client_id=me%20%26%20you";
        assert_eq!(scene.world.asked.borrow()[0], expected);
    });
}

#[test]
fn a_token_of_three_parts_says_when_it_expires() {
    run(async {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let token = |seconds: i64| {
            let exp = (now_ms() / 1000).saturating_add_signed(seconds);
            format!("h.{}.s", URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}")))
        };
        let scene = Scene::new(None);
        scene.secrets.renew(PLACE, &secret(&token(-5)));
        let list: Vec<Login> = scene.logins.list.iter().map(|entry| entry.login.clone()).collect();
        let logins = Rc::new(Logins::new(&list, scene.secrets.clone(), Box::new(scene.world.clone())));
        let scene = Scene { logins, ..scene };
        let scene = scene.allow("r", 200, &format!(r#"{{"access_token":"{}"}}"#, token(900)));
        scene.ready().await.unwrap();
        scene.ready().await.unwrap();
        assert_eq!(scene.asked(), 1);
    });
}

#[test]
fn short_lives_are_not_renewed_again_and_again() {
    run(async {
        let scene = Scene::new(Some(-1)).allow("r", 200, r#"{"access_token":"new","expires_in":60}"#);
        scene.ready().await.unwrap();
        scene.ready().await.unwrap();
        assert_eq!(scene.asked(), 1);
    });
}

#[test]
fn one_renewal_is_enough_for_all_who_wait() {
    run(async {
        let scene = Rc::new(Scene::new(Some(-1)).allow("r", 200, RENEWED));
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let scene = scene.clone();
                spawn_local(async move { scene.ready().await })
            })
            .collect();
        for waiting in waiting {
            waiting.await.unwrap().unwrap();
        }
        assert_eq!((scene.asked(), scene.value().as_str()), (1, "new"));
    });
}

#[test]
fn whoever_asked_for_it_may_go() {
    run(async {
        let scene = Rc::new(Scene::new(Some(-1)).allow("r", 200, RENEWED));
        let own = scene.clone();
        let waiting = spawn_local(async move { own.ready().await });
        tokio::time::sleep(Duration::from_millis(5)).await;
        waiting.abort();
        scene.logins.settle().await;
        assert_eq!(*scene.world.told.borrow(), [Some("new".to_owned())]);
        assert_eq!(scene.value(), "new");
    });
}

#[test]
fn one_that_is_refused_by_its_server_is_renewed_once() {
    run(async {
        let scene = Scene::new(None).allow("r", 200, RENEWED);
        let first = scene.used();
        scene.logins.refused(&first).await.unwrap();
        assert_eq!(scene.value(), "new");
        // Others that were under way with the old one, and one that is refused for another reason.
        scene.logins.refused(&first).await.unwrap();
        scene.logins.refused(&scene.used()).await.unwrap();
        assert_eq!(scene.asked(), 1);
    });
}

#[test]
fn what_somebody_else_has_renewed_is_taken() {
    run(async {
        let scene = Scene::new(Some(-1));
        let tokens =
            Tokens { access: secret("host's"), refresh: None, id: None, expires_ms: Some(now_ms() + 7_200_000) };
        scene.world.leaves.borrow_mut().push_back(Leave::Renewed(tokens));
        scene.ready().await.unwrap();
        scene.ready().await.unwrap();
        assert_eq!((scene.value().as_str(), scene.asked()), ("host's", 0));
        assert!(scene.world.told.borrow().is_empty());
    });
}

#[test]
fn one_that_is_not_renewed_any_more_says_so() {
    run(async {
        let scene = Scene::new(Some(-1)).allow("dead", 400, r#"{"error":"invalid_grant"}"#);
        let words = "~/.agent/auth.json has expired: its renewal is refused with 'invalid_grant'; log in again";
        let expired = Err(NotRenewed::Expired(words.into()));
        assert_eq!(scene.ready().await, expired);
        assert_eq!(*scene.world.told.borrow(), [None]);
        assert_eq!(scene.ready().await, expired);
        tokio::time::sleep(PAUSE).await;
        // The same refresh token is not tried again.
        scene.world.leaves.borrow_mut().push_back(Leave::Renew(secret("dead")));
        assert_eq!(scene.ready().await, expired);
        assert_eq!((scene.asked(), scene.world.told.borrow().len()), (1, 2));
        // Whoever has logged in again has another one.
        tokio::time::sleep(PAUSE).await;
        let scene = scene.allow("another", 200, RENEWED);
        scene.ready().await.unwrap();
        assert_eq!(scene.value(), "new");
    });
}

#[test]
fn a_failure_matters_once_the_token_is_over() {
    run(async {
        for (expires, fails) in [(60, false), (-1, true)] {
            let scene = Scene::new(Some(expires));
            scene.world.leaves.borrow_mut().push_back(Leave::Renew(secret("r")));
            scene.world.answers.borrow_mut().push_back(Err(Reason::Unreachable));
            let failed = NotRenewed::Failed(
                "~/.agent/auth.json could not be renewed: login.example.org:443: it could not be reached".into(),
            );
            assert_eq!(scene.ready().await, if fails { Err(failed) } else { Ok(()) });
            assert_eq!((scene.value().as_str(), scene.asked()), ("old", 1));
            assert_eq!(*scene.world.told.borrow(), [None]);
            // Nobody tries at once again.
            assert_eq!(scene.ready().await.is_err(), fails);
            assert_eq!(scene.asked(), 1);
        }
        let scene = Scene::new(Some(-1));
        scene.world.leaves.borrow_mut().push_back(Leave::Refused("its file is gone".into()));
        let failed = "~/.agent/auth.json could not be renewed: its file is gone";
        assert_eq!(scene.ready().await, Err(NotRenewed::Failed(failed.into())));
        assert!(scene.world.told.borrow().is_empty());
    });
}

#[test]
fn the_sandbox_is_told_placeholders() {
    let scene = Scene::with(None, |login| login.placeholders.id = Some("h.c.placeholder".into()));
    let Target { host, .. } = &scene.logins.list[0].login.endpoint.target;
    assert!(scene.logins.is_for(host) && !scene.logins.is_for(&Host::parse(API).unwrap()));
    let target = |text| Target::parse(text, None).unwrap();
    assert!(scene.logins.is_endpoint(&target("login.example.org:443"), "/oauth/token"));
    assert!(!scene.logins.is_endpoint(&target("login.example.org:443"), "/oauth/token/"));
    for path in ["/oauth/token", "/oauth/token/", "/oauth/token/x/y", "/oauth//token", "/oauth/%74oken"] {
        assert!(scene.logins.may_be_endpoint(&target("login.example.org:443"), path), "{path}");
        assert!(!scene.logins.may_be_endpoint(&target("login.example.org:8443"), path), "{path}");
    }
    assert!(!scene.logins.may_be_endpoint(&target("login.example.org:443"), "/oauth/tokens"));
    assert!(!scene.logins.is_endpoint(&target("login.example.org:8443"), "/oauth/token"));
    assert_eq!(scene.logins.asked(b"refresh_token=another"), None);
    let used = scene.logins.asked(br#"{"refresh_token":"placeholder-refresh-0123456789"}"#).unwrap();
    let told: serde_json::Value = serde_json::from_str(&scene.logins.told(&used)).unwrap();
    let expected = serde_json::json!({
        "access_token": PLACE, "refresh_token": "placeholder-refresh-0123456789", "id_token": "h.c.placeholder",
        "token_type": "Bearer", "expires_in": LIFETIME, "scope": "one two"
    });
    assert_eq!(told, expected);
}
