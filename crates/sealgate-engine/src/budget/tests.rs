//! Tests of the pools and of leases.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::pool::{Ask, LeaseState, Permit, Pool};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const ANY: (usize, usize) = (usize::MAX, usize::MAX);

fn pool(total: u64, namespace: u64, host: u64) -> Arc<Pool> {
    Pool::new(Resource::Requests, PoolLimits { total, namespace, host }, ANY)
}

fn lease(namespace: &str) -> Arc<LeaseState> {
    LeaseState::new(namespace)
}

async fn take(
    pool: &Arc<Pool>,
    lease: &Arc<LeaseState>,
    host: Option<&str>,
    amount: u64,
    patience: Duration,
) -> Result<Permit, String> {
    let ask = Ask { lease, host, amount };
    let taken = pool.acquire(ask, Instant::now() + patience).await;
    taken.map_err(|busy| sealgate_core::fault::Fault::from(busy).to_string())
}

#[tokio::test]
async fn each_limit_refuses_with_the_share_that_is_used_up() {
    let pool = pool(4, 2, 3);
    let (a, b) = (lease("a"), lease("b"));
    let first = take(&pool, &a, Some("x"), 1, SECOND).await.unwrap();
    let _second = take(&pool, &a, Some("x"), 1, SECOND).await.unwrap();
    let refused = take(&pool, &a, Some("y"), 1, SECOND).await.err().unwrap();
    assert_eq!(
        refused,
        "the gate is busy: namespace a uses its share of 2 concurrent registry requests (busy)"
    );
    let _third = take(&pool, &b, Some("x"), 1, SECOND).await.unwrap();
    let refused = take(&pool, &b, Some("x"), 1, Duration::from_millis(40)).await.err().unwrap();
    assert!(refused.contains("registry x takes its share of 3"), "{refused}");
    drop(first);
    take(&pool, &b, Some("x"), 1, SECOND).await.unwrap();
    let refused: Vec<u64> = pool.stats().refused.iter().map(|(_, count)| *count).collect();
    assert_eq!(refused, [0, 1, 1, 0]);
}

#[tokio::test]
async fn the_namespace_that_uses_least_goes_first() {
    let pool = pool(3, 3, 3);
    let (greedy, modest) = (lease("greedy"), lease("modest"));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(take(&pool, &greedy, None, 1, SECOND).await.unwrap());
    }
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let wait = |who: &Arc<LeaseState>, name: &'static str| {
        let (pool, who, order) = (pool.clone(), who.clone(), order.clone());
        tokio::spawn(async move {
            let permit = take(&pool, &who, None, 1, SECOND).await;
            order.lock().unwrap().push(name);
            sleep(Duration::from_millis(10)).await;
            drop(permit);
        })
    };
    let waiting = [wait(&greedy, "greedy"), wait(&greedy, "greedy"), wait(&modest, "modest")];
    sleep(Duration::from_millis(1)).await;
    drop(held.pop());
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["modest", "greedy", "greedy"]);
}

#[tokio::test]
async fn the_longest_running_lease_of_the_largest_share_is_revoked_for_a_smaller_one() {
    let pool = pool(4, 4, 4);
    let leases: Vec<_> = (0..4).map(|_| lease("greedy")).collect();
    let mut tasks = Vec::new();
    for lease in leases.clone() {
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            let permit = take(&pool, &lease, None, 1, SECOND).await.unwrap();
            let revoked = timeout(SECOND, lease.revoked()).await.is_ok();
            drop(permit);
            revoked
        }));
        sleep(Duration::from_millis(1)).await;
    }
    let began = Instant::now();
    let modest = lease("modest");
    let got = take(&pool, &modest, None, 1, 5 * SECOND).await.unwrap();
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    drop(got);
    let revoked: Vec<bool> =
        futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(revoked, [true, false, false, false]);
}

#[tokio::test]
async fn nobody_is_revoked_for_a_namespace_with_the_same_share() {
    let pool = pool(2, 2, 2);
    let (a, b) = (lease("a"), lease("b"));
    let _a = take(&pool, &a, None, 1, SECOND).await.unwrap();
    let _b = take(&pool, &b, None, 1, SECOND).await.unwrap();
    let refused = take(&pool, &lease("a"), None, 1, 5 * SECOND).await.err().unwrap();
    assert!(refused.contains("all 2"), "{refused}");
    for held in [&a, &b] {
        assert!(timeout(Duration::from_millis(100), held.revoked()).await.is_err());
    }
    // A third namespace has nothing yet: the oldest ends for it.
    let c = lease("c");
    let waits = take(&pool, &c, None, 1, 5 * SECOND);
    tokio::pin!(waits);
    tokio::select! {
        _ = &mut waits => panic!("nothing was given back"),
        _ = a.revoked() => {}
    }
}

#[tokio::test]
async fn a_host_that_many_wait_for_is_shared_too() {
    let pool = pool(100, 100, 2);
    let greedy = [lease("greedy"), lease("greedy")];
    let first = take(&pool, &greedy[0], Some("slow"), 1, SECOND).await.unwrap();
    let _second = take(&pool, &greedy[1], Some("slow"), 1, SECOND).await.unwrap();
    let modest = lease("modest");
    let waits = take(&pool, &modest, Some("slow"), 1, 5 * SECOND);
    tokio::pin!(waits);
    tokio::select! {
        _ = &mut waits => panic!("nothing was given back"),
        _ = greedy[0].revoked() => drop(first),
    }
    waits.await.unwrap();
    take(&pool, &modest, Some("fast"), 1, SECOND).await.unwrap();
}

#[tokio::test]
async fn a_large_amount_is_not_overtaken_for_ever() {
    let pool = pool(10, 10, 10);
    let (small, large) = (lease("small"), lease("large"));
    let mut held: Vec<_> = Vec::new();
    for _ in 0..10 {
        held.push(take(&pool, &small, None, 1, SECOND).await.unwrap());
    }
    let task = {
        let (pool, large) = (pool.clone(), large.clone());
        tokio::spawn(async move { take(&pool, &large, None, 6, 20 * SECOND).await.map(drop) })
    };
    sleep(Duration::from_millis(1)).await;
    for _ in 0..5 {
        held.pop();
        let others = take(&pool, &lease("other"), None, 1, Duration::from_millis(1)).await;
        assert!(others.is_err(), "a newcomer takes what a waiter needs");
    }
    held.pop();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_waiter_that_left_would_have_got_is_given_to_the_next() {
    let pool = pool(2, 2, 2);
    let (a, b) = (lease("a"), lease("b"));
    let held = take(&pool, &a, None, 1, SECOND).await.unwrap();
    // Needs both, and leaves.
    let c = lease("c");
    let gone = take(&pool, &c, None, 2, Duration::from_millis(5));
    let next = async {
        sleep(Duration::from_millis(1)).await;
        take(&pool, &b, None, 1, SECOND).await
    };
    let (gone, next) = tokio::join!(gone, next);
    assert!(gone.is_err());
    drop((next.unwrap(), held));
    assert_eq!(pool.stats().used, 0);
    assert_eq!(pool.stats().waiting, 0);
}

#[tokio::test]
async fn an_evaluation_gives_everything_back_with_its_last_reference() {
    let budget = Budget::new(&BudgetLimits::default());
    let lease = budget.begin("shop", 1000, Instant::now() + SECOND).await.unwrap();
    let mut share = ByteShare::default();
    lease.grow(&mut share, 5000, "r.example").await.unwrap();
    lease.grow(&mut share, 5000, "r.example").await.unwrap();
    let request = lease.request("r.example").await.unwrap();
    let used = |budget: &Budget| budget.stats().iter().map(|it| it.used).collect::<Vec<_>>();
    let during = {
        let budget = budget.clone();
        lease.verify(1 << 20, move || used(&budget)).await.unwrap()
    };
    assert_eq!(during, [1, 1, 11_000, 1]);
    let while_parsing = {
        let budget = budget.clone();
        lease.parse(1000, move || used(&budget)).await.unwrap()
    };
    assert_eq!(while_parsing, [1, 1, 11_000, 0]);
    drop(request);
    drop(lease);
    // The bytes outlive the lease that they were drawn from.
    assert_eq!(used(&budget), [0, 0, 10_000, 0]);
    drop(share);
    assert_eq!(used(&budget), [0, 0, 0, 0]);
}

#[tokio::test]
async fn fifty_namespaces_that_never_end_leave_room_for_another() {
    let budget = Budget::new(&BudgetLimits::default());
    for namespace in 0..50 {
        for _ in 0..20 {
            let budget = budget.clone();
            tokio::spawn(async move {
                let name = format!("hostile-{namespace}");
                loop {
                    let end = Instant::now() + 9 * SECOND;
                    let Ok(lease) = budget.begin(&name, 1000, end).await else { continue };
                    tokio::select! {
                        _ = lease.revoked() => {}
                        () = tokio::time::sleep_until(end) => {}
                    }
                }
            });
        }
    }
    sleep(SECOND).await;
    for _ in 0..20 {
        let began = Instant::now();
        let lease = budget.begin("honest", 1000, began + 9 * SECOND).await.unwrap();
        assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
        sleep(Duration::from_millis(60)).await;
        drop(lease);
    }
}

#[tokio::test]
async fn too_many_that_wait_are_refused_at_once() {
    let pool =
        Pool::new(Resource::Evaluations, PoolLimits { total: 1, namespace: 1, host: 1 }, (3, 2));
    let _held = take(&pool, &lease("a"), None, 1, SECOND).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let pool = pool.clone();
        waiting
            .push(tokio::spawn(async move { take(&pool, &lease("b"), None, 1, 9 * SECOND).await }));
        sleep(Duration::from_millis(1)).await;
    }
    let began = Instant::now();
    assert!(take(&pool, &lease("b"), None, 1, 9 * SECOND).await.is_err());
    assert!(began.elapsed() < Duration::from_millis(10));
    // Others push out the first of those who wait most.
    for name in ["c", "d"] {
        let pool = pool.clone();
        tokio::spawn(async move { take(&pool, &lease(name), None, 1, 9 * SECOND).await.map(drop) });
        sleep(Duration::from_millis(1)).await;
    }
    assert!(waiting.remove(0).await.unwrap().is_err());
    assert_eq!(pool.stats().waiting, 3);
}
