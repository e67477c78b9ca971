//! Folders of files as a whole: made read-only and put into place once, or taken away whatever their modes are.
//! What is in them was made by packages' own code, so nothing of it is followed or trusted to be shallow.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use nix::unistd::{geteuid, syncfs};

/// Puts a finished folder into its place: everything read-only and ours, on the disk, then renamed. If the place is
/// taken, what is there stays and the new folder is removed; that is success too.
///
/// # Errors
/// The disk's, or a tree that is too deep; the new folder is still where it was.
pub fn seal(tmp: &Path, target: &Path) -> io::Result<()> {
    let mut folders = vec![tmp.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            if geteuid().is_root() && meta.uid() != 0 {
                std::os::unix::fs::lchown(&path, Some(0), Some(0))?;
            }
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_file() {
                fs::set_permissions(&path, Permissions::from_mode(0o444 | (meta.mode() & 0o111)))?;
            }
        }
        // The folder that is renamed stays writable until then.
        if folder != tmp {
            fs::set_permissions(&folder, Permissions::from_mode(0o555))?;
        }
    }
    syncfs(File::open(tmp)?)?;
    match fs::rename(tmp, target) {
        Ok(()) => {}
        Err(_) if target.is_dir() => return remove_tree(tmp),
        Err(error) => return Err(error),
    }
    if geteuid().is_root() {
        std::os::unix::fs::lchown(target, Some(0), Some(0))?;
    }
    fs::set_permissions(target, Permissions::from_mode(0o555))?;
    match target.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a folder and all below it, however deep and whatever may be written. Nothing there is success.
///
/// # Errors
/// The disk's, or files of another account.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    // Folders are moved up to the root before they are emptied, so no path grows and nothing recurses.
    let mut moved: u64 = 0;
    open_up(path)?;
    loop {
        let mut empty = true;
        for entry in fs::read_dir(path)? {
            empty = false;
            let child = entry?.path();
            if !fs::symlink_metadata(&child)?.is_dir() {
                fs::remove_file(&child)?;
                continue;
            }
            open_up(&child)?;
            for entry in fs::read_dir(&child)? {
                let grandchild = entry?.path();
                if !fs::symlink_metadata(&grandchild)?.is_dir() {
                    fs::remove_file(&grandchild)?;
                    continue;
                }
                open_up(&grandchild)?;
                loop {
                    moved += 1;
                    match fs::rename(&grandchild, path.join(format!(".removed-{moved}"))) {
                        Ok(()) => break,
                        // A name that is taken already: another one.
                        Err(error)
                            if matches!(
                                error.kind(),
                                io::ErrorKind::DirectoryNotEmpty
                                    | io::ErrorKind::NotADirectory
                                    | io::ErrorKind::AlreadyExists
                            ) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            fs::remove_dir(&child)?;
        }
        if empty {
            return fs::remove_dir(path);
        }
    }
}

fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}
