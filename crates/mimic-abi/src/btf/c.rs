//! Types as C: a header like `vmlinux.h`, or one declaration.
//!
//! The header compiles, and what it declares has the layout that the BTF records: padding is written where the
//! compiler would leave none, and a structure is packed if nothing else gives its layout. Alignments beyond what its
//! members need are not recorded: padding keeps size and offsets, the attribute is lost. It has types only; functions
//! and variables are left out. Names that C does not allow, or that are taken, are changed.
//!
//! Anonymous structures and unions are written where they are used. An anonymous enumeration is written where it is
//! used first; further uses have an integer type.

mod layout;
mod names;
mod order;
mod writer;

use core::fmt;

use super::{Btf, TypeId};
use order::Order;
use writer::Writer;

/// Types as a C header: shows with `{}`.
///
/// ```
/// use mimic_abi::btf::{Btf, BtfBuilder, Field, IntEncoding};
///
/// let mut builder = BtfBuilder::new();
/// let int = builder.int("int", 4, IntEncoding::SIGNED);
/// builder.structure("s", 8, [Field::new("x", int, 0), Field::bits("y", int, 32, 3)]);
/// let btf = Btf::parse(builder.to_bytes(mimic_abi::ByteOrder::Little)?)?;
///
/// assert_eq!(btf.c_header().guard(false).to_string(), "struct s {\n\tint x;\n\tint y: 3;\n};\n\n");
/// # Ok::<(), mimic_abi::btf::BtfError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CHeader<'a> {
    btf: &'a Btf,
    roots: Option<Vec<TypeId>>,
    guard: bool,
    asserts: bool,
}

/// A type or declaration in C: shows with `{}`.
#[derive(Clone, Copy, Debug)]
pub struct CDecl<'a> {
    btf: &'a Btf,
    ty: TypeId,
    name: &'a str,
}

impl Btf {
    /// All types as a C header.
    pub fn c_header(&self) -> CHeader<'_> {
        CHeader { btf: self, roots: None, guard: true, asserts: false }
    }

    /// A variable of the type in C: `const char name[16]`; without a name, the type: `struct sk_buff *`.
    /// Anonymous structures are shown as `struct {...}`.
    pub fn c_decl<'a>(&'a self, ty: TypeId, name: &'a str) -> CDecl<'a> {
        CDecl { btf: self, ty, name }
    }
}

impl CHeader<'_> {
    /// Only these types and what they need.
    pub fn only(self, roots: impl IntoIterator<Item = TypeId>) -> Self {
        CHeader { roots: Some(roots.into_iter().collect()), ..self }
    }

    /// With an include guard and, for clang, `preserve_access_index` on all types, so that programs can be relocated
    /// to other kernels. On unless switched off.
    pub fn guard(self, guard: bool) -> Self {
        CHeader { guard, ..self }
    }

    /// With `_Static_assert`s that the compiler's layout is the recorded one.
    pub fn asserts(self, asserts: bool) -> Self {
        CHeader { asserts, ..self }
    }
}

impl fmt::Display for CHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const START: &str = "\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

";
        const END: &str = "\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
";
        if self.guard {
            f.write_str(START)?;
        }
        let mut order = Order::new(self.btf, self.asserts);
        match &self.roots {
            Some(roots) => roots.iter().try_for_each(|&root| order.root(f, root))?,
            None => self.btf.types().try_for_each(|ty| order.root(f, ty.id))?,
        }
        order.finish(f, self.roots.is_none())?;
        if self.guard { f.write_str(END) } else { Ok(()) }
    }
}

impl fmt::Display for CDecl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Writer::short(self.btf).declaration(self.ty, self.name))
    }
}
