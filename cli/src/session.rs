//! What every verb works with: printer, local store, registry client, the user's interrupt.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_cache::{CacheIndex, FsCacheIndex};
use rbuild_image::Digest;
use rbuild_registry_client::docker_config::{ConfigPaths, DockerConfig};
use rbuild_registry_client::{Blocking, Client, ClientConfig, HostRules};
use rbuild_store::local::{Area, Found, ImageRecord, Live, LocalStore, Lookup, Root, Tenant};

use crate::args::GlobalArgs;
use crate::exit::{Doing, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::printer::Printer;
use crate::sandbox;

/// The surroundings of one command.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Writes for the user.
    pub(crate) printer: Printer,
    /// Tells when the user wants it to end.
    pub(crate) interrupt: Interrupt,
    global: GlobalArgs,
}

impl Session {
    pub(crate) const fn new(printer: Printer, interrupt: Interrupt, global: GlobalArgs) -> Self {
        Self {
            printer,
            interrupt,
            global,
        }
    }

    /// Opens the local store.
    pub(crate) fn store(&self) -> Outcome<LocalStore> {
        let root = self.root()?;
        LocalStore::open(&root).map_err(|error| {
            let failure = Failure::io(
                format!("cannot open the local store in `{}`", root.display()),
                &error,
            );
            match error.kind() {
                io::ErrorKind::PermissionDenied => failure
                    .hint("it belongs to another user; choose another directory with `--root DIR`"),
                _ => failure,
            }
        })
    }

    fn root(&self) -> Outcome<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(root) = &self.global.root {
            return Ok(root.clone());
        }
        if let Some(root) = variable("RBUILD_ROOT") {
            return Ok(root.into());
        }
        // The XDG rules: a relative path counts as not set.
        let data = variable("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".local/share")));
        data.map(|data| data.join("rbuild")).ok_or_else(|| {
            Failure::unable("there is no place for the local store: `HOME` is not set")
                .hint("choose a directory with `--root DIR` or `RBUILD_ROOT`")
        })
    }

    /// A client for registries, with the user's credentials and rules.
    pub(crate) fn registry(&self) -> Outcome<Blocking> {
        let mut config = ClientConfig::new(Arc::new(self.credentials()));
        config.hosts = self.host_rules()?;
        Blocking::new(Client::new(config)).doing(|| "cannot start the registry client")
    }

    /// Shows what registries have warned of; once nothing else is being drawn.
    pub(crate) fn show_warnings(&self, client: &Blocking) {
        for warning in client.client().take_warnings() {
            self.printer.warning(&warning.to_string());
        }
    }

    /// Where credentials are kept.
    pub(crate) fn credentials(&self) -> DockerConfig {
        let chosen = self.global.config.clone();
        DockerConfig::new(ConfigPaths::from_env(|name| match (name, &chosen) {
            ("DOCKER_CONFIG", Some(directory)) => Some(directory.clone().into_os_string()),
            _ => std::env::var_os(name),
        }))
    }

    fn host_rules(&self) -> Outcome<HostRules> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let user = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")))
            .map(|config| config.join("rbuild/registries.toml"))
            .filter(|path| path.exists());
        let path = user.unwrap_or_else(|| PathBuf::from("/etc/rbuild/registries.toml"));
        let rules = HostRules::load(&path).map_err(|error| {
            Failure::unable("cannot use the rules for registries").caused_by(&error)
        })?;
        Ok(if self.global.tls_verify {
            rules
        } else {
            rules.insecure_everywhere()
        })
    }

    /// The image that the user means by a name or an id.
    pub(crate) fn find(store: &LocalStore, text: &str) -> Outcome<Found> {
        match store
            .find(text)
            .doing(|| format!("cannot look up `{text}`"))?
        {
            Lookup::Found(found) => Ok(*found),
            Lookup::Ambiguous(ids) => {
                let ids: Vec<String> = ids.iter().map(Digest::short).collect();
                Err(
                    Failure::input(format!("`{text}` is the beginning of several image ids"))
                        .hint(format!("give more digits of one of {}", ids.join(", "))),
                )
            }
            Lookup::Missing => Err(Self::not_found(store, text)),
        }
    }

    fn not_found(store: &LocalStore, text: &str) -> Failure {
        let failure = Failure::input(format!("there is no image `{text}` in the local store"));
        let names: Vec<String> = store
            .names()
            .unwrap_or_default()
            .into_iter()
            .filter(|(reference, _)| reference.digest.is_none())
            .map(|(reference, _)| reference.familiar())
            .collect();
        match rbuild_parser::suggest(text, names.iter().map(String::as_str)) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => {
                failure.hint("`rbuild images` lists what is there, `rbuild pull` fetches an image")
            }
        }
    }

    /// Who keeps things in the store besides images: the builder.
    pub(crate) fn tenant(&self, store: &LocalStore, cache: BuildCache) -> Builder {
        Builder {
            cache,
            printer: self.printer,
            index: FsCacheIndex::open(store.dir(Area::Cache)),
            store: store.clone(),
            interrupt: self.interrupt.clone(),
        }
    }
}

/// Manifest and config of an image.
#[derive(Debug)]
pub(crate) struct Documents {
    /// The manifest.
    pub(crate) manifest: rbuild_image::Raw<rbuild_image::Manifest>,
    /// The config.
    pub(crate) config: rbuild_image::Raw<rbuild_image::ImageConfig>,
}

/// Reads manifest and config of an image that is recorded.
pub(crate) fn documents(store: &LocalStore, image: &ImageRecord) -> Outcome<Documents> {
    let id = image.image_id.short();
    let damaged = || {
        Failure::unable(format!(
            "image `{id}` is damaged: its manifest or config is missing"
        ))
        .hint("build, pull or load it again")
    };
    let reading = || format!("cannot read image `{id}`");
    Ok(Documents {
        manifest: store
            .manifest(&image.descriptor.digest)
            .doing(reading)?
            .ok_or_else(damaged)?,
        config: store
            .config(&image.image_id)
            .doing(reading)?
            .ok_or_else(damaged)?,
    })
}

/// The builder, as one who keeps things in the store: its cache keeps layers alive, its snapshots are derived from layers.
#[derive(Debug)]
pub(crate) struct Builder {
    cache: BuildCache,
    index: FsCacheIndex,
    store: LocalStore,
    interrupt: Interrupt,
    printer: Printer,
}

/// What becomes of the build cache in a prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuildCache {
    /// It stays, and keeps its layers.
    Keep,
    /// It goes, cache mounts included.
    Remove,
}

impl Builder {
    /// Empties the area of the cache; the next build runs every step.
    fn remove_cache(&self) -> io::Result<u64> {
        let before = self.store.area_usage(Area::Cache)?;
        for entry in std::fs::read_dir(self.store.dir(Area::Cache))? {
            let path = entry?.path();
            if let Err(error) = std::fs::remove_dir_all(&path) {
                // Rootless builds leave files of subordinate ids in cache mounts.
                self.printer.warning(&format!(
                    "cannot remove all of `{}`: {error}",
                    path.display()
                ));
            }
        }
        let after = self.store.area_usage(Area::Cache)?;
        Ok(before.bytes.saturating_sub(after.bytes))
    }
}

impl Tenant for Builder {
    fn roots(&self, keep: &mut dyn FnMut(Root)) -> io::Result<()> {
        if self.cache == BuildCache::Remove {
            return Ok(());
        }
        self.index.walk(&mut |_, record| {
            if let Some(layer) = record.layer {
                keep(Root::Layer(layer.diff_id));
            }
        })
    }

    fn sweep(&self, live: &Live) -> io::Result<u64> {
        let from_cache = match self.cache {
            BuildCache::Keep => 0,
            BuildCache::Remove => self.remove_cache()?,
        };
        Ok(from_cache + self.sweep_snapshots(live)?)
    }
}

impl Builder {
    /// Removes the unpacked layers that are not alive.
    fn sweep_snapshots(&self, live: &Live) -> io::Result<u64> {
        let snapshots = self.store.dir(Area::Snapshots);
        if std::fs::read_dir(&snapshots)?.next().is_none() {
            return Ok(0);
        }
        let before = self.store.area_usage(Area::Snapshots)?;
        let layers = live.layers().map(|layer| layer.0);
        let keep = layers.chain(live.chains().map(|chain| chain.digest()));
        // Unpacked layers may belong to subordinate ids, so the sandbox removes them.
        sandbox::executor(&self.store)
            .sweep_snapshots(keep.collect(), self.interrupt.watch())
            .map_err(io::Error::other)?;
        let after = self.store.area_usage(Area::Snapshots)?;
        Ok(before.bytes.saturating_sub(after.bytes))
    }
}
