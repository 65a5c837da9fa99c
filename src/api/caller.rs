//! Who asks, and which VM they ask about.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::problem::ApiError;
use super::{ApiState, FilesView, query};
use crate::hub::VmEntry;
use crate::model::{LOCAL_VM, Principal, Stage, VmName};

/// The principal that the edge found.
pub(super) struct Caller(pub(super) Arc<Principal>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // A route that the edge forgot to guard answers nobody.
        parts.extensions.get::<Arc<Principal>>().cloned().map(Self).ok_or(ApiError::Unauthenticated)
    }
}

/// The query string as pairs.
pub(super) struct Pairs(pub(super) Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Pairs {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Any query string is a list of pairs of texts, so there is no error to tell of.
        Ok(Self(Query::try_from_uri(&parts.uri).map(|Query(pairs)| pairs).unwrap_or_default()))
    }
}

/// What a polling route answers from: one VM, and the local files if the caller may see them.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// The VM that `vm` names; else the first that runs a benchmark; else the first.
    pub(super) entry: Option<VmEntry>,
    /// The local files; empty if not granted, or if another VM is asked for.
    pub(super) files: Arc<FilesView>,
    /// Whether `vm` named it.
    pub(super) named: bool,
}

impl FromRequestParts<ApiState> for Selection {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Caller(principal) = Caller::from_request_parts(parts, state).await?;
        let Pairs(pairs) = Pairs::from_request_parts(parts, state).await?;
        let wanted = query::vm(&pairs)?;
        let local = VmName::new(LOCAL_VM).expect("a constant of letters alone is a name");
        let files = if principal.vms.allows(&local) { state.files.borrow().clone() } else { Arc::default() };
        select(state.hub.vms(&principal.vms), files, wanted)
    }
}

fn select(mut visible: Vec<VmEntry>, files: Arc<FilesView>, wanted: Option<VmName>) -> Result<Selection, ApiError> {
    let Some(wanted) = wanted else {
        let first = visible.iter().position(runs).unwrap_or(0);
        let entry = (first < visible.len()).then(|| visible.swap_remove(first));
        return Ok(Selection { entry, files, named: false });
    };
    let entry = visible.into_iter().find(|entry| entry.vm == wanted);
    let local = wanted.as_str() == LOCAL_VM;
    let files = if local { files } else { Arc::default() };
    if entry.is_none() && *files == FilesView::default() {
        return Err(ApiError::UnknownVm(Some(wanted)));
    }
    Ok(Selection { entry, files, named: !local })
}

fn runs(entry: &VmEntry) -> bool {
    entry.view.as_ref().is_some_and(|view| view.stage == Stage::Running || view.progress.iter().any(|run| run.open))
}
