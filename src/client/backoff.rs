//! How long an end waits before it comes back.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The longest wait after the first failure.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait of all.
const LONGEST: Duration = Duration::from_secs(30);

/// A session that was lost this long after the server had let it in was a good one: the next failure is the first again.
pub(super) const GOOD: Duration = Duration::from_secs(10);

/// How often a wait looks whether the machine has slept.
const LOOK: Duration = Duration::from_secs(1);

/// The clock on the wall may differ from the other by this much without a sleep, because somebody has set it.
const DRIFT: Duration = Duration::from_secs(5);

/// Waits that grow: at most 0.1 s, then twice as much each time, up to 30 s. The time is chosen at random below that ("full jitter"),
/// so that the ends of a server that has restarted do not come all at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Begins anew.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Returns the next wait. `random` is from 0 to 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let most = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        most.mul_f64(random.clamp(0.0, 1.0))
    }
}

/// Waits for this time, or until the machine wakes from sleep: the runtime's clock stands still meanwhile.
pub(super) async fn wait(time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => (),
        () = woken() => (),
    }
}

/// Completes when the machine wakes from sleep.
pub(super) async fn woken() {
    woken_by(SystemTime::now).await;
}

/// As [`woken`], by this clock on the wall.
async fn woken_by(wall_now: impl Fn() -> SystemTime) {
    let (mut wall, mut clock) = (wall_now(), Instant::now());
    loop {
        tokio::time::sleep(LOOK).await;
        let (wall_now, clock_now) = (wall_now(), Instant::now());
        let on_wall = wall_now.duration_since(wall).unwrap_or_default();
        if on_wall.saturating_sub(clock_now - clock) > DRIFT {
            return;
        }
        (wall, clock) = (wall_now, clock_now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_half_a_minute_and_begin_anew() {
        let mut backoff = Backoff::default();
        let most: Vec<_> = (0..10).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(most, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000]);
        assert_eq!(backoff.next(0.5), Duration::from_secs(15));
        for _ in 0..100 {
            backoff.next(1.0);
        }
        backoff.reset();
        assert_eq!(backoff.next(1.0), FIRST);
    }
    #[tokio::test(start_paused = true)]
    async fn a_sleep_is_noticed_within_a_second_and_a_clock_that_is_set_a_little_is_none() {
        for (jump, is_sleep) in [
            (Duration::ZERO, false),
            (Duration::from_secs(4), false),
            (Duration::from_secs(6), true),
            (Duration::from_secs(3600), true),
        ] {
            let began = Instant::now();
            let wall = || {
                let passed = began.elapsed();
                let slept = if passed > Duration::from_secs(10) { jump } else { Duration::ZERO };
                SystemTime::UNIX_EPOCH + passed + slept
            };
            let noticed = tokio::time::timeout(Duration::from_secs(100), woken_by(wall)).await.is_ok();
            assert_eq!(noticed, is_sleep, "{jump:?}");
            assert!(!noticed || began.elapsed() <= Duration::from_secs(12), "{:?}", began.elapsed());
        }
        // Set back, it shows no sleep.
        let began = Instant::now();
        let back = || SystemTime::UNIX_EPOCH + Duration::from_secs(10_000).saturating_sub(10 * began.elapsed());
        assert!(tokio::time::timeout(Duration::from_secs(100), woken_by(back)).await.is_err());
    }
}
