//! A text that is no YAML tree: where that shows, why, and what would be right.
//!
//! Must never: repeat what the file says there. It may be a secret that needs quotes.

/// A text that is no tree at all.
#[derive(Debug)]
pub(in crate::config) struct Unreadable {
    pub(in crate::config) line: usize,
    pub(in crate::config) column: usize,
    pub(in crate::config) message: String,
}

pub(in crate::config) const REPEATS: &str =
    "the anchors in this file repeat too much; write out what is meant";

impl Unreadable {
    pub(in crate::config) fn at((line, column): (usize, usize), message: impl Into<String>) -> Self {
        Self { line, column, message: message.into() }
    }

    /// What the YAML reader says. `reached`: where the reading was, for what the reader gives no place.
    pub(in crate::config) fn of(
        error: &serde_yaml::Error,
        text: &str,
        reached: impl FnOnce() -> (usize, usize),
    ) -> Self {
        let message = error.to_string();
        let Some(at) = error.location() else {
            if message.contains("more than one document") {
                let why = "a second document begins here; a configuration is one: remove this, or what stands before it";
                return Self::at((second_document(text), 1), why);
            }
            let repeats = message.contains("repetition limit");
            return Self::at(reached(), if repeats { REPEATS.to_owned() } else { message });
        };
        let place = format!(" at line {} column {}", at.line(), at.column());
        let mut message = message.replacen(&place, "", 1);
        // The parser counts on behind the end.
        let line = at.line().min(text.lines().count()).max(1);
        let nth = |line: usize| text.lines().nth(line).unwrap_or_default();
        message.push_str(remedy(&message, nth(line.saturating_sub(1)), nth(line.saturating_sub(2))));
        Self { line, column: at.column(), message }
    }
}

/// What would be right in this line, or in the one `before` it.
fn remedy(message: &str, line: &str, before: &str) -> &'static str {
    if line.trim_start_matches(' ').starts_with('\t') {
        "; a tab: YAML is indented with spaces"
    } else if message.contains("alias") || message.contains("anchor") {
        "; text that begins with `*` or `&` is quoted, like `\"*.example.com\"`"
    } else if has_address_in_brackets(line) {
        "; an address in brackets is quoted, like `\"[::]:8080\"`"
    } else if [line, before].iter().any(|line| line.contains('\u{a0}')) {
        "; a no-break space (U+00A0), as word processors make it: write a space"
    } else if message.contains("expected ',' or '}'") {
        "; in braces a value with a brace in it is quoted, like `\"/users/{id}/*\"` or `\"${NAME}\"`"
    } else if message.contains("expected node content") && line.contains("::") {
        "; an IPv6 address in a list is quoted, like `\"::1\"`"
    } else if message.contains("could not find expected ':'") {
        "; a key has a colon and a space behind it, here or in the line before"
    } else if message.contains("unexpected end of stream") {
        "; a quote that was begun has no end"
    } else if message.contains("cannot start any token") {
        "; text that begins with such a sign is quoted"
    } else if message.contains("block") || message.contains("mapping values") {
        "; compare the indentation with the lines above"
    } else {
        ""
    }
}

/// Whether an IPv6 address in brackets (RFC 3986 section 3.2.2) stands where a value begins, where YAML reads
/// a list.
fn has_address_in_brackets(line: &str) -> bool {
    line.match_indices('[').any(|(at, _)| {
        let begins = line.get(..at).is_some_and(|before| before.ends_with([' ', '[', '{', ',']));
        let inside = line.get(at..).and_then(|rest| rest.get(1..)?.split_once(']'));
        let is_address = |inside: &str| {
            inside.matches(':').count() > 1
                && inside.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'))
        };
        begins && inside.is_some_and(|(inside, _)| is_address(inside))
    })
}

/// The line at which a second document begins (YAML 1.2.2 section 9.1): at a `---` behind something, or
/// behind `...`.
fn second_document(text: &str) -> usize {
    let (mut something, mut ended) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let is_mark = |mark: &str| {
            line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']))
        };
        let is_content = !line.trim().is_empty() && !line.trim_start().starts_with('#');
        match () {
            () if is_mark("---") && something => return index.saturating_add(1),
            () if is_mark("...") => ended = true,
            () if is_content && ended => return index.saturating_add(1),
            () => something |= is_content && !line.starts_with('%'),
        }
    }
    1
}
