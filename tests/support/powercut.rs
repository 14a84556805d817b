//! A disk of our own whose power can be cut.
//!
//! An ext4 file system in an image file, mounted through a loop device. [`LoopDisk::cut_power`] shuts the file system
//! down the way a power failure does: nothing that was not synced reaches the image any more, not even the journal.
//! After that: kill the processes that use it, [`LoopDisk::restore_power`] (umount, mount: the journal is replayed),
//! and look at what is left.
//!
//! Needs root, `mkfs.ext4`, and perl or python3 for the one ioctl that no safe wrapper covers. Without them
//! [`LoopDisk::new`] prints one clear line and returns `None`; with `LASTSEAT_NO_SKIP=1` it panics instead, so that a
//! test run that is meant to cover this cannot pass without it.
//!
//! Include it from a test target with `#[path = "support/powercut.rs"] mod powercut;`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long `umount` may be refused because a killed process still lets go of its files.
const UMOUNT_PATIENCE: Duration = Duration::from_secs(10);

/// Same call in two languages: ioctl(dir, EXT4_IOC_SHUTDOWN = 0x8004587d, EXT4_GOING_FLAGS_NOLOGFLUSH = 2).
const PERL_CUT: &str = r#"sysopen(my $d, $ARGV[0], 0) or die "open: $!"; my $f = pack("L", 2); ioctl($d, 0x8004587d, $f) or die "ioctl: $!""#;
const PYTHON_CUT: &str = "import fcntl,os,struct,sys; \
     fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// A mounted loop file system. Dropping it unmounts it and removes the image: only what this guard made.
pub struct LoopDisk {
    folder: tempfile::TempDir,
    mounted: bool,
}

impl LoopDisk {
    /// Makes and mounts an ext4 of `mib` MiB. `None` (after one printed line) when this machine cannot.
    pub fn new(mib: u64) -> Option<Self> {
        match Self::make(mib) {
            Ok(disk) => Some(disk),
            Err(why) => {
                skipped(&why);
                None
            }
        }
    }

    fn make(mib: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root to mount a loop device".into());
        }
        let folder = tempfile::Builder::new().prefix("lastseat-powercut-").tempdir().map_err(|e| e.to_string())?;
        let mut disk = Self { folder, mounted: false };
        File::create(disk.image()).and_then(|f| f.set_len(mib << 20)).map_err(|e| e.to_string())?;
        fs::create_dir(disk.mount_point()).map_err(|e| e.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(disk.image()))?;
        disk.mount()?;
        // Rehearse once: a kernel or sandbox without the ioctl must skip the test, not fail it half way.
        let rehearsal = disk.shutdown();
        disk.umount()?;
        rehearsal?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }

    fn mount_point(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    /// Root of the file system under test.
    pub fn path(&self) -> PathBuf {
        self.mount_point()
    }

    /// From now on nothing reaches the disk; writes and syncs fail.
    pub fn cut_power(&self) {
        self.shutdown().expect("cutting the power worked at the rehearsal");
    }

    /// Unmounts and mounts again. Whoever used the file system must be dead (waited for) by now.
    pub fn restore_power(&mut self) {
        self.umount().expect("nobody uses the file system any more");
        self.mount().expect("a file system that lost power can be mounted again");
    }

    fn shutdown(&self) -> Result<(), String> {
        let point = self.mount_point();
        run(Command::new("perl").args(["-e", PERL_CUT]).arg(&point))
            .or_else(|perl| {
                run(Command::new("python3").args(["-c", PYTHON_CUT]).arg(&point)).map_err(|py| format!("{perl}; {py}"))
            })
            .map_err(|e| format!("cannot shut the file system down: {e}"))
    }

    fn mount(&mut self) -> Result<(), String> {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(self.image()).arg(self.mount_point()))?;
        self.mounted = true;
        Ok(())
    }

    fn umount(&mut self) -> Result<(), String> {
        let give_up = Instant::now() + UMOUNT_PATIENCE;
        loop {
            match run(Command::new("umount").arg(self.mount_point())) {
                Ok(()) => break,
                Err(e) if Instant::now() > give_up => return Err(e),
                Err(_) => sleep(Duration::from_millis(20)),
            }
        }
        self.mounted = false;
        Ok(())
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.mounted
            && let Err(e) = self.umount()
        {
            say(&format!("left mounted: {}: {e}", self.mount_point().display()));
            // Removing the folder would now delete through the mount point.
            self.folder.disable_cleanup(true);
        }
    }
}

/// Says that a test did not run, past the capture of the test runner.
pub fn skipped(why: &str) {
    assert!(std::env::var_os("LASTSEAT_NO_SKIP").is_none(), "must not be skipped here: {why}");
    say(&format!("SKIPPED power cut test: {why}"));
}

/// One line on the real stderr; `eprintln!` would vanish in a test that passes.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = Path::new(command.get_program()).display().to_string();
    let out = command.stdin(Stdio::null()).output().map_err(|e| format!("{program}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim()))
}
