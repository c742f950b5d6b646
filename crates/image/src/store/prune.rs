//! `prune`: removing the images that nobody uses.

use std::collections::BTreeMap;

use casemate_model::{Classify, Digest, ErrorClass};
use jiff::Timestamp;

use super::list::LabelFilter;
use super::records::ImageRecord;
use super::{RemoveError, Removed, Store, Users};

/// Which images go; the default is those without a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneFilter {
    /// Only those without a tag.
    pub dangling: bool,
    /// Made then or before.
    pub until: Option<Timestamp>,
    /// All of these.
    pub labels: Vec<LabelFilter>,
    /// None of these (`label!`).
    pub not_labels: Vec<LabelFilter>,
}

impl Default for PruneFilter {
    fn default() -> Self {
        Self { dangling: true, until: None, labels: Vec::new(), not_labels: Vec::new() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub removed: Vec<Removed>,
    /// Bytes of the files in the layers that went.
    pub reclaimed: u64,
}

impl Store {
    /// Removes the images that the filter lets through and that none of `users`
    /// uses. What cannot be removed stays.
    pub fn prune(&self, filter: &PruneFilter, users: &Users) -> Result<Pruned, RemoveError> {
        let before = self.layer_sizes()?;
        let mut removed = Vec::new();
        let records = self.read_records()?;
        for image in records.images.iter().filter(|image| self.is_pruned(image, filter)) {
            let is_named = !image.names.is_empty() || !image.digests.is_empty();
            if !is_named && records.has_children(&image.id) {
                continue;
            }
            if users.any(&image.id).is_some() {
                continue;
            }
            let mut names: Vec<String> = image.names.iter().chain(&image.digests).map(ToString::to_string).collect();
            if names.is_empty() {
                names.push(image.id.to_string());
            }
            for reference in names {
                match self.remove(&reference, false, users) {
                    Ok(one) => removed.push(one),
                    // Gone with the name before it, or someone else was first.
                    Err(error) if matches!(error.class(), ErrorClass::Conflict | ErrorClass::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let after = self.layer_sizes()?;
        let reclaimed = before.iter().filter(|(diff_id, _)| !after.contains_key(*diff_id)).map(|(_, size)| *size).sum();
        Ok(Pruned { removed, reclaimed })
    }

    fn is_pruned(&self, image: &ImageRecord, filter: &PruneFilter) -> bool {
        if filter.dangling && !image.names.is_empty() {
            return false;
        }
        if filter.until.is_some_and(|until| image.created.is_none_or(|created| created > until)) {
            return false;
        }
        let labels = self.labels(image);
        filter.labels.iter().all(|label| label.fits(&labels))
            && !filter.not_labels.iter().any(|label| label.fits(&labels))
    }

    /// The layers on the disk and the sizes of their files, in bytes.
    pub fn layer_sizes(&self) -> Result<BTreeMap<Digest, u64>, RemoveError> {
        let mut sizes = BTreeMap::new();
        self.for_each_layer(&mut |diff_id| {
            // One that is being removed, or damaged, counts for nothing.
            sizes.extend(self.layer_record(diff_id).ok().map(|record| (diff_id.clone(), record.size)));
        })?;
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use casemate_model::ContainerId;

    use super::*;
    use crate::fixture::{file, not_root, tar};
    use crate::store::tests::Home;
    use crate::store::{ImportRequest, User};

    #[test]
    fn what_nobody_uses_goes() {
        if not_root() {
            return;
        }
        let home = Home::new();
        let import = |name: Option<&str>, text: &str| {
            let changes = vec![format!("LABEL text={text}")];
            let request = ImportRequest { name: name.map(|n| n.parse().unwrap()), changes, ..ImportRequest::default() };
            home.store.import(tar(&[file("a", text.as_bytes())]).as_slice(), &request).unwrap()
        };
        let used = import(Some("used"), "used");
        import(Some("kept"), "kept");
        home.store.tag("kept", &"also/kept:1".parse().unwrap()).unwrap();
        import(None, "dangling");
        let users = Users {
            containers: vec![User {
                container: ContainerId::from_random([1; 32]),
                image: used,
                layers: Vec::new(),
                running: false,
            }],
            some_unknown: false,
        };
        let prune = |filter: &PruneFilter| home.store.prune(filter, &users).unwrap();
        let label = |text: &str| vec![LabelFilter::parse(text)];
        let none = PruneFilter { labels: label("text=other"), ..PruneFilter::default() };
        assert_eq!(prune(&none), Pruned::default());
        let none = PruneFilter { not_labels: label("text=dangling"), ..PruneFilter::default() };
        assert_eq!(prune(&none), Pruned::default());
        let none = PruneFilter { until: Some(Timestamp::UNIX_EPOCH), ..PruneFilter::default() };
        assert_eq!(prune(&none), Pruned::default());
        let pruned = prune(&PruneFilter::default());
        assert_eq!((pruned.removed.len(), pruned.reclaimed), (1, 8));
        let pruned = prune(&PruneFilter { dangling: false, ..PruneFilter::default() });
        let untagged: Vec<String> =
            pruned.removed.iter().flat_map(|removed| &removed.untagged).map(ToString::to_string).collect();
        assert_eq!((untagged, pruned.reclaimed), (vec!["kept:latest".to_owned(), "also/kept:1".to_owned()], 4));
        let left = home.store.images().unwrap();
        assert_eq!((left.len(), left[0].repository.as_deref()), (1, Some("used")));
    }
}
