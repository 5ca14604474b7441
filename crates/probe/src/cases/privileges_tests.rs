use super::*;

#[test]
fn nobody_becomes_whom_he_is_already() {
    assert_eq!(other_than("1000\t1000\t1000\t1000"), 65534);
    assert_eq!(other_than("65534\t65534\t65534\t65534"), 65533);
    assert_eq!(other_than("65533\t1000\t65534\t0"), 65532);
    for key in ["Uid", "Gid"] {
        let (own, foreign) = (status(key).unwrap(), foreign(key).unwrap());
        assert!(!own.split('\t').any(|id| id == foreign.to_string()), "{foreign} is one of {own}");
    }
}
