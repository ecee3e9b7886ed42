//! The schemes, against their makers' own examples and against what an attacker would try.

use super::*;
use crate::config::Secret;
use std::time::Duration;

fn key(id: &str, key: &str) -> TokenKey {
    TokenKey {
        id: id.to_owned(),
        key: Secret::new(key),
    }
}

fn rules(scheme: TokenScheme, keys: &[&str]) -> Token {
    Token {
        enabled: true,
        scheme,
        keys: keys
            .iter()
            .enumerate()
            .map(|(at, text)| key(&format!("k{at}"), text))
            .collect(),
        ..Token::default()
    }
}

const ASKED: Asked<'static> = Asked {
    action: Action::Play,
    path: "/live/stream",
    uri: "/live/stream.flv",
    address: Some(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7))),
};

const ALL: [TokenScheme; 5] = [
    TokenScheme::Hmac,
    TokenScheme::Tencent,
    TokenScheme::Aliyun,
    TokenScheme::SecureLink,
    TokenScheme::NodeMediaServer,
];

/// From the documentation of each.
#[test]
fn the_examples_of_the_makers() {
    // Tencent Cloud, CSS, "Hotlink Protection URL Calculation". 5C271099 is 2018-12-29.
    let tencent = rules(TokenScheme::Tencent, &["e12c46f2612d5106e2034781ab261ca3"]);
    let asked = Asked {
        path: "/live/test",
        ..ASKED
    };
    let query = Query("txSecret=f85a2ab363fe4deaffef9754d79da6fe&txTime=5C271099");
    let good = verify(&tencent, &asked, &query, 0x5C27_1098).unwrap();
    assert_eq!(good.expires, 0x5C27_1099);
    // Alibaba Cloud CDN, "Type A signing".
    let mut aliyun = rules(TokenScheme::Aliyun, &["aliyuncdnexp1234"]);
    aliyun.validity = Duration::from_secs(1_800);
    let asked = Asked {
        uri: "/video/standard/1K.html",
        ..ASKED
    };
    let query = Query("auth_key=1444435200-0-0-80cd3862d699b7118eed99103f2a3a4f");
    let good = verify(&aliyun, &asked, &query, 1_444_436_000).unwrap();
    assert_eq!(good.expires, 1_444_437_000);
    // nginx, ngx_http_secure_link_module.
    let mut nginx = rules(TokenScheme::SecureLink, &["secret"]);
    nginx.secure_link_md5 = "$secure_link_expires$uri$remote_addr $secret".to_owned();
    let asked = Asked {
        uri: "/s/link",
        address: Some("127.0.0.1".parse().unwrap()),
        ..ASKED
    };
    for padding in ["", "==", "%3D%3D"] {
        let query = format!("md5=_e4Nc3iduzkWRm01TBBNYw{padding}&expires=2147483647");
        assert!(verify(&nginx, &asked, &Query(&query), 0).is_ok(), "{query}");
    }
    // NodeMediaServer's README.
    let nms = rules(TokenScheme::NodeMediaServer, &["nodemedia2017privatekey"]);
    let query = Query("sign=1503458721-80c1d1ad2e0c2ab63eebb50eed64201a");
    assert!(verify(&nms, &ASKED, &query, 1_503_458_720).is_ok());
}

/// RFC 4231 has HMAC-SHA256's vectors; this one pins what is signed, so that URLs outlive versions.
#[test]
fn our_own_scheme_stays_what_it_is() {
    let rules = rules(TokenScheme::Hmac, &["a secret of some length"]);
    let query = sign(
        &rules,
        &rules.keys[0],
        Action::Play,
        "/live/stream",
        "",
        None,
        1_800_000_000,
    );
    assert_eq!(
        query,
        "expires=1800000000&kid=k0&sig=SAPV8LK6dcKol_8sNKtMkMfLlspFgxxu1xx6t-cGuew"
    );
}

#[test]
fn what_is_signed_is_good_until_it_expires() {
    for scheme in ALL {
        let rules = rules(scheme, &["an old key, going out", "a new key, coming in"]);
        for key in &rules.keys {
            let query = sign(
                &rules,
                key,
                ASKED.action,
                ASKED.path,
                ASKED.uri,
                ASKED.address,
                2_000_000_000,
            );
            let judge = |now| verify(&rules, &ASKED, &Query(&query), now).map(|good| good.expires);
            assert_eq!(judge(1_999_999_999), Ok(2_000_000_000), "{query}");
            assert_eq!(judge(2_000_000_000), Err(BadToken::Expired(0)), "{query}");
            assert_eq!(judge(2_000_000_060), Err(BadToken::Expired(60)), "{query}");
        }
    }
}

#[test]
fn what_was_not_signed_is_refused() {
    for scheme in ALL {
        let rules = rules(scheme, &["an old key, going out", "a new key, coming in"]);
        let key = &rules.keys[0];
        let make = |asked: &Asked<'_>, time| {
            sign(
                &rules,
                key,
                asked.action,
                asked.path,
                asked.uri,
                asked.address,
                time,
            )
        };
        let query = make(&ASKED, 2_000_000_000);
        let judge = |asked: &Asked<'_>, query: &str| {
            verify(&rules, asked, &Query(query), 1).map(|good| good.expires)
        };
        assert_eq!(judge(&ASKED, ""), Err(BadToken::Missing));
        assert_eq!(judge(&ASKED, "token=x&"), Err(BadToken::Missing));
        // Another stream; of the key's other name.
        let other = Asked {
            path: "/live/other",
            uri: "/live/other.flv",
            ..ASKED
        };
        assert_eq!(judge(&other, &query), Err(BadToken::Wrong), "{query}");
        // A key that is not ours.
        let stranger = super::tests::key("k0", "a key of somebody else");
        let forged = sign(
            &rules,
            &stranger,
            ASKED.action,
            ASKED.path,
            ASKED.uri,
            ASKED.address,
            2_000_000_000,
        );
        assert_eq!(judge(&ASKED, &forged), Err(BadToken::Wrong), "{forged}");
        // A later end, whatever the parameter is called.
        let later = query
            .replace("2000000000", "2000000001")
            .replace("77359400", "77359401");
        assert_ne!(later, query);
        assert_eq!(judge(&ASKED, &later), Err(BadToken::Wrong), "{later}");
        // Each byte of it counts, and none makes it panic.
        for at in 0..query.len() {
            let mut bent = query.clone().into_bytes();
            bent[at] = if bent[at] == b'0' { b'1' } else { b'0' };
            let bent = String::from_utf8(bent).unwrap();
            // The last character of a base64 text has bits that do not count: it must not decode at all.
            assert!(judge(&ASKED, &bent).is_err(), "{bent}");
            assert!(judge(&ASKED, &query[..at]).is_err(), "{}", &query[..at]);
        }
        // Twice the same is one; twice different is none.
        assert!(judge(&ASKED, &format!("{query}&{query}")).is_ok());
        let two = format!("{query}&{}", make(&ASKED, 2_000_000_001));
        assert!(
            matches!(judge(&ASKED, &two), Err(BadToken::Malformed(_))),
            "{two}"
        );
    }
}

#[test]
fn a_url_bound_to_an_address_is_of_no_use_to_another() {
    for scheme in [TokenScheme::Hmac, TokenScheme::SecureLink] {
        let rules = rules(scheme, &["a key of sixteen and more"]);
        let query = sign(
            &rules,
            &rules.keys[0],
            ASKED.action,
            ASKED.path,
            ASKED.uri,
            ASKED.address,
            2_000_000_000,
        );
        let mapped = Asked {
            address: Some("::ffff:203.0.113.7".parse().unwrap()),
            ..ASKED
        };
        assert!(verify(&rules, &mapped, &Query(&query), 1).is_ok());
        let thief = Asked {
            address: Some("203.0.113.8".parse().unwrap()),
            ..ASKED
        };
        assert_eq!(
            verify(&rules, &thief, &Query(&query), 1),
            Err(BadToken::Wrong)
        );
        // Nor without saying that it is bound.
        let unbound = query.replace("&ip=1", "");
        assert_eq!(
            verify(&rules, &thief, &Query(&unbound), 1),
            Err(BadToken::Wrong)
        );
    }
}

#[test]
fn a_url_for_playing_does_not_publish() {
    let rules = rules(TokenScheme::Hmac, &["a key of sixteen and more"]);
    let query = sign(
        &rules,
        &rules.keys[0],
        Action::Play,
        ASKED.path,
        ASKED.uri,
        None,
        2_000_000_000,
    );
    let publish = Asked {
        action: Action::Publish,
        ..ASKED
    };
    assert!(verify(&rules, &ASKED, &Query(&query), 1).is_ok());
    assert_eq!(
        verify(&rules, &publish, &Query(&query), 1),
        Err(BadToken::Wrong)
    );
}

/// Tencent's console lets people choose.
#[test]
fn tencent_in_decimal_and_with_sha256() {
    let rules = rules(TokenScheme::Tencent, &["key"]);
    let asked = Asked {
        path: "/live/test",
        ..ASKED
    };
    // printf 'keytest1694669601' | md5sum
    let decimal = format!(
        "txSecret={}&txTime=1694669601",
        String::from_utf8(md5_hex(&["key", "test", "1694669601"])).unwrap()
    );
    let good = verify(&rules, &asked, &Query(&decimal), 1).unwrap();
    assert_eq!(good.expires, 1_694_669_601);
    // printf 'keytest65029B21' | sha256sum
    let sha = "txSecret=SHA&txTime=65029B21";
    let digest = {
        use sha2::Digest;
        hex(&sha2::Sha256::digest("keytest65029B21"))
    };
    let good = verify(&rules, &asked, &Query(&sha.replace("SHA", &digest)), 1).unwrap();
    assert_eq!(good.expires, 0x6502_9B21);
}

#[test]
fn numbers_at_their_ends() {
    for (scheme, query) in [
        (
            TokenScheme::Hmac,
            "expires=99999999999999999999999&kid=k0&sig=AA",
        ),
        (
            TokenScheme::Aliyun,
            "auth_key=99999999999999999999999-0-0-aa",
        ),
        (
            TokenScheme::NodeMediaServer,
            "sign=99999999999999999999999-aa",
        ),
        (TokenScheme::SecureLink, "md5=AA&expires=-1"),
        (TokenScheme::Aliyun, "auth_key=1-2-3-4-5-6"),
        (TokenScheme::Aliyun, "auth_key=1"),
        (TokenScheme::Hmac, "expires=1&kid=k0&sig=%zz"),
        (TokenScheme::Hmac, "expires=1&kid=k0&sig=AA&ip=2"),
    ] {
        let rules = rules(scheme, &["a key of sixteen and more"]);
        let judged = verify(&rules, &ASKED, &Query(query), 1);
        assert!(
            matches!(judged, Err(BadToken::Malformed(_))),
            "{query}: {judged:?}"
        );
    }
    // A time at the end of all times, with a validity behind it.
    let mut rules = rules(TokenScheme::NodeMediaServer, &["a key of sixteen and more"]);
    rules.validity = Duration::from_secs(60);
    let query = sign(
        &rules,
        &rules.keys[0],
        ASKED.action,
        ASKED.path,
        ASKED.uri,
        None,
        u64::MAX,
    );
    assert_eq!(
        verify(&rules, &ASKED, &Query(&query), 1).map(|good| good.expires),
        Ok(u64::MAX)
    );
}
