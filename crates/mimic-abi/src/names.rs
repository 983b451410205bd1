//! What the numbers in instructions are called: the door through which platforms lend their names to the
//! assembler and the disassembler.
//!
//! Holds no names itself.

/// Names of helpers and kernel functions, both ways. Every method may know nothing.
pub trait Names {
    /// The name of a helper, with its `bpf_` prefix.
    fn helper(&self, id: u32) -> Option<&str> {
        let _ = id;
        None
    }

    /// The number of the helper with this name.
    fn helper_id(&self, name: &str) -> Option<u32> {
        let _ = name;
        None
    }

    /// The name of a kernel function, by BTF id and index in the load's `fd_array` (0 is vmlinux).
    fn kfunc(&self, btf_id: i32, fd_idx: i16) -> Option<&str> {
        let _ = (btf_id, fd_idx);
        None
    }

    /// BTF id and `fd_array` index of the kernel function with this name.
    fn kfunc_id(&self, name: &str) -> Option<(i32, i16)> {
        let _ = name;
        None
    }
}

/// Knows no names.
impl Names for () {}
