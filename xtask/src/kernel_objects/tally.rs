//! What a comparison counted.

use std::collections::BTreeMap;
use std::fmt;

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) objects: usize,
    /// Objects that packets were fed to.
    pub(crate) objects_run: usize,
    pub(crate) refused: usize,
    pub(crate) left_out: usize,
    pub(crate) programs: usize,
    pub(crate) programs_same: usize,
    pub(crate) programs_explained: usize,
    /// Runs by `BPF_PROG_TEST_RUN`, and those in which nothing differs.
    pub(crate) runs: usize,
    pub(crate) runs_same: usize,
    /// Single runs through the command, and those in which nothing differs but what is explained.
    pub(crate) alone: [usize; 2],
    /// What mimic says that it cannot do, by what it says.
    pub(crate) missing: BTreeMap<String, usize>,
    /// Programs that say what they return: how many there are, in how many the kernel returns that, in how many mimic does.
    pub(crate) retvals: [usize; 3],
}

impl Tally {
    /// Programs that differ and nobody says why.
    pub(crate) fn unexplained(&self) -> usize {
        self.programs - self.programs_same - self.programs_explained
    }

    /// Programs that are the same, of 1000.
    pub(crate) fn per_mille(&self) -> usize {
        self.programs_same * 1000 / self.programs.max(1)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { objects, objects_run, programs, runs, .. } = self;
        writeln!(
            out,
            "{objects} objects, {objects_run} of them with programs that run: {programs} programs compared in {runs} runs"
        )?;
        writeln!(out, "  {} refused by the kernel, {} left out", self.refused, self.left_out)?;
        writeln!(
            out,
            "  {} programs the same, {} different with an explanation, {} without; {} runs the same",
            self.programs_same,
            self.programs_explained,
            self.unexplained(),
            self.runs_same
        )?;
        let [runs, same] = self.alone;
        if runs > 0 {
            writeln!(out, "  {runs} single runs through the command, {same} of them the same or explained")?;
        }
        let [said, kernel, mimic] = self.retvals;
        writeln!(
            out,
            "  {said} programs say what they return: the kernel does so in {kernel}, mimic in {mimic}"
        )?;
        let missing: usize = self.missing.values().sum();
        write!(out, "  {missing} of the different ones need what is not there")?;
        let mut by_count: Vec<_> = self.missing.iter().collect();
        by_count.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (what, count) in by_count.iter().take(100) {
            write!(out, "\n  {count:4} {what}")?;
        }
        Ok(())
    }
}
