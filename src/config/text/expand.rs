//! `${X}` inside one scalar: replaced after parsing, once, so that no value from the environment
//! can become YAML, another variable or a path parameter.
//!
//! Must never: put a value into an error. The name of a variable may be told, its value not.

use crate::config::machine::Machine;

/// A scalar after replacement.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct Expanded {
    pub(in crate::config) text: String,
    /// `${X:-default}` stood in it, whether or not the default was used.
    pub(in crate::config) has_default: bool,
    /// A variable held a sign that would mean something in the pattern of a path.
    pub(in crate::config) brings_pattern: bool,
}

/// Signs of `{name}` and `*`.
const OF_PATTERNS: [char; 3] = ['{', '}', '*'];

/// Replaces every `${X}` and `${X:-default}`; `$$` is a dollar. As in a shell, a default also stands in for a
/// variable that is set and empty; it is taken as it stands. The error says what would be right.
pub(in crate::config) fn expand(text: &str, machine: &dyn Machine) -> Result<Expanded, String> {
    let mut out =
        Expanded { text: String::with_capacity(text.len()), has_default: false, brings_pattern: false };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.text.push('$');
            rest = after;
            continue;
        }
        let Some((inside, after)) = after.strip_prefix('{').and_then(|a| a.split_once('}')) else {
            return Err("a `$` stands alone; write `${NAME}` for a variable, `$$` for a dollar".to_owned());
        };
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err(
                "`${…}` needs the name of an environment variable: letters, digits, `_`, no digit first; `$$` is a dollar"
                    .to_owned(),
            );
        }
        if default.is_some_and(|default| default.contains(['$', '{'])) {
            return Err(format!(
                "the default of `{name}` has a `$` or `{{` in it, and ends at the first `}}`; a default holds no variable, no dollar and no `{{`: set `{name}`, or write another default"
            ));
        }
        out.has_default |= default.is_some();
        match (held(name, machine)?, default) {
            (Some(value), None) => out.push(&value),
            (Some(value), Some(_)) if !value.is_empty() => out.push(&value),
            (_, Some(default)) => out.text.push_str(default),
            (None, None) => return Err(format!("the environment variable `{name}` is not set; set it")),
        }
        rest = after;
    }
    out.text.push_str(rest);
    Ok(out)
}

impl Expanded {
    fn push(&mut self, held: &str) {
        self.brings_pattern |= held.contains(OF_PATTERNS);
        self.text.push_str(held);
    }
}

/// What a variable holds; `None` where it is not set.
fn held(name: &str, machine: &dyn Machine) -> Result<Option<String>, String> {
    let Some(value) = machine.variable(name) else { return Ok(None) };
    let is_no_text =
        |_| format!("the environment variable `{name}` is set, and is not UTF-8; set it to text in UTF-8");
    value.into_string().map(Some).map_err(is_no_text)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::net::IpAddr;
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    struct Env;

    impl Machine for Env {
        fn variable(&self, name: &str) -> Option<OsString> {
            Some(match name {
                "X" => "value".into(),
                "NESTED" => "${X} $$ {id}".into(),
                "EMPTY" => "".into(),
                "LATIN1" => OsString::from_vec(b"stra\xdfe".to_vec()),
                _ => return None,
            })
        }

        fn has_address(&self, _: IpAddr) -> bool {
            false
        }
    }

    fn text(of: &str) -> Result<String, String> {
        expand(of, &Env).map(|e| e.text)
    }

    #[test]
    fn variables_are_replaced_once_and_nothing_is_read_twice() {
        assert_eq!(text("a ${X}-${X} z").unwrap(), "a value-value z");
        assert_eq!(text("${NESTED}").unwrap(), "${X} $$ {id}");
        assert_eq!(text("$$X $${X} 5$$").unwrap(), "$X ${X} 5$");
        assert_eq!(text("no dollar").unwrap(), "no dollar");
    }

    #[test]
    fn a_default_stands_in_for_unset_and_for_empty() {
        assert_eq!(text("${NO:-d e}").unwrap(), "d e");
        assert_eq!(text("${EMPTY:-d}").unwrap(), "d");
        assert_eq!(text("${X:-d}").unwrap(), "value");
        assert_eq!(text("${NO:-}").unwrap(), "");
        assert!(expand("${X:-d}", &Env).unwrap().has_default);
        assert!(!expand("${X}", &Env).unwrap().has_default);
    }

    #[test]
    fn mistakes_name_the_variable_and_never_a_value() {
        assert!(text("${NO}").unwrap_err().contains("`NO`"));
        for bad in ["$X", "5$", "${", "${X", "${}", "${1X}", "${X-d}", "${ X }"] {
            let error = text(bad).unwrap_err();
            assert!(error.contains("$$"), "{bad}: {error}");
        }
    }
    #[test]
    fn a_default_is_taken_as_it_stands_or_refused() {
        for bad in
            ["${X:-${Y}}", "${NO:-${X}}", "${NO:-a$$b}", "${X:-a$}", "${NO:-{id}}", "${EMPTY:-${NO:-x}}"]
        {
            let error = text(bad).unwrap_err();
            assert!(
                error.contains("a default holds no variable") && !error.contains("value"),
                "{bad}: {error}"
            );
        }
        assert_eq!(text("${NO:-a}b}").unwrap(), "ab}", "its first brace ends it");
    }

    #[test]
    fn a_variable_that_is_no_text_is_not_taken_for_one_that_is_not_set() {
        for no_text in ["${LATIN1}", "${LATIN1:-x}"] {
            let error = text(no_text).unwrap_err();
            assert!(
                error.contains("`LATIN1` is set, and is not UTF-8") && !error.contains("stra"),
                "{error}"
            );
        }
    }

    #[test]
    fn only_what_a_variable_held_brings_a_pattern() {
        let brings = |of: &str| expand(of, &Env).unwrap().brings_pattern;
        assert!(brings("/a/${NESTED}") && brings("${NESTED:-x}"));
        assert!(!brings("/{id}/${X}/*") && !brings("/{id}/${NO:-*}"));
    }
}
