use super::*;

#[test]
fn one_address_for_each_name() {
    let mut names = Names::default();
    let a = names.address("a.example");
    let b = names.address("b.example");
    assert_ne!(a, b);
    assert_eq!(names.address("a.example"), a);
    assert_eq!(names.name(a).as_deref(), Some("a.example"));
    assert_eq!(names.name(b).as_deref(), Some("b.example"));
    assert_eq!(names.name(LAST), None);
    assert_eq!(names.name(Ipv4Addr::LOCALHOST), None);
}

#[test]
fn the_one_used_longest_ago_is_forgotten() {
    let mut names = Names::default();
    let first = names.address("first");
    let second = names.address("second");
    for n in 2..CAPACITY {
        names.address(&format!("n{n}"));
    }
    names.name(first);
    names.address("one-more");
    assert_eq!(names.name(first).as_deref(), Some("first"));
    assert_eq!(names.name(second), None);
    assert_eq!(names.by_name.len(), CAPACITY);
    assert_eq!(names.by_address.len(), CAPACITY);
    assert_eq!(names.by_use.len(), CAPACITY);
}

#[test]
fn addresses_wrap_round_without_meeting() {
    let mut names = Names { next: LAST.to_bits() - 2, ..Names::default() };
    let addresses: Vec<_> = (0..6).map(|n| names.address(&n.to_string())).collect();
    assert_eq!(addresses[0], Ipv4Addr::new(198, 19, 255, 253));
    assert_eq!(addresses[1], Ipv4Addr::new(198, 19, 255, 254));
    assert_eq!(addresses[2], Ipv4Addr::new(198, 18, 0, 1));
    names.next = FIRST;
    let more = names.address("more");
    assert!(!addresses.contains(&more));
}
