//! No room imports what `docs/ARCHITECTURE.md` does not list for it, the table has no circle, and the code has exactly
//! the rooms of the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

use crate::support::walk;

type Table = BTreeMap<String, BTreeSet<String>>;

/// The table under "Allowed imports" in `docs/ARCHITECTURE.md`.
fn documented() -> Table {
    let text = fs::read_to_string("docs/ARCHITECTURE.md").expect("docs/ARCHITECTURE.md");
    let section = text.split("## Allowed imports").nth(1).expect("the section on imports");
    let mut table = Table::new();
    for line in section.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|l| l.starts_with('|'))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let imports: BTreeSet<String> = match cells[1] {
            "nothing of ours" => BTreeSet::new(),
            "all of the above" => table.keys().cloned().collect(),
            list => list.split(", ").map(str::to_owned).collect(),
        };
        for room in cells[0].split(", ") {
            assert!(table.insert(room.to_owned(), imports.clone()).is_none(), "{room} stands twice");
        }
    }
    table
}

/// The room a file belongs to, and how many modules deep the file itself stands.
fn room_of(file: &Path) -> (String, usize) {
    let parts: Vec<String> =
        file.strip_prefix("src").expect("below src").iter().map(|p| p.to_string_lossy().into_owned()).collect();
    let depth = if parts.last().is_some_and(|name| name == "mod.rs") { parts.len() - 1 } else { parts.len() };
    (parts[0].trim_end_matches(".rs").to_owned(), depth)
}

/// `code` without comments, texts and characters, and without space around `::`.
fn bare(code: &str) -> String {
    let noise = r#"(?s)/\*.*?\*/|//[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)'"#;
    let code = Regex::new(noise).expect("a regex").replace_all(code, " ");
    Regex::new(r"\s*::\s*").expect("a regex").replace_all(&code, "::").into_owned()
}

/// The first words of each branch of the use tree that begins behind `tree`: `a::b`, `{a, b::{c}}`, `*`.
fn branches(tree: &str) -> Vec<String> {
    let Some(inside) = tree.strip_prefix('{') else {
        return vec![tree.chars().take_while(|c| c.is_alphanumeric() || "_*".contains(*c)).collect()];
    };
    let (mut depth, mut begins, mut found) = (0, true, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if begins && depth == 0 && !c.is_whitespace() => {
                found.extend(branches(&inside[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    found
}

/// The rooms that `code` names, through `crate::`, `gatewatch::`, or enough `super::` to reach the crate's root. What
/// would hide a name (`crate::*`, `crate as x`, `{self as x}`) counts as every room.
fn imports(code: &str, depth: usize, rooms: &BTreeSet<String>) -> BTreeSet<String> {
    let code = bare(code);
    let root = Regex::new(r"\b(crate|gatewatch|super(?:::super)*)(::| as )").expect("a regex");
    let mut found = BTreeSet::new();
    for start in root.captures_iter(&code) {
        let reaches = !start[1].starts_with("super") || start[1].matches("super").count() >= depth;
        if !reaches {
            continue;
        }
        let tree = &code[start.get(0).expect("the match").end()..];
        let names = if &start[2] == "::" { branches(tree) } else { vec!["*".to_owned()] };
        if names.iter().any(|name| name == "*" || name == "self") {
            return rooms.clone();
        }
        found.extend(names);
    }
    found.intersection(rooms).cloned().collect()
}

#[test]
fn a_room_imports_only_what_the_table_lists() {
    let table = documented();
    let rooms: BTreeSet<String> = table.keys().cloned().collect();
    let mut files = Vec::new();
    walk(Path::new("src"), &mut files);
    assert!(files.len() > 30, "the walk found only {} files", files.len());
    let mut seen = BTreeSet::new();
    let mut forbidden = Vec::new();
    for file in files {
        let (room, depth) = room_of(&file);
        if room == "lib" {
            continue;
        }
        seen.insert(room.clone());
        let allowed = table.get(&room).unwrap_or_else(|| panic!("{room} is no room of the table"));
        let code = fs::read_to_string(&file).expect("a source file");
        for import in imports(&code, depth, &rooms) {
            if import != room && !allowed.contains(&import) {
                forbidden.push(format!("{}: {room} imports {import}", file.display()));
            }
        }
    }
    assert!(forbidden.is_empty(), "{forbidden:#?}");
    assert_eq!(seen, rooms, "the code's rooms and the table's rooms differ");
}

#[test]
fn the_table_has_no_circle() {
    let mut table = documented();
    while !table.is_empty() {
        let free: Vec<String> = table
            .iter()
            .filter(|(_, imports)| imports.iter().all(|i| !table.contains_key(i)))
            .map(|(r, _)| r.clone())
            .collect();
        assert!(!free.is_empty(), "a circle among {:?}", table.keys());
        for room in free {
            table.remove(&room);
        }
    }
}

#[test]
fn the_walk_sees_imports_however_they_are_written() {
    let rooms: BTreeSet<String> = ["hub", "edge", "model"].map(str::to_owned).into();
    for (code, depth, expected) in [
        ("use crate::hub::Hub;", 1, vec!["hub"]),
        ("use crate::{edge, model::Stage};", 1, vec!["edge", "model"]),
        ("let x = super::super::hub::y();", 2, vec!["hub"]),
        ("use super::hub;", 1, vec!["hub"]),
        ("use super::hub;", 2, vec![]),
        ("use super::super::{hub::Hub, model};", 2, vec!["hub", "model"]),
        ("use crate :: hub;", 1, vec!["hub"]),
        ("use crate::\n    hub;", 1, vec!["hub"]),
        ("use crate::*;", 1, vec!["edge", "hub", "model"]),
        ("use crate as gw;", 1, vec!["edge", "hub", "model"]),
        ("use crate::{self as gw};", 1, vec!["edge", "hub", "model"]),
        ("use crate::{model::{Stage, VmName}, hub::{a::{b, c}, d}};", 1, vec!["hub", "model"]),
        ("let quote = '\"'; use crate::hub; let other = '\"';", 1, vec!["hub"]),
        ("/* crate::hub */ \"crate::hub\"", 1, vec![]),
        ("/// See [`crate::hub`].", 1, vec![]),
    ] {
        assert_eq!(imports(code, depth, &rooms).into_iter().collect::<Vec<_>>(), expected, "{code}");
    }
}
