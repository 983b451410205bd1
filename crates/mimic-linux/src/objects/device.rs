//! Network devices as `struct net_device`, and the network namespace that they are in.

use super::{Fields, ObjectKey};

const IFF_UP: u64 = 1;
const IFF_BROADCAST: u64 = 2;
const IFF_LOOPBACK: u64 = 8;
const IFF_RUNNING: u64 = 0x40;
const IFF_MULTICAST: u64 = 0x1000;
const ARPHRD_ETHER: u64 = 1;
const ARPHRD_LOOPBACK: u64 = 772;
/// The index of `lo`, always.
const LO: u32 = 1;

pub(super) fn fill(to: &mut Fields<'_>, ifindex: u32) {
    let Some(device) = to.world().net.devices.by_index(ifindex) else { return };
    let kind = if ifindex == LO { IFF_LOOPBACK } else { IFF_BROADCAST | IFF_MULTICAST };
    to.set("ifindex", ifindex.into());
    to.bytes("name", device.name.as_bytes());
    to.set("mtu", device.mtu.into());
    to.set("flags", kind | if device.up { IFF_UP | IFF_RUNNING } else { 0 });
    to.set("type", if ifindex == LO { ARPHRD_LOOPBACK } else { ARPHRD_ETHER });
    to.set("hard_header_len", device.hard_header_len.into());
    to.set("addr_len", 6);
    to.set("num_rx_queues", device.rx_queues.into());
    to.set("real_num_rx_queues", device.rx_queues.into());
    to.bytes("broadcast", &device.broadcast);
    to.point("nd_net.net", ObjectKey::Net);
}

pub(super) fn fill_net(to: &mut Fields<'_>) {
    let net = &to.world().net;
    to.set("ns.inum", net.inum.into());
    to.set("net_cookie", net.cookie);
    to.set("ifindex", net.devices.0.iter().map(|device| device.ifindex).max().unwrap_or(0).into());
    to.point("loopback_dev", ObjectKey::Device(LO));
}
