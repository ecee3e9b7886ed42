//! The keys about who may publish and play.

use std::time::Duration;

use super::access_kinds::{AccessRule, Hidden, Line, Referrer, Referrers, Rules};
use super::kinds::{Int, Switch, Time, one_of, words};
use super::schema::section;
use super::secret::Secret;
use super::sections::{Item, items, nested};

/// The greatest `max_uses`.
const MAX_USES: u32 = 1_000_000;

/// Two keys, so that one can be replaced while URLs that were signed with it are still about.
pub(super) const MAX_TOKEN_KEYS: usize = 2;

/// 128 bits, if each byte were random. A URL shows message and signature, so keys are tried at leisure.
pub(super) const MIN_HMAC_KEY: usize = 16;

const DAY: Duration = Duration::from_secs(86_400);

section! {
    /// Who may, by address.
    pub struct Security {
        /// Whether the rules are applied. With them on and none given, nobody may anything, as in SRS.
        enabled: bool = false => Switch,
        /// Rules of three words: `allow` or `deny`, `play` or `publish`, and `all`, an address or a network. As in SRS, a
        /// `deny` that matches decides; and once there is an `allow`, of whichever action, one has to match. They hold for
        /// every protocol and for files.
        seal: Vec<AccessRule> = Vec::new() => Rules,
    }
}

section! {
    /// Who may, by the page that asks: the `Referer` header of HTTP and `pageUrl` of RTMP. It keeps other sites from
    /// embedding the streams; a program can send whatever it likes.
    pub struct Refer {
        /// Whether the page is looked at.
        enabled: bool = false => Switch,
        /// Hosts whose pages may play and publish; `example.com` stands for the hosts below it too. `none` stands for a client without
        /// a page: native players, encoders, pages that hide where they are. An empty list allows all.
        all: Vec<Referrer> = Vec::new() => Referrers,
        /// The same for players, beside `all`.
        play: Vec<Referrer> = Vec::new() => Referrers,
        /// The same for publishers, beside `all`.
        publish: Vec<Referrer> = Vec::new() => Referrers,
    }
}

section! {
    /// Signed URLs: who was given one may, until it expires. `pingora-live sign` makes them.
    pub struct Tokens {
        /// For players, and for files.
        play: Token = Token::default() => nested(),
        /// For publishers.
        publish: Token = Token::default() => nested(),
    }
}

section! {
    /// What is asked of one action's URLs.
    pub struct Token {
        /// Whether a signed URL is needed.
        enabled: bool = false => Switch,
        /// How the URLs are signed that let somebody in.
        scheme: TokenScheme = TokenScheme::Hmac => one_of(),
        /// The keys, at most two: the one that signs now, and one that is on its way in or out.
        keys: Vec<TokenKey> = Vec::new() => items(),
        /// How long a URL is good after the time that stands in it. Aliyun and Tencent set it in their consoles; with `hmac` the time in the
        /// URL is the end.
        validity: Duration = Duration::ZERO => Time { range: Duration::ZERO..=DAY.saturating_mul(366), zero: "its end" },
        /// How many times one URL may be used; 0 is no limit. A player that comes back uses it again. It is counted by each server for itself.
        max_uses: u32 = 0 => Int { range: 0..=MAX_USES, zero: "no limit" },
        /// What happens to those who are at it when their URL expires.
        on_expiry: OnExpiry = OnExpiry::GoOn => one_of(),
        /// What nginx's directive of this name holds, for the scheme `secure_link`. `$secret` stands for the key.
        secure_link_md5: String = "$secure_link_expires$uri$remote_addr $secret".to_owned() => Line {
            accepted: "a text such as \"$secure_link_expires$uri $secret\"",
            judge: judge_secure_link,
        },
    }
}

section! {
    /// One key.
    pub struct TokenKey {
        /// Its name in URLs of the scheme `hmac` (`kid`).
        id: String = "1".to_owned() => Line { accepted: "a name of letters, digits, - and _", judge: judge_key_id },
        /// The key: a text of at least 16 characters that nobody can guess. Required.
        key: Secret = Secret::default() => Hidden,
    }
}

impl Item for TokenKey {
    const IN_ENVIRONMENT: &'static str = "one as id:key";

    fn from_environment(text: &str) -> Option<Self> {
        let (id, key) = text.split_once(':')?;
        (judge_key_id(id).is_ok() && !key.is_empty()).then(|| TokenKey {
            id: id.to_owned(),
            key: Secret::new(key),
        })
    }
}

words! {
    /// How URLs are signed.
    pub enum TokenScheme {
        /// Ours: HMAC-SHA256 over action, path, end and, if wanted, the client's address.
        Hmac = "hmac",
        /// Tencent: `txSecret` and `txTime`.
        Tencent = "tencent",
        /// Aliyun, type A: `auth_key`.
        Aliyun = "aliyun",
        /// nginx: `md5` and `expires`, as `secure_link_md5` says.
        SecureLink = "secure_link",
        /// NodeMediaServer: `sign`.
        NodeMediaServer = "node_media_server",
    }
}

words! {
    /// What happens to those who are at it when their URL expires.
    pub enum OnExpiry {
        /// They go on until they leave.
        GoOn = "go_on",
        /// They are ended.
        End = "end",
    }
}

fn judge_key_id(id: &str) -> Result<(), Option<String>> {
    let fits = !id.is_empty()
        && id.len() <= 64
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    fits.then_some(()).ok_or(None)
}

fn judge_secure_link(text: &str) -> Result<(), Option<String>> {
    for needed in ["$secret", "$secure_link_expires", "$uri"] {
        if !text.contains(needed) {
            return Err(Some(format!("it lacks {needed}")));
        }
    }
    Ok(())
}
