//! Whoever comes in over the network, until it is known who that is.
//!
//! What a guest shows is either a token, in the header of each request and nowhere else, or the certificate that its
//! connection began with. Here it is only taken in: the guard says whom it belongs to and what they may do. Who
//! shows a token is whom the token says, whatever certificate there is.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HeaderMap};

use crate::model::refusal::{Code, Refusal};
use crate::model::token::Shown;

use super::request::one;

/// How a connection began.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) address: IpAddr,
    /// Those in a certificate that was verified; nothing without one.
    pub(super) certificate: Option<Vec<String>>,
}

impl Guest {
    pub(super) fn shown(&self, headers: &HeaderMap) -> Result<Shown, Refusal> {
        let refused = |detail: &str| Refusal::new(Code::Unauthenticated, detail);
        let given = one(headers, &AUTHORIZATION).map_err(|refusal| refused(&refusal.detail))?;
        let Some(given) = given else {
            let names = self.certificate.clone();
            return names
                .map(|names| Shown::Certificate { names })
                .ok_or_else(|| {
                    refused("`Authorization`: found none, expected Bearer and a token")
                });
        };
        let token = given.split_once(' ').and_then(|(scheme, text)| {
            let is_bearer = scheme.eq_ignore_ascii_case("bearer");
            is_bearer.then(|| Shown::token(text)).flatten()
        });
        // What was found is not repeated: it may be nearly a secret.
        token.ok_or_else(|| refused("`Authorization`: expected Bearer and a token"))
    }
}
