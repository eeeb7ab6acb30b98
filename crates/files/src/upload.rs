//! Takes wx.uploadFile's form: one file, streamed to disk.

use std::{error::Error as _, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use multer::{Field, Multipart};

use crate::{
    chunk_gate::{ChunkGate, FormProgress, NoPartError},
    error::Error,
    file_name::FileName,
    file_settings::FileSettings,
    file_type::{FileType, SNIFF_BYTES},
    files::Files,
    picture_owner::PictureOwner,
    upload_draft::UploadDraft,
};

/// The most parts a form may have.
const MAX_PARTS: usize = 64;
/// The most bytes of text fields, names and boundaries a form may have beside its file.
pub(crate) const MAX_FORM_BYTES: u64 = 256 * 1024;
/// How much is gathered before it goes to disk.
const WRITE_BYTES: usize = 256 * 1024;

/// What an upload may be, from its beginning to its end.
#[derive(Clone, Debug)]
pub(crate) struct UploadRules<'a> {
    settings: Arc<FileSettings>,
    /// The largest file.
    pub(crate) max_bytes: u64,
    /// Whether nothing but a picture is taken, and whose it then is.
    picture_of: Option<PictureOwner<'a>>,
}

impl<'a> UploadRules<'a> {
    /// Those of `wx.uploadFile`.
    pub(crate) fn of_files(files: &Files) -> Self {
        let settings = files.settings();
        Self {
            max_bytes: settings.config.max_upload_bytes,
            settings,
            picture_of: None,
        }
    }

    /// Those of a picture that a user shows of themselves.
    pub(crate) fn of_picture(files: &Files, owner: PictureOwner<'a>) -> Self {
        let settings = files.settings();
        Self {
            max_bytes: settings.config.max_avatar_bytes,
            settings,
            picture_of: Some(owner),
        }
    }

    fn allow(&self, kind: FileType) -> bool {
        let fits = self.picture_of.is_none() || kind.mime.starts_with("image/");
        fits && self.settings.allows(kind)
    }
}

/// A kept upload.
#[derive(Debug)]
pub(crate) struct StoredUpload {
    /// What it is kept as.
    pub(crate) name: FileName,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its type, judged by its content.
    pub(crate) mime: &'static str,
}

/// Reads the form in `body` and keeps its file.
pub(crate) async fn receive<S, E>(
    files: &Files,
    terms: UploadRules<'_>,
    boundary: String,
    body: S,
) -> Result<StoredUpload, Error>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut form = UploadForm::new((files, terms), boundary, body);
    let mut found: Option<(UploadDraft, FileType)> = None;
    let mut is_named = false;
    let mut refused = None;
    while let Some(mut part) = form.next_part().await? {
        // The part with a file name is the file. Old clients send one without, so what has
        // at least a type may be it, where no other one is: most often it is a field.
        let has_name = part.file_name().is_some();
        if !has_name && (found.is_some() || !is_typed(&part)) {
            form.skim(&mut part).await?;
            continue;
        }
        match form.take_file(&mut part).await {
            Ok(None) => {}
            Ok(Some(_)) if is_named => return Err(Error::SecondFile),
            Ok(Some(file)) => {
                found = Some(file);
                is_named = has_name;
            }
            Err(error @ Error::TypeRefused { .. }) if !has_name => {
                form.skim(&mut part).await?;
                refused = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    let (draft, kind) = found.ok_or_else(|| refused.unwrap_or(Error::NoFile))?;
    let stored = StoredUpload {
        name: draft.name().clone(),
        size: draft.written(),
        mime: kind.mime,
    };
    draft.keep().await?;
    Ok(stored)
}

/// Whether a part has a type that no plain text field has.
fn is_typed(part: &Field<'_>) -> bool {
    part.content_type().is_some_and(|t| t.type_() != "text")
}

/// A form being read, and what it has cost so far.
struct UploadForm<'a> {
    files: &'a Files,
    terms: UploadRules<'a>,
    parts: Multipart<'a>,
    progress: FormProgress,
    count: usize,
    text_bytes: u64,
}

impl<'a> UploadForm<'a> {
    fn new<S, E>((files, terms): (&'a Files, UploadRules<'a>), boundary: String, body: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'a,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'a,
    {
        let progress = FormProgress::default();
        let whole = terms.max_bytes.saturating_add(MAX_FORM_BYTES);
        let limits =
            multer::Constraints::new().size_limit(multer::SizeLimit::new().whole_stream(whole));
        let gate = ChunkGate::new(body, progress.clone());
        Self {
            files,
            terms,
            parts: Multipart::with_constraints(gate, boundary, limits),
            progress,
            count: 0,
            text_bytes: 0,
        }
    }

    async fn next_part(&mut self) -> Result<Option<Field<'a>>, Error> {
        let part = patiently(&self.terms, self.parts.next_field()).await?;
        self.progress.made();
        self.count += 1;
        if part.is_some() && self.count > MAX_PARTS {
            return Err(Error::TooMuchForm);
        }
        Ok(part)
    }

    async fn next_chunk(&self, part: &mut Field<'a>) -> Result<Option<Bytes>, Error> {
        let chunk = patiently(&self.terms, part.chunk()).await?;
        self.progress.made();
        Ok(chunk)
    }

    /// Reads over a text field.
    async fn skim(&mut self, part: &mut Field<'a>) -> Result<(), Error> {
        while let Some(chunk) = self.next_chunk(part).await? {
            self.text_bytes += chunk.len() as u64;
            if self.text_bytes > MAX_FORM_BYTES {
                return Err(Error::TooMuchForm);
            }
        }
        Ok(())
    }

    /// Writes a file to disk; `None` for the empty part of a form whose file was not chosen.
    async fn take_file(
        &self,
        part: &mut Field<'a>,
    ) -> Result<Option<(UploadDraft, FileType)>, Error> {
        let mut buffer = Vec::with_capacity(SNIFF_BYTES);
        let mut ended = false;
        while buffer.len() < SNIFF_BYTES && !ended {
            match self.next_chunk(part).await? {
                Some(chunk) => self.gather(&mut buffer, 0, &chunk)?,
                None => ended = true,
            }
        }
        if buffer.is_empty() && part.file_name().is_none_or(str::is_empty) {
            return Ok(None);
        }
        let kind = self.accept(&buffer)?;
        let mut draft = self
            .files
            .begin(kind.extension, self.terms.picture_of)
            .await?;
        while let Some(chunk) = self.next_chunk(part).await? {
            self.gather(&mut buffer, draft.written(), &chunk)?;
            if buffer.len() >= WRITE_BYTES {
                (draft, buffer) = draft.write(buffer).await?;
            }
        }
        (draft, _) = draft.write(buffer).await?;
        Ok(Some((draft, kind)))
    }

    /// Adds a chunk to what is not written yet, if the file stays within its limit.
    fn gather(&self, buffer: &mut Vec<u8>, written: u64, chunk: &Bytes) -> Result<(), Error> {
        let limit = self.terms.max_bytes;
        let size = written + buffer.len() as u64 + chunk.len() as u64;
        if size > limit {
            return Err(Error::TooLarge { limit });
        }
        buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// Judges a file by its first bytes.
    fn accept(&self, head: &[u8]) -> Result<FileType, Error> {
        let kind = FileType::of(head).ok_or(Error::TypeRefused {
            found: if head.is_empty() {
                "an empty file"
            } else {
                "unknown type"
            },
        })?;
        if self.terms.allow(kind) {
            Ok(kind)
        } else {
            Err(Error::TypeRefused { found: kind.mime })
        }
    }
}

/// Waits for the parser, but not forever.
async fn patiently<T>(
    terms: &UploadRules<'_>,
    step: impl Future<Output = Result<T, multer::Error>>,
) -> Result<T, Error> {
    let secs = terms.settings.config.upload_idle_secs;
    tokio::time::timeout(Duration::from_secs(secs), step)
        .await
        .map_err(|_| Error::Stalled { secs })?
        .map_err(|error| broken(terms, error))
}

/// Sorts the parser's failures.
fn broken(terms: &UploadRules<'_>, error: multer::Error) -> Error {
    match error {
        multer::Error::StreamSizeExceeded { .. } => Error::TooLarge {
            limit: terms.max_bytes,
        },
        multer::Error::StreamReadFailed(_) => {
            if matches!(error.source(), Some(source) if source.is::<NoPartError>()) {
                Error::TooMuchForm
            } else {
                Error::Interrupted(error)
            }
        }
        other => Error::Malformed(other),
    }
}
