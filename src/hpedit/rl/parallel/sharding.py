"""Experimental: shard the frozen base over all processes by FSDP2, while each keeps the whole LoRA.

A block's weights are gathered when it runs and dropped afterwards, so every forward and backward of one process needs
all others to take part. But they do not do equally many: groups are skipped, windows start elsewhere, one process
still samples while another trains. So before each pass all announce in the store what they want to do, and those that
have nothing to do run a dummy pass on the inputs of their last one, whose result is dropped.

| the others want | a process that wants a forward | that wants a backward | that waits in `gather` |
|---|---|---|---|
| a forward | does it | runs a dummy forward, asks again | runs a dummy forward |
| a backward at most | - | does it (after a dummy forward if one waits) | runs a dummy forward and backward |

LoRA, optimizer, checkpoint and export do not know that the base is sharded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from hpedit.config.recipe import Recipe
from hpedit.editors.protocol import TrainableEditor
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.rl.parallel import stopping
from hpedit.rl.parallel.distributed import Distributed
from hpedit.rl.parallel.processes import ProcessGroup

Messages = Sequence[Mapping[str, Any]]
"""What each process wants: {"pass": "forward"}, {"pass": "backward"} or {"gather": value}."""


def denoiser(editor: TrainableEditor) -> nn.Module | None:
    """The transformer that computes velocities; None for an editor that has no pipeline."""
    pipeline = getattr(editor, "pipeline", None)
    return getattr(pipeline, "transformer", None)


@contextmanager
def forwards_marked(network: nn.Module | None) -> Iterator[None]:
    """Make every forward within the block a safe point of the run, see `hpedit.rl.parallel.stopping`."""
    if network is None:
        yield
        return
    handle = network.register_forward_pre_hook(lambda *_: stopping.safe_point("forward"), prepend=True)
    try:
        yield
    finally:
        handle.remove()


def wants_shards(recipe: Recipe) -> bool:
    """Whether the recipe, or with "auto" accelerate's configuration, asks for FSDP2."""
    if recipe.scale.shard != "auto":
        return recipe.scale.shard == "fsdp2"  # the recipe was checked where it was read
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return False
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise HPEditError(
            f"accelerate's configuration asks for FSDP version {version}",
            hint="set fsdp_version to 2, or scale.shard in the recipe",
        )
    if recipe.editor.unshardable:
        raise HPEditError(
            f"accelerate's configuration asks for FSDP, but editor.{recipe.editor.unshardable} can't be sharded",
            hint="set scale.shard to none",
        )
    return True


def shard(editor: TrainableEditor, case: Case, processes: ProcessGroup) -> Lockstep | None:
    """Shard the editor's base over all processes; None in a single process.

    Args:
        editor: With its LoRA.
        case: Any one; its velocity is computed once, to have inputs for dummy passes.
        processes: All processes.

    Raises:
        HPEditError: this editor's network has no blocks that could be sharded.
    """
    if not isinstance(processes, Distributed):
        return None
    network = denoiser(editor)
    blocks = [block for name, block in network.named_children() if isinstance(block, nn.ModuleList)] if network else []
    if network is None or not blocks:
        raise HPEditError("this editor can't be sharded: it has no list of blocks", hint="set scale.shard to none")
    mesh = init_device_mesh(processes.device.type, (processes.size,))
    whole = set(editor.lora_parameters().values())
    for module in [block for part in blocks for block in part] + [network]:
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    lockstep = Lockstep(network, list(whole), processes)
    with torch.no_grad():
        conditioning = editor.encode([case])
        noise = editor.initial_noise(conditioning, [0])
        editor.velocity(noise, torch.ones(1), conditioning)
    return lockstep


class Lockstep:
    """Keeps forward and backward passes of all processes in step."""

    def __init__(self, network: nn.Module, trained: Sequence[nn.Parameter], processes: Distributed) -> None:
        self.network, self.trained, self.processes = network, trained, processes
        self._inputs: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self._dummy = False
        """Whether the current pass is a dummy."""
        network.register_forward_pre_hook(self._before_forward, prepend=True, with_kwargs=True)
        processes.serve = self.serve

    def backward(self, loss: Tensor) -> None:
        """loss.backward(), once no process wants a forward any more."""
        while True:
            messages = self.processes.exchange({"pass": "backward"})
            waits = any("gather" in one for one in messages)
            forward = _any_forward(messages)
            if forward or waits:
                with torch.no_grad():
                    self._forward()
            if not forward:
                loss.backward()  # type: ignore[no-untyped-call]
                return

    def serve(self, messages: Messages) -> None:
        """Run a dummy pass while others compute."""
        if _any_forward(messages):
            with torch.no_grad():
                self._forward()
            return
        with torch.enable_grad():
            output = self._forward()
        # Not into .grad: a dummy's gradients must not be accumulated.
        torch.autograd.grad(output, self.trained, torch.zeros_like(output), allow_unused=True)

    def _forward(self) -> Tensor:
        args, kwargs = self._inputs
        self._dummy = True
        try:
            output: Tensor = self.network(*args, **kwargs)[0]
        finally:
            self._dummy = False
        return output

    def _before_forward(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._dummy:
            self._inputs = (args, kwargs)
            self.processes.exchange({"pass": "forward"})


def _any_forward(messages: Messages) -> bool:
    return any(one.get("pass") == "forward" for one in messages)
