use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What is left in the bucket.
async fn left(bucket: &Bucket) -> usize {
    let mut all = 0;
    while let Ok(taken) = tokio::time::timeout(std::time::Duration::ZERO, bucket.take(1 << 20)).await {
        all += taken;
    }
    all
}

#[tokio::test(start_paused = true)]
async fn small_ones_cost_what_they_are() {
    let bucket = Arc::new(Bucket::new(1 << 20));
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let mut metered = Metered::new(near, Arc::new(Meter::new(Some(bucket.clone()))));
    metered.write_all(b"question").await.unwrap();
    metered.flush().await.unwrap();
    far.write_all(b"answer").await.unwrap();
    assert_eq!(metered.read(&mut [0; 100]).await.unwrap(), 6);
    // One that waits for more holds nothing back, nor does one that is gone.
    let mut scratch = [0; 100];
    tokio::time::timeout(std::time::Duration::ZERO, metered.read(&mut scratch)).await.unwrap_err();
    let before = left(&bucket).await;
    assert!(((1 << 20) - 16 * 1024..=(1 << 20) - 14).contains(&before), "{before}");
    far.write_all(b"more").await.unwrap();
    assert_eq!(metered.read(&mut [0; 2]).await.unwrap(), 2);
}
