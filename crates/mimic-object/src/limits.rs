//! Every bound on what an object file may ask for. Nothing read from a file sizes an allocation that is not bounded here
//! or by the length of the file itself.

/// Longest object file, in bytes.
pub const MAX_OBJECT_LEN: usize = 64 << 20;
/// Longest section, symbol or string-table name, in bytes without the NUL.
pub const MAX_NAME_LEN: usize = 1024;
/// Largest data section (`.bss` above all, which takes no room in the file), in bytes. The kernel's bound on the value of an array.
pub const MAX_DATA_LEN: u64 = i32::MAX as u64;
/// Slots in one linked program. The kernel takes a million.
pub const MAX_PROGRAM_SLOTS: usize = 1_000_000;
/// Slots of an object's maps of maps and programs that are filled from the start.
pub const MAX_INIT_SLOTS: usize = 1 << 16;
/// Errors collected before reading stops.
pub const MAX_ERRORS: usize = 100;
/// Warnings kept.
pub const MAX_WARNINGS: usize = 100;
/// Depth of an access in a CO-RE relocation (`a.b[1].c…`), the kernel's and libbpf's number.
pub const MAX_CORE_SPEC_LEN: usize = 64;
/// Modifiers and typedefs followed from one type, and nesting of compared types.
pub const MAX_TYPE_DEPTH: usize = 32;
/// Types, members and enumerators looked at for the CO-RE relocations of one program.
pub const MAX_COMPARE_STEPS: u32 = 1 << 23;
/// Programs of one object.
pub const MAX_PROGRAMS: usize = 1 << 14;
/// Bytes of a source line's text, and of its file's name, that are kept.
pub const MAX_LINE_TEXT: usize = 1024;
/// Bytes of all source lines of one linked program; lines beyond it have numbers only.
pub const MAX_LINES_TEXT: usize = 32 << 20;
/// Bytes of a CO-RE access string.
pub const MAX_ACCESS_LEN: usize = 1024;
/// Bytes of all `__kconfig` variables of an object.
pub const MAX_KCONFIG_LEN: u32 = 1 << 20;
/// Maps of one object.
pub const MAX_MAPS: usize = 4096;
