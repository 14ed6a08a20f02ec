//! Getting there: the connection, the certificate, and whether a registry answers.

use http::header;
use rbuild_registry_client::TlsProblem;

use super::outside::{Answer, Failure};
use super::{DoctorError, Examination, advice};

impl Examination<'_> {
    /// Whether there is a registry that the other checks can look at.
    pub(super) async fn reach(&mut self) -> Result<bool, DoctorError> {
        let Some(answer) = self.connect().await? else {
            return Ok(false);
        };
        if answer.is_redirect() {
            let target = answer.header(header::LOCATION).unwrap_or("nowhere");
            self.report.failed(
                "redirect",
                format!("/v2/ is redirected ({}) to {target}", answer.status),
                advice::REDIRECT,
            );
            return Ok(false);
        }
        if !matches!(answer.status, 200 | 401) {
            let hint = match answer.status {
                502..=504 => ": the proxy does not reach the registry",
                404 => ": the proxy has no registry at /v2/",
                _ => "",
            };
            self.report.failed(
                "api",
                format!("/v2/ is answered with {}{hint}", answer.describe()),
                advice::API,
            );
            return Ok(false);
        }
        match answer.header("docker-distribution-api-version") {
            Some(version) => self.report.good(
                "api",
                format!("/v2/ is answered with {}, {version}", answer.status),
            ),
            None => self.report.failed(
                "api",
                format!(
                    "/v2/ is answered with {}, without Docker-Distribution-Api-Version",
                    answer.describe()
                ),
                advice::API,
            ),
        }
        if answer.status == 401 {
            let challenge = answer.header(header::WWW_AUTHENTICATE).unwrap_or_default();
            return Err(DoctorError::Login {
                url: self.outside.name(),
                reason: if challenge.to_ascii_lowercase().starts_with("bearer") {
                    "it hands out tokens (Bearer), and this program only knows Basic"
                } else if self.outside.has_login() {
                    "name or password are wrong"
                } else {
                    "give --username, and the password in RBUILD_REGISTRY_PASSWORD or with --password-stdin"
                },
            });
        }
        self.is_ours = is_ours(&answer);
        if self.is_ours {
            self.report.good("registry", "it is rbuild-registry");
        } else {
            self.report.skipped(
                "registry",
                "it is not known as rbuild-registry (no X-Request-Id of its form); what only that promises is not checked",
            );
        }
        Ok(true)
    }

    /// The first answer, or none if nothing can be asked.
    async fn connect(&mut self) -> Result<Option<Answer>, DoctorError> {
        let is_plain = self.outside.base().scheme() == "http";
        let failure = match self.outside.get("/v2/").await {
            Ok(answer) if is_plain && refuses_plain(&answer) => {
                self.report.failed(
                    "connect",
                    format!("plain HTTP is answered with {}", answer.describe()),
                    advice::WANTS_TLS,
                );
                return Ok(None);
            }
            Ok(answer) => {
                self.report.good(
                    "connect",
                    if is_plain {
                        "plain HTTP; clients on other machines take it only if they are told to (insecure registry)"
                    } else {
                        "TLS, and the certificate is valid"
                    },
                );
                return Ok(Some(answer));
            }
            Err(failure) => failure,
        };
        if is_plain {
            if !failure.is_connect() && self.outside.speaks_tls().await {
                self.report.failed(
                    "connect",
                    format!("plain HTTP gets {}", super::symptom(&failure)),
                    advice::WANTS_TLS,
                );
                return Ok(None);
            }
            return Err(self.unreachable(&failure));
        }
        let Some(problem) = failure.tls() else {
            return Err(self.unreachable(&failure));
        };
        let advice = match problem {
            TlsProblem::UnknownIssuer | TlsProblem::NoAuthorities => advice::TLS_ISSUER,
            TlsProblem::WrongName => advice::TLS_NAME,
            TlsProblem::Expired => advice::TLS_EXPIRED,
            TlsProblem::NotTls => advice::TLS_PLAIN,
            TlsProblem::Other => advice::TLS_OTHER,
        };
        self.report.failed(
            "connect",
            format!("{} ({failure})", problem.describe()),
            advice,
        );
        if matches!(problem, TlsProblem::NotTls) {
            return Ok(None);
        }
        if self.outside.has_login() {
            self.report.skipped(
                "api",
                "the rest is not looked at: a password goes to nobody without a valid certificate",
            );
            return Ok(None);
        }
        self.outside.checks = false;
        match self.outside.get("/v2/").await {
            Ok(answer) => Ok(Some(answer)),
            Err(failure) => Err(self.unreachable(&failure)),
        }
    }

    fn unreachable(&self, failure: &Failure) -> DoctorError {
        DoctorError::Unreachable {
            url: self.outside.name(),
            reason: failure.to_string(),
        }
    }
}

/// What servers say when they speak TLS and are asked without.
fn refuses_plain(answer: &Answer) -> bool {
    let body = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
    matches!(answer.status, 400 | 426 | 497)
        && (body.contains("https") || body.contains("tls") || body.contains("ssl"))
}

/// Every answer of ours has an id of two numbers in hexadecimal digits; a proxy may add one of its own.
fn is_ours(answer: &Answer) -> bool {
    let number = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    answer.headers.get_all("x-request-id").iter().any(|value| {
        value
            .to_str()
            .ok()
            .and_then(|text| text.split_once('-'))
            .is_some_and(|(process, count)| number(process) && number(count))
    })
}
