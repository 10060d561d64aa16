//! Whether Redis lets its user do all that sessions and the list of revocations need: each command in a
//! script of its own, over keys that nobody else has, so that what is missing is named before a gateway meets
//! it. Redis itself names it in newer releases alone.
//!
//! It must leave nothing behind, and touch nothing of a running gateway.

use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::line::{Line, told};

/// KEYS: a key. ARGV: a command, which takes the key first, and what else it takes.
const CALL: &str = "return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))";
/// KEYS: a key, which says in a cluster who is asked. ARGV: a command that takes none.
const CALL_WITHOUT: &str = "return redis.call(unpack(ARGV))";

/// What it is called on.
#[derive(Clone, Copy)]
enum On {
    Nothing,
    Text,
    Hash,
    Log,
    Sorted,
}

/// What is asked for in scripts, whether a connection leads to one server or to several. What takes away
/// comes first: without it nothing is made.
const COMMANDS: [(&str, On, &[&str]); 16] = [
    ("DEL", On::Text, &[]),
    ("TIME", On::Nothing, &[]),
    ("EXISTS", On::Text, &[]),
    ("SET", On::Text, &["x", "PX", "1000"]),
    ("GET", On::Text, &[]),
    ("GETRANGE", On::Text, &["0", "7"]),
    ("HSET", On::Hash, &["x", "1"]),
    ("HGET", On::Hash, &["x"]),
    ("HINCRBY", On::Hash, &["x", "1"]),
    ("HSCAN", On::Hash, &["0"]),
    ("HDEL", On::Hash, &["y"]),
    ("XADD", On::Log, &["MAXLEN", "~", "100", "1-0", "x", "1"]),
    ("XRANGE", On::Log, &["1-0", "+", "COUNT", "1"]),
    ("ZADD", On::Sorted, &["1", "x"]),
    ("ZRANGE", On::Sorted, &["-inf", "1", "BYSCORE", "LIMIT", "0", "1"]),
    ("ZREM", On::Sorted, &["y"]),
];

/// Who answers, where one connection leads to several servers.
const IN_A_CLUSTER: (&str, On, &[&str]) = ("INFO", On::Nothing, &["server"]);

impl On {
    const fn name(self) -> &'static str {
        match self {
            Self::Nothing | Self::Text => "text",
            Self::Hash => "hash",
            Self::Log => "log",
            Self::Sorted => "sorted",
        }
    }
}

/// Whether an error says something of what was asked, and nothing of whoever was asked: that may be well.
pub(super) fn is_of_one_call(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::ResponseError))
}

/// The commands that may not be asked for over this line, in words; `None`: all may. `scratch`: how keys
/// begin that nobody else has.
///
/// # Errors
/// Redis cannot be asked, or not within `patience`.
pub(super) async fn missing(
    line: &Line,
    scratch: &str,
    patience: Duration,
) -> Result<RedisResult<Option<String>>, Elapsed> {
    let missing = timeout(patience, try_all(line, scratch)).await;
    let clearing = async {
        for on in [On::Text, On::Hash, On::Log, On::Sorted] {
            // Where it is refused nothing was made.
            let _ = call(line, scratch, "DEL", on, &[]).await;
        }
    };
    // Also behind what took too long; then no answer is worth a word.
    let _ = timeout(patience, clearing).await;
    missing
}

async fn try_all(line: &Line, scratch: &str) -> RedisResult<Option<String>> {
    if let Some(why) = refused(line.query::<Value>(&mut script("return 1", scratch)).await)? {
        return Ok(Some(format!("EVAL ({why})")));
    }
    let (mut missing, mut said) = (Vec::new(), None);
    let in_a_cluster = line.leads_to_several().then_some(IN_A_CLUSTER);
    for (command, on, arguments) in COMMANDS.into_iter().chain(in_a_cluster) {
        if let Some(why) = refused(call(line, scratch, command, on, arguments).await)? {
            missing.push(command);
            said.get_or_insert(why);
            if command == "DEL" {
                break;
            }
        }
    }
    if let Some(why) = refused(line.all_answer().await)? {
        missing.push("PING");
        said.get_or_insert(why);
    }
    Ok(said.map(|said| format!("{} ({said})", missing.join(", "))))
}

async fn call(line: &Line, scratch: &str, command: &str, on: On, arguments: &[&str]) -> RedisResult<Value> {
    let with = if matches!(on, On::Nothing) { CALL_WITHOUT } else { CALL };
    let mut script = script(with, &format!("{scratch}:{}", on.name()));
    line.query(script.arg(command).arg(arguments)).await
}

fn script(script: &str, key: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(1).arg(key);
    command
}

/// Why it was refused; `None`: it was not.
fn refused<T>(answer: RedisResult<T>) -> RedisResult<Option<String>> {
    match answer {
        Ok(_) => Ok(None),
        Err(error) if is_of_one_call(&error) => Ok(Some(told(&error))),
        Err(error) => Err(error),
    }
}
