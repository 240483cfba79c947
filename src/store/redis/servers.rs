//! The servers that the settings name: one, or several of which the master keeps the tunnels.
//!
//! Of several, all are asked `ROLE` at once whenever a connection is made. While the connection lasts nobody is asked, so a second
//! master changes nothing for a process that has one. If several are masters, [`Standing`] says which is taken.

use std::cmp::Reverse;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, RedisError, RedisResult, Value};
use tokio::time::{Instant, timeout_at};

use super::reply::Info;

/// Time for several servers to say what they are. What is left of the time for a connection is the chosen master's.
const SURVEY_TIMEOUT: Duration = Duration::from_millis(600);

/// Time for the others once a master that takes writes has answered: calls wait meanwhile, and a server may be down for days.
const OTHERS_TIMEOUT: Duration = Duration::from_millis(200);

/// A key that there never is. A server that deletes it takes writes.
const NOTHING: &str = "s2m:nothing";

/// The oldest Redis whose scripts do what ours need.
const OLDEST: (u32, u32) = (6, 2);

/// One server or several.
#[derive(Debug)]
pub(super) struct Servers(Vec<Server>);

#[derive(Debug)]
struct Server {
    client: Client,
    /// Host and port, for messages.
    address: String,
}

/// A server that says that it is a master.
struct Master {
    connection: MultiplexedConnection,
    standing: Standing,
}

/// How good a master is. Of several, the greatest is taken, and of equal ones the one that is named first.
///
/// After a failover, the master before may be there still. It takes no writes if its `min-replicas-to-write` asks for replicas
/// that follow the new one. Without that setting, it has no replicas, or at least its offset stands still. Each process comes to
/// the same result, whichever server it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    takes_writes: bool,
    has_replicas: bool,
    /// How much it has given to replicas, or would have, in bytes.
    offset: i64,
}

impl Servers {
    /// Takes up how to connect to each.
    ///
    /// # Errors
    /// When no connection of this kind is possible.
    pub(super) fn new(infos: Vec<ConnectionInfo>) -> RedisResult<Self> {
        let server = |info: ConnectionInfo| {
            let address = info.addr().to_string();
            Ok(Server { client: Client::open(info)?, address })
        };
        infos.into_iter().map(server).collect::<RedisResult<_>>().map(Self)
    }

    /// Returns the addresses of all, for messages.
    pub(super) fn addresses(&self) -> String {
        self.0.iter().map(|server| server.address.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Connects to the one that is to keep the tunnels. Returns its address, too.
    ///
    /// # Errors
    /// With the reason when there is none; of several servers, with what each has said.
    pub(super) async fn connect(&self) -> Result<(MultiplexedConnection, &str), String> {
        let (mut connection, address) = match self.0.as_slice() {
            [server] => (server.connect().await.map_err(|error| error.to_string())?, server.address.as_str()),
            _ => self.master().await?,
        };
        let info: RedisResult<String> = redis::cmd("INFO").query_async(&mut connection).await;
        // A user whose rights do not reach so far may still do what is needed.
        if let Ok(info) = info {
            let Ok(info) = info.parse();
            check(&info)?;
        }
        Ok((connection, address))
    }

    /// Tells whether another server than the one with this address is a master that takes writes.
    pub(super) async fn has_another(&self, address: &str) -> bool {
        let is_another = |(server, answer): (&Server, Result<Master, String>)| {
            server.address != address && answer.is_ok_and(|master| master.standing.takes_writes)
        };
        self.0.len() > 1 && self.0.iter().zip(self.survey().await).any(is_another)
    }

    async fn master(&self) -> Result<(MultiplexedConnection, &str), String> {
        let mut masters = Vec::new();
        let mut others = Vec::new();
        for (server, answer) in self.0.iter().zip(self.survey().await) {
            match answer {
                Ok(master) => masters.push((server, master)),
                Err(reason) => others.push(format!("{} {reason}", server.address)),
            }
        }
        if masters.len() > 1 {
            let found: Vec<_> = masters.iter().map(|(server, _)| server.address.as_str()).collect();
            tracing::warn!(
                found = found.join(", "),
                "several servers of Redis are masters: let all but one be its replicas"
            );
        }
        let best =
            masters.into_iter().enumerate().max_by_key(|(place, (_, master))| (master.standing, Reverse(*place)));
        match best {
            Some((_, (server, master))) => Ok((master.connection, &server.address)),
            None => Err(format!("no server is a master: {}", others.join("; "))),
        }
    }

    /// Asks all what they are. A server that does not answer in time has said so.
    async fn survey(&self) -> Vec<Result<Master, String>> {
        let mut end = Instant::now() + SURVEY_TIMEOUT;
        let mut answers: Vec<_> = self.0.iter().map(|_| Err("does not answer in time".to_owned())).collect();
        let asked = self.0.iter().enumerate().map(|(place, server)| async move { (place, server.ask().await) });
        let mut asked: FuturesUnordered<_> = asked.collect();
        while let Ok(Some((place, answer))) = timeout_at(end, asked.next()).await {
            if answer.as_ref().is_ok_and(|master| master.standing.takes_writes) {
                end = end.min(Instant::now() + OTHERS_TIMEOUT);
            }
            answers[place] = answer;
        }
        answers
    }
}

impl Server {
    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Connects, and asks what it is. Fails with the end of a sentence about it.
    async fn ask(&self) -> Result<Master, String> {
        let failed = |error: RedisError| format!("fails: {error}");
        let mut connection = self.connect().await.map_err(failed)?;
        let role: RedisResult<Vec<Value>> = redis::cmd("ROLE").query_async(&mut connection).await;
        let role = role.map_err(|error| match error.code() {
            Some("NOPERM") => {
                "does not let the user ask which server is the master: allow it with ACL SETUSER NAME +role".to_owned()
            }
            _ => failed(error),
        })?;
        let mut standing = standing(&role)?;
        let deleted: RedisResult<u64> = redis::cmd("DEL").arg(NOTHING).query_async(&mut connection).await;
        match deleted {
            Ok(_) => (),
            Err(error) if is_of_no_use(&error) => return Err(failed(error)),
            Err(_) => standing.takes_writes = false,
        }
        Ok(Master { connection, standing })
    }
}

/// Reads the answer to `ROLE`, of a master that is taken to take writes. Fails with the end of a sentence about the server.
fn standing(role: &[Value]) -> Result<Standing, String> {
    let Some((Value::BulkString(kind), about)) = role.split_first() else {
        return Err("answers ROLE as no Redis does".to_owned());
    };
    match (kind.as_slice(), about) {
        (b"master", [Value::Int(offset), Value::Array(replicas)]) => {
            Ok(Standing { takes_writes: true, has_replicas: !replicas.is_empty(), offset: *offset })
        }
        (b"slave", [Value::BulkString(host), Value::Int(port), ..]) => {
            Err(format!("is a replica of {}:{port}", String::from_utf8_lossy(host)))
        }
        (b"sentinel", _) => Err("is a Sentinel: name the servers that it watches".to_owned()),
        _ => Err("answers ROLE as no Redis does".to_owned()),
    }
}

/// Tells whether a connection is of no use after an error: it has ended, or its server is none that we can write to. Redis 6
/// says of a write by a script only in the text of its error that it is a replica. A value that is no text says nothing of that.
pub(super) fn is_of_no_use(error: &RedisError) -> bool {
    const ELSEWHERE: [&str; 3] = ["READONLY", "MASTERDOWN", "LOADING"];
    let is_no_text = error.kind() == ErrorKind::Parse && error.to_string().contains("UTF-8");
    (error.is_unrecoverable_error() && !is_no_text)
        || error.is_io_error()
        || ELSEWHERE.iter().any(|code| has_code(error, code))
}

/// Tells whether an error is that of a master that lacks the replicas without which it is to take no writes.
pub(super) fn lacks_replicas(error: &RedisError) -> bool {
    has_code(error, "NOREPLICAS")
}

fn has_code(error: &RedisError, code: &str) -> bool {
    error.code() == Some(code) || error.to_string().contains(code)
}

/// Checks that a server can keep tunnels.
fn check(info: &Info) -> Result<(), String> {
    if info.is_cluster {
        return Err(
            "this is a Redis Cluster, in which scripts cannot change several keys: use one Redis, or a master with \
                    replicas"
                .to_owned(),
        );
    }
    if info.is_replica {
        return Err("this is a replica: name its master".to_owned());
    }
    if let Some((major, minor)) = info.version.filter(|&version| version < OLDEST) {
        return Err(format!("this is Redis {major}.{minor}: use 6.2 or newer"));
    }
    if info.evicts {
        tracing::warn!("Redis may drop tunnels when its memory is full: set maxmemory-policy noeviction");
    }
    if info.writes_alone {
        tracing::warn!(
            "Redis has replicas, and takes writes when it is cut off from them, which a failover loses: set \
             min-replicas-to-write 1"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn master(offset: i64, replicas: usize) -> Standing {
        let replicas = vec![Value::Array(vec![text("10.0.0.2"), text("6379"), text("7")]); replicas];
        standing(&[text("master"), Value::Int(offset), Value::Array(replicas)]).unwrap()
    }

    #[test]
    fn of_several_masters_one_takes_writes_has_replicas_and_has_given_them_the_most() {
        let cut_off = Standing { takes_writes: false, ..master(900, 1) };
        let mut masters = [master(7, 1), master(800, 0), cut_off, master(6, 2), master(0, 0)];
        masters.sort_unstable();
        assert_eq!(masters, [cut_off, master(0, 0), master(800, 0), master(6, 2), master(7, 1)]);
    }

    #[test]
    fn what_is_no_master_is_passed_over_with_its_reason() {
        let replica = [text("slave"), text("10.0.0.2"), Value::Int(6380), text("connected"), Value::Int(7)];
        for (role, reason) in [
            (&replica[..], "is a replica of 10.0.0.2:6380"),
            (&[text("sentinel"), Value::Array(vec![text("mymaster")])], "is a Sentinel"),
            (&[text("master")], "answers ROLE as no Redis does"),
            (&[], "answers ROLE as no Redis does"),
        ] {
            let said = standing(role).unwrap_err();
            assert!(said.starts_with(reason), "{said}");
        }
    }
}
