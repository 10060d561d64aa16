//! Parameters of a query or a form: each of them at most once (RFC 6749 section 3.1), and one without a
//! value counts as absent.

use std::collections::HashMap;

use http::{HeaderMap, Request, header};
use hyper::body::Incoming;

use crate::demo::serve::{BodyFault, read_body};

/// No form of OAuth is longer, in bytes.
const LIMIT: usize = 64 * 1024;

/// Parameters by name.
#[derive(Debug)]
pub(super) struct Form(HashMap<String, String>);

/// Why there is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormFault {
    /// A parameter came more than once.
    Repeated,
    NotAForm,
    TooLarge,
    Broken,
}

impl FormFault {
    /// What is wrong, for an `error_description`.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Repeated => "a parameter came more than once",
            Self::NotAForm => "the body is not application/x-www-form-urlencoded",
            Self::TooLarge => "the body is too large",
            Self::Broken => "the body did not come whole",
        }
    }
}

impl Form {
    pub(super) fn parse(text: &[u8]) -> Result<Self, FormFault> {
        let mut parameters = HashMap::new();
        for (name, value) in form_urlencoded::parse(text) {
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(FormFault::Repeated);
            }
        }
        parameters.retain(|_, value| !value.is_empty());
        Ok(Self(parameters))
    }

    /// The form in the body of `request`, and its headers.
    pub(super) async fn read(request: Request<Incoming>) -> (HeaderMap, Result<Self, FormFault>) {
        let (head, body) = request.into_parts();
        if !is_form(&head.headers) {
            return (head.headers, Err(FormFault::NotAForm));
        }
        let form = match read_body(body, LIMIT).await {
            Ok(text) => Self::parse(&text),
            Err(BodyFault::TooLarge) => Err(FormFault::TooLarge),
            Err(BodyFault::Broken) => Err(FormFault::Broken),
        };
        (head.headers, form)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media_type
        .and_then(|text| text.split(';').next())
        .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_counts_once_and_only_with_a_value() {
        let form = Form::parse(b"a=1&b=&c=x%20y+z").unwrap();
        assert_eq!((form.get("a"), form.get("b"), form.get("c")), (Some("1"), None, Some("x y z")));
        assert_eq!(Form::parse(b"a=1&a=1").unwrap_err(), FormFault::Repeated);
        assert_eq!(Form::parse(b"a=&a=1").unwrap_err(), FormFault::Repeated);
    }
}
