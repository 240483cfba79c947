//! The limits that a peer can hit and that no budget counts.

/// A limit, by the setting of the server that is it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The head of a request is too large.
    Head,
    /// A request has too many headers.
    Headers,
    /// A head that has begun does not arrive in time.
    HeadTimeout,
    /// A peer does not read what it is sent, or does not send its body.
    StallTimeout,
    /// A peer asks too often, and waits for its answer.
    ThrottleInterval,
    /// A peer asks too often, and is refused.
    ThrottleBurst,
    /// The body of a visitor's request is too large.
    Body,
    /// The body of a visitor's request to an end that streams is too large.
    StreamBody,
    /// An end does not answer a request in time.
    ResponseTimeout,
    /// A client does not answer the heartbeat in time.
    PingTimeout,
    /// A message, a polling body, or the attachments of a packet are too large.
    Payload,
    /// A polling body has too many packets.
    Packets,
    /// A packet has too many attachments.
    Attachments,
    /// JSON with attachments is nested too deep.
    Depth,
    /// A session joins too many namespaces.
    Namespaces,
    /// What a client sends with its join is too large.
    Auth,
    /// A client joins no namespace in time.
    ConnectTimeout,
    /// An upgrade takes too long.
    UpgradeTimeout,
    /// Too much waits to be sent to one session.
    Buffered,
    /// Too many commands wait for the task of one session.
    WaitingCommands,
    /// The headers of a response are too large.
    ResponseHead,
    /// A response has too many headers.
    ResponseHeaders,
    /// A tunnel has too many ends.
    Ends,
    /// Too many requests are at one other node.
    Hops,
    /// There are too many tokens.
    Tokens,
}

impl Limit {
    /// All limits, in the order of their declaration.
    pub const ALL: [Self; 25] = [
        Self::Head,
        Self::Headers,
        Self::HeadTimeout,
        Self::StallTimeout,
        Self::ThrottleInterval,
        Self::ThrottleBurst,
        Self::Body,
        Self::StreamBody,
        Self::ResponseTimeout,
        Self::PingTimeout,
        Self::Payload,
        Self::Packets,
        Self::Attachments,
        Self::Depth,
        Self::Namespaces,
        Self::Auth,
        Self::ConnectTimeout,
        Self::UpgradeTimeout,
        Self::Buffered,
        Self::WaitingCommands,
        Self::ResponseHead,
        Self::ResponseHeaders,
        Self::Ends,
        Self::Hops,
        Self::Tokens,
    ];

    /// Returns the flag that sets the limit, without its hyphens in front.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Head => "max-head",
            Self::Headers => "max-headers",
            Self::HeadTimeout => "head-timeout",
            Self::StallTimeout => "stall-timeout",
            Self::ThrottleInterval => "throttle-interval-max",
            Self::ThrottleBurst => "throttle-interval-burst-max",
            Self::Body => "max-body",
            Self::StreamBody => "max-stream-body",
            Self::ResponseTimeout => "response-timeout",
            Self::PingTimeout => "ping-timeout",
            Self::Payload => "max-payload",
            Self::Packets => "max-packets",
            Self::Attachments => "max-attachments",
            Self::Depth => "max-depth",
            Self::Namespaces => "max-namespaces",
            Self::Auth => "max-auth",
            Self::ConnectTimeout => "connect-timeout",
            Self::UpgradeTimeout => "upgrade-timeout",
            Self::Buffered => "max-buffered",
            Self::WaitingCommands => "max-waiting-commands",
            Self::ResponseHead => "max-response-head",
            Self::ResponseHeaders => "max-response-headers",
            Self::Ends => "max-ends-per-tunnel",
            Self::Hops => "max-hops",
            Self::Tokens => "max-tokens",
        }
    }
}

// Counters are found by position: a limit that is declared before the last and left out of the list does not compile.
const _: () = assert!(Limit::ALL.len() == Limit::Tokens as usize + 1);
