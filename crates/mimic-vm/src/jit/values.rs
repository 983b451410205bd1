//! `Values`: which registers hold a constant, or an address in the frame, as the translator walks along.

use super::flow::ARGS;
use crate::op::{Code, Kind, Op};
use mimic_abi::{AluOp, Width};

/// What is known of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Unknown,
    Constant(u64),
    /// r10 and this many bytes.
    Frame(i32),
}

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Values([Value; 16]);

impl Values {
    /// Nothing is known, but of r10.
    pub(super) fn new() -> Values {
        let mut values = [Value::Unknown; 16];
        values[10] = Value::Frame(0);
        Values(values)
    }

    pub(super) fn of(&self, reg: u8) -> Value {
        self.0[usize::from(reg & 15)]
    }

    /// Goes over an op.
    pub(super) fn step(&mut self, op: &Op) {
        let (dst, src) = (usize::from(op.dst & 15), usize::from(op.src & 15));
        match op.code.kind() {
            Kind::Alu(AluOp::Mov, Width::W64, false) => self.0[dst] = self.0[src],
            Kind::Alu(AluOp::Mov, Width::W64, true) => self.0[dst] = Value::Constant(op.imm),
            Kind::Alu(AluOp::Mov, Width::W32, true) => {
                self.0[dst] = Value::Constant(u64::from(op.imm as u32));
            }
            Kind::Alu(AluOp::Add, Width::W64, true) => self.0[dst] = moved(self.0[dst], op.imm),
            Kind::Alu(..) => self.0[dst] = Value::Unknown,
            Kind::Branch(..) => {}
            Kind::Other(Code::LdImm64) => self.0[dst] = Value::Constant(op.imm),
            Kind::Other(code) => self.other(code, dst),
        }
    }

    fn other(&mut self, code: Code, dst: usize) {
        match code {
            Code::Goto | Code::MayGoto | Code::Exit | Code::End | Code::WriteR10 => {}
            code if code.is_store() => {}
            // r1 to r5 keep their values.
            Code::CallHelper => self.0[0] = Value::Unknown,
            Code::CallSubprog | Code::CallX => self.forget(ARGS | 1),
            Code::Rare => self.forget(0x3ff),
            _ => self.0[dst] = Value::Unknown,
        }
    }

    fn forget(&mut self, regs: u16) {
        for (reg, value) in self.0.iter_mut().enumerate() {
            if regs & 1 << reg != 0 {
                *value = Value::Unknown;
            }
        }
    }
}

fn moved(value: Value, by: u64) -> Value {
    match value {
        Value::Unknown => Value::Unknown,
        Value::Constant(value) => Value::Constant(value.wrapping_add(by)),
        Value::Frame(off) => {
            i32::try_from(i64::from(off).saturating_add(by as i64)).map_or(Value::Unknown, Value::Frame)
        }
    }
}
