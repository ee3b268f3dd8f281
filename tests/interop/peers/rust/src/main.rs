//! The peer on rust-libp2p: specs/interop.md has its command line, its commands and its protocols.
mod asking;
mod node;
mod protocols;
mod streams;

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::node::Node;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// The value of --name on the command line.
fn arg(name: &str, default: &str) -> String {
    let flag = format!("--{name}");
    std::env::args().skip_while(|a| *a != flag).nth(1).unwrap_or_else(|| default.into())
}

fn flag(name: &str) -> bool {
    std::env::args().any(|a| a == format!("--{name}"))
}

async fn obey(node: &Node, line: &str) -> Result<Value> {
    let command: Value = serde_json::from_str(line)?;
    let text = |key: &str| command[key].as_str().unwrap_or_default();
    match text("do") {
        "dial" => {
            let addr: Multiaddr = text("addr").parse()?;
            Ok(json!({"id": node.dial(addr).await?.to_string()}))
        }
        "served" => Ok(node.served.report()),
        what => {
            let to: PeerId = text("id").parse()?;
            let number = |key: &str| command[key].as_u64().unwrap_or_default() as usize;
            asking::ask(node, to, what, number("bytes"), number("streams")).await
        }
    }
}

async fn run() -> Result<()> {
    let (node, addr) = Node::start().await?;
    println!("{}", json!({"id": node.id.to_string(), "addrs": [addr.to_string()]}));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match tokio::time::timeout(COMMAND_TIMEOUT, obey(&node, &line)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => json!({"error": e.to_string()}),
            Err(_) => json!({"error": "timed out"}),
        };
        println!("{answer}");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    // in a task, as the swarm is: this function runs on a thread of its own
    tokio::spawn(run()).await??;
    std::process::exit(0); // the thread that reads standard input would keep the runtime up
}
