//! In which order types are written: what a type needs comes before it.
//!
//! A pointer to a structure needs no more than its name, which a forward declaration gives; what is part of another
//! needs to be complete. Works off a list instead of calling itself, as kernels nest deep.

use core::fmt;
use std::collections::HashSet;

use super::names::base_type;
use super::writer::{Writer, is_builtin};
use crate::btf::{Btf, Kind, MAX_DEPTH, Type, TypeId};

/// Writes types one by one.
pub(super) struct Order<'a> {
    btf: &'a Btf,
    writer: Writer<'a>,
    /// What of each type was written, or is being.
    states: Vec<State>,
    asserts: bool,
}

/// What another type needs of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Need {
    Name,
    Whole,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    name: Progress,
    whole: Progress,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Open,
    Begun,
    Done,
}

type Item = (TypeId, Need);

struct Frame {
    item: Item,
    needs: Vec<Item>,
    next: usize,
}

impl<'a> Order<'a> {
    pub(super) fn new(btf: &'a Btf, asserts: bool) -> Order<'a> {
        let states = vec![State::default(); btf.type_count() as usize];
        Order { btf, writer: Writer::new(btf), states, asserts }
    }

    /// Writes a type and what it needs. Nothing for types without a name, functions and variables.
    pub(super) fn root(&mut self, f: &mut fmt::Formatter<'_>, id: TypeId) -> fmt::Result {
        let mut needs = Vec::new();
        match self.btf.ty(id).map(|ty| ty.kind) {
            // They come where they are used.
            Some(Kind::Struct(_) | Kind::Union(_) | Kind::Enum(_) | Kind::Enum64(_))
                if self.btf.ty(id).is_some_and(|ty| ty.name().is_empty()) => {}
            Some(
                Kind::Struct(_)
                | Kind::Union(_)
                | Kind::Enum(_)
                | Kind::Enum64(_)
                | Kind::Typedef(_)
                | Kind::Fwd(_),
            ) => needs.push((id, Need::Whole)),
            _ => {}
        }
        needs.into_iter().try_for_each(|item| self.require(f, item))
    }

    /// Writes what is left: anonymous enumerations that no type uses, and whether anything had to be left out.
    pub(super) fn finish(&mut self, f: &mut fmt::Formatter<'_>, all: bool) -> fmt::Result {
        for ty in self.btf.types().filter(|ty| all && ty.name().is_empty()) {
            if let Some(text) = self.writer.lone_enum(&ty) {
                f.write_str(&text)?;
            }
        }
        if self.writer.gave_up() {
            f.write_str("#error \"These types unfold to too many; some are left out.\"\n")?;
        }
        Ok(())
    }

    fn require(&mut self, f: &mut fmt::Formatter<'_>, item: Item) -> fmt::Result {
        let mut stack: Vec<Frame> = self.begin(item).into_iter().collect();
        while let Some(frame) = stack.last_mut() {
            if let Some(&need) = frame.needs.get(frame.next) {
                frame.next += 1;
                stack.extend(self.begin(need));
                continue;
            }
            let item = frame.item;
            stack.pop();
            self.write(f, item)?;
        }
        Ok(())
    }

    /// Starts on a type, unless it was started. Types that need themselves to be complete are not C: the compiler
    /// will say so.
    fn begin(&mut self, (id, need): Item) -> Option<Frame> {
        let progress = self.progress((id, need))?;
        if *progress != Progress::Open {
            return None;
        }
        *progress = Progress::Begun;
        let ty = self.btf.ty(id)?;
        let mut needs = Needs { order: self, found: Vec::new(), seen: HashSet::new(), this: id };
        needs.of_item(&ty, need);
        Some(Frame { item: (id, need), needs: needs.found, next: 0 })
    }

    fn write(&mut self, f: &mut fmt::Formatter<'_>, (id, need): Item) -> fmt::Result {
        let Some(ty) = self.btf.ty(id) else {
            return Ok(());
        };
        let whole_begun = self.states.get(id.0 as usize).is_some_and(|state| state.whole == Progress::Done);
        if let Some(progress) = self.progress((id, need)) {
            *progress = Progress::Done;
        }
        match (ty.kind, need) {
            (Kind::Struct(_) | Kind::Union(_), Need::Name) if whole_begun => Ok(()),
            (Kind::Struct(_) | Kind::Union(_) | Kind::Fwd(_), Need::Name) => {
                f.write_str(&self.writer.forward(&ty))
            }
            (Kind::Struct(_) | Kind::Union(_), Need::Whole) => {
                f.write_str(&self.writer.definition(&ty))?;
                if self.asserts { f.write_str(&self.writer.asserts(&ty)) } else { Ok(()) }
            }
            (Kind::Enum(_) | Kind::Enum64(_), Need::Name) => f.write_str(&self.writer.definition(&ty)),
            (Kind::Typedef(_), Need::Name) => {
                f.write_str(&self.writer.typedef(&ty))?;
                if self.asserts { f.write_str(&self.writer.asserts(&ty)) } else { Ok(()) }
            }
            (Kind::Int(_) | Kind::Float { .. }, Need::Name) => f.write_str(&self.writer.odd_base(&ty)),
            _ => Ok(()),
        }
    }

    fn progress(&mut self, (id, need): Item) -> Option<&mut Progress> {
        let state = self.states.get_mut(id.0 as usize)?;
        Some(match need {
            Need::Name => &mut state.name,
            Need::Whole => &mut state.whole,
        })
    }
}

/// Collects what a type needs.
struct Needs<'o, 'a> {
    order: &'o Order<'a>,
    found: Vec<Item>,
    seen: HashSet<Item>,
    this: TypeId,
}

impl Needs<'_, '_> {
    fn of_item(&mut self, ty: &Type<'_>, need: Need) {
        match (ty.kind, need) {
            (Kind::Struct(composite) | Kind::Union(composite), Need::Whole) => {
                composite.members.iter().for_each(|member| self.of(member.ty, Need::Whole, 0));
            }
            (Kind::Typedef(of), Need::Name) => self.of(of, Need::Name, 0),
            (Kind::Typedef(of), Need::Whole) => {
                self.found.push((ty.id, Need::Name));
                self.of(of, Need::Whole, 0);
            }
            // The name of an enumeration can only be declared with its values.
            (Kind::Enum(_) | Kind::Enum64(_) | Kind::Fwd(_), Need::Whole) => {
                self.found.push((self.order.writer.names().definition(ty.id), Need::Name));
            }
            _ => {}
        }
    }

    /// What using the type `id` needs.
    fn of(&mut self, id: TypeId, need: Need, depth: usize) {
        let Some(ty) = self.order.btf.ty(id).filter(|_| depth <= MAX_DEPTH) else {
            return;
        };
        let below = depth + 1;
        match ty.kind {
            Kind::Volatile(of) | Kind::Const(of) | Kind::Restrict(of) => self.of(of, need, below),
            Kind::TypeTag(tag) => self.of(tag.ty, need, below),
            Kind::Typedef(of) if is_builtin(&ty) => self.of(of, need, below),
            Kind::Typedef(_) => self.push((id, need)),
            Kind::Ptr(to) => self.of(to, Need::Name, below),
            // C has no arrays of what isn't complete, not even behind pointers.
            Kind::Array(array) => self.of(array.elem, Need::Whole, below),
            Kind::FuncProto(proto) => {
                if self.seen.insert((id, Need::Name)) {
                    self.of(proto.ret, Need::Name, below);
                    proto.params.iter().for_each(|param| self.of(param.ty, Need::Name, below));
                }
            }
            Kind::Struct(composite) | Kind::Union(composite) if ty.name().is_empty() => {
                if self.seen.insert((id, Need::Whole)) {
                    composite.members.iter().for_each(|member| self.of(member.ty, Need::Whole, below));
                }
            }
            Kind::Struct(_) | Kind::Union(_) => self.push((id, need)),
            Kind::Enum(_) | Kind::Enum64(_) if ty.name().is_empty() => {}
            Kind::Enum(_) | Kind::Enum64(_) | Kind::Fwd(_) => {
                self.push((self.order.writer.names().definition(id), Need::Name));
            }
            Kind::Int(_) | Kind::Float { .. } => {
                if base_type(self.order.btf, &ty).is_none() {
                    self.push((id, Need::Name));
                }
            }
            Kind::Void | Kind::Func(_) | Kind::Var(_) | Kind::Datasec(_) | Kind::DeclTag(_) => {}
        }
    }

    fn push(&mut self, item: Item) {
        // A structure's own name is declared where its definition starts.
        if item != (self.this, Need::Name) && self.seen.insert(item) {
            self.found.push(item);
        }
    }
}
