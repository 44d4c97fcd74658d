"""Networks written as algebra of vectors and matrices: ``out << W @ x + V @ y``."""

from lavalike.networks.algebra import (
    AlgebraicMatrix as AlgebraicMatrix,
    AlgebraicVector as AlgebraicVector,
    Network as Network,
    NetworkList as NetworkList,
)
from lavalike.networks.vectors import (
    GradedDense as GradedDense,
    GradedSparse as GradedSparse,
    GradedVec as GradedVec,
    InputVec as InputVec,
    LIFVec as LIFVec,
    NormalizeNet as NormalizeNet,
    OutputVec as OutputVec,
    ProductVec as ProductVec,
    ResFireVec as ResFireVec,
)
