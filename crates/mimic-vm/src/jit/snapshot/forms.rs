//! The instruction forms, as text.

use super::Checks;
use mimic_abi::{AluOp, Cond};

/// Instructions, and what code is made for.
pub(super) struct Form {
    /// One line.
    pub(super) text: String,
    pub(super) checks: Checks,
    pub(super) ctx: bool,
    pub(super) frames_outside: bool,
}

impl Form {
    pub(super) fn name(&self) -> String {
        let ctx = if self.ctx { ", with a context" } else { "" };
        let outside = if self.frames_outside { ", frames outside" } else { "" };
        let checks = match self.checks {
            Checks::Precise => "precise",
            Checks::Cage => "cage",
        };
        format!("{} ({checks}{ctx}{outside})", self.text)
    }
}

fn form(text: impl Into<String>, checks: Checks) -> Form {
    Form { text: text.into(), checks, ctx: false, frames_outside: false }
}

fn caged(text: impl Into<String>) -> Form {
    form(text, Checks::Cage)
}

/// In both ways.
fn both(text: impl Into<String>) -> [Form; 2] {
    let text = text.into();
    [form(text.clone(), Checks::Precise), caged(text)]
}

/// All of them.
pub(super) fn forms() -> Vec<Form> {
    let mut all = arithmetic();
    all.extend(shifts());
    all.extend(moves());
    all.extend(loads_and_stores());
    all.extend(atomics());
    all.extend(branches());
    all.extend(calls());
    all.extend(several());
    all
}

fn operator(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div => "/=",
        AluOp::Sdiv => "s/=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Mod => "%=",
        AluOp::Smod => "s%=",
        AluOp::Xor => "^=",
        AluOp::Mov => "=",
        AluOp::Arsh => "s>>=",
    }
}

fn is_shift(op: AluOp) -> bool {
    matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh)
}

fn arithmetic() -> Vec<Form> {
    let mut all = Vec::new();
    for op in AluOp::ALL.iter().filter(|op| !is_shift(**op)) {
        let op = operator(*op);
        for (dst, src) in [("r1", "r2"), ("w1", "w2"), ("r6", "r1"), ("r0", "r2")] {
            all.push(caged(format!("{dst} {op} {src}")));
        }
        // What fits and what does not fit, in one machine or the other.
        let imms: &[i32] = match op {
            "+=" | "-=" => &[0, 1, -1, 4095, 4096, 0xff000, -4096, 0x12_3456, 0x1234_5678, i32::MIN],
            "|=" | "&=" | "^=" => &[0, -1, 255, 256, -256, 0x0f0f_0f0f, 0x1234_5678],
            "=" => &[0, 1, -1, 0x1234_5678, -0x1234, 0xff00],
            _ => &[0, 1, -1, 7, 64, 0x1234_5678],
        };
        for imm in imms {
            all.push(caged(format!("r1 {op} {imm}")));
            all.push(caged(format!("w1 {op} {imm}")));
        }
    }
    all
}

pub(super) fn shifts() -> Vec<Form> {
    let mut all = Vec::new();
    for op in AluOp::ALL.iter().filter(|op| is_shift(**op)) {
        let op = operator(*op);
        // x86's shifts take their count in a register of their own, r3's.
        for (dst, src) in [("r1", "r2"), ("r1", "r3"), ("r3", "r1"), ("r3", "r3"), ("w1", "w2"), ("w3", "w1")]
        {
            all.push(caged(format!("{dst} {op} {src}")));
        }
        for count in [0, 1, 31] {
            all.push(caged(format!("r1 {op} {count}")));
            all.push(caged(format!("w1 {op} {count}")));
        }
    }
    all
}

fn moves() -> Vec<Form> {
    let mut all: Vec<Form> = ["r1 = -r1", "w1 = -w1", "r1 = (s8)r2", "r1 = (s16)r2", "r1 = (s32)r2"]
        .into_iter()
        .chain(["w1 = (s8)w2", "w1 = (s16)w2", "r1 = bswap16 r1", "r1 = bswap32 r1", "r1 = bswap64 r1"])
        .chain([
            "r1 = le16 r1",
            "r1 = le32 r1",
            "r1 = le64 r1",
            "r1 = be16 r1",
            "r1 = be32 r1",
            "r1 = be64 r1",
        ])
        .chain(["w1 = w1", "r1 = r1", "r1 = r10"])
        .map(caged)
        .collect();
    for value in [0u64, 5, 0xffff_ffff, 0x8000_0000, 0x1_0000_0000, 0x1234_5678_9abc_def0, u64::MAX] {
        all.push(caged(format!("r1 = {value:#x} ll")));
    }
    for value in
        [0xffff_ffff_ffff_1234u64, 0xffff_1234_ffff_ffff, 0x00ff_00ff_00ff_00ff, 0x1234_0000_0000_0000]
    {
        all.push(caged(format!("r1 = {value:#x} ll")));
    }
    all
}

fn loads_and_stores() -> Vec<Form> {
    let mut all = Vec::new();
    for size in ["u8", "u16", "u32", "u64", "s8", "s16", "s32"] {
        all.extend(both(format!("r1 = *({size} *)(r2 + 0)")));
        all.extend(both(format!("r1 = *({size} *)(r2 + 12)")));
        all.push(caged(format!("r1 = *({size} *)(r10 - 8)")));
    }
    for size in ["u8", "u16", "u32", "u64"] {
        for src in ["r2", "0", "-5", "305419896"] {
            all.extend(both(format!("*({size} *)(r1 + 0) = {src}")));
            all.push(caged(format!("*({size} *)(r10 - 16) = {src}")));
        }
    }
    for off in ["- 1", "- 256", "- 257", "- 32768", "+ 255", "+ 256", "+ 4095", "+ 32760"] {
        all.push(caged(format!("r1 = *(u64 *)(r2 {off})")));
    }
    all.push(form("r1 = *(u64 *)(r2 + 32767)", Checks::Precise));
    all.push(caged("r1 = *(u64 *)(r10 - 512)"));
    all.push(caged("r1 = *(u64 *)(r10 - 520)"));
    // Addresses that are cut once.
    all.push(caged("r1 = *(u64 *)(r2 + 8); r3 = *(u64 *)(r2 + 16); *(u64 *)(r2 + 24) = r3"));
    all.push(caged("w2 = w2; r1 = *(u64 *)(r2 + 8)"));
    // The context's fields.
    for text in [
        "r2 = *(u32 *)(r1 + 0)",
        "r2 = *(u16 *)(r1 + 6)",
        "r2 = *(u32 *)(r1 + 8)",
        "*(u32 *)(r1 + 0) = r2",
        "*(u32 *)(r1 + 4) = r2",
        "r3 = r1; r3 += r2; r2 = *(u32 *)(r3 + 0)",
    ] {
        all.push(Form { ctx: true, ..caged(text) });
    }
    all
}

pub(super) fn atomics() -> Vec<Form> {
    let mut all = Vec::new();
    for (size, name) in [("u32", "atomic"), ("u64", "atomic64")] {
        for op in ["+=", "|=", "&=", "^="] {
            all.push(caged(format!("lock *({size} *)(r1 + 8) {op} r2")));
        }
        for op in ["add", "or", "and", "xor"] {
            all.push(caged(format!("r2 = {name}_fetch_{op}(({size} *)(r1 + 8), r2)")));
        }
        let (xchg, cmpxchg) = match size {
            "u32" => ("w2 = xchg32_32(r1 + 8, w2)", "w0 = cmpxchg32_32(r1 + 8, w0, w2)"),
            _ => ("r2 = xchg_64(r1 + 8, r2)", "r0 = cmpxchg_64(r1 + 8, r0, r2)"),
        };
        all.push(caged(xchg));
        all.push(caged(cmpxchg));
    }
    all.extend(both("lock *(u64 *)(r2 + 0) += r1"));
    all.push(caged("lock *(u64 *)(r10 - 8) += r1"));
    for size in ["u8", "u16", "u32", "u64"] {
        all.extend(both(format!("r1 = load_acquire(({size} *)(r2 + 4))")));
        all.extend(both(format!("store_release(({size} *)(r1 + 4), r2)")));
    }
    all
}

pub(super) fn branches() -> Vec<Form> {
    let mut all = Vec::new();
    for cond in Cond::ALL {
        let op = match cond {
            Cond::Eq => "==",
            Cond::Gt => ">",
            Cond::Ge => ">=",
            Cond::Set => "&",
            Cond::Ne => "!=",
            Cond::Sgt => "s>",
            Cond::Sge => "s>=",
            Cond::Lt => "<",
            Cond::Le => "<=",
            Cond::Slt => "s<",
            Cond::Sle => "s<=",
        };
        for src in ["r2", "0", "5", "-5", "4096", "19088743"] {
            all.push(caged(format!("if r1 {op} {src} goto +1; r0 = 1")));
        }
        for src in ["w2", "0", "5", "-5"] {
            all.push(caged(format!("if w1 {op} {src} goto +1; r0 = 1")));
        }
    }
    all.push(caged("goto +1; r0 = 1"));
    all.push(caged("goto -1"));
    all.push(caged("if r1 > r2 goto -1"));
    all.push(caged("may_goto +1; r0 = 1"));
    all.push(caged("r1 = 1; may_goto -2"));
    all
}

fn calls() -> Vec<Form> {
    let mut all = vec![
        caged("call 1"),
        caged("call 1; r0 += r1; r0 += r5"),
        caged("call f; exit; f: r0 = 1"),
        caged("may_goto +0; call f; exit; f: r0 = 1"),
        caged("callx r1"),
        caged("r10 = 1"),
        caged("r0 = *(u16 *)skb[12]"),
        caged("r0 = *(u16 *)skb[r1 + 12]"),
        caged("r1 = addr_space_cast(r2, 0, 1)"),
    ];
    all.push(Form { frames_outside: true, ..caged("call f; exit; f: r0 = 1") });
    all
}

/// What is emitted as one.
fn several() -> Vec<Form> {
    [
        "r0 = r3; r0 <<= 13; r3 >>= 51; r0 |= r3; r3 = 0",
        "w0 = w3; w0 <<= 7; w3 >>= 25; w3 |= w0; r0 = r3",
        "r2 = r3; r2 >>= 43; r0 = r3; r0 <<= 21; r0 |= r2; r2 = 0",
        "r0 = r3; r0 += 77",
        "r0 = r3; r0 += -5000000",
        "r0 = r3; r0 += r4",
        "r0 = r3; r0 &= 255",
        "w0 = w3; w0 &= 65535",
        "r0 <<= 32; r0 >>= 32",
        "r0 <<= 32; r0 s>>= 32",
    ]
    .into_iter()
    .map(caged)
    .collect()
}
