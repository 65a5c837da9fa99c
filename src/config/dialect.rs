//! `[vm.dialect]`: a benchmark log described by the user's own regular expressions.

use super::LogDialect;
use super::keys::Key;
use super::listed::{
    DIALECT_MODEL, DIALECT_OUTCOME, DIALECT_SCORE, DIALECT_STEP, DIALECT_TASK, DIALECT_TASK_END, DIALECT_TASK_START,
    DIALECT_TOTAL, VM_LOG_DIALECT,
};
use super::rules;
use super::table::Table;

/// Regular expressions of a custom dialect. Each compiles, to at most 1 MiB, and has at most 1000 characters; at least
/// one of `task_start` and `task` is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomDialect {
    /// A task begins: groups `number`, `task`, `title` (at least one of them) and, if wanted, `total`.
    pub task_start: Option<String>,
    /// The id of the task that runs, or that begins if another one ran: group `task`.
    pub task: Option<String>,
    /// A step: groups `step` and, if wanted, `action`.
    pub step: Option<String>,
    /// How a task went: groups `pass` and `fail` (at least one) and, if wanted, `task`.
    pub outcome: Option<String>,
    /// The score of the task that runs: group `score`.
    pub score: Option<String>,
    /// A task is over: groups `task`, `pass`, `fail`, if wanted.
    pub task_end: Option<String>,
    /// How many tasks the run has: group `total`.
    pub total: Option<String>,
    /// The model under test: group `model`.
    pub model: Option<String>,
}

/// Reads `[vm.dialect]`, which must be there exactly if `chosen` is `Custom`.
pub(super) fn read(table: &Table<'_>, chosen: LogDialect) -> Option<CustomDialect> {
    if chosen != LogDialect::Custom {
        if table.is_written() {
            table.refuse_here(format!(
                "is for {} = \"custom\", but this VM's is \"{}\"",
                VM_LOG_DIALECT.leaf(),
                chosen.as_str()
            ));
        }
        return None;
    }
    let regex = |key: &'static Key, one_of: &[&str], others: &[&str]| {
        table.parsed(key, |text| rules::regex_with_groups(text, one_of, others))
    };
    let dialect = CustomDialect {
        task_start: regex(&DIALECT_TASK_START, &["number", "task", "title"], &["total"]),
        task: regex(&DIALECT_TASK, &["task"], &[]),
        step: regex(&DIALECT_STEP, &["step"], &["action"]),
        outcome: regex(&DIALECT_OUTCOME, &["pass", "fail"], &["task"]),
        score: regex(&DIALECT_SCORE, &["score"], &[]),
        task_end: regex(&DIALECT_TASK_END, &[], &["task", "pass", "fail"]),
        total: regex(&DIALECT_TOTAL, &["total"], &[]),
        model: regex(&DIALECT_MODEL, &["model"], &[]),
    };
    if !table.has(&DIALECT_TASK_START) && !table.has(&DIALECT_TASK) {
        table.refuse_here("log_dialect = \"custom\" needs task_start or task here");
    }
    Some(dialect)
}
