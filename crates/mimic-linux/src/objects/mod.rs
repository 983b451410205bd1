//! Kernel objects: the world's tasks, control groups, sockets, devices and files as programs point at them.
//!
//! An object is made in guest memory when a program first comes to it, and what it points at with it. Programs can only read it; when the
//! world's thing changes, its bytes follow. The registry tells which thing an address is, which is all that helpers need: they look
//! at the world ([`crate::Linux`]'s tables), never at an object's bytes.
//!
//! There are two kinds of views. UAPI structures (`struct bpf_sock`) have a fixed layout. The kernel's own structures are laid out by its
//! BTF, which the target has (or, standing in for it, the object: CO-RE); what the world does not know in them is zero, and pointers are
//! NULL. A structure that is not in that BTF is opaque: it is that thing for helpers, all in it is zero, and
//! [`crate::Linux::opaque_structs`] names it.

mod args;
mod bpf;
mod cgroup;
mod conntrack;
mod device;
mod fields;
mod file;
mod kern_ctx;
mod path;
mod refs;
mod registry;
mod socket;
mod task;

pub(crate) use args::{
    bprm_at, cgroup_at, crypto_at, file_at, file_of_path, give, give_acquired, inode_at, socket_at, task_at,
};
pub(crate) use bpf::name as kept_name;
pub(crate) use fields::Fields;
pub(crate) use kern_ctx::KernContexts;
pub(crate) use path::member;
pub(crate) use refs::{acquire, check_released, release};
pub(crate) use registry::Objects;

use crate::world::{Socket, Tables};
use core::fmt;
use mimic_vm::MemoryError;

/// Which thing of the world an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKey {
    /// A task, by pid.
    Task(u32),
    /// The credentials of a task, by pid.
    Cred(u32),
    /// The user memory of a process, by tgid.
    Mm(u32),
    /// The registers with which a task entered the kernel, by pid.
    PtRegs(u32),
    /// An area of user memory, by the pid of the task that has it and its first address.
    Area(u32, u64),
    /// What tasks of a control group share, by its id.
    CssSet(u64),
    /// The namespaces of a task, by pid.
    NsProxy(u32),
    /// A pid namespace, by the inode number of its file.
    PidNs(u64),
    /// The network namespace.
    Net,
    /// A control group, by id.
    Cgroup(u64),
    /// The directory of a control group, by its id.
    Kernfs(u64),
    /// A socket, by cookie.
    Socket(u64),
    /// What descriptors of a socket lead to (`struct socket`), by its cookie.
    SocketFile(u64),
    /// A connection that netfilter tracks, by a number of its own.
    Connection(u64),
    /// A network device, by index.
    Device(u32),
    /// An open file, by id.
    File(u32),
    /// The name of a file, by its id.
    Dentry(u32),
    /// An inode, by number.
    Inode(u64),
    /// A cipher with its key, by number.
    Crypto(u64),
    /// The program that a task is about to run (its `exe`), by the task's pid.
    Bprm(u32),
    /// A map, by id.
    BpfMap(u32),
    /// A program, by id.
    BpfProg(u32),
    /// The rest of a program, by its id.
    BpfProgAux(u32),
}

/// How an object looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// The kernel's own structure, laid out by its BTF.
    Kernel,
    /// `struct bpf_sock`.
    Sock,
    /// `struct bpf_tcp_sock`.
    TcpSock,
}

/// Why there is no such object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectError {
    /// The world has no such thing.
    Missing(ObjectKey),
    /// The kernel's types say that a structure is longer than any is.
    TooLong(&'static str),
    /// There are too many.
    TooMany,
    /// No guest memory for it.
    Memory(MemoryError),
}

/// The most objects that are made.
pub const OBJECTS_MAX: usize = 1 << 16;

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectError::Missing(key) => write!(f, "the world has no {key:?}"),
            ObjectError::TooLong(name) => {
                write!(f, "the target's types have a struct {name} that is too long")
            }
            ObjectError::TooMany => write!(f, "more than {OBJECTS_MAX} kernel objects"),
            ObjectError::Memory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ObjectError {}

impl From<MemoryError> for ObjectError {
    fn from(error: MemoryError) -> ObjectError {
        ObjectError::Memory(error)
    }
}

impl ObjectKey {
    /// The kernel's structure for it. A socket's depends on what it is.
    fn type_name(self, tables: &Tables) -> &'static str {
        match self {
            ObjectKey::Task(_) => "task_struct",
            ObjectKey::Cred(_) => "cred",
            ObjectKey::Mm(_) => "mm_struct",
            ObjectKey::PtRegs(_) => "pt_regs",
            ObjectKey::Area(..) => "vm_area_struct",
            ObjectKey::CssSet(_) => "css_set",
            ObjectKey::NsProxy(_) => "nsproxy",
            ObjectKey::PidNs(_) => "pid_namespace",
            ObjectKey::Net => "net",
            ObjectKey::Cgroup(_) => "cgroup",
            ObjectKey::Kernfs(_) => "kernfs_node",
            ObjectKey::Socket(cookie) => {
                tables.sockets.get(cookie).map_or("sock", |socket| socket::type_name(&socket))
            }
            ObjectKey::SocketFile(_) => "socket",
            ObjectKey::Connection(_) => "nf_conn",
            ObjectKey::Device(_) => "net_device",
            ObjectKey::File(_) => "file",
            ObjectKey::Dentry(_) => "dentry",
            ObjectKey::Inode(_) => "inode",
            ObjectKey::Bprm(_) => "linux_binprm",
            ObjectKey::Crypto(_) => "bpf_crypto_ctx",
            ObjectKey::BpfMap(_) => "bpf_map",
            ObjectKey::BpfProg(_) => "bpf_prog",
            ObjectKey::BpfProgAux(_) => "bpf_prog_aux",
        }
    }

    /// Bytes that it has behind its structure: flexible arrays, strings that it points at.
    fn extra_len(self, tables: &Tables) -> u32 {
        match self {
            ObjectKey::Cgroup(id) => 8 * tables.ancestry(id).len() as u32,
            ObjectKey::Kernfs(_) | ObjectKey::Dentry(_) => file::NAME_LEN,
            ObjectKey::Bprm(_) => file::PATH_LEN,
            _ => 0,
        }
    }

    /// Writes what the world knows of it. The structure is zeros but for what an earlier call wrote.
    fn fill(self, to: &mut Fields<'_>) {
        match self {
            ObjectKey::Task(pid) => task::fill(to, pid),
            ObjectKey::Cred(pid) => task::fill_cred(to, pid),
            ObjectKey::Mm(tgid) => task::fill_mm(to, tgid),
            ObjectKey::PtRegs(pid) => task::fill_pt_regs(to, pid),
            ObjectKey::Area(pid, start) => task::fill_area(to, pid, start),
            ObjectKey::NsProxy(pid) => task::fill_nsproxy(to, pid),
            ObjectKey::PidNs(ino) => to.set("ns.inum", ino),
            ObjectKey::CssSet(id) => cgroup::fill_css_set(to, id),
            ObjectKey::Cgroup(id) => cgroup::fill(to, id),
            ObjectKey::Kernfs(id) => cgroup::fill_kernfs(to, id),
            ObjectKey::Net => device::fill_net(to),
            ObjectKey::Device(ifindex) => device::fill(to, ifindex),
            ObjectKey::Socket(cookie) => socket::fill(to, cookie),
            ObjectKey::SocketFile(cookie) => socket::fill_file(to, cookie),
            ObjectKey::Connection(id) => conntrack::fill(to, id),
            ObjectKey::File(id) => file::fill(to, id),
            ObjectKey::Dentry(id) => file::fill_dentry(to, id),
            ObjectKey::Inode(ino) => file::fill_inode(to, ino),
            ObjectKey::Bprm(pid) => file::fill_bprm(to, pid),
            // Programs see nothing of it.
            ObjectKey::Crypto(_) => {}
            ObjectKey::BpfMap(id) => bpf::fill_map(to, id),
            ObjectKey::BpfProg(id) => bpf::fill_prog(to, id),
            ObjectKey::BpfProgAux(id) => bpf::fill_prog_aux(to, id),
        }
    }
}

/// Whether a view of a socket is one that the socket has.
fn has_view(socket: &Socket, view: View) -> bool {
    match view {
        View::Kernel | View::Sock => true,
        View::TcpSock => socket.is_tcp() && socket.is_full(),
    }
}
