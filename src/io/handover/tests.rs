//! What is said until the new process serves; afterwards: `conversation`.

mod conversation;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::*;

fn listeners(count: usize) -> Vec<(SocketAddr, OwnedFd)> {
    let asked_for: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let socket = TcpListener::bind(asked_for).unwrap();
    (0..count).map(|_| (asked_for, socket.try_clone().unwrap().into())).collect()
}

#[tokio::test]
async fn sockets_arrive_beside_their_addresses_and_listen_on() {
    let (mut old, mut new) = Channel::pair().unwrap();
    let given = listeners(MOST_SOCKETS);
    old.give(&given).await.unwrap();
    old.say(&Message::Go {}).await.unwrap();
    let mut taken = new.take().await.unwrap();
    assert_eq!(new.hear().await.unwrap(), Message::Go {});
    assert_eq!(taken.len(), MOST_SOCKETS);
    drop((given, old));

    let (asked_for, socket) = taken.remove(0);
    assert_eq!(asked_for.port(), 0);
    let socket = TcpListener::from(socket);
    let mut client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    client.write_all(b"hello").unwrap();
    let mut came = [0; 5];
    socket.accept().unwrap().0.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"hello");
    assert!(rustix::io::fcntl_getfd(&socket).unwrap().contains(FdFlags::CLOEXEC), "ours alone");
}

#[tokio::test]
async fn too_many_sockets_are_an_error_and_not_half_a_hand_over() {
    let (mut old, new) = Channel::pair().unwrap();
    old.give(&listeners(MOST_SOCKETS + 1)).await.unwrap_err();
    drop(new);
}

#[tokio::test]
async fn an_end_nonsense_and_a_line_without_end_are_errors() {
    let (old, mut new) = Channel::pair().unwrap();
    drop(old);
    assert_eq!(new.hear().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    for said in [&b"{\"ready\":{}}\n"[..], b"{\"newer\":{}}\n", b"\xff\n", &vec![b'{'; GREETING + 1]] {
        let (old, mut new) = Channel::pair().unwrap();
        let saying = tokio::spawn({
            let said = said.to_vec();
            async move {
                let mut old = old;
                old.stream.write_all(&said).await
            }
        });
        let error = new.hear().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        saying.abort();
    }
    let (mut old, mut new) = Channel::pair().unwrap();
    old.stream.write_all(b"{\"go\":{\"of\":\"a later version\"}}\n").await.unwrap();
    assert_eq!(new.hear().await.unwrap(), Message::Go {});
}

#[tokio::test]
async fn a_process_that_ends_is_noticed_and_one_that_does_not_is_ended() {
    let arguments = |command: &str| [OsString::from("-c"), command.into()].into_iter();
    let shell = || OsString::from("sh");
    let (successor, mut channel) = Successor::start_as(shell(), arguments("exit 3")).unwrap();
    assert_eq!(channel.hear().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(successor.end().unwrap().code(), Some(3));
    Successor::start_as("/is/not/there".into(), arguments("")).unwrap_err();

    // It says that it serves, from the way that it was told of, and then hangs.
    let hangs = "echo '{\"serving\":{}}' >&0; test \"$TOLLGATE_HANDOVER\" = stdin && exec sleep 600";
    let (successor, mut channel) = Successor::start_as(shell(), arguments(hangs)).unwrap();
    assert_eq!(channel.hear().await.unwrap(), Message::Serving { answers: Answers::default() });
    assert_eq!(successor.end().unwrap().code(), None, "by a signal");
}
