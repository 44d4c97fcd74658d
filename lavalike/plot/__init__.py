"""Pictures of what networks do, by matplotlib (the extra [plot], imported when something is drawn).

    from lavalike import plot

    rec = lv.simulate(net, {"inp": x}, record=["hidden.s_out", "hidden.v"])
    plot.raster(rec, of="hidden.s_out")
    plot.traces(rec, of="hidden.v", dt=1e-3)
    plot.weights(net.dense)

Every function draws on ``ax``, or on a new figure's, and returns the axes (:func:`animate` the
film); none shows a window: a notebook shows the figure, ``matplotlib.pyplot.show()`` does
elsewhere.

What is drawn over time is an array ``(*shape, time)``, time last as everywhere here, NumPy's or a
tensor, whose elements are counted in C order; a :class:`lavalike.Recording`, or a dict of arrays,
with ``of``, the key; or events, a :class:`lavalike.slayer.io.Event`, with times of their own.
"""

from lavalike.plot import series as series
from lavalike.plot.film import animate as animate
from lavalike.plot.raster import raster as raster
from lavalike.plot.regions import decision_regions as decision_regions
from lavalike.plot.synapses import connectivity as connectivity, weights as weights
from lavalike.plot.traces import activity as activity, traces as traces
