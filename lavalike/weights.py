"""Weights of modules in safetensors files: tensors by name, no code. Needs the extra [weights].

A checkpoint to go on training from (optimizer, statistics, generators) is
``slayer.utils.save_checkpoint``; a network to run is a .net file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavalike.arguments import PATH, arguments, did_you_mean, instance
from lavalike.atomic import draft
from lavalike.errors import InputError, InputTypeError, MissingFileError
from lavalike.extras import needed

if TYPE_CHECKING:
    import torch

MODULE = instance("torch.nn.modules.module.Module", words="a torch module")
SOME = 5  # names in a message


def _safetensors() -> Any:
    needed("safetensors.torch", "lavalike.weights", "weights")
    return needed("safetensors", "lavalike.weights", "weights")


@arguments(path=PATH, module=MODULE)
def save_weights(path: str | os.PathLike[str], module: torch.nn.Module) -> None:
    """Write the parameters and buffers of ``module`` to a safetensors file, whole or not at all.

    Args:
        path: its folder exists; the name usually ends in .safetensors.
        module: any torch module: slayer's blocks and networks of them, snn's layers. What
            ``state_dict()`` has is written, under its names; a tensor that is there twice is
            written twice.

    Raises:
        InputTypeError: the state of a module is no tensor (``get_extra_state``).
        MissingExtraError: safetensors is not installed; it names the extra.

    Example::

        save_weights("net.safetensors", net)
        load_weights("net.safetensors", the_same_again)
    """
    safetensors = _safetensors()
    import torch

    tensors = {}
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise InputTypeError(
                f"save_weights: {name} is a {type(value).__name__}, and such a file holds tensors only; save_checkpoint holds it"
            )
        tensors[name] = value.detach().cpu().contiguous().clone()
    with draft(path) as place:
        safetensors.torch.save_file(tensors, str(place), metadata={"format": "pt"})


@arguments(path=PATH, module=MODULE)
def load_weights(path: str | os.PathLike[str], module: torch.nn.Module) -> None:
    """Put the tensors of a safetensors file into ``module``, on the device where it is.

    Args:
        path: of this or any other program.
        module: has just the names of the file, each of the same shape and dtype.

    Raises:
        MissingFileError: there is no file.
        InputError: the file is damaged or of another kind; names are missing or too many; a shape
            or a dtype is another. The module is as before.
        MissingExtraError: safetensors is not installed; it names the extra.
    """
    safetensors = _safetensors()
    import torch

    if not Path(path).is_file():
        raise MissingFileError(f"{path}: no such file; a safetensors file is expected")
    try:
        tensors = safetensors.torch.load_file(str(path))
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as e:
        raise InputError(f"{path}: no safetensors file, or damaged: {e}") from e
    own = module.state_dict()
    missing, strange = (sorted(a.keys() - b.keys()) for a, b in ((own, tensors), (tensors, own)))
    if missing or strange:
        raise InputError(f"{path}: {_names(module, missing, strange)}")
    for name, value in tensors.items():
        if value.dtype != own[name].dtype:
            raise InputError(
                f"{path}: {name} is {value.dtype}, the module's {own[name].dtype}; bring the module to the file's dtype first"
            )
    before = {name: value.clone() for name, value in own.items()}
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as e:
        with torch.no_grad():
            for name, value in module.state_dict().items():
                if value.shape == before[name].shape:
                    value.copy_(before[name])
        raise InputError(f"{path}: {_shapes(tensors, own) or ' '.join(str(e).split())}") from e


def _names(module: Any, missing: list[str], strange: list[str]) -> str:
    parts = [
        f"{len(names)} {what}: {', '.join(names[:SOME])}{', ...' if len(names) > SOME else ''}"
        for names, what in ((missing, "are missing"), (strange, "are too many"))
        if names
    ]
    near = did_you_mean(missing[0], strange) if missing and strange else ""
    return f"its names are not those of {type(module).__name__}: {'; '.join(parts)}{near}"


def _shapes(tensors: Any, own: Any) -> str:
    wrong = [n for n in tensors if tensors[n].shape != own[n].shape]
    return "; ".join(
        f"{n} has shape {tuple(tensors[n].shape)}, the module's {tuple(own[n].shape)}"
        for n in wrong[:SOME]
    )
