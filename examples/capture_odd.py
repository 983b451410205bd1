# SPDX-License-Identifier: MIT OR Apache-2.0
"""Packets that everyday tools do not send: IPv6 extension headers, an IPv4 source route, multicast."""
import socket
import struct

PADN = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # next header and length (the kernel fills the former), PadN of 4
LONG_PADN = bytes([0, 1, 1, 12]) + bytes(12)


def udp6(options, to="2001:db8::2", port=9999):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.sendmsg([b"extended"], [(socket.IPPROTO_IPV6, kind, data) for kind, data in options], 0, (to, port))


udp6([(socket.IPV6_HOPOPTS, PADN)])
udp6([(socket.IPV6_DSTOPTS, LONG_PADN)])
udp6([(socket.IPV6_HOPOPTS, PADN), (socket.IPV6_DSTOPTS, LONG_PADN)])
udp6([(socket.IPV6_HOPOPTS, LONG_PADN)], port=53)

# A large datagram with options: extension headers before the fragment header.
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sock.sendmsg([bytes(2500)], [(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, PADN)], 0, ("2001:db8::2", 9999))

for kind in (0x83, 0x89):  # loose, strict
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    route = bytes([kind, 7, 4]) + socket.inet_aton("192.0.2.2") + b"\0"
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, route)
    sock.sendto(b"routed", ("192.0.2.2", 9999))

group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.0.2.1"))
group.setsockopt(
    socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton("239.255.255.250"), socket.inet_aton("192.0.2.1"))
)
group.sendto(b"M-SEARCH * HTTP/1.1\r\nMAN: \"ssdp:discover\"\r\nST: ssdp:all\r\n\r\n", ("239.255.255.250", 1900))

udplite = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136) if hasattr(socket, "IPPROTO_UDPLITE") else None
if udplite:
    udplite.sendto(b"lite", ("192.0.2.2", 9999))
