//! Rust source as words and signs, without comments and literals.

/// A word, or one sign.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

/// The tokens of a source. `::` is one token.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_char(rest) {
            quoted(rest, '\'')
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (text, after) = rest.split_at(length);
        let literal = text.len() > 1 && (text.starts_with(['"', '/', '\'']) || text.ends_with(['"', '#']));
        if !literal && !text.trim().is_empty() {
            found.push(Token { text: text.to_owned(), line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    found
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of `r"..."`, `r#"..."#`, `br"..."`, ... at the start of the text.
fn raw_string(text: &str) -> Option<usize> {
    let body = text.strip_prefix('b').or_else(|| text.strip_prefix('c')).unwrap_or(text).strip_prefix('r')?;
    let hashes = body.bytes().take_while(|&byte| byte == b'#').count();
    let inside = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(text.len() - inside.len() + length)
}

/// The length of a literal that ends at the next unescaped `mark`.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        if c == mark && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// Whether a quote begins a character and not a lifetime.
fn is_char(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (_, Some('\'')))
}

/// Every path in the tokens with its `use` groups spelled out: its words, and the line of its last word.
fn all_paths(tokens: &[Token]) -> Vec<(Vec<&str>, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_word(&tokens[at]) {
            at = path_at(tokens, at, &mut Vec::new(), &mut found).max(at + 1);
        } else {
            at += 1;
        }
    }
    found
}

fn is_word(token: &Token) -> bool {
    token.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads the path that begins at a token, below a prefix; gives the token after it.
fn path_at<'a>(
    tokens: &'a [Token],
    mut at: usize,
    prefix: &mut Vec<&'a str>,
    found: &mut Vec<(Vec<&'a str>, usize)>,
) -> usize {
    let kept = prefix.len();
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    while tokens.get(at).is_some_and(is_word) {
        prefix.push(&tokens[at].text);
        at += 1;
        if text(at) != "::" {
            found.push((prefix.clone(), tokens[at - 1].line));
            break;
        }
        at += 1;
        if text(at) == "{" {
            at += 1;
            while at < tokens.len() && text(at) != "}" {
                at = if is_word(&tokens[at]) { path_at(tokens, at, prefix, found) } else { at + 1 };
            }
            at += 1;
            break;
        }
        if !tokens.get(at).is_some_and(is_word) {
            // A glob or a turbofish ends the names.
            found.push((prefix.clone(), tokens[at - 1].line));
        }
    }
    prefix.truncate(kept);
    at
}

/// The lines on which a path is named from its first word on.
pub fn paths(tokens: &[Token], wanted: &[&str]) -> Vec<usize> {
    all_paths(tokens).into_iter().filter(|(path, _)| path.starts_with(wanted)).map(|(_, line)| line).collect()
}

/// What is named directly below the crate's root, from a module at `depth` (0 is the root itself).
pub fn roots(tokens: &[Token], depth: usize, root: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (path, line) in all_paths(tokens) {
        let climbs = path.iter().take_while(|word| **word == "super").count();
        // An inline module may climb one further; more cannot compile.
        let name = match path.first() {
            Some(first) if *first == root => path.get(1),
            Some(_) if climbs > 0 && climbs >= depth => path.get(climbs),
            _ => None,
        };
        if let Some(name) = name {
            found.push(((*name).to_owned(), line));
        }
    }
    found
}
