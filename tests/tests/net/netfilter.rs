//! Test-run of netfilter programs: which hooks and packets there are, and what a program sees of a hook.

use crate::scene::{Input, Question, ask};
use mimic_abi::ProgType;
use mimic_linux::World;

fn inputs() -> Vec<(String, Input)> {
    let mut inputs = Vec::new();
    for len in [5, 6, 40, 1500] {
        for (hook, pf) in [(0, 2), (1, 10), (2, 2), (3, 2), (3, 10), (4, 2), (3, 0), (3, 1), (9, 2)] {
            let mut ctx = vec![0; 48];
            (ctx[0], ctx[1]) = (hook, pf);
            inputs.push((
                format!("{len} bytes hook {hook} family {pf}"),
                Input { payload: vec![0x45; len], ctx },
            ));
        }
        inputs.push((format!("{len} bytes"), Input { payload: vec![0x45; len], ctx: Vec::new() }));
    }
    for off in [8, 16, 24, 32, 40] {
        let mut ctx = vec![0; 48];
        (ctx[0], ctx[1], ctx[off]) = (3, 2, 1);
        inputs.push((format!("byte {off} set"), Input { payload: vec![0x45; 40], ctx }));
    }
    inputs
}

#[test]
fn hooks_are_the_kernels() {
    let question = |name, at: &str, value: u32| {
        let text = format!(
            "r2 = *(u64 *)(r1 + 0); r1 = *(u8 *)(r2 + {at}); r0 = 0; if r1 != {value} goto out; r0 = 1; out: exit"
        );
        Question { name, prog_type: ProgType::Netfilter, text, inputs: inputs() }
    };
    let is_family = question("family is IPv4", "1", 2);
    let is_hook = question("hook is local out", "0", 3);
    ask("netfilter.txt", &World::default(), &[is_family, is_hook], || ());
}
