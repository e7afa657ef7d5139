//! Random messages for tests: only what a version has is set.

use crate::codec::Context;
use crate::primitives::Records;
use bytes::Bytes;
use strandline_types::TopicId;
use uuid::Uuid;

/// A seeded source of numbers (SplitMix64), and how deep arrays may still grow.
pub(crate) struct Entropy {
    state: u64,
    depth: u32,
}

impl Entropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, depth: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

pub(crate) trait Sample: Sized {
    fn sample(context: Context, entropy: &mut Entropy) -> Self;
}

macro_rules! samples {
    ($($type:ty: |$entropy:ident| $value:expr;)*) => { $(
        impl Sample for $type {
            fn sample(_: Context, $entropy: &mut Entropy) -> Self {
                $value
            }
        }
    )* };
}

fn number(entropy: &mut Entropy) -> i64 {
    match entropy.below(6) {
        0 => 0,
        1 => -1,
        2 => i64::MAX,
        3 => i64::MIN,
        _ => entropy.next() as i64,
    }
}

fn text(entropy: &mut Entropy) -> String {
    let length = match entropy.below(20) {
        0 => 0,
        1 => 126 + entropy.below(4),
        _ => entropy.below(12),
    };
    (0..length).map(|_| ['a', 'Z', '.', '0', 'é', '雪'][entropy.below(6) as usize]).collect()
}

fn bytes(entropy: &mut Entropy) -> Bytes {
    let length = match entropy.below(10) {
        0 => 0,
        1 => 1_000 + entropy.below(3_000),
        _ => entropy.below(20),
    };
    (0..length).map(|_| entropy.next() as u8).collect()
}

samples! {
    bool: |entropy| entropy.below(2) == 1;
    i8: |entropy| number(entropy) as i8;
    i16: |entropy| number(entropy) as i16;
    u16: |entropy| number(entropy) as u16;
    i32: |entropy| number(entropy) as i32;
    i64: |entropy| number(entropy);
    f64: |entropy| number(entropy) as f64;
    String: |entropy| text(entropy);
    Bytes: |entropy| bytes(entropy);
    Records: |entropy| (0..entropy.below(4)).map(|_| bytes(entropy)).collect();
    TopicId: |entropy| TopicId(u128::from(entropy.next()).wrapping_mul(0x1_0000_0001_0000_0001_0001).to_be_bytes());
    Uuid: |entropy| Uuid::from_u128(u128::from(entropy.next()).wrapping_mul(0x1_0000_0001_0000_0001_0001));
}

impl<T: Sample> Sample for Option<T> {
    fn sample(context: Context, entropy: &mut Entropy) -> Self {
        (!context.nullable || entropy.below(3) > 0).then(|| T::sample(context, entropy))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(context: Context, entropy: &mut Entropy) -> Self {
        entropy.depth += 1;
        let count = if entropy.depth == 1 && entropy.below(16) == 0 { 130 } else { entropy.below(4) };
        let elements = (0..count).map(|_| T::sample(context, entropy)).collect();
        entropy.depth -= 1;
        elements
    }
}
