"""Names of what a model may require. Everything runs on this computer."""

from __future__ import annotations


class AbstractResource:
    """What a model runs on."""


class AbstractComputeResource(AbstractResource):
    """What computes."""


class CPU(AbstractComputeResource):
    """A processor of this computer."""


class HostCPU(AbstractComputeResource):
    """A processor of a computer that holds chips."""


class GPU(AbstractComputeResource):
    """A graphics processor."""


class ECPU(AbstractComputeResource):
    """A processor within a neuromorphic chip."""


class LMT(ECPU):
    """A Lakemont processor of Loihi's."""


class PB(ECPU):
    """A Powell Butte processor of Loihi's."""


class NeuroCore(AbstractComputeResource):
    """A neuromorphic core."""


class Loihi1NeuroCore(NeuroCore):
    """A core of Loihi."""


class Loihi2NeuroCore(NeuroCore):
    """A core of Loihi 2."""


class AbstractPeripheralResource(AbstractResource):
    """What is connected."""


class DVS(AbstractPeripheralResource):
    """An event camera."""


class HardDrive(AbstractPeripheralResource):
    """A disk."""


class HeadNodeHardDrive(AbstractPeripheralResource):
    """A disk of the node that runs the program."""


class AbstractNode:
    """What has resources."""


class GenericNode(AbstractNode):
    """A computer."""


class HeadNode(AbstractNode):
    """The computer that runs the program."""


class Loihi1System(AbstractNode):
    """A system of Loihi chips."""


class Loihi2System(AbstractNode):
    """A system of Loihi 2 chips."""


class KapohoBay(Loihi1System):
    """A stick with two Loihi chips."""


class Nahuku(Loihi1System):
    """A board of Loihi chips."""


class Pohoiki(Loihi1System):
    """A rack of Loihi chips."""


class OheoGulch(Loihi2System):
    """A board with one Loihi 2 chip."""


class KapohoPoint(Loihi2System):
    """A board of eight Loihi 2 chips."""


class Unalaska(Loihi2System):
    """A board with one Loihi 2 chip."""
