//! New images from a layer: `import` from nothing, `commit` from another image.

use std::io::{self, Read, Write};

use casemate_model::{Classify, Digest, ErrorClass};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::layers::Layers;
use super::load::sync_all;
use super::records::ImageRecord;
use super::spool::Spool;
use super::{LoadError, ResolveError, Store};
use crate::archive::{Blob, Keep, PlannedImage, PlannedLayer, PlannedManifest};
use crate::changes::ChangeError;
use crate::configuration::Configuration;
use crate::disk::DiskError;
use crate::image::{Image, ImageConfig, Step};
use crate::manifest;
use crate::platform::Platform;
use crate::reference::Reference;

/// What `docker import` says besides the layer.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    pub name: Option<Reference>,
    pub message: String,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    /// This host's, if absent.
    pub platform: Option<Platform>,
}

/// What an image that is made from another is besides its layer.
#[derive(Clone, Debug, Default)]
pub struct MakeRequest {
    pub name: Option<Reference>,
    pub config: ImageConfig,
    pub author: String,
    pub comment: String,
    /// The command that made the layer.
    pub created_by: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("cannot read the layer")]
    Read(#[source] io::Error),
    #[error("the layer is larger than {limit} bytes")]
    TooMuch { limit: u64 },
    #[error("refusing to create a tag with a digest reference")]
    DigestName,
    #[error("image operating system {os:?} cannot be used on this platform")]
    Os { os: String },
    #[error(transparent)]
    Base(#[from] ResolveError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Classify for ImportError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Change(source) => source.class(),
            Self::Read(_) | Self::TooMuch { .. } => ErrorClass::Protocol,
            Self::DigestName | Self::Os { .. } => ErrorClass::InvalidArgument,
            Self::Base(source) => source.class(),
            Self::Load(source) => source.class(),
            Self::Disk(source) => source.class(),
        }
    }
}

impl Store {
    /// Makes an image of one layer, a tar stream that may be compressed.
    pub fn import(&self, layer: impl Read, request: &ImportRequest) -> Result<Digest, ImportError> {
        let mut config = ImageConfig::default();
        config.change(&request.changes)?;
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        if platform.os != "linux" {
            return Err(ImportError::Os { os: platform.os });
        }
        let now = Timestamp::now();
        let step = Step { created: Some(now), comment: request.message.clone(), ..Step::default() };
        let configuration = Configuration {
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            created: Some(now),
            author: None,
            comment: Some(request.message.clone()).filter(|message| !message.is_empty()),
            config,
            layers: Vec::new(),
            history: vec![step],
        };
        self.make(None, layer, configuration, request.name.as_ref())
    }

    /// Makes an image of another one with a layer on top of it.
    pub fn make_on(&self, base: &Image, layer: impl Read, request: &MakeRequest) -> Result<Digest, ImportError> {
        let now = Timestamp::now();
        let set = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let step = Step {
            created: Some(now),
            created_by: request.created_by.clone(),
            author: request.author.clone(),
            comment: request.comment.clone(),
            empty_layer: false,
        };
        let configuration = Configuration {
            architecture: base.architecture.clone(),
            variant: base.variant.clone(),
            os: base.os.clone(),
            created: Some(now),
            author: set(&request.author),
            comment: set(&request.comment),
            config: request.config.clone(),
            layers: base.layers.clone(),
            history: base.history.iter().cloned().chain([step]).collect(),
        };
        self.make(Some(base), layer, configuration, request.name.as_ref())
    }

    fn make(
        &self,
        base: Option<&Image>,
        layer: impl Read,
        mut configuration: Configuration,
        name: Option<&Reference>,
    ) -> Result<Digest, ImportError> {
        if name.is_some_and(|name| name.digest().is_some()) {
            return Err(ImportError::DigestName);
        }
        let names: Vec<Reference> = name.map(|name| name.clone().or_latest()).into_iter().collect();
        let staging = self.stage()?;
        let mut spool = Spool::new(&staging)?;
        let top = self.keep_layer(layer, &mut spool)?;
        let mut layers = Layers::new(self, &staging, &spool)?;
        let mut all = match base {
            Some(base) => self.hold_base(base, &mut layers, &spool)?,
            None => Vec::new(),
        };
        all.push(layers.unpack_unknown(top)?);
        configuration.layers = all.iter().map(|layer| layer.diff_id.clone()).collect();
        let json = configuration.to_json();
        let id = spool.add(&json)?;
        let config = Blob { digest: id.clone(), size: json.len() as u64 };
        let mut blobs = Vec::new();
        for layer in &all {
            blobs.push((layer.blob.clone(), spool.compression(&layer.blob)?));
        }
        let manifest = PlannedManifest::Made(manifest::make(&config, &blobs));
        let (architecture, created) = (configuration.architecture, configuration.created);
        let record = layers.record(PlannedImage { names, config, manifest, architecture, created, layers: all })?;
        let record = ImageRecord { parent: base.map(|base| base.id.clone()), ..record };
        sync_all(staging.path())?;
        self.commit(&staging, &spool, vec![record])?;
        Ok(id)
    }

    /// The layers of the base, which stay whatever becomes of it.
    fn hold_base(
        &self,
        base: &Image,
        layers: &mut Layers<'_>,
        spool: &Spool,
    ) -> Result<Vec<PlannedLayer>, ImportError> {
        let gone = || ResolveError::NotFound { reference: base.id.to_string() };
        let mut held = Vec::new();
        for diff_id in &base.layers {
            if !layers.hold_stored(diff_id)? {
                return Err(gone().into());
            }
            let blob = layers.stored_blob(diff_id).ok_or_else(gone)?.clone();
            if !spool.link(self, &blob)? {
                return Err(gone().into());
            }
            held.push(PlannedLayer { blob: spool.blob(&blob)?, diff_id: diff_id.clone() });
        }
        Ok(held)
    }

    fn keep_layer(&self, mut layer: impl Read, spool: &mut Spool) -> Result<Blob, ImportError> {
        let limit = self.limits.unpacked;
        let mut file = spool.create()?;
        let mut hasher = Sha256::new();
        let mut size: u64 = 0;
        let mut buffer = vec![0; 1 << 17];
        loop {
            let read = match layer.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ImportError::Read(error)),
            };
            size += read as u64;
            if size > limit {
                return Err(ImportError::TooMuch { limit });
            }
            hasher.update(&buffer[..read]);
            file.write_all(&buffer[..read]).map_err(|e| DiskError::new("write below", spool.place(), e))?;
        }
        let blob = Blob { digest: Digest::from_sha256(hasher.finalize().into()), size };
        spool.keep(file, &blob)?;
        Ok(blob)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture::{SampleImage, archive, directory, docker_files, file, gzip, not_root, tar, zstd};
    use crate::store::tests::Home;
    use crate::store::{ListFilter, Users};

    #[test]
    fn a_tar_stream_becomes_an_image() {
        if not_root() {
            return;
        }
        let home = Home::new();
        let layer = tar(&[directory("etc"), file("etc/hostname", b"x")]);
        let request = ImportRequest {
            name: Some("made".parse().unwrap()),
            message: "from somewhere".into(),
            changes: vec!["CMD [\"cat\", \"/etc/hostname\"]".into(), "ENV A=1\nWORKDIR /etc".into()],
            platform: None,
        };
        for form in [layer.clone(), gzip(&layer), zstd(&layer)] {
            let id = home.store.import(form.as_slice(), &request).unwrap();
            let image = home.store.resolve("made").unwrap();
            assert_eq!((image.id.clone(), image.config.cmd.len(), image.size), (id, 2, 1));
            assert_eq!((image.config.env, image.config.working_dir.as_deref()), (vec!["A=1".to_owned()], Some("/etc")));
            assert_eq!((image.os.as_str(), image.comment.as_deref()), ("linux", Some("from somewhere")));
            assert_eq!(image.layers, [crate::hash::digest_of(&layer)]);
            let history = home.store.history("made").unwrap();
            assert_eq!((history.len(), history[0].comment.as_str(), history[0].size), (1, "from somewhere", 1));
            // It can be saved and loaded.
            let mut saved = Vec::new();
            home.store.save(&["made"], &mut saved).unwrap();
            let elsewhere = Home::new();
            elsewhere.load(&saved).unwrap();
            assert_eq!(elsewhere.store.resolve("made").unwrap().id, image.id);
        }
    }

    #[test]
    fn what_cannot_be_imported_leaves_nothing() {
        if not_root() {
            return;
        }
        let home = Home::new();
        let before = crate::fixture::names(home.store.directory.as_path());
        let import = |layer: &[u8], request: &ImportRequest| home.store.import(layer, request).unwrap_err();
        let good = tar(&[file("a", b"a")]);
        let bad_change = ImportRequest { changes: vec!["RUN x".into()], ..ImportRequest::default() };
        let error = import(&good, &bad_change);
        assert_eq!(
            (error.class(), error.to_string()),
            (ErrorClass::InvalidArgument, "run is not a valid change command".into())
        );
        let windows = ImportRequest { platform: Some("windows/amd64".parse().unwrap()), ..ImportRequest::default() };
        assert!(matches!(import(&good, &windows), ImportError::Os { .. }));
        assert!(matches!(import(&good[..700], &ImportRequest::default()), ImportError::Load(_)));
        let escape = tar(&[file("../../x", b"x")]);
        assert!(matches!(import(&escape, &ImportRequest::default()), ImportError::Load(LoadError::Unpack { .. })));
        assert_eq!(crate::fixture::names(home.store.directory.as_path()), before);
    }

    #[test]
    fn a_layer_on_an_image_makes_another() {
        if not_root() {
            return;
        }
        let home = Home::new();
        let base = SampleImage::new(&[tar(&[file("base", b"base")])], gzip);
        home.load(&archive(&docker_files(&[(&base, &["base"])]))).unwrap();
        let parent = home.store.resolve("base").unwrap();
        let make = |text: &[u8], name: Option<&str>| {
            let request = MakeRequest {
                name: name.map(|name| name.parse().unwrap()),
                config: ImageConfig { cmd: vec!["new".into()], ..parent.config.clone() },
                author: "me".into(),
                comment: "changed".into(),
                created_by: "sh".into(),
            };
            home.store.make_on(&parent, tar(&[file("top", text)]).as_slice(), &request).unwrap()
        };
        let id = make(b"top", Some("derived:1"));
        let image = home.store.resolve("derived:1").unwrap();
        assert_eq!((image.id, image.parent.as_ref()), (id.clone(), Some(&base.id())));
        assert_eq!((image.layers.len(), image.size, image.author.as_deref()), (2, 7, Some("me")));
        assert_eq!(fs::read(home.store.layer_dir(&image.layers[1]).join("top")).unwrap(), b"top");
        let history = home.store.history("derived:1").unwrap();
        let row = &history[0];
        assert_eq!((row.id.as_ref(), row.created_by.as_str(), row.size), (Some(&id), "sh", 3));
        assert_eq!(row.tags.len(), 1);
        // The base may lose its name and go: its layer is the other's too.
        home.store.remove("base", true, &Users::default()).unwrap();
        assert!(home.store.layer_dir(&base.diff_id(0)).exists());
        let mut saved = Vec::new();
        home.store.save(&["derived"], &mut saved).unwrap();
        assert_eq!(Home::new().load(&saved).unwrap()[0].id, id);
        let gone = home.store.make_on(
            &Image { layers: vec![crate::hash::digest_of(b"no layer")], ..parent.clone() },
            tar(&[]).as_slice(),
            &MakeRequest::default(),
        );
        assert!(matches!(gone, Err(ImportError::Base(ResolveError::NotFound { .. }))));
    }

    #[test]
    fn an_image_that_others_stand_on_is_shown_only_when_asked() {
        if not_root() {
            return;
        }
        let home = Home::new();
        let bottom = home.store.import(tar(&[file("a", b"a")]).as_slice(), &ImportRequest::default()).unwrap();
        let parent = home.store.resolve(&bottom.to_string()).unwrap();
        let top = MakeRequest { name: Some("top".parse().unwrap()), ..MakeRequest::default() };
        home.store.make_on(&parent, tar(&[file("b", b"b")]).as_slice(), &top).unwrap();
        let count = |filter: ListFilter| home.store.list(&filter).unwrap().len();
        assert_eq!(count(ListFilter::default()), 1);
        assert_eq!(count(ListFilter { all: true, ..ListFilter::default() }), 2);
        assert_eq!(count(ListFilter { dangling: Some(true), ..ListFilter::default() }), 0);
        let pruned = home.store.prune(&crate::PruneFilter::default(), &Users::default()).unwrap();
        assert_eq!(pruned.removed.len(), 0, "others stand on it");
    }
}
