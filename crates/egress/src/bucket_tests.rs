use super::*;
use std::sync::Arc;

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}

async fn passes(bucket: &Bucket, bytes: usize) -> Duration {
    let start = Instant::now();
    let mut left = bytes;
    while left > 0 {
        left -= bucket.take(left.min(64 * 1024)).await;
    }
    start.elapsed()
}

#[test]
fn bytes_pass_at_the_rate_after_the_first_second() {
    run(async {
        for rate in [1_000u64, 100_000, 10_000_000, 5_000_000_000] {
            let bucket = Bucket::new(rate);
            assert_eq!(passes(&bucket, bucket.size as usize).await, Duration::ZERO, "{rate}: the burst");
            let time = passes(&bucket, 10 * bucket.size as usize).await.as_secs_f64();
            let ideal = 10.0 * bucket.size as f64 / rate as f64;
            assert!((ideal * 0.98..ideal * 1.05 + 0.01).contains(&time), "{rate}: {time} s, not {ideal} s");
        }
    });
}

#[test]
fn what_is_given_back_can_be_taken_again_and_no_more_than_it_holds() {
    run(async {
        let bucket = Bucket::new(100_000);
        assert_eq!(bucket.take(1_000_000).await, 100_000);
        bucket.give_back(50_000);
        assert_eq!(bucket.take(1_000_000).await, 50_000);
        bucket.give_back(10_000_000);
        assert_eq!(bucket.take(1_000_000).await, 100_000);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(bucket.take(1_000_000).await, 100_000, "an idle hour is worth a second");
    });
}

#[test]
fn nobody_starves() {
    run(async {
        let bucket = Arc::new(Bucket::new(100_000));
        let mut tasks = tokio::task::JoinSet::new();
        let local = tokio::task::LocalSet::new();
        for _ in 0..10 {
            let bucket = bucket.clone();
            tasks.spawn_local_on(async move { passes(&bucket, 200_000).await }, &local);
        }
        local
            .run_until(async {
                let mut times = Vec::new();
                while let Some(time) = tasks.join_next().await {
                    times.push(time.unwrap().as_secs_f64());
                }
                // All of them together have 2,000,000 bytes: 19 seconds after the burst, and the first has the burst.
                assert!(times.iter().all(|time| (9.0..20.0).contains(time)), "{times:?}");
            })
            .await;
    });
}

#[test]
fn operations_are_counted_one_by_one() {
    run(async {
        let bucket = Bucket::of_operations(5);
        let start = Instant::now();
        for _ in 0..5 {
            assert_eq!(bucket.take(1).await, 1);
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "the burst");
        for _ in 0..20 {
            bucket.take(1).await;
        }
        let time = start.elapsed().as_secs_f64();
        assert!((3.9..4.2).contains(&time), "{time}");
    });
}
