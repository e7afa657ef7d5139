//! Objects that are larger than what is read at once.

use bytes::Bytes;
use strandline_object_store::{GetError, Objects, Purpose, crc32c};
use strandline_runtime::Runtime;
use strandline_types::limits;

#[tokio::test]
async fn an_object_is_read_piece_by_piece() {
    let objects = Objects::in_memory(&Runtime::system());
    let size = limits::STORE_PIECE_BYTES + 12_345;
    let bytes = Bytes::from((0..size).map(|at| (at % 251) as u8).collect::<Vec<u8>>());
    for (path, bytes) in [("large", bytes.clone()), ("small", bytes.slice(..7)), ("empty", Bytes::new())] {
        let chunks = vec![bytes.clone()];
        let crc = crc32c(&chunks);
        objects.put_new(Purpose::Snapshot, path, chunks, crc).await.unwrap();
        assert!(objects.get_in_pieces(Purpose::Snapshot, path, size).await.unwrap() == bytes, "{path}");
    }
    let refused = objects.get_in_pieces(Purpose::Snapshot, "large", size - 1).await;
    assert!(matches!(refused, Err(GetError::TooLarge { limit, .. }) if limit == size - 1));
    assert!(objects.get_in_pieces(Purpose::Snapshot, "none", size).await.unwrap_err().is_not_found());
}
