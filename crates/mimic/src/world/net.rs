//! The keys of what a World file states of the network.

use super::table::{Json, need, structure, words};
use mimic_linux::{
    Connection, Device, Devices, Neighbour, Net, Ports, Reuse, Route, RouteKind, Rule, RuleAction, Socket,
    Tcp,
};

structure!(
    Net,
    |_| Ok(Net::default()),
    [],
    [cookie, inum, devices, routes, rules, neighbours, sockets, conntrack]
);

structure!(
    Device,
    |at| Ok(Device::ethernet(need(at, "ifindex")?, &need::<String>(at, "name")?)),
    [ifindex, name],
    [mtu, hard_header_len, addr, broadcast, up, rx_queues, addrs, master, vrf_table, forwarding]
);

structure!(
    Route,
    |at| Ok(Route::new(need(at, "dst")?, 0)),
    [dst],
    [table, kind, via, ifindex, src, metric, mtu, mtu_locked, encap, realm]
);

words!(RouteKind:
    Unicast "unicast", Local "local", Broadcast "broadcast", Multicast "multicast", Blackhole "blackhole",
    Unreachable "unreachable", Prohibit "prohibit", Throw "throw",
);

structure!(
    Rule,
    |_| Ok(Rule::default()),
    [],
    [
        priority,
        invert,
        from,
        to,
        iif,
        oif,
        mark,
        mark_mask,
        tos,
        protocol,
        sports,
        dports,
        action,
        table,
        suppress_prefix_len
    ]
);

words!(RuleAction:
    Lookup "lookup", L3mdev "l3mdev", Blackhole "blackhole", Unreachable "unreachable", Prohibit "prohibit",
);

structure!(Ports, |at| Ok(Ports { first: need(at, "first")?, last: need(at, "last")? }), [first, last], []);

structure!(
    Neighbour,
    |at| {
        const NUD_REACHABLE: u16 = 2;
        let (ifindex, addr, lladdr) = (need(at, "ifindex")?, need(at, "addr")?, need(at, "lladdr")?);
        Ok(Neighbour { ifindex, addr, lladdr, state: NUD_REACHABLE })
    },
    [ifindex, addr, lladdr],
    [state]
);

structure!(
    Connection,
    |at| {
        Ok(Connection {
            protocol: need(at, "protocol")?,
            zone: 0,
            original: need(at, "original")?,
            reply: need(at, "reply")?,
            status: 0,
            mark: 0,
            timeout_ms: 0,
        })
    },
    [protocol, original, reply],
    [zone, status, mark, timeout_ms]
);

structure!(
    Socket,
    |_| Ok(Socket::default()),
    [],
    [
        cookie,
        family,
        sock_type,
        protocol,
        bound_dev_if,
        mark,
        priority,
        local_ip4,
        remote_ip4,
        local_ip6,
        remote_ip6,
        local_port,
        remote_port,
        state,
        rx_queue,
        uid,
        cgroup,
        netns,
        ino,
        reuse,
        v6only,
        transparent,
        syn_overflow,
        path,
        tcp,
        options
    ]
);

structure!(Reuse, |_| Ok(Reuse::default()), [], [addr, port]);

structure!(
    Tcp,
    |_| Ok(Tcp::default()),
    [],
    [
        snd_cwnd,
        srtt_us,
        rtt_min,
        snd_ssthresh,
        rcv_nxt,
        snd_nxt,
        snd_una,
        mss_cache,
        ecn_flags,
        rate_delivered,
        rate_interval_us,
        packets_out,
        retrans_out,
        total_retrans,
        segs_in,
        data_segs_in,
        segs_out,
        data_segs_out,
        lost_out,
        sacked_out,
        bytes_received,
        bytes_acked,
        dsack_dups,
        delivered,
        delivered_ce,
        icsk_retransmits,
        snd_wnd,
        snd_cwnd_clamp,
        congestion
    ]
);

/// A list of devices is all there are: `lo` is there if it is stated.
impl Json for Devices {
    fn read(at: &crate::ctx::reader::At<'_>) -> Result<Devices, crate::ctx::CtxError> {
        Json::read(at).map(Devices)
    }

    fn write(&self, detail: super::Detail) -> serde_json::Value {
        self.0.write(detail)
    }

    fn schema(defs: &mut super::Defs) -> serde_json::Value {
        Vec::<Device>::schema(defs)
    }
}
