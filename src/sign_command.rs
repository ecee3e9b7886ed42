//! `pingora-live sign`: prints a signed URL.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use pingora_live::config::{self, Action, Config, Secret, Token, TokenKey, TokenScheme};
use pingora_live::sign::{self, Signing};

/// Sign a URL, as a vhost with `tokens` wants it
///
/// Without a key, scheme and key are those of the URL's vhost in the configuration.
#[derive(Args)]
pub struct Sign {
    /// What is to be played or published, such as http://HOST/live/stream.flv or rtmp://HOST/live/stream
    url: String,
    /// How long it is good, such as 90s, 30m or 1h; or @ and seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = expires)]
    expires: Expires,
    /// The key. Others on this machine can see it: --key-file is better
    #[arg(long, value_name = "TEXT", conflicts_with = "key_file")]
    key: Option<String>,
    /// File with the key; line breaks at its end do not count
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The key's id, for the scheme hmac [default: 1]
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// How it is signed, with --key or --key-file [default: hmac]
    #[arg(long, value_enum)]
    scheme: Option<Scheme>,
    /// For publishing; otherwise it is for playing
    #[arg(long)]
    publish: bool,
    /// Bind it to a client's address (hmac and secure_link)
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
}

#[derive(Clone, Copy)]
enum Expires {
    In(Duration),
    At(Duration),
}

fn expires(text: &str) -> Result<Expires, String> {
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds = seconds.parse().map_err(|_| "no number follows the @")?;
        return Ok(Expires::At(Duration::from_secs(seconds)));
    }
    config::parse_duration(text).map(Expires::In)
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Scheme {
    Hmac,
    Tencent,
    Aliyun,
    SecureLink,
    NodeMediaServer,
}

impl From<Scheme> for TokenScheme {
    fn from(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Hmac => Self::Hmac,
            Scheme::Tencent => Self::Tencent,
            Scheme::Aliyun => Self::Aliyun,
            Scheme::SecureLink => Self::SecureLink,
            Scheme::NodeMediaServer => Self::NodeMediaServer,
        }
    }
}

impl Sign {
    /// The signed URL, or what is wrong.
    pub fn run(&self, conf: Option<&Path>) -> Result<String, String> {
        let action = if self.publish {
            Action::Publish
        } else {
            Action::Play
        };
        let (rules, key) = match self.key()? {
            Some(key) => {
                let scheme = self.scheme.unwrap_or(Scheme::Hmac).into();
                let rules = Token {
                    scheme,
                    ..Token::default()
                };
                (rules, key)
            }
            None => self.configured(conf, action)?,
        };
        let binds = matches!(rules.scheme, TokenScheme::Hmac | TokenScheme::SecureLink);
        if self.address.is_some() && !binds {
            return Err(format!(
                "the scheme {} binds a URL to no address",
                rules.scheme.as_str()
            ));
        }
        let time = match self.expires {
            Expires::At(time) => time,
            Expires::In(left) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_err(|_| "this machine's clock stands before 1970")?
                .saturating_add(left),
        };
        sign::sign(&Signing {
            url: &self.url,
            action,
            rules: &rules,
            key: &key,
            address: self.address,
            time,
        })
        .map_err(|error| format!("{}: {error}", self.url))
    }

    /// The key that was given, if one was.
    fn key(&self) -> Result<Option<TokenKey>, String> {
        let text = match (&self.key, &self.key_file) {
            (Some(key), _) => key.clone(),
            (None, Some(file)) => std::fs::read_to_string(file)
                .map_err(|error| format!("{}: {error}", file.display()))?
                .trim_end_matches(['\r', '\n'])
                .to_owned(),
            (None, None) => return Ok(None),
        };
        if text.is_empty() {
            return Err("the key is empty".to_owned());
        }
        Ok(Some(TokenKey {
            id: self.key_id.clone().unwrap_or_else(|| "1".to_owned()),
            key: Secret::new(text),
        }))
    }

    /// What the configuration says of the URL's vhost: its first key, or the one of that id.
    fn configured(&self, conf: Option<&Path>, action: Action) -> Result<(Token, TokenKey), String> {
        let config =
            Config::load(conf, config::environment()).map_err(|errors| errors.to_string())?;
        let host = sign::vhost_of(&self.url);
        let (name, vhost) = config
            .live
            .vhost(&host)
            .ok_or_else(|| format!("no vhost serves {host}"))?;
        let rules = match action {
            Action::Play => &vhost.tokens.play,
            Action::Publish => &vhost.tokens.publish,
        };
        let fits = |key: &&TokenKey| self.key_id.as_ref().is_none_or(|id| *id == key.id);
        let key = rules.keys.iter().find(fits).ok_or_else(|| {
            format!(
                "live.vhosts.{name}.tokens.{} has no such key; give one with --key-file",
                action.as_str()
            )
        })?;
        Ok((rules.clone(), key.clone()))
    }
}
