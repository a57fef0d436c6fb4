//! Where to listen: `bind` in Redis's words, as socket addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// `*` is every IPv4 address, `::*` every IPv6 address; an address with `-` before it may be absent from this machine.
pub fn resolve(bind: &[String], port: u16) -> Result<Vec<SocketAddr>, String> {
    let mut addresses = Vec::new();
    for word in bind.iter().filter(|word| !word.is_empty()) {
        let (name, is_optional) = match word.strip_prefix('-') {
            Some(name) => (name, true),
            None => (word.as_str(), false),
        };
        let address = SocketAddr::new(address(name)?, port);
        let is_absent = is_optional && !is_here(address.ip());
        if !is_absent && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn address(word: &str) -> Result<IpAddr, String> {
    match word {
        "*" => Ok(Ipv4Addr::UNSPECIFIED.into()),
        "::*" => Ok(Ipv6Addr::UNSPECIFIED.into()),
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        _ => word
            .parse()
            .map_err(|_| format!("bind {word}: not an IP address. Give one of this machine's, or * for all")),
    }
}

fn is_here(address: IpAddr) -> bool {
    TcpListener::bind((address, 0)).is_ok()
}

/// Can only this machine reach it?
pub fn is_local(addresses: &[SocketAddr]) -> bool {
    addresses.iter().all(|address| address.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bind: &[&str], expect: &[&str]) {
        let bind: Vec<String> = bind.iter().map(|word| word.to_string()).collect();
        let found: Vec<String> = resolve(&bind, 7000).unwrap().iter().map(SocketAddr::to_string).collect();
        assert_eq!(found, expect, "{bind:?}");
    }

    #[test]
    fn words_become_addresses() {
        check(&["127.0.0.1", "127.0.0.1"], &["127.0.0.1:7000"]);
        check(&["*", "::*"], &["0.0.0.0:7000", "[::]:7000"]);
        // Addresses of documentation (RFC 5737): on no machine.
        check(&["-192.0.2.1", "127.0.0.2"], &["127.0.0.2:7000"]);
        check(&["192.0.2.1"], &["192.0.2.1:7000"]);
        check(&["", "localhost"], &["127.0.0.1:7000"]);
    }

    #[test]
    fn a_name_that_is_no_address_is_refused() {
        assert!(resolve(&["example.org".into()], 1).unwrap_err().contains("example.org"));
    }
}
