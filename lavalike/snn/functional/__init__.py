"""Losses, accuracies, regularisers and monitors for recordings ``[T, B, C]``, by snnTorch's
names."""

from lavalike.snn.functional import probe as probe, quant as quant, stdp_learner as stdp_learner
from lavalike.snn.functional.acc import (
    accuracy_rate as accuracy_rate,
    accuracy_temporal as accuracy_temporal,
)
from lavalike.snn.functional.loss import (
    LossFunctions as LossFunctions,
    ce_count_loss as ce_count_loss,
    ce_max_membrane_loss as ce_max_membrane_loss,
    ce_rate_loss as ce_rate_loss,
    mse_count_loss as mse_count_loss,
    mse_membrane_loss as mse_membrane_loss,
)
from lavalike.snn.functional.probe import (
    AttributeMonitor as AttributeMonitor,
    BaseMonitor as BaseMonitor,
    GradInputMonitor as GradInputMonitor,
    GradOutputMonitor as GradOutputMonitor,
    InputMonitor as InputMonitor,
    OutputMonitor as OutputMonitor,
)
from lavalike.snn.functional.reg import (
    l1_rate_sparsity as l1_rate_sparsity,
    l2_rate_sparsity as l2_rate_sparsity,
    lower_rate as lower_rate,
    upper_rate as upper_rate,
)
from lavalike.snn.functional.temporal import (
    SpikeTime as SpikeTime,
    ce_temporal_loss as ce_temporal_loss,
    mse_temporal_loss as mse_temporal_loss,
)
