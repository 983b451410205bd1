//! Objects as helpers take and give them: an argument's address becomes the world's thing, a thing becomes the address in r0.

use super::refs::acquire;
use super::registry::Maker;
use super::{ObjectError, ObjectKey, View};
use crate::Linux;
use crate::cipher::Cipher;
use crate::world::{Cgroup, File, Inode, Socket, Task, Tracked};
use core::sync::atomic::Ordering;
use mimic_vm::{Call, HelperResult, Memory, Region, Trap};
use std::sync::Arc;

/// r0 of a helper that gives an object: its address. What the world does not have is NULL.
pub(crate) fn give(call: &mut Call<'_>, key: ObjectKey, view: View) -> HelperResult {
    let memory = call.view().memory().clone();
    let addr = match Linux::of(call).object(&memory, key, view) {
        Ok(addr) => addr,
        Err(ObjectError::Missing(_)) => return Ok(0),
        Err(error) => return Err(call.unsupported(error.to_string())),
    };
    call.memory_changed();
    Ok(addr)
}

/// The same for helpers that give a reference, which the program has to give back.
pub(crate) fn give_acquired(call: &mut Call<'_>, key: ObjectKey, view: View) -> HelperResult {
    let addr = give(call, key, view)?;
    if addr != 0 {
        acquire(call, key)?;
    }
    Ok(addr)
}

/// The task that an argument points at.
pub(crate) fn task_at(call: &Call<'_>, addr: u64) -> Result<Arc<Task>, Trap> {
    let linux = Linux::of(call);
    let task = match linux.objects.at(addr) {
        Some((ObjectKey::Task(pid), _, 0)) => linux.tables.tasks.get(pid),
        _ => None,
    };
    task.ok_or_else(|| no_object(call, addr, "task"))
}

/// The control group that an argument points at.
pub(crate) fn cgroup_at(call: &Call<'_>, addr: u64) -> Result<Arc<Cgroup>, Trap> {
    let linux = Linux::of(call);
    let cgroup = match linux.objects.at(addr) {
        Some((ObjectKey::Cgroup(id), _, 0)) => linux.tables.cgroups.get(id),
        _ => None,
    };
    cgroup.ok_or_else(|| no_object(call, addr, "control group"))
}

/// The socket that an argument points at, in any view.
pub(crate) fn socket_at(call: &Call<'_>, addr: u64) -> Result<Arc<Socket>, Trap> {
    let linux = Linux::of(call);
    let socket = match linux.objects.at(addr) {
        Some((ObjectKey::Socket(cookie), _, 0)) => linux.tables.sockets.get(cookie),
        _ => None,
    };
    socket.ok_or_else(|| no_object(call, addr, "socket"))
}

/// The inode that an argument points at.
pub(crate) fn inode_at(call: &Call<'_>, addr: u64) -> Result<Arc<Inode>, Trap> {
    let linux = Linux::of(call);
    let inode = match linux.objects.at(addr) {
        Some((ObjectKey::Inode(ino), _, 0)) => linux.tables.inodes.get(ino),
        _ => None,
    };
    inode.ok_or_else(|| no_object(call, addr, "inode"))
}

/// The file that an argument points at: as itself, or by its name.
pub(crate) fn file_at(call: &Call<'_>, addr: u64) -> Result<Arc<File>, Trap> {
    let linux = Linux::of(call);
    let file = match linux.objects.at(addr) {
        Some((ObjectKey::File(id) | ObjectKey::Dentry(id), _, 0)) => linux.tables.files.get(id),
        _ => None,
    };
    file.ok_or_else(|| no_object(call, addr, "file"))
}

/// The file whose `struct path` an argument points at: a member of the file.
pub(crate) fn file_of_path(call: &Call<'_>, addr: u64) -> Result<Arc<File>, Trap> {
    let linux = Linux::of(call);
    let file = match linux.objects.at(addr) {
        Some((ObjectKey::File(id), _, off)) if linux.is_member("file", "f_path", off) => {
            linux.tables.files.get(id)
        }
        _ => None,
    };
    file.ok_or_else(|| no_object(call, addr, "path of a file"))
}

/// The cipher that an argument points at, and its number.
pub(crate) fn crypto_at(call: &Call<'_>, addr: u64) -> Result<(u64, Arc<Cipher>), Trap> {
    let linux = Linux::of(call);
    let cipher = match linux.objects.at(addr) {
        Some((ObjectKey::Crypto(id), _, 0)) => linux.tables.ciphers.get(id).map(|cipher| (id, cipher)),
        _ => None,
    };
    cipher.ok_or_else(|| no_object(call, addr, "cipher"))
}

/// The program that a task is about to run, by the task's pid.
pub(crate) fn bprm_at(call: &Call<'_>, addr: u64) -> Result<u32, Trap> {
    match Linux::of(call).objects.at(addr) {
        Some((ObjectKey::Bprm(pid), _, 0)) => Ok(pid),
        _ => Err(no_object(call, addr, "program to be run")),
    }
}

fn no_object(call: &Call<'_>, addr: u64, what: &str) -> Trap {
    call.bad_argument(format!("{addr:#x} is no {what} of the world"))
}

impl Linux {
    /// The address of a thing's view in guest memory. It is made if need be, with all that it points at.
    pub fn object(&self, memory: &Arc<Memory>, key: ObjectKey, view: View) -> Result<u64, ObjectError> {
        self.objects.get(memory, &self.maker(), key, view)
    }

    /// The thing of the world that an address is, and how it looks there; none if it is not the start of one.
    pub fn object_at(&self, addr: u64) -> Option<(ObjectKey, View)> {
        self.objects.at(addr).filter(|(_, _, off)| *off == 0).map(|(key, view, _)| (key, view))
    }

    /// Whether a member of a kernel structure lies at an offset, in bytes.
    fn is_member(&self, structure: &str, member: &str, off: u32) -> bool {
        let slot = self.btf().and_then(|btf| super::path::find(btf, structure, member));
        slot.is_some_and(|slot| slot.bit_off == 8 * off)
    }

    /// Changes a socket, and what programs see of it. None if there is none of this cookie.
    pub fn change_socket<R>(&self, cookie: u64, change: impl FnOnce(&mut Socket) -> R) -> Option<R> {
        let result = self.tables.sockets.change(cookie, change)?;
        self.objects.refresh(&self.maker(), ObjectKey::Socket(cookie));
        Some(result)
    }

    /// Changes a task, and what programs see of it. None if there is none of this pid.
    pub fn change_task<R>(&self, pid: u32, change: impl FnOnce(&mut Task) -> R) -> Option<R> {
        let result = self.tables.tasks.change(pid, change)?;
        self.task_changed(pid);
        Some(result)
    }

    /// Adds a task, or puts it in the place of the one of its pid.
    pub fn add_task(&self, task: Task) {
        let pid = task.pid;
        self.tables.tasks.set(pid, Arc::new(task));
        self.task_changed(pid);
    }

    /// Adds a socket, or puts it in the place of the one of its cookie; answers the cookie, which is drawn if it is 0.
    pub fn add_socket(&self, mut socket: Socket) -> u64 {
        if socket.cookie == 0 {
            socket.cookie = self.draw_cookie();
        }
        let cookie = socket.cookie;
        self.tables.sockets.set(cookie, Arc::new(socket));
        self.objects.refresh(&self.maker(), ObjectKey::Socket(cookie));
        cookie
    }

    /// Takes a socket out of the world.
    pub fn remove_socket(&self, cookie: u64) -> Option<Arc<Socket>> {
        let socket = self.tables.sockets.remove(cookie)?;
        self.gone(ObjectKey::Socket(cookie));
        Some(socket)
    }

    /// Takes a task out of the world.
    pub fn remove_task(&self, pid: u32) -> Option<Arc<Task>> {
        let task = self.tables.tasks.remove(pid)?;
        [ObjectKey::Task(pid), ObjectKey::Cred(pid)].into_iter().for_each(|key| self.gone(key));
        Some(task)
    }

    /// Adds a socket that a context brings, whose `struct bpf_sock` is the context's region. What the region was before is gone.
    pub(crate) fn adopt_socket(&self, region: &Arc<Region>, socket: Socket) {
        let key = ObjectKey::Socket(socket.cookie);
        self.tables.sockets.set(socket.cookie, Arc::new(socket));
        if let Some(ObjectKey::Socket(old)) = self.objects.adopt(&self.maker(), region, key) {
            self.tables.sockets.remove(old);
            self.gone(ObjectKey::Socket(old));
        }
    }

    /// Shows a context's socket at a region of the context, as `struct bpf_sock`; answers its cookie. A socket that is the world's stays as it
    /// is, and in the world; others begin as the context says, and go when the region shows another one.
    pub(crate) fn bring_socket(&self, region: &Arc<Region>, socket: &Socket) -> u64 {
        let cookie = if socket.cookie == 0 { self.draw_cookie() } else { socket.cookie };
        if !self.tables.sockets.has(cookie) {
            self.tables.sockets.set(cookie, Arc::new(Socket { cookie, ..socket.clone() }));
            self.tables.lock_brought().insert(cookie);
        } else if self.tables.lock_brought().contains(&cookie) {
            self.change_socket(cookie, |known| *known = socket.clone());
        }
        let key = ObjectKey::Socket(cookie);
        if let Some(ObjectKey::Socket(old)) = self.objects.adopt(&self.maker(), region, key)
            && self.tables.lock_brought().remove(&old)
        {
            self.remove_socket(old);
        }
        cookie
    }

    /// A cookie that no socket has had. They repeat from run to run of the world.
    pub(crate) fn draw_cookie(&self) -> u64 {
        const FIRST: u64 = 1 << 20;
        FIRST + self.cookies.fetch_add(1, Ordering::Relaxed)
    }

    fn task_changed(&self, pid: u32) {
        let maker = self.maker();
        for key in [ObjectKey::Task(pid), ObjectKey::Cred(pid), ObjectKey::NsProxy(pid)] {
            self.objects.refresh(&maker, key);
        }
    }

    /// Changes a tracked connection, and what programs see of it.
    pub(crate) fn change_connection<R>(&self, id: u64, change: impl FnOnce(&mut Tracked) -> R) -> Option<R> {
        let result = self.tables.connections.change(id, change)?;
        self.objects.refresh(&self.maker(), ObjectKey::Connection(id));
        Some(result)
    }

    /// Takes a connection out of the world.
    pub(crate) fn forget_connection(&self, id: u64) {
        self.tables.connections.remove(id);
        self.gone(ObjectKey::Connection(id));
    }

    fn gone(&self, key: ObjectKey) {
        self.objects.forget(key);
        self.tables.drop_stored(key);
    }

    pub(super) fn maker(&self) -> Maker<'_> {
        Maker { btf: self.btf().map(|btf| &**btf), tables: &self.tables, world: self.world() }
    }
}
