#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Makes traffic.pcap anew: real programs talk between two network namespaces, tcpdump listens.
#
#   sudo examples/capture.sh [OUT.pcap]
#
# Needs iproute2, iputils-ping, tcpdump, ethtool, curl, dig, iperf3, nc (netcat-openbsd), python3 and /dev/net/tun.
# It touches only the two namespaces it makes, and deletes them at the end.
#
# VLAN, IPIP and GRE interfaces are made of tap and tun devices with capture_link.py behind them, so that
# kernels without those modules do; the packets are built by the real stack and tools all the same.
set -euo pipefail
cd "$(dirname "$0")"
out=$(realpath "${1:-traffic.pcap}")
A=mimic-cap-a
B=mimic-cap-b
tmp=$(mktemp -d)
pids=()

missing=()
for tool in ip ping tcpdump ethtool curl dig iperf3 nc python3; do
	command -v $tool >/dev/null || missing+=($tool)
done
if [ ${#missing[@]} -gt 0 ]; then
	echo "capture.sh: not found: ${missing[*]}" >&2
	exit 1
fi

cleanup() {
	kill "${pids[@]}" 2>/dev/null || true
	wait 2>/dev/null || true
	ip netns del $A 2>/dev/null || true
	ip netns del $B 2>/dev/null || true
	rm -rf "$tmp"
}
trap cleanup EXIT

a() { ip netns exec $A "$@"; }
b() { ip netns exec $B "$@"; }
in_background() { "$@" >>"$tmp/log" 2>&1 & pids+=($!); }
# What a client says is of no interest here, and that some of them fail is part of the traffic.
quietly() { "$@" >>"$tmp/log" 2>&1 || true; }

# --- two hosts, one cable -------------------------------------------------------------------------
ip netns add $A
ip netns add $B
ip -n $A link add a0 address 02:00:00:00:00:0a type veth peer name b0 address 02:00:00:00:00:0b netns $B
for side in "$A a0 1" "$B b0 2"; do
	set -- $side
	ip -n $1 link set lo up
	ip -n $1 link set $2 mtu 1500 up
	ip -n $1 addr add 192.0.2.$3/24 dev $2
	ip -n $1 addr add 2001:db8::$3/64 dev $2 nodad
	# What is captured shall be what a wire would carry: no giant segments, no unfinished checksums.
	ip netns exec $1 ethtool -K $2 tx off rx off tso off gso off gro off >/dev/null 2>&1
	ip netns exec $1 sysctl -qw net.ipv4.conf.all.accept_source_route=1
done
ip -n $A addr add 192.0.2.66/24 dev a0 # the scanner
ip -n $A addr add 192.0.2.77/24 dev a0 # the flooder
ip -n $A addr add 2001:db8::bad/64 dev a0 nodad preferred_lft 0

link() { # link NAME KIND IPV4-NET IPV6-NET
	for side in "$A a0 1 2" "$B b0 2 1"; do
		set -- $side "${@: -4}"
		in_background ip netns exec $1 python3 capture_link.py $5 $6 $2 192.0.2.$3 192.0.2.$4
		for _ in $(seq 100); do ip -n $1 link show $5 >/dev/null 2>&1 && break; sleep 0.05; done
		ip -n $1 link set $5 mtu 1400 up
		ip -n $1 addr add $7.$3/24 dev $5
		ip -n $1 addr add $8::$3/64 dev $5 nodad
	done
}

in_background b tcpdump -i b0 -s 0 -U -Z root --immediate-mode -w "$tmp/traffic.pcap"
for _ in $(seq 100); do [ -s "$tmp/traffic.pcap" ] && break; sleep 0.05; done

link vlan100 8021q:100 198.51.100 2001:db8:100
link qinq 8021ad:200,8021q:7 203.0.113 2001:db8:200
link tun-ipip ipip 10.4.0 2001:db8:4
link tun-gre gre 10.47.0 2001:db8:47
ip -n $A link add vx0 type vxlan id 42 remote 192.0.2.2 local 192.0.2.1 dstport 4789 dev a0
ip -n $B link add vx0 type vxlan id 42 remote 192.0.2.1 local 192.0.2.2 dstport 4789 dev b0
for side in "$A 1" "$B 2"; do
	set -- $side
	ip -n $1 link set vx0 mtu 1400 up
	ip -n $1 addr add 10.42.0.$2/24 dev vx0
done

# --- servers on B -----------------------------------------------------------------------------------
head -c 20000 /usr/bin/env | base64 >"$tmp/page"
in_background b python3 capture_servers.py "$tmp"
in_background b iperf3 -s -p 5201
in_background b nc -l -k 0.0.0.0 7777
sleep 1

# --- ICMP, fragments, IP options ----------------------------------------------------------------------
quietly a ping -c 4 -i 0.05 192.0.2.2
quietly a ping -c 4 -i 0.05 2001:db8::2
quietly a ping -c 2 -i 0.05 -s 3000 192.0.2.2
quietly a ping -c 2 -i 0.05 -s 3000 2001:db8::2
quietly a ping -c 2 -i 0.05 -R 192.0.2.2
quietly a ping -c 2 -i 0.05 -T tsonly 192.0.2.2
quietly a ping -c 1 -W 1 192.0.2.99

# --- DNS over UDP and TCP, HTTP, bulk data -------------------------------------------------------------
for kind in A AAAA TXT MX; do
	quietly a dig +time=1 +tries=1 @192.0.2.2 www.example.org $kind
	quietly a dig +time=1 +tries=1 @2001:db8::2 www.example.org $kind
done
quietly a dig +tcp +time=1 +tries=1 @192.0.2.2 www.example.org TXT
quietly a curl -s -o /dev/null http://192.0.2.2:8080/page
quietly a curl -s -o /dev/null "http://[2001:db8::2]:8080/page"
quietly a curl -s -o /dev/null http://192.0.2.2:8080/missing
quietly a iperf3 -c 192.0.2.2 -p 5201 -n 48K -l 8K
quietly a iperf3 -c 2001:db8::2 -p 5201 -u -n 12K -l 600 -b 4M
quietly a iperf3 -c 192.0.2.2 -p 5201 -u -n 8K -l 4000 -b 4M
printf 'hello\n' | quietly a nc -N -w 1 192.0.2.2 7777

# --- ports that a firewall looks at ----------------------------------------------------------------------
for port in 23 445 3389 11211; do quietly a nc -z -w 1 192.0.2.2 $port; done
for port in 1900 11211; do printf 'x\n' | quietly a nc -u -w 1 192.0.2.2 $port; done
quietly a python3 capture_odd.py

# --- tagged and tunnelled ---------------------------------------------------------------------------------
for host in 198.51.100.2 2001:db8:100::2 203.0.113.2 2001:db8:200::2 10.4.0.2 10.47.0.2 2001:db8:47::2 10.42.0.2; do
	quietly a ping -c 3 -i 0.05 $host
done
quietly a curl -s -o /dev/null http://198.51.100.2:8080/page
quietly a curl -s -o /dev/null "http://[2001:db8:200::2]:8080/missing"
quietly a dig +time=1 +tries=1 @10.42.0.2 www.example.org TXT
quietly a curl -s -o /dev/null http://10.4.0.2:8080/missing
quietly a ping -c 1 -s 3000 198.51.100.2

# --- a port scan, a flood ---------------------------------------------------------------------------------
quietly a nc -z -n -w 1 -s 192.0.2.66 192.0.2.2 8000-8059
quietly a ping -c 60 -i 0.002 -I 192.0.2.77 192.0.2.2
quietly a nc -z -n -w 1 -s 2001:db8::bad 2001:db8::2 8000-8039

sleep 0.5
kill -INT "${pids[0]}" "${pids[@]:1}" 2>/dev/null || true
sleep 0.5
cp "$tmp/traffic.pcap" "$out"
ls -l "$out"
tcpdump -r "$out" 2>/dev/null | wc -l
