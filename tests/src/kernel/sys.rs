//! bpf(2) and the few other system calls the oracle needs, as safe functions over slices and owned descriptors.
//!
//! Beside `canary.rs` the only file of the tests with unsafe code. It knows the layouts of `union bpf_attr` (linux/bpf.h) and of
//! `struct perf_event_attr`, and sees to it that every buffer handed to the kernel is as long as the kernel takes it
//! to be. It knows nothing of what the commands mean: `map.rs`, `prog.rs` and `ring.rs` do.

#![allow(unsafe_code, reason = "system calls")]

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use mimic_abi::Errno;

/// The commands of bpf(2) that read one map element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadCmd {
    /// BPF_MAP_LOOKUP_ELEM.
    Lookup = 1,
    /// BPF_MAP_GET_NEXT_KEY.
    NextKey = 4,
    /// BPF_MAP_LOOKUP_AND_DELETE_ELEM.
    LookupAndDelete = 21,
}

/// The batched commands of bpf(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchCmd {
    /// BPF_MAP_LOOKUP_BATCH.
    Lookup = 24,
    /// BPF_MAP_LOOKUP_AND_DELETE_BATCH.
    LookupAndDelete = 25,
    /// BPF_MAP_UPDATE_BATCH.
    Update = 26,
    /// BPF_MAP_DELETE_BATCH.
    Delete = 27,
}

/// What BPF_MAP_CREATE is asked for. Sizes are in bytes, as in `union bpf_attr`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapAttr {
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries, or bytes of a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub map_flags: u32,
    /// Descriptor of the template of a map of maps; 0 for none.
    pub inner_map_fd: RawFd,
    /// `BPF_F_NUMA_NODE`'s node.
    pub numa_node: u32,
    /// At most 15 bytes of it count.
    pub name: String,
    /// Descriptor of the BTF that the type ids are in; 0 for none.
    pub btf_fd: RawFd,
    /// BTF type id of the key.
    pub btf_key_type_id: u32,
    /// BTF type id of the value.
    pub btf_value_type_id: u32,
    /// The type's own extra word (bloom filters: hash functions).
    pub map_extra: u64,
}

/// What BPF_PROG_LOAD is asked for.
#[derive(Clone, Debug, Default)]
pub struct ProgAttr<'a> {
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// Instruction slots as they lie in memory.
    pub insns: &'a [u8],
    /// The licence's name, without the NUL.
    pub license: &'a str,
    /// 0 none, 1 the path, 2 each state, 4 statistics.
    pub log_level: u32,
    /// `BPF_F_*`.
    pub prog_flags: u32,
    /// At most 15 bytes of it count.
    pub name: &'a str,
    /// `enum bpf_attach_type`, or 0.
    pub expected_attach_type: u32,
    /// Descriptor of the program's BTF; 0 for none.
    pub btf_fd: RawFd,
    /// `struct bpf_func_info` records of 8 bytes.
    pub func_info: &'a [u8],
    /// `struct bpf_line_info` records of 16 bytes.
    pub line_info: &'a [u8],
    /// BTF type id (in the kernel's BTF) of what it attaches to; 0 for none.
    pub attach_btf_id: u32,
    /// Descriptor of the program it attaches to, or of the module's BTF; 0 for none.
    pub attach_fd: RawFd,
    /// Descriptors that instructions refer to by index.
    pub fd_array: &'a [RawFd],
}

/// What BPF_PROG_TEST_RUN is asked for. `None` and a size of 0 are passed as NULL.
#[derive(Clone, Debug, Default)]
pub struct TestRunAttr<'a> {
    /// The packet.
    pub data_in: Option<&'a [u8]>,
    /// Room for the packet afterwards, in bytes.
    pub data_size_out: u32,
    /// The context.
    pub ctx_in: Option<&'a [u8]>,
    /// Room for the context afterwards, in bytes.
    pub ctx_size_out: u32,
    /// How often to run; 0 is 1.
    pub repeat: u32,
    /// `BPF_F_TEST_*`.
    pub flags: u32,
    /// The CPU, with BPF_F_TEST_RUN_ON_CPU.
    pub cpu: u32,
    /// Frames a batch, with BPF_F_TEST_XDP_LIVE_FRAMES.
    pub batch_size: u32,
}

/// What BPF_PROG_TEST_RUN answered. With an errno the rest is what the kernel wrote before it, if anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestRunAnswer {
    /// 0 or a positive errno.
    pub errno: i32,
    /// r0's low half.
    pub retval: u32,
    /// The packet afterwards, as much of it as there was room for.
    pub data_out: Vec<u8>,
    /// The packet's whole length afterwards.
    pub data_size_out: u32,
    /// The context afterwards.
    pub ctx_out: Vec<u8>,
    /// The context's whole length afterwards.
    pub ctx_size_out: u32,
    /// `ctx_in`'s buffer afterwards: syscall programs answer there.
    pub ctx_in_after: Vec<u8>,
    /// Nanoseconds a run, on average.
    pub duration_ns: u32,
}

/// An owned map descriptor that knows how long the kernel takes its keys and values to be.
#[derive(Debug)]
pub struct MapFd {
    fd: OwnedFd,
    attr: MapAttr,
    value_len: usize,
}

/// A shared mapping of a map or of a perf event, unmapped when dropped. All accesses are bounds-checked.
#[derive(Debug)]
pub struct Mapping {
    ptr: *mut u8,
    len: usize,
    writable: bool,
}

/// `union bpf_attr` in the making. Shorter than any kernel's since 5.18, and zero-filled as the kernel demands.
#[repr(C, align(8))]
struct Attr([u8; ATTR_LEN]);

const ATTR_LEN: usize = 152;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const PROG_LOAD: u32 = 5;
const PROG_TEST_RUN: u32 = 10;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const BTF_LOAD: u32 = 18;
const MAP_FREEZE: u32 = 22;
const PROG_BIND_MAP: u32 = 35;

impl MapFd {
    /// BPF_MAP_CREATE. `percpu` is how many values of 8-byte stride one lookup moves (0 for a map that isn't per-CPU).
    pub fn create(attr: &MapAttr, percpu: usize) -> Result<MapFd, Errno> {
        let mut words = Attr::zeroed();
        for (at, word) in [attr.map_type, attr.key_size, attr.value_size, attr.max_entries, attr.map_flags]
            .iter()
            .enumerate()
        {
            words.u32(4 * at, *word);
        }
        words.fd(20, attr.inner_map_fd);
        words.u32(24, attr.numa_node);
        words.name(28, &attr.name);
        words.fd(48, attr.btf_fd);
        words.u32(52, attr.btf_key_type_id);
        words.u32(56, attr.btf_value_type_id);
        words.u64(64, attr.map_extra);
        // SAFETY: BPF_MAP_CREATE reads nothing but the attributes.
        let fd = unsafe { words.call(0)? };
        let value_size = attr.value_size as usize;
        let value_len = if percpu == 0 { value_size } else { value_size.next_multiple_of(8) * percpu };
        Ok(MapFd { fd: owned(fd), attr: attr.clone(), value_len })
    }

    /// What it was created with.
    pub fn attr(&self) -> &MapAttr {
        &self.attr
    }

    /// Bytes of a key.
    pub fn key_len(&self) -> usize {
        self.attr.key_size as usize
    }

    /// Bytes of a value as bpf(2) moves it: all CPUs' of a per-CPU map.
    pub fn value_len(&self) -> usize {
        self.value_len
    }

    /// A command that reads: the value, or for `NextKey` the next key, into `out`.
    ///
    /// # Panics
    /// When `key` or `out` is not of the map's length.
    pub fn read(&self, cmd: ReadCmd, key: Option<&[u8]>, out: &mut [u8], flags: u64) -> Result<(), Errno> {
        let expected = if cmd == ReadCmd::NextKey { self.key_len() } else { self.value_len };
        assert_eq!(out.len(), expected, "the buffer's length for {cmd:?}");
        let mut words = self.elem(key, flags);
        words.output(16, out);
        // SAFETY: key and buffer are as long as the kernel takes them to be, and the buffer is borrowed mutably.
        unsafe { words.call(cmd as u32).map(drop) }
    }

    /// BPF_MAP_UPDATE_ELEM.
    ///
    /// # Panics
    /// When `key` or `value` is not of the map's length.
    pub fn update(&self, key: Option<&[u8]>, value: &[u8], flags: u64) -> Result<(), Errno> {
        assert_eq!(value.len(), self.value_len, "the value's length");
        let mut words = self.elem(key, flags);
        words.input(16, value);
        // SAFETY: key and value are as long as the kernel takes them to be; it only reads them.
        unsafe { words.call(MAP_UPDATE_ELEM).map(drop) }
    }

    /// BPF_MAP_DELETE_ELEM.
    ///
    /// # Panics
    /// When `key` is not of the map's length.
    pub fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let mut words = self.elem(Some(key), 0);
        // SAFETY: the key is as long as the kernel takes it to be.
        unsafe { words.call(MAP_DELETE_ELEM).map(drop) }
    }

    /// One of the batch commands over `keys` and `values`, which must hold the same number of whole elements. `token` is
    /// where the last batch ended and where this one does. Answers the number of elements done, and the errno if any.
    pub fn batch(
        &self,
        cmd: BatchCmd,
        token: Option<&mut Vec<u8>>,
        keys: &mut [u8],
        values: &mut [u8],
        flags: u64,
    ) -> (u32, Result<(), Errno>) {
        let count = keys.len().checked_div(self.key_len()).unwrap_or(0);
        assert_eq!(keys.len(), count * self.key_len());
        let moves_values = cmd != BatchCmd::Delete;
        assert_eq!(values.len(), if moves_values { count * self.value_len } else { 0 });
        let token_len = self.key_len().max(8);
        let (mut from, mut next) = (Vec::new(), vec![0; token_len]);
        if let Some(token) = token.as_deref().filter(|token| !token.is_empty()) {
            from = token.clone();
            from.resize(token_len, 0);
        }
        let mut words = Attr::zeroed();
        words.input(0, &from);
        words.output(8, &mut next);
        words.output(16, keys);
        words.output(24, values);
        words.u32(32, count as u32);
        words.fd(36, self.as_raw_fd());
        words.u64(40, flags);
        // SAFETY: keys and values hold `count` elements (asserted above); a token is at most a key or 4 bytes long.
        let result = unsafe { words.call(cmd as u32).map(drop) };
        if let Some(token) = token {
            *token = next;
        }
        (words.read_u32(32), result)
    }

    /// BPF_MAP_FREEZE.
    pub fn freeze(&self) -> Result<(), Errno> {
        let mut words = Attr::zeroed();
        words.fd(0, self.as_raw_fd());
        // SAFETY: the command takes a descriptor only.
        unsafe { words.call(MAP_FREEZE).map(drop) }
    }

    fn elem(&self, key: Option<&[u8]>, flags: u64) -> Attr {
        let key = key.unwrap_or_default();
        assert!(key.is_empty() || key.len() == self.key_len(), "the key is not {} bytes", self.key_len());
        let mut words = Attr::zeroed();
        words.fd(0, self.as_raw_fd());
        words.input(8, key);
        words.u64(24, flags);
        words
    }
}

impl AsRawFd for MapFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Mapping {
    /// Maps `len` bytes of `fd` from `off`, shared.
    pub fn new(fd: RawFd, off: usize, len: usize, writable: bool) -> Result<Mapping, Errno> {
        let prot = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let ptr =
            unsafe { libc::mmap(std::ptr::null_mut(), len, prot, libc::MAP_SHARED, fd, off as libc::off_t) };
        if ptr == libc::MAP_FAILED {
            Err(last_errno())
        } else {
            Ok(Mapping { ptr: ptr.cast(), len, writable })
        }
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is mapped; never so.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The u64 at `off` (a multiple of 8), with acquire ordering.
    pub fn load(&self, off: usize) -> u64 {
        self.word(off).load(Ordering::Acquire)
    }

    /// Stores the u64 at `off` (a multiple of 8), with release ordering.
    pub fn store(&self, off: usize, value: u64) {
        assert!(self.writable, "the mapping is read-only");
        self.word(off).store(value, Ordering::Release);
    }

    /// Copies `len` bytes out from `off`.
    pub fn read(&self, off: usize, len: usize) -> Vec<u8> {
        assert!(off.checked_add(len).is_some_and(|end| end <= self.len), "outside of the mapping");
        // SAFETY: the range is inside the mapping; volatile since the kernel or a program may write it meanwhile.
        (off..off + len).map(|at| unsafe { self.ptr.add(at).read_volatile() }).collect()
    }

    /// Copies `bytes` in at `off`.
    pub fn write(&self, off: usize, bytes: &[u8]) {
        assert!(self.writable, "the mapping is read-only");
        assert!(off.checked_add(bytes.len()).is_some_and(|end| end <= self.len), "outside of the mapping");
        for (at, byte) in bytes.iter().enumerate() {
            // SAFETY: the range is inside the writable mapping; volatile since the kernel may read it meanwhile.
            unsafe { self.ptr.add(off + at).write_volatile(*byte) }
        }
    }

    fn word(&self, off: usize) -> &AtomicU64 {
        assert!(off.is_multiple_of(8) && off.checked_add(8).is_some_and(|end| end <= self.len));
        // SAFETY: in bounds and aligned (the mapping starts at a page); it lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.ptr.add(off).cast()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this very mapping, unmapped once; nothing borrowed from it outlives it.
        unsafe { libc::munmap(self.ptr.cast(), self.len) };
    }
}

// SAFETY: the mapping is shared memory accessed through volatile and atomic operations only.
unsafe impl Send for Mapping {}

/// BPF_PROG_LOAD. `log` receives the verifier's log when `log_level` is not 0; the log's text ends at its first NUL.
pub fn prog_load(attr: &ProgAttr<'_>, log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let license = CString::new(attr.license).map_err(|_| Errno::EINVAL)?;
    let mut words = Attr::zeroed();
    words.u32(0, attr.prog_type);
    words.u32(4, (attr.insns.len() / 8) as u32);
    words.input(8, attr.insns);
    words.input(16, license.as_bytes_with_nul());
    if attr.log_level != 0 {
        words.u32(24, attr.log_level);
        words.u32(28, log.len() as u32);
        words.output(32, log);
    }
    words.u32(44, attr.prog_flags);
    words.name(48, attr.name);
    words.u32(68, attr.expected_attach_type);
    words.fd(72, attr.btf_fd);
    if !attr.func_info.is_empty() {
        words.u32(76, 8);
        words.input(80, attr.func_info);
        words.u32(88, (attr.func_info.len() / 8) as u32);
    }
    if !attr.line_info.is_empty() {
        words.u32(92, 16);
        words.input(96, attr.line_info);
        words.u32(104, (attr.line_info.len() / 16) as u32);
    }
    words.u32(108, attr.attach_btf_id);
    words.fd(112, attr.attach_fd);
    if !attr.fd_array.is_empty() {
        words.u64(120, attr.fd_array.as_ptr() as u64);
    }
    // SAFETY: each pointer goes with its slice's own length; the kernel reads fd_array and copies it with fault
    // handling, so that an index past its end is an error or a wrong descriptor, and writes nothing there.
    let fd = unsafe { words.call(PROG_LOAD)? };
    Ok(owned(fd))
}

/// BPF_BTF_LOAD.
pub fn btf_load(btf: &[u8], log_level: u32, log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let mut words = Attr::zeroed();
    words.input(0, btf);
    words.u32(16, btf.len() as u32);
    if log_level != 0 {
        words.output(8, log);
        words.u32(20, log.len() as u32);
        words.u32(24, log_level);
    }
    // SAFETY: both pointers go with their slices' lengths.
    let fd = unsafe { words.call(BTF_LOAD)? };
    Ok(owned(fd))
}

/// BPF_PROG_BIND_MAP: the program keeps the map alive though no instruction names it.
pub fn prog_bind_map(prog: &OwnedFd, map: &MapFd) -> Result<(), Errno> {
    let mut words = Attr::zeroed();
    words.fd(0, prog.as_raw_fd());
    words.fd(4, map.as_raw_fd());
    // SAFETY: the command takes descriptors only.
    unsafe { words.call(PROG_BIND_MAP).map(drop) }
}

/// BPF_PROG_TEST_RUN.
pub fn prog_test_run(prog: &OwnedFd, attr: &TestRunAttr<'_>) -> TestRunAnswer {
    // A syscall program's context is written back to where it was read from.
    let mut ctx_in = attr.ctx_in.map(<[u8]>::to_vec);
    let mut data_out = vec![0; attr.data_size_out as usize];
    let mut ctx_out = vec![0; attr.ctx_size_out as usize];
    let mut words = Attr::zeroed();
    words.fd(0, prog.as_raw_fd());
    if let Some(data_in) = attr.data_in {
        words.u32(8, data_in.len() as u32);
        words.input(16, data_in);
    }
    words.u32(12, attr.data_size_out);
    words.output(24, &mut data_out);
    words.u32(32, attr.repeat);
    if let Some(ctx_in) = &mut ctx_in {
        words.u32(40, ctx_in.len() as u32);
        words.output(48, ctx_in);
    }
    words.u32(44, attr.ctx_size_out);
    words.output(56, &mut ctx_out);
    words.u32(64, attr.flags);
    words.u32(68, attr.cpu);
    words.u32(72, attr.batch_size);
    // SAFETY: each pointer goes with its buffer's length. A size hint of 0 would let the kernel write without a limit:
    // `output` passes NULL for an empty buffer.
    let errno = unsafe { words.call(PROG_TEST_RUN) }.map_or_else(|errno| errno.0, |_| 0);
    let (data_size_out, ctx_size_out) = (words.read_u32(12), words.read_u32(44));
    data_out.truncate(data_size_out as usize);
    ctx_out.truncate(ctx_size_out as usize);
    TestRunAnswer {
        errno,
        retval: words.read_u32(4),
        data_out,
        data_size_out,
        ctx_out,
        ctx_size_out,
        ctx_in_after: ctx_in.unwrap_or_default(),
        duration_ns: words.read_u32(36),
    }
}

/// BPF_OBJ_GET_INFO_BY_FD into `info`; answers how many bytes the kernel knows of.
///
/// For structures with pointers in them (`struct bpf_prog_info`) `info` must be zero there: it is passed zeroed.
pub fn object_info(fd: &impl AsRawFd, info: &mut [u8]) -> Result<usize, Errno> {
    info.fill(0);
    let mut words = Attr::zeroed();
    words.fd(0, fd.as_raw_fd());
    words.u32(4, info.len() as u32);
    words.output(8, info);
    // SAFETY: the pointer goes with its slice's length, and the structure has no pointers in it, being zero.
    unsafe { words.call(OBJ_GET_INFO_BY_FD)? };
    Ok(words.read_u32(4) as usize)
}

/// Opens a software perf event that BPF programs write raw samples to, on `cpu`.
pub fn perf_bpf_output(cpu: u32) -> Result<OwnedFd, Errno> {
    const TYPE_SOFTWARE: u32 = 1;
    const CONFIG_BPF_OUTPUT: u64 = 10;
    const SAMPLE_RAW: u64 = 1 << 10;
    const ATTR_SIZE_VER0: u32 = 64;
    const FLAG_FD_CLOEXEC: libc::c_long = 8;
    let mut attr = Attr::zeroed();
    attr.u32(0, TYPE_SOFTWARE);
    attr.u32(4, ATTR_SIZE_VER0);
    attr.u64(8, CONFIG_BPF_OUTPUT);
    attr.u64(24, SAMPLE_RAW);
    // SAFETY: `attr` is 64 bytes and more, zero but for what is set, and the kernel only reads it.
    let fd = unsafe {
        let (any_pid, no_group, cpu) = (-1 as libc::c_long, -1 as libc::c_long, cpu as libc::c_long);
        libc::syscall(libc::SYS_perf_event_open, attr.0.as_ptr(), any_pid, cpu, no_group, FLAG_FD_CLOEXEC)
    };
    if fd < 0 { Err(last_errno()) } else { Ok(owned(fd)) }
}

/// Starts a perf event that was opened and mapped.
pub fn perf_enable(event: &OwnedFd) -> Result<(), Errno> {
    const PERF_EVENT_IOC_ENABLE: u64 = 0x2400;
    // SAFETY: the request takes an integer, no pointer.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_ENABLE as _, 0) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Moves the calling thread alone into a new network namespace, whose only device is `lo`, down.
pub fn enter_empty_netns() -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Gives the calling thread alone mounts of its own, and mounts tracefs at `place` there.
pub fn mount_own_tracefs(place: &std::path::Path) -> Result<(), Errno> {
    use std::os::unix::ffi::OsStrExt;
    let place = CString::new(place.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: no memory is involved.
    if unsafe { libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS) } < 0 {
        return Err(last_errno());
    }
    let mount = |kind: &CStr, place: &CStr, flags| {
        let (kind, place) = (kind.as_ptr(), place.as_ptr());
        // SAFETY: both are strings that end with NUL; data may be NULL.
        let result = unsafe { libc::mount(kind, place, kind, flags, std::ptr::null()) };
        if result < 0 { Err(last_errno()) } else { Ok(()) }
    };
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE)?;
    mount(c"tracefs", &place, 0)
}

/// Binds the calling thread to one CPU.
pub fn pin_to_cpu(cpu: usize) -> Result<(), Errno> {
    // SAFETY: a cpu_set_t is plain bits, for which zero is a value; CPU_SET checks nothing, so the index is bounded here.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert!(cpu < 8 * size_of::<libc::cpu_set_t>());
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// socket(2).
pub fn socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: no memory is involved; the descriptor is new.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    done(fd)?;
    Ok(owned(fd.into()))
}

/// setsockopt(2).
pub fn setsockopt(socket: &OwnedFd, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    let len = value.len() as libc::socklen_t;
    // SAFETY: the value is as long as is said.
    done(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), len) })
}

/// bind(2) of a `struct sockaddr` as it lies in memory.
pub fn bind(socket: &OwnedFd, addr: &[u8]) -> Result<(), Errno> {
    // SAFETY: the address is as long as is said, and the kernel only copies it.
    done(unsafe { libc::bind(socket.as_raw_fd(), addr.as_ptr().cast(), addr.len() as libc::socklen_t) })
}

/// connect(2).
pub fn connect(socket: &OwnedFd, addr: &[u8]) -> Result<(), Errno> {
    // SAFETY: as in `bind`.
    done(unsafe { libc::connect(socket.as_raw_fd(), addr.as_ptr().cast(), addr.len() as libc::socklen_t) })
}

/// listen(2).
pub fn listen(socket: &OwnedFd, backlog: i32) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    done(unsafe { libc::listen(socket.as_raw_fd(), backlog) })
}

/// accept(2), without the address.
pub fn accept(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    let nowhere = std::ptr::null_mut();
    // SAFETY: the kernel writes no address where there is none to write to; the descriptor is new.
    let fd = unsafe { libc::accept(socket.as_raw_fd(), nowhere, std::ptr::null_mut()) };
    done(fd)?;
    Ok(owned(fd.into()))
}

/// sendto(2).
pub fn send_to(socket: &OwnedFd, bytes: &[u8], addr: &[u8]) -> Result<(), Errno> {
    let (from, len) = (bytes.as_ptr().cast(), addr.len() as libc::socklen_t);
    // SAFETY: both are as long as is said, and the kernel only copies them.
    let sent = unsafe { libc::sendto(socket.as_raw_fd(), from, bytes.len(), 0, addr.as_ptr().cast(), len) };
    if sent < 0 { Err(last_errno()) } else { Ok(()) }
}

fn done(result: i32) -> Result<(), Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Takes CAP_PERFMON and CAP_SYS_ADMIN from the calling thread alone. The verifier then lets no address flow into numbers, no
/// pointer be compared with one, and no stack be read that was not written.
pub fn drop_perfmon() -> Result<(), Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    const SYS_ADMIN: u32 = 21;
    const PERFMON: u32 = 38;
    let mut header = [VERSION_3, 0];
    // Effective, permitted and inheritable sets, first the low words of all three, then the high ones.
    let mut sets = [0u32; 6];
    // SAFETY: version 3 has a header of two words and sets of six, both as long as these arrays.
    let result = unsafe {
        let got = libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr());
        sets[0] &= !(1 << SYS_ADMIN);
        sets[3] &= !(1 << (PERFMON - 32));
        if got < 0 { got } else { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) }
    };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Lifts the limit on locked memory, which kernels before 5.11 charge maps to. A refusal shows later, at the map.
pub fn lift_memlock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure is read only.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) };
}

/// Bytes of a page.
pub fn page_size() -> usize {
    // SAFETY: no memory is involved.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// The kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> String {
    // SAFETY: utsname is plain bytes, for which zero is a value; uname fills it with NUL-terminated strings.
    unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&mut name);
        CStr::from_ptr(name.release.as_ptr()).to_string_lossy().into_owned()
    }
}

impl Attr {
    fn zeroed() -> Attr {
        Attr([0; ATTR_LEN])
    }

    fn u32(&mut self, off: usize, value: u32) {
        self.0[off..off + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn u64(&mut self, off: usize, value: u64) {
        self.0[off..off + 8].copy_from_slice(&value.to_ne_bytes());
    }

    fn fd(&mut self, off: usize, fd: RawFd) {
        self.0[off..off + 4].copy_from_slice(&fd.to_ne_bytes());
    }

    /// An empty slice is NULL.
    fn input(&mut self, off: usize, bytes: &[u8]) {
        self.u64(off, if bytes.is_empty() { 0 } else { bytes.as_ptr() as u64 });
    }

    /// An empty slice is NULL.
    fn output(&mut self, off: usize, bytes: &mut [u8]) {
        self.u64(off, if bytes.is_empty() { 0 } else { bytes.as_mut_ptr() as u64 });
    }

    /// BPF_OBJ_NAME_LEN is 16 with the NUL, and only alphanumerics, `_` and `.` may be in it.
    fn name(&mut self, off: usize, name: &str) {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
        for (at, byte) in name.bytes().filter(|byte| allowed(*byte)).take(15).enumerate() {
            self.0[off + at] = byte;
        }
    }

    fn read_u32(&self, off: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.0[off..off + 4]);
        u32::from_ne_bytes(word)
    }

    /// Calls bpf(2), again when a signal interrupted it, and a few times when the kernel was short of something.
    ///
    /// # Safety
    /// Every pointer in the attributes must be good for what `cmd` does with it.
    unsafe fn call(&mut self, cmd: u32) -> Result<libc::c_long, Errno> {
        let mut tries = 5;
        loop {
            // SAFETY: the attributes are ATTR_LEN bytes; what they point at is the caller's promise.
            let result = unsafe { libc::syscall(libc::SYS_bpf, cmd, self.0.as_mut_ptr(), ATTR_LEN) };
            match last_errno() {
                _ if result >= 0 => return Ok(result),
                Errno::EINTR | Errno::EAGAIN if tries > 0 && cmd != PROG_TEST_RUN => tries -= 1,
                errno => return Err(errno),
            }
        }
    }
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

fn last_errno() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
