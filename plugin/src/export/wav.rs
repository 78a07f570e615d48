//! Sound as `.wav`: stereo, 16 bits.

use std::io::{BufWriter, Seek, Write};

/// A file that is being written.
pub struct Writer<W: Write + Seek>(hound::WavWriter<BufWriter<W>>);

impl<W: Write + Seek> Writer<W> {
    /// Begins the file.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(file: W, sample_rate: u32) -> Result<Self, hound::Error> {
        let spec = hound::WavSpec { channels: 2, sample_rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
        hound::WavWriter::new(BufWriter::new(file), spec).map(Self)
    }

    /// Adds samples of both sides, −1 to 1.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&mut self, left: &[f32], right: &[f32]) -> Result<(), hound::Error> {
        #[expect(clippy::cast_possible_truncation, reason = "clamped to ±1 first")]
        let sample = |value: &f32| (value.clamp(-1.0, 1.0) * 32_767.0).round() as i16;
        for (left, right) in left.iter().zip(right) {
            self.0.write_sample(sample(left))?;
            self.0.write_sample(sample(right))?;
        }
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(self) -> Result<(), hound::Error> {
        self.0.finalize()
    }
}
