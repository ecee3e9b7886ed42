//! What a back end's answer means, by SRS's rules (`SrsHttpHooks::do_post`).

use http::StatusCode;

/// What a back end said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::access) enum Verdict {
    /// It agrees.
    Yes,
    /// It does not.
    No(String),
    /// It said nothing that could be understood.
    Failed(String),
}

/// As many bytes of an answer stand in a log.
const SHOWN: usize = 100;

/// 200 or 201, and `0` or an object whose `code` is the number 0. Another number is a no, and so is a status of 4xx; everything else is a
/// failure, which SRS takes for a no.
pub(in crate::access) fn judge(status: StatusCode, body: &[u8]) -> Verdict {
    if status.is_client_error() {
        return Verdict::No(format!("status {}", status.as_u16()));
    }
    if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
        return Verdict::Failed(format!("status {}", status.as_u16()));
    }
    let json = serde_json::from_slice::<serde_json::Value>(body);
    let code = match &json {
        Ok(serde_json::Value::Object(object)) => object.get("code"),
        Ok(number) => Some(number),
        Err(_) => None,
    };
    match code.and_then(serde_json::Value::as_i64) {
        Some(0) => Verdict::Yes,
        Some(code) => Verdict::No(format!("code {code}")),
        None => Verdict::Failed(format!("no code in the answer {}", shown(body))),
    }
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..SHOWN).unwrap_or(body));
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_that_srs_takes_and_those_that_it_does_not() {
        for (status, body, verdict) in [
            (200, "0", "yes"),
            (201, "0", "yes"),
            (200, "0\n", "yes"),
            (200, "{\"code\":0}", "yes"),
            (200, "{\"code\": 0, \"data\": \"\"}", "yes"),
            (200, "{\"code\":0,\"msg\":\"OK\"}\r\n", "yes"),
            (200, "1", "no"),
            (200, "{\"code\":1}", "no"),
            (200, "{\"code\":-1, \"data\": null}", "no"),
            (200, "403", "no"),
            (403, "0", "no"),
            (401, "", "no"),
            (404, "0", "no"),
            (200, "", "failed"),
            (200, "ok", "failed"),
            (200, "{}", "failed"),
            (200, "{\"code\":\"0\"}", "failed"),
            (200, "{\"code\":0.5}", "failed"),
            (200, "{\"code\":0", "failed"),
            (200, "null", "failed"),
            (200, "[0]", "failed"),
            (200, "true", "failed"),
            (200, "\"0\"", "failed"),
            (200, "0 0", "failed"),
            (204, "", "failed"),
            (302, "0", "failed"),
            (500, "0", "failed"),
            (502, "<html>", "failed"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let judged = match judge(status, body.as_bytes()) {
                Verdict::Yes => "yes",
                Verdict::No(_) => "no",
                Verdict::Failed(_) => "failed",
            };
            assert_eq!(judged, verdict, "{status} {body:?}");
        }
    }

    #[test]
    fn no_answer_is_too_odd() {
        let deep = "[".repeat(60_000);
        assert!(matches!(
            judge(StatusCode::OK, deep.as_bytes()),
            Verdict::Failed(_)
        ));
        let broken = [0xff; 300];
        let Verdict::Failed(why) = judge(StatusCode::OK, &broken) else {
            panic!("it was understood");
        };
        assert!(why.len() < 2_000);
    }
}
