//! The back end of `forward.backend`: it is asked, by SRS's `on_forward`, where a stream is to be pushed.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde_json::Value;
use thiserror::Error;

use crate::config::{HttpUrl, Remote};
use crate::outbound::{Outbound, OutboundError, Request};

/// How long it may take to answer. The publisher does not wait for it; what is pushed late begins late.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes: all that may be named, each of 2 KiB, and some more.
const MAX_ANSWER: usize = 64 * 1024;
/// Servers that one stream may be pushed to by an answer: each costs the stream's bandwidth.
const MAX_NAMED: usize = 16;

/// What it named.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) destinations: Vec<Remote>,
    /// What it named beside them and cannot be used: no address of RTMP, or beyond [`MAX_NAMED`].
    pub(super) left_out: usize,
}

/// Why it is not known where to push.
#[derive(Debug, Error)]
pub(super) enum Unanswered {
    #[error("{0}")]
    Outbound(#[from] OutboundError),
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("code {0}")]
    Code(i64),
    #[error("the answer is not {{\"code\": 0, \"data\": {{\"urls\": […]}}}}")]
    Malformed,
}

/// Asks it.
pub(super) async fn ask(
    outbound: &Outbound,
    url: &HttpUrl,
    body: &Bytes,
) -> Result<Named, Unanswered> {
    let request = Request {
        method: Method::POST,
        url,
        headers: &[(header::CONTENT_TYPE, "application/json")],
        body: body.clone(),
        within: WITHIN,
        max_answer: MAX_ANSWER,
    };
    let answer = outbound.send(&request).await?;
    read(answer.status, &answer.body)
}

/// What an answer names. One without `data` or `urls` names nothing.
pub(super) fn read(status: StatusCode, body: &[u8]) -> Result<Named, Unanswered> {
    if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
        return Err(Unanswered::Status(status));
    }
    let answer: Value = serde_json::from_slice(body).map_err(|_| Unanswered::Malformed)?;
    match answer.get("code").and_then(Value::as_i64) {
        Some(0) => {}
        Some(code) => return Err(Unanswered::Code(code)),
        None => return Err(Unanswered::Malformed),
    }
    let urls = match answer.get("data") {
        None | Some(Value::Null) => None,
        Some(Value::Object(data)) => data.get("urls"),
        Some(_) => return Err(Unanswered::Malformed),
    };
    let urls = match urls {
        None | Some(Value::Null) => &[],
        Some(Value::Array(urls)) => urls.as_slice(),
        Some(_) => return Err(Unanswered::Malformed),
    };
    let destinations: Vec<Remote> = urls
        .iter()
        .filter_map(|url| url.as_str()?.parse::<Remote>().ok())
        .filter(|remote| remote.scheme.is_none_or(|scheme| scheme.is_rtmp()))
        .take(MAX_NAMED)
        .collect();
    Ok(Named {
        left_out: urls.len().saturating_sub(destinations.len()),
        destinations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Named, Unanswered> {
        super::read(StatusCode::OK, body.as_bytes())
    }

    #[test]
    fn what_an_answer_names() {
        for (body, destinations, left_out) in [
            (
                r#"{"code":0,"data":{"urls":["rtmp://a:19350/live/x?k=v"]}}"#,
                vec!["rtmp://a:19350/live/x?k=v"],
                0,
            ),
            (
                r#"{"code":0,"data":{"urls":["a","rtmps://b/[app]/c"]}}"#,
                vec!["a", "rtmps://b/[app]/c"],
                0,
            ),
            (
                r#"{"code":0,"data":{"urls":["http://a/x",7,null,"rtmp://b c/d","rtmp://e/f/g"]}}"#,
                vec!["rtmp://e/f/g"],
                4,
            ),
            (r#"{"code":0,"data":{"urls":[]}}"#, vec![], 0),
            (r#"{"code":0,"data":{"urls":null}}"#, vec![], 0),
            (r#"{"code":0,"data":{}}"#, vec![], 0),
            (r#"{"code":0,"data":null}"#, vec![], 0),
            (r#"{"code":0}"#, vec![], 0),
        ] {
            let destinations = destinations
                .iter()
                .map(|text| text.parse().unwrap())
                .collect();
            let named = Named {
                destinations,
                left_out,
            };
            assert_eq!(read(body).unwrap(), named, "{body}");
        }
    }

    #[test]
    fn what_is_no_answer() {
        for body in [
            "",
            "0",
            "[]",
            "null",
            "{}",
            "ok",
            r#"{"code":"0"}"#,
            r#"{"code":0,"data":"rtmp://a/b/c"}"#,
            r#"{"code":0,"data":{"urls":"rtmp://a/b/c"}}"#,
            r#"{"code":0"#,
            &"[".repeat(60_000),
        ] {
            assert!(matches!(read(body), Err(Unanswered::Malformed)), "{body}");
        }
        assert!(matches!(read(r#"{"code":1}"#), Err(Unanswered::Code(1))));
        for status in [204, 302, 404, 500] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(matches!(
                super::read(status, br#"{"code":0}"#),
                Err(Unanswered::Status(_))
            ));
        }
    }

    #[test]
    fn no_answer_names_too_many() {
        let urls: Vec<String> = (0..100).map(|n| format!("\"rtmp://a/live/{n}\"")).collect();
        let body = format!(r#"{{"code":0,"data":{{"urls":[{}]}}}}"#, urls.join(","));
        let named = read(&body).unwrap();
        assert_eq!(
            (named.destinations.len(), named.left_out),
            (MAX_NAMED, 100 - MAX_NAMED)
        );
    }
}
