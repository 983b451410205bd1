//! `Errno`: what the emulated kernel answers. A value, never a Rust error of ours (DESIGN: five kinds of error).
//!
//! Numbers are Linux's generic ones (`asm-generic/errno.h`; errno(3)), on every host: a guest sees the same number on macOS.

use core::fmt;

/// A Linux error number, positive. `Errno::EINVAL.to_r0()` is what a helper leaves in r0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident $number:literal)*) => {
        #[allow(missing_docs, reason = "the names are the documentation: errno(3)")]
        impl Errno {
            $(pub const $name: Errno = Errno($number);)*
        }

        impl Errno {
            /// The symbolic name (`EINVAL`), if Linux has one for this number.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM 1
    ENOENT 2
    ESRCH 3
    EINTR 4
    EIO 5
    ENXIO 6
    E2BIG 7
    ENOEXEC 8
    EBADF 9
    ECHILD 10
    EAGAIN 11
    ENOMEM 12
    EACCES 13
    EFAULT 14
    ENOTBLK 15
    EBUSY 16
    EEXIST 17
    EXDEV 18
    ENODEV 19
    ENOTDIR 20
    EISDIR 21
    EINVAL 22
    ENFILE 23
    EMFILE 24
    ENOTTY 25
    ETXTBSY 26
    EFBIG 27
    ENOSPC 28
    ESPIPE 29
    EROFS 30
    EMLINK 31
    EPIPE 32
    EDOM 33
    ERANGE 34
    EDEADLK 35
    ENAMETOOLONG 36
    ENOLCK 37
    ENOSYS 38
    ENOTEMPTY 39
    ELOOP 40
    ENOMSG 42
    EIDRM 43
    ENODATA 61
    ETIME 62
    ENONET 64
    ENOLINK 67
    EPROTO 71
    EBADMSG 74
    EOVERFLOW 75
    EBADFD 77
    EILSEQ 84
    EUSERS 87
    ENOTSOCK 88
    EDESTADDRREQ 89
    EMSGSIZE 90
    EPROTOTYPE 91
    ENOPROTOOPT 92
    EPROTONOSUPPORT 93
    ESOCKTNOSUPPORT 94
    EOPNOTSUPP 95
    EPFNOSUPPORT 96
    EAFNOSUPPORT 97
    EADDRINUSE 98
    EADDRNOTAVAIL 99
    ENETDOWN 100
    ENETUNREACH 101
    ENETRESET 102
    ECONNABORTED 103
    ECONNRESET 104
    ENOBUFS 105
    EISCONN 106
    ENOTCONN 107
    ETIMEDOUT 110
    ECONNREFUSED 111
    EHOSTDOWN 112
    EHOSTUNREACH 113
    EALREADY 114
    EINPROGRESS 115
    ESTALE 116
    EDQUOT 122
    ECANCELED 125
    ENOKEY 126
    ENOTSUPP 524
}

impl Errno {
    /// The value a helper returns for this error: the negated number, sign-extended to 64 bits.
    pub const fn to_r0(self) -> u64 {
        -(self.0 as i64) as u64
    }

    /// Reads an error back from r0: `Some` for -4095..=-1, the range the kernel keeps for errors.
    pub const fn from_r0(r0: u64) -> Option<Errno> {
        match r0 as i64 {
            n @ -4095..=-1 => Some(Errno(-n as i32)),
            _ => None,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r0_round_trip() {
        assert_eq!(Errno::EINVAL.to_r0() as i64, -22);
        assert_eq!(Errno::from_r0(Errno::ENOTSUPP.to_r0()), Some(Errno::ENOTSUPP));
        assert_eq!(Errno::from_r0(0), None);
        assert_eq!(Errno::from_r0(22), None);
        assert_eq!(Errno::from_r0((-4096i64) as u64), None);
    }
}
