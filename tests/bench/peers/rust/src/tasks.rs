//! What the peers that run on tokio share beside lib.rs, which the others use, too.
use std::{fmt::Display, future::Future, sync::Arc};
use tokio::task::JoinSet;
use weft_bench_peers::Turns;

/// `count` handshakes by so many tasks, each of which makes one after the other.
pub async fn handshakes<F, E>(count: u64, at_once: u64, one: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send,
{
    let turns = Arc::new(Turns::new(count));
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let (one, turns) = (one.clone(), turns.clone());
        tasks.spawn(async move {
            while turns.take() {
                turns.over(one().await);
            }
        });
    }
    tasks.join_all().await;
    turns.tell();
}
