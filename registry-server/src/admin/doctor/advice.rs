//! What each failure means to clients, and the settings that cause it.

/// What to do about a failed check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// What clients will see.
    pub meaning: &'static str,
    /// Program and setting.
    pub settings: &'static [(&'static str, &'static str)],
}

const fn advice(
    meaning: &'static str,
    settings: &'static [(&'static str, &'static str)],
) -> Advice {
    Advice { meaning, settings }
}

pub(super) const TLS_ISSUER: Advice = advice(
    "clients that do not know this authority refuse to connect",
    &[
        (
            "server",
            "send the whole chain: the server's certificate first, then the intermediate ones",
        ),
        (
            "docker",
            "copy the authority to /etc/docker/certs.d/HOST:PORT/ca.crt on each client",
        ),
        ("doctor", "--ca FILE trusts it here"),
    ],
);

pub(super) const TLS_NAME: Advice = advice(
    "clients refuse a certificate that is for another name",
    &[
        (
            "certificate",
            "its subjectAltName must have the very name or address that clients use",
        ),
        (
            "nginx",
            "the `server_name` of another `server` block answers if none fits: check which block listens here",
        ),
    ],
);

pub(super) const TLS_EXPIRED: Advice = advice(
    "clients refuse a certificate that has expired or is not yet valid",
    &[
        (
            "certificate",
            "renew it, and reload the proxy after each renewal",
        ),
        ("clock", "compare the clocks of server and clients"),
    ],
);

pub(super) const TLS_PLAIN: Advice = advice(
    "clients want TLS from every host but their own, and this port speaks something else",
    &[
        ("nginx", "listen 443 ssl;"),
        ("HAProxy", "bind :443 ssl crt FILE"),
        ("doctor", "http:// in the address checks plain HTTP"),
    ],
);

pub(super) const TLS_OTHER: Advice = advice(
    "clients cannot connect",
    &[("nginx", "ssl_protocols TLSv1.2 TLSv1.3;")],
);

pub(super) const WANTS_TLS: Advice = advice(
    "this port speaks TLS and was asked in plain HTTP",
    &[("doctor", "give the address with https://")],
);

pub(super) const REDIRECT: Advice = advice(
    "clients do not send bodies again to where a redirect leads, so pushes fail",
    &[
        ("clients", "use the address that it redirects to"),
        (
            "nginx",
            "no `return 301` and no `rewrite` in the location of /v2/",
        ),
        (
            "Apache",
            "no `Redirect` and no `RewriteRule [R]` for /v2/; AllowEncodedSlashes NoDecode",
        ),
    ],
);

pub(super) const API: Advice = advice(
    "clients do not take this address for a registry",
    &[
        (
            "nginx",
            "location /v2/ { proxy_pass http://REGISTRY; } with no path behind the address",
        ),
        ("Traefik", "rule PathPrefix(`/v2/`) without StripPrefix"),
        (
            "Caddy",
            "handle /v2/* { reverse_proxy REGISTRY }, not handle_path",
        ),
        (
            "any",
            "let the header Docker-Distribution-Api-Version through",
        ),
    ],
);

pub(super) const UPLOADS: Advice = advice(
    "no client can push",
    &[
        ("any", "let POST, PUT, PATCH and DELETE through for /v2/"),
        ("nginx", "no `limit_except` in the location of /v2/"),
        (
            "doctor",
            "--username NAME logs in, if the answer is 401 or 403 without a login",
        ),
        (
            "registry",
            "its log says more if the answer is its own (see X-Request-Id)",
        ),
    ],
);

pub(super) const LOCATION: Advice = advice(
    "uploads go on at a wrong address: pushes fail, or the password goes out in the clear",
    &[
        ("nginx", "proxy_redirect off; and no sub_filter on /v2/"),
        (
            "Apache",
            "no ProxyPassReverse is needed: the registry's own Locations are relative",
        ),
        (
            "other registries",
            "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;",
        ),
    ],
);

pub(super) const ENCODING: Advice = advice(
    "clients that write `%3A` for `:` cannot push, and names can be confused",
    &[
        (
            "nginx",
            "proxy_pass http://REGISTRY; with no path behind the address, and no rewrite: then the address is passed on as it came",
        ),
        (
            "Apache",
            "AllowEncodedSlashes NoDecode, and ProxyPass … nocanon",
        ),
        (
            "HAProxy",
            "no url_dec in `http-request set-path` or `set-query`",
        ),
    ],
);

pub(super) const SIZE: Advice = advice(
    "larger layers cannot be pushed: clients see 413 or a broken connection",
    &[
        ("nginx", "client_max_body_size 0;"),
        (
            "Traefik",
            "no `buffering` middleware, or maxRequestBodyBytes: 0",
        ),
        ("Caddy", "no request_body max_size"),
        ("Apache", "LimitRequestBody 0"),
        (
            "content networks",
            "Cloudflare and others have a limit for each plan: use a name that does not pass through them",
        ),
    ],
);

pub(super) const CHUNKED: Advice = advice(
    "Docker and podman push layers whose length they do not know yet, which is refused here",
    &[
        (
            "nginx",
            "proxy_http_version 1.1; proxy_request_buffering off;",
        ),
        ("Apache", "SetEnv proxy-sendchunked 1"),
        ("any", "no rule that demands Content-Length (411)"),
    ],
);

pub(super) const BUFFERING: Advice = advice(
    "each layer is written to the proxy's disk first: pushes take twice as long, fill that disk, and time out at the end",
    &[
        (
            "nginx",
            "proxy_request_buffering off; proxy_http_version 1.1;",
        ),
        ("Traefik", "no `buffering` middleware"),
        ("Caddy", "no request_buffers"),
        ("HAProxy", "no option http-buffer-request"),
    ],
);

pub(super) const SLOW: Advice = advice(
    "pushes over slow lines break off",
    &[
        (
            "nginx",
            "client_body_timeout 300s; proxy_send_timeout 300s; proxy_read_timeout 900s;",
        ),
        ("HAProxy", "timeout client 300s; timeout server 900s"),
        (
            "Traefik",
            "entryPoints…transport.respondingTimeouts.readTimeout: 0",
        ),
        ("Apache", "RequestReadTimeout body=0"),
    ],
);

pub(super) const RANGE: Advice = advice(
    "broken pulls begin again from the start, and lazy pullers do not work at all",
    &[
        (
            "nginx",
            "no `proxy_set_header Range \"\"`, no proxy_cache or slice on /v2/, max_ranges unset",
        ),
        (
            "Apache",
            "no `RequestHeader unset Range`, MaxRanges default",
        ),
        ("content networks", "caching off for /v2/"),
    ],
);

pub(super) const LENGTH: Advice = advice(
    "clients ask with HEAD how long a blob is; without an answer they push or pull it again, or fail",
    &[
        (
            "nginx",
            "gzip off; and no sub_filter, ssi or addition filter on /v2/",
        ),
        ("any", "do not turn HEAD into GET, and keep Content-Length"),
    ],
);

pub(super) const DIGEST: Advice = advice(
    "clients learn from Docker-Content-Digest which manifest a tag names; without it they fall back or fail",
    &[
        ("nginx", "no `proxy_hide_header Docker-Content-Digest`"),
        ("any", "let all answer headers through"),
    ],
);

pub(super) const COMPRESSION: Advice = advice(
    "digests are of the bytes as stored: clients that do not decompress see wrong digests, lengths and ranges are lost",
    &[
        ("nginx", "gzip off; in the location of /v2/"),
        ("Caddy", "no `encode` for /v2/"),
        ("Traefik", "no `compress` middleware"),
        (
            "Apache",
            "SetEnv no-gzip 1, no mod_deflate or mod_brotli for /v2/",
        ),
        ("HAProxy", "no `compression algo`"),
    ],
);

pub(super) const BYTES: Advice = advice(
    "content is changed on its way: digests and signatures do not hold, pulls fail",
    &[
        ("nginx", "no sub_filter, ssi or charset conversion on /v2/"),
        (
            "Apache",
            "no mod_substitute, mod_proxy_html or mod_pagespeed on /v2/",
        ),
        ("content networks", "no minification for /v2/"),
    ],
);

pub(super) const ERRORS: Advice = advice(
    "clients read the registry's errors as JSON: with a page instead they cannot tell \"not there\" from \"broken\"",
    &[
        (
            "nginx",
            "proxy_intercept_errors off; in the location of /v2/",
        ),
        ("Traefik", "no `errors` middleware"),
        ("HAProxy", "no http-error rules for answers of the registry"),
        ("Apache", "ProxyErrorOverride Off"),
    ],
);

pub(super) const LINK: Advice = advice(
    "lists of tags end after the first page",
    &[
        (
            "nginx",
            "no `proxy_hide_header Link`, no sub_filter on /v2/",
        ),
        ("any", "let the header Link through as it is"),
    ],
);

pub(super) const CACHE: Advice = advice(
    "clients get old images after a push, and hear of blobs that are gone",
    &[
        ("nginx", "proxy_cache off; in the location of /v2/"),
        (
            "content networks",
            "caching off for /v2/, or only for paths with /blobs/sha256:",
        ),
        ("Varnish", "return (pass) for /v2/"),
    ],
);

pub(super) const PARALLEL: Advice = advice(
    "clients push and pull several layers at once, and some of them are refused",
    &[
        (
            "nginx",
            "no limit_conn and limit_req in the location of /v2/, or far higher ones",
        ),
        ("Traefik", "no `inFlightReq` and `rateLimit` middlewares"),
        (
            "HAProxy",
            "maxconn of the server, stick-table rules for /v2/",
        ),
    ],
);

pub(super) const HTTP2: Advice = advice(
    "Docker, containerd and others speak HTTP/2 to whoever offers it",
    &[
        (
            "nginx",
            "no `http2` on `listen` (or `http2 off;`), or a newer version",
        ),
        ("HAProxy", "alpn http/1.1"),
        ("Apache", "Protocols http/1.1"),
    ],
);

pub(super) const LONG_URL: Advice = advice(
    "long upload addresses and pushes of several tags are refused",
    &[
        ("nginx", "large_client_header_buffers 4 16k;"),
        ("Apache", "LimitRequestLine 16384"),
        ("HAProxy", "tune.bufsize 32768"),
    ],
);

pub(super) const HEADERS: Advice = advice(
    "long login tokens are refused",
    &[
        ("nginx", "large_client_header_buffers 4 16k;"),
        ("Apache", "LimitRequestFieldSize 16384"),
        ("HAProxy", "tune.bufsize 32768"),
    ],
);

pub(super) const METHODS: Advice = advice(
    "nobody can delete through this address",
    &[("any", "let DELETE through for /v2/")],
);
