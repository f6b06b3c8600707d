//! The support bundle: a zip of texts, each without what is nobody else's concern.

use crate::redact::Redactor;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// One file of a bundle.
pub struct Part {
    pub name: &'static str,
    pub text: String,
}

/// Everything goes through `redactor` here, so that nothing can get in another way.
pub fn pack(parts: Vec<Part>, redactor: &Redactor) -> Result<Vec<u8>, zip::result::ZipError> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for Part { name, text } in parts {
        zip.start_file(name, options)?;
        zip.write_all(redactor.redact(&text).as_bytes())?;
    }
    Ok(zip.finish()?.into_inner())
}
