use super::super::tests::{spec, store};
use rustix::fs::{AtFlags, statat};

#[test]
fn an_order_is_taken_once_by_its_token() {
    let (_dir, store) = store();
    let (entry, lock) = store.create(&spec(None, false)).unwrap();
    let token = entry.leave_order(&"one").unwrap();
    let other = entry.leave_order(&"two").unwrap();
    assert_ne!(token, other);
    assert_eq!(statat(entry.dir(), format!("order-{token}"), AtFlags::empty()).unwrap().st_mode & 0o7777, 0o600);
    // What is no token leads nowhere.
    let same = store.find(entry.id().as_str()).unwrap();
    for wrong in
        ["", "../spec.json", &token[1..], &token.to_uppercase(), &"0".repeat(32), "/etc/passwd", &format!("{token}0")]
    {
        assert_eq!(same.take_order::<String>(wrong).unwrap(), None, "{wrong}");
        assert!(!same.withdraw_order(wrong).unwrap(), "{wrong}");
    }
    assert_eq!(same.take_order::<String>(&token).unwrap().as_deref(), Some("one"));
    assert_eq!(same.take_order::<String>(&token).unwrap(), None);
    assert!(entry.withdraw_order(&other).unwrap() && !entry.withdraw_order(&other).unwrap());
    assert_eq!(same.take_order::<String>(&other).unwrap(), None);
    // What is too long to be read again is not left there.
    assert!(entry.leave_order(&"x".repeat(5 << 20)).is_err());
    // Those that nobody takes go with the sandbox.
    let left = entry.leave_order(&"three").unwrap();
    let place = entry.path().to_owned();
    store.remove(entry, lock).unwrap();
    assert!(place.symlink_metadata().is_err() && same.take_order::<String>(&left).unwrap().is_none());
}

/// Many who know a token: one has the order.
#[test]
fn of_many_who_take_an_order_one_has_it() {
    let (_dir, store) = store();
    let (entry, _lock) = store.create(&spec(None, false)).unwrap();
    for _ in 0..50 {
        let token = entry.leave_order(&"it").unwrap();
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let (same, token) = (store.find(entry.id().as_str()).unwrap(), token.clone());
                std::thread::spawn(move || same.take_order::<String>(&token).unwrap().is_some())
            })
            .collect();
        assert_eq!(takers.into_iter().map(|taker| taker.join().unwrap()).filter(|had| *had).count(), 1);
    }
}
