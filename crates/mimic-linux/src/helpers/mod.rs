//! Linux's helpers. Each family's file holds rows with their functions; here they become one table, dense by number.

mod btf_show;
mod cgroup;
mod csum;
pub(crate) mod dynptr;
mod fib;
mod format;
mod hdr_opt;
mod kptr;
mod loop_;
mod lsm;
mod lwt;
mod map;
mod perf;
pub(crate) mod print;
mod probe;
mod rc;
mod redirect;
mod ringbuf;
mod row;
mod seq;
mod sk_cast;
mod sk_lookup;
mod skb;
mod sock;
mod sockmap;
mod sockopt;
pub(crate) mod spin;
mod stack;
mod storage;
mod string;
mod syncookie;
mod sys;
mod sysctl;
pub(crate) mod task;
mod time;
pub(crate) mod timer;
mod tracing;
mod tunnel;
mod xdp;

pub(crate) use skb::skb;

use mimic_vm::Helper;

/// The families. A number is in exactly one.
const FAMILIES: &[&[Helper]] = &[
    cgroup::ROWS,
    csum::ROWS,
    dynptr::ROWS,
    fib::ROWS,
    hdr_opt::ROWS,
    kptr::ROWS,
    loop_::ROWS,
    lsm::ROWS,
    lwt::ROWS,
    map::ROWS,
    perf::ROWS,
    print::ROWS,
    probe::ROWS,
    rc::ROWS,
    redirect::ROWS,
    ringbuf::ROWS,
    seq::ROWS,
    skb::ROWS,
    sk_cast::ROWS,
    sk_lookup::ROWS,
    sock::ROWS,
    sockmap::ROWS,
    sockopt::ROWS,
    spin::ROWS,
    stack::ROWS,
    storage::ROWS,
    string::ROWS,
    syncookie::ROWS,
    sys::ROWS,
    sysctl::ROWS,
    task::ROWS,
    time::ROWS,
    timer::ROWS,
    tracing::ROWS,
    tunnel::ROWS,
    xdp::ROWS,
];

/// The highest number that Linux 6.18 has.
pub const ID_MAX: usize = 211;

/// Rows by number. **That each number has one row is checked when this is compiled.**
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
    let mut id = 1;
    while id <= ID_MAX {
        assert!(table[id].is_some(), "a number has no row");
        id += 1;
    }
    table
}
