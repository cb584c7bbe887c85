//! Bytes as MySQL writes them, read with every bound checked.
//!
//! Integers are little-endian unless the name says otherwise. Invariant: a read beyond the end is
//! [`Short`], never a panic, and moves nothing.

use cdc_api::Error;

/// The bytes ended before the value did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short;

impl From<Short> for Error {
    fn from(_: Short) -> Self {
        Error::data("an event or a packet ends before its contents do").hint(
            "the log or the connection is damaged: compare with mysqlbinlog \
             --verify-binlog-checksum, or look for what stands between server and cdc",
        )
    }
}

/// What is left of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wire<'a>(pub(crate) &'a [u8]);

macro_rules! little {
    ($($name:ident $width:literal $type:ty, $what:literal;)*) => {$(
        #[doc = $what]
        #[inline]
        pub(crate) fn $name(&mut self) -> Result<$type, Short> {
            let bytes = self.take($width)?;
            let mut whole = [0; size_of::<$type>()];
            whole[..$width].copy_from_slice(bytes);
            Ok(<$type>::from_le_bytes(whole))
        }
    )*};
}

impl<'a> Wire<'a> {
    little! {
        u8 1 u8, "One byte.";
        u16 2 u16, "Two bytes.";
        u24 3 u32, "Three bytes.";
        u32 4 u32, "Four bytes.";
        u48 6 u64, "Six bytes.";
        u56 7 u64, "Seven bytes.";
        u64 8 u64, "Eight bytes.";
    }

    /// The next `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// All the rest.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// An integer of `width` bytes, 8 at most, little-endian.
    #[inline]
    pub(crate) fn uint(&mut self, width: usize) -> Result<u64, Short> {
        let bytes = self.take(width)?;
        let mut whole = [0; 8];
        whole.get_mut(..width).ok_or(Short)?.copy_from_slice(bytes);
        Ok(u64::from_le_bytes(whole))
    }

    /// An integer of `width` bytes, 8 at most, big-endian.
    #[inline]
    pub(crate) fn uint_be(&mut self, width: usize) -> Result<u64, Short> {
        let bytes = self.take(width)?;
        let mut whole = [0; 8];
        let start = 8usize.checked_sub(width).ok_or(Short)?;
        whole[start..].copy_from_slice(bytes);
        Ok(u64::from_be_bytes(whole))
    }

    /// A length-encoded integer (one to nine bytes); `None` for the byte 251, NULL.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<Option<u64>, Short> {
        let start = *self;
        let value = match self.u8()? {
            251 => return Ok(None),
            252 => self.uint(2),
            253 => self.uint(3),
            254 => self.uint(8),
            255 => Err(Short),
            small => Ok(u64::from(small)),
        };
        if value.is_err() {
            *self = start;
        }
        value.map(Some)
    }

    /// A length-encoded integer that cannot be NULL.
    #[inline]
    pub(crate) fn count(&mut self) -> Result<usize, Short> {
        self.length()?
            .and_then(|value| usize::try_from(value).ok())
            .ok_or(Short)
    }

    /// As many bytes as a length-encoded integer before them says.
    #[inline]
    pub(crate) fn counted(&mut self) -> Result<&'a [u8], Short> {
        let count = self.count()?;
        self.take(count)
    }

    /// Whether nothing is left.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width() {
        let mut wire = Wire(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(wire.u8(), Ok(1));
        assert_eq!(wire.u16(), Ok(0x0302));
        assert_eq!(wire.u24(), Ok(0x06_0504));
        assert_eq!(wire.u8(), Err(Short));
        assert_eq!(Wire(&[1, 2, 3]).uint_be(3), Ok(0x01_0203));
        assert_eq!(Wire(&[0; 9]).uint(9), Err(Short));
        assert_eq!(Wire(&[0; 9]).uint_be(9), Err(Short));
    }

    #[test]
    fn lengths_of_every_form() {
        assert_eq!(Wire(&[250]).length(), Ok(Some(250)));
        assert_eq!(Wire(&[251]).length(), Ok(None));
        assert_eq!(Wire(&[252, 1, 1]).length(), Ok(Some(257)));
        assert_eq!(Wire(&[253, 0, 0, 1]).length(), Ok(Some(65_536)));
        assert_eq!(Wire(&[255]).length(), Err(Short));
        let mut cut = Wire(&[253, 0, 0]);
        assert_eq!(cut.length(), Err(Short));
        assert_eq!(cut.0.len(), 3, "a short read moves nothing");
        assert_eq!(Wire(&[2, b'a', b'b', b'c']).counted(), Ok(&b"ab"[..]));
    }
}
