//! What is asked of Redis, and in which form the list is there: under one hash tag, so that each script sees
//! all of it in a cluster too.
//!
//! - `records` (hash): id → head and bytes. The head is `before:until:` in milliseconds, in digits, empty
//!   where there is none; it wins over what the bytes say, because the script that merges two moments reads
//!   and writes it alone.
//! - `ends` (sorted set): id by `until`
//! - `log` (stream): what was changed, numbered without gaps; each entry has a nonce, which shows to whoever
//!   comes back to it that nothing was lost and rewritten before it
//! - `about` (hash): `seq`, the number of the last entry, `epoch`, drawn when there was nothing or the
//!   records were lost, and `some`, whether there are records: 1 or 0. A Redis that makes room for others
//!   throws keys away, the largest among them.

use redis::{Cmd, RedisResult};

use crate::core::revocation::{Change, Revocation, RevocationId, Rule};
use crate::core::time::Timestamp;
use crate::flows::ports::{EntryAsSeen, StoreFault, random};
use crate::io::revocations::file::Position;
use crate::io::store::redis::line::Line;
use crate::io::store::redis::link::Link;
use crate::io::system::SystemRandomness;

/// KEYS: records, ends, log, about. ARGV: an epoch for when there is none.
///
/// Begins the log anew where that is gone, and takes out a few that have ended more than a minute ago.
/// Records that are gone while something says that there are some were lost: all compare then what they have
/// (a new epoch), and what was lifted they hear from the log, which stays.
const BEGIN: &str = "
local records, ends, log, about = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local seq = redis.call('HGET', about, 'seq')
if not seq or not redis.call('HGET', about, 'epoch') or (seq ~= '0' and redis.call('EXISTS', log) == 0) then
  redis.call('DEL', log)
  redis.call('HSET', about, 'epoch', ARGV[1], 'seq', '0')
end
local function note() redis.call('HSET', about, 'some', redis.call('EXISTS', records)) end
if redis.call('EXISTS', records) == 0 and (redis.call('HGET', about, 'some') == '1' or redis.call('EXISTS', ends) == 1) then
  redis.call('DEL', ends)
  redis.call('HSET', about, 'epoch', ARGV[1])
  note()
end
local t = redis.call('TIME')
local ended = redis.call('ZRANGE', ends, '-inf', (t[1] - 60) * 1000, 'BYSCORE', 'LIMIT', 0, 100)
for _, id in ipairs(ended) do
  redis.call('HDEL', records, id)
  redis.call('ZREM', ends, id)
end
if #ended > 0 then note() end
";

/// ARGV: the latest moment, in ms, or 0; how many conditions; of each an id, what the record there must begin
/// with (empty: there is none), and how much of it that says (-1: the whole). Then of each change: `A` or
/// `L`, id, nonce, before, until, bytes. Returns whether they were made (1) or not (0); 2: it is too late, as
/// it is for a put (`io::store::redis`).
///
/// In a cluster the library sends a call again whose connection broke: the nonce of its last change says that
/// it was made, and nothing is made of it again, neither of what others made of it meanwhile.
const APPEND: &str = "
local from = math.max(tonumber(redis.call('HGET', about, 'seq')) - 99, 0)
for _, entry in ipairs(redis.call('XRANGE', log, string.format('%.0f-0', from), '+')) do
  if entry[2][4] == ARGV[#ARGV-3] then return 1 end
end
local latest = tonumber(ARGV[2])
if latest > 0 and latest < t[1] * 1000 + math.floor(t[2] / 1000) then return 2 end
local changes = 4 + 3 * tonumber(ARGV[3])
for at = 4, changes - 1, 3 do
  local there = redis.call('HGET', records, ARGV[at]) or ''
  if string.sub(there, 1, tonumber(ARGV[at+2])) ~= ARGV[at+1] then return 0 end
end
for at = changes, #ARGV, 6 do
  local op, id, nonce, before, till, bytes = ARGV[at], ARGV[at+1], ARGV[at+2], ARGV[at+3], ARGV[at+4], ARGV[at+5]
  if op == 'L' then
    redis.call('HDEL', records, id)
    redis.call('ZREM', ends, id)
  else
    local there = before ~= '' and redis.call('HGET', records, id)
    if there then
      local b, u = string.match(there, '^(%d+):(%d*):')
      if b then
        if tonumber(b) > tonumber(before) then before = b end
        if u == '' or till == '' then till = '' elseif tonumber(u) > tonumber(till) then till = u end
      end
    end
    redis.call('HSET', records, id, before .. ':' .. till .. ':' .. bytes)
    if till == '' then redis.call('ZREM', ends, id) else redis.call('ZADD', ends, till, id) end
  end
  local next = redis.call('HINCRBY', about, 'seq', 1)
  redis.call('XADD', log, 'MAXLEN', '~', 100000, string.format('%.0f-0', next),
    'o', op, 'n', nonce, 'r', before .. ':' .. till .. ':' .. bytes)
end
note()
return 1
";

/// ARGV: from which number, how many. Returns epoch, number of the last change, and a part of the log.
const READ: &str = "
return {redis.call('HGET', about, 'epoch'), tonumber(redis.call('HGET', about, 'seq')),
  redis.call('XRANGE', log, ARGV[2] .. '-0', '+', 'COUNT', ARGV[3])}
";

/// KEYS: records. Of each record ARGV has: id, before, until, and of a block how it is kept. Returns which of
/// them (from 0) are not there, or with an earlier moment, or are another block, each with whether it is
/// there.
const BEHIND: &str = "
local behind = {}
for at = 1, #ARGV, 4 do
  local before, till, block = ARGV[at+1], ARGV[at+2], ARGV[at+3]
  local there = redis.call('HGET', KEYS[1], ARGV[at])
  if not there then
    behind[#behind + 1] = {(at - 1) / 4, 0}
  elseif block ~= '' then
    if there ~= block then behind[#behind + 1] = {(at - 1) / 4, 1} end
  else
    local b, u = string.match(there, '^(%d*):(%d*):')
    local is_later = b and before ~= '' and (b == '' or tonumber(before) > tonumber(b))
    local lasts = b and u ~= '' and (till == '' or tonumber(till) > tonumber(u))
    if is_later or lasts then behind[#behind + 1] = {(at - 1) / 4, 1} end
  end
end
return {server, behind}
";

/// KEYS: records. Returns the run of the server that has them: the slot of a cluster may move to another, and
/// back.
const SERVER: &str = "
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
";

/// In place of [`SERVER`], where there is one server.
const ALONE: &str = "
local server = ''
";

/// ARGV: a cursor, how many. Returns that, and what HSCAN says.
const SCAN: &str = "
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
return {server, found[1], found[2]}
";

/// The names of the keys.
pub(super) struct Names([String; 4]);

impl Names {
    pub(super) fn of(link: &Link) -> Self {
        Self(["records", "ends", "log", "about"].map(|key| link.name(&format!("{{revocations}}:{key}"))))
    }

    fn records(&self) -> &str {
        let [records, ..] = &self.0;
        records
    }

    fn script(&self, parts: [&str; 2]) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(parts.concat()).arg(4).arg(&self.0);
        // For when there is none; a version of 64 random bits never comes again.
        command.arg(nonce().to_string());
        command
    }
}

/// A part of the log.
pub(super) struct Read {
    pub(super) epoch: u64,
    /// The number of the last entry that there is.
    pub(super) last: u64,
    pub(super) entries: Vec<Entry>,
}

/// One entry of the log.
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) nonce: u64,
    /// `None`: it cannot be read.
    pub(super) change: Option<Change>,
}

/// A new one; none comes twice.
pub(super) fn nonce() -> u64 {
    u64::from_be_bytes(random(&SystemRandomness))
}

/// Makes these changes if these entries are what was found of them, and returns whether they are; the entry
/// of the last has the nonce `last`.
pub(super) async fn append(
    line: &Line,
    names: &Names,
    found: &[EntryAsSeen],
    changes: &[Change],
    last: u64,
) -> RedisResult<Result<bool, StoreFault>> {
    let mut command = names.script([BEGIN, APPEND]);
    command.arg(line.latest()).arg(found.len());
    for EntryAsSeen { id, entry } in found {
        let expected = entry.as_ref().map(as_found).unwrap_or_default();
        let counts = entry.as_ref().filter(|entry| entry.rule != Rule::Block).map(|_| expected.len());
        command.arg(id.as_bytes()).arg(&expected);
        command.arg(counts.map_or(Ok(-1), i64::try_from).unwrap_or(-1));
    }
    for (at, change) in changes.iter().enumerate() {
        let revocation = change.revocation();
        let op = if matches!(change, Change::Add(_)) { "A" } else { "L" };
        let nonce = if at + 1 == changes.len() { last } else { nonce() };
        command.arg(op).arg(change.id().as_bytes()).arg(&nonce.to_be_bytes());
        command.arg(before(revocation)).arg(digits(revocation.until)).arg(revocation.to_bytes());
    }
    Ok(match line.query::<u8>(&mut command).await? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(StoreFault::Deadline),
    })
}

/// As a block is kept there, of which nothing is merged: what was read of it makes the same bytes.
fn as_kept(block: &Revocation) -> Vec<u8> {
    [head(block).into_bytes(), block.to_bytes()].concat()
}

fn head(revocation: &Revocation) -> String {
    format!("{}:{}:", before(revocation), digits(revocation.until))
}

/// The bytes that an entry must still begin with where it is to be changed: all of a block, the head of any
/// other, because the script merges two into it.
fn as_found(entry: &Revocation) -> Vec<u8> {
    if entry.rule == Rule::Block { as_kept(entry) } else { head(entry).into_bytes() }
}

fn before(revocation: &Revocation) -> String {
    match revocation.rule {
        Rule::Before(before) => digits(Some(before)),
        Rule::Outright | Rule::Block => String::new(),
    }
}

fn digits(at: Option<Timestamp>) -> String {
    at.map(|at| at.as_millis().max(0).to_string()).unwrap_or_default()
}

type RawEntry = (String, Vec<Vec<u8>>);

/// The log from the entry `from` on.
pub(super) async fn read(
    line: &Line,
    names: &Names,
    from: u64,
    count: usize,
) -> RedisResult<Result<Read, StoreFault>> {
    let mut command = names.script([BEGIN, READ]);
    command.arg(from).arg(count);
    let (epoch, last, entries): (String, u64, Vec<RawEntry>) = line.query(&mut command).await?;
    let entries = entries.into_iter().map(|(id, fields)| entry(&id, &fields)).collect();
    Ok(Ok(Read { epoch: epoch.parse().unwrap_or(0), last, entries }))
}

fn entry(id: &str, fields: &[Vec<u8>]) -> Entry {
    let seq = id.split('-').next().and_then(|seq| seq.parse().ok()).unwrap_or(0);
    let field = |name: &[u8]| {
        let pair = fields.chunks(2).find(|pair| pair.first().is_some_and(|field| field == name))?;
        pair.get(1).map(Vec::as_slice)
    };
    let nonce =
        field(b"n").and_then(|nonce| nonce.first_chunk()).map_or(0, |nonce| u64::from_be_bytes(*nonce));
    let change = field(b"r").and_then(revocation).and_then(|revocation| match field(b"o") {
        Some(b"A") => Some(Change::Add(revocation)),
        Some(b"L") => Some(Change::Lift(revocation)),
        _ => None,
    });
    Entry { seq, nonce, change }
}

/// Reads head and bytes.
fn revocation(record: &[u8]) -> Option<Revocation> {
    let mut parts = record.splitn(3, |byte| *byte == b':');
    let (before, until, bytes) = (parts.next()?, parts.next()?, parts.next()?);
    let moment = |digits: &[u8]| match digits {
        [] => Some(None),
        digits => Some(Some(Timestamp::from_millis(std::str::from_utf8(digits).ok()?.parse().ok()?))),
    };
    let mut revocation = Revocation::from_bytes(bytes)?;
    if let (Rule::Before(_), Some(before)) = (revocation.rule, moment(before)?) {
        revocation.rule = Rule::Before(before);
    }
    revocation.until = moment(until)?;
    Some(revocation)
}

/// Where the log is now.
pub(super) async fn last(line: &Line, names: &Names) -> RedisResult<Result<Position, StoreFault>> {
    let Ok(Read { epoch, last, .. }) = read(line, names, 0, 1).await? else { return Ok(Err(unreadable())) };
    let at = match last {
        0 => Ok(Read { epoch, last, entries: Vec::new() }),
        last => read(line, names, last, 1).await?,
    };
    let nonce = at.ok().filter(|at| at.epoch == epoch).and_then(|at| match at.entries.first() {
        None => (last == 0).then_some(0),
        Some(entry) => (entry.seq == last).then_some(entry.nonce),
    });
    Ok(nonce.map(|nonce| Position { epoch, seq: last, nonce }).ok_or_else(unreadable))
}

/// Which run of which server has the list, where a connection may lead to several; `None`: it leads to one.
pub(super) async fn server(line: &Line, names: &Names) -> RedisResult<Result<Option<String>, StoreFault>> {
    if !line.leads_to_several() {
        return Ok(Ok(None));
    }
    let mut command = redis::cmd("EVAL");
    command.arg([SERVER, "return server"].concat()).arg(1).arg(names.records());
    let server: String = line.query(&mut command).await?;
    Ok(if server.is_empty() { Err(nameless()) } else { Ok(Some(server)) })
}

/// A part of all records, from the cursor `from` on, and the next cursor. The first is 0, and so is that
/// behind the last. A cursor means something to one run of one server alone: `server` says which that is, as
/// [`server`] does.
pub(super) async fn scan(
    line: &Line,
    names: &Names,
    from: u64,
    server: Option<&str>,
) -> RedisResult<Result<(u64, Vec<Change>), StoreFault>> {
    const COUNT: usize = 1000;
    let (next, pairs): (u64, Vec<Vec<u8>>) = if let Some(server) = server {
        let mut command = redis::cmd("EVAL");
        command.arg([SERVER, SCAN].concat()).arg(1).arg(names.records()).arg(from).arg(COUNT);
        let (answers, next, pairs): (String, _, _) = line.query(&mut command).await?;
        if answers != server {
            return Ok(Err(moved()));
        }
        (next, pairs)
    } else {
        let mut command = redis::cmd("HSCAN");
        command.arg(names.records()).arg(from).arg("COUNT").arg(COUNT);
        line.query(&mut command).await?
    };
    let records =
        pairs.chunks(2).map(|pair| pair.get(1).and_then(|record| revocation(record)).map(Change::Add));
    let records: Option<Vec<_>> = records.collect();
    Ok(records.map(|records| (next, records)).ok_or_else(unreadable))
}

/// Another server has another log, and counts the parts of its list otherwise: then all begins anew.
pub(super) fn moved() -> StoreFault {
    StoreFault::Unavailable("another server answered while the list was read".to_owned())
}

fn nameless() -> StoreFault {
    StoreFault::Unreadable(
        "Redis does not say which server it is (run_id of INFO), and in a cluster the list cannot be read whole without".to_owned(),
    )
}

/// Which of these are not there, or say less there than here, or something else of who holds a block; each
/// with whether it is there. `server`: as of [`scan`].
pub(super) async fn behind(
    line: &Line,
    names: &Names,
    changes: &[Change],
    server: Option<&str>,
) -> RedisResult<Result<Vec<(usize, bool)>, StoreFault>> {
    let mut command = redis::cmd("EVAL");
    let asks = if server.is_some() { SERVER } else { ALONE };
    command.arg([asks, BEHIND].concat()).arg(1).arg(names.records());
    for change in changes {
        let revocation = change.revocation();
        command.arg(change.id().as_bytes()).arg(before(revocation)).arg(digits(revocation.until));
        command.arg(if revocation.rule == Rule::Block { as_kept(revocation) } else { Vec::new() });
    }
    let (answers, behind): (String, Vec<(usize, bool)>) = line.query(&mut command).await?;
    Ok(if server.is_none_or(|server| answers == server) { Ok(behind) } else { Err(moved()) })
}

pub(super) async fn find(
    line: &Line,
    names: &Names,
    id: RevocationId,
) -> RedisResult<Result<Option<Revocation>, StoreFault>> {
    let mut command = redis::cmd("HGET");
    command.arg(names.records()).arg(id.as_bytes());
    let record: Option<Vec<u8>> = line.query(&mut command).await?;
    Ok(match record {
        None => Ok(None),
        Some(record) => revocation(&record).map(Some).ok_or_else(unreadable),
    })
}

pub(super) fn unreadable() -> StoreFault {
    StoreFault::Unreadable(
        "the list of revocations in Redis cannot be read: a newer Tollgate wrote it, or somebody else"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::core::revocation::{Kind, Target, Whose};
    use crate::flows::ports::StoreHealth;
    use crate::io::store::redis::link::KeptLink;
    use crate::io::store::tests::redis::{patient_link, settings};
    use crate::io::store::tests::servers::Server;
    use crate::io::store::tests::until;
    use crate::io::system::SystemClock;

    fn entry(rule: Rule, made_at: i64) -> Revocation {
        let target = Target { kind: Kind::Sub, whose: Whose::All, value: "alice".to_owned() };
        Revocation::new(target, rule, Timestamp::from_secs(made_at))
    }

    fn link_to(server: &Server) -> (Arc<KeptLink>, Names) {
        named(patient_link(settings(&[server]), Arc::new(SystemClock)))
    }

    fn named(link: Arc<KeptLink>) -> (Arc<KeptLink>, Names) {
        let names = Names::of(&link);
        (link, names)
    }

    #[tokio::test]
    async fn what_the_library_sends_twice_is_made_once_and_said_to_be_made() {
        let server = Server::start(&[]);
        let (link, names) = link_to(&server);
        let append = async |found: &[EntryAsSeen], change: &Change, nonce| {
            let changes = std::slice::from_ref(change);
            let append = async |line: &_| append(line, &names, found, changes, nonce).await;
            link.ask(append).await.unwrap()
        };
        for (round, rule) in
            [Rule::Outright, Rule::Before(Timestamp::from_secs(1)), Rule::Block].into_iter().enumerate()
        {
            let nonces = |at: u64| 10 * round as u64 + at;
            let (first, id) = (entry(rule, 1), entry(rule, 1).id());
            let found = |entry: Option<&Revocation>| [EntryAsSeen { id, entry: entry.cloned() }];
            let (add, lift) = (Change::Add(first.clone()), Change::Lift(first.clone()));
            for made in [true, true] {
                assert_eq!(append(&found(None), &add, nonces(1)).await, made, "{rule:?}");
            }
            assert!(!append(&found(None), &add, nonces(2)).await, "another's: {rule:?}");
            assert!(append(&found(Some(&first)), &lift, nonces(3)).await, "{rule:?}");
            assert!(append(&found(Some(&first)), &lift, nonces(3)).await, "the same again: {rule:?}");
            assert!(!append(&found(Some(&first)), &lift, nonces(4)).await, "it is gone: {rule:?}");
            // Somebody made it anew before it came again.
            let again = Change::Add(entry(rule, 2));
            assert!(append(&found(None), &again, nonces(5)).await);
            assert!(append(&found(Some(&first)), &lift, nonces(3)).await);
            let there = link.ask(async |line| find(line, &names, id).await).await.unwrap();
            assert_eq!(there, Some(entry(rule, 2)), "it stays");
        }
    }

    #[tokio::test]
    async fn what_was_given_up_is_not_made_when_redis_goes_on_much_later() {
        let server = Server::start(&[]);
        let (patient, names) = link_to(&server);
        // As a gateway starts it, which waits a second for an answer.
        let (link, _) = named(KeptLink::start(settings(&[&server]), Arc::new(SystemClock)));
        let knows_its_clock = async || link.ask(async |line| Ok(Ok(line.latest() > 0))).await == Ok(true);
        until("its clock", knows_its_clock).await;
        let change = Change::Add(entry(Rule::Outright, 1));
        let ask = async |link: &KeptLink| {
            let changes = std::slice::from_ref(&change);
            link.ask(async |line| append(line, &names, &[], changes, nonce()).await).await
        };
        server.hang();
        let began = Instant::now();
        assert_eq!(ask(&link).await, Err(StoreFault::Deadline));
        until("time to pass", async || began.elapsed() > Duration::from_secs(3)).await;
        server.go_on();
        until("Redis", async || patient.health() == StoreHealth::Up && link.health() == StoreHealth::Up)
            .await;
        let there = async || patient.ask(async |line| find(line, &names, change.id()).await).await;
        for _ in 0..20 {
            assert_eq!(there().await, Ok(None));
        }
        assert_eq!(ask(&patient).await, Ok(true));
        assert_eq!(there().await, Ok(Some(change.revocation().clone())));
    }

    #[tokio::test]
    async fn what_another_server_says_of_the_list_is_not_taken_for_what_was_asked() {
        let server = Server::start(&[]);
        let (link, names) = link_to(&server);
        let changes = [Change::Add(entry(Rule::Outright, 1))];
        let behind = async |server: Option<&str>| {
            link.ask(async |line| behind(line, &names, &changes, server).await).await
        };
        let info = server.ask_all("INFO server");
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap();
        for server in [None, Some(run)] {
            assert_eq!(behind(server).await, Ok(vec![(0, false)]), "{server:?}");
        }
        assert_eq!(behind(Some("another")).await, Err(moved()));
    }
}
