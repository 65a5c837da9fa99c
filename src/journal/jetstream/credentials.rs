//! How this process shows NATS who it is.

use async_nats::ConnectOptions;

use super::engine::EngineError;
use crate::config::{NatsConfig, NatsCredentials};
use crate::model::Secret;

/// `options` with the credentials of `config`, or else with those that a URL has, which the client by itself passes over.
pub(super) async fn shown(options: ConnectOptions, config: &NatsConfig) -> Result<ConnectOptions, EngineError> {
    Ok(match &config.credentials {
        None => match config.servers.iter().find_map(in_url) {
            None => options,
            Some((token, None)) => options.token(token),
            Some((user, Some(password))) => options.user_and_password(user, password),
        },
        Some(NatsCredentials::Nkey(seed)) => options.nkey(seed.expose().to_owned()),
        Some(NatsCredentials::Token(token)) => options.token(token.expose().to_owned()),
        Some(NatsCredentials::File(path)) => {
            let read = options.credentials_file(path).await;
            read.map_err(|error| EngineError::File(format!("{}: {error}", path.display())))?
        }
    })
}

/// The user and the password of a URL, or a token alone.
fn in_url(server: &Secret) -> Option<(String, Option<String>)> {
    let (_, rest) = server.expose().split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (who, _) = authority.rsplit_once('@').filter(|(who, _)| !who.is_empty())?;
    Some(match who.split_once(':') {
        None => (decoded(who), None),
        Some((user, password)) => (decoded(user), Some(decoded(password))),
    })
}

/// `text` with each `%2F` and the like as the character that it stands for. What is none stays.
fn decoded(text: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        let code = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &rest[3..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_carry_user_and_password_or_a_token() {
        let both = |user: &str, password: &str| Some((user.to_owned(), Some(password.to_owned())));
        for (url, found) in [
            ("nats://gw:secret@nats-1:4222", both("gw", "secret")),
            ("tls://gw:a%40b%2F%3a%zz@nats-1", both("gw", "a@b/:%zz")),
            ("tls://gw:%ff@nats-1/", both("gw", "%ff")),
            ("nats://t0k%65n@nats-1:4222", Some(("t0ken".to_owned(), None))),
            ("nats://nats-1:4222/a@b", None),
            ("nats://@nats-1:4222", None),
            ("nats://nats-1", None),
        ] {
            assert_eq!(in_url(&Secret::new(url)), found, "{url}");
        }
    }
}
