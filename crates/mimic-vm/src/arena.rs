//! `ArenaSpace`: where the pages of an arena are for programs and for users, and what its address-space casts do.
//!
//! Pointers in an arena are user addresses. Before a program follows one, it casts it to an address of its own, and back before it stores one.
//! Nothing is checked by a cast; an address beyond the arena becomes one where nothing is. Loads from where the arena has no page read zero,
//! and stores are lost, as the kernel's fault handler does it.

/// The place of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaSpace {
    /// The guest address of the first page.
    pub base: u64,
    /// Bytes of pages that there can be.
    pub len: u64,
    /// The user address of the first page.
    pub user_start: u64,
}

/// Bytes before and behind an arena's pages where nothing else lies: as far as an instruction's offset reaches from a pointer into it.
pub const ARENA_GUARD_LEN: u32 = 32 << 10;
/// Addresses beyond an arena: outside of the cage, with the lower half of the user address.
const BEYOND: u64 = 0xffff_a000_0000_0000;
/// Small addresses are those of NULL pointers' members.
const NULL_LEN: u64 = 64 << 10;

impl ArenaSpace {
    /// `addr_space_cast(user, 0, 1)`: a user address as programs use it. Its lower half counts; NULL stays NULL.
    pub fn to_guest(&self, user: u64) -> u64 {
        if user == 0 {
            return 0;
        }
        let off = u64::from((user as u32).wrapping_sub(self.user_start as u32));
        if off < self.len { self.base + off } else { BEYOND | u64::from(user as u32) }
    }

    /// `addr_space_cast(guest, 1, 0)`: a program's address as a user address; NULL stays NULL.
    pub fn to_user(&self, guest: u64) -> u64 {
        if guest == 0 {
            return 0;
        }
        let low = match guest & !u64::from(u32::MAX) {
            BEYOND => guest as u32,
            _ => (guest as u32).wrapping_sub(self.base as u32).wrapping_add(self.user_start as u32),
        };
        self.user_start & !u64::from(u32::MAX) | u64::from(low)
    }

    /// Whether a program's address is the arena's, or close to it, whether there is a page or not.
    pub fn holds(&self, guest: u64) -> bool {
        let guard = u64::from(ARENA_GUARD_LEN);
        let off = guest.wrapping_sub(self.base.wrapping_sub(guard));
        off < self.len + 2 * guard || guest & !u64::from(u32::MAX) == BEYOND || guest < NULL_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_go_both_ways() {
        for user_start in [0x1000_0000_0000, 0x7f00_0012_3000, 0x1_ffff_f000] {
            let space = ArenaSpace { base: 0x40_0000, len: 1 << 20, user_start };
            for off in [1, 8, 4095, 4096, (1 << 20) - 1] {
                let user =
                    user_start & !0xffff_ffff | u64::from((user_start as u32).wrapping_add(off as u32));
                assert_eq!(space.to_guest(user), 0x40_0000 + off);
                assert_eq!(space.to_user(space.to_guest(user)), user);
                assert!(space.holds(space.to_guest(user)));
            }
            assert_eq!([space.to_guest(0), space.to_user(0)], [0, 0]);
            let beyond = user_start & !0xffff_ffff | u64::from((user_start as u32).wrapping_add(1 << 20));
            assert_eq!(space.to_user(space.to_guest(beyond)), beyond);
            assert!(space.holds(space.to_guest(beyond)));
            let guard = u64::from(ARENA_GUARD_LEN);
            assert!(space.holds(0x40_0000 + (1 << 20) + guard - 1) && space.holds(0x40_0000 - guard));
            assert!(!space.holds(0x40_0000 + (1 << 20) + guard) && !space.holds(0x40_0000 - guard - 1));
        }
    }
}
