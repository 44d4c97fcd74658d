from tests.hxtorch_standin.network import ReadoutSource as ReadoutSource
