//! The name that the kernel keeps of each process, and what it is taken from.

use std::fmt;

/// The kernel's name for a process: at most 15 bytes of what it executed, or of what it calls itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Comm([u8; Self::MOST]);

impl Comm {
    const MOST: usize = 15;

    /// Up to the first NUL, or as far as the kernel keeps it.
    pub fn new(name: &[u8]) -> Self {
        let mut comm = [0; Self::MOST];
        for (kept, byte) in comm.iter_mut().zip(name.iter().take_while(|b| **b != 0)) {
            *kept = *byte;
        }
        Self(comm)
    }

    /// Its bytes, whatever they are.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|b| *b == 0).next().unwrap_or_default()
    }

    /// How the kernel names what executes a file at this path.
    pub fn of(path: &[u8]) -> Self {
        Self::new(basename(path))
    }

    /// Whether the kernel names so what executes a file at this path.
    pub fn is_of(&self, path: &[u8]) -> bool {
        !self.as_bytes().is_empty() && Self::of(path) == *self
    }
}

/// The last component of a path.
pub fn basename(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_as_the_kernel_cuts_it() {
        let comm = Comm::new(b"x86_64-linux-gn\0rest");
        assert_eq!(comm.as_bytes(), b"x86_64-linux-gn");
        assert!(comm.is_of(b"/usr/bin/x86_64-linux-gnu-gcc-12") && comm.is_of(b"x86_64-linux-gn"));
        assert!(!comm.is_of(b"/usr/bin/x86_64-linux") && !Comm::new(b"").is_of(b"/usr/bin/"));
    }
}
