//! The commands that need a connection to a peer.
use std::sync::Arc;

use futures::{AsyncReadExt, AsyncWriteExt, future::try_join_all};
use libp2p::{PeerId, Stream, StreamProtocol};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::{
    Result,
    node::Node,
    protocols::{ECHO, GIVE, HUSH, LATE, RESET, TAKE, digest_of, ended_well, pattern},
};

pub async fn ask(
    node: &Node, to: PeerId, what: &str, size: usize, streams: usize,
) -> Result<Value> {
    match what {
        "identify" => node.identify(to).await,
        "ping" => Ok(json!({"rtt": node.ping(to).await?.as_secs_f64()})),
        "close" => node.close(to).await.map(|()| json!({})),
        "connections" => Ok(json!({"connections": node.connections(to).len()})),
        "echo" => echo(node, to, size).await,
        "send" => send(node, to, TAKE, size).await,
        "send-late" => send(node, to, LATE, size).await,
        "receive" => receive(node, to, size).await,
        "many" => many(node, to, streams, size).await,
        "half-close" => half_close(node, to, size).await,
        "reset" => reset(node, to).await,
        "be-reset" => be_reset(node, to).await,
        _ => Err(format!("no command {what:?}").into()),
    }
}

async fn echo(node: &Node, to: PeerId, size: usize) -> Result<Value> {
    let (mut reader, mut writer) = node.open(to, ECHO).await?.split();
    let writing = async {
        writer.write_all(&pattern(size)).await?;
        writer.close().await
    };
    let mut back = Vec::new();
    futures::try_join!(writing, reader.read_to_end(&mut back))?;
    Ok(digested(back.len(), &sha(&back)))
}

async fn send(node: &Node, to: PeerId, name: StreamProtocol, size: usize) -> Result<Value> {
    let mut stream = node.open(to, name).await?;
    stream.write_all(&pattern(size)).await?;
    stream.close().await?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await?;
    let (came, digest) = said.split_first_chunk::<8>().ok_or("no answer")?;
    Ok(digested(u64::from_be_bytes(*came) as usize, digest))
}

async fn receive(node: &Node, to: PeerId, size: usize) -> Result<Value> {
    let mut stream = node.open(to, GIVE).await?;
    stream.write_all(&(size as u64).to_be_bytes()).await?;
    stream.close().await?;
    let (came, digest) = digest_of(&mut stream).await?;
    Ok(digested(came, &digest))
}

/// All streams are open and echoing before the first of them is closed.
async fn many(node: &Node, to: PeerId, streams: usize, size: usize) -> Result<Value> {
    let echoed = Arc::new(Barrier::new(streams));
    try_join_all((0..streams).map(|_| {
        let echoed = echoed.clone();
        async move {
            let mut stream = node.open(to, ECHO).await?;
            exchange(&mut stream, &pattern(size)).await?;
            echoed.wait().await;
            stream.close().await?;
            match digest_of(&mut stream).await? {
                (0, _) => Result::Ok(()),
                _ => Err("more came than was sent".into()),
            }
        }
    }))
    .await?;
    Ok(json!({"streams": streams}))
}

async fn exchange(stream: &mut Stream, data: &[u8]) -> Result<()> {
    stream.write_all(data).await?;
    stream.flush().await?;
    let mut back = vec![0; data.len()];
    stream.read_exact(&mut back).await?;
    if back == data { Ok(()) } else { Err("another echo than was sent".into()) }
}

/// Goes on sending after the other end has closed its direction.
async fn half_close(node: &Node, to: PeerId, size: usize) -> Result<Value> {
    let mut stream = node.open(to, HUSH).await?;
    if digest_of(&mut stream).await?.0 > 0 {
        return Err("a hushed stream says something".into());
    }
    stream.write_all(&pattern(size)).await?;
    stream.close().await?;
    Ok(json!({}))
}

async fn reset(node: &Node, to: PeerId) -> Result<Value> {
    let mut stream = node.open(to, ECHO).await?;
    exchange(&mut stream, &pattern(1)).await?;
    drop(stream); // there is no other way to reset it
    Ok(json!({}))
}

async fn be_reset(node: &Node, to: PeerId) -> Result<Value> {
    let mut stream = node.open(to, RESET).await?;
    stream.write_all(&pattern(1)).await?;
    stream.flush().await?;
    let reset = stream.read(&mut [0]).await.is_err() || ended_well(&mut stream).await.is_err();
    Ok(json!({"reset": reset}))
}

fn digested(size: usize, digest: &[u8]) -> Value {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"bytes": size, "sha256": hex})
}

fn sha(data: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    Sha256::digest(data).to_vec()
}
