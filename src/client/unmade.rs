//! Why a tunnel was not made, and whether it is worth another attempt.

use super::api::ApiError;
use super::dial::DialError;
use super::report::{Exit, Failure};
use super::requests::RequestError;

/// Returns the failure that what answers is no server of ours.
pub(super) fn foreign(why: &str) -> Failure {
    let message = format!("the server is no Socket2Me: {why}");
    Failure::new(Exit::Refused, "foreign-server", message, "is --server the URL of a Socket2Me server?")
}

/// Tells whether it is worth another attempt that a tunnel was not made, and why it was not.
pub(super) fn unmade(error: &ApiError) -> Result<String, Failure> {
    match error {
        ApiError::Request(RequestError::Dial(error)) => lost_connection(error),
        ApiError::Request(error) => Ok(error.to_string()),
        ApiError::Refused { status, .. } if status.is_server_error() => Ok(error.to_string()),
        ApiError::Refused { code, .. } if code == "throttled" => Ok(error.to_string()),
        ApiError::Refused { code, .. } => {
            let (code, hint) = match code.as_str() {
                "" => ("refused", "is --server the URL of a Socket2Me server?"),
                "create-secret-required" => (&**code, "give the operator's secret with --create-secret-file FILE"),
                "name-taken" => (&**code, "choose another --name, or leave it out"),
                "too-many-tunnels" => (&**code, "this address has as many tunnels as it may: wait until some expire"),
                code => (code, ""),
            };
            Err(Failure::new(Exit::Refused, code, error.to_string(), hint))
        }
        ApiError::Foreign(why) => Err(foreign(why)),
    }
}

/// Tells whether it is worth another attempt that there was no connection, and why there was none.
pub(super) fn lost_connection(error: &DialError) -> Result<String, Failure> {
    match error {
        DialError::Certificate(_) => {
            let hint = "if the server's certificate is signed by a root of your own, give it with --ca FILE";
            Err(Failure::new(Exit::Certificate, "certificate", error.to_string(), hint))
        }
        DialError::Proxy(_) | DialError::Unreachable(_) => Ok(error.to_string()),
    }
}
