//! What this peer serves, and how the streams ended that others opened.
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{Stream, StreamProtocol};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const ECHO: StreamProtocol = StreamProtocol::new("/p2pnode/judge/echo/1.0.0");
pub const LATE: StreamProtocol = StreamProtocol::new("/p2pnode/judge/late/1.0.0");
pub const TAKE: StreamProtocol = StreamProtocol::new("/p2pnode/judge/take/1.0.0");
pub const GIVE: StreamProtocol = StreamProtocol::new("/p2pnode/judge/give/1.0.0");
pub const HUSH: StreamProtocol = StreamProtocol::new("/p2pnode/judge/hush/1.0.0");
pub const RESET: StreamProtocol = StreamProtocol::new("/p2pnode/judge/reset/1.0.0");
pub const ALL: [StreamProtocol; 6] = [ECHO, TAKE, LATE, GIVE, HUSH, RESET];

const BEFORE_READING: Duration = Duration::from_secs(1);
const BLOCK: usize = 64 * 1024;
const PERIOD: usize = 251; // of the pattern: a prime, so that no piece of it can be mistaken for another

#[derive(Default)]
struct Counts {
    ended: usize,
    reset: usize,
    hushed: usize,
}

#[derive(Clone, Default)]
pub struct Served(Arc<Mutex<Counts>>);

impl Served {
    pub fn report(&self) -> Value {
        let counts = self.0.lock().unwrap();
        json!({"ended": counts.ended, "reset": counts.reset, "hushed": counts.hushed})
    }
}

pub async fn serve(mut stream: Stream, protocol: StreamProtocol, served: Served) {
    if protocol == RESET {
        _ = stream.read(&mut [0]).await;
        return; // to drop an open stream is to reset it
    }
    let result = if protocol == ECHO {
        echo(&mut stream).await
    } else if protocol == TAKE {
        take(&mut stream).await
    } else if protocol == LATE {
        tokio::time::sleep(BEFORE_READING).await;
        take(&mut stream).await
    } else if protocol == GIVE {
        give(&mut stream).await
    } else {
        hush(&mut stream).await
    };
    let mut counts = served.0.lock().unwrap();
    match result {
        Ok(hushed) => {
            counts.ended += 1;
            counts.hushed += hushed;
        }
        Err(_) => counts.reset += 1,
    }
}

async fn echo(stream: &mut Stream) -> io::Result<usize> {
    let mut block = vec![0; BLOCK];
    loop {
        match stream.read(&mut block).await? {
            0 => {
                ended_well(stream).await?;
                return stream.close().await.map(|()| 0);
            }
            n => stream.write_all(&block[..n]).await?,
        }
        stream.flush().await?;
    }
}

async fn take(stream: &mut Stream) -> io::Result<usize> {
    let (size, digest) = digest_of(stream).await?;
    stream.write_all(&(size as u64).to_be_bytes()).await?;
    stream.write_all(&digest).await?;
    stream.close().await.map(|()| 0)
}

async fn give(stream: &mut Stream) -> io::Result<usize> {
    let mut size = [0; 8];
    stream.read_exact(&mut size).await?;
    stream.write_all(&pattern(u64::from_be_bytes(size) as usize)).await?;
    stream.close().await?;
    digest_of(stream).await.map(|_| 0) // to drop it before would refuse the other end's last frame
}

async fn hush(stream: &mut Stream) -> io::Result<usize> {
    stream.close().await?;
    digest_of(stream).await.map(|(size, _)| size)
}

/// To a reader, rust-libp2p's yamux makes no difference between a reset and an end; a writer is told.
pub async fn ended_well(stream: &mut Stream) -> io::Result<()> {
    stream.write(&[]).await.map(|_| ())
}

/// Reads to the end.
pub async fn digest_of(stream: &mut Stream) -> io::Result<(usize, Vec<u8>)> {
    let (mut digest, mut size, mut block) = (Sha256::new(), 0, vec![0; BLOCK]);
    loop {
        match stream.read(&mut block).await? {
            0 => return Ok((size, digest.finalize().to_vec())),
            n => {
                digest.update(&block[..n]);
                size += n;
            }
        }
    }
}

pub fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i % PERIOD) as u8).collect()
}
