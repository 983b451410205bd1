//! Bytes as text by their BTF type: what bpf_snprintf_btf and bpf_seq_printf_btf print.
//!
//! `BTF_F_*` of bpf-helpers(7). Text, and what is left out (zeros, the elements of some arrays, names in arrays), are the kernel's
//! own, its oddities included: scripts read this output. Where memory cannot be read the value is left out, and the errno of the last
//! read is the answer.

use mimic_abi::btf::{Array, Btf, Composite, Enum, Int, Kind, KindCode, MAX_DEPTH, Member, Type, TypeId};
use mimic_abi::{ByteOrder, Errno};

/// Everything on one line.
pub(super) const BTF_F_COMPACT: u64 = 1;
/// No names of members and types.
pub(super) const BTF_F_NONAME: u64 = 2;
/// Addresses as they are, rather than hashed.
pub(super) const BTF_F_PTR_RAW: u64 = 4;
/// Members that are zero too.
pub(super) const BTF_F_ZERO: u64 = 8;
/// All flags.
pub(super) const BTF_F_ALL: u64 = BTF_F_COMPACT | BTF_F_NONAME | BTF_F_PTR_RAW | BTF_F_ZERO;

/// The most values that are looked at for one text; then it ends with `E2BIG`. The kernel has no such limit, but its own types.
const VALUES_MAX: u32 = 1 << 20;
/// Bytes that are read at a time.
const SAFE_LEN: u64 = 32;
/// What a value needs of them at most.
const VALUE_LEN: u64 = 16;
/// Bytes of a member's and type's name with a NUL; what is longer is cut.
const NAME_LEN: usize = 80;
/// The most pointers, arrays and typedefs of one type name.
const NAME_STEPS: usize = 10;
/// The deepest indentation, in spaces.
const INDENT_MAX: usize = 32;

/// Where the bytes come from, and what stands for addresses.
pub(super) trait Source {
    /// Reads memory as the kernel does where a fault is an errno.
    fn read(&self, addr: u64, to: &mut [u8]) -> Result<(), Errno>;
    /// What is printed in place of an address.
    fn hashed(&self, addr: u64) -> u64;
}

/// The text of a value.
pub(super) struct Shown {
    /// As much as there was room for.
    pub(super) bytes: Vec<u8>,
    /// How long all of it would be, in bytes.
    pub(super) len: u64,
    /// What the last read of memory came to.
    pub(super) status: Result<(), Errno>,
}

/// Shows the value of type `id` at `addr`, in at most `room` bytes.
pub(super) fn show(btf: &Btf, id: TypeId, addr: u64, flags: u64, source: &dyn Source, room: usize) -> Shown {
    let shown = Shown { bytes: Vec::new(), len: 0, status: Ok(()) };
    let mut show =
        Show { btf, source, flags, room, shown, state: State::default(), safe: Safe::new(), values: 0 };
    if let Some(ty) = btf.ty(id) {
        show.value(ty, id, addr, 0);
    }
    show.shown
}

/// What the value before leaves for the next.
#[derive(Default)]
struct State<'a> {
    depth: usize,
    /// The type being shown and the id that named it, before typedefs were followed.
    ty: Option<KindCode>,
    type_id: TypeId,
    member: Option<Member<'a>>,
    array_member: bool,
    /// Elements of one byte, shown as characters.
    array_chars: bool,
    array_terminated: bool,
    /// Not 0: nothing is printed, it is only found out whether there is something to print at this depth.
    depth_check: usize,
    depth_to_show: usize,
}

/// The bytes read last.
struct Safe {
    /// What lies behind the bytes is zero, for enumerations that are shorter than what is read of them.
    bytes: [u8; 2 * SAFE_LEN as usize],
    /// Where they are from; 0 before the first.
    addr: u64,
    /// The whole object.
    head: u64,
    len: u64,
}

struct Show<'a> {
    btf: &'a Btf,
    source: &'a dyn Source,
    flags: u64,
    room: usize,
    shown: Shown,
    state: State<'a>,
    safe: Safe,
    values: u32,
}

impl<'a> Show<'a> {
    fn value(&mut self, ty: Type<'a>, id: TypeId, addr: u64, bit: u32) {
        self.values += 1;
        if self.values > VALUES_MAX || self.state.depth > MAX_DEPTH {
            self.shown.status = Err(Errno::E2BIG);
            return;
        }
        match ty.kind {
            Kind::Int(int) => self.int(int, ty, id, addr, bit),
            Kind::Ptr(_) => self.ptr(ty, id, addr),
            Kind::Array(array) => self.if_not_zero(|show| show.array(array, ty, id, addr)),
            Kind::Struct(composite) | Kind::Union(composite) => {
                self.if_not_zero(|show| show.composite(composite, ty, id, addr));
            }
            Kind::Enum(enumeration) => self.enumeration(enumeration, 4, ty, id, addr),
            Kind::Enum64(enumeration) => self.enumeration(enumeration, 8, ty, id, addr),
            Kind::Typedef(_) | Kind::Volatile(_) | Kind::Const(_) | Kind::Restrict(_) | Kind::TypeTag(_) => {
                match self.btf.resolve(id) {
                    Some(behind) if behind.kind.alias_of().is_none() => self.value(behind, id, addr, bit),
                    _ => self.shown.status = Err(Errno::EINVAL),
                }
            }
            Kind::Var(var) => {
                if let Some(behind) = self.btf.ty(var.ty) {
                    self.value(behind, var.ty, addr, bit);
                }
            }
            Kind::Void
            | Kind::Fwd(_)
            | Kind::Func(_)
            | Kind::FuncProto(_)
            | Kind::Datasec(_)
            | Kind::Float { .. }
            | Kind::DeclTag(_) => self.put(&format!("<unsupported kind:{}>", ty.kind.code() as u8)),
        }
    }

    /// Shows what is in an aggregate, unless it is all zero and a part of another. A dry run finds that out.
    fn if_not_zero(&mut self, show: impl Fn(&mut Self)) {
        let member = self.state.member;
        let depth = self.state.depth;
        if depth > 0 && self.flags & BTF_F_ZERO == 0 {
            if self.state.depth_check == 0 {
                self.state.depth_check = depth + 1;
                self.state.depth_to_show = 0;
            }
            show(self);
            self.state.member = member;
            if self.state.depth_check != depth + 1 {
                return;
            }
            self.state.depth_check = 0;
            if self.state.depth_to_show <= depth {
                return;
            }
        }
        show(self);
    }

    fn composite(&mut self, composite: Composite<'a>, ty: Type<'a>, id: TypeId, addr: u64) {
        if !self.open(ty, id, addr) {
            return;
        }
        for member in composite.members.iter() {
            self.state.member = Some(member);
            let at = addr.wrapping_add(u64::from(member.bit_off / 8));
            let Some(member_ty) = self.btf.ty(member.ty) else { continue };
            if member.bits != 0 {
                if let Some(bytes) = self.start(member_ty, member.ty, at) {
                    self.bits(&bytes, member.bit_off % 8, u32::from(member.bits));
                }
                self.end();
            } else {
                self.value(member_ty, member.ty, at, member.bit_off % 8);
            }
            self.state.member = None;
        }
        self.close("}");
    }

    fn array(&mut self, array: Array, ty: Type<'a>, id: TypeId, addr: u64) {
        let elem = self.btf.resolve(array.elem).filter(|elem| elem.kind.alias_of().is_none());
        // The kernel takes elements that are pointers or arrays for zero bytes long: it shows the first again and again.
        let elem_len = elem.map_or(0, |elem| match elem.kind {
            Kind::Ptr(_) | Kind::Array(_) => 0,
            _ => self.btf.size_of(elem.id).unwrap_or(0),
        });
        let chars = elem.is_some_and(|elem| match elem.kind {
            Kind::Int(int) => int.size == 1 || int.encoding.is_char(),
            _ => false,
        });
        (self.state.array_chars, self.state.array_terminated) = (chars, false);
        if !self.open(ty, id, addr) {
            return;
        }
        if let Some(elem) = elem {
            for index in 0..u64::from(array.count) {
                (self.state.array_member, self.state.member) = (true, None);
                let at = addr.wrapping_add(index.wrapping_mul(elem_len.into()));
                self.value(elem, array.elem, at, 0);
                (self.state.array_member, self.state.member) = (false, None);
                if self.state.array_terminated || self.values > VALUES_MAX {
                    break;
                }
            }
        }
        (self.state.array_chars, self.state.array_terminated) = (false, false);
        self.close("]");
    }

    fn int(&mut self, int: Int, ty: Type<'a>, id: TypeId, addr: u64, bit: u32) {
        let Some(bytes) = self.start(ty, id, addr) else { return };
        let (bits, signed) = (u32::from(int.bits), int.encoding.is_signed());
        let plain = bit == 0 && int.offset == 0;
        match bits {
            8 | 16 | 32 | 64 if plain => {
                let value = self.number(&bytes, bits / 8) as u64;
                if bits == 8 && self.state.array_chars {
                    if self.state.array_terminated || value == 0 {
                        self.state.array_terminated = true;
                        return self.end();
                    }
                    if (0x20..0x7f).contains(&value) || value >= 0xa0 {
                        self.show_value(|text| {
                            text.push(b'\'');
                            text.push(value as u8);
                            text.push(b'\'');
                        });
                        return self.end();
                    }
                }
                let text = match signed {
                    true => ((value << (64 - bits)) as i64 >> (64 - bits)).to_string(),
                    false => value.to_string(),
                };
                self.show_number(value != 0, &text);
            }
            _ => {
                let from = bit + u32::from(int.offset);
                let rest = bytes.get((from / 8) as usize..).unwrap_or(&[]);
                self.bits(rest, from % 8, bits);
            }
        }
        self.end();
    }

    /// A bit-field, or an integer of an odd length.
    fn bits(&mut self, bytes: &[u8], from: u32, bits: u32) {
        let used = ((from + bits).div_ceil(8)).min(16);
        let value = self.number(bytes, used);
        let value = match self.btf.byte_order() {
            ByteOrder::Little => value >> from.min(127),
            ByteOrder::Big => value >> (used * 8).saturating_sub(from + bits).min(127),
        };
        let value = if bits < 128 { value & ((1u128 << bits) - 1) } else { value };
        let (upper, lower) = ((value >> 64) as u64, value as u64);
        match upper {
            0 => self.show_number(lower != 0, &format!("{lower:#x}")),
            _ => self.show_number(true, &format!("{upper:#x}{lower:016x}")),
        }
    }

    fn enumeration(&mut self, enumeration: Enum<'a>, len: u32, ty: Type<'a>, id: TypeId, addr: u64) {
        let Some(bytes) = self.start(ty, id, addr) else { return };
        // As many bytes as the widest has, whatever the length: the kernel reads an int, or a long.
        let raw = self.number(&bytes, len) as u64;
        let shift = 64 - 8 * len;
        let signed = (raw << shift) as i64 >> shift;
        let same = |value: i128| (value as u64) << shift == raw << shift;
        match enumeration.values.iter().find(|value| same(value.value)) {
            // A name is shown even when it stands for zero.
            Some(value) => self.show_number(true, value.name()),
            None if enumeration.signed => self.show_number(raw != 0, &signed.to_string()),
            None => self.show_number(raw != 0, &raw.to_string()),
        }
        self.end();
    }

    fn ptr(&mut self, ty: Type<'a>, id: TypeId, addr: u64) {
        let Some(bytes) = self.start(ty, id, addr) else { return };
        let value = self.number(&bytes, self.btf.ptr_size()) as u64;
        let seen = if self.flags & BTF_F_PTR_RAW != 0 { value } else { self.source.hashed(value) };
        self.show_number(value != 0, &format!("0x{seen:016x}"));
        self.end();
    }

    fn number(&self, bytes: &[u8], len: u32) -> u128 {
        let len = (len as usize).min(bytes.len()).min(16);
        let mut value = [0; 16];
        match self.btf.byte_order() {
            ByteOrder::Little => {
                value[..len].copy_from_slice(&bytes[..len]);
                u128::from_le_bytes(value)
            }
            ByteOrder::Big => {
                value[16 - len..].copy_from_slice(&bytes[..len]);
                u128::from_be_bytes(value)
            }
        }
    }

    /// Begins a value: its bytes, if they can be read.
    fn start(&mut self, ty: Type<'a>, id: TypeId, addr: u64) -> Option<[u8; SAFE_LEN as usize]> {
        (self.state.ty, self.state.type_id) = (Some(ty.kind.code()), id);
        let Some(len) = self.btf.size_of(ty.id).map(u64::from) else {
            self.shown.status = Err(Errno::EINVAL);
            return None;
        };
        let fits = self.state.depth > 0 && self.safe.holds(addr, len.min(VALUE_LEN));
        if self.state.depth == 0 {
            (self.safe.head, self.safe.len) = (addr, len);
        }
        if !fits {
            let left = self.safe.len.saturating_sub(addr.wrapping_sub(self.safe.head)).min(SAFE_LEN);
            self.shown.status = self.source.read(addr, &mut self.safe.bytes[..left as usize]);
            self.shown.status.ok()?;
            self.safe.addr = addr;
        }
        let off = addr.wrapping_sub(self.safe.addr) as usize;
        self.safe.bytes.get(off..)?.first_chunk().copied()
    }

    fn end(&mut self) {
        (self.state.ty, self.state.type_id) = (None, TypeId::VOID);
    }

    fn open(&mut self, ty: Type<'a>, id: TypeId, addr: u64) -> bool {
        if self.start(ty, id, addr).is_none() {
            return false;
        }
        let text = [&*self.indent(), &self.name(), self.newline()].concat();
        self.put(&text);
        self.state.depth += 1;
        true
    }

    fn close(&mut self, bracket: &str) {
        self.state.depth -= 1;
        let text = [&*self.indent(), bracket, self.delimiter(), self.newline()].concat();
        self.put(&text);
        self.end();
    }

    /// Shows a value's text, unless it is zero and part of an aggregate.
    fn show_number(&mut self, not_zero: bool, text: &str) {
        if not_zero || self.flags & BTF_F_ZERO != 0 || self.state.depth == 0 {
            self.show_value(|line| line.extend_from_slice(text.as_bytes()));
        }
    }

    fn show_value(&mut self, value: impl FnOnce(&mut Vec<u8>)) {
        let mut line = [&*self.indent(), &self.name()].concat().into_bytes();
        value(&mut line);
        line.extend_from_slice(self.delimiter().as_bytes());
        line.extend_from_slice(self.newline().as_bytes());
        self.put_bytes(&line);
        self.state.depth_to_show = self.state.depth_to_show.max(self.state.depth);
    }

    fn indent(&self) -> String {
        let depth = if self.flags & BTF_F_COMPACT != 0 { 0 } else { self.state.depth };
        " ".repeat(depth.min(INDENT_MAX))
    }

    fn newline(&self) -> &'static str {
        if self.flags & BTF_F_COMPACT != 0 { "" } else { "\n" }
    }

    fn delimiter(&self) -> &'static str {
        match self.state.ty {
            _ if self.state.depth == 0 => "",
            Some(KindCode::Union) if self.flags & BTF_F_COMPACT != 0 => "|",
            _ => ",",
        }
    }

    /// What stands before a value: its member's name, its type in parentheses, an opening bracket.
    fn name(&self) -> String {
        if self.state.array_member {
            return String::new();
        }
        let member = self.state.member.map_or("", |member| member.name());
        let id = self.state.member.map_or(self.state.type_id, |member| member.ty);
        let Some(parts) = NameParts::new(self.btf, id) else { return String::new() };
        if self.flags & BTF_F_NONAME != 0 {
            return parts.bracket.into();
        }
        let mut text = if member.is_empty() { String::new() } else { format!(".{member} = ") };
        let space = if parts.keyword.is_empty() || parts.name.is_empty() { "" } else { " " };
        let stars = "*".repeat(parts.pointers);
        let gap = if stars.is_empty() { "" } else { " " };
        text.push_str(&format!(
            "({}{space}{}{gap}{stars}{}){}",
            parts.keyword,
            parts.name,
            "[]".repeat(parts.arrays),
            parts.bracket
        ));
        while text.len() >= NAME_LEN {
            text.pop();
        }
        text
    }

    fn put(&mut self, text: &str) {
        self.put_bytes(text.as_bytes());
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        if self.state.depth_check != 0 {
            return;
        }
        let room = self.room.saturating_sub(self.shown.bytes.len());
        self.shown.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.shown.len += bytes.len() as u64;
    }
}

impl Safe {
    fn new() -> Safe {
        Safe { bytes: [0; 2 * SAFE_LEN as usize], addr: 0, head: 0, len: 0 }
    }

    /// The bytes at `addr` are among those that were read. A value that ends where they end is read anew.
    fn holds(&self, addr: u64, len: u64) -> bool {
        let off = addr.wrapping_sub(self.addr);
        self.addr != 0 && off < SAFE_LEN && off + len < SAFE_LEN
    }
}

/// The parts of a type's name as it is printed.
struct NameParts<'a> {
    keyword: &'static str,
    name: &'a str,
    pointers: usize,
    arrays: usize,
    bracket: &'static str,
}

impl<'a> NameParts<'a> {
    fn new(btf: &'a Btf, id: TypeId) -> Option<NameParts<'a>> {
        let mut ty = btf.ty(id)?;
        let (mut name, mut typedef) = (None, false);
        let (mut pointers, mut arrays) = (0, 0);
        for step in 0.. {
            if step == NAME_STEPS {
                return None;
            }
            let next = match ty.kind {
                Kind::Typedef(next) => {
                    name = name.or(Some(ty.name()));
                    typedef = true;
                    next
                }
                Kind::Array(array) => {
                    arrays += 1;
                    array.elem
                }
                Kind::Ptr(next) => {
                    pointers += 1;
                    next
                }
                _ => break,
            };
            if next == TypeId::VOID {
                break;
            }
            ty = btf.skip_qualifiers(next)?;
        }
        let (keyword, opens) = match ty.kind {
            Kind::Struct(_) => ("struct", true),
            Kind::Union(_) => ("union", true),
            Kind::Enum(_) | Kind::Enum64(_) => ("enum", false),
            _ => ("", false),
        };
        let bracket = match opens {
            _ if pointers > 0 => "",
            _ if arrays > 0 => "[",
            true => "{",
            false => "",
        };
        let keyword = if typedef { "" } else { keyword };
        Some(NameParts { keyword, name: name.unwrap_or(ty.name()), pointers, arrays, bracket })
    }
}
