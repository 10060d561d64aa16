//! Before anything is measured: a good token passes and reaches the upstream, and what a system claims to
//! check it refuses. A gateway that lets everything through is fast.

use crate::Failure;
use crate::asking::{ANSWER, Answer, PATH};
use crate::place::Running;
use crate::tokens::Tokens;

/// # Errors
/// When a good token is refused or a bad one passes.
pub(crate) fn check(running: &Running, tokens: &Tokens) -> Result<(), Failure> {
    let (name, algorithm) = (running.system.name, running.system.algorithm);
    let Answer { status, body } = running.get(PATH, Some(&tokens.good(algorithm)?))?;
    if status != 200 || body != ANSWER {
        return Err(format!("{name}: a good token was answered {status}: {body}").into());
    }
    for bad in running.system.refuses {
        let token = tokens.bad(algorithm, *bad)?;
        let status = running.get(PATH, token.as_deref())?.status;
        if !matches!(status, 401 | 403) {
            return Err(format!("{name}: {bad:?} was answered {status}").into());
        }
    }
    Ok(())
}
