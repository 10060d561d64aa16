//! Rust source as tokens with comments and literals gone, and the paths that it names. Enough of the
//! language for the rules of the house; nothing is expanded.

/// A token that matters to a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Ident(String),
    /// One punctuation character, or `::` or `->`.
    Punct(&'static str),
    /// Any other punctuation character.
    Other(char),
    /// A string, character or number.
    Literal,
    Lifetime,
}

#[derive(Clone, Debug)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) line: usize,
    /// Whether it belongs to an item under `#[cfg(test)]`.
    pub(crate) in_test: bool,
}

/// A path as written, for example `["crate", "core", "ids"]`. `super` and `self` are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedPath {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) in_test: bool,
}

#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) tokens: Vec<Spanned>,
    /// Its first lines, as far as they are about all of it (`//!`).
    pub(crate) header: String,
    /// Lines before the first `#[cfg(test)]` module.
    pub(crate) lines_before_tests: usize,
    /// Lines that are a comment, and where each stands.
    pub(crate) comments: Vec<(usize, String)>,
    module: Vec<String>,
}

impl Source {
    /// `module`: the path of the file's module, for example `["core", "token", "jwt"]`.
    pub(crate) fn read(text: &str, module: &[&str]) -> Self {
        let mut tokens = tokenize(text);
        mark_tests(&mut tokens);
        let lines_before_tests = tokens
            .iter()
            .zip(tokens.iter().skip(1))
            .find(|(a, b)| a.in_test && is_ident(a, "mod") && ident(b).is_some())
            .map_or(text.lines().count(), |(a, _)| a.line - 1);
        let header = text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
        let comments = (1..).zip(text.lines()).filter(|(_, line)| line.trim_start().starts_with("//"));
        Self {
            tokens,
            header,
            lines_before_tests,
            comments: comments.map(|(at, line)| (at, line.to_owned())).collect(),
            module: module.iter().map(ToString::to_string).collect(),
        }
    }

    /// Makes all of it a test: the file of a module that is declared under `#[cfg(test)]`.
    pub(crate) fn mark_all_as_test(&mut self) {
        self.lines_before_tests = 0;
        for token in &mut self.tokens {
            token.in_test = true;
        }
    }

    /// The modules in files of their own that are declared under `#[cfg(test)]`.
    pub(crate) fn test_modules(&self) -> Vec<Vec<String>> {
        let (mut inline, mut found) = (Inline::default(), Vec::new());
        for at in 0..self.tokens.len() {
            inline.pass(self, at);
            if let Some(name) = self.declared(at, true) {
                let within = self.module.iter().chain(inline.names()).cloned();
                found.push(within.chain([name.to_owned()]).collect());
            }
        }
        found
    }

    /// Names and lines of the modules in files of their own, but for those for tests.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (&str, usize)> {
        (0..self.tokens.len())
            .filter_map(|at| self.declared(at, false).map(|name| (name, self.tokens[at].line)))
    }

    /// The module in a file of its own that is declared there.
    fn declared(&self, at: usize, for_tests: bool) -> Option<&str> {
        let declares =
            self.tokens[at].in_test == for_tests && self.is_ident(at, "mod") && self.is_punct(at + 2, ";");
        self.ident(at + 1).filter(|_| declares)
    }

    pub(crate) fn is_ident(&self, at: usize, name: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| is_ident(token, name))
    }

    pub(crate) fn is_punct(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.token == punct(text))
    }

    /// Every path that is named, in `use` trees and in the code.
    pub(crate) fn paths(&self) -> Vec<NamedPath> {
        let mut found = Vec::new();
        let (mut inline, mut at) = (Inline::default(), 0);
        while at < self.tokens.len() {
            inline.pass(self, at);
            if self.is_ident(at, "use") && !self.is_punct(at + 1, "<") {
                let start = at;
                let mut trees = Vec::new();
                at = self.use_tree(at + 1, &[], &mut trees);
                found.extend(trees.into_iter().map(|segments| self.named(segments, start, &inline)));
                continue;
            } else if self.starts_path(at) {
                let (start, mut segments) = (at, Vec::new());
                while let Some(name) = self.ident(at) {
                    segments.push(name.to_owned());
                    if !(self.is_punct(at + 1, "::") && self.ident(at + 2).is_some()) {
                        break;
                    }
                    at += 2;
                }
                found.push(self.named(segments, start, &inline));
            }
            at += 1;
        }
        found
    }

    pub(crate) fn ident(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).and_then(ident)
    }

    /// A name followed by `::` that no `::` precedes, unless that one is a leading `::`.
    fn starts_path(&self, at: usize) -> bool {
        if self.ident(at).is_none() || !self.is_punct(at + 1, "::") {
            return false;
        }
        let after_colons = at > 0 && self.is_punct(at - 1, "::");
        let leading = at < 2 || !(self.ident(at - 2).is_some() || self.is_punct(at - 2, ">"));
        !after_colons || leading
    }

    /// Reads one use tree from `at`; returns where it ends.
    fn use_tree(&self, mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
        let mut path = prefix.to_vec();
        if self.is_punct(at, "::") {
            at += 1;
        }
        loop {
            if self.is_punct(at, "{") {
                at += 1;
                while at < self.tokens.len() && !self.is_punct(at, "}") {
                    at = self.use_tree(at, &path, found);
                    if self.is_punct(at, ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            match self.ident(at) {
                Some(name) => path.push(name.to_owned()),
                None if self.is_punct(at, "*") => path.push("*".to_owned()),
                None => return at + 1,
            }
            at += 1;
            if !self.is_punct(at, "::") {
                break;
            }
            at += 1;
        }
        if self.is_ident(at, "as") {
            at += 2;
        }
        found.push(path);
        at
    }

    fn named(&self, segments: Vec<String>, at: usize, inline: &Inline) -> NamedPath {
        let mut here: Vec<String> = self.module.clone();
        here.extend(inline.names().cloned());
        let mut rest = segments.as_slice();
        let mut relative = false;
        while let Some((first, tail)) = rest.split_first() {
            match first.as_str() {
                "self" if !tail.is_empty() || relative => {}
                "super" => {
                    here.pop();
                }
                _ => break,
            }
            relative = true;
            rest = tail;
        }
        let segments = if relative {
            ["crate".to_owned()].into_iter().chain(here).chain(rest.iter().cloned()).collect()
        } else {
            segments
        };
        let Spanned { line, in_test, .. } = self.tokens[at];
        NamedPath { segments, line, in_test }
    }

    /// The functions that an attribute naming `test` makes tests, and none has `ignore`.
    pub(crate) fn test_names(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let (mut names_test, mut is_ignored, mut next) = (false, false, at);
            while let Some(end) = self.attribute_end(next) {
                let names = |word| (next..end).any(|i| self.is_ident(i, word));
                names_test |= names("test") && !names("cfg") && !names("cfg_attr");
                is_ignored |= names("ignore");
                next = end;
            }
            at = next.max(at + 1);
            if names_test && !is_ignored {
                while ["pub", "async"].iter().any(|word| self.is_ident(next, word)) {
                    next += 1;
                }
                if self.is_ident(next, "fn") {
                    found.extend(self.ident(next + 1).map(str::to_owned));
                }
            }
        }
        found
    }

    /// Where the attribute that starts at `at` ends.
    fn attribute_end(&self, at: usize) -> Option<usize> {
        attribute_end(&self.tokens, at)
    }
}

/// The inline modules that enclose a token, each with the brace depth at which it ends.
#[derive(Debug, Default)]
struct Inline {
    open: Vec<(String, usize)>,
    depth: usize,
}

impl Inline {
    /// Goes on over the token at `at`, the one after that before.
    fn pass(&mut self, source: &Source, at: usize) {
        if source.is_punct(at, "{") {
            self.depth += 1;
        } else if source.is_punct(at, "}") {
            self.depth -= 1;
            if self.open.last().is_some_and(|(_, end)| *end == self.depth) {
                self.open.pop();
            }
        } else if source.is_ident(at, "mod") && source.is_punct(at + 2, "{") {
            self.open.extend(source.ident(at + 1).map(|name| (name.to_owned(), self.depth)));
        }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.open.iter().map(|(name, _)| name)
    }
}

fn ident(token: &Spanned) -> Option<&str> {
    match &token.token {
        Token::Ident(name) => Some(name),
        _ => None,
    }
}

fn is_ident(token: &Spanned, name: &str) -> bool {
    ident(token) == Some(name)
}

fn punct(text: &str) -> Token {
    PUNCTUATION.iter().find(|known| **known == text).map_or_else(
        || Token::Other(text.chars().next().expect("one character")),
        |known| Token::Punct(known),
    )
}

const PUNCTUATION: [&str; 15] = ["::", "->", "{", "}", "(", ")", "[", "]", "<", ">", ",", ";", "#", "&", "*"];

fn attribute_end(tokens: &[Spanned], at: usize) -> Option<usize> {
    let is = |at: usize, text| tokens.get(at).is_some_and(|token| token.token == punct(text));
    if !is(at, "#") {
        return None;
    }
    let mut next = at + 1;
    if tokens.get(next).is_some_and(|token| token.token == Token::Other('!')) {
        next += 1;
    }
    if !is(next, "[") {
        return None;
    }
    let mut depth = 0;
    while next < tokens.len() {
        if is(next, "[") {
            depth += 1;
        } else if is(next, "]") {
            depth -= 1;
            if depth == 0 {
                return Some(next + 1);
            }
        }
        next += 1;
    }
    None
}

/// Marks every item under `#[cfg(test)]`, or `#[cfg(all(test, …))]`.
fn mark_tests(tokens: &mut [Spanned]) {
    let mut at = 0;
    while at < tokens.len() {
        let Some(end) = attribute_end(tokens, at) else {
            at += 1;
            continue;
        };
        let words: Vec<&str> = tokens[at..end].iter().filter_map(ident).collect();
        let for_tests = words.first() == Some(&"cfg") && words.contains(&"test") && !words.contains(&"not");
        if !for_tests {
            at = end;
            continue;
        }
        let item_end = item_end(tokens, end);
        for token in &mut tokens[at..item_end] {
            token.in_test = true;
        }
        at = item_end;
    }
}

/// Where the item that starts at `at` ends: after its `;`, or after its braces.
fn item_end(tokens: &[Spanned], mut at: usize) -> usize {
    while let Some(end) = attribute_end(tokens, at) {
        at = end;
    }
    let mut depth = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        if token.token == punct("{") {
            depth += 1;
        } else if token.token == punct("}") {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        } else if token.token == punct(";") && depth == 0 {
            return at;
        }
    }
    tokens.len()
}

fn tokenize(text: &str) -> Vec<Spanned> {
    let mut reader = Reader { chars: text.chars().collect(), at: 0, line: 1 };
    let mut tokens = Vec::new();
    loop {
        reader.skip_space_and_comments();
        let line = reader.line;
        let Some(token) = reader.token() else { return tokens };
        tokens.push(Spanned { token, line, in_test: false });
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, c)| self.peek(ahead) == Some(c))
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            if self.peek(0).is_some_and(char::is_whitespace) {
                self.next();
            } else if self.starts_with("//") {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.next();
                }
            } else if self.starts_with("/*") {
                let mut depth = 0;
                loop {
                    if self.starts_with("/*") {
                        depth += 1;
                        self.next();
                    } else if self.starts_with("*/") {
                        depth -= 1;
                        self.next();
                    }
                    if self.next().is_none() || depth == 0 {
                        break;
                    }
                }
            } else {
                return;
            }
        }
    }

    fn token(&mut self) -> Option<Token> {
        let c = self.peek(0)?;
        if c.is_alphabetic() || c == '_' {
            let mut name = String::new();
            while let Some(c) = self.peek(0).filter(|c| c.is_alphanumeric() || *c == '_') {
                name.push(c);
                self.next();
            }
            return Some(self.after_name(name));
        }
        if c.is_ascii_digit() {
            while self.peek(0).is_some_and(|c| c.is_alphanumeric() || c == '_') {
                self.next();
            }
            return Some(Token::Literal);
        }
        if c == '"' {
            self.quoted('"');
            return Some(Token::Literal);
        }
        if c == '\'' {
            let is_char = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
            if is_char {
                self.quoted('\'');
                return Some(Token::Literal);
            }
            self.next();
            while self.peek(0).is_some_and(|c| c.is_alphanumeric() || c == '_') {
                self.next();
            }
            return Some(Token::Lifetime);
        }
        for two in ["::", "->"] {
            if self.starts_with(two) {
                self.at += 2;
                return Some(Token::Punct(two));
            }
        }
        self.next();
        Some(punct(&c.to_string()))
    }

    /// What a name turns out to be: raw and byte strings and raw identifiers begin like one.
    fn after_name(&mut self, name: String) -> Token {
        match (name.as_str(), self.peek(0)) {
            ("b" | "c", Some('"')) => self.quoted('"'),
            ("b", Some('\'')) => self.quoted('\''),
            ("r" | "br" | "cr", Some('"' | '#')) => {
                let mut hashes = 0;
                while self.peek(hashes) == Some('#') {
                    hashes += 1;
                }
                if self.peek(hashes) != Some('"') {
                    self.next(); // r#name
                    return self.token().unwrap_or(Token::Literal);
                }
                let end = format!("\"{}", "#".repeat(hashes));
                self.at += hashes + 1;
                while !self.starts_with(&end) && self.next().is_some() {}
                self.at += end.len();
            }
            _ => return Token::Ident(name),
        }
        Token::Literal
    }

    fn quoted(&mut self, quote: char) {
        self.next();
        while let Some(c) = self.next() {
            if c == '\\' {
                self.next();
            } else if c == quote {
                return;
            }
        }
    }
}
