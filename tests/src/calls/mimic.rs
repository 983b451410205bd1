//! Runs the programs in mimic.

use mimic_abi::ByteOrder;
use mimic_linux::{Linux, World};
use mimic_vm::Vm;

use super::{CallProgram, NOTES_LEN, RUNS_MAX};
use crate::oracle::{MapRecord, ProgramRecord, run_in_mimic};

impl CallProgram {
    /// Runs it on all its inputs, one after another, on virtual CPU 0 of two.
    pub fn record_in_mimic(&self) -> ProgramRecord {
        let mut record = ProgramRecord { name: self.program.name.clone(), ..ProgramRecord::default() };
        if let Err(problem) = self.run(&mut record) {
            record.problem = Some(problem);
        }
        record
    }

    fn run(&self, record: &mut ProgramRecord) -> Result<(), String> {
        let vm = Vm::builder(Linux::new(World::default())).byte_order(ByteOrder::NATIVE).cpus(2).build();
        let vm = vm.map_err(|error| error.to_string())?;
        let maps = vm.load_maps(&self.maps).map_err(|error| error.to_string())?;
        let program = vm.add(self.program.clone(), &maps).map_err(|error| error.to_string())?;
        let mut process = vm.process(&program, 0).map_err(|error| error.to_string())?;
        record.runs = self.inputs.iter().map(|input| run_in_mimic(&mut process, input)).collect();
        let mut notes = MapRecord { name: "notes".into(), ..MapRecord::default() };
        for key in 0..RUNS_MAX {
            let key = key.to_ne_bytes().to_vec();
            let value = maps[0].lookup_copy(&key, 0).unwrap_or_else(|_| vec![0; NOTES_LEN]);
            notes.entries.push((key, value));
        }
        record.maps.push(notes);
        Ok(())
    }
}
