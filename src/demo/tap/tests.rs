//! What passes a tap, over sockets.

use super::*;
use crate::demo::browser::Browser;

struct World {
    server: TcpListener,
    tap: Tap,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl World {
    async fn new() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let kept = Arc::clone(&heard);
        let witnesses: Witnesses = Arc::new(move || {
            let kept = Arc::clone(&kept);
            Box::new(move |more| kept.lock().unwrap().extend(more))
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tap = Tap::start(listener, server.local_addr().unwrap(), witnesses).unwrap();
        Self { server, tap, heard }
    }

    /// Both ends of one connection through the tap.
    async fn connected(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.tap.address).await.unwrap();
        let (server, _) = self.server.accept().await.unwrap();
        (client, server)
    }
}

/// Writes `pieces` one by one, ends the direction, and reads the other one to its end. `wait`: ends its own
/// only when the other has ended.
async fn talk(stream: TcpStream, pieces: &[Vec<u8>], wait: bool) -> Vec<u8> {
    let (mut from, mut to) = stream.into_split();
    let mut got = Vec::new();
    let write = async {
        for piece in pieces {
            to.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        if !wait {
            to.shutdown().await.unwrap();
        }
        to
    };
    let (mut to, _) = tokio::join!(write, from.read_to_end(&mut got));
    if wait {
        to.shutdown().await.unwrap();
    }
    got
}

/// Pieces of HTTP and of anything else: what the reader makes of them must not matter.
fn pieces(noise: &[(u8, Vec<u8>)], http: &[u8]) -> Vec<Vec<u8>> {
    let mut http = http.chunks(7).cycle();
    let mut piece = |(kind, noise): &(u8, Vec<u8>)| match kind % 4 {
        0 => noise.clone(),
        1 => noise.repeat(2000),
        _ => http.next().unwrap().to_vec(),
    };
    noise.iter().map(&mut piece).collect()
}

#[test]
fn bytes_and_ends_pass_unchanged_in_both_directions() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let world = std::panic::AssertUnwindSafe(runtime.block_on(World::new()));
    type Noise = Vec<(u8, Vec<u8>)>;
    bolero::check!().with_iterations(150).with_max_len(256).with_type::<(Noise, Noise, bool)>().for_each(
        |(up, down, client_first)| {
            let up = pieces(up, b"POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc");
            let down =
                pieces(down, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n");
            let world = &world;
            runtime.block_on(async {
                let (client, server) = world.connected().await;
                let both = async {
                    tokio::join!(talk(client, &up, !client_first), talk(server, &down, *client_first))
                };
                let (came_down, came_up) =
                    tokio::time::timeout(Duration::from_secs(20), both).await.expect("no end passed");
                assert!(came_up == up.concat(), "what the client sent arrived changed");
                assert!(came_down == down.concat(), "what the server sent arrived changed");
            });
        },
    );
}

#[tokio::test]
async fn an_early_answer_passes_though_the_server_reads_no_further() {
    let world = World::new().await;
    let (mut client, server) = world.connected().await;
    client.write_all(&vec![b'x'; 200_000]).await.unwrap();
    server.readable().await.unwrap();
    let (from, mut to) = server.into_split();
    to.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
    to.shutdown().await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert!(got.ends_with(b"\r\n\r\nno"));
    drop(from);
}

#[tokio::test]
async fn it_hears_requests_and_answers_before_they_arrive() {
    let world = World::new().await;
    let (mut client, mut server) = world.connected().await;
    client.write_all(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut buffer = [0; 256];
    let _ = server.read(&mut buffer).await.unwrap();
    assert!(matches!(
        world.heard.lock().unwrap().as_slice(),
        [Heard::Asked { .. }, Heard::AskedWhole { .. }]
    ));
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    let _ = client.read(&mut buffer).await.unwrap();
    assert!(matches!(world.heard.lock().unwrap().last(), Some(Heard::AnsweredWhole { .. })));
    client.write_all(b"GET /b HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let _ = server.read(&mut buffer).await.unwrap();
    drop((client, server));
    world.tap.close().await;
    assert_eq!(world.heard.lock().unwrap().last(), Some(&Heard::BrokenOff { number: 1 }));
}

#[tokio::test]
async fn closed_it_refuses_and_ends_what_was_open_and_opened_it_relays_again() {
    let world = World::new().await;
    let (mut client, _server) = world.connected().await;
    world.tap.close().await;
    assert!(!world.tap.is_open());
    let mut buffer = [0; 16];
    assert!(client.read(&mut buffer).await.map_or(true, |read| read == 0), "the connection is over");
    assert!(TcpStream::connect(world.tap.address).await.is_err(), "nobody listens");
    world.tap.open().await.unwrap();
    world.tap.open().await.unwrap();
    let (mut client, mut server) = world.connected().await;
    client.write_all(b"again").await.unwrap();
    assert_eq!(server.read(&mut buffer).await.unwrap(), 5);
}

#[tokio::test]
async fn an_address_taken_meanwhile_is_said_and_not_fought_for() {
    let world = World::new().await;
    world.tap.close().await;
    let _other = std::net::TcpListener::bind(world.tap.address).unwrap();
    assert_eq!(world.tap.open().await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn it_listens_and_relays_on_loopback_only() {
    let world = World::new().await;
    let loopback = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let everywhere = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let nobody: Witnesses = Arc::new(|| Box::new(|_| ()));
    assert!(Tap::start(everywhere, world.tap.to, Arc::clone(&nobody)).is_err());
    assert!(Tap::start(loopback(), ([192, 0, 2, 1], 80).into(), nobody).is_err());
}

#[tokio::test]
async fn an_http_client_does_not_notice_it() {
    let upstream =
        crate::demo::upstream::Upstream::start(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let nobody: Witnesses = Arc::new(|| Box::new(|_| ()));
    let tap =
        Tap::start(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), upstream.address(), nobody).unwrap();
    let said = Browser::new().get(&format!("http://{}/x", tap.address), &[]).await.unwrap().json();
    assert_eq!(said["headers"]["host"], tap.address.to_string());
}
