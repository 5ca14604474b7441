//! Handing a filter to the kernel.

use super::check;
use std::io;

/// seccomp(2) `SECCOMP_SET_MODE_FILTER`, for the calling thread.
pub fn set_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` describes a live array of `len` instructions; the kernel copies and verifies it and does not
    // write to it in spite of the pointer's type.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}

/// Makes a system call for its answer alone; for tests of the filter, with arguments that the kernel would refuse.
#[cfg(test)]
pub fn probe<const N: usize>(number: i64, arguments: [u64; N]) -> io::Result<i64> {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: the tests pass numbers and null pointers only, so the kernel has nothing of ours to touch.
    check(unsafe { libc::syscall(number, argument(0), argument(1), argument(2), argument(3), 0, 0) })
}
