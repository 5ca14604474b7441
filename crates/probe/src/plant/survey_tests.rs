use super::own_names;

#[test]
fn names_of_the_host_are_those_that_no_server_is_asked_for() {
    let hosts = "# 127.0.0.1 comment\n127.0.0.1 localhost box.localhost\n0.0.0.0 blocked.example\n\
        127.0.1.1\tthe-box.example the-box # box\n::1 ip6-localhost 1.2.3.4 a_b 0x7f .x\nno address\n10.0.0.1\n";
    let names: Vec<_> = own_names(hosts).map(|(address, name)| format!("{address} {name}")).collect();
    assert_eq!(names, ["127.0.1.1 the-box.example", "127.0.1.1 the-box", "::1 ip6-localhost"]);
}
