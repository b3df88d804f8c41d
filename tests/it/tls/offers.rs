//! What both listeners offer and refuse, as a scanner sees it: versions, cipher suites, groups, signatures and extensions.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::{
    handshake::openssl,
    hello::{
        ALPN, Answer, EXTENDED_MASTER_SECRET, GROUPS, HEARTBEAT, Hello, KEY_SHARE,
        RENEGOTIATION_INFO, SERVER_NAME, SESSION_TICKET, SIGNATURES, SUPPORTED_VERSIONS,
        ServerHello, TLS10, TLS12, TLS13, list16, sized16,
    },
    with_tls,
};
use crate::support::{
    authority::Issued,
    redis::Folder,
    server::{TestServer, printed_address},
    setup::Setup,
};

/// What is expected: three suites for an ECDSA key, then three for an RSA key.
const SUITES_12: [u16; 6] = [0xc02c, 0xc02b, 0xcca9, 0xc030, 0xc02f, 0xcca8];
const SUITES_13: [u16; 3] = [0x1302, 0x1301, 0x1303];

/// RFC 8446 §6.2.
const HANDSHAKE_FAILURE: u8 = 40;
const ILLEGAL_PARAMETER: u8 = 47;
const PROTOCOL_VERSION: u8 = 70;

/// A server with TLS on both listeners, by a certificate of this kind.
struct Offering {
    _folder: Folder,
    _server: TestServer,
    listeners: [(&'static str, SocketAddr); 2],
}

impl Offering {
    /// With an ECDSA key.
    fn ecdsa() -> Self {
        Self::with_key("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256")
    }

    fn rsa() -> Self {
        Self::with_key("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048")
    }

    fn with_key(make: &str) -> Self {
        let folder = Folder::new();
        let (key_file, cert_file) = (folder.file("key.pem"), folder.file("cert.pem"));
        openssl(&format!("{make} -out {key_file}"));
        openssl(&format!(
            "req -x509 -days 90 -subj /CN=localhost -addext subjectAltName=DNS:localhost -key {key_file} -out {cert_file}"
        ));
        let setup = Setup::new()
            .set("admin.tls.cert", cert_file.as_str())
            .set("admin.tls.key", key_file.as_str());
        let issued = Issued {
            cert_file,
            key_file,
        };
        let server = TestServer::start(with_tls(setup, &issued));
        let public = printed_address(&server.process.stdout(), "Listening on https");
        let listeners = [
            ("public", public.expect("a TLS port")),
            ("admin", server.admin),
        ];
        Self {
            _folder: folder,
            _server: server,
            listeners,
        }
    }
}

#[track_caller]
fn agreed(hello: &Hello, address: SocketAddr) -> ServerHello {
    match hello.ask(address) {
        Answer::Hello(hello) => *hello,
        refused => panic!("{refused:?}"),
    }
}

#[track_caller]
fn refused(hello: &Hello, address: SocketAddr) -> u8 {
    match hello.ask(address) {
        Answer::Alert(alert) => alert,
        other => panic!("{other:?}"),
    }
}

/// All that a server agrees on, in its order of choosing: each choice is left out of the next hello.
fn choices(
    offered: &[u16],
    address: SocketAddr,
    hello: impl Fn(&[u16]) -> Hello,
    choice: impl Fn(&ServerHello) -> u16,
) -> Vec<u16> {
    let (mut left, mut chosen) = (offered.to_vec(), Vec::new());
    while !left.is_empty() {
        match hello(&left).ask(address) {
            Answer::Hello(hello) => {
                let choice = choice(&hello);
                left.retain(|it| *it != choice);
                chosen.push(choice);
            }
            Answer::Alert(alert) => {
                assert_eq!(alert, HANDSHAKE_FAILURE, "{left:04x?}");
                return chosen;
            }
            // rustls ends without an alert where only the schemes of signatures differ.
            Answer::Closed => return chosen,
        }
    }
    chosen
}

/// All registered ranges of cipher suites, without the two numbers that are signals.
fn all_suites() -> Vec<u16> {
    let ranges = [
        0x0000..=0x00fe,
        0x1300..=0x13ff,
        0x5601..=0x56ff,
        0xc000..=0xc1ff,
        0xcc00..=0xccff,
        0xd000..=0xd0ff,
        0xfe00..=0xfeff,
        0xff00..=0xffff,
    ];
    ranges.into_iter().flatten().collect()
}

fn sorted(mut numbers: Vec<u16>) -> Vec<u16> {
    numbers.sort_unstable();
    numbers
}

#[test]
fn versions_before_1_2_are_refused_by_name() {
    let it = Offering::ecdsa();
    for (name, address) in it.listeners {
        for old in [0x0002, 0x0300, TLS10, 0x0302] {
            let hello = Hello {
                version: old,
                ..Hello::tls12(&all_suites())
            };
            assert_eq!(
                refused(&hello, address),
                PROTOCOL_VERSION,
                "{name} {old:04x}"
            );
            let versions = [&[2][..], &old.to_be_bytes()].concat();
            let hello = Hello::tls13(&all_suites()).with(SUPPORTED_VERSIONS, versions);
            assert_eq!(
                refused(&hello, address),
                PROTOCOL_VERSION,
                "{name} {old:04x}"
            );
        }
        let old = agreed(&Hello::tls12(&all_suites()), address);
        assert_eq!(
            (old.version, old.extension(SUPPORTED_VERSIONS)),
            (TLS12, None)
        );
        let new = agreed(&Hello::tls13(&all_suites()), address);
        let chosen = TLS13.to_be_bytes();
        assert_eq!(new.extension(SUPPORTED_VERSIONS), Some(&chosen[..]));
    }
}

#[test]
fn cipher_suites_have_forward_secrecy_and_authenticated_encryption_and_no_others_are_agreed_on() {
    for (it, expected) in [
        (Offering::ecdsa(), &SUITES_12[..3]),
        (Offering::rsa(), &SUITES_12[3..]),
    ] {
        for (name, address) in it.listeners {
            let old = choices(&all_suites(), address, Hello::tls12, |it| it.suite);
            assert_eq!(sorted(old), sorted(expected.to_vec()), "{name}");
            let new = choices(&all_suites(), address, Hello::tls13, |it| it.suite);
            assert_eq!(sorted(new), sorted(SUITES_13.to_vec()), "{name}");
        }
    }
}

/// All suites are strong, and a client without AES in its hardware is faster with ChaCha20.
#[test]
fn among_cipher_suites_the_clients_order_decides() {
    let it = Offering::ecdsa();
    let backwards = |suites: &[u16]| suites.iter().rev().copied().collect::<Vec<_>>();
    for (name, address) in it.listeners {
        for suites in [SUITES_12[..3].to_vec(), backwards(&SUITES_12[..3])] {
            let chosen = choices(&suites, address, Hello::tls12, |it| it.suite);
            assert_eq!(chosen, suites, "{name}");
        }
        for suites in [SUITES_13.to_vec(), backwards(&SUITES_13)] {
            let chosen = choices(&suites, address, Hello::tls13, |it| it.suite);
            assert_eq!(chosen, suites, "{name}");
        }
    }
}

#[test]
fn keys_are_agreed_on_over_three_groups_and_no_others() {
    let it = Offering::ecdsa();
    // All of the registry, finite fields, binary curves and hybrids included.
    let offered: Vec<u16> = (1..=0x0120).chain(0x11eb..=0x11ef).collect();
    for (name, address) in it.listeners {
        let old = |groups: &[u16]| Hello::tls12(&SUITES_12).with(GROUPS, list16(groups));
        let chosen = choices(&offered, address, old, |it| it.exchange.expect("a key").0);
        assert_eq!(sorted(chosen), [23, 24, 29], "{name}");
        let new = |groups: &[u16]| Hello::tls13(&SUITES_13).with(GROUPS, list16(groups));
        let chosen = choices(&offered, address, new, |it| {
            assert!(it.is_retry());
            let group = it.extension(KEY_SHARE).expect("a group");
            u16::from_be_bytes([group[0], group[1]])
        });
        assert_eq!(sorted(chosen), [23, 24, 29], "{name}");
    }
}

#[test]
fn signatures_are_of_sha_2_and_no_others() {
    // By hash and kind, as before 1.3, and the schemes that 1.3 names.
    let mut offered: Vec<u16> = (1..=6)
        .flat_map(|hash: u16| (1..=3).map(move |kind| hash << 8 | kind))
        .collect();
    offered.extend(0x0804..=0x080b);
    for (it, expected) in [
        (Offering::ecdsa(), &[0x0403][..]),
        (
            Offering::rsa(),
            &[0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806],
        ),
    ] {
        for (name, address) in it.listeners {
            let hello =
                |schemes: &[u16]| Hello::tls12(&SUITES_12).with(SIGNATURES, list16(schemes));
            let chosen = choices(&offered, address, hello, |it| it.exchange.expect("a key").1);
            assert_eq!(sorted(chosen), expected, "{name}");
        }
    }
}

#[test]
fn nothing_is_compressed_and_there_is_no_heartbeat() {
    let it = Offering::ecdsa();
    for (name, address) in it.listeners {
        let both = Hello {
            compressions: vec![1, 64, 0],
            ..Hello::tls12(&SUITES_12).with(HEARTBEAT, vec![1])
        };
        let hello = agreed(&both, address);
        assert_eq!(hello.compression, 0, "{name}");
        assert_eq!(hello.extension(HEARTBEAT), None, "{name}");
        let only = Hello {
            compressions: vec![1],
            ..Hello::tls12(&SUITES_12)
        };
        let alert = refused(&only, address);
        assert!(
            [HANDSHAKE_FAILURE, ILLEGAL_PARAMETER].contains(&alert),
            "{name}: {alert}"
        );
    }
}

#[test]
fn renegotiation_is_marked_as_secure_and_refused() {
    let it = Offering::ecdsa();
    for (name, address) in it.listeners {
        let by_extension = Hello::tls12(&SUITES_12).with(RENEGOTIATION_INFO, vec![0]);
        let by_signal = Hello::tls12(&[&SUITES_12[..], &[0x00ff]].concat());
        for hello in [by_extension, by_signal] {
            let answer = agreed(&hello, address);
            assert_eq!(
                answer.extension(RENEGOTIATION_INFO),
                Some(&[0][..]),
                "{name}"
            );
        }
        let mut client = Command::new("openssl")
            .args(["s_client", "-tls1_2", "-connect"])
            .arg(address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let mut input = client.stdin.take().expect("it is piped");
        input.write_all(b"R\n").expect("it reads");
        let finished = client.wait_with_output().expect("it ends by itself");
        drop(input);
        let said = String::from_utf8_lossy(&finished.stderr);
        assert!(said.contains("RENEGOTIATING"), "{name}: {said}");
        assert!(said.contains("no renegotiation"), "{name}: {said}");
    }
}

#[test]
fn the_master_secret_is_bound_to_the_handshake_and_sessions_come_back_by_ticket_alone() {
    let it = Offering::ecdsa();
    for (name, address) in it.listeners {
        let hello = Hello::tls12(&SUITES_12)
            .with(EXTENDED_MASTER_SECRET, Vec::new())
            .with(SESSION_TICKET, Vec::new());
        let answer = agreed(&hello, address);
        assert_eq!(
            answer.extension(EXTENDED_MASTER_SECRET),
            Some(&[][..]),
            "{name}"
        );
        assert_eq!(answer.extension(SESSION_TICKET), Some(&[][..]), "{name}");
        let without = agreed(&Hello::tls12(&SUITES_12), address);
        assert_eq!(without.extension(SESSION_TICKET), None, "{name}");
        for answer in [answer, without] {
            assert_eq!(answer.session, Vec::<u8>::new(), "{name}");
        }
        // Anyone could replay data that comes with the first hello.
        let session = said(&["-tls1_3", "-ign_eof"], address);
        assert!(session.contains("Max Early Data: 0"), "{name}: {session}");
    }
}

/// What `openssl s_client` says of a session in which one request is answered.
fn said(options: &[&str], address: SocketAddr) -> String {
    let mut client = Command::new("openssl")
        .arg("s_client")
        .args(options)
        .args(["-connect", &address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let request = b"GET /up HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut input = client.stdin.take().expect("it is piped");
    input.write_all(request).expect("it reads");
    let finished = client.wait_with_output().expect("it ends by itself");
    String::from_utf8_lossy(&finished.stdout).into_owned()
}

#[test]
fn a_name_that_is_on_no_certificate_gets_the_first_and_http_1_1_is_the_only_protocol() {
    let it = Offering::ecdsa();
    for (name, address) in it.listeners {
        let server_name = |name: &str| sized16(&[&[0][..], &sized16(name.as_bytes())].concat());
        for asked in ["unknown.example", "localhost"] {
            let hello = Hello::tls12(&SUITES_12).with(SERVER_NAME, server_name(asked));
            agreed(&hello, address);
        }
        let protocols = |names: &[&[u8]]| {
            let short =
                |name: &&[u8]| [&[u8::try_from(name.len()).expect("short")], *name].concat();
            sized16(&names.iter().flat_map(short).collect::<Vec<_>>())
        };
        let both = Hello::tls12(&SUITES_12).with(ALPN, protocols(&[b"h2", b"http/1.1"]));
        let chosen = agreed(&both, address);
        assert_eq!(
            chosen.extension(ALPN),
            Some(&*protocols(&[b"http/1.1"])),
            "{name}"
        );
        let other = Hello::tls12(&SUITES_12).with(ALPN, protocols(&[b"h2"]));
        assert_eq!(
            refused(&other, address),
            120,
            "{name}: no_application_protocol"
        );
    }
}

/// RFC 8446 §4.1.3: a client of 1.3 that somebody in between has talked into 1.2 finds that out by the server's random.
#[test]
fn a_server_that_speaks_1_3_says_so_to_those_who_ask_for_1_2() {
    let it = Offering::ecdsa();
    for (name, address) in it.listeners {
        let hello = agreed(&Hello::tls12(&SUITES_12), address);
        assert!(hello.random.ends_with(b"DOWNGRD\x01"), "{name}: {hello:?}");
    }
}
