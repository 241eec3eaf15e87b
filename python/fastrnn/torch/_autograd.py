"""The autograd formula of ``fastrnn::recurrent``, and the shortest way to it.

It is registered under the dispatcher's own key, not by `torch.library.register_autograd`, which
flattens the list of weights in Python: 155 us instead of 67 us for a training step of an operator
that does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from fastrnn.torch import _kernels
from fastrnn.torch._by_torch import gradients_by_torch
from fastrnn.torch._operators import library, recurrent, recurrent_backward


class _Recurrent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        keys: Any,  # what the dispatcher has still to do; None where that is the kernel alone
        config: tuple[Any, ...],
        x: Tensor,
        batch_sizes: Tensor | None,
        h0: Tensor | None,
        c0: Tensor | None,
        seed: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        config, recompute = config[:6], config[6]
        arguments = x, batch_sizes, h0, c0, weights, seed, *config
        if keys is None:
            compute: Any = _kernels.forward
            output, hn, cn, cache = compute(*arguments, True, recompute, hold=True)
        else:
            output, hn, cn, cache = _redispatch(recurrent, keys, (*arguments, True, recompute))
        # Callers may write into the output, as they may with torch.nn's GRU and RNN. So autograd
        # gets it under a version counter of its own, and the counter that counts is asked later.
        seen, ctx.counter = output, None
        if type(output) is Tensor:
            seen, ctx.counter = output.data, _version_counter(output)
        else:  # traced, which has no counter to ask: the compiled graph keeps what was computed
            seen = output.clone()
        ctx.config = config
        ctx.save_for_backward(x, batch_sizes, h0, c0, seed, seen, cache, *weights)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*((cache,) if config[1] == "lstm" else (cn, cache)))
        return output, hn, cn, cache

    @staticmethod
    def backward(
        ctx: Any, doutput: Tensor | None, dhn: Tensor | None, dcn: Tensor | None, _: None
    ) -> tuple[Tensor | None, ...]:
        x, batch_sizes, h0, c0, seed, output, cache, *weights = ctx.saved_tensors
        _, _, need_dx, _, need_dh0, need_dc0, _, *need_dweights = ctx.needs_input_grad
        if doutput is None and dhn is None and dcn is None:
            return (None,) * len(ctx.needs_input_grad)
        doutputs = doutput, dhn, dcn
        plain = ctx.counter is not None and _unobserved(*doutputs)
        # create_graph=True, or is_grads_batched=True
        if torch.is_grad_enabled() or (not plain and _are_batched(*doutputs)):
            dx, dh0, dc0, *dweights = gradients_by_torch(
                ctx.config,
                batch_sizes,
                (x, h0, c0, *weights),
                (need_dx, need_dh0, need_dc0, *need_dweights),
                doutputs,
            )
            return None, None, dx, None, dh0, dc0, None, *dweights
        if ctx.counter is not None and ctx.counter._version > 0:
            cache = cache.clone()  # a copy stands for nothing, and the output is computed anew
        compute: Any = _kernels.backward if plain else recurrent_backward
        dx, dh0, dc0, dweights = compute(
            *doutputs, x, batch_sizes, h0, c0, weights, seed, output, cache,
            *ctx.config, need_dx, need_dh0, need_dc0, need_dweights,
        )  # fmt: skip
        return (
            None,
            None,
            dx if need_dx else None,
            None,
            dh0 if need_dh0 else None,
            dc0 if need_dc0 else None,
            None,
            *(dw if need else None for dw, need in zip(dweights, need_dweights, strict=True)),
        )


def _version_counter(tensor: Tensor) -> Tensor:
    """Return an empty tensor that shares the version counter of ``tensor`` and not its memory."""
    counter = tensor.detach()
    counter.data = tensor.new_empty(0)
    return counter


def _autograd_forward(
    keys: Any,
    x: Tensor,
    batch_sizes: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: Sequence[Tensor],
    seed: Tensor | None,
    *config: Any,
) -> Any:
    if _wants_gradient(x, h0, c0, weights):
        recompute = config[7] if len(config) > 7 else "none"
        config = (*config[:6], recompute)
        return _Recurrent.apply(keys, config, x, batch_sizes, h0, c0, seed, *weights)
    return _redispatch(recurrent, keys, (x, batch_sizes, h0, c0, weights, seed, *config))


def _autograd_backward(keys: Any, *arguments: Any) -> Any:
    if _wants_gradient(*arguments):
        raise RuntimeError("fastrnn::recurrent_backward: has no derivative; call it in no_grad()")
    return _redispatch(recurrent_backward, keys, arguments)


def _wants_gradient(*arguments: Any) -> bool:
    return torch.is_grad_enabled() and _any_requires_grad(*arguments)


def _any_requires_grad_in_python(*arguments: Any) -> bool:
    return any(
        _any_requires_grad_in_python(*a)
        if isinstance(a, (list, tuple))
        else getattr(a, "requires_grad", 0)
        for a in arguments
    )


# torch 2.7 has none.
_any_requires_grad = getattr(torch._C, "_any_requires_grad", _any_requires_grad_in_python)


def _redispatch(operator: Any, keys: Any, arguments: tuple[Any, ...]) -> Any:
    """Go on to what comes after autograd."""
    with torch._C._AutoDispatchBelowAutograd():
        return operator.redispatch(keys & torch._C._after_autograd_keyset, *arguments)


library.impl("recurrent", _autograd_forward, "Autograd", with_keyset=True)
library.impl("recurrent_backward", _autograd_backward, "Autograd", with_keyset=True)


# ---- the shortcut --------------------------------------------------------------------------------

# Function.apply itself first looks whether torch.func is at work, which takes 3 us.
_apply: Any = super(torch.autograd.Function, _Recurrent).apply


def run(
    x: Tensor,
    batch_sizes: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: Sequence[Tensor],
    seed: Tensor | None,
    *config: Any,
    recompute: str = "none",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Call ``fastrnn::recurrent``, past the dispatcher where that would only pass the call on.

    The way through it and back takes 8 us, a quarter of a small call.
    """
    if type(h0) not in _PLAIN or type(c0) not in _PLAIN or not _unobserved(x):
        return recurrent(x, batch_sizes, h0, c0, weights, seed, *config, False, recompute)
    if _wants_gradient(x, h0, c0, weights):
        return _apply(None, (*config, recompute), x, batch_sizes, h0, c0, seed, *weights)
    return _kernels.forward(x, batch_sizes, h0, c0, weights, seed, *config)


def _are_batched(*tensors: Tensor | None) -> bool:
    """Whether a tensor stands for a batch of tensors, as is_grads_batched makes them."""
    batched = torch._C._functorch.is_legacy_batchedtensor
    return any(t is not None and batched(t) for t in tensors)


def _unobserved(*tensors: Tensor | None) -> bool:
    """Whether these are ordinary CPU tensors and nobody traces, profiles or overrides calls."""
    if (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or torch._C._autograd._profiler_enabled()
    ):
        return False
    for t in tensors:
        if t is not None and (
            type(t) not in (Tensor, Parameter)
            or torch._C._dispatch_keys(t).raw_repr() not in _ORDINARY
        ):
            return False
    return True


def _ordinary() -> set[int]:
    """Return the dispatch keys of an ordinary tensor, and of one made in inference mode."""
    keys = set()
    for inference in (False, True):
        with torch.inference_mode(inference):
            keys.add(torch._C._dispatch_keys(torch.empty(0, device="cpu")).raw_repr())
    return keys


_PLAIN = Tensor, Parameter, type(None)
_ORDINARY = _ordinary()
