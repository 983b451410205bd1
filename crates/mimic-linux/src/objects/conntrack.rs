//! Tracked connections as the kernel's `nf_conn`. Programs may write its mark, and nothing else.

use super::Fields;
use crate::world::socket::{AF_INET, AF_INET6};
use std::net::{IpAddr, SocketAddr};

/// The member that programs may write.
pub(super) const WRITABLE: &str = "mark";

pub(super) fn fill(to: &mut Fields<'_>, id: u64) {
    let Some(tracked) = to.tables().connections.get(id) else { return };
    let known = &tracked.connection;
    to.set("ct_general.use.refs.counter", 1);
    to.set("zone.id", known.zone.into());
    to.set("zone.dir", 3);
    to.set("timeout", known.timeout_ms.into());
    to.set("status", known.status.into());
    to.set("mark", known.mark.into());
    fill_tuple(to, &ORIGINAL, known.original, known.protocol, 0);
    fill_tuple(to, &REPLY, known.reply, known.protocol, 1);
}

/// The paths of a tuple's members: addresses and ports of source and destination, family, protocol, direction.
type Tuple = [&'static str; 7];

const ORIGINAL: Tuple = [
    "tuplehash[0].tuple.src.u3",
    "tuplehash[0].tuple.src.u",
    "tuplehash[0].tuple.dst.u3",
    "tuplehash[0].tuple.dst.u",
    "tuplehash[0].tuple.src.l3num",
    "tuplehash[0].tuple.dst.protonum",
    "tuplehash[0].tuple.dst.dir",
];
const REPLY: Tuple = [
    "tuplehash[1].tuple.src.u3",
    "tuplehash[1].tuple.src.u",
    "tuplehash[1].tuple.dst.u3",
    "tuplehash[1].tuple.dst.u",
    "tuplehash[1].tuple.src.l3num",
    "tuplehash[1].tuple.dst.protonum",
    "tuplehash[1].tuple.dst.dir",
];

fn fill_tuple(to: &mut Fields<'_>, at: &Tuple, ends: (SocketAddr, SocketAddr), protocol: u8, dir: u64) {
    for (end, addr, port) in [(ends.0, at[0], at[1]), (ends.1, at[2], at[3])] {
        match end.ip() {
            IpAddr::V4(ip) => to.bytes(addr, &ip.octets()),
            IpAddr::V6(ip) => to.bytes(addr, &ip.octets()),
        }
        to.bytes(port, &end.port().to_be_bytes());
    }
    to.set(at[4], if ends.0.is_ipv4() { AF_INET } else { AF_INET6 }.into());
    to.set(at[5], protocol.into());
    to.set(at[6], dir);
}
