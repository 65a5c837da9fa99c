//! `docs/openapi.json` is written by hand, and true: of the code, of `docs/API.md`, and of what a gateway answers.

mod answers;
mod document;
mod words;
