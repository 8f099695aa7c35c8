//! Takes the kernel proper out of a bzImage. Unpacking itself, emulated, costs a
//! guest 4 to 6 s of every boot; QEMU starts the bare ELF file directly (PVH).
//! The layout is that of the kernel's Documentation/arch/x86/boot.rst.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use super::tool;

/// Offsets in the setup header.
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;
/// Sectors of setup code when the header says 0.
const SETUP_SECTORS_UNSAID: u8 = 4;
/// The build appends the unpacked length to the compressed kernel.
const TRAILER: usize = 4;
const ELF: &[u8] = b"\x7fELF";

/// Writes the kernel inside `image` to `target`.
pub fn extract(image: &Path, target: &Path) -> Result<()> {
    let bytes = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
    let packed = payload(&bytes).context("not a bzImage")?.to_vec();
    let program = unpacker(&packed)?;
    let new = target.with_extension(format!("new-{}", std::process::id()));
    let mut child = tool::command(program)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(File::create(&new)?)
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let mut stdin = child.stdin.take().context("its input")?;
    let feeder = thread::spawn(move || stdin.write_all(&packed));
    ensure!(
        child.wait()?.success(),
        "{program} does not unpack the kernel"
    );
    ensure!(
        matches!(feeder.join(), Ok(Ok(()))),
        "{program} did not take the kernel"
    );
    ensure!(
        fs::read(&new)?.starts_with(ELF),
        "what {program} unpacked is no ELF file"
    );
    fs::rename(&new, target)?;
    Ok(())
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let sectors = match *image.get(SETUP_SECTORS)? {
        0 => SETUP_SECTORS_UNSAID,
        sectors => sectors,
    };
    let setup = (usize::from(sectors) + 1) * SECTOR;
    let start = setup.checked_add(number(image, PAYLOAD_OFFSET)?)?;
    let end = start.checked_add(number(image, PAYLOAD_LENGTH)?)?;
    image.get(start..end.checked_sub(TRAILER)?)
}

fn number(image: &[u8], at: usize) -> Option<usize> {
    let bytes = image.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

fn unpacker(packed: &[u8]) -> Result<&'static str> {
    let known: [(&[u8], &str); 3] = [
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x1f\x8b", "gzip"),
    ];
    let found = known
        .into_iter()
        .find(|(magic, _)| packed.starts_with(magic));
    match found {
        Some((_, program)) => Ok(program),
        None => bail!("packed in an unknown way"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_where_the_header_says() {
        let mut image = vec![0; 4096];
        image[SETUP_SECTORS] = 2;
        image[PAYLOAD_OFFSET] = 8;
        image[PAYLOAD_LENGTH] = 6;
        image[1536 + 8..1536 + 14].copy_from_slice(b"ab\x01\x02\x03\x04");
        assert_eq!(payload(&image), Some(b"ab".as_slice()));
    }

    #[test]
    fn a_cut_image_has_no_payload() {
        let mut image = vec![0; 4096];
        image[PAYLOAD_LENGTH + 1] = 0xff;
        assert_eq!(payload(&image), None);
        assert_eq!(payload(&image[..100]), None);
        assert_eq!(payload(&[]), None);
    }

    #[test]
    fn unknown_packing_is_refused() {
        assert_eq!(unpacker(b"\x1f\x8b\x08").unwrap(), "gzip");
        assert!(unpacker(b"LZMA").is_err());
    }
}
