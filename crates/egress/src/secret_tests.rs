use super::*;
use std::fmt::{Debug, Display};

/// Has one method for every type, and another one for those that can be printed or compared: with both, this file would
/// not compile.
trait Hidden<Why> {
    fn is_hidden() {}
}

impl<T> Hidden<()> for T {}
impl<T: Debug> Hidden<[u8; 1]> for T {}
impl<T: Display> Hidden<[u8; 2]> for T {}
impl<T: PartialEq> Hidden<[u8; 3]> for T {}

#[test]
fn it_is_neither_printed_nor_compared() {
    <Secret as Hidden<_>>::is_hidden();
}

#[test]
fn every_byte_of_it_is_told() {
    for bytes in [&b""[..], b"\0", b"a\nb\xff", &[7; 100_000]] {
        let told = postcard::to_allocvec(&Secret::new(bytes.to_vec())).unwrap();
        assert_eq!(postcard::from_bytes::<Secret>(&told).unwrap().expose(), bytes);
    }
    assert!(postcard::from_bytes::<Secret>(&[5, 1, 2]).is_err());
}
