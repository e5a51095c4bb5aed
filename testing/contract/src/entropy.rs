//! The suite of [`Entropy`].

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::entropy::Entropy;

use crate::Adapter;
use crate::outcome::{Halt, Outcome, at_once, holds, same};

/// Makes a source of randomness.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// A source.
    async fn start() -> Self;

    /// The source.
    fn entropy(&self) -> Arc<dyn Entropy>;

    /// Another source, as another process would make it. `None`: this one is seeded, and its id says so.
    fn another(&self) -> Option<Arc<dyn Entropy>> {
        None
    }
}

/// What the adapter says of itself.
pub fn about<H: Harness>(harness: &H) -> Adapter {
    Adapter::new(harness.entropy().info())
}

/// The list of scenarios; everything else is made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __entropy_scenarios {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! { $($arguments)* [
            "EN-1" no_value_repeats_within_a_source
            "EN-1" no_value_repeats_between_sources
            "EN-2" every_bit_is_set_half_of_the_time
            "EN-2" every_byte_is_equally_likely
        ] }
    };
}

crate::__entropy_scenarios! { __runner entropy }

/// Makes one test of each scenario of the `Entropy` suite.
#[macro_export]
macro_rules! entropy_contract {
    (harness: $harness:ty $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::__entropy_scenarios! { __tests ($) entropy, $harness, $($excluded)? }
    };
}

const VALUES: u32 = 20_000;

/// EN-1.
pub async fn no_value_repeats_within_a_source<H: Harness>(harness: H) -> Outcome {
    let entropy = harness.entropy();
    let takers = (0..4).map(|_taker| {
        let entropy = Arc::clone(&entropy);
        async move {
            (0..VALUES)
                .map(|_value| entropy.bits())
                .collect::<Vec<u128>>()
        }
    });
    let values: Vec<u128> = at_once(takers).await?.into_iter().flatten().collect();
    let distinct: HashSet<&u128> = values.iter().collect();
    same("took values in four tasks", distinct.len(), values.len())
}

/// EN-1.
pub async fn no_value_repeats_between_sources<H: Harness>(harness: H) -> Outcome {
    let one = harness.entropy();
    let two = harness
        .another()
        .ok_or(Halt::NotCheckable("the source is seeded"))?;
    let values: HashSet<u128> = (0..VALUES)
        .flat_map(|_value| [one.bits(), two.bits()])
        .collect();
    same(
        "took values of two sources",
        values.len(),
        2 * VALUES as usize,
    )
}

/// EN-2.
pub async fn every_bit_is_set_half_of_the_time<H: Harness>(harness: H) -> Outcome {
    let entropy = harness.entropy();
    let mut set = [0_u32; 128];
    for _value in 0..VALUES {
        let bits = entropy.bits();
        for (place, count) in set.iter_mut().enumerate() {
            *count += u32::from(bits >> place & 1 == 1);
        }
    }
    // Seven standard deviations: a fair source fails once in some thousand million runs.
    let (low, high) = (VALUES / 2 - 500, VALUES / 2 + 500);
    for (place, count) in set.into_iter().enumerate() {
        let did = format!("counted bit {place} in {VALUES} values");
        holds(
            (low..=high).contains(&count),
            did,
            format!("between {low} and {high}"),
            count,
        )?;
    }
    Ok(())
}

/// EN-2.
pub async fn every_byte_is_equally_likely<H: Harness>(harness: H) -> Outcome {
    let entropy = harness.entropy();
    let mut seen = [0_u32; 256];
    for _value in 0..VALUES {
        for byte in entropy.bits().to_le_bytes() {
            if let Some(count) = seen.get_mut(usize::from(byte)) {
                *count += 1;
            }
        }
    }
    let expected = f64::from(VALUES) * 16.0 / 256.0;
    let chi_squared: f64 = seen
        .iter()
        .map(|count| (f64::from(*count) - expected).powi(2) / expected)
        .sum();
    // 255 degrees of freedom: mean 255, deviation 22.6. Far below would be as suspicious as far above.
    holds(
        (100.0..450.0).contains(&chi_squared),
        "compared how often bytes came",
        "a chi-squared near 255",
        chi_squared,
    )
}
