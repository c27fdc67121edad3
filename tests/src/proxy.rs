//! An HTTP proxy of a test's own: it tunnels, asks for plain HTTP, finds names that nobody else
//! knows, and remembers what it was asked.

use futures_rustls::TlsAcceptor;
use rustls::ServerConfig;
use smol::Async;
use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The proxy. Its threads end with the test.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    status: Arc<Mutex<Option<u16>>>,
}

/// What it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET http://a.example/x HTTP/1.1`, `CONNECT a.example:443 HTTP/1.1`.
    pub line: String,
    /// `Proxy-Authorization`.
    pub authorization: Option<String>,
}

impl Proxy {
    /// Starts one that finds these names, as they are asked for, where it is told, and everything else
    /// where it is. With a `status` it says that and a page instead, as a captive network does with 200.
    pub fn start(names: &[(&str, SocketAddr)], status: Option<u16>) -> Self {
        Self::bound((Ipv4Addr::LOCALHOST, 0), names, status)
    }

    /// The same on another address, in a network of the test's own.
    pub fn bound(at: (Ipv4Addr, u16), names: &[(&str, SocketAddr)], status: Option<u16>) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let address = listener.local_addr().unwrap();
        let names: BTreeMap<String, SocketAddr> =
            names.iter().map(|(name, to)| ((*name).to_owned(), *to)).collect();
        let (seen, status): (Arc<Mutex<Vec<Asked>>>, _) =
            (Arc::default(), Arc::new(Mutex::new(status)));
        let proxy = Self { address, seen: Arc::clone(&seen), status: Arc::clone(&status) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (names, seen) = (names.clone(), Arc::clone(&seen));
                let status = *status.lock().unwrap();
                std::thread::spawn(move || serve(&stream.unwrap(), &names, &seen, status));
            }
        });
        proxy
    }

    /// It works from now on.
    pub fn heal(&self) {
        *self.status.lock().unwrap() = None;
    }

    /// As the environment names it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked since the last time.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn serve(
    client: &TcpStream,
    names: &BTreeMap<String, SocketAddr>,
    seen: &Mutex<Vec<Asked>>,
    status: Option<u16>,
) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let of = |name: &str| {
        let found = head.iter().find_map(|line| {
            line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name))
        });
        found.map(|(_, value)| value.to_owned())
    };
    let line = head[0].clone();
    seen.lock()
        .unwrap()
        .push(Asked { line: line.clone(), authorization: of("proxy-authorization") });
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut client = client;
    if let Some(status) = status {
        let page = "<html>This network wants you to log in.</html>\n";
        let length = page.len();
        return write!(client, "HTTP/1.1 {status} No\r\nContent-Length: {length}\r\n\r\n{page}");
    }
    let (to, path) = match target.strip_prefix("http://") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => (target, ""),
    };
    let mut server = match names.get(to) {
        Some(address) => TcpStream::connect(address)?,
        None => TcpStream::connect(to)?,
    };
    if method == "CONNECT" {
        write!(client, "HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        let is_passed_on = |line: &&String| !line.to_ascii_lowercase().starts_with("proxy-");
        let rest: String =
            head[1..].iter().filter(is_passed_on).map(|line| format!("{line}\r\n")).collect();
        write!(server, "{method} {path} HTTP/1.1\r\n{rest}Connection: close\r\n\r\n")?;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut reader = reader;
            let _ = io::copy(&mut reader, &mut &server);
            let _ = server.shutdown(Shutdown::Write);
        });
        let mut buffer = [0; 16 * 1024];
        while let Ok(read) = (&server).read(&mut buffer)
            && read > 0
            && client.write_all(&buffer[..read]).is_ok()
        {}
        let _ = client.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Ends TLS as `settings` say in front of a server, on any address; its port.
pub fn secured(settings: ServerConfig, server: SocketAddr) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(settings));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, acceptor) = (client.unwrap(), acceptor.clone());
            std::thread::spawn(move || {
                smol::block_on(async {
                    let client = acceptor.accept(Async::new(client)?).await?;
                    let server = Async::<TcpStream>::connect(server).await?;
                    let (from_client, to_client) = smol::io::split(client);
                    let asked = smol::io::copy(from_client, &server);
                    smol::future::or(asked, smol::io::copy(&server, to_client)).await
                })
            });
        }
    });
    port
}
