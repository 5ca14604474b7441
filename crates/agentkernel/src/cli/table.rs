//! Columns of text, as wide as they must be.

pub(super) use wire::printable;

/// Lines of cells under a heading; the last column is not padded. Cells are made [printable].
pub(super) fn render(heading: &[&str], rows: &[Vec<String>]) -> String {
    render_within(usize::MAX, heading, rows)
}

/// The same with columns of so many characters at most: a cell that is longer pushes on what follows in its own line, and
/// in no other.
pub(super) fn render_within(widest: usize, heading: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count().min(widest));
        }
    }
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 3));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&mut heading.iter().copied());
    for row in &rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

/// A point in time as Docker prints it: RFC 3339, UTC, nanoseconds.
pub(super) fn rfc3339(time_ns: u64) -> String {
    let (seconds, nanos) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
    let text = wire::rfc3339(i64::try_from(seconds).unwrap_or(i64::MAX));
    format!("{}.{nanos:09}Z", text.trim_end_matches('Z'))
}

/// A point in time as event streams print it: RFC 3339, UTC, milliseconds.
pub(super) fn time(time_ms: u64) -> String {
    let time = rfc3339(time_ms.saturating_mul(1_000_000));
    time.get(..23).map_or(time.clone(), |time| format!("{time}Z"))
}

/// A span of time in words, as Docker says it: the largest unit only.
pub(super) fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A number of bytes in binary units.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let text = render(&["A", "LONG", "C"], &[vec!["aaa".into(), "é".into(), String::new()]]);
        assert_eq!(text, "A     LONG   C\naaa   é\n");
    }

    #[test]
    fn one_long_cell_moves_no_other_line() {
        let rows = [["a", "b", "c"], ["a long one", "b", "c"], ["abcd", "b", "c"]];
        let rows = rows.map(|row| row.map(String::from).to_vec());
        let text = render_within(4, &["X", "Y", "Z"], &rows);
        assert_eq!(text, "X      Y   Z\na      b   c\na long one   b   c\nabcd   b   c\n");
    }

    #[test]
    fn nothing_that_a_terminal_obeys() {
        assert_eq!(render(&["A", "B"], &[vec!["\x1b".into(), "x".into()]]), "A        B\n\\u{1b}   x\n");
    }

    #[test]
    fn times_are_dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(rfc3339(1_767_225_599_999_999_999), "2025-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn spans_and_sizes() {
        assert_eq!(span(1), "1 second");
        assert_eq!(span(7200), "2 hours");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }
}
