//! The names of failures for programs, and what people can do about each.
//!
//! The compiler asks for a new code's words, and for its place in [`Code::ALL`] as long as [`Code::Bug`] is the last variant.

/// A failure's name for programs: the value of the header `X-Socket2Me-Error`, and of a label of the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    NotFound,
    MethodNotAllowed,
    BodyTooLarge,
    BodyTooSlow,
    BodyIncomplete,
    InvalidHead,
    ForbiddenHeader,
    HeadTooLarge,
    InvalidBody,
    UnsupportedCharset,
    Throttled,
    TooManyUploads,
    TooManyTunnels,
    TokenNotFound,
    NotConnected,
    Disconnected,
    TooManyHeld,
    TimedOut,
    AnswerTooLarge,
    InvalidAnswer,
    Overloaded,
    Busy,
    Store,
    Stopping,
    ServiceWorker,
    Document,
    KeyRequired,
    KeysRequired,
    CreateSecret,
    NameTaken,
    Conflict,
    InvalidRequest,
    NotJson,
    Aborted,
    UpgradeUnsupported,
    Loop,
    AddressRefused,
    MethodRefused,
    AuthRequired,
    AuthThrottled,
    SignatureMissing,
    SignatureWrong,
    SignatureExpired,
    SignatureReplayed,
    TunnelRate,
    RulesUnreadable,
    Interstitial,
    Blocked,
    Quota,
    Bug,
}

impl Code {
    /// Returns the code of this name. `None` for any other text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// All codes, in the order in which the figures list them.
    pub(super) const ALL: [Self; 50] = [
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::BodyTooSlow,
        Self::BodyIncomplete,
        Self::InvalidHead,
        Self::ForbiddenHeader,
        Self::HeadTooLarge,
        Self::InvalidBody,
        Self::UnsupportedCharset,
        Self::Throttled,
        Self::TooManyUploads,
        Self::TooManyTunnels,
        Self::TokenNotFound,
        Self::NotConnected,
        Self::Disconnected,
        Self::TooManyHeld,
        Self::TimedOut,
        Self::AnswerTooLarge,
        Self::InvalidAnswer,
        Self::Overloaded,
        Self::Busy,
        Self::Store,
        Self::Stopping,
        Self::ServiceWorker,
        Self::Document,
        Self::KeyRequired,
        Self::KeysRequired,
        Self::CreateSecret,
        Self::NameTaken,
        Self::Conflict,
        Self::InvalidRequest,
        Self::NotJson,
        Self::Aborted,
        Self::UpgradeUnsupported,
        Self::Loop,
        Self::AddressRefused,
        Self::MethodRefused,
        Self::AuthRequired,
        Self::AuthThrottled,
        Self::SignatureMissing,
        Self::SignatureWrong,
        Self::SignatureExpired,
        Self::SignatureReplayed,
        Self::TunnelRate,
        Self::RulesUnreadable,
        Self::Interstitial,
        Self::Blocked,
        Self::Quota,
        Self::Bug,
    ];

    /// Returns whether an exchange can fail with this code. The others are of requests that begin none.
    pub(super) fn can_end_an_exchange(self) -> bool {
        !matches!(
            self,
            Self::NotFound
                | Self::MethodNotAllowed
                | Self::HeadTooLarge
                | Self::ServiceWorker
                | Self::Throttled
                | Self::TooManyTunnels
                | Self::KeyRequired
                | Self::KeysRequired
                | Self::CreateSecret
                | Self::NameTaken
                | Self::Conflict
                | Self::InvalidRequest
                | Self::NotJson
        )
    }

    /// Returns what somebody can do who meets the error in a browser.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::TokenNotFound => {
                "Nobody has this address: it is mistyped, or its tunnel has ended. Ask for another where you got it. If \
                 the app is yours, start it again: it needs a new token."
            }
            Self::NotConnected | Self::Disconnected => {
                "The app behind this address is not connected now. Try again in a moment. If the app is yours, see whether it \
                 runs, and what it says about its connection."
            }
            Self::TimedOut => {
                "The app is connected and did not answer. Try again. If the app is yours, see whether its handler calls \
                 respond() for each request, and in time."
            }
            Self::AnswerTooLarge | Self::InvalidAnswer => {
                "The app has answered, and its answer is none that a browser could get. If the app is yours, the line above \
                 says what to mend."
            }
            Self::Throttled
            | Self::AuthThrottled
            | Self::TunnelRate
            | Self::Quota
            | Self::TooManyUploads
            | Self::TooManyTunnels
            | Self::TooManyHeld
            | Self::Overloaded
            | Self::Busy
            | Self::Store
            | Self::Stopping => "Try again in a moment.",
            Self::NotFound | Self::MethodNotAllowed => {
                "There is nothing here for a browser. See the first page of this server."
            }
            Self::BodyTooLarge
            | Self::BodyTooSlow
            | Self::BodyIncomplete
            | Self::InvalidHead
            | Self::ForbiddenHeader
            | Self::HeadTooLarge
            | Self::InvalidBody
            | Self::UnsupportedCharset
            | Self::ServiceWorker => "The request does not reach the app as it is. The line above says why.",
            Self::Document => {
                "A tunnel at a host of its own has no such limit. If the server is yours, --tunnel-host gives tunnels hosts, and \
                 --path-html allows pages at their paths."
            }
            Self::KeyRequired
            | Self::KeysRequired
            | Self::CreateSecret
            | Self::NameTaken
            | Self::Conflict
            | Self::InvalidRequest
            | Self::NotJson => "This address is for programs. The line above says what is wrong.",
            Self::Aborted => {
                "The app behind this address could not answer: what it passes requests on to has failed or refused. If the app is \
                 yours, see whether what it forwards to runs."
            }
            Self::UpgradeUnsupported => {
                "The app behind this address takes no WebSockets. If the app is yours, let its client ask for streaming."
            }
            Self::Loop => {
                "The app behind this address passes requests on to this address. If the app is yours, see where it forwards to."
            }
            Self::Blocked => "Whoever runs this server has decided so. Ask there if you think that it is a mistake.",
            Self::AddressRefused | Self::MethodRefused => {
                "The owner of this address lets only some requests pass, and this is none of them. If that is you, change the \
                 tunnel's rules."
            }
            Self::AuthRequired => {
                "The owner of this address lets only those in who know a name and a password. Ask where you got the address."
            }
            Self::SignatureMissing | Self::SignatureWrong | Self::SignatureExpired | Self::SignatureReplayed => {
                "This address is for a program that signs its requests. The line above says what is wrong."
            }
            Self::RulesUnreadable => {
                "What the owner of this address demands of its visitors cannot be read, so nobody gets in. The server's \
                 operator finds more in the log."
            }
            Self::Interstitial => {
                "Do not type a password here that is for something else. If somebody has sent you this address whom you do not trust, go \
                 no further."
            }
            Self::Bug => "This is a fault of the server. Its operator finds more in the log.",
        }
    }

    /// Returns the code as text.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::BodyTooLarge => "body-too-large",
            Self::BodyTooSlow => "body-too-slow",
            Self::BodyIncomplete => "body-incomplete",
            Self::InvalidHead => "invalid-head",
            Self::ForbiddenHeader => "forbidden-header",
            Self::HeadTooLarge => "head-too-large",
            Self::InvalidBody => "invalid-body",
            Self::UnsupportedCharset => "unsupported-charset",
            Self::Throttled => "throttled",
            Self::TooManyUploads => "too-many-uploads",
            Self::TooManyTunnels => "too-many-tunnels",
            Self::TokenNotFound => "token-not-found",
            Self::NotConnected => "client-not-connected",
            Self::Disconnected => "client-disconnected",
            Self::TooManyHeld => "too-many-held",
            Self::TimedOut => "client-timed-out",
            Self::AnswerTooLarge => "answer-too-large",
            Self::InvalidAnswer => "invalid-answer",
            Self::Overloaded => "overloaded",
            Self::Busy => "server-busy",
            Self::Store => "store-unavailable",
            Self::Stopping => "stopping",
            Self::ServiceWorker => "service-worker-refused",
            Self::Document => "html-refused",
            Self::KeyRequired => "key-required",
            Self::KeysRequired => "keys-required",
            Self::CreateSecret => "create-secret-required",
            Self::NameTaken => "name-taken",
            Self::Conflict => "conflict",
            Self::InvalidRequest => "invalid-request",
            Self::NotJson => "unsupported-media-type",
            Self::Aborted => "client-aborted",
            Self::UpgradeUnsupported => "upgrade-unsupported",
            Self::Loop => "loop",
            Self::AddressRefused => "address-refused",
            Self::MethodRefused => "method-refused",
            Self::AuthRequired => "auth-required",
            Self::AuthThrottled => "auth-throttled",
            Self::SignatureMissing => "signature-missing",
            Self::SignatureWrong => "signature-wrong",
            Self::SignatureExpired => "signature-expired",
            Self::SignatureReplayed => "signature-replayed",
            Self::TunnelRate => "tunnel-rate",
            Self::RulesUnreadable => "rules-unreadable",
            Self::Interstitial => "interstitial",
            Self::Blocked => "blocked",
            Self::Quota => "quota",
            Self::Bug => "internal-error",
        }
    }
}

// A code without a place in the list would have no counter.
const _: () =
    assert!(Code::ALL.len() == Code::Bug as usize + 1, "each code has a place in Code::ALL, and Bug is the last");
