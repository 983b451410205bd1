//! Lists and red-black trees of a program's objects. Documentation/bpf/graph_ds_impl.rst.
//!
//! That they are used under the spin lock beside their head is the verifier's matter.

use crate::Linux;
use crate::heap::{self, Linked};
use mimic_abi::{Arg, ArgType, Errno, HelperFlags, HelperSpec, RetType, arg};
use mimic_vm::{Call, Helper, HelperResult, Next, Trap};

const HEAD: Arg = arg("head", ArgType::BtfId("bpf_list_head"));
const LIST_NODE: Arg = arg("node", ArgType::BtfId("bpf_list_node"));
const ROOT: Arg = arg("root", ArgType::BtfId("bpf_rb_root"));
const RB_NODE: Arg = arg("node", ArgType::BtfId("bpf_rb_node"));
const PUSH: &[Arg] = &[HEAD, LIST_NODE, arg("meta", ArgType::Anything), arg("off", ArgType::Anything)];
const ADD: &[Arg] = &[
    ROOT,
    RB_NODE,
    arg("less", ArgType::Func),
    arg("meta", ArgType::Anything),
    arg("off", ArgType::Anything),
];
const SOME_LIST_NODE: RetType = RetType::BtfIdOrNull("bpf_list_node");
const SOME_RB_NODE: RetType = RetType::BtfIdOrNull("bpf_rb_node");

pub(super) const ROWS: &[Helper] = &[
    Helper::new(row("bpf_list_push_front_impl", PUSH).flags(HelperFlags::RELEASES).since(6, 2), push_front),
    Helper::new(row("bpf_list_push_back_impl", PUSH).flags(HelperFlags::RELEASES).since(6, 2), push_back),
    Helper::new(
        row("bpf_list_pop_front", &[HEAD]).returns(SOME_LIST_NODE).flags(HelperFlags::ACQUIRES).since(6, 2),
        pop_front,
    ),
    Helper::new(
        row("bpf_list_pop_back", &[HEAD]).returns(SOME_LIST_NODE).flags(HelperFlags::ACQUIRES).since(6, 2),
        pop_back,
    ),
    Helper::new(row("bpf_list_front", &[HEAD]).returns(SOME_LIST_NODE).since(6, 16), front),
    Helper::new(row("bpf_list_back", &[HEAD]).returns(SOME_LIST_NODE).since(6, 16), back),
    Helper::new(
        row("bpf_rbtree_add_impl", ADD)
            .flags(HelperFlags::RELEASES)
            .flags(HelperFlags::CALLS_BACK)
            .since(6, 3),
        add,
    ),
    Helper::new(
        row("bpf_rbtree_remove", &[ROOT, RB_NODE])
            .returns(SOME_RB_NODE)
            .flags(HelperFlags::ACQUIRES)
            .since(6, 3),
        remove,
    ),
    Helper::new(row("bpf_rbtree_first", &[ROOT]).returns(SOME_RB_NODE).since(6, 3), first),
    Helper::new(row("bpf_rbtree_root", &[ROOT]).returns(SOME_RB_NODE).since(6, 16), top),
    Helper::new(row("bpf_rbtree_left", &[ROOT, RB_NODE]).returns(SOME_RB_NODE).since(6, 16), left),
    Helper::new(row("bpf_rbtree_right", &[ROOT, RB_NODE]).returns(SOME_RB_NODE).since(6, 16), right),
];

const fn row(name: &'static str, args: &'static [Arg]) -> HelperSpec {
    HelperSpec::new(0, name).args(args)
}

fn push_front(call: &mut Call<'_>, head: u64, node: u64, _: u64, _: u64, _: u64) -> HelperResult {
    push(call, head, node, false)
}

fn push_back(call: &mut Call<'_>, head: u64, node: u64, _: u64, _: u64, _: u64) -> HelperResult {
    push(call, head, node, true)
}

/// The program's reference goes with the node; if that is in a list or tree already, it is dropped.
fn push(call: &mut Call<'_>, head: u64, node: u64, back: bool) -> HelperResult {
    call.check(head, 16, true)?;
    heap::release(call, node)?;
    Ok(int(Linux::of(call).heap().push(head, node, back)))
}

/// What a kfunc that returns an `int` leaves in r0: only its low half is meant.
fn int(linked: Linked) -> u64 {
    match linked {
        Linked::Yes => 0,
        Linked::Busy => u64::from(-Errno::EINVAL.0 as u32),
    }
}

fn pop_front(call: &mut Call<'_>, head: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    pop(call, head, false)
}

fn pop_back(call: &mut Call<'_>, head: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    pop(call, head, true)
}

fn pop(call: &mut Call<'_>, head: u64, back: bool) -> HelperResult {
    call.check(head, 16, true)?;
    let Some(node) = Linux::of(call).heap().pop(head, back) else { return Ok(0) };
    heap::acquire(call, node);
    Ok(node)
}

fn front(call: &mut Call<'_>, head: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).heap().end(head, false).unwrap_or(0))
}

fn back(call: &mut Call<'_>, head: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).heap().end(head, true).unwrap_or(0))
}

/// Goes down the tree, asking `less` at each node, and puts the new one where there is none.
fn add(call: &mut Call<'_>, root: u64, node: u64, less: u64, _: u64, _: u64) -> HelperResult {
    call.check(root, 16, true)?;
    let less = call.func(less)?;
    heap::release(call, node)?;
    let heap = Linux::of(call).heap();
    if heap.claim(node) == Linked::Busy {
        return Ok(int(Linked::Busy));
    }
    let Some(mut at) = heap.top(root) else {
        return link(call, root, node, None, false);
    };
    let then = move |call: &mut Call<'_>, is_less: u64| {
        let left = is_less != 0;
        match Linux::of(call).heap().below(root, at, left) {
            Some(next) => {
                at = next;
                Ok(Next::Again([node, next, 0, 0, 0]))
            }
            None => link(call, root, node, Some(at), left).map(Next::Return),
        }
    };
    Err(call.call_back(less, [node, at, 0, 0, 0], then))
}

fn link(call: &mut Call<'_>, root: u64, node: u64, parent: Option<u64>, left: bool) -> Result<u64, Trap> {
    let heap = Linux::of(call).heap();
    if heap.link(root, node, parent, left) {
        return Ok(0);
    }
    heap.put(node);
    Err(call.bad_argument("the tree was changed while a node was being added: it needs a lock"))
}

fn remove(call: &mut Call<'_>, root: u64, node: u64, _: u64, _: u64, _: u64) -> HelperResult {
    if !Linux::of(call).heap().unlink(root, node) {
        return Ok(0);
    }
    heap::acquire(call, node);
    Ok(node)
}

fn first(call: &mut Call<'_>, root: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).heap().first(root).unwrap_or(0))
}

fn top(call: &mut Call<'_>, root: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).heap().top(root).unwrap_or(0))
}

fn left(call: &mut Call<'_>, root: u64, node: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).heap().below(root, node, true).unwrap_or(0))
}

fn right(call: &mut Call<'_>, root: u64, node: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).heap().below(root, node, false).unwrap_or(0))
}
