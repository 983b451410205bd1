//! Every bound on what an object file may ask for. Nothing read from a file sizes an allocation that is not bounded here
//! or by the length of the file itself.

/// Longest object file, in bytes.
pub const MAX_OBJECT_LEN: usize = 256 << 20;
/// Longest section, symbol or string-table name, in bytes without the NUL.
pub const MAX_NAME_LEN: usize = 4096;
/// Largest data section (`.bss` above all, which takes no room in the file), in bytes. The kernel's bound on the value of an array.
pub const MAX_DATA_LEN: u64 = i32::MAX as u64;
/// Slots in one linked program. The kernel takes a million.
pub const MAX_PROGRAM_SLOTS: usize = 1_000_000;
/// Statically initialised slots of one map. Legal objects have a few; the number is bounded by the variable's size.
pub const MAX_INIT_SLOTS: usize = 1 << 20;
/// Errors collected before reading stops.
pub const MAX_ERRORS: usize = 100;
/// Warnings kept.
pub const MAX_WARNINGS: usize = 100;
/// Depth of an access in a CO-RE relocation (`a.b[1].c…`), the kernel's and libbpf's number.
pub const MAX_CORE_SPEC_LEN: usize = 64;
/// Modifiers and typedefs followed from one type, and nesting of compared types.
pub const MAX_TYPE_DEPTH: usize = 32;
/// Types looked at for one CO-RE relocation.
pub const MAX_COMPARE_STEPS: u32 = 1 << 20;
/// Bytes of all `__kconfig` variables of an object.
pub const MAX_KCONFIG_LEN: u32 = 1 << 20;
/// Maps of one object.
pub const MAX_MAPS: usize = 4096;
