//! `StructOpsHandle`: a table of operations of a kernel subsystem that an object defines (`SEC(".struct_ops")`), with its programs.

use crate::error::{Error, ResultExt};
use crate::loaded::{Loaded, Run, Runnable};
use mimic_abi::btf::{Btf, KindCode};
use mimic_abi::{Errno, MapType};
use mimic_linux::Linux;
use mimic_linux::maps::{LinuxMap, StructOpsMap, StructOpsState};
use mimic_linux::progs::{Arg, FuncModel, TracePoint, TracingContext};
use mimic_object::{MapSpec, StructOps};
use mimic_vm::Map;
use std::any::Any;
use std::sync::Arc;

/// A table of operations, loaded.
pub struct StructOpsHandle<'a> {
    loaded: &'a Loaded,
    ops: &'a StructOps,
    map: Arc<dyn Map>,
}

/// `BPF_F_LINK`.
const BPF_F_LINK: u32 = 1 << 13;
/// Bytes of `struct bpf_struct_ops_common_value`, and what the table is aligned to behind it.
const DATA_OFF: usize = 64;

impl<'a> StructOpsHandle<'a> {
    /// Makes the map of a table.
    pub(crate) fn new(loaded: &'a Loaded, ops: &'a StructOps) -> Result<StructOpsHandle<'a>, Error> {
        let vm = loaded.vm();
        let linux = vm.emulator_as::<Linux>();
        let linux = linux.ok_or_else(|| Error::usage("only Linux has tables of operations"))?;
        let spec = MapSpec {
            name: ops.name.clone(),
            map_type: MapType::StructOps.id(),
            key_size: 4,
            value_size: (DATA_OFF + ops.data.len()) as u32,
            max_entries: 1,
            map_flags: if ops.link { BPF_F_LINK } else { 0 },
            ..MapSpec::default()
        };
        let btf = loaded.object().btf.as_deref();
        let name = btf.and_then(|btf| text_member(btf, ops, "name")).unwrap_or_default();
        let map = linux.struct_ops_map(vm, &spec, kernel_name(&ops.type_name), &name);
        Ok(StructOpsHandle { loaded, ops, map })
    }

    /// The variable's name in the object.
    pub fn name(&self) -> &str {
        &self.ops.name
    }

    /// The subsystem's structure.
    pub fn type_name(&self) -> &str {
        kernel_name(&self.ops.type_name)
    }

    /// The operations that have programs: member and program.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ops.funcs.iter().map(|func| (func.member.as_str(), func.program.as_str()))
    }

    /// How far it has come.
    pub fn state(&self) -> StructOpsState {
        self.ops_map().map_or(StructOpsState::Init, StructOpsMap::state)
    }

    /// Gives it to the subsystem: by an update of the map, and for those of `.struct_ops.link` by a link too.
    pub fn register(&self) -> Result<(), Errno> {
        if self.state() == StructOpsState::Init {
            let mut value = vec![0; DATA_OFF];
            value.extend_from_slice(&self.ops.data);
            self.map.update_copy(&[0; 4], &value, 0)?;
        } else if !self.ops.link {
            return Err(Errno::EBUSY);
        }
        match self.ops.link {
            true => self.ops_map().ok_or(Errno::EINVAL)?.attach(),
            false => Ok(()),
        }
    }

    /// Takes it back: the link goes, or the map's element is deleted.
    pub fn unregister(&self) -> Result<(), Errno> {
        match self.ops.link {
            true => self.ops_map().ok_or(Errno::EINVAL)?.detach(),
            false => self.map.delete_key(&[0; 4]),
        }
    }

    /// The map: its value, its state.
    pub fn map(&self) -> &Arc<dyn Map> {
        &self.map
    }

    /// The program of an operation.
    pub fn program(&self, member: &str) -> Result<Runnable<'a>, Error> {
        let func = self.ops.funcs.iter().find(|func| func.member == member);
        let func = func.ok_or_else(|| {
            let known: Vec<&str> = self.members().map(|(member, _)| member).collect();
            Error::usage(format!(
                "{} does no operation {member}; it does {}",
                self.ops.name,
                known.join(", ")
            ))
        })?;
        self.loaded.program(&func.program)
    }

    /// Calls an operation with these arguments, which have to be those of its prototype.
    pub fn call(
        &self,
        member: &str,
        args: impl IntoIterator<Item = Arg>,
    ) -> Result<Run<TracingContext>, Error> {
        let what = || format!("operation {member} of {}", self.ops.name);
        let linux = self.loaded.vm().emulator_as::<Linux>();
        let kernel = linux.and_then(|linux| linux.btf()).map(|btf| (&**btf, self.type_name()));
        let own = self.loaded.object().btf.as_deref().map(|btf| (btf, self.ops.type_name.as_str()));
        let mut models = [kernel, own].into_iter().flatten();
        let model = models.find_map(|(btf, name)| FuncModel::of_member(btf, name, member).ok());
        let model = model.ok_or_else(|| Error::usage("its prototype is not known")).context(what)?;
        let context = model.context(TracePoint::Entry, args, 0);
        let context = context.map_err(|error| Error::usage(error.to_string())).context(what)?;
        self.program(member)?.run(context)
    }

    fn ops_map(&self) -> Option<&StructOpsMap> {
        let any: &dyn Any = &*self.map;
        any.downcast_ref::<LinuxMap<StructOpsMap>>().map(LinuxMap::ops)
    }
}

/// The kernel's name of a type: without the flavour of CO-RE.
fn kernel_name(name: &str) -> &str {
    name.split("___").next().unwrap_or(name)
}

/// The text in an array of characters of a table.
fn text_member(btf: &Btf, ops: &StructOps, member: &str) -> Option<String> {
    let ty = btf.find(&ops.type_name, KindCode::Struct)?;
    let member = btf.member(ty.id, member)?;
    let off = (member.bit_off / 8) as usize;
    let bytes = ops.data.get(off..off.checked_add(btf.size_of(member.ty)? as usize)?)?;
    let text = bytes.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}
