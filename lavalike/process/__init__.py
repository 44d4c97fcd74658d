"""What a user describes: processes, Vars, ports, connections. No numerics."""

from lavalike.process.ports import InPort as InPort, OutPort as OutPort, Port as Port, View as View
from lavalike.process.process import AbstractProcess as AbstractProcess
from lavalike.process.refs import RefPort as RefPort, VarPort as VarPort
from lavalike.process.var import Var as Var
