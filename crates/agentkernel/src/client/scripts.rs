//! Files of a sandbox as its own programs see them: scripts for its shell, with the path as their first argument.

/// Makes the file what comes on standard input, and the directories that lead to it.
pub const WRITE: &str = r#"mkdir -p "$(dirname "$1")" && cat > "$1""#;

/// How [`READ_LINES`] ends if there is no such file.
pub const MISSING: u8 = 2;

/// Gives the file from the line that is the second argument, so many lines as the third, so many bytes as the fourth. What is no file, such as a
/// fifo, may say nothing for ever.
pub const READ_LINES: &str = r#"[ -e "$1" ] || { echo "There is no $1" >&2; exit 2; }
[ -d "$1" ] && { echo "$1 is a directory" >&2; exit 1; }
[ -f "$1" ] || { echo "$1 is no file" >&2; exit 1; }
[ -r "$1" ] || { echo "$1 can't be read" >&2; exit 1; }
tail -n "+$2" "$1" | head -n "$3" | head -c "$4""#;
