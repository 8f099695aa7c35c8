//! `cargo lab demo`.
pub fn demo(_demo: crate::args::Demo) -> anyhow::Result<u8> { Ok(0) }
