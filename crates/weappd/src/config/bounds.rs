//! What fits into a number, to be said when one does not.

/// The smallest and the largest of a type.
pub(crate) trait KeyBounds {
    const LEAST: i128;
    const MOST: i128;
}

impl KeyBounds for i32 {
    const LEAST: i128 = i32::MIN as i128;
    const MOST: i128 = i32::MAX as i128;
}
impl KeyBounds for i64 {
    const LEAST: i128 = i64::MIN as i128;
    const MOST: i128 = i64::MAX as i128;
}
impl KeyBounds for u8 {
    const LEAST: i128 = 0;
    const MOST: i128 = u8::MAX as i128;
}
impl KeyBounds for u16 {
    const LEAST: i128 = 0;
    const MOST: i128 = u16::MAX as i128;
}
impl KeyBounds for u32 {
    const LEAST: i128 = 0;
    const MOST: i128 = u32::MAX as i128;
}
impl KeyBounds for u64 {
    const LEAST: i128 = 0;
    const MOST: i128 = i64::MAX as i128;
}
