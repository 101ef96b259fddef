//! What a vm process prepares before it knows its workspace: the engine, the code of the usual commands, and the image
//! of the usual software. A boot then only puts parts together.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use vm_api::{Problem, SoftwareRef, WorkspaceConfig};
use vm_wasm::{EngineOptions, GuestCodeCache, WasmDriver, WasmEngine};

use super::boot::{self, Grants, Vm};
use super::software_image::{self, Images, SoftwareImage};
use crate::software::{self, Catalog};

/// What a workspace gets that does not say otherwise: its image is built ahead.
const USUAL_SOFTWARE: &str = "common";
/// Folder beside the workspace's files, made by the supervisor, for programs compiled in the VM.
const GUEST_CODE: &str = "cwasm";
/// What it may hold.
const MAX_GUEST_CODE_BYTES: u64 = 256 << 20;

/// Why a vm process cannot run guests.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Software(#[from] software::Error),
    #[error("the engine: {0}")]
    Engine(#[from] vm_wasm::Error),
    #[error(transparent)]
    Image(#[from] software_image::Error),
    #[error("the engine could not be set up; the log above says why")]
    Panicked,
}

/// Everything that is prepared.
pub(crate) struct MachineRoom {
    driver: Arc<WasmDriver>,
    images: Images,
    usual: Vec<SoftwareRef>,
    grants: Grants,
    /// Guarded by itself; a leaf in the lock order.
    prepared: Mutex<Option<SoftwareImage>>,
}

impl MachineRoom {
    /// Prepares the engine and the software of a folder, for VMs with these grants.
    pub(crate) fn open(folder: &Path, grants: Grants) -> Result<Self, Error> {
        let catalog = Catalog::open(folder)?;
        let usual = vec![SoftwareRef { name: USUAL_SOFTWARE.to_owned(), version: None }];
        let path = catalog.folder().to_owned();
        // Two things that take milliseconds, side by side: a process that is started for a boot is waited for.
        let (driver, images) = std::thread::scope(|scope| {
            let driver = scope.spawn(|| WasmDriver::open(WasmEngine::new(&EngineOptions::default())?, &path));
            let images = Images::open(catalog).map(|images| {
                // A software folder without the usual package is fine.
                let prepared = images.build(&usual).ok();
                (images, prepared)
            });
            (driver.join(), images)
        });
        let driver = driver.map_err(|_| Error::Panicked)??;
        let (images, prepared) = images?;
        Ok(Self { driver: Arc::new(driver), images, usual, grants, prepared: Mutex::new(prepared) })
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        self.images.catalog()
    }

    /// Prepares once more what a rehearsal took.
    pub(super) fn prepare_again(&self) {
        let image = self.images.build(&self.usual).ok();
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = image;
    }

    /// Loads the shell, which nearly every first command needs. For another thread, while a process that is wanted at
    /// once is given its workspace.
    pub(super) fn load_shell(&self) {
        let shell = {
            let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
            prepared.as_ref().and_then(|image| image.shell)
        };
        if let Some(Err(error)) = shell.map(|shell| self.driver.prewarm(&[shell.0])) {
            tracing::debug!(%error, "the shell is loaded when it is first run");
        }
    }

    /// Boots a workspace's VM.
    pub(crate) fn boot(&self, uid: &str, config: &WorkspaceConfig) -> Result<Vm, Problem> {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
        let software = match prepared {
            Some(image) if config.software == self.usual => image,
            _ => self.images.build(&config.software)?,
        };
        boot::boot(uid, config, &software, Arc::clone(&self.driver), &self.grants)
    }

    /// Keeps what is compiled for guests with the files of this workspace, if they are kept. It is the whole process's:
    /// whoever serves the workspace that the process is for asks for it, and no rehearsal.
    pub(super) fn keep_guest_code(&self, uid: &str) {
        if let Some(slot) = &self.grants.slot {
            let folder = slot.join(uid).join(GUEST_CODE);
            self.driver.keep_guest_code(GuestCodeCache::new(folder, MAX_GUEST_CODE_BYTES));
        }
    }
}
