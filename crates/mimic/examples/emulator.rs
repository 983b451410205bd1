//! A platform of one's own: an emulator with two helpers and a value that programs change through them. Nothing of Linux is in it.

use mimic::abi::asm::assemble;
use mimic::abi::{ArgType, ByteOrder, Errno, HelperSpec, RetType, arg};
use mimic::object::Program;
use mimic::vm::{Call, Emulator, Helper, HelperResult, RawContext, Vm};
use std::sync::Mutex;

/// A shop: programs ask for stock and take from it.
#[derive(Default)]
struct Shop {
    stock: Mutex<u64>,
}

static HELPERS: &[Helper] = &[
    Helper::new(HelperSpec::new(1, "stock").returns(RetType::Integer), |call, _, _, _, _, _| stock(call)),
    Helper::new(
        HelperSpec::new(2, "take").args(&[arg("count", ArgType::Anything)]).returns(RetType::Integer),
        |call, count, _, _, _, _| take(call, count),
    ),
];

fn stock(call: &mut Call<'_>) -> HelperResult {
    let shop: &Shop = call.emulator().expect("the helpers are the shop's");
    Ok(*shop.stock.lock().expect("nobody panics in here"))
}

fn take(call: &mut Call<'_>, count: u64) -> HelperResult {
    let shop: &Shop = call.emulator().expect("the helpers are the shop's");
    let mut stock = shop.stock.lock().expect("nobody panics in here");
    *stock = stock.checked_sub(count).ok_or(Errno::ENOSPC)?;
    Ok(*stock)
}

impl Emulator for Shop {
    fn helper(&self, id: u32) -> Option<&Helper> {
        HELPERS.iter().find(|helper| helper.spec.id == id)
    }

    fn helpers(&self) -> Box<dyn Iterator<Item = &Helper> + '_> {
        Box::new(HELPERS.iter())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let vm = Vm::builder(Shop { stock: Mutex::new(10) }).build()?;
    // Takes what the context asks for, and answers what is left, or the error.
    let code = assemble("r1 = *(u64 *)(r1 +0); call 2; exit", &()).map_err(|errors| format!("{errors:?}"))?;
    let program = vm.add(Program::from_code("order", code.slots, ByteOrder::Little), &[])?;
    let mut process = vm.process(&program, 0)?;
    for count in [3u64, 6, 2] {
        let outcome = process.run(&mut RawContext::with_len(count.to_le_bytes()))?;
        println!("took {count}: {}", outcome.r0 as i64);
    }
    Ok(())
}
