//! Listing images, all or some of them.

use std::collections::{BTreeMap, HashMap};

use casemate_model::Digest;
use jiff::Timestamp;

use super::records::{ImageRecord, Records};
use super::{ResolveError, Store};
use crate::pattern;
use crate::reference::Reference;

/// An image, without what its configuration says to its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    pub id: Digest,
    pub parent: Option<Digest>,
    /// With the filter `reference`, those that match.
    pub names: Vec<Reference>,
    pub digests: Vec<Reference>,
    pub created: Option<Timestamp>,
    /// Sum of the sizes of the layers' files, in bytes.
    pub size: u64,
    /// Of that, what is in layers that other images have too.
    pub shared_size: u64,
    pub labels: BTreeMap<String, String>,
    pub layers: Vec<Digest>,
}

/// What must be true of an image to be listed; the default is true of all but
/// those without a name that others were made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Those without a name that others were made from, too.
    pub all: bool,
    /// Whether it must have no tag, or must have a name.
    pub dangling: Option<bool>,
    /// All of these.
    pub labels: Vec<LabelFilter>,
    /// Made before each of these images.
    pub before: Vec<String>,
    /// Made after each of these.
    pub since: Vec<String>,
    /// Made before.
    pub until: Option<Timestamp>,
    /// Any of these patterns for a name: `busybox*`, `ghcr.io/*/app:*`.
    pub references: Vec<String>,
}

/// `name`, or `name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    pub name: String,
    pub value: Option<String>,
}

impl LabelFilter {
    pub fn parse(text: &str) -> Self {
        match text.split_once('=') {
            Some((name, value)) => Self { name: name.to_owned(), value: Some(value.to_owned()) },
            None => Self { name: text.to_owned(), value: None },
        }
    }

    pub(super) fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = labels.get(&self.name);
        label.is_some_and(|label| self.value.as_ref().is_none_or(|value| value == label))
    }
}

impl Store {
    /// The images that the filter lets through, the newest first.
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<ImageSummary>, ResolveError> {
        let mut records = self.read_records()?;
        let bounds = Bounds::new(&records, filter)?;
        if let Some(pattern) = filter.references.iter().find(|text| pattern::matches(text, "").is_none()) {
            return Err(ResolveError::Pattern { pattern: pattern.clone() });
        }
        records.images.sort_by_key(|image| std::cmp::Reverse(image.created));
        let shared = self.shared_sizes(&records);
        let mut found = Vec::new();
        for image in &records.images {
            if !bounds.include(image) || !is_shown(&records, image, filter) {
                continue;
            }
            let kept = |names: &[Reference]| -> Vec<Reference> {
                let is_kept = |name: &&Reference| matches_any(&filter.references, name);
                names.iter().filter(is_kept).cloned().collect()
            };
            let (names, digests) = (kept(&image.names), kept(&image.digests));
            if names.is_empty() && digests.is_empty() && !filter.references.is_empty() {
                continue;
            }
            let labels = self.labels(image);
            if !filter.labels.iter().all(|label| label.fits(&labels)) {
                continue;
            }
            found.push(ImageSummary {
                id: image.id.clone(),
                parent: image.parent.clone(),
                names,
                digests,
                created: image.created,
                size: image.size,
                shared_size: image.layers.iter().filter_map(|layer| shared.get(&layer.diff_id)).sum(),
                labels,
                layers: image.layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            });
        }
        Ok(found)
    }

    /// The image's labels; none if it is damaged, which those who use it hear.
    pub(super) fn labels(&self, record: &ImageRecord) -> BTreeMap<String, String> {
        self.read_image(record).map(|image| image.config.labels).unwrap_or_default()
    }

    /// The sizes of the layers that several images have.
    fn shared_sizes(&self, records: &Records) -> HashMap<Digest, u64> {
        let mut uses: HashMap<&Digest, usize> = HashMap::new();
        for layer in records.images.iter().flat_map(|image| &image.layers) {
            *uses.entry(&layer.diff_id).or_default() += 1;
        }
        let shared = uses.into_iter().filter(|(_, uses)| *uses > 1);
        // One that is just being removed has no size.
        shared.filter_map(|(diff_id, _)| Some((diff_id.clone(), self.layer_record(diff_id).ok()?.size))).collect()
    }
}

/// When images must have been made.
struct Bounds {
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl Bounds {
    fn new(records: &Records, filter: &ListFilter) -> Result<Self, ResolveError> {
        let created = |text: &String| records.find(text).map(|found| found.record().created);
        let mut before = filter.until;
        for text in &filter.before {
            before = before.into_iter().chain(created(text)?).min();
        }
        let mut since = None;
        for text in &filter.since {
            since = since.into_iter().chain(created(text)?).max();
        }
        Ok(Self { before, since })
    }

    fn include(&self, image: &ImageRecord) -> bool {
        self.before.is_none_or(|before| image.created.is_some_and(|created| created < before))
            && self.since.is_none_or(|since| image.created.is_some_and(|created| created > since))
    }
}

fn is_shown(records: &Records, image: &ImageRecord, filter: &ListFilter) -> bool {
    let has_children = || records.has_children(&image.id);
    let is_named = !image.names.is_empty() || !image.digests.is_empty();
    match filter.dangling {
        Some(true) => image.names.is_empty() && !has_children(),
        Some(false) => is_named,
        None => is_named || filter.all || !has_children(),
    }
}

/// Docker's four ways to write a name.
fn matches_any(patterns: &[String], name: &Reference) -> bool {
    let repository = name.repository();
    let full = format!("{}/{}", name.domain(), name.path());
    let texts = [name.to_string(), repository, name.clone().or_latest().canonical(), full];
    patterns.is_empty()
        || patterns.iter().any(|pattern| texts.iter().any(|text| pattern::matches(pattern, text) == Some(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{file, not_root, tar};
    use crate::store::ImportRequest;
    use crate::store::tests::Home;

    #[test]
    fn filters_are_dockers() {
        if not_root() {
            return;
        }
        let home = Home::new();
        let import = |name: Option<&str>, label: &str| {
            let layer = tar(&[file("name", name.unwrap_or("none").as_bytes())]);
            let changes = vec![format!("LABEL {label}")];
            let name = name.map(|name| name.parse().unwrap());
            home.store.import(layer.as_slice(), &ImportRequest { name, changes, ..ImportRequest::default() }).unwrap()
        };
        let first = import(Some("app:1"), "kind=app");
        import(Some("ghcr.io/team/app:2"), "kind=app tier=x");
        let third = import(None, "kind=none");
        import(Some("app:4"), "other=1");
        let names = |filter: ListFilter| -> Vec<String> {
            let found = home.store.list(&filter).unwrap();
            let name = |image: &ImageSummary| {
                image.names.first().map_or_else(|| image.id.short().to_owned(), ToString::to_string)
            };
            found.iter().map(name).collect()
        };
        let all = ListFilter::default;
        let none = third.short();
        assert_eq!(names(all()), ["app:4", none, "ghcr.io/team/app:2", "app:1"]);
        assert_eq!(names(ListFilter { dangling: Some(true), ..all() }), [none]);
        assert_eq!(names(ListFilter { dangling: Some(false), ..all() }), ["app:4", "ghcr.io/team/app:2", "app:1"]);
        let labels = |labels: &[&str]| {
            names(ListFilter { labels: labels.iter().map(|text| LabelFilter::parse(text)).collect(), ..all() })
        };
        assert_eq!(labels(&["kind=app"]), ["ghcr.io/team/app:2", "app:1"]);
        assert_eq!(labels(&["kind=app", "tier"]), ["ghcr.io/team/app:2"]);
        assert_eq!(labels(&["kind"]), [none, "ghcr.io/team/app:2", "app:1"]);
        let references = |patterns: &[&str]| {
            names(ListFilter { references: patterns.iter().map(|text| (*text).to_owned()).collect(), ..all() })
        };
        assert_eq!(references(&["app"]), ["app:4", "app:1"]);
        assert_eq!(references(&["app:1", "ghcr.io/*/app"]), ["ghcr.io/team/app:2", "app:1"]);
        assert_eq!(references(&["docker.io/library/a*:4"]), ["app:4"]);
        let before = ListFilter { before: vec![none.to_owned()], ..all() };
        assert_eq!(names(before), ["ghcr.io/team/app:2", "app:1"]);
        assert_eq!(names(ListFilter { since: vec!["ghcr.io/team/app:2".into()], ..all() }), ["app:4", none]);
        let created = home.store.resolve(&first.to_string()).unwrap().created;
        assert_eq!(names(ListFilter { until: created, ..all() }), [""; 0]);
        let malformed = ListFilter { references: vec!["[".into()], ..all() };
        assert_eq!(home.store.list(&malformed).unwrap_err().to_string(), "syntax error in pattern \"[\"");
        let absent = ListFilter { before: vec!["absent".into()], ..all() };
        assert!(matches!(home.store.list(&absent), Err(ResolveError::NotFound { .. })));
    }
}
