//! `flowKeys` of an `sk_buff` context: what a flow dissector begins with.

use super::reader::{At, CtxError};
use mimic_linux::progs::FlowKeys;
use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `ETH_P_IP` and `ETH_P_IPV6`.
const ETH_P: (u16, u16) = (0x0800, 0x86dd);

/// The keys that mean something.
pub(super) const KNOWN: &[&str] = &[
    "nhoff",
    "thoff",
    "addrProto",
    "isFrag",
    "isFirstFrag",
    "isEncap",
    "ipProto",
    "nProto",
    "sport",
    "dport",
    "ip",
    "dstIP",
    "flags",
    "flowLabel",
];

pub(super) fn read(at: &At<'_>) -> Result<FlowKeys, CtxError> {
    at.object()?;
    let mut keys = FlowKeys {
        nhoff: at.int_or("nhoff", 0)?,
        thoff: at.int_or("thoff", 0)?,
        addr_proto: at.int_or("addrProto", 0)?,
        is_frag: at.int_or("isFrag", 0)?,
        is_first_frag: at.int_or("isFirstFrag", 0)?,
        is_encap: at.int_or("isEncap", 0)?,
        ip_proto: at.int_or("ipProto", 0)?,
        n_proto: at.int_or("nProto", 0)?,
        sport: at.int_or("sport", 0)?,
        dport: at.int_or("dport", 0)?,
        flags: at.int_or("flags", 0)?,
        flow_label: at.int_or("flowLabel", 0)?,
        ..FlowKeys::default()
    };
    for (key, to) in [("ip", &mut keys.src), ("dstIP", &mut keys.dst)] {
        let Some(at) = at.get(key) else { continue };
        let text = at.text()?;
        if text.is_empty() {
            continue;
        }
        let addr: IpAddr = text.parse().map_err(|_| at.error(format!("{text:?} is no address")))?;
        let proto = match addr {
            IpAddr::V4(addr) => {
                to[..4].copy_from_slice(&addr.octets());
                ETH_P.0
            }
            IpAddr::V6(addr) => {
                *to = addr.octets();
                ETH_P.1
            }
        };
        if keys.addr_proto == 0 {
            keys.addr_proto = proto;
        }
        if keys.addr_proto != proto {
            return Err(
                at.error(format!("{text} is no address of protocol {:#06x} (addrProto)", keys.addr_proto))
            );
        }
    }
    Ok(keys)
}

pub(super) fn write(keys: &FlowKeys) -> Value {
    let mut object = Map::new();
    for (key, value) in [
        ("nhoff", u32::from(keys.nhoff)),
        ("thoff", keys.thoff.into()),
        ("addrProto", keys.addr_proto.into()),
        ("isFrag", keys.is_frag.into()),
        ("isFirstFrag", keys.is_first_frag.into()),
        ("isEncap", keys.is_encap.into()),
        ("ipProto", keys.ip_proto.into()),
        ("nProto", keys.n_proto.into()),
        ("sport", keys.sport.into()),
        ("dport", keys.dport.into()),
        ("flags", keys.flags),
        ("flowLabel", keys.flow_label),
    ] {
        if value != 0 {
            object.insert(key.into(), json!(value));
        }
    }
    for (key, addr) in [("ip", &keys.src), ("dstIP", &keys.dst)] {
        if *addr == [0; 16] {
            continue;
        }
        let v4: [u8; 4] = [addr[0], addr[1], addr[2], addr[3]];
        let addr = match keys.addr_proto == ETH_P.1 {
            true => IpAddr::V6(Ipv6Addr::from(*addr)),
            false => IpAddr::V4(Ipv4Addr::from(v4)),
        };
        object.insert(key.into(), json!(addr.to_string()));
    }
    Value::Object(object)
}
