//! Work in another task or thread than the one that waits for it.

use std::panic::resume_unwind;

use tokio::task::{JoinError, JoinHandle};

/// Runs a future to its end, also if the caller is dropped while it waits: a change that was begun is made as a whole, although the
/// peer that asked for it has hung up. Panics if the future does.
pub(crate) async fn complete<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    ended(tokio::spawn(work)).await
}

/// Runs a function that blocks, in a thread where it may. Panics if the function does.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    ended(tokio::task::spawn_blocking(work)).await
}

async fn ended<T>(work: JoinHandle<T>) -> T {
    match work.await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime ends, and with it the task that waits.
        Err(Err(_)) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_when_nobody_waits_for_it_any_more() {
        let (tell, told) = oneshot::channel();
        let work = complete(async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            tell.send("done").unwrap();
        });
        tokio::time::timeout(Duration::from_secs(1), work).await.unwrap_err();
        assert_eq!(told.await, Ok("done"));
        assert_eq!(complete(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn a_panic_of_the_work_is_one_of_its_caller() {
        let blocked = tokio::spawn(blocking(|| panic!("in a thread"))).await;
        assert!(blocked.is_err_and(|error| error.is_panic()));
        let completed = tokio::spawn(complete(async { panic!("in a task") })).await;
        assert!(completed.is_err_and(|error| error.is_panic()));
    }
}
