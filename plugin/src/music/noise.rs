//! Position-addressed noise: a counter-based hash instead of a generator with a state, so that any place of the song can be
//! played first. Pure; any thread.
//!
//! # Source
//! Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011) for the idea; XXH3-64 as the hash, which is published
//! and the same on every platform; logarithms from `libm` for the same reason.

use xxhash_rust::xxh3::xxh3_64;

/// What the noise is for; different uses of one address never share a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Input of the network.
    Latent = 1,
    /// Decoding a cell.
    Cell = 2,
    /// Moving an onset.
    HumanizeTime = 3,
    /// Changing a velocity.
    HumanizeVelocity = 4,
}

/// A place in the music. What is random there is a function of this and of nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    /// The user's seed.
    pub seed: u32,
    /// The take: another try with the same seed.
    pub take: u32,
    /// Track index.
    pub track: u16,
    /// Bar index in the pattern (in the song, if endless).
    pub bar: u32,
    /// Step within the bar.
    pub step: u16,
    /// Pitch or cell or latent index.
    pub index: u32,
}

impl Address {
    fn hash(self, purpose: Purpose) -> u64 {
        let mut key = [0_u8; 21];
        let fields: [&[u8]; 7] = [
            &[purpose as u8],
            &self.seed.to_le_bytes(),
            &self.take.to_le_bytes(),
            &self.track.to_le_bytes(),
            &self.bar.to_le_bytes(),
            &self.step.to_le_bytes(),
            &self.index.to_le_bytes(),
        ];
        let mut rest = key.as_mut_slice();
        for field in fields {
            let (head, tail) = rest.split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        }
        xxh3_64(&key)
    }

    /// Uniform on the open interval (0, 1), 52 bits.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "52 bits are exact in an f64")]
    pub fn uniform(self, purpose: Purpose) -> f64 {
        ((self.hash(purpose) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Standard Gumbel: `-ln(-ln u)`.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a Gumbel of 52 bits lies within -4 to 37")]
    pub fn gumbel(self, purpose: Purpose) -> f32 {
        -libm::log(-libm::log(self.uniform(purpose))) as f32
    }

    /// Standard logistic: `ln(u / (1 - u))`.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a logistic of 52 bits lies within ±37")]
    pub fn logistic(self, purpose: Purpose) -> f32 {
        let u = self.uniform(purpose);
        libm::log(u / (1.0 - u)) as f32
    }

    /// Standard normal by Box and Muller's transform, from this address and its neighbour's hash.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a normal of 52 bits lies within ±9")]
    pub fn normal(self, purpose: Purpose) -> f32 {
        let radius = libm::sqrt(-2.0 * libm::log(self.uniform(purpose)));
        // The same address under another track number can collide with nothing: no model has 2^15 tracks.
        let angle = Self { track: self.track | 0x8000, ..self }.uniform(purpose);
        (radius * libm::cos(2.0 * std::f64::consts::PI * angle)) as f32
    }
}
