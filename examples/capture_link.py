# SPDX-License-Identifier: MIT OR Apache-2.0
"""One end of a VLAN, IPIP or GRE link, between a tap or tun device and the cable (see capture.sh).

    capture_link.py NAME KIND PARENT LOCAL REMOTE

KIND: 8021q:ID, 8021ad:ID,8021q:ID (outer tag first), ipip, gre.
"""
import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF, IFF_TUN, IFF_TAP, IFF_NO_PI = 0x400454CA, 1, 2, 0x1000
SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING, ETH_P_ALL = 263, 8, 4, 3
TPID = {"8021q": 0x8100, "8021ad": 0x88A8}


def device(name, mode):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", name.encode(), mode | IFF_NO_PI))
    return fd


def both_ways(fd, sock, out, back):
    while True:
        for ready in select.select([fd, sock], [], [])[0]:
            try:
                out() if ready == fd else back()
            except OSError:
                pass  # a link that is not up yet: the packet is lost


def vlan(name, tags, parent):
    tags = b"".join(struct.pack("!HH", TPID[kind], int(number)) for kind, number in (t.split(":") for t in tags))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.bind((parent, 0))
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    fd = device(name, IFF_TAP)

    def out():
        frame = os.read(fd, 65536)
        sock.send(frame[:12] + tags + frame[12:])

    def back():
        frame, ancillary, _, address = sock.recvmsg(65536, 64)
        if address[2] == PACKET_OUTGOING:
            return
        for _, _, data in ancillary:  # the kernel has taken the outer tag off
            status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
            if status & 0x10:
                frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
        if frame[12 : 12 + len(tags)] == tags:
            os.write(fd, frame[:12] + frame[12 + len(tags) :])

    both_ways(fd, sock, out, back)


def tunnel(name, kind, local, remote):
    """Protocol 47 carries both versions of IP, protocols 4 and 41 one each."""
    fd = device(name, IFF_TUN)
    protocol = {"gre": 47, "ipip": 4}[kind]
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    sock.bind((local, 0))

    def out():
        packet = os.read(fd, 65536)
        version = packet[0] >> 4
        if kind == "gre":
            packet = struct.pack("!HH", 0, 0x0800 if version == 4 else 0x86DD) + packet
        elif version != 4:
            return
        sock.sendto(packet, (remote, 0))

    def back():
        packet = sock.recv(65536)
        off = (packet[0] & 15) * 4 + (4 if kind == "gre" else 0)
        os.write(fd, packet[off:])

    both_ways(fd, sock, out, back)


if __name__ == "__main__":
    name, kind, parent, local, remote = sys.argv[1:]
    if ":" in kind:
        vlan(name, kind.split(","), parent)
    else:
        tunnel(name, kind, local, remote)
