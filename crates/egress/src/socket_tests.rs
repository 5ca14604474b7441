//! What is behind urgent data is read, though nothing more comes.

use super::*;
use crate::server::urgent_in_line;
use rustix::net::SendFlags;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

#[tokio::test]
async fn what_is_behind_urgent_data_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    urgent_in_line(&listener);
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (mut near, mut far) = (near.unwrap(), Socket::from(far.unwrap().0));
    let mut heard = Vec::new();
    let reading = async {
        while heard.len() < 14 {
            assert!(far.read_buf(&mut heard).await.unwrap() > 0);
        }
    };
    let saying = async {
        for _ in 0..2 {
            near.write_all(b"abc").await.unwrap();
            rustix::net::send(&near, b"!", SendFlags::OOB).unwrap();
            near.write_all(b"def").await.unwrap();
            // The reader waits by the time the next ones come.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(reading, saying) }).await.unwrap();
    assert_eq!(heard, b"abc!defabc!def");
    // An end is told as such.
    drop(near);
    assert_eq!(far.read_buf(&mut heard).await.unwrap(), 0);
}
