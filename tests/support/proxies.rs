//! Proxies as children: nginx and HAProxy, each in the foreground with a configuration of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{PATIENCE, wait_for};

/// A port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port()
}

/// A proxy at work. Killed when dropped.
pub struct Proxy {
    child: Child,
    folder: TempDir,
}

impl Proxy {
    /// nginx: what stands beside `events`, for instance `http { … }` or `stream { … }`. It is up when it listens on `port`.
    #[track_caller]
    pub fn nginx(port: u16, blocks: &str) -> Proxy {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().display();
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
             daemon off; master_process off; pid {root}/pid; error_log {root}/error.log info;\n\
             events {{ worker_connections 256; }}\n{blocks}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).expect("a configuration");
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-c").arg(&file).args(["-p", &root.to_string()]);
        Proxy::start(command, folder, port)
    }

    /// HAProxy: what stands behind its `defaults`.
    #[track_caller]
    pub fn haproxy(port: u16, sections: &str) -> Proxy {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "global\n  maxconn 256\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n{sections}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config).expect("a configuration");
        let mut command = Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(&file);
        Proxy::start(command, folder, port)
    }

    #[track_caller]
    fn start(mut command: Command, folder: TempDir, port: u16) -> Proxy {
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut proxy = Proxy { child, folder };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_for(&format!("{address} is listened on"), PATIENCE, || {
            if let Ok(Some(status)) = proxy.child.try_wait() {
                let log = fs::read_to_string(proxy.folder.path().join("log")).unwrap_or_default();
                panic!("the proxy ended: {status}\n{log}");
            }
            TcpStream::connect(address).ok()
        });
        proxy
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
