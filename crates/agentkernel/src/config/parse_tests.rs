use super::*;

/// Where each byte is, by counting from the beginning.
#[test]
fn a_position_is_that_of_the_first_byte_of_a_character() {
    let line = "x = \"ä€😀\" # and so on, as far as beyond what is counted at once\n";
    let text = line.repeat(30) + "\n\n" + &"é".repeat(400);
    let source = Source::new(&text);
    for (byte, _) in text.char_indices().chain([(text.len(), ' ')]) {
        let before = &text[..byte];
        let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
        assert_eq!(source.position(byte), (before.matches('\n').count() + 1, column), "{byte}");
    }
    assert_eq!(Source::new("").position(9), START);
}

/// However many values a file has, none is counted from the beginning.
#[test]
fn a_position_costs_no_more_the_further_it_is() {
    for text in ["\n".repeat(10_000), "a".repeat(10_000)] {
        let source = Source::new(&text);
        assert!((0..=text.len()).all(|byte| source.counted(byte).1.len() < Source::CHUNK));
    }
}
