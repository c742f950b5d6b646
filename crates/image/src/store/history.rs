//! `history`: the steps that made an image, and what each added.

use casemate_model::Digest;
use jiff::Timestamp;

use super::{ResolveError, Store};
use crate::reference::Reference;

/// A line of `docker history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The image as it was after the step; what came from elsewhere has no
    /// images of its steps.
    pub id: Option<Digest>,
    pub created: Option<Timestamp>,
    pub created_by: String,
    pub tags: Vec<Reference>,
    /// Of the files that the step added, in bytes.
    pub size: u64,
    pub comment: String,
}

impl Store {
    /// The image's steps, the last first.
    pub fn history(&self, reference: &str) -> Result<Vec<HistoryRow>, ResolveError> {
        let records = self.read_records()?;
        let record = records.find(reference)?.record();
        let image = self.read_image(record)?;
        // From the top: what an old image lacks in its history is what came first.
        let mut layers = image.layers.iter().rev();
        let mut rows = Vec::new();
        for step in image.history.iter().rev() {
            let layer = if step.empty_layer { None } else { layers.next() };
            let size = layer.map(|layer| self.layer_record(layer).map(|record| record.size)).transpose()?;
            rows.push(HistoryRow {
                id: None,
                created: step.created,
                created_by: step.created_by.clone(),
                tags: Vec::new(),
                size: size.unwrap_or_default(),
                comment: step.comment.clone(),
            });
        }
        let mut made = Some(record);
        for row in &mut rows {
            let Some(record) = made else {
                break;
            };
            row.id = Some(record.id.clone());
            row.tags.clone_from(&record.names);
            made = record.parent.as_ref().and_then(|parent| records.with_id(parent));
        }
        Ok(rows)
    }
}
