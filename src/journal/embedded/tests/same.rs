//! Whatever is committed, it reads as a journal in memory reads it.

use proptest::prelude::*;

use super::*;
use crate::journal::{MemoryJournal, MemoryJournalConfig};
use crate::model::VmGrant;

/// One event of a few VMs and runs.
fn any_event() -> impl Strategy<Value = DurableEvent> {
    (0..3_u8, 0..4_u8, 0..5_u8).prop_map(|(vm, run, what)| {
        let (vm, run) = (format!("vm-{vm}"), format!("{vm}-{run}"));
        match what {
            0 => started(&vm, &run, "/1"),
            1 => ended(&vm, &run),
            2 => status(&vm),
            _ => done(&vm, &run),
        }
    })
}

fn query() -> RunQuery {
    RunQuery { grant: VmGrant::all(), vm: None, open: None, since: None, until: None, before: None, limit: 3 }
}

async fn all_runs(journal: &dyn Journal, query: RunQuery) -> Vec<RunSummary> {
    let (mut query, mut runs) = (query, Vec::new());
    loop {
        let page = journal.runs(&query).await.expect("read");
        assert!(page.runs.len() <= query.limit);
        runs.extend(page.runs);
        match page.next {
            Some(next) => query.before = Some(next),
            None => return runs,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn an_embedded_journal_reads_as_one_in_memory(
        commits in prop::collection::vec(prop::collection::vec(any_event(), 0..5), 0..25),
        asked in prop::collection::vec((0..30_u64, 0..6_u32, 0..30_u64, 0..6_u32, 1..7_usize), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let place = Place::new();
            let (embedded, memory) = (place.open(), MemoryJournal::new(MemoryJournalConfig::default()));
            for (n, events) in (1..).zip(&commits) {
                let (a, b) = (commit("a", n, events.clone()), commit("a", n, events.clone()));
                let (a, b) = (embedded.commit(a).await.expect("ok"), memory.commit(b).await.expect("ok"));
                assert_eq!((a.seq, a.events), (b.seq, b.events));
                assert_eq!(embedded.bounds(), memory.bounds());
            }
            let (a, b) = (VmId::from_journal("a"), embedded.bounds().newest);
            let numbers = |last: Option<LastCommit>| last.map(|last| (last.seq, last.commit.n));
            assert_eq!(
                numbers(embedded.last_commit(&a).await.expect("read")),
                numbers(memory.last_commit(&a).await.expect("read"))
            );
            assert_eq!(positions(&embedded, b).await, []);
            let runs: Vec<_> = ["vm-0-0", "vm-1-1", "vm-1-2", "nobody"].map(RunId::from_hash).into();
            for (seq, i, to_seq, to_i, limit) in asked {
                let (from, to) = (at(seq, i), at(to_seq, to_i));
                let pages = |a: Result<Page, JournalError>| a.map(|page| (page.events, page.more));
                assert_eq!(pages(embedded.read(from, to, limit).await), pages(memory.read(from, to, limit).await));
                assert_eq!(embedded.count_after(from, limit * 5).await, memory.count_after(from, limit * 5).await);
                assert_eq!(
                    pages(embedded.read_runs(&runs, from, to, limit).await),
                    pages(memory.read_runs(&runs, from, to, limit).await)
                );
            }
            for query in [
                query(),
                RunQuery { vm: Some(VmName::new("vm-1").expect("a name")), ..query() },
                RunQuery { open: Some(true), ..query() },
                RunQuery { open: Some(false), limit: 1, ..query() },
                RunQuery { grant: VmGrant::from_globs(["*-2"]), ..query() },
                RunQuery { since: Some(Timestamp(6.0)), ..query() },
                RunQuery { until: Some(Timestamp(6.0)), ..query() },
            ] {
                assert_eq!(all_runs(&embedded, query.clone()).await, all_runs(&memory, query).await);
            }
            for run in &runs {
                assert_eq!(embedded.run(run).await, memory.run(run).await);
            }
        });
    }
}
