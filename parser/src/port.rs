//! The ports of `EXPOSE`: `[[IP:]HOST:]PORT[-PORT][/PROTOCOL]`.

use std::net::IpAddr;

/// What a port specification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// First container port.
    pub first: u16,
    /// Last container port; the same for a single one.
    pub last: u16,
    /// As written; `tcp` when absent.
    pub protocol: String,
    /// Whether an address or a host port stands before, which means nothing here.
    pub has_host: bool,
}

impl Ports {
    /// Every port as the image config names it: `8080/tcp`, the protocol in lower case.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        let protocol = self.protocol.to_ascii_lowercase();
        (self.first..=self.last).map(move |port| format!("{port}/{protocol}"))
    }
}

/// Reads an expanded word of `EXPOSE`; the error says what is wrong with it.
///
/// ```
/// use rbuild_parser::port;
///
/// let ports = port::parse("8000-8001/UDP").expect("it is well formed");
/// assert_eq!(ports.names().collect::<Vec<_>>(), ["8000/udp", "8001/udp"]);
/// ```
pub fn parse(spec: &str) -> Result<Ports, String> {
    let parts: Vec<&str> = spec.split(':').collect();
    let (address, host, container) = match &parts[..] {
        [container] => (String::new(), "", *container),
        [host, container] => (String::new(), *host, *container),
        [address @ .., host, container] => (address.join(":"), *host, *container),
        [] => (String::new(), "", spec),
    };
    let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
    if range.is_empty() {
        return Err(format!("`{spec}` has no port"));
    }
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" => "tcp",
        "tcp" | "udp" | "sctp" => protocol,
        _ => {
            return Err(format!(
                "`{protocol}` is no protocol of a port; it is `tcp`, `udp` or `sctp`"
            ));
        }
    };
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(&address);
    if !address.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(format!("`{address}` is no address"));
    }
    let (first, last) = port_range(range)?;
    if !host.is_empty() {
        let (host_first, host_last) = port_range(host)?;
        if host_last - host_first != last - first && first != last {
            return Err(format!("`{host}` and `{range}` differ in length"));
        }
    }
    Ok(Ports {
        first,
        last,
        protocol: protocol.to_owned(),
        has_host: !address.is_empty() || !host.is_empty(),
    })
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let digits = digits.chars().all(|c| c.is_ascii_digit()).then_some(digits);
        digits
            .and_then(|digits| digits.parse::<u16>().ok())
            .ok_or_else(|| format!("`{text}` is no port number"))
    };
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(format!("range `{text}` ends before it begins"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn specifications_are_read() {
        for (spec, want) in [
            ("80", Some((80, 80, "tcp", false))),
            ("80/udp", Some((80, 80, "udp", false))),
            ("80/", Some((80, 80, "tcp", false))),
            ("80/TCP", Some((80, 80, "TCP", false))),
            ("8000-8002/sctp", Some((8000, 8002, "sctp", false))),
            ("1-1", Some((1, 1, "tcp", false))),
            ("8080:80", Some((80, 80, "tcp", true))),
            ("127.0.0.1:8080:80", Some((80, 80, "tcp", true))),
            ("127.0.0.1::80", Some((80, 80, "tcp", true))),
            ("[::1]:8080:80", Some((80, 80, "tcp", true))),
            ("::1:8080:80", Some((80, 80, "tcp", true))),
            ("8000-8001:80", Some((80, 80, "tcp", true))),
            ("8000-8001:80-82", None),
            ("65535", Some((65535, 65535, "tcp", false))),
            ("65536", None),
            ("-1", None),
            ("", None),
            ("/tcp", None),
            ("80,", None),
            ("80/x", None),
            ("8002-8000", None),
            ("a:1:80", None),
            ("#", None),
        ] {
            let got = parse(spec).ok();
            let got = got.as_ref().map(|ports| {
                (
                    ports.first,
                    ports.last,
                    ports.protocol.as_str(),
                    ports.has_host,
                )
            });
            assert_eq!(got, want, "{spec}");
        }
    }
}
