//! Linux's helpers. Each family's file holds rows with their functions; here they become one table, dense by number.

mod map;
mod time;

use mimic_vm::Helper;

/// The families. A number is in exactly one.
const FAMILIES: &[&[Helper]] = &[map::ROWS, time::ROWS];

/// The highest number that Linux 6.18 has.
pub const ID_MAX: usize = 211;

/// Rows by number.
static TABLE: [Option<&Helper>; ID_MAX + 1] = table();

/// The helper of this number.
#[inline]
pub fn by_id(id: u32) -> Option<&'static Helper> {
    *TABLE.get(id as usize)?
}

/// All helpers, by rising number.
pub fn all() -> impl Iterator<Item = &'static Helper> {
    TABLE.iter().copied().flatten()
}

const fn table() -> [Option<&'static Helper>; ID_MAX + 1] {
    let mut table: [Option<&'static Helper>; ID_MAX + 1] = [None; ID_MAX + 1];
    let mut family = 0;
    while family < FAMILIES.len() {
        let rows = FAMILIES[family];
        let mut row = 0;
        while row < rows.len() {
            let id = rows[row].spec.id as usize;
            assert!(table[id].is_none(), "two rows have the same number");
            table[id] = Some(&rows[row]);
            row += 1;
        }
        family += 1;
    }
    table
}
