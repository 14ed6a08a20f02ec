//! `doctor` through a real nginx, set well and set wrongly in every way that it knows.

#![expect(clippy::print_stderr, reason = "a test that lacks a program says so")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rbuild_registry_server::admin::doctor::{Check, DoctorError, Options, Verdict, doctor};
use support::Fixture;
use support::program::{PROGRAM, terminate};
use tempfile::TempDir;

/// What docs/registry.md recommends.
const GOOD: &str = "client_max_body_size 0; proxy_request_buffering off; proxy_http_version 1.1;";

/// A program of this machine; without it the test is skipped, or fails if it is required.
fn installed(name: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists());
    if found.is_none() {
        let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|own| own == name),
            "{name} is required and not installed"
        );
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// An nginx of the test's own; it ends with the value.
struct Proxy {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Proxy {
    /// `server` and `location` are settings of those blocks; `PORT` in them is the proxy's own port.
    fn start(program: &Path, backend: &str, server: &str, location: &str) -> Self {
        let mut started = None;
        for _ in 0..10 {
            // nginx takes no port 0, so a free one is found, and another one if somebody was faster.
            let port = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .expect("a free port")
                .port();
            started = Self::try_start(program, port, backend, server, location);
            if started.is_some() {
                break;
            }
        }
        started.expect("nginx starts")
    }

    fn try_start(
        program: &Path,
        port: u16,
        backend: &str,
        server: &str,
        location: &str,
    ) -> Option<Self> {
        let directory = tempfile::tempdir().expect("temporary directory");
        let prefix = directory.path().display();
        // A word for `listen` may stand first.
        let (offer, server) = match server.strip_prefix("http2;") {
            Some(rest) => (" http2", rest),
            None => ("", server),
        };
        let tls = if server.contains("ssl_certificate") {
            " ssl"
        } else {
            ""
        };
        // Zones belong to the block around the server.
        let (http, server): (Vec<&str>, Vec<&str>) = server
            .split_inclusive(';')
            .partition(|setting| setting.contains("zone="));
        let (http, server) = (http.concat(), server.concat());
        let config = format!(
            "daemon off; master_process off; pid {prefix}/pid;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {prefix}/body; proxy_temp_path {prefix}/proxy;
                fastcgi_temp_path {prefix}/fastcgi; uwsgi_temp_path {prefix}/uwsgi; scgi_temp_path {prefix}/scgi;
                {http}
                server {{
                    listen 127.0.0.1:{port}{tls}{offer};
                    {server}
                    location / {{ {location} proxy_pass http://{backend}; }}
                }}
            }}"
        )
        .replace("PORT", &port.to_string())
        .replace("PREFIX", &prefix.to_string());
        let file = directory.path().join("nginx.conf");
        fs::write(&file, config).expect("write");
        let mut process = Command::new(program)
            .arg("-p")
            .arg(directory.path())
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(directory.path().join("error.log"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx runs");
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = process.try_wait().expect("its state").is_some();
            if ended || Instant::now() > deadline {
                drop(process.kill());
                drop(process.wait());
                let log = fs::read_to_string(directory.path().join("error.log"));
                let log = log.unwrap_or_default();
                assert!(log.contains("Address already in use"), "{log}");
                return None;
            }
            std::thread::yield_now();
        }
        Some(Self {
            process,
            port,
            _directory: directory,
        })
    }
}

fn options(url: String) -> Options {
    Options {
        url,
        repository: None,
        authorities: Vec::new(),
        login: None,
        largest_bytes: 2 << 20,
        slow: None,
    }
}

/// All checks, and the names of those that failed.
fn examine(options: &Options) -> (Vec<Check>, BTreeSet<&'static str>) {
    let mut checks = Vec::new();
    let failed = doctor(options, &mut |check| checks.push(check.clone())).expect("it is reached");
    let names: BTreeSet<_> = checks
        .iter()
        .filter(|check| matches!(check.verdict, Verdict::Failed { .. }))
        .map(|check| check.name)
        .collect();
    assert_eq!(failed, names.len(), "{checks:#?}");
    (checks, names)
}

fn shown(checks: &[Check]) -> String {
    let lines: Vec<_> = checks.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Nothing that was pushed is left.
#[track_caller]
fn nothing_is_left(registry: &Fixture) {
    let catalog = registry.get("/v2/_catalog").json();
    let repositories = catalog["repositories"].as_array().expect("a list");
    assert!(repositories.is_empty(), "{repositories:?}");
}

#[test]
fn a_registry_without_a_proxy_is_well() {
    let registry = Fixture::new();
    let (checks, failed) = examine(&options(format!("http://{}", registry.address)));
    assert!(failed.is_empty(), "{}", shown(&checks));
    let good = checks
        .iter()
        .filter(|check| matches!(check.verdict, Verdict::Good(_)));
    assert_eq!(good.count(), 22, "{}", shown(&checks));
    nothing_is_left(&registry);
}

#[test]
fn each_wrong_setting_of_nginx_is_found_and_named() {
    let Some(nginx) = installed("nginx") else {
        return;
    };
    let registry = Fixture::new();
    let backend = registry.address.to_string();
    let wide = "client_max_body_size 0; proxy_http_version 1.1;";
    // Settings of the server and of the location, what must fail, and a setting that must be named.
    let cases: &[(&str, &str, &[&str], &str)] = &[
        ("", GOOD, &[], ""),
        (
            "",
            "proxy_request_buffering off; proxy_http_version 1.1;",
            &["body-size"],
            "client_max_body_size 0",
        ),
        ("", wide, &["buffering"], "proxy_request_buffering off"),
        (
            "gzip on; gzip_types *; gzip_proxied any;",
            GOOD,
            &["compression", "head"],
            "gzip off",
        ),
        (
            "",
            "proxy_redirect / http://registry.example/; GOOD",
            &["location"],
            "proxy_redirect off",
        ),
        (
            "",
            "proxy_redirect / https://127.0.0.1:PORT/; GOOD",
            &["location"],
            "scheme https instead of http",
        ),
        (
            "",
            "proxy_redirect / http://127.0.0.1/; GOOD",
            &["location"],
            "port 80 instead of PORT",
        ),
        ("", "proxy_set_header Range \"\"; GOOD", &["range"], "Range"),
        (
            "error_page 404 /404.html; location = /404.html { return 404 '<html>no</html>'; }",
            "proxy_intercept_errors on; GOOD",
            &["errors"],
            "proxy_intercept_errors off",
        ),
        (
            "",
            "sub_filter localhost:5000 registry.example; sub_filter_types *; sub_filter_once off; GOOD",
            &["head", "manifest"],
            "sub_filter",
        ),
        (
            "",
            "proxy_hide_header Docker-Content-Digest; GOOD",
            &["digest"],
            "Docker-Content-Digest",
        ),
        ("", "proxy_hide_header Link; GOOD", &["link"], "Link"),
        (
            "",
            "proxy_hide_header Docker-Distribution-Api-Version; GOOD",
            &["api"],
            "Docker-Distribution-Api-Version",
        ),
        (
            "",
            "limit_except GET HEAD { deny all; } GOOD",
            &["push"],
            "limit_except",
        ),
        (
            "",
            "rewrite ^(.*)$ $1 break; GOOD",
            &["encoding"],
            "no rewrite",
        ),
        (
            "large_client_header_buffers 4 3k;",
            GOOD,
            &["headers", "long-url"],
            "large_client_header_buffers 4 16k",
        ),
        (
            "",
            "return 301 https://registry.example$request_uri; GOOD",
            &["redirect"],
            "https://registry.example/v2/",
        ),
        ("", "return 404; GOOD", &["api"], "PathPrefix"),
        (
            "limit_conn_zone $binary_remote_addr zone=all:1m; limit_conn all 3;",
            GOOD,
            &["parallel"],
            "limit_conn",
        ),
        (
            "proxy_cache_path PREFIX/cache keys_zone=one:1m;",
            "proxy_cache one; proxy_cache_valid 200 1h; GOOD",
            &["cache"],
            "proxy_cache off",
        ),
        // The last one, as it leaves something behind.
        (
            "",
            "limit_except GET HEAD POST PUT PATCH { deny all; } GOOD",
            &["delete"],
            "DELETE",
        ),
    ];
    for (server, location, want, named) in cases {
        let location = location.replace("GOOD", GOOD);
        let proxy = Proxy::start(&nginx, &backend, server, &location);
        let (checks, failed) = examine(&options(format!("http://127.0.0.1:{}", proxy.port)));
        let text = shown(&checks);
        assert_eq!(
            failed,
            want.iter().copied().collect(),
            "{server} {location}\n{text}"
        );
        let named = named.replace("PORT", &proxy.port.to_string());
        assert!(text.contains(&named), "no `{named}` in\n{text}");
        if !want.contains(&"delete") {
            nothing_is_left(&registry);
        }
    }
}

#[test]
fn a_proxy_without_a_registry_behind_it_is_told_apart() {
    let Some(nginx) = installed("nginx") else {
        return;
    };
    // A port that was free a moment ago, and that nobody listens on.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let proxy = Proxy::start(&nginx, &nobody.to_string(), "", GOOD);
    let (checks, failed) = examine(&options(format!("http://127.0.0.1:{}", proxy.port)));
    assert_eq!(failed, BTreeSet::from(["api"]));
    assert!(
        shown(&checks).contains("does not reach the registry"),
        "{}",
        shown(&checks)
    );
    let port = proxy.port;
    drop(proxy);
    let mut heard = |_: &Check| {};
    let gone = doctor(&options(format!("http://127.0.0.1:{port}")), &mut heard);
    assert!(
        matches!(gone, Err(DoctorError::Unreachable { .. })),
        "{gone:?}"
    );
    for url in ["ftp://x", "http://x/registry", "http://a:b@x", "http://"] {
        let wrong = doctor(&options(url.to_owned()), &mut heard);
        assert!(
            matches!(wrong, Err(DoctorError::Address { .. })),
            "{url}: {wrong:?}"
        );
    }
}

/// A certificate for this name, valid in these days (`YYYYMMDD`); its key beside it.
fn certificate(openssl: &Path, directory: &Path, name: &str, from: &str, until: &str) -> PathBuf {
    let at = |file: &str| directory.join(file);
    let run = |arguments: &[&str]| {
        let output = Command::new(openssl)
            .args(arguments)
            .current_dir(directory)
            .output()
            .expect("openssl runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}");
    };
    for (file, content) in [
        ("index.txt", ""),
        ("serial", "01\n"),
        (
            "ca.conf",
            "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nserial = serial\nnew_certs_dir = .\n\
             default_md = sha256\npolicy = any\nunique_subject = no\n[any]\ncommonName = supplied\n",
        ),
        ("names", &format!("subjectAltName = {name}\n")),
    ] {
        fs::write(at(file), content).expect("write");
    }
    run(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=registry",
        "-keyout",
        "key.pem",
        "-out",
        "request.pem",
    ]);
    let (from, until) = (format!("{from}000000Z"), format!("{until}000000Z"));
    run(&[
        "ca",
        "-batch",
        "-config",
        "ca.conf",
        "-selfsign",
        "-keyfile",
        "key.pem",
        "-in",
        "request.pem",
        "-out",
        "cert.pem",
        "-notext",
        "-extfile",
        "names",
        "-startdate",
        &from,
        "-enddate",
        &until,
    ]);
    at("cert.pem")
}

#[test]
fn what_is_wrong_with_tls_is_told() {
    let (Some(nginx), Some(openssl)) = (installed("nginx"), installed("openssl")) else {
        return;
    };
    let registry = Fixture::new();
    let backend = registry.address.to_string();
    for (name, from, until, trusted, want, word) in [
        (
            "IP:127.0.0.1",
            "20200101",
            "20480101",
            true,
            None,
            "certificate is valid",
        ),
        (
            "IP:127.0.0.1",
            "20200101",
            "20480101",
            false,
            Some("connect"),
            "--ca FILE",
        ),
        (
            "DNS:other.example",
            "20200101",
            "20480101",
            true,
            Some("connect"),
            "for another name",
        ),
        (
            "IP:127.0.0.1",
            "20200101",
            "20200102",
            true,
            Some("connect"),
            "has expired",
        ),
    ] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = certificate(&openssl, directory.path(), name, from, until);
        let path = directory.path().display();
        let server =
            format!("ssl_certificate {path}/cert.pem; ssl_certificate_key {path}/key.pem;");
        let proxy = Proxy::start(&nginx, &backend, &server, GOOD);
        let mut asked = options(format!("127.0.0.1:{}", proxy.port));
        if trusted {
            asked.authorities.push(file);
        }
        let (checks, failed) = examine(&asked);
        let text = shown(&checks);
        assert_eq!(failed, want.into_iter().collect(), "{text}");
        assert!(text.contains(word), "no `{word}` in\n{text}");
        // The rest is looked at all the same.
        assert!(text.contains("ok      range"), "{text}");
        let plain = examine(&options(format!("http://127.0.0.1:{}", proxy.port)));
        assert_eq!(plain.1, BTreeSet::from(["connect"]), "{}", shown(&plain.0));
        assert!(shown(&plain.0).contains("https://"), "{}", shown(&plain.0));
    }
    // HTTP/2 is looked at where it is offered.
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = certificate(
        &openssl,
        directory.path(),
        "IP:127.0.0.1",
        "20200101",
        "20480101",
    );
    let path = directory.path().display();
    for (location, want, word) in [
        (GOOD.to_owned(), None, "pushes and pulls pass"),
        (
            format!("{GOOD} if ($server_protocol = HTTP/2.0) {{ return 501; }}"),
            Some("http2"),
            "501",
        ),
    ] {
        let server =
            format!("http2; ssl_certificate {path}/cert.pem; ssl_certificate_key {path}/key.pem;");
        let proxy = Proxy::start(&nginx, &backend, &server, &location);
        let mut asked = options(format!("https://127.0.0.1:{}", proxy.port));
        asked.authorities.push(file.clone());
        let (checks, failed) = examine(&asked);
        let text = shown(&checks);
        assert_eq!(failed, want.into_iter().collect(), "{text}");
        assert!(text.contains(word), "no `{word}` in\n{text}");
    }
    let plain = examine(&options(format!("https://{backend}")));
    assert_eq!(plain.1, BTreeSet::from(["connect"]), "{}", shown(&plain.0));
    assert!(
        shown(&plain.0).contains("it does not speak TLS"),
        "{}",
        shown(&plain.0)
    );
}

#[test]
fn a_login_at_the_proxy_is_asked_for_and_used() {
    let Some(nginx) = installed("nginx") else {
        return;
    };
    let registry = Fixture::new();
    let directory = tempfile::tempdir().expect("temporary directory");
    let users = directory.path().join("users");
    fs::write(&users, "me:{PLAIN}secret\n").expect("write");
    let server = format!(
        "auth_basic registry; auth_basic_user_file {};",
        users.display()
    );
    let location =
        format!("{GOOD} add_header Docker-Distribution-Api-Version registry/2.0 always;");
    let proxy = Proxy::start(&nginx, &registry.address.to_string(), &server, &location);
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let run = |arguments: &[&str], password: &str| {
        Command::new(PROGRAM)
            .args(["doctor", &url, "--largest", "1MiB"])
            .args(arguments)
            .env("RBUILD_REGISTRY_PASSWORD", password)
            .output()
            .expect("the program runs")
    };
    for (arguments, password, status, word) in [
        (&[][..], "secret", 2, "--username"),
        (
            &["--username", "me"],
            "wrong",
            2,
            "name or password are wrong",
        ),
        (&["--username", "me"], "secret", 0, "ok      range"),
        (
            &["--repository", "team/probe", "-u", "me"],
            "secret",
            0,
            "`team/probe` is deleted",
        ),
        (&["--repository", "Team"], "secret", 2, "Team"),
    ] {
        let output = run(arguments, password);
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert!(text.contains(word), "no `{word}` in\n{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    nothing_is_left(&registry);
}

#[test]
fn a_slow_upload_is_tried_if_wanted() {
    let Some(nginx) = installed("nginx") else {
        return;
    };
    let registry = Fixture::new();
    let backend = registry.address.to_string();
    for (location, want) in [
        (GOOD.to_owned(), None),
        (format!("{GOOD} client_body_timeout 500ms;"), Some("slow")),
    ] {
        let proxy = Proxy::start(&nginx, &backend, "", &location);
        let mut asked = options(format!("http://127.0.0.1:{}", proxy.port));
        asked.slow = Some(Duration::from_secs(2));
        let (checks, failed) = examine(&asked);
        assert_eq!(failed, want.into_iter().collect(), "{}", shown(&checks));
    }
}

#[test]
fn an_interrupted_examination_leaves_nothing_behind() {
    let registry = Fixture::new();
    let mut child = Command::new(PROGRAM)
        .args(["doctor", "--largest", "1MiB", "--slow", "1h"])
        .arg(format!("http://{}", registry.address))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    // The last check before the slow one.
    assert!(lines.any(|line| line.starts_with("ok      cache")));
    terminate(&child);
    let rest: Vec<String> = lines.collect();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("interrupted"),
        "{output:?}"
    );
    assert!(
        rest.iter().any(|line| line.contains("is deleted")),
        "{rest:?}"
    );
    nothing_is_left(&registry);
}

#[test]
fn another_registry_is_not_blamed_for_what_only_ours_promises() {
    let Some(program) = installed("docker-registry") else {
        return;
    };
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("config.yml");
    let data = directory.path().join("data");
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n",
        data.display()
    );
    fs::write(&file, config).expect("write");
    let mut process = Command::new(program)
        .arg("serve")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("docker-registry runs");
    let mut lines = BufReader::new(process.stderr.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    let line = lines.find(|line| line.contains("listening on "));
    // It blocks when nobody reads its log.
    std::thread::spawn(move || lines.for_each(drop));
    let address = line.as_deref().and_then(|line| {
        let (_, rest) = line.split_once("listening on ")?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && !".:".contains(c));
        Some(&rest[..end.unwrap_or(rest.len())])
    });
    let outcome = address.map(|address| examine(&options(format!("http://{address}"))));
    drop(process.kill());
    drop(process.wait());
    let (checks, failed) = outcome.expect("it listens");
    let text = shown(&checks);
    assert!(failed.is_empty(), "{text}");
    // It does not allow deletions unless it is told to.
    assert!(text.contains("skipped delete"), "{text}");
    assert!(text.contains("ok      range"), "{text}");
}
