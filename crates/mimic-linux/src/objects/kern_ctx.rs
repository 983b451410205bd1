//! A program's context as the kernel's own structure (`bpf_cast_to_kern_ctx`, and what programs get that trace another one): `struct xdp_buff`,
//! `struct sk_buff`, `struct bpf_sock_addr_kern`, ….
//!
//! It is made of what the UAPI structure shows when it is asked for, and can only be read.

use super::registry::Maker;
use super::{Fields, ObjectKey, path};
use crate::Linux;
use crate::world::socket::{AF_INET, AF_INET6, AF_UNIX};
use mimic_abi::{ProgType, Size};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Memory, Region, View as MemoryView};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

/// The structures of contexts, by the address of the context and what they are.
#[derive(Default)]
pub(crate) struct KernContexts(HashMap<(u64, &'static str), Arc<Region>>);

/// The most contexts that are shown so.
const CONTEXTS_MAX: usize = 4096;
/// Bytes of `struct sockaddr_storage`.
const SOCKADDR_LEN: u32 = 128;

/// The kernel's structure behind the context of a program type.
pub(crate) fn type_name(prog_type: ProgType) -> Option<&'static str> {
    use ProgType::*;
    Some(match prog_type {
        Xdp => "xdp_buff",
        SchedCls | SchedAct | SocketFilter | CgroupSkb | LwtIn | LwtOut | LwtXmit | LwtSeg6local | SkSkb => {
            "sk_buff"
        }
        CgroupSockAddr => "bpf_sock_addr_kern",
        CgroupSockopt => "bpf_sockopt_kern",
        _ => return None,
    })
}

impl Linux {
    /// The address of the kernel's structure for the context at `ctx` of a program of this type, as it is now. `path` is the context's, if it
    /// is an address of `AF_UNIX`.
    pub(crate) fn kern_ctx(
        &self,
        view: &MemoryView,
        prog_type: ProgType,
        ctx: u64,
        path: &[u8],
    ) -> Result<u64, String> {
        let name = type_name(prog_type).ok_or("there is no kernel structure behind contexts of this type")?;
        let from = Context { view, addr: ctx };
        let region = self.kern_struct(view.memory(), ctx, name)?;
        match name {
            "xdp_buff" => {
                // A program's own types may do without it.
                let rxq = self.kern_struct(view.memory(), ctx, "xdp_rxq_info").ok();
                if let Some(rxq) = &rxq {
                    self.fill_struct(rxq, "xdp_rxq_info", |to| {
                        to.set("queue_index", from.word(16));
                        to.point("dev", ObjectKey::Device(from.word(12).max(1) as u32));
                    });
                }
                let rxq = rxq.map_or(0, |rxq| rxq.base());
                self.fill_struct(&region, name, |to| fill_xdp(to, &from, rxq));
            }
            "sk_buff" => {
                let sock = self.socket_key(from.load(168, Size::Dw));
                // Behind the packet is what shares its pages; a program's own types may do without it.
                let shared = self.kern_struct(view.memory(), ctx, "skb_shared_info").ok();
                let shared = shared.map_or(0, |shared| shared.base());
                self.fill_struct(&region, name, |to| fill_skb(to, &from, sock, shared));
            }
            "bpf_sock_addr_kern" => {
                let uaddr = self.kern_struct(view.memory(), ctx, "sockaddr_storage")?;
                let len = fill_sockaddr(&uaddr, &from, path);
                let sock = self.socket_key(from.load(64, Size::Dw));
                self.fill_struct(&region, name, |to| {
                    to.set("uaddr", uaddr.base());
                    to.set("uaddrlen", len.into());
                    point(to, "sk", sock);
                });
            }
            _ => {
                let sock = self.socket_key(from.load(0, Size::Dw));
                self.fill_struct(&region, name, |to| {
                    point(to, "sk", sock);
                    for (path, off, size) in SOCKOPT_KERN {
                        to.set(path, from.load(off, size));
                    }
                });
            }
        }
        Ok(region.base())
    }

    /// The context that a kernel structure was made of, if the address is one's.
    pub(crate) fn ctx_of_kern(&self, addr: u64) -> Option<u64> {
        let known = self.kern_contexts.lock().unwrap_or_else(PoisonError::into_inner);
        known.0.iter().find(|(_, region)| region.base() == addr).map(|((ctx, _), _)| *ctx)
    }

    /// A structure for a context, made when first asked for.
    fn kern_struct(&self, memory: &Arc<Memory>, ctx: u64, name: &'static str) -> Result<Arc<Region>, String> {
        let mut known = self.kern_contexts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(region) = known.0.get(&(ctx, name)) {
            return Ok(region.clone());
        }
        let len = match name {
            "sockaddr_storage" => Some(SOCKADDR_LEN),
            _ => self.btf().and_then(|btf| path::struct_len(btf, name)),
        };
        let len = len.ok_or_else(|| {
            format!("needs a kernel's types that have struct {name}: load for a target with BTF")
        })?;
        if known.0.len() >= CONTEXTS_MAX {
            known.0.clear();
        }
        let region = memory.allocate(name, len, Layout::Bytes(Access::Read));
        let region = Arc::new(region.map_err(|error| error.to_string())?);
        known.0.insert((ctx, name), region.clone());
        Ok(region)
    }

    fn fill_struct(&self, region: &Arc<Region>, type_name: &'static str, fill: impl FnOnce(&mut Fields<'_>)) {
        let maker: Maker<'_> = self.maker();
        self.objects.fill(&maker, region, type_name, fill);
    }

    fn socket_key(&self, addr: u64) -> Option<ObjectKey> {
        self.objects.at(addr).map(|(key, _, _)| key)
    }
}

const SOCKOPT_KERN: [(&str, u64, Size); 5] = [
    ("optval", 8, Size::Dw),
    ("optval_end", 16, Size::Dw),
    ("level", 24, Size::W),
    ("optname", 28, Size::W),
    ("optlen", 32, Size::W),
];

/// Writes the address that a `bpf_sock_addr` shows as a `sockaddr`; answers its length.
fn fill_sockaddr(to: &Region, from: &Context<'_>, path: &[u8]) -> u32 {
    const PATH_OFF: u32 = 2;
    const PATH_MAX: usize = 108;
    to.fill(0, SOCKADDR_LEN, 0);
    let family = from.word(0) as u32;
    to.store(0, Size::H, family.into());
    match family {
        AF_INET => {
            to.store(2, Size::H, from.word(24));
            to.write(4, &from.bytes::<4>(4));
            16
        }
        AF_INET6 => {
            to.store(2, Size::H, from.word(24));
            to.write(8, &from.bytes::<16>(8));
            28
        }
        AF_UNIX => {
            let path = &path[..path.len().min(PATH_MAX)];
            to.write(PATH_OFF, path);
            PATH_OFF + path.len() as u32
        }
        _ => 0,
    }
}

fn point(to: &mut Fields<'_>, path: &'static str, key: Option<ObjectKey>) {
    if let Some(key) = key {
        to.point(path, key);
    }
}

/// A context in guest memory.
struct Context<'a> {
    view: &'a MemoryView,
    addr: u64,
}

impl Context<'_> {
    /// A member; zero if programs of the type do not see it.
    fn load(&self, off: u64, size: Size) -> u64 {
        self.view.load(self.addr.wrapping_add(off), size).unwrap_or(0)
    }

    fn word(&self, off: u64) -> u64 {
        self.load(off, Size::W)
    }

    fn bytes<const N: usize>(&self, off: u64) -> [u8; N] {
        core::array::from_fn(|at| self.load(off + at as u64, Size::B) as u8)
    }
}

fn fill_xdp(to: &mut Fields<'_>, from: &Context<'_>, rxq: u64) {
    to.set("data", from.word(0));
    to.set("data_end", from.word(4));
    to.set("data_meta", from.word(8));
    to.set("rxq", rxq);
    to.set("frame_sz", 4096);
}

/// `shared` is where `skb_shared_info` is, 0 if it is nowhere: `head` and `end` lead there.
fn fill_skb(to: &mut Fields<'_>, from: &Context<'_>, sock: Option<ObjectKey>, shared: u64) {
    let (data, end) = (from.word(76), from.word(80));
    let head_len = if shared > end { shared.wrapping_sub(data) } else { end.saturating_sub(data) };
    let protocol = from.word(16) as u16;
    for (path, value) in [
        ("len", from.word(0)),
        ("data_len", from.word(0).saturating_sub(end.saturating_sub(data))),
        ("mark", from.word(8)),
        ("priority", from.word(32)),
        ("queue_mapping", from.word(12)),
        ("skb_iif", from.word(36)),
        ("hash", from.word(68)),
        ("vlan_tci", from.word(24)),
        ("vlan_proto", from.word(28)),
        ("tc_index", from.word(44)),
        ("napi_id", from.word(84)),
        ("tstamp", from.load(152, Size::Dw)),
        ("pkt_type", from.word(4)),
        ("protocol", protocol.into()),
        ("data", data),
        ("head", data),
        ("tail", end.saturating_sub(data)),
        ("end", head_len),
        ("users.refs.counter", 1),
    ] {
        to.set(path, value);
    }
    // Five words from the eighth byte on: what programs have of it.
    let cb: [u8; 20] = from.bytes(48);
    let mut all = vec![0; 8];
    all.extend(cb);
    to.bytes("cb", &all);
    to.point("dev", ObjectKey::Device(from.word(40) as u32));
    point(to, "sk", sock);
}
