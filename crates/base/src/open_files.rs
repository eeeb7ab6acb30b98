//! What to do where no more files can be opened: the error itself says nothing of it, and
//! whatever needed the file would give a hint of its own.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// How a program is given more.
pub const HINT: &str = "raise the limit of open files (`LimitNOFILE=` in systemd, `ulimit -n` in a \
                        shell), and start weappd again";

/// The hint, if that is what the error says.
pub fn hint_of(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let error = error.downcast_ref::<io::Error>()?;
    (Errno::from_io_error(error) == Some(Errno::MFILE)).then_some(HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_that_says_so_has_the_hint() {
        assert_eq!(hint_of(&io::Error::from(Errno::MFILE)), Some(HINT));
        assert_eq!(hint_of(&io::Error::from(Errno::NOENT)), None);
        assert_eq!(hint_of(&std::fmt::Error), None);
    }
}
