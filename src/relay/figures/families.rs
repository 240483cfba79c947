//! Families of metrics, as lines of text.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::histogram::Histogram;

/// Writes families of metrics. Counters are named without the `_total` at the end, which is added.
pub(super) struct Families<'e>(DescriptorEncoder<'e>);

impl<'e> Families<'e> {
    pub(super) fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    fn begin<'s>(&'s mut self, name: &'s str, help: &str, kind: MetricType) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    /// Writes a counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, count: impl EncodeCounterValue + Copy) -> fmt::Result {
        count_of(self.begin(name, help, MetricType::Counter)?, &count)
    }

    /// Writes a counter for each value of a label.
    pub(super) fn counters<L: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.begin(name, help, MetricType::Counter)?;
        counts
            .into_iter()
            .try_for_each(|(value, count)| count_of(family.encode_family(&[(label, value.as_ref())])?, &count))
    }

    /// Writes a gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue + Copy) -> fmt::Result {
        self.begin(name, help, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// Writes a gauge for each set of labels.
    pub(super) fn gauges<const N: usize, L: EncodeLabelValue, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, L); N], V)>,
    ) -> fmt::Result {
        let mut family = self.begin(name, help, MetricType::Gauge)?;
        values.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    /// Writes a histogram.
    pub(super) fn histogram<const N: usize>(&mut self, name: &str, help: &str, times: &Histogram<N>) -> fmt::Result {
        let buckets = times.buckets();
        let count = buckets.iter().map(|(_, count)| count).sum();
        self.begin(name, help, MetricType::Histogram)?.encode_histogram::<NoLabelSet>(
            times.sum(),
            count,
            &buckets,
            None,
        )
    }
}

fn count_of(mut encoder: MetricEncoder<'_>, count: &impl EncodeCounterValue) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, f64>(count, None)
}
