//! Golden cases of the file and of the helper protocol.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::Secret;

/// A directory with a `config.json` of this text, and helpers of its own.
struct Fixture {
    directory: TempDir,
}

impl Fixture {
    fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if !config.is_empty() {
            fs::write(directory.path().join("config.json"), config).unwrap();
        }
        Self { directory }
    }

    /// Installs a helper of `testdata/helpers`, as a link: a program that was just written
    /// cannot be run while another test's thread happens to fork.
    fn with_helper(self, name: &str) -> Self {
        let helpers = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/helpers");
        let link = self.path(&format!("docker-credential-{name}"));
        std::os::unix::fs::symlink(helpers.join(name), link).unwrap();
        self
    }

    fn config(&self) -> DockerConfig {
        DockerConfig::new(ConfigPaths {
            docker: self.path("config.json"),
            others: vec![self.path("auth.json")],
            helper_path: Some(self.directory.path().into()),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

fn basic(username: &str, password: &str) -> Credential {
    Credential::basic(username, password)
}

fn identity(token: &str) -> Credential {
    Credential::IdentityToken(Secret::new(token))
}

#[track_caller]
fn check_get(config: &str, registry: &str, want: Option<&Credential>) {
    let fixture = Fixture::new(config);
    assert_eq!(
        fixture.config().get(registry).unwrap().as_ref(),
        want,
        "{config}"
    );
}

#[test]
fn every_form_of_entry_is_read() {
    // `bWU6c2U6Y3JldA==` is `me:se:cret`.
    let me = basic("me", "se:cret");
    let me = Some(&me);
    check_get("", "a.b", None);
    check_get("{}", "a.b", None);
    check_get(
        r#"{"auths":{"a.b":{"auth":"bWU6c2U6Y3JldA=="}}}"#,
        "a.b",
        me,
    );
    check_get(r#"{"auths":{"a.b":{"auth":"bWU6c2U6Y3JldA"}}}"#, "a.b", me);
    check_get(
        r#"{"auths":{"https://a.b":{"auth":"bWU6c2U6Y3JldA=="}}}"#,
        "a.b",
        me,
    );
    check_get(
        r#"{"auths":{"https://a.b/v2/":{"auth":"bWU6c2U6Y3JldA=="}}}"#,
        "a.b",
        me,
    );
    check_get(
        r#"{"auths":{"a.b:5000":{"auth":"bWU6c2U6Y3JldA=="}}}"#,
        "a.b",
        None,
    );
    check_get(
        r#"{"auths":{"a.b/team":{"auth":"bWU6c2U6Y3JldA=="}}}"#,
        "a.b",
        None,
    );
    check_get(
        r#"{"auths":{"a.b":{"username":"me","password":"se:cret"}}}"#,
        "a.b",
        me,
    );
    for key in [
        "https://index.docker.io/v1/",
        "docker.io",
        "index.docker.io",
    ] {
        let config = format!(r#"{{"auths":{{"{key}":{{"auth":"bWU6c2U6Y3JldA=="}}}}}}"#);
        check_get(&config, "docker.io", me);
    }
    check_get(
        r#"{"auths":{"a.b":{"auth":"bWU6","identitytoken":"tok"}}}"#,
        "a.b",
        Some(&identity("tok")),
    );
    check_get(
        r#"{"auths":{"a.b":{"registrytoken":"tok"}}}"#,
        "a.b",
        Some(&Credential::Bearer(Secret::new("tok"))),
    );
    // The entry that tells of a helper holds nothing itself.
    check_get(r#"{"auths":{"a.b":{}}}"#, "a.b", None);
}

#[track_caller]
fn check_broken(config: &str, want: &str) {
    let fixture = Fixture::new(config);
    let error = fixture.config().get("a.b").unwrap_err().to_string();
    assert!(
        error.contains(want) && error.contains("config.json"),
        "{error}"
    );
    assert!(!error.contains("c2VjcmV0"), "{error}");
}

#[test]
fn broken_files_are_named_without_their_secrets() {
    check_broken("{", "line 1");
    check_broken(r#"["c2VjcmV0"]"#, "line 1");
    check_broken(r#"{"auths":{"a.b":{"auth":"%%c2VjcmV0"}}}"#, "not base64");
    check_broken(r#"{"auths":{"a.b":{"auth":"c2VjcmV0"}}}"#, "no colon");
}

#[test]
fn podmans_file_is_read_after_dockers() {
    let fixture = Fixture::new(r#"{"auths":{"a.b":{"auth":"bWU6c2U6Y3JldA=="}}}"#);
    let podman = r#"{"auths":{"a.b":{"auth":"eDp5"},"c.d":{"auth":"eDp5"}}}"#;
    fs::write(fixture.path("auth.json"), podman).unwrap();
    let config = fixture.config();
    assert_eq!(config.get("a.b").unwrap(), Some(basic("me", "se:cret")));
    assert_eq!(config.get("c.d").unwrap(), Some(basic("x", "y")));
}

#[test]
fn storing_keeps_what_others_wrote() {
    let fixture = Fixture::new(
        r#"{"HttpHeaders":{"X":"1"},"auths":{"https://a.b/v1/":{"auth":"b2xkOm9sZA=="},"c.d":{"auth":"eDp5"}},"detachKeys":"ctrl-e"}"#,
    );
    let config = fixture.config();
    let kept = config.store("a.b", &basic("me", "se:cret")).unwrap();
    assert_eq!(kept, Kept::File(fixture.path("config.json")));
    let want = "{\n\t\"HttpHeaders\": {\n\t\t\"X\": \"1\"\n\t},\n\t\"auths\": {\n\t\t\"a.b\": {\n\t\t\t\"auth\": \"bWU6c2U6Y3JldA==\"\n\t\t},\n\t\t\"c.d\": {\n\t\t\t\"auth\": \"eDp5\"\n\t\t}\n\t},\n\t\"detachKeys\": \"ctrl-e\"\n}\n";
    assert_eq!(fixture.text("config.json"), want);
    assert_eq!(config.get("a.b").unwrap(), Some(basic("me", "se:cret")));

    assert!(config.erase("a.b").unwrap());
    assert!(!config.erase("a.b").unwrap());
    assert_eq!(config.get("a.b").unwrap(), None);
    assert_eq!(config.get("c.d").unwrap(), Some(basic("x", "y")));
}

#[test]
fn a_new_file_is_private_and_has_dockers_key() {
    let fixture = Fixture::new("");
    let config = DockerConfig::new(ConfigPaths {
        docker: fixture.path("new/config.json"),
        others: Vec::new(),
        helper_path: None,
    });
    assert!(!config.erase("docker.io").unwrap());
    config.store("docker.io", &identity("tok")).unwrap();
    let text = fixture.text("new/config.json");
    assert!(text.contains("https://index.docker.io/v1/"), "{text}");
    assert_eq!(config.get("docker.io").unwrap(), Some(identity("tok")));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.path("new/config.json")), 0o600);
    assert_eq!(mode(&fixture.path("new")), 0o700);
    let left: Vec<_> = fs::read_dir(fixture.path("new")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_link_to_the_file_stays_a_link() {
    let fixture = Fixture::new("");
    fs::write(fixture.path("real.json"), "{}").unwrap();
    std::os::unix::fs::symlink(fixture.path("real.json"), fixture.path("config.json")).unwrap();
    fixture.config().store("a.b", &basic("x", "y")).unwrap();
    assert!(
        fs::symlink_metadata(fixture.path("config.json"))
            .unwrap()
            .is_symlink()
    );
    assert!(fixture.text("real.json").contains("a.b"));
}

#[test]
fn parallel_logins_lose_nothing() {
    let fixture = Fixture::new("");
    let config = &fixture.config();
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let registry = format!("r{number}.lan");
                config.store(&registry, &basic("x", "y")).unwrap();
            });
        }
    });
    for number in 0..8 {
        assert!(config.get(&format!("r{number}.lan")).unwrap().is_some());
    }
}

#[test]
fn helpers_keep_secrets_out_of_the_file() {
    for setting in [
        r#""credsStore":"safe""#,
        r#""credHelpers":{"docker.io":"safe"}"#,
    ] {
        let fixture = Fixture::new(&format!("{{{setting}}}")).with_helper("safe");
        let config = fixture.config();
        assert_eq!(config.get("docker.io").unwrap(), None);
        let kept = config.store("docker.io", &basic("me", "hunter2")).unwrap();
        assert_eq!(kept, Kept::Helper("docker-credential-safe".to_owned()));
        assert!(!fixture.text("config.json").contains("hunter2"));
        assert_eq!(
            config.get("docker.io").unwrap(),
            Some(basic("me", "hunter2"))
        );
        assert!(config.erase("docker.io").unwrap());
        assert_eq!(config.get("docker.io").unwrap(), None);
        assert!(!config.erase("docker.io").unwrap());
        let log = fixture.text("log");
        let mut lines = log.lines();
        assert_eq!(lines.next(), Some("get https://index.docker.io/v1/"));
        assert_eq!(
            lines.next(),
            Some(
                r#"store {"Secret":"hunter2","ServerURL":"https://index.docker.io/v1/","Username":"me"}"#
            )
        );
    }
}

#[test]
fn identity_tokens_travel_through_helpers() {
    let fixture = Fixture::new(r#"{"credsStore":"safe"}"#).with_helper("safe");
    let config = fixture.config();
    config.store("a.b", &identity("tok")).unwrap();
    assert!(fixture.text("kept").contains("<token>"));
    assert_eq!(config.get("a.b").unwrap(), Some(identity("tok")));
}

#[test]
fn a_helper_for_one_registry_is_not_asked_for_others() {
    let fixture = Fixture::new(r#"{"credHelpers":{"a.b":"safe"},"auths":{"c.d":{"auth":"eDp5"}}}"#)
        .with_helper("safe");
    assert_eq!(fixture.config().get("c.d").unwrap(), Some(basic("x", "y")));
    assert!(!fixture.path("log").exists());
}

#[test]
fn failing_helpers_are_reported() {
    for (config, want) in [
        (
            r#"{"credHelpers":{"a.b":"none"}}"#,
            "`docker-credential-none` is not installed",
        ),
        (
            r#"{"credsStore":"locked"}"#,
            "`docker-credential-locked get` failed: the keyring is locked",
        ),
        (r#"{"credsStore":"chatty"}"#, "not the JSON"),
        (r#"{"credsStore":"silent"}"#, "exit status: 3"),
        (
            r#"{"credsStore":"../locked"}"#,
            "no name of a credential helper",
        ),
    ] {
        let fixture = Fixture::new(config);
        let fixture = fixture
            .with_helper("locked")
            .with_helper("chatty")
            .with_helper("silent");
        let error = fixture.config().get("a.b").unwrap_err().to_string();
        assert!(error.contains(want), "{config}: {error}");
    }
}

#[test]
fn a_default_helper_that_is_not_installed_stops_nobody() {
    let fixture = Fixture::new(r#"{"credsStore":"desktop","auths":{"a.b":{"auth":"eDp5"}}}"#);
    let config = fixture.config();
    assert_eq!(config.get("docker.io").unwrap(), None);
    assert_eq!(config.get("a.b").unwrap(), Some(basic("x", "y")));
    // But a secret is not written where the user did not want it.
    let error = config.store("docker.io", &basic("x", "y")).unwrap_err();
    assert!(error.to_string().contains("not installed"), "{error}");
}

#[test]
fn the_environment_names_the_files() {
    let paths = ConfigPaths::from_env(|name| match name {
        "HOME" => Some("/home/u".into()),
        "XDG_RUNTIME_DIR" => Some("/run/user/1".into()),
        _ => None,
    });
    assert_eq!(paths.docker, Path::new("/home/u/.docker/config.json"));
    assert_eq!(
        paths.others,
        [
            Path::new("/run/user/1/containers/auth.json"),
            Path::new("/home/u/.config/containers/auth.json")
        ]
    );
    let paths = ConfigPaths::from_env(|name| match name {
        "DOCKER_CONFIG" => Some("/d".into()),
        "REGISTRY_AUTH_FILE" => Some("/r.json".into()),
        _ => None,
    });
    assert_eq!(paths.docker, Path::new("/d/config.json"));
    assert_eq!(paths.others, [Path::new("/r.json")]);
}
