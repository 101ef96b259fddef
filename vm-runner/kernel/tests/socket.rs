//! Sockets.

use std::net::SocketAddr;
use std::time::Duration;

use vm_abi::{Errno, FileType, Mode, OpenFlags, PollEvents, Signal};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{
    self, DirFd, Domain, Fd, FdFlags, FileKind, Follow, MessageFlags, PollFd, RightsRequest, Shutdown,
    SocketAddress, SocketTimeouts, SocketType, UnixAddress, WaitStatus,
};
use vm_kernel::{Command, ExitStatus};

use crate::machine::{Machine, open, print, read, read_to_end, spawn, wait};

const NONE: MessageFlags = MessageFlags::empty();

fn inet(text: &str) -> SocketAddress {
    SocketAddress::Inet(text.parse::<SocketAddr>().unwrap())
}

fn path(text: &str) -> SocketAddress {
    SocketAddress::Unix(UnixAddress::Path(text.into()))
}

fn socket(ctx: &ProcessContext, domain: Domain, socket_type: SocketType) -> Fd {
    syscall::socket::socket(ctx, domain, socket_type, OpenFlags::empty()).unwrap()
}

fn listener(ctx: &ProcessContext, address: &SocketAddress) -> Fd {
    let domain = match address {
        SocketAddress::Inet(address) if address.is_ipv6() => Domain::Inet6,
        SocketAddress::Inet(_) => Domain::Inet,
        SocketAddress::Unix(_) => Domain::Unix,
    };
    let fd = socket(ctx, domain, SocketType::Stream);
    syscall::socket::bind(ctx, fd, address).unwrap();
    syscall::socket::listen(ctx, fd, 5).unwrap();
    fd
}

async fn connect(ctx: &ProcessContext, fd: Fd, address: &SocketAddress) -> Result<(), Errno> {
    syscall::socket::connect(ctx, fd, address).await
}

async fn receive(ctx: &ProcessContext, fd: Fd, len: usize, flags: MessageFlags) -> Result<String, Errno> {
    let mut buffer = vec![0; len];
    let received = syscall::socket::receive(ctx, fd, &mut buffer, flags).await?;
    buffer.truncate(received.len);
    Ok(String::from_utf8(buffer).unwrap())
}

/// A connection over the loopback: the side that connected, and the one that accepted.
async fn connection(ctx: &ProcessContext, address: &SocketAddress) -> (Fd, Fd) {
    let listening = listener(ctx, address);
    let client = socket(ctx, Domain::Inet, SocketType::Stream);
    connect(ctx, client, address).await.unwrap();
    let (server, _) = syscall::socket::accept(ctx, listening, OpenFlags::empty()).await.unwrap();
    syscall::file::close(ctx, listening).unwrap();
    (client, server)
}

#[tokio::test(start_paused = true)]
async fn a_client_and_a_server_talk_over_the_loopback() {
    let machine = Machine::new();
    machine.program("server", |ctx| async move {
        let listening = listener(&ctx, &inet("0.0.0.0:8080"));
        let (fd, from) = syscall::socket::accept(&ctx, listening, OpenFlags::CLOEXEC).await.unwrap();
        assert_eq!(syscall::file::fd_flags(&ctx, fd), Ok(FdFlags::CLOEXEC));
        let SocketAddress::Inet(from) = from else { return 1 };
        assert!(from.ip().is_loopback() && from.port() >= 32_768);
        assert_eq!(syscall::socket::local_address(&ctx, fd), Ok(inet("127.0.0.1:8080")));
        let request = read(&ctx, fd, 100).await.unwrap();
        print(&ctx, fd, &request.to_uppercase()).await;
        0
    });
    machine
        .expect(|ctx| async move {
            let child = spawn(&ctx, &["server"]).await;
            syscall::time::sleep(&ctx, Duration::from_secs(1)).await.unwrap();
            assert_eq!(syscall::socket::listening(&ctx), ["0.0.0.0:8080".parse().unwrap()]);
            let fd = socket(&ctx, Domain::Inet, SocketType::Stream);
            connect(&ctx, fd, &inet("127.0.0.1:8080")).await.unwrap();
            assert_eq!(syscall::socket::peer_address(&ctx, fd), Ok(inet("127.0.0.1:8080")));
            assert_eq!(connect(&ctx, fd, &inet("127.0.0.1:8080")).await, Err(Errno::EISCONN));
            assert_eq!(syscall::socket::send(&ctx, fd, b"hello", NONE).await, Ok(5));
            assert_eq!(read_to_end(&ctx, fd).await, "HELLO");
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
    assert!(machine.kernel.listening().is_empty());
    assert_eq!(machine.kernel.usage().sockets, 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_a_refusal_and_outside_is_denied() {
    Machine::new()
        .expect(|ctx| async move {
            let fd = socket(&ctx, Domain::Inet, SocketType::Stream);
            assert_eq!(connect(&ctx, fd, &inet("127.0.0.1:9")).await, Err(Errno::ECONNREFUSED));
            assert_eq!(connect(&ctx, fd, &inet("93.184.216.34:80")).await, Err(Errno::EACCES));
            assert_eq!(connect(&ctx, fd, &inet("169.254.169.254:80")).await, Err(Errno::EACCES));
            assert_eq!(connect(&ctx, fd, &path("/tmp/s")).await, Err(Errno::EAFNOSUPPORT));
            let bind = |address| syscall::socket::bind(&ctx, fd, &address);
            assert_eq!(bind(inet("10.0.0.1:80")), Err(Errno::EADDRNOTAVAIL));
            assert_eq!(bind(inet("[::1]:80")), Err(Errno::EAFNOSUPPORT));
            assert_eq!(syscall::socket::peer_address(&ctx, fd), Err(Errno::ENOTCONN));
            assert_eq!(syscall::socket::local_address(&ctx, fd), Ok(inet("0.0.0.0:0")));
            assert_eq!(read(&ctx, fd, 1).await, Err(Errno::ENOTCONN));
            assert_eq!(syscall::socket::check_listening(&ctx, fd), Err(Errno::EINVAL));
            assert_eq!(syscall::socket::listen(&ctx, Fd::STDIN, 1), Err(Errno::ENOTSOCK));
            assert_eq!(syscall::socket::listen(&ctx, Fd::try_from(99).unwrap(), 1), Err(Errno::EBADF));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_port_belongs_to_one_socket() {
    Machine::new()
        .expect(|ctx| async move {
            let first = listener(&ctx, &inet("127.0.0.1:80"));
            let bind = |domain, address: &str| {
                let fd = socket(&ctx, domain, SocketType::Stream);
                let result = syscall::socket::bind(&ctx, fd, &inet(address));
                syscall::file::close(&ctx, fd).unwrap();
                result
            };
            assert_eq!(bind(Domain::Inet, "127.0.0.1:80"), Err(Errno::EADDRINUSE));
            assert_eq!(bind(Domain::Inet, "0.0.0.0:80"), Err(Errno::EADDRINUSE));
            assert_eq!(bind(Domain::Inet6, "[::1]:80"), Ok(()));
            assert_eq!(bind(Domain::Inet, "127.0.0.2:80"), Ok(()));
            let datagram = socket(&ctx, Domain::Inet, SocketType::Datagram);
            assert_eq!(syscall::socket::bind(&ctx, datagram, &inet("127.0.0.1:80")), Ok(()));
            syscall::file::close(&ctx, first).unwrap();
            assert_eq!(bind(Domain::Inet, "127.0.0.1:80"), Ok(()));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_ipv6_listener_on_all_addresses_serves_ipv4_too() {
    Machine::new()
        .expect(|ctx| async move {
            let listening = listener(&ctx, &inet("[::]:80"));
            for (domain, address) in [(Domain::Inet, "127.0.0.1:80"), (Domain::Inet6, "[::1]:80")] {
                let fd = socket(&ctx, domain, SocketType::Stream);
                connect(&ctx, fd, &inet(address)).await.unwrap();
                syscall::socket::accept(&ctx, listening, OpenFlags::empty()).await.unwrap();
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn halves_of_a_connection_end_one_by_one() {
    Machine::new()
        .expect(|ctx| async move {
            let (client, server) = connection(&ctx, &inet("127.0.0.1:80")).await;
            print(&ctx, client, "request").await;
            syscall::socket::shutdown(&ctx, client, Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&ctx, server).await, "request");
            print(&ctx, server, "answer").await;
            assert_eq!(receive(&ctx, client, 99, NONE).await.unwrap(), "answer");
            let silent = MessageFlags::NOSIGNAL;
            assert_eq!(syscall::socket::send(&ctx, client, b"x", silent).await, Err(Errno::EPIPE));
            syscall::file::close(&ctx, server).unwrap();
            assert_eq!(receive(&ctx, client, 99, NONE).await.unwrap(), "");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn writing_to_a_closed_connection_breaks_the_pipe() {
    let machine = Machine::new();
    machine.program("main", |ctx| async move {
        let (client, server) = connection(&ctx, &inet("127.0.0.1:80")).await;
        syscall::file::close(&ctx, server).unwrap();
        let silent = MessageFlags::NOSIGNAL;
        assert_eq!(syscall::socket::send(&ctx, client, b"x", silent).await, Err(Errno::EPIPE));
        let _ = syscall::file::write(&ctx, client, b"x").await;
        0
    });
    assert_eq!(machine.run(Command::new("main")).await.status, ExitStatus::Signaled(Signal::SIGPIPE));
}

#[tokio::test(start_paused = true)]
async fn closing_with_unread_data_resets_the_connection() {
    Machine::new()
        .expect(|ctx| async move {
            let (client, server) = connection(&ctx, &inet("127.0.0.1:80")).await;
            print(&ctx, client, "never read").await;
            syscall::file::close(&ctx, server).unwrap();
            assert_eq!(syscall::socket::take_error(&ctx, client), Ok(Some(Errno::ECONNRESET)));
            assert_eq!(syscall::socket::take_error(&ctx, client), Ok(None));
            assert_eq!(receive(&ctx, client, 9, NONE).await.unwrap(), "");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn flags_change_how_one_message_is_received() {
    Machine::new()
        .expect(|ctx| async move {
            let (one, other) = syscall::socket::pair(&ctx, SocketType::Stream, OpenFlags::empty()).unwrap();
            assert_eq!(receive(&ctx, one, 9, MessageFlags::DONTWAIT).await, Err(Errno::EAGAIN));
            print(&ctx, other, "abc").await;
            assert_eq!(receive(&ctx, one, 9, MessageFlags::PEEK).await.unwrap(), "abc");
            print(&ctx, other, "def").await;
            assert_eq!(receive(&ctx, one, 6, MessageFlags::WAITALL).await.unwrap(), "abcdef");
            print(&ctx, other, "gh").await;
            syscall::file::close(&ctx, other).unwrap();
            assert_eq!(receive(&ctx, one, 6, MessageFlags::WAITALL).await.unwrap(), "gh");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_ends_a_wait_for_data() {
    Machine::new()
        .expect(|ctx| async move {
            let (one, _other) = syscall::socket::pair(&ctx, SocketType::Stream, OpenFlags::empty()).unwrap();
            let timeouts = SocketTimeouts { receive: Some(Duration::from_secs(2)), send: None };
            syscall::socket::set_timeouts(&ctx, one, timeouts).unwrap();
            let start = tokio::time::Instant::now();
            assert_eq!(receive(&ctx, one, 9, NONE).await, Err(Errno::EAGAIN));
            assert!(start.elapsed() >= Duration::from_secs(2));
            assert_eq!(syscall::socket::timeouts(&ctx, one), Ok(timeouts));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_the_sender_up() {
    let machine = Machine::new();
    machine.program("reader", |ctx| async move {
        let fd = socket(&ctx, Domain::Unix, SocketType::Stream);
        connect(&ctx, fd, &path("/tmp/socket")).await.unwrap();
        syscall::time::sleep(&ctx, Duration::from_secs(1)).await.unwrap();
        u8::from(read_to_end(&ctx, fd).await.len() != 1 << 20)
    });
    machine
        .expect(|ctx| async move {
            let listening = listener(&ctx, &path("/tmp/socket"));
            let child = spawn(&ctx, &["reader"]).await;
            let (fd, from) = syscall::socket::accept(&ctx, listening, OpenFlags::empty()).await.unwrap();
            assert_eq!(from, SocketAddress::Unix(UnixAddress::Unnamed));
            let much = vec![b'x'; 1 << 20];
            assert_eq!(syscall::socket::send(&ctx, fd, &much, MessageFlags::DONTWAIT).await, Ok(256 << 10));
            assert_eq!(
                syscall::socket::send(&ctx, fd, b"x", MessageFlags::DONTWAIT).await,
                Err(Errno::EAGAIN)
            );
            let rest = &much[256 << 10..];
            assert_eq!(syscall::socket::send(&ctx, fd, rest, NONE).await, Ok(rest.len()));
            syscall::file::close(&ctx, fd).unwrap();
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn datagrams_keep_apart_and_tell_who_sent_them() {
    Machine::new()
        .expect(|ctx| async move {
            let server = socket(&ctx, Domain::Inet, SocketType::Datagram);
            syscall::socket::bind(&ctx, server, &inet("127.0.0.1:53")).unwrap();
            let client = socket(&ctx, Domain::Inet, SocketType::Datagram);
            let to = inet("127.0.0.1:53");
            assert_eq!(syscall::socket::send(&ctx, client, b"x", NONE).await, Err(Errno::EDESTADDRREQ));
            syscall::socket::send_to(&ctx, client, b"one", NONE, &to).await.unwrap();
            connect(&ctx, client, &to).await.unwrap();
            syscall::socket::send(&ctx, client, b"second", NONE).await.unwrap();
            let mut buffer = [0; 4];
            let first = syscall::socket::receive(&ctx, server, &mut buffer, NONE).await.unwrap();
            assert_eq!((&buffer[..first.len], first.message_len), (&b"one"[..], 3));
            let second = syscall::socket::receive(&ctx, server, &mut buffer, NONE).await.unwrap();
            assert_eq!((&buffer[..second.len], second.message_len), (&b"seco"[..], 6));
            assert_eq!(second.from, first.from);
            let back = first.from.unwrap();
            assert_eq!(Ok(back.clone()), syscall::socket::local_address(&ctx, client));
            syscall::socket::send_to(&ctx, server, b"back", NONE, &back).await.unwrap();
            assert_eq!(receive(&ctx, client, 9, NONE).await.unwrap(), "back");
            let long = vec![0; 70_000];
            let result = syscall::socket::send_to(&ctx, client, &long, NONE, &to).await;
            assert_eq!(result, Err(Errno::EMSGSIZE));
            let outside = inet("8.8.8.8:53");
            let result = syscall::socket::send_to(&ctx, client, b"x", NONE, &outside).await;
            assert_eq!(result, Err(Errno::EACCES));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_datagram_to_nobody_is_lost_and_a_connected_sender_hears_of_it() {
    Machine::new()
        .expect(|ctx| async move {
            let fd = socket(&ctx, Domain::Inet, SocketType::Datagram);
            let nobody = inet("127.0.0.1:53");
            assert_eq!(syscall::socket::send_to(&ctx, fd, b"x", NONE, &nobody).await, Ok(1));
            connect(&ctx, fd, &nobody).await.unwrap();
            assert_eq!(syscall::socket::send(&ctx, fd, b"x", NONE).await, Ok(1));
            assert_eq!(receive(&ctx, fd, 1, NONE).await, Err(Errno::ECONNREFUSED));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn unix_sockets_are_found_by_path_and_by_abstract_name() {
    let machine = Machine::new();
    machine
        .expect(|ctx| async move {
            let abstract_name = SocketAddress::Unix(UnixAddress::Abstract(b"name".to_vec()));
            for address in [path("/tmp/socket"), abstract_name] {
                let listening = listener(&ctx, &address);
                let again = socket(&ctx, Domain::Unix, SocketType::Stream);
                assert_eq!(syscall::socket::bind(&ctx, again, &address), Err(Errno::EADDRINUSE));
                let client = socket(&ctx, Domain::Unix, SocketType::Stream);
                connect(&ctx, client, &address).await.unwrap();
                assert_eq!(syscall::socket::peer_address(&ctx, client), Ok(address.clone()));
                let wrong = socket(&ctx, Domain::Unix, SocketType::SeqPacket);
                assert_eq!(connect(&ctx, wrong, &address).await, Err(Errno::EPROTOTYPE));
                syscall::file::close(&ctx, listening).unwrap();
                let late = socket(&ctx, Domain::Unix, SocketType::Stream);
                assert_eq!(connect(&ctx, late, &address).await, Err(Errno::ECONNREFUSED));
            }
            let stat = syscall::path::stat(&ctx, DirFd::Cwd, b"/tmp/socket", Follow::No).unwrap();
            assert_eq!((stat.file_type(), stat.permissions()), (FileType::Socket, Mode::new(0o755)));
            assert_eq!(open(&ctx, "/tmp/socket", OpenFlags::READ).await, Err(Errno::ENXIO));
            let automatic = socket(&ctx, Domain::Unix, SocketType::Stream);
            let address = SocketAddress::Unix(UnixAddress::Autobind);
            syscall::socket::bind(&ctx, automatic, &address).unwrap();
            let got = SocketAddress::Unix(UnixAddress::Abstract(b"00001".to_vec()));
            assert_eq!(syscall::socket::local_address(&ctx, automatic), Ok(got));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn packets_keep_apart_over_a_connection() {
    Machine::new()
        .expect(|ctx| async move {
            let (one, other) =
                syscall::socket::pair(&ctx, SocketType::SeqPacket, OpenFlags::CLOEXEC).unwrap();
            assert_eq!(syscall::file::kind(&ctx, one), Ok(FileKind::StreamSocket));
            print(&ctx, one, "one").await;
            print(&ctx, one, "two").await;
            assert_eq!(read(&ctx, other, 99).await.unwrap(), "one");
            assert_eq!(read(&ctx, other, 2).await.unwrap(), "tw");
            syscall::file::close(&ctx, one).unwrap();
            assert_eq!(read(&ctx, other, 99).await.unwrap(), "");
            assert_eq!(syscall::file::stat(&ctx, other).unwrap().mode, 0o140_777);
            let inet = syscall::socket::socket(&ctx, Domain::Inet, SocketType::SeqPacket, OpenFlags::empty());
            assert_eq!(inet, Err(Errno::EPROTONOSUPPORT));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn open_files_travel_over_unix_sockets() {
    let machine = Machine::new();
    machine.write_file("/work/f", "content", 0o644);
    machine
        .expect(|ctx| async move {
            let (one, other) = syscall::socket::pair(&ctx, SocketType::Stream, OpenFlags::empty()).unwrap();
            let file = open(&ctx, "/work/f", OpenFlags::READ).await.unwrap();
            print(&ctx, one, "before ").await;
            syscall::socket::send_rights(&ctx, one, b"with", &[file, file], NONE).await.unwrap();
            syscall::file::close(&ctx, file).unwrap();
            let mut buffer = [0; 99];
            let request = RightsRequest { max: 1, flags: FdFlags::CLOEXEC };
            let first =
                syscall::socket::receive_rights(&ctx, other, &mut buffer, NONE, request).await.unwrap();
            assert_eq!((&buffer[..first.len], first.fds.len()), (&b"before "[..], 0));
            let second =
                syscall::socket::receive_rights(&ctx, other, &mut buffer, NONE, request).await.unwrap();
            assert_eq!(&buffer[..second.len], b"with");
            assert!(second.are_rights_cut);
            assert_eq!(syscall::file::fd_flags(&ctx, second.fds[0]), Ok(FdFlags::CLOEXEC));
            assert_eq!(read_to_end(&ctx, second.fds[0]).await, "content");
            let tcp = connection(&ctx, &inet("127.0.0.1:80")).await.0;
            let refused = syscall::socket::send_rights(&ctx, tcp, b"x", &[one], NONE).await;
            assert_eq!(refused, Err(Errno::EINVAL));
            // Nobody receives this one; it goes with the sockets.
            syscall::socket::send_rights(&ctx, one, b"x", &[second.fds[0]], NONE).await.unwrap();
        })
        .await;
    assert_eq!(machine.kernel.usage(), vm_kernel::Usage::default());
}

#[tokio::test(start_paused = true)]
async fn sockets_can_be_polled() {
    Machine::new()
        .expect(|ctx| async move {
            let events = PollEvents::IN | PollEvents::OUT;
            let look = |fd| {
                let ctx = &ctx;
                async move {
                    let mut files = [PollFd { fd: Some(fd), events, revents: PollEvents::empty() }];
                    syscall::poll::poll(ctx, &mut files, Some(Duration::ZERO), None).await.unwrap();
                    files[0].revents
                }
            };
            let fresh = socket(&ctx, Domain::Inet, SocketType::Stream);
            assert_eq!(look(fresh).await, PollEvents::OUT | PollEvents::HUP);
            let listening = listener(&ctx, &inet("127.0.0.1:80"));
            assert_eq!(look(listening).await, PollEvents::empty());
            connect(&ctx, fresh, &inet("127.0.0.1:80")).await.unwrap();
            assert_eq!(look(listening).await, PollEvents::IN);
            assert_eq!(look(fresh).await, PollEvents::OUT);
            let (server, _) = syscall::socket::accept(&ctx, listening, OpenFlags::empty()).await.unwrap();
            print(&ctx, server, "x").await;
            assert_eq!(look(fresh).await, PollEvents::IN | PollEvents::OUT);
            syscall::file::close(&ctx, server).unwrap();
            assert_eq!(look(fresh).await, PollEvents::IN | PollEvents::OUT | PollEvents::HUP);
            let datagram = socket(&ctx, Domain::Inet, SocketType::Datagram);
            assert_eq!(look(datagram).await, PollEvents::OUT);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_polled_wakes_for_a_connection() {
    let machine = Machine::new();
    machine.program("client", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(2)).await.unwrap();
        let fd = socket(&ctx, Domain::Inet, SocketType::Stream);
        connect(&ctx, fd, &inet("127.0.0.1:80")).await.map_or(1, |()| 0)
    });
    machine
        .expect(|ctx| async move {
            let listening = listener(&ctx, &inet("127.0.0.1:80"));
            spawn(&ctx, &["client"]).await;
            let mut files =
                [PollFd { fd: Some(listening), events: PollEvents::IN, revents: PollEvents::empty() }];
            assert_eq!(syscall::poll::poll(&ctx, &mut files, None, None).await, Ok(1));
            assert!(syscall::socket::accept(&ctx, listening, OpenFlags::empty()).await.is_ok());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn only_the_machine_itself_has_names() {
    Machine::with(|builder| builder.hostname("ada"))
        .expect(|ctx| async move {
            let resolve = |host: &str| syscall::socket::resolve(&ctx, host.as_bytes());
            assert_eq!(resolve("localhost").unwrap().len(), 2);
            assert_eq!(resolve("ada"), resolve("localhost"));
            assert_eq!(resolve("192.0.2.7").unwrap(), ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]);
            assert_eq!(resolve("example.com"), Err(Errno::ENOENT));
        })
        .await;
}
