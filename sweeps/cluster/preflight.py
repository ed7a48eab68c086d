"""Preflight checks run on every node of a cluster before a sweep.

Every node reports its versions, reads a marker in the results that the driver wrote and writes one
that the driver reads back; nodes that can hold a trial also check the images and, for a share of a
GPU, the GPU. Problems that would make trials fail one by one, hours later or on some nodes only,
stop the sweep here with their reasons. Nodes that an autoscaler adds later are not checked.
"""

import contextlib
import importlib.metadata
import os
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distill.config.base import Config
from distill.datasets import describe_source
from distill.errors import UserError
from sweeps.cli.display import PLAIN_SECONDS, SweepDisplay
from sweeps.cli.options import RunOptions
from sweeps.cluster.shared_data import data_key
from sweeps.store.store import Store

ANSWER_SECONDS = 900.0
"""Seconds for all nodes to answer: on the first use of `uv run` each installs the project."""

MOST_NAMED = 3
"""Nodes of a kind that are named, and nodes with a problem."""

_ACCELERATOR = "accelerator_type:"


@dataclass(frozen=True, kw_only=True)
class Question:
    """The task of every node; sent to it.

    Attributes:
        store: the results.
        marker: a marker that the driver wrote there.
        sources: names of the data sets.
        data_root: folder of torchvision's data sets.
        folder: that relative paths start from, if the node has it.
    """

    store: Store
    marker: str
    sources: tuple[str, ...]
    data_root: str
    folder: str


@dataclass(kw_only=True)
class Answer:
    """The result of a node; sent back.

    Attributes:
        versions: of Python, Ray and torch.
        marker: one that the node wrote to the results; None if it could not.
        sources: data set → `describe_source`, of those that it had to check.
        problems: in one line each.
    """

    versions: dict[str, str]
    marker: str | None = None
    sources: dict[str, str | None]
    problems: list[str]


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the cluster, as Ray describes it."""

    node_id: str
    name: str
    cpus: float
    gpus: float
    accelerator: str

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Node":
        """Reads an entry of `ray.nodes()`."""
        resources = entry["Resources"]
        accelerators = [key for key in resources if key.startswith(_ACCELERATOR)]
        host, address = entry["NodeManagerHostname"], entry["NodeManagerAddress"]
        return cls(
            node_id=entry["NodeID"],
            name=host if host == address else f"{host} ({address})",
            cpus=resources.get("CPU", 0),
            gpus=resources.get("GPU", 0),
            accelerator=", ".join(key.removeprefix(_ACCELERATOR) for key in accelerators),
        )

    def holds(self, cpus: float, gpus: float) -> bool:
        """Whether a trial of that size fits."""
        return self.cpus >= cpus and self.gpus >= gpus

    def __str__(self) -> str:
        gpus = _number(self.gpus, "GPU") + (f" ({self.accelerator})" if self.accelerator else "")
        return f"{_number(self.cpus, 'CPU')}, {gpus}"


def check_nodes(
    configs: Iterable[Config],
    options: RunOptions,
    *,
    gpu_share: float,
    display: SweepDisplay,
    answer_seconds: float = ANSWER_SECONDS,
) -> None:
    """Checks all nodes of the connected cluster and shows their resources.

    Args:
        configs: the trials to come.
        options: what they run on; the folder of the results exists already.
        gpu_share: share of a GPU of a trial.
        display: shows the check, then the nodes, in lines that stay.
        answer_seconds: limit for the answers of all nodes together.

    Raises:
        UserError: a node lacks something that trials need.
    """
    store = options.store
    nodes = [Node.of(entry) for entry in ray.nodes() if entry["Alive"]]
    display.phase(f"asking {_count(nodes)}")
    marker = store.put_marker()
    try:
        question = Question(
            store=store,
            marker=marker,
            sources=tuple(dict.fromkeys(data_key(config)[0] for config in configs)),
            data_root=options.data_root,
            folder=str(Path.cwd()),
        )
        holding = [node for node in nodes if node.holds(options.cpus_per_trial, gpu_share)]
        uses_gpu = gpu_share > 0 and options.device != "cpu"
        tasks = _ask(nodes, holding, question, uses_gpu=uses_gpu)
        answers = _answers(tasks, answer_seconds, display)
    finally:
        store.remove_marker(marker)
    nodes = [node for node in nodes if node.node_id in answers]
    problems = [
        (node, problem)
        for node in nodes
        for problem in _problems(answers[node.node_id], store) + _differences(node, answers)
    ]
    for line in _overview(nodes, answers):
        display.warn(line)
    _stop_on(problems)
    for line in _remarks(answers.values(), question):
        display.warn(line)


def _ask(
    nodes: Sequence[Node], holding: Sequence[Node], question: Question, *, uses_gpu: bool
) -> dict[Any, Node]:
    """Starts a task on every node; it takes none of the resources of trials."""
    remote: Any = ray.remote
    tasks = {}
    for node in nodes:
        pinned = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        ask = remote(_answer).options(num_cpus=0, scheduling_strategy=pinned, max_retries=2)
        holds = node in holding
        n_gpus = int(node.gpus) if holds and uses_gpu else 0
        tasks[ask.remote(question, looks_at_data=holds, n_gpus=n_gpus)] = node
    return tasks


def _answers(
    tasks: Mapping[Any, Node], answer_seconds: float, display: SweepDisplay
) -> dict[str, Answer]:
    """Returns node id → answer, without nodes that were lost meanwhile."""
    waiting, deadline = list(tasks), time.monotonic() + answer_seconds
    while waiting and (seconds := deadline - time.monotonic()) > 0:
        timeout = min(seconds, PLAIN_SECONDS)
        _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=timeout)
        if waiting:
            late = [tasks[task] for task in waiting]
            display.phase(
                f"waiting for {len(late)} of {_number(len(tasks), 'node')}: {_names(late)}"
            )
    alive = {entry["NodeID"] for entry in ray.nodes() if entry["Alive"]}
    answers = {}
    for task, node in tasks.items():
        if node.node_id not in alive:
            display.warn(f"{node.name} is gone: the sweep starts without it")
        elif task in waiting:
            answers[node.node_id] = _silent(f"no answer within {answer_seconds:g} seconds")
        else:
            answers[node.node_id] = _result(task)
    for task in waiting:
        ray.cancel(task, force=True)
    return answers


def _result(task: Any) -> Answer:
    try:
        answer: Answer = ray.get(task)
    except RayError as error:  # the function itself raises nothing
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
        return _silent(f"cannot answer (is the project installed there?): {reason}")
    return answer


def _silent(problem: str) -> Answer:
    return Answer(versions={}, sources={}, problems=[problem])


def _answer(question: Question, *, looks_at_data: bool, n_gpus: int) -> Answer:
    """Checks the node that it runs on; problems are part of the answer, not raised."""
    answer = Answer(versions=versions(), sources={}, problems=[])
    if Path(question.folder).is_dir():
        os.chdir(question.folder)
    _try_store(question.store, question.marker, answer)
    if looks_at_data:
        for source in question.sources:
            try:
                answer.sources[source] = describe_source(source, question.data_root)
            except (UserError, OSError) as error:
                answer.problems.append(f"cannot read {source}: {error}")
    if n_gpus:
        answer.problems += _gpu_problems(n_gpus)
    return answer


def versions() -> dict[str, str]:
    """Returns the versions of Python, Ray and torch of this process."""
    torch = importlib.metadata.version("torch")
    return {"Python": platform.python_version(), "Ray": ray.__version__, "torch": torch}


def _try_store(store: Store, marker: str, answer: Answer) -> None:
    try:
        store.check_marker(marker)
        answer.marker = store.put_marker()
    except FileNotFoundError:
        answer.problems.append(
            f"sees other results than the driver in {store.shown}: they must lie in a folder "
            "that all nodes share, or in an object store"
        )
    except (UserError, OSError) as error:
        answer.problems.append(f"cannot use the results {store.shown}: {error}")


def _gpu_problems(n_gpus: int) -> list[str]:
    import torch  # noqa: PLC0415 - takes seconds, where there are GPUs only

    n_seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if n_seen >= n_gpus:
        return []
    return [
        f"{_number(n_gpus, 'GPU')} by Ray's count, but torch {torch.__version__} sees {n_seen} "
        "(driver too old, or a torch without CUDA?); --device cpu runs trials without"
    ]


def _problems(answer: Answer, store: Store) -> list[str]:
    """Returns the problems that a node reports, and those with the marker that it wrote."""
    problems = list(answer.problems)
    if answer.marker is not None:
        try:
            store.check_marker(answer.marker)
        except OSError as error:
            problems.append(f"writes results that the driver cannot read: {error}")
        with contextlib.suppress(OSError):
            store.remove_marker(answer.marker)
    return problems


def _differences(node: Node, answers: Mapping[str, Answer]) -> list[str]:
    """Returns how a node differs: in versions from the driver, in images from as many nodes."""
    answer, driver_versions = answers[node.node_id], versions()
    problems = []
    for name, parts in (("Python", 2), ("Ray", 3)):
        version, driver_version = answer.versions.get(name), driver_versions[name]
        if version is not None and version.split(".")[:parts] != driver_version.split(".")[:parts]:
            problems.append(f"has {name} {version}, the driver {driver_version}")
    for source, description in answer.sources.items():
        seen = Counter(a.sources[source] for a in answers.values() if a.sources.get(source))
        others = [other for other, _ in seen.most_common() if other != description]
        if description is not None and others and seen[description] <= seen[others[0]]:
            problems.append(f"sees {description} in {source}, other nodes {others[0]}")
    return problems


def _overview(nodes: Sequence[Node], answers: Mapping[str, Answer]) -> list[str]:
    """Returns a line for each kind of node: its resources and versions, the number, some names."""
    kinds: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        node_versions = answers[node.node_id].versions
        text = " · ".join(f"{name} {version}" for name, version in node_versions.items())
        kinds[f"{node} · {text or 'no answer'}"].append(node)
    return [f"{_count(alike)}: {kind} · {_names(alike)}" for kind, alike in kinds.items()]


def _remarks(answers: Iterable[Answer], question: Question) -> list[str]:
    """Returns further remarks for the user, of nodes without problems."""
    answers = list(answers)
    remarks = ["every node writes the results" if answers else "no node has answered"]
    torches = sorted({answer.versions["torch"] for answer in answers})
    if len(torches) > 1:
        remarks.append(
            f"nodes differ in torch ({', '.join(torches)}): their results may differ in the last "
            "digits; rows say which they are from"
        )
    for source in question.sources:
        seen = [answer.sources[source] for answer in answers if source in answer.sources]
        found = [description for description in seen if description is not None]
        if found:
            remarks.append(f"{_number(len(found), 'node')} for trials: {source}, {found[0]}")
        if len(found) < len(seen):
            remarks.append(
                f"{source} is not in {question.data_root} on "
                f"{_number(len(seen) - len(found), 'node')} for trials: downloaded where it is read"
            )
    return remarks


def _stop_on(problems: Iterable[tuple[Node, str]]) -> None:
    """Raises a UserError that names each problem and the nodes that have it."""
    affected: dict[str, list[Node]] = defaultdict(list)
    for node, problem in problems:
        affected[problem].append(node)
    if affected:
        reasons = "; ".join(f"{_names(nodes)}: {problem}" for problem, nodes in affected.items())
        raise UserError(f"not all nodes can run trials: {reasons}")


def _count(nodes: Sequence[Node]) -> str:
    return _number(len(nodes), "node")


def _number(n: float, noun: str) -> str:
    return f"{n:g} {noun}" + ("" if n == 1 else "s")


def _names(nodes: Sequence[Node]) -> str:
    more = f" and {len(nodes) - MOST_NAMED} more" if len(nodes) > MOST_NAMED else ""
    return ", ".join(node.name for node in nodes[:MOST_NAMED]) + more
