//! Who a connection is from: the socket's peer, or whom a trusted load balancer names before TLS (G11).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::proxy_header::{HEADER_MOST, Progress, Said, progress};
use crate::config::{Cidr, ProxyConfig, ProxyProtocol};
use crate::telemetry::ProxyOutcome;

/// How much is looked at in one go. More than a header without TLVs has.
const LOOK: usize = 256;

/// Which peers are load balancers, and what they begin a connection with.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    trusted: Arc<[Cidr]>,
    protocol: ProxyProtocol,
}

impl From<&ProxyConfig> for ProxySettings {
    fn from(config: &ProxyConfig) -> Self {
        Self { trusted: config.trusted.iter().copied().collect(), protocol: config.protocol }
    }
}

/// How the beginning of a connection from one peer is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// The peer is the client.
    Direct,
    /// The peer speaks for many, and names them in a header of each request.
    Shared,
    /// The peer must name the client first.
    Header,
    /// Only load balancers may connect, and this is none.
    Close,
}

impl ProxySettings {
    /// No load balancer in front.
    pub fn none() -> Self {
        Self { trusted: Arc::default(), protocol: ProxyProtocol::Off }
    }

    /// How `peer` is treated. What a trusted peer sends is never "either": without a header it is closed, or one that
    /// forgot it could be anybody.
    pub(super) fn treatment(&self, peer: IpAddr) -> Treatment {
        let trusted = self.trusted.iter().any(|range| range.contains(peer));
        match (self.protocol, trusted) {
            (ProxyProtocol::Off, true) => Treatment::Shared,
            (ProxyProtocol::Optional | ProxyProtocol::Required, true) => Treatment::Header,
            (ProxyProtocol::Required, false) => Treatment::Close,
            (ProxyProtocol::Off | ProxyProtocol::Optional, false) => Treatment::Direct,
        }
    }
}

/// Reads the header at the beginning of `stream`, and not one byte behind it; says whom it names.
pub(super) async fn read_header(stream: &mut TcpStream, within: Duration) -> Result<Option<SocketAddr>, ProxyOutcome> {
    match tokio::time::timeout(within, whole_header(stream)).await {
        Ok(Ok(Said::Client(client))) => Ok(Some(client)),
        Ok(Ok(Said::NoAddress)) => Ok(None),
        Ok(Err(_)) => Err(ProxyOutcome::Malformed),
        Err(_) => Err(ProxyOutcome::Timeout),
    }
}

/// What was looked at is taken off the socket only as far as it belongs to the header.
async fn whole_header(stream: &mut TcpStream) -> io::Result<Said> {
    let mut header = Vec::with_capacity(LOOK);
    let mut seen = [0; LOOK];
    while header.len() < HEADER_MOST {
        let found = stream.peek(&mut seen).await?;
        if found == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = header.len();
        header.extend_from_slice(&seen[..found]);
        match progress(&header) {
            Progress::Partial => stream.read_exact(&mut seen[..found]).await?,
            Progress::Whole(length, said) => {
                stream.read_exact(&mut seen[..length - before]).await?;
                return Ok(said);
            }
            Progress::Malformed => break,
        };
    }
    Err(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::{ProxySettings, Treatment};
    use crate::config::{ForwardedHeader, ProxyConfig, ProxyProtocol};

    #[test]
    fn g11_a_trusted_peer_must_name_the_client_and_another_never_may() {
        for (protocol, trusted, other) in [
            (ProxyProtocol::Off, Treatment::Shared, Treatment::Direct),
            (ProxyProtocol::Optional, Treatment::Header, Treatment::Direct),
            (ProxyProtocol::Required, Treatment::Header, Treatment::Close),
        ] {
            let ranges = ["10.0.0.0/8", "2001:db8::/32"].map(|range| range.parse().unwrap());
            let config = ProxyConfig { trusted: ranges.into(), protocol, header: ForwardedHeader::XForwardedFor };
            let settings = ProxySettings::from(&config);
            for (peer, treatment) in [
                ("10.1.2.3", trusted),
                ("::ffff:10.1.2.3", trusted),
                ("2001:db8::1", trusted),
                ("11.0.0.1", other),
                ("::1", other),
            ] {
                assert_eq!(settings.treatment(peer.parse().unwrap()), treatment, "{protocol:?} {peer}");
            }
        }
    }
}
