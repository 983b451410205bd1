use mimic_tests::kernel::*;
use mimic_tests::random::*;
fn main() {
    let k = Kernel::available().unwrap();
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let show: usize = std::env::args().nth(2).map_or(0, |s| s.parse().unwrap());
    let t = std::time::Instant::now();
    let mut len = 0;
    for s in 0..n {
        len += RandomProgram::new(s).insns.len();
    }
    println!("gen {:?} avg len {}", t.elapsed() / n as u32, len as u64 / n);
    let t = std::time::Instant::now();
    k.in_empty_netns(|| {
        let mut bad = 0;
        let mut why = std::collections::BTreeMap::<String, usize>::new();
        for s in 0..n {
            let p = RandomProgram::new(s);
            if let KernelRun::Refused(e) = k.run_random(&p, true) {
                bad += 1;
                let last = e
                    .log
                    .lines()
                    .rev()
                    .find(|l| {
                        !l.starts_with("processed")
                            && !l.starts_with("verification time")
                            && !l.starts_with("stack depth")
                    })
                    .unwrap_or("")
                    .chars()
                    .filter(|c| !c.is_ascii_digit())
                    .collect::<String>();
                if bad <= show {
                    println!("seed {s}: {e}");
                }
                *why.entry(last).or_default() += 1;
            }
        }
        println!("refused {bad} of {n}: {why:#?}");
    });
    println!("{:?} each", t.elapsed() / n as u32);
}
