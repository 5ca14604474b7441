//! Signals as people write them.

/// The names, without `SIG`, with their numbers.
const NAMES: [(&str, u8); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];
/// The first and the last real-time signal that C libraries leave to programs.
const REAL_TIME: (u8, u8) = (34, 64);

/// A signal by name, with or without `SIG`, or by number.
///
/// # Errors
/// Why there is none such.
pub fn parse_signal(text: &str) -> Result<u8, String> {
    if let Ok(number) = text.parse::<u8>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err("signals are 1 to 64".into()) };
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let (first, last) = REAL_TIME;
    // `RTMIN`, `RTMIN+N`, `RTMAX-N`
    let steps = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<u8>().ok().filter(|steps| *steps <= last - first),
    };
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => steps(rest, '+').map(|steps| first + steps),
        (_, Some(rest)) => steps(rest, '-').map(|steps| last - steps),
        _ => None,
    };
    let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    known.or(real_time).ok_or_else(|| "no such signal; give a name such as TERM, or a number".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_names_or_numbers() {
        for (text, number) in [
            ("sigterm", 15),
            ("KILL", 9),
            ("10", 10),
            ("SIGRTMIN+3", 37),
            ("rtmin", 34),
            ("RTMAX-1", 63),
            ("SIGPWR", 30),
        ] {
            assert_eq!(parse_signal(text), Ok(number), "{text}");
        }
        for text in ["0", "65", "NOPE", "", "RTMIN+31", "RTMIN-1", "RTMAX+1"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
