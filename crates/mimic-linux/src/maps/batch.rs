//! Batch operations by repeated single ones, as most map types have them (bpf(2), `BPF_MAP_*_BATCH`).

use super::front::Ops;
use mimic_abi::Errno;
use mimic_vm::Batch;

/// Up to `count` elements after the key `cursor`, in the order of `next_key`. Keys without a value (empty slots) are passed over.
pub(super) fn lookup(ops: &impl Ops, value_len: usize, cursor: Option<&[u8]>, count: u32) -> Batch {
    let mut batch = Batch::default();
    let mut value = vec![0; value_len];
    let mut last = cursor.map(<[u8]>::to_vec);
    while batch.count < count {
        let key = match ops.next_key(last.as_deref()) {
            Ok(key) => key,
            Err(errno) => {
                batch.error = Some(errno);
                break;
            }
        };
        match ops.copy_out(&key, &mut value) {
            Ok(()) => {
                batch.keys.extend_from_slice(&key);
                batch.values.extend_from_slice(&value);
                batch.count += 1;
            }
            Err(Errno::ENOENT) => {}
            Err(errno) => return Batch { error: Some(errno), ..Batch::default() },
        }
        last = Some(key);
    }
    if batch.count > 0 {
        batch.cursor = last.unwrap_or_default();
    }
    batch
}

/// Does each until one fails; answers how many were done.
pub(super) fn all<T>(
    items: impl Iterator<Item = T>,
    each: impl Fn(T) -> Result<(), Errno>,
) -> (u32, Result<(), Errno>) {
    let mut done = 0;
    for item in items {
        if let Err(errno) = each(item) {
            return (done, Err(errno));
        }
        done += 1;
    }
    (done, Ok(()))
}
