//! Inputs: the same bytes for every engine and every session.

type Input = (Vec<u8>, Vec<(u32, u32)>);

/// `len` bytes without a pattern, as one input.
pub(crate) fn bytes(len: u32) -> Input {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let memory = (0..len).map(|_| next(&mut state) as u8).collect();
    (memory, vec![(0, len)])
}

/// `len` bytes of JSON.
pub(crate) fn json(len: u32) -> Input {
    let mut state = 88_172_645_463_325_252;
    let mut text = String::from("[");
    while text.len() < len as usize {
        let [a, b, c] = [0; 3].map(|_| next(&mut state) % 10_000);
        text.push_str(&format!(
            "{{\"id\": {a}, \"name\": \"packet \\\"{b}\\\"\", \"ok\": {}, \"load\": [{b}.{c}, -{a}e3, null]}},\n",
            a % 2 == 0
        ));
    }
    text.truncate(len as usize);
    (text.into_bytes(), vec![(0, len)])
}

/// 64 packets: IPv4 and IPv6, TCP and UDP, with and without VLAN tags, a few that end early.
pub(crate) fn packets() -> Input {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let (mut memory, mut inputs) = (Vec::new(), Vec::new());
    for index in 0..64 {
        let packet = packet(index, &mut state);
        inputs.push((memory.len() as u32, packet.len() as u32));
        memory.extend(packet);
        memory.resize(memory.len().next_multiple_of(64), 0);
    }
    (memory, inputs)
}

fn packet(index: u32, state: &mut u64) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..12).map(|_| next(state) as u8).collect();
    if index.is_multiple_of(5) {
        packet.extend([0x81, 0, 0, index as u8]);
    }
    let proto = if index.is_multiple_of(3) { 17 } else { 6 };
    let body: Vec<u8> = (0..40 + next(state) % 60).map(|_| next(state) as u8).collect();
    if index % 4 == 3 {
        packet.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, body.len() as u8, proto, 64]);
        packet.extend((0..32).map(|_| next(state) as u8));
    } else {
        packet.extend([8, 0, 0x45, 0, 0, body.len() as u8 + 20, 0, index as u8, 0x40, 0, 64, proto, 0, 0]);
        packet.extend((0..8).map(|_| next(state) as u8));
    }
    packet.extend(body);
    if index % 16 == 9 {
        packet.truncate(30);
    }
    packet
}

/// Marsaglia's xorshift64.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 16
}
