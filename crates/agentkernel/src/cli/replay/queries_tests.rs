use super::*;
use proptest::prelude::*;

/// What a terminal answers.
const QUERIES: [&str; 44] = [
    "\x05",
    "\x1bZ",
    "\x1b[c",
    "\x1b[0c",
    "\x1b[>c",
    "\x1b[>0c",
    "\x1b[=c",
    "\x1b[5n",
    "\x1b[6n",
    "\x1b[?6n",
    "\x1b[?996n",
    "\x1b[?2026$p",
    "\x1b[4$p",
    "\x1b[>q",
    "\x1b[>0q",
    "\x1b[?u",
    "\x1b[?4m",
    "\x1b[?1;1;0S",
    "\x1b[x",
    "\x1b[14t",
    "\x1b[21t",
    "\x1b[?1004h",
    "\x1b[?1000;1006h",
    "\x1b[?2048h",
    "\x1b[1$w",
    "\x1b[1;1;1;1;1;1*y",
    "\x1b]11;?\x07",
    "\x1b]11;?\x1b\\",
    "\x1b]4;1;?;2;?\x1b\\",
    "\x1b]10;?\u{9c}",
    "\x1b]52;c;?\x07",
    "\x1b]21;foreground=?\x1b\\",
    "\x1b]60\x1b\\",
    "\x1b]1337;ReportCellSize\x07",
    "\x1bP$qm\x1b\\",
    "\x1bP+q544e;524742\x1b\\",
    "\x1bP0$q q\x1b\\",
    "\x1b_Gi=31,s=1,v=1,a=q,t=d;AAAA\x1b\\",
    "\u{9b}6n",
    "\u{9d}11;?\u{9c}",
    "\u{90}$qm\u{9c}",
    "\u{9a}",
    "\x1b[?5n",
    "\x1b[1;2+p",
];

/// What it does not.
const OTHERS: [&str; 46] = [
    "text",
    " ",
    "\r\n",
    "\t",
    "é漢🙂",
    "\x07",
    "\x08",
    "?u",
    "6n",
    "[c",
    "\\",
    "\x1b[m",
    "\x1b[1;31m",
    "\x1b[38:2::1:2:3m",
    "\x1b[2J",
    "\x1b[H",
    "\x1b[?1049h",
    "\x1b[?25l",
    "\x1b[?1004l",
    "\x1b[?1000l",
    "\x1b[?2026h",
    "\x1b[?1049;1000h",
    "\x1b[>1u",
    "\x1b[<u",
    "\x1b[=1;1u",
    "\x1b[u",
    "\x1b[2 q",
    "\x1b[>4;2m",
    "\x1b[>4n",
    "\x1b[!p",
    "\x1b[8;30;100t",
    "\x1b[22;0t",
    "\x1b[?17;0;64c",
    "\x1b[S",
    "\x1b7",
    "\x1b(Z",
    "\x1b#8",
    "\x1bc",
    "\x1b=",
    "\x1b]0;is it?\x07",
    "\x1b]2;4;?\x1b\\",
    "\x1b]8;;http://host/?a=?;b\x1b\\",
    "\x1b]11;#ffffff\x07",
    "\x1b]52;c;YQ==\x1b\\",
    "\x1bPq#0;2;0;0;0~\x1b\\",
    "\x1b_Ga=T,f=24;a=q\x1b\\",
];

fn passed(chunks: &[String]) -> String {
    let mut unasked = Unasked::default();
    chunks.iter().map(|chunk| unasked.pass(chunk)).collect()
}

/// A text in pieces of so many letters.
fn cut(text: &str, sizes: &[usize]) -> Vec<String> {
    let (mut letters, mut sizes, mut chunks) = (text.chars().peekable(), sizes.iter().cycle(), Vec::new());
    while letters.peek().is_some() {
        chunks.push(letters.by_ref().take(*sizes.next().unwrap()).collect());
    }
    chunks
}

#[test]
fn each_query_is_taken_out_and_nothing_else() {
    for query in QUERIES {
        for cuts in [&[1000][..], &[1], &[2, 1]] {
            assert_eq!(passed(&cut(&format!("a{query}b"), cuts)), "ab", "{query:?}");
        }
    }
    for other in OTHERS {
        assert_eq!(passed(&[format!("a{other}b")]), format!("a{other}b"));
    }
}

/// What a program has written so that what is left of it is a query.
#[test]
fn nothing_is_put_together_by_what_is_taken_out() {
    for (text, expected) in [
        ("\x1b[\x1b[c6n", "6n"),
        ("\x1b\x1b[c[6n", "[6n"),
        ("\x1b[\u{9b}c6n", "6n"),
        ("\x1b[6\x05n", ""),
        ("\x1b[6\nn", "\n"),
        ("\x1b[6\x7fn", ""),
        // Any escape character ends a string.
        ("\x1b]11;?\x1b[mx", "\x1b[mx"),
        ("\x1b]0;a\x1b[cb", "\x1b]0;a\x1b\\b"),
        ("\x1bPq~\x1b[6nb", "\x1bPq~\x1b\\b"),
        ("\x1b]0;a\x07\x1b[cb", "\x1b]0;a\x07b"),
        ("\x1b]11;?\x18x", "\x18x"),
        ("\x1b]11;", ""),
        ("\x1b[6", ""),
    ] {
        assert_eq!(passed(&[text.to_owned()]), expected, "{text:?}");
        assert_eq!(passed(&cut(text, &[1])), expected, "{text:?}");
    }
    let long = format!("\x1b]4;{}?\x07end", "1;#ffffff;".repeat(LONGEST));
    assert_eq!(passed(&[long]), "end");
    let image = format!("\x1b]1337;File=inline=1:{}\x07", "A".repeat(LONGEST / 2));
    assert_eq!(passed(std::slice::from_ref(&image)), image);
}

proptest! {
    #[test]
    fn what_is_no_query_passes_unchanged(
        parts in prop::collection::vec((any::<bool>(), 0usize..1000, "[^\\x00-\\x1f\\x7f-\\x9f]{0,5}"), 0..30),
        sizes in prop::collection::vec(1usize..7, 1..9),
    ) {
        let (mut all, mut expected) = (String::new(), String::new());
        for (asks, which, text) in parts {
            let other = OTHERS[which % OTHERS.len()];
            all.push_str(other);
            all.push_str(&text);
            expected.push_str(other);
            expected.push_str(&text);
            if asks {
                all.push_str(QUERIES[which % QUERIES.len()]);
            }
        }
        prop_assert_eq!(passed(&cut(&all, &sizes)), expected);
    }

    /// And what comes of anything has nothing to be taken out.
    #[test]
    fn what_has_passed_passes_again(text in "[\\x1b\\x05\\x07\\x18\\[\\]PG_Z?>;cnq6a$\\\\\u{9b}\u{9c}\u{9d}]{0,40}") {
        // What is not whole is cancelled.
        let once = passed(&[text]) + "\x18";
        prop_assert_eq!(passed(std::slice::from_ref(&once)), once);
    }
}
