"""Whether the layers of real architectures add up to the whole: ``make layer-sums``.

Twenty networks of full size with random weights, of files as users have them: what `greenai
layers` calls the residual, before it is spread. Without ``--profiler`` the counter is the
processor time of this process, 10 J a second: any extensive quantity has to add up, and this
one is hardly disturbed by what else runs. The exit code is 1 when a residual is flagged: more
than 5 % of the whole, or more than twice its uncertainty.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from greenai_core import Channel, CounterProfiler, InputOptions, ModelError, Session
from greenai_core.layer_results import TIME, LayersResult
from greenai_core.layers import LayerSettings
from greenai_core.loop import LoopSettings

IMAGES: dict[str, dict[str, Any]] = {
    "resnet": {},
    "mobilenet_v2": {},
    "convnext": {},
    "vit": {},
    "regnet": {},
    "poolformer": {},
}
"""Networks for images, as `transformers` sizes them where nothing else is said."""

WORDS: dict[str, dict[str, Any]] = {
    "bert": {},
    "distilbert": {},
    "albert": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    "gpt2": {},
    "mpnet": {},
}
"""Networks for texts."""

TOKENS = 32


PROCESSOR_W = 10.0
"""Of a busy core: no claim, a scale."""


class ProcessorTime(CounterProfiler):
    """Counts the processor time of this process, all its threads."""

    name = "processor-time"

    def connect(self) -> Sequence[Channel]:
        """One channel, which always works."""
        text = f"{PROCESSOR_W:g} W for each busy core of this process"
        return [Channel("processor-time", "cpu", "modelled", resolution_j=1e-9, description=text)]

    def disconnect(self) -> None:
        """Nothing is held."""

    def read(self, channel: Channel) -> int:
        """Nanojoules so far."""
        return int(time.process_time_ns() * PROCESSOR_W)


def onnx_files() -> list[Path]:
    """The nine architectures in the package onnx."""
    import onnx

    return sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))


def saved(name: str, config: dict[str, Any], folder: Path) -> Path:
    """A model folder of that architecture with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    given = transformers.AutoConfig.for_model(name, **config)
    transformers.AutoModel.from_config(given).save_pretrained(folder / name)
    return folder / name


def networks(folder: Path, only: Sequence[str]) -> Iterator[tuple[str, Path, InputOptions]]:
    """Each by its name, made when its turn comes, and how it is fed."""
    for path in onnx_files():
        name = f"{path.stem.removeprefix('light_').removeprefix('bvlc_')} (ONNX)"
        if not only or path.stem.split("_")[-1] in only:
            yield name, path, InputOptions()
    for name, config in {**IMAGES, **WORDS}.items():
        if not only or name in only:
            axes = {"sequence": TOKENS} if name in WORDS else {}
            yield f"{name} (PyTorch)", saved(name, config, folder), InputOptions(axes=axes)


LOOP = LoopSettings(min_time_s=4.0, max_time_s=10.0)
"""Of the whole pass."""


def line(name: str, result: LayersResult) -> str:
    """A row of the table."""
    residual, whole = result.residual_j, result.energy_j
    if residual is None or whole is None or result.residual_share is None:
        return f"| {name} | no energy | | | |"
    rows = [row for row in result.layers if row.calls]
    known = sum(row.energy_j.value for row in rows if row.method != TIME and row.energy_j)
    half = (residual.high - residual.low) / 2 / whole.value
    flag = "flagged" if result.residual_flagged else ""
    share = f"{result.residual_share:+.1%} ± {half:.1%}"
    return f"| {name} | {len(rows)} | {known / whole.value:.0%} | {share} | {flag} |"


def main() -> int:
    """Prints the table as it grows; results are written as JSON lines too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="names of networks; all by default")
    parser.add_argument("--method", default="context", help="context, isolation or time")
    parser.add_argument("--top", type=int, default=10, help="layers to measure")
    parser.add_argument("--layer-time", type=float, default=3.0, help="s of each layer")
    parser.add_argument("--profiler", action="append", help="as of `greenai layers`")
    parser.add_argument("--out", type=Path, help="a file for the results, one JSON line each")
    given = parser.parse_args()
    settings = LayerSettings(
        method=given.method, top=given.top, layer_s=given.layer_time, loop=LOOP, seed=0
    )
    print("| architecture | layers that run | measured, of the energy | residual | |")
    print("| --- | ---: | ---: | ---: | --- |")
    shares, flagged = [], 0
    with (
        tempfile.TemporaryDirectory() as folder,
        Session(given.profiler or [ProcessorTime()]) as session,
    ):
        for name, path, options in networks(Path(folder), given.only):
            began = time.monotonic()
            try:
                result = session.evaluate_layers(path, options=options, settings=settings)
            except ModelError as error:
                print(f"| {name} | refused: {error} | | | |", flush=True)
                flagged += 1
                continue
            print(line(name, result), flush=True)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
            flagged += result.residual_flagged
            if result.residual_share is not None:
                shares.append(result.residual_share)
            if given.out:
                with given.out.open("a") as file:
                    file.write(json.dumps(dataclasses.asdict(result)) + "\n")
    if shares:
        sizes = sorted(abs(share) for share in shares)
        print(
            f"\n{len(sizes)} networks: median |residual| {statistics.median(sizes):.1%}, "
            f"largest {sizes[-1]:.1%}; {flagged} flagged."
        )
    return 1 if flagged else 0


if __name__ == "__main__":
    sys.exit(main())
