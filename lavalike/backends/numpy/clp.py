"""Readout of prototypes, in Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.backends.numpy.model import NumpyModel
from lavalike.backends.numpy.ports import Inlet, Outlet
from lavalike.model.model import implements
from lavalike.proc.clp import Readout


@implements(Readout, backend="numpy")
class ReadoutModel(NumpyModel):
    """Looks labels up, and takes the user's."""

    inference_in: Inlet
    label_in: Inlet
    user_output: Outlet
    feedback: Outlet
    trigger_alloc: Outlet
    proto_labels: Any
    last_winner_id: Any

    def run_spk(self) -> None:
        labels = self.proto_labels
        active = np.flatnonzero(self.inference_in.recv())
        given = self.label_in.recv()[0]
        label = feedback = labels.dtype.type(0)
        if len(active):
            self.last_winner_id[0] = k = active[0]
            if labels[k] == 0:
                labels[k] = -(k + 1)
            label = labels[k]
        if given != 0:
            last = int(self.last_winner_id[0])
            if labels[last] > 0:
                feedback = labels.dtype.type(1 if labels[last] == given else -1)
            elif labels[last] < 0:
                labels[last] = label = given
        self.user_output.send([label])
        self.feedback.send([feedback])
        self.trigger_alloc.send([feedback < 0])
