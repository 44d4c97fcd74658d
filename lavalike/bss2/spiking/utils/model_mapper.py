"""Moving trained weights between models that name their layers differently."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lavalike.arguments import FLAG, MAPPING, arguments
from lavalike.errors import InputError


class MixinHXModelMapper:
    """For models (torch.nn.Module) that take over the state of another one, a simulated or an older
    one."""

    @arguments(state_dict=MAPPING, mapping=MAPPING, map_all=FLAG)
    def map_from(
        self,
        state_dict: Mapping[str, torch.Tensor],
        mapping: Mapping[str, str],
        map_all: bool = True,
    ) -> None:
        """Load ``state_dict`` under this model's names.

        Args:
            state_dict: of the other model.
            mapping: names there, or beginnings of names, to names here.
            map_all: every entry of ``state_dict`` must find its place, and every one of this model
                be given. Default True.
        """
        if not isinstance(self, torch.nn.Module):
            raise InputError(
                f"{type(self).__name__}: MixinHXModelMapper is mixed into a torch.nn.Module"
            )
        own = self.state_dict()
        renamed: dict[str, torch.Tensor] = {}
        for name, value in state_dict.items():
            begins = [k for k in mapping if name == k or name.startswith(k.rstrip(".") + ".")]
            best = max(begins, key=len, default=None)
            if best is None:
                if map_all:
                    raise InputError(
                        f"map_from: {name} is in no mapping; map it, or map_all=False leaves it out"
                    )
                continue
            target = mapping[best].rstrip(".") + name[len(best.rstrip(".")) :]
            if target not in own:
                raise InputError(
                    f"map_from: {name} becomes {target}, which this model does not have; it has {', '.join(own)}"
                )
            if own[target].shape != value.shape:
                raise InputError(
                    f"map_from: {name} has shape {tuple(value.shape)}, {target} needs {tuple(own[target].shape)}"
                )
            renamed[target] = value
        missing = [n for n in own if n not in renamed]
        if map_all and missing:
            raise InputError(
                f"map_from: nothing for {', '.join(missing)}; map_all=False leaves it as it is"
            )
        self.load_state_dict(renamed, strict=False)
