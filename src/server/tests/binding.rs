//! A gateway that is started again at once after a kill gets its address.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::server::Listener;

#[tokio::test(start_paused = true)]
async fn an_address_that_becomes_free_is_waited_for_and_one_that_does_not_is_told_in_time() {
    let held = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = held.local_addr();
    let began = Instant::now();
    let refused = Listener::bind_soon(address).await.expect_err("it is in use");
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    assert!(refused.to_string().contains(&address.to_string()), "{refused}");
    assert!(began.elapsed() <= Duration::from_millis(2100), "{:?}", began.elapsed());
    let leaves = async {
        sleep(Duration::from_secs(1)).await;
        drop(held);
    };
    let (bound, ()) = tokio::join!(Listener::bind_soon(address), leaves);
    assert_eq!(bound.expect("it is free").local_addr(), address);
}
