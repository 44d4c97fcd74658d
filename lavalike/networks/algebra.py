"""The algebra: ``<<`` connects, ``@`` multiplies, ``+`` adds up, ``*`` is element by element.

An expression connects what it names as it is written, by these rules:

    W @ x       the matrix W receives x; the value is W
    a + b       a list of what is added up where it is received
    v << a      v receives a: a matrix's product, or a sum of such
    v << x      of another vector x, through an identity: one step later, as through any matrix
    x * y       element by element: a vector that receives both
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, ClassVar, NoReturn, Self

from lavalike import proc
from lavalike.arguments import shown
from lavalike.errors import ConnectError, ConnectTypeError
from lavalike.process import InPort, OutPort


class NetworkList(list["Network"]):
    """Networks that are added up where they are received. ``a + b`` makes a new one.

    Example:
        >>> x = networks.InputVec([[1.0], [2.0]])
        >>> type(x + x).__name__
        'NetworkList'
    """

    def __add__(self, other: Any) -> NetworkList:  # type: ignore[override]  # a list of networks, not of anything
        return NetworkList([*self, *_summands(self, other)])

    def __radd__(self, other: Any) -> NetworkList:
        return NetworkList([*_summands(self, other), *self])


def _summands(to: Any, other: Any) -> Iterable[Network]:
    if isinstance(other, Network):
        return [other]
    if isinstance(other, NetworkList):
        return other
    raise ConnectTypeError(
        f"{to!r} + {shown(other)}: what is added up are networks, as W @ x ({type(other).__name__})"
    )


class Network:
    """Processes with one port in and one port out, and the operators.

    A subclass assigns ``in_port``, ``out_port`` and ``main``, the process that stands for all in
    ``run``.

    Example:
        >>> x, y = networks.InputVec([[1.0], [2.0]]), networks.InputVec([[3.0], [4.0]])
        >>> total = networks.OutputVec((2,), buffer=3)
        >>> total << x + y
        OutputVec(RingBuffer)
        >>> total.run(lv.RunSteps(3))
        >>> total.get_data()
        array([[4., 4., 4.],
               [6., 6., 6.]], dtype=float32)
    """

    library: ClassVar[ModuleType] = proc  # whose processes it is made of
    in_port: InPort
    out_port: OutPort
    main: Any  # a process; its ports are those of its class

    @property
    def room(self) -> Any:
        """Where the classes are that an operator makes."""
        from lavalike import networks

        return networks

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Run everything it is connected to: ``main.run(condition, run_cfg)``."""
        self.main.run(*args, **kwargs)

    def stop(self) -> None:
        """Release the program: ``main.stop()``."""
        self.main.stop()

    def __repr__(self) -> str:
        main = getattr(self, "main", None)
        return f"{type(self).__name__}({main.path})" if main is not None else type(self).__name__

    def _refuse(self, sign: str, other: Any, takes: str) -> NoReturn:
        raise ConnectTypeError(
            f"{self!r} {sign} {shown(other)}: {takes} is expected ({type(other).__name__})"
        )

    def _receive(self, other: Network, port: InPort | None = None) -> None:
        other.out_port.connect(self.in_port if port is None else port)

    def __lshift__(self, other: Any) -> Self:
        """Receive what ``other`` sends: a network, or a sum of networks."""
        if not isinstance(other, Network | NetworkList):
            self._refuse("<<", other, "a network, W @ x, or a sum of them")
        for one in _summands(self, other):
            self._receive(one)
        return self

    def __add__(self, other: Any) -> NetworkList:
        return NetworkList([self, *_summands(self, other)])


class AlgebraicVector(Network):
    """A network that sends a vector. Connected with another vector, there is an identity
    between.

    Example:
        >>> x, out = networks.InputVec([[1.0], [2.0]]), networks.OutputVec((2,))
        >>> isinstance(x, networks.AlgebraicVector)
        True
    """

    def _receive(self, other: Network, port: InPort | None = None) -> None:
        if isinstance(other, AlgebraicVector):
            identity = self.room.GradedSparse.identity(other.out_port.size)
            identity @ other
            other = identity
        super()._receive(other, port)

    def _pair(self, other: Any, ports: tuple[InPort, InPort]) -> Self:
        """Receive two networks, one at each of ``ports``."""
        if not isinstance(other, list | tuple) or not all(isinstance(o, Network) for o in other):
            self._refuse("<<", other, "a pair of networks, as (W @ x, V @ y),")
        if len(other) != 2:
            raise ConnectError(
                f"{self!r} << {len(other)} networks: it receives two, as (W @ x, V @ y)"
            )
        for port, one in zip(ports, other, strict=True):
            self._receive(one, port)
        return self


class AlgebraicMatrix(Network):
    """A network that multiplies a vector by weights, and sends the product one step later.

    Example:
        >>> w = networks.GradedDense(np.array([[0.5, 0.25]]))
        >>> isinstance(w, networks.AlgebraicMatrix)
        True
    """

    def __matmul__(self, other: Any) -> Self:
        """The product with a vector. A matrix has one vector: the product is sent to all who
        receive it."""
        if not isinstance(other, AlgebraicVector):
            self._refuse("@", other, "a vector")
        have = [p for view in self.in_port.sources for p in view.ports]
        if have == [other.out_port]:
            return self
        if have:
            raise ConnectError(
                f"{self!r} @ {other!r}: it multiplies {have[0].path} already, and would multiply their sum; make another of "
                "the same weights"
            )
        super()._receive(other)
        return self

    def __mul__(self, other: Any) -> Any:
        """The element-wise product of two matrices' products, a vector."""
        if not isinstance(other, AlgebraicMatrix):
            self._refuse("*", other, "a matrix")
        product = self.room.ProductVec(shape=self.out_port.shape, vth=1, exp=0)
        return product << (self, other)
