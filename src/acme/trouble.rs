//! What goes wrong with a directory, in words that say what to do.

use std::fmt;
use std::time::Duration;

use instant_acme::{Error, Problem};

use super::http::Unreached;
use super::plan::{Blame, Fault};
use crate::store::StoreError;

/// Why an attempt has failed.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) blame: Blame,
    /// What is wrong. It has no secrets: problem documents are the directory's words about names.
    pub(super) what: String,
    /// What to do about it.
    pub(super) advice: &'static str,
    /// The directory does not know the account.
    pub(super) is_of_account: bool,
    /// The directory has refused the nonces of a request, and done nothing.
    pub(super) is_of_nonce: bool,
    /// It is an answer of the directory, which may say how long to wait.
    is_answer: bool,
}

/// The words for a type of problem (RFC 8555, section 6.7), behind `urn:ietf:params:acme:error:`.
const ADVICE: [(&str, &str); 14] = [
    ("alreadyReplaced", "the next order does not say which certificate it replaces"),
    (
        "caa",
        "the CAA records of the name forbid this directory: add one that allows it, such as 0 issue \"letsencrypt.org\"",
    ),
    (
        "connection",
        "the directory does not reach this server: let ports 80 and 443 of the name's addresses lead here, through firewalls and NAT",
    ),
    ("dns", "the name has no address in DNS, or its DNS does not answer: make an A or AAAA record that leads here"),
    (
        "externalAccountRequired",
        "this directory wants an account that was opened elsewhere: choose another with --acme-directory",
    ),
    (
        "incorrectResponse",
        "another program answers at the name: let its A and AAAA records and its ports 80 and 443 lead to this server",
    ),
    ("invalidContact", "write an address that gets mail behind --acme-email"),
    ("malformed", "this may be a fault of the directory or of this program: it is tried again"),
    ("rateLimited", "the directory gives no more certificates for a while: wait, and use --acme-staging for trials"),
    (
        "rejectedIdentifier",
        "the directory gives no certificates for this name: take it out of --acme, or choose another directory",
    ),
    ("tls", "what answers on port 443 of the name is not this server: let the port lead here, or port 80"),
    (
        "unauthorized",
        "another program answers at the name: let its A and AAAA records lead to this server; with --acme-dns-hook, the program has not set the record, or has taken it away too soon",
    ),
    ("unsupportedContact", "write an address that gets mail behind --acme-email"),
    (
        "userActionRequired",
        "the directory's terms have changed: read them at the address that it names, and agree there",
    ),
];

const OTHERWISE: &str = "it is tried again";

impl Trouble {
    pub(super) fn new(blame: Blame, what: impl Into<String>, advice: &'static str) -> Self {
        Self { blame, what: what.into(), advice, is_of_account: false, is_of_nonce: false, is_answer: false }
    }

    /// What a directory or a store has that this program cannot use.
    pub(super) fn refused(what: impl Into<String>) -> Self {
        Self::new(Blame::Refused, what, OTHERWISE)
    }

    /// A step that takes too long.
    pub(super) fn late(time: Duration) -> Self {
        Self::new(
            Blame::Unreached,
            format!("the directory is too slow: {} s were not enough", time.as_secs()),
            OTHERWISE,
        )
    }

    /// An order or a challenge that is over.
    pub(super) fn of_order(problem: Option<&Problem>, otherwise: &str) -> Self {
        match problem {
            Some(problem) => Self { blame: Blame::Order, ..Self::of_problem(problem) },
            None => Self::new(Blame::Order, otherwise, OTHERWISE),
        }
    }

    fn of_problem(problem: &Problem) -> Self {
        let kinds = problem.subproblems.iter().map(|problem| &problem.r#type).chain([&problem.r#type]);
        let kinds = kinds.flatten().filter_map(|kind| kind.strip_prefix("urn:ietf:params:acme:error:"));
        // A compound problem has no advice of its own; those in it do.
        let known = kinds.filter_map(|kind| ADVICE.iter().find(|(known, _)| *known == kind)).next();
        Self::new(Blame::Refused, printable(&problem.to_string()), known.map_or(OTHERWISE, |(_, advice)| advice))
    }

    /// Returns what the plan has to know. The last answer of the directory has asked to wait for `wait` seconds.
    pub(super) fn fault(&self, wait: u64) -> Fault {
        Fault { blame: self.blame, wait: if self.is_answer { wait } else { 0 } }
    }

    /// Tells whether the directory says so.
    pub(super) fn is(error: &Error, kind: &str) -> bool {
        let Error::Api(problem) = error else { return false };
        problem.r#type.as_deref().and_then(|of| of.strip_prefix("urn:ietf:params:acme:error:")) == Some(kind)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            error @ Error::Api(_) if Self::is(&error, "accountDoesNotExist") => {
                Self { is_of_account: true, is_answer: true, ..Self::refused(error.to_string()) }
            }
            error @ Error::Api(_) if Self::is(&error, "badNonce") => {
                Self { is_of_nonce: true, ..Self::new(Blame::Unreached, error.to_string(), OTHERWISE) }
            }
            Error::Api(problem) => Self { is_answer: true, ..Self::of_problem(&problem) },
            Error::Other(other) if other.is::<Unreached>() => {
                Self::new(Blame::Unreached, other.to_string(), "check the network, --acme-directory and --acme-ca")
            }
            Error::Json(_) => Self::new(
                Blame::Refused,
                "the directory answers with what is none of its documents",
                "check --acme-directory, and whether the directory works",
            ),
            error => Self::refused(error.to_string()),
        }
    }
}

impl From<StoreError> for Trouble {
    /// Nothing is asked of the directory that is not kept first.
    fn from(error: StoreError) -> Self {
        Self::new(Blame::Unreached, format!("the store cannot be used: {error}"), "mend the store")
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.advice)
    }
}

/// Returns the first words of a text of somebody else, for one line of the log.
pub(super) fn printable(text: &str) -> String {
    const MOST: usize = 600;
    text.chars().take(MOST).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Trouble {
        Error::Api(serde_json::from_str(text).unwrap()).into()
    }

    #[test]
    fn a_problem_is_told_with_what_to_do() {
        for (kind, words) in ADVICE {
            let told = problem(&format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"so it is"}}"#));
            assert_eq!((told.blame, told.advice), (Blame::Refused, words));
            assert!(told.to_string().contains("so it is") && told.to_string().contains(kind), "{told}");
        }
        for text in ["{}", r#"{"type":"urn:ietf:params:acme:error:new"}"#, r#"{"type":"about:blank","detail":"a\nb"}"#]
        {
            let told = problem(text);
            assert!(told.advice == OTHERWISE && !told.what.contains('\n'), "{told}");
        }
        let compound = r#"{"type":"urn:ietf:params:acme:error:compound","subproblems":[
            {"type":"urn:ietf:params:acme:error:caa","detail":"no","identifier":{"type":"dns","value":"a.example"}}]}"#;
        let told = problem(compound);
        assert!(told.advice.contains("CAA") && told.what.contains("a.example"), "{told}");
    }

    #[test]
    fn a_directory_that_is_not_reached_is_not_to_blame() {
        let told: Trouble = Error::Other(Box::new(Unreached("refused".to_owned()))).into();
        assert_eq!(told.blame, Blame::Unreached);
        let told: Trouble = StoreError::Unavailable("away".to_owned()).into();
        assert_eq!(told.blame, Blame::Unreached);
    }
}
