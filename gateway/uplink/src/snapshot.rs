//! Snapshots down the wire: resumed where they broke off, handed on whole (SPEC 15.12).
//!
//! A snapshot on its way lies in `HASH.part`, made durable piece by piece, and becomes `HASH.snapshot` when it is whole and has
//! the hash that the hub named. The journal's side verifies its signature, keeps its own copy and says the result; then the
//! file is removed. Nothing else stands in the folder.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kalitka_protocol::upstream::{SnapshotHead, SnapshotResult, SnapshotWanted, kind};
use quinn::{RecvStream, SendStream};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt;

use crate::connection::Context;
use crate::end::End;
use crate::limits::{SNAPSHOT_DISK_RESERVE, SNAPSHOT_PIECE_BYTES, SNAPSHOT_SYNC_BYTES};
use crate::port::Request;
use crate::tally::Tally;
use crate::wire::{self, Message};

/// The result when the gateway could not write it, or it had another hash; the hub may offer it again (SPEC 15.12).
const NOT_KEPT: u8 = 34;
const WANTED_LEN: usize = 16;
const RESULT_LEN: usize = 8;

/// Takes the snapshot that `first` offers, and says what became of it.
pub(crate) async fn serve(
    context: &Context,
    first: &Message,
    receive: &mut RecvStream,
    mut send: SendStream,
) -> Result<(), End> {
    let head = SnapshotHead::parse(&first.body).map_err(|why| End::unparsed("a snapshot", why))?;
    let place = Place::of(&context.options.snapshots, &head);
    let result = match take(context, &head, &place, receive, &mut send).await {
        Ok(()) => {
            let file = place.whole.clone();
            let request = |reply| Request::Snapshot { file: file.clone(), generation: head.generation, reply };
            let result = context.port.ask("a snapshot", request).await?;
            // It lies with the adopter now, or is refused for good. A file that stays is cleared away by the next snapshot.
            let _ = fs::remove_file(&place.whole).await;
            result
        }
        Err(Failed::Connection(end)) => return Err(end),
        Err(Failed::Here(why)) => {
            // A leftover would keep a full disk full.
            let _ = fs::remove_file(&place.part).await;
            tracing::error!(generation = head.generation, folder = %place.folder.display(), why, "a snapshot is not kept");
            NOT_KEPT
        }
    };
    let result = SnapshotResult { generation: head.generation, result };
    wire::send(&mut send, kind::SNAPSHOT_RESULT, RESULT_LEN, |out| result.emit(out)).await?;
    // The hub has ended the stream itself: it has what it wanted.
    let _ = send.finish();
    Ok(())
}

enum Failed {
    Connection(End),
    Here(String),
}

impl<E: Into<End>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Connection(error.into())
    }
}

fn here(error: impl std::fmt::Display) -> Failed {
    Failed::Here(error.to_string())
}

/// Where a snapshot lies.
struct Place {
    folder: PathBuf,
    part: PathBuf,
    whole: PathBuf,
}

impl Place {
    fn of(folder: &Path, head: &SnapshotHead) -> Self {
        let name = hex::encode(head.hash);
        let [part, whole] = ["part", "snapshot"].map(|ending| folder.join(format!("{name}.{ending}")));
        Self { folder: folder.to_path_buf(), part, whole }
    }
}

/// Brings the snapshot into its place, whole.
async fn take(
    context: &Context,
    head: &SnapshotHead,
    place: &Place,
    receive: &mut RecvStream,
    send: &mut SendStream,
) -> Result<(), Failed> {
    let begun = begin(head, place).await;
    // What cannot be taken is not wanted, which the hub must hear before the result.
    let wanted = SnapshotWanted { generation: head.generation, offset: *begun.as_ref().unwrap_or(&head.len) };
    wire::send(send, kind::SNAPSHOT_WANTED, WANTED_LEN, |out| wanted.emit(out)).await?;
    let has = begun.map_err(here)?;
    if has < head.len || !is_len(&place.whole, head.len).await {
        append(context, place, head.len - has, receive).await?;
        settle(place, head).await?;
        Tally::add(&context.tally.snapshots, 1);
    }
    if receive.read(&mut [0]).await?.is_some() {
        return Err(End::malformed("a snapshot", "bytes are left over behind the file").into());
    }
    Ok(())
}

/// Makes the place ready; gives how many bytes are here already.
async fn begin(head: &SnapshotHead, place: &Place) -> io::Result<u64> {
    fs::create_dir_all(&place.folder).await?;
    clear(place).await?;
    let has = if is_len(&place.whole, head.len).await { head.len } else { part_len(place, head.len).await? };
    need_disk(&place.folder, head.len - has)?;
    Ok(has)
}

/// Refuses `more` bytes that would leave the outbox, which may be on the same disk, without room.
fn need_disk(folder: &Path, more: u64) -> io::Result<()> {
    let disk = rustix::fs::statvfs(folder)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let is_room = more == 0 || free >= more.saturating_add(SNAPSHOT_DISK_RESERVE);
    if is_room { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

/// Removes what an earlier snapshot has left.
async fn clear(place: &Place) -> io::Result<()> {
    let mut entries = fs::read_dir(&place.folder).await?;
    while let Some(entry) = entries.next_entry().await? {
        let path = entry.path();
        if path != place.part && path != place.whole {
            fs::remove_file(&path).await?;
        }
    }
    Ok(())
}

async fn is_len(path: &Path, len: u64) -> bool {
    fs::metadata(path).await.is_ok_and(|found| found.len() == len)
}

/// Bytes of the part that is here already; one that is too long is none of it.
async fn part_len(place: &Place, len: u64) -> io::Result<u64> {
    match fs::metadata(&place.part).await {
        Ok(found) if found.len() <= len => Ok(found.len()),
        Ok(_) => fs::remove_file(&place.part).await.map(|()| 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Appends the next `rest` bytes of the stream to the part.
async fn append(context: &Context, place: &Place, mut rest: u64, receive: &mut RecvStream) -> Result<(), Failed> {
    let options = OpenOptions::new().append(true).create(true).mode(0o600).open(&place.part).await;
    let mut file = options.map_err(here)?;
    let mut unsynced = 0;
    while rest > 0 {
        let most = usize::try_from(rest).unwrap_or(usize::MAX).min(SNAPSHOT_PIECE_BYTES);
        let piece = receive.read_chunk(most, true).await?;
        let piece = piece.ok_or_else(|| End::malformed("a snapshot", "the hub ended it before its end"))?;
        file.write_all(&piece.bytes).await.map_err(here)?;
        let len = piece.bytes.len() as u64;
        Tally::add(&context.tally.snapshot_bytes, len);
        (rest, unsynced) = (rest - len, unsynced + len);
        if unsynced >= SNAPSHOT_SYNC_BYTES {
            sync(&mut file).await?;
            unsynced = 0;
        }
    }
    sync(&mut file).await
}

async fn sync(file: &mut File) -> Result<(), Failed> {
    file.flush().await.map_err(here)?;
    file.sync_data().await.map_err(here)
}

/// Makes the part, which has its full length, the whole file, if it has the right hash. If not, nothing of it is kept.
async fn settle(place: &Place, head: &SnapshotHead) -> Result<(), Failed> {
    let part = place.part.clone();
    let hash = tokio::task::spawn_blocking(move || hash_of(&part));
    let hash = hash.await.map_err(|error| Failed::Here(error.to_string()))?.map_err(here)?;
    if hash != head.hash {
        fs::remove_file(&place.part).await.map_err(here)?;
        return Err(Failed::Here("it has not the hash that the hub named".into()));
    }
    fs::rename(&place.part, &place.whole).await.map_err(here)?;
    File::open(&place.folder).await.map_err(here)?.sync_all().await.map_err(here)
}

fn hash_of(file: &Path) -> io::Result<[u8; 32]> {
    let mut file = std::fs::File::open(file)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; SNAPSHOT_PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            len => {
                hasher.update(&piece[..len]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_for_which_the_disk_has_no_room_is_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(need_disk(folder.path(), u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
        need_disk(folder.path(), 1).unwrap();
        // What is here whole needs no room.
        need_disk(folder.path(), 0).unwrap();
    }
}
