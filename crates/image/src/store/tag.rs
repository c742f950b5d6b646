//! `tag`: another name for an image.

use casemate_model::{Classify, Digest, ErrorClass};

use super::records::RecordsError;
use super::{ResolveError, Store};
use crate::disk::DiskError;
use crate::reference::Reference;

#[derive(Debug, thiserror::Error)]
pub enum TagError {
    #[error("refusing to create a tag with a digest reference")]
    Digest,
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Classify for TagError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Digest => ErrorClass::InvalidArgument,
            Self::Resolve(source) => source.class(),
            Self::Records(source) => source.class(),
            Self::Disk(source) => source.class(),
        }
    }
}

impl Store {
    /// Gives the image that `source` means the name `target`, with the tag
    /// `latest` if it has none, and takes it from whichever image had it.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<Digest, TagError> {
        if target.digest().is_some() {
            return Err(TagError::Digest);
        }
        let name = target.clone().or_latest();
        let lock = self.lock()?;
        let mut records = self.read_records()?;
        let mut image = records.find(source)?.record().clone();
        let id = image.id.clone();
        image.names = vec![name];
        image.tagged = Some(jiff::Timestamp::now());
        records.put(image);
        self.write_records(&lock, &records)?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{SampleImage, archive, docker_files, file, not_root, tar};
    use crate::store::tests::Home;

    #[test]
    fn a_tag_goes_to_the_image_that_is_meant() {
        if not_root() {
            return;
        }
        let home = Home::new();
        let image = |text: &[u8]| SampleImage::new(&[tar(&[file("a", text)])], |bytes| bytes.to_vec());
        let (one, two) = (image(b"1"), image(b"2"));
        home.load(&archive(&docker_files(&[(&one, &["one"]), (&two, &["two"])]))).unwrap();
        let tag = |source: &str, target: &str| home.store.tag(source, &target.parse().unwrap());
        assert_eq!(tag("one", "ghcr.io/a/b").unwrap(), one.id());
        assert_eq!(tag(one.id().short(), "two").unwrap(), one.id());
        let names = |id: &Digest| {
            let image = home.store.resolve(&id.to_string()).unwrap();
            image.names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(&one.id()), ["one:latest", "ghcr.io/a/b:latest", "two:latest"]);
        assert_eq!(names(&two.id()), [""; 0]);
        // Again: it is there once.
        tag("one", "two").unwrap();
        assert_eq!(names(&one.id()), ["one:latest", "ghcr.io/a/b:latest", "two:latest"]);
        assert!(home.store.resolve("one").unwrap().tagged.is_some());
        assert!(matches!(tag("one", &format!("x@{}", one.id())), Err(TagError::Digest)));
        let error = tag("none", "x").unwrap_err();
        assert_eq!((error.class(), error.to_string()), (ErrorClass::NotFound, "No such image: none:latest".into()));
    }
}
