//! A replica's own file that was not open while Redis lost what the file has.

use super::*;

/// Redis loses the last entry of its log, and has this one in its place, or none.
fn lose_the_last(server: &Server, lost: &Revocation) {
    let seq: u64 = server.ask(&format!("XLEN {KEY}log")).trim_start_matches(':').parse().unwrap();
    assert_eq!(server.ask(&format!("XDEL {KEY}log {seq}-0")), ":1");
    let before = seq - 1;
    assert_eq!(server.ask(&format!("XSETID {KEY}log {before}-0")), "+OK");
    assert_eq!(server.ask(&format!("HSET {KEY}about seq {before}")), ":0");
    let script = format!(
        "for _, id in ipairs(redis.call('HKEYS', KEYS[1])) do \
           if string.find(redis.call('HGET', KEYS[1], id), '{}', 1, true) then redis.call('HDEL', KEYS[1], id) end \
         end return redis.call('HLEN', KEYS[1])",
        lost.target.value
    );
    assert_eq!(server.ask(&format!("EVAL \"{script}\" 1 {KEY}records")), format!(":{before}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_redis_lost_while_the_file_was_not_open_is_given_back_however_long_the_log_is_by_then() {
    for news in 0..3 {
        let server = Server::start(&[]);
        let writer = Replica::of(&server).await;
        let cable = Cable::to(&server).await;
        let reader = Replica::start(cable.settings(&server), folder());
        loaded(&reader.tables).await;
        add(&*writer.log, [jti("kept"), jti("lost-there")]).await;
        reader.has_kept(&jti("lost-there")).await;
        reader.log.close().await.unwrap();
        // Nobody else has it: this one alone can give it back.
        drop(writer.stop().await);
        cable.pull();
        reader.is_away().await;
        lose_the_last(&server, &jti("lost-there"));
        let other = Replica::of(&server).await;
        add(&*other.log, (0..news).map(jti)).await;
        let plugged_in = Instant::now();
        cable.plug_in();
        let is_followed = || {
            let Currency::Current { age } = reader.tables.currency(now()) else { return false };
            age < plugged_in.elapsed() && (0..news).all(|n| reader.refuses(&jti(n)))
        };
        until("the list to be followed again, without the file", async || is_followed()).await;
        assert!(server_has(&server, news + 1), "{news}: what only a closed file has");
        reader.log.open().await.unwrap();
        until("Redis to have it again", async || server_has(&server, news + 2)).await;
        until("the other", async || other.refuses(&jti("lost-there"))).await;
        assert!(reader.refuses(&jti("kept")) && reader.refuses(&jti("lost-there")), "{news}");
    }
}
