//! Signatures as Standard Webhooks has them: `v1,` and the base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::domain::webhook::Secret;

/// One signature for each secret, parted by spaces.
pub(super) fn signatures<'a>(
    secrets: impl Iterator<Item = &'a Secret>,
    id: &str,
    timestamp_s: u64,
    body: &[u8],
) -> String {
    let sign = |secret: &Secret| {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secret.0));
        context.update(format!("{id}.{timestamp_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    };
    secrets.map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 has no case with our form of text: this one was calculated by Python's `hmac` and by `openssl dgst`.
    #[test]
    fn a_signature_is_what_others_calculate() {
        let secret = Secret(*b"0123456789abcdef0123456789abcdef");
        let signed = signatures([&secret, &secret].into_iter(), "msg_1", 1_700_000_000, br#"{"a":1}"#);
        let one = "v1,rkwp5YuvdrMkcu0ZhuMsXoTg44mHAr1Q0+FFgFpXsjY=";
        assert_eq!(signed, format!("{one} {one}"));
    }
}
