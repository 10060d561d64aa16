//! `${X}` inside one scalar: replaced after parsing, once, so that no value from the environment
//! can become YAML, another variable or a path parameter.
//!
//! Must never: put a value into an error. The name of a variable may be told, its value not.

/// Looks a name of the environment up.
pub(super) type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A scalar after replacement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// `${X:-default}` stood in it, whether or not the default was used.
    pub(super) has_default: bool,
}

/// Replaces every `${X}` and `${X:-default}`; `$$` is a dollar. As in a shell, a default also
/// stands in for a variable that is set and empty. The error says what would be right.
pub(super) fn expand(text: &str, env: &Environment<'_>) -> Result<Expanded, String> {
    let mut out = Expanded { text: String::with_capacity(text.len()), has_default: false };
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
        out.has_default |= default.is_some();
        let value = match (env(name), default) {
            (Some(value), None) => value,
            (Some(value), Some(_)) if !value.is_empty() => value,
            (_, Some(default)) => default.to_owned(),
            (None, None) => return Err(format!("the environment variable `{name}` is not set; set it")),
        };
        out.text.push_str(&value);
        rest = after;
    }
    out.text.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "X" => Some("value".to_owned()),
            "NESTED" => Some("${X} $$ {id}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn text(of: &str) -> Result<String, String> {
        expand(of, &env).map(|e| e.text)
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
        assert!(expand("${X:-d}", &env).unwrap().has_default);
        assert!(!expand("${X}", &env).unwrap().has_default);
    }

    #[test]
    fn mistakes_name_the_variable_and_never_a_value() {
        assert!(text("${NO}").unwrap_err().contains("`NO`"));
        for bad in ["$X", "5$", "${", "${X", "${}", "${1X}", "${X-d}", "${ X }"] {
            let error = text(bad).unwrap_err();
            assert!(error.contains("$$"), "{bad}: {error}");
        }
    }
}
