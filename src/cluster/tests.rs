//! Nodes that share a registry in memory, on paused time.

use parking_lot::Mutex as Lock;
use tokio::time::timeout;

use super::*;
use crate::config::Live;

const TTL: Duration = Duration::from_secs(10);

/// A node that runs, and what it lost.
struct Node {
    cluster: Cluster,
    lost: Arc<Lock<Vec<StreamKey>>>,
    counters: Arc<Counters>,
    beats: tokio::task::JoinHandle<()>,
}

impl Node {
    fn start(registry: &Memory, name: &str) -> Self {
        let config = Live {
            node: NodeKeys {
                name: Some(name.to_owned()),
                http: config::BaseUrl::parse(&format!("http://{name}.example")).ok(),
                ..NodeKeys::default()
            },
            ..Live::default()
        };
        let counters = Arc::<Counters>::default();
        let cluster = Cluster::new(Arc::new(registry.clone()), &config, Arc::clone(&counters));
        let lost = Arc::<Lock<Vec<StreamKey>>>::default();
        let told = Arc::clone(&lost);
        cluster.wire(
            Box::new(|| Load {
                connections: 1,
                limit: 5,
            }),
            Box::new(move |stream| told.lock().push(stream.clone())),
        );
        let running = cluster.clone();
        let beats = tokio::spawn(async move { running.run().await });
        Self {
            cluster,
            lost,
            counters,
            beats,
        }
    }

    /// As a process that was killed.
    fn kill(self) {
        self.beats.abort();
    }

    async fn holder(&self, stream: &StreamKey) -> Option<String> {
        self.cluster.find(stream).await.map(|lease| lease.node)
    }
}

fn stream(name: &str) -> StreamKey {
    StreamKey::new("v", "live", name).unwrap()
}

/// Lets the nodes' beats come.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_lives_on_one_node_until_its_publisher_leaves() {
    let registry = Memory::new();
    let (a, b) = (Node::start(&registry, "a"), Node::start(&registry, "b"));
    pass(TTL).await;
    let x = stream("x");
    let lease = a.cluster.claim(&x, false).await.unwrap();
    assert_eq!(b.holder(&x).await.as_deref(), Some("a"));
    assert_eq!(a.holder(&x).await, None, "no node sends players to itself");
    let refused = b.cluster.claim(&x, false).await;
    assert_eq!(
        refused.err().map(|holder| holder.node).as_deref(),
        Some("a")
    );
    // It is renewed.
    pass(TTL * 3).await;
    assert_eq!(b.holder(&x).await.as_deref(), Some("a"));
    drop(lease);
    pass(Duration::from_millis(10)).await;
    assert_eq!(b.holder(&x).await, None);
    let _lease = b.cluster.claim(&x, false).await.unwrap();
    assert_eq!(a.holder(&x).await.as_deref(), Some("b"));
    assert!(a.lost.lock().is_empty() && b.lost.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_taken_is_lost_at_once() {
    let registry = Memory::new();
    let (a, b) = (Node::start(&registry, "a"), Node::start(&registry, "b"));
    pass(Duration::from_millis(10)).await;
    let x = stream("x");
    let old = a.cluster.claim(&x, false).await.unwrap();
    let _new = b.cluster.claim(&x, true).await.unwrap();
    pass(Duration::from_millis(10)).await;
    assert_eq!(*a.lost.lock(), std::slice::from_ref(&x));
    assert_eq!(a.counters.snapshot().leases_lost, 1);
    // What the old publisher gives back is not the new one's.
    drop(old);
    pass(TTL).await;
    assert_eq!(a.holder(&x).await.as_deref(), Some("b"));
    assert!(b.lost.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn publishers_of_one_node_share_a_lease() {
    let registry = Memory::new();
    let (a, b) = (Node::start(&registry, "a"), Node::start(&registry, "b"));
    pass(Duration::from_millis(10)).await;
    let x = stream("x");
    let first = a.cluster.claim(&x, true).await.unwrap();
    let second = a.cluster.claim(&x, true).await.unwrap();
    drop(first);
    pass(TTL).await;
    assert_eq!(b.holder(&x).await.as_deref(), Some("a"));
    assert!(a.lost.lock().is_empty());
    drop(second);
    pass(TTL).await;
    assert_eq!(b.holder(&x).await, None);
    assert_eq!(a.cluster.leases(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_loses_its_streams_in_the_time_of_a_lease() {
    let registry = Memory::new();
    let (a, b) = (Node::start(&registry, "a"), Node::start(&registry, "b"));
    pass(Duration::from_millis(10)).await;
    let x = stream("x");
    let lease = a.cluster.claim(&x, false).await.unwrap();
    pass(TTL).await;
    a.kill();
    std::mem::forget(lease);
    pass(TTL / 2).await;
    assert!(b.cluster.claim(&x, false).await.is_err());
    pass(TTL / 2 + Duration::from_secs(1)).await;
    assert!(b.cluster.claim(&x, false).await.is_ok());
    assert!(b.cluster.others().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_started_again_finds_its_own_lease() {
    let registry = Memory::new();
    let a = Node::start(&registry, "a");
    pass(Duration::from_millis(10)).await;
    let x = stream("x");
    std::mem::forget(a.cluster.claim(&x, false).await.unwrap());
    a.kill();
    let again = Node::start(&registry, "a");
    pass(Duration::from_millis(10)).await;
    assert!(again.cluster.claim(&x, false).await.is_ok());
    assert!(again.lost.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_the_registry_all_goes_on_here_and_is_announced_when_it_is_back() {
    let registry = Memory::new();
    let (a, b) = (Node::start(&registry, "a"), Node::start(&registry, "b"));
    pass(Duration::from_millis(10)).await;
    let (x, y) = (stream("x"), stream("y"));
    let _x = a.cluster.claim(&x, false).await.unwrap();
    registry.set_away(true);
    pass(TTL).await;
    assert!(a.cluster.is_away() && b.cluster.is_away());
    assert_eq!(b.counters.snapshot().registry_away, 1);
    assert!(b.cluster.others().is_empty());
    let _y = a.cluster.claim(&y, false).await.unwrap();
    let asked = b.counters.snapshot().registry_lookups;
    assert_eq!(b.holder(&x).await, None);
    assert_eq!(
        b.counters.snapshot().registry_lookups,
        asked,
        "nobody waits for it"
    );
    // The leases ran out meanwhile.
    pass(TTL).await;
    registry.set_away(false);
    pass(RETRY * 3).await;
    assert!(!a.cluster.is_away());
    assert_eq!(b.holder(&x).await.as_deref(), Some("a"));
    assert_eq!(b.holder(&y).await.as_deref(), Some("a"));
    assert_eq!(b.counters.snapshot().registry_away, 0);
    assert_eq!(b.cluster.others().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_who_took_a_stream_while_the_registry_was_away_one_keeps_it() {
    let registry = Memory::new();
    let (a, b) = (Node::start(&registry, "a"), Node::start(&registry, "b"));
    pass(Duration::from_millis(10)).await;
    registry.set_away(true);
    pass(TTL).await;
    let x = stream("x");
    let _a = a.cluster.claim(&x, false).await.unwrap();
    let _b = b.cluster.claim(&x, false).await.unwrap();
    registry.set_away(false);
    pass(TTL).await;
    assert_eq!(a.lost.lock().len() + b.lost.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_hear_of_a_stream_at_once() {
    let registry = Memory::new();
    let (a, b) = (Node::start(&registry, "a"), Node::start(&registry, "b"));
    pass(TTL).await;
    let x = stream("x");
    let waiting = {
        let (cluster, x) = (b.cluster.clone(), x.clone());
        tokio::spawn(async move { cluster.appears(&x).await })
    };
    pass(TTL).await;
    let begun = Instant::now();
    let _lease = a.cluster.claim(&x, false).await.unwrap();
    let lease = timeout(lookup::FRESH / 2, waiting).await.unwrap().unwrap();
    assert_eq!(lease.node, "a");
    assert!(begun.elapsed() < lookup::FRESH / 2);
}

#[tokio::test(start_paused = true)]
async fn one_look_up_serves_all_who_ask_in_a_moment() {
    let registry = Memory::new();
    let b = Node::start(&registry, "b");
    pass(Duration::from_millis(10)).await;
    for _ in 0..100 {
        assert_eq!(b.holder(&stream("x")).await, None);
    }
    assert_eq!(b.counters.snapshot().registry_lookups, 1);
    pass(lookup::FRESH).await;
    assert_eq!(b.holder(&stream("x")).await, None);
    assert_eq!(b.counters.snapshot().registry_lookups, 2);
}

#[tokio::test(start_paused = true)]
async fn nodes_know_each_other_until_they_leave() {
    let registry = Memory::new();
    let (a, b) = (Node::start(&registry, "a"), Node::start(&registry, "b"));
    pass(TTL).await;
    let others = b.cluster.others();
    assert_eq!(others.len(), 1);
    assert_eq!((others[0].name.as_str(), others[0].load.room()), ("a", 4));
    a.cluster.leave().await;
    pass(LONGEST_BEAT).await;
    assert!(b.cluster.others().is_empty());
}
