//! One layer as a verified, decompressed tar stream.

use std::io::{self, Read};

use palisade_base::{Digest, DigestReader};

use crate::blob::{Blob, Store};
use crate::decompress::BoundedLayer;
use crate::error::{BlobError, ReadImageError};
use crate::open::{Image, Layer, Place, Source};
use crate::store::record_bytes_max;
use crate::tarball::TarReader;

/// The stream of a layer's archive.
pub(crate) type LayerStream<'a> = DigestReader<&'a mut BoundedLayer<Blob>>;

impl Image {
    /// Reads layer `index` through `read`, then reads on to its end and proves blob digest,
    /// size and diff id. Returns what `read` returned only if all agree.
    pub(crate) fn read_layer<T, E: From<ReadImageError>>(
        &self,
        index: usize,
        entries_max: u64,
        read: impl FnOnce(&mut TarReader<'_, LayerStream<'_>>) -> Result<T, E>,
    ) -> Result<T, E> {
        let layer = self.layers.get(index).ok_or(ReadImageError::NoLayer(index))?;
        let from_io = |error| ReadImageError::from_io(layer.digest, error);
        let source = self.open_layer(layer).map_err(from_io)?;
        let mut bounded = BoundedLayer::new(source, layer.digest, &self.limits).map_err(from_io)?;
        let mut tar = TarReader::new(DigestReader::new(&mut bounded), &self.limits, entries_max);
        let result = read(&mut tar)?;
        let mut stream = tar.into_inner();
        io::copy(&mut stream, &mut io::sink()).map_err(from_io)?;
        let (found, _) = stream.finish();
        bounded.finish_source().map_err(from_io)?;
        if found != layer.diff_id {
            let (layer, expected) = (layer.digest, layer.diff_id);
            return Err(
                ReadImageError::from(BlobError::DiffIdMismatch { layer, expected, found }).into()
            );
        }
        Ok(result)
    }

    /// Passes the stream of a layer's archive to `read`, which takes all of it (`true`) or
    /// gives up, and proves blob digest, size and diff id when all was taken.
    pub(crate) fn prove_layer(
        &self,
        index: usize,
        read: impl FnOnce(&mut dyn Read) -> io::Result<bool>,
    ) -> io::Result<()> {
        let Some(layer) = self.layers.get(index) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut bounded = BoundedLayer::new(self.open_layer(layer)?, layer.digest, &self.limits)?;
        let mut stream = DigestReader::new(&mut bounded);
        if !read(&mut stream)? {
            return Ok(());
        }
        let (found, _) = stream.finish();
        bounded.finish_source()?;
        if found != layer.diff_id {
            let (layer, expected) = (layer.digest, layer.diff_id);
            return Err(BlobError::DiffIdMismatch { layer, expected, found }.into());
        }
        Ok(())
    }

    pub(crate) fn open_layer(&self, layer: &Layer) -> io::Result<Blob> {
        if let Place::Split(split) = &layer.place {
            return split.open(record_bytes_max(&self.limits));
        }
        if let Source::Aci(aci) = &self.source {
            return Ok(Box::new(aci.archive.open_entry("")?.0));
        }
        let Source::Blobs(store) = &self.source else {
            return Err(BlobError::Missing(layer.digest).into());
        };
        match &layer.place {
            Place::Blob => Ok(Box::new(store.open(layer.digest, Some(layer.size))?)),
            Place::Entry(path) => store.open_entry(path, layer.digest),
            Place::Split(_) | Place::Aci => Err(BlobError::Missing(layer.digest).into()),
        }
    }

    /// Says to a source that fetches blobs which are going to be read, top layer first.
    pub(crate) fn announce_layers(&self) {
        if let Source::Blobs(Store::Source(source)) = &self.source {
            let blobs: Vec<(Digest, u64)> =
                self.layers.iter().rev().map(|layer| (layer.digest, layer.size)).collect();
            source.will_open(&blobs);
        }
    }

    /// Reads every layer to its end without looking inside: proves that each blob has the
    /// digest and size of its descriptor and unpacks to its diff id. Manifest and
    /// configuration were proved when the image was opened.
    pub fn verify_blobs(&self) -> Result<(), ReadImageError> {
        self.announce_layers();
        (0..self.layers.len())
            .rev()
            .try_for_each(|index| self.read_layer(index, u64::MAX, |_| Ok::<_, ReadImageError>(())))
    }
}
