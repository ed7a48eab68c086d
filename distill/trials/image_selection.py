"""Select real images, from a configuration to a selection, as a chain of units of work.

A unit is an epoch of the network whose features images are compared by (where they are), a network
that is briefly trained for the difficulty of the images, or the choice itself; between any two of
them the whole state can be saved.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distill.clustering.base import Clusterer
from distill.clustering.registry import CLUSTERERS
from distill.components import fields_of
from distill.config.seeds import derive_seed
from distill.config.selection import ResolvedSelection
from distill.datasets import ImageData
from distill.datasets.rows import Part
from distill.errors import DivergedError, UserError
from distill.evaluation.class_sizes import describe_caps
from distill.evaluation.classifier import Classifier, Epoch
from distill.evaluation.el2n import ErrorNorms
from distill.evaluation.shared_weights import SharedWeights
from distill.networks.registry import NETWORKS
from distill.selection.base import PlaneGrid, Selection, Selector, stratified_quotas
from distill.selection.difficulty import difficulty_of
from distill.selection.masses import cell_masses, training_weights
from distill.selection.nearest_center import NearestCenter
from distill.selection.pca import principal_plane
from distill.selection.pool import Pool, check_no_leak, training_pool, whole_pool
from distill.selection.registry import QUOTAS, SELECTORS, SelectorOptions

FIGURE_DIM = 2
"""Dimensions of the plane of selectors that need none to choose."""


_TENSORS = ("rows", "clusters", "plane", "masses")
"""Fields of a selection that are tensors."""


class ImageSelection:
    """Chooses images for a configuration.

    Under the sound protocol the pool is the training images without those that are held out, too;
    under the published one the training images, and for the cluster grid all images.

    Args:
        config: the selector and all that belongs to it.
        data: the images.
        shares_network: whether the network that gives features is trained once for all trials
            that need it (`distill.evaluation.shared_weights`).
        on_warning: called with one line about training images that are left out.

    Raises:
        UserError: the configuration does not fit the data.

    Attributes:
        pool: what is chosen from.
        quotas: images wanted of each class.
        selection: what was chosen; None as long as nothing is.
        n_epochs: epochs of the network that gives features.
        waited: whether the last unit was waiting for another trial that trains this network.
    """

    def __init__(
        self,
        config: ResolvedSelection,
        data: ImageData,
        *,
        shares_network: bool = False,
        on_warning: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.config = config
        self.data = data
        self.published = config.protocol == "published"
        self.pool = self._pool(on_warning)
        self.quotas = self._quotas()
        self.selector = build_selector(config)
        self.selection: Selection | None = None
        self.n_epochs = 0
        compares = self.selector.needs_points
        self.feature_epochs: int = (config["feature_epochs"] or 0) if compares else 0
        self._network: Classifier | None = None
        if config["embedding"] == "features" and compares:
            self._network = Classifier(config, data, purpose="features")
        self._shared: SharedWeights | None = None
        if shares_network and self._network is not None and self.feature_epochs:
            self._shared = SharedWeights("features", self._decides_network())
        self.waited = False
        self._error_norms: ErrorNorms | None = None
        if self._needs_difficulty and config["difficulty"] == "el2n":
            self._error_norms = ErrorNorms(
                self._el2n_outputs, self.pool.labels, n_networks=config["el2n_networks"]
            )

    def _pool(self, on_warning: Callable[[str], None]) -> Pool:
        if self.published and self.config.selector == "cluster_grid":
            return whole_pool(self.data)
        pool = training_pool(self.data, leave_out_duplicates=not self.published)
        if pool.n_duplicates:
            on_warning(
                f"left out {pool.n_duplicates} training images whose very pixels are among those "
                "held out"
            )
        return pool

    def _quotas(self) -> list[int]:
        """Returns the images wanted of each class.

        The fraction is that of the pool; under the published protocol of the training images,
        wherever the choice is made.
        """
        labels = self.data.train_labels.cpu() if self.published else self.pool.labels
        counts = torch.bincount(labels, minlength=self.data.n_classes).tolist()
        ipc, fraction = self.config["ipc"], self.config["fraction"]
        wanted = (ipc or 1) if self.config.on_small_class == "error" else 1
        for name, count in zip(self.data.class_names, counts, strict=True):
            if count < wanted:
                raise UserError(
                    f"class {name!r} has {count} training images to choose from, "
                    f"fewer than the {wanted} wanted"
                )
        if ipc is not None:
            return [min(ipc, count) for count in counts]
        return counts if fraction is None else stratified_quotas(counts, fraction)

    @property
    def done(self) -> bool:
        """Whether the images are chosen."""
        return self.selection is not None

    def advance(self) -> Epoch | None:
        """Does one unit of work; returns the epoch where it was one.

        Raises:
            InfeasibleClusteringError: the clustering finds nothing to choose from.
            DivergedError: the training loss is not a finite number.
        """
        n_epochs = self.feature_epochs
        if self._network is not None and self.n_epochs < n_epochs:
            if self._shared is not None and not self._is_to_train(self._shared):
                return None
            self.n_epochs += 1
            epoch = self._network.run_epoch(self.pool.images, self._labels)
            if not math.isfinite(epoch.loss):
                raise DivergedError(
                    "the training loss is no longer a finite number in epoch "
                    f"{self.n_epochs} of {n_epochs} of the network that gives features; "
                    f"lower lr (now {self.config.lr:g})"
                )
            if self._shared is not None and self.n_epochs == n_epochs:
                self._shared.keep(self._network.state(), {})
            return epoch
        if self._error_norms is not None and not self._error_norms.done:
            self._error_norms.advance()
            return None
        self.selection = self._choose()
        self._network = self._error_norms = None
        return None

    def _is_to_train(self, shared: SharedWeights) -> bool:
        """Whether to train the network on, which no other trial has trained or is training."""
        assert self._network is not None
        trained = shared.take()
        if trained is not None:
            self._network.load_state(trained.tensors)
            self.n_epochs = self.feature_epochs
            self.waited = False
            return False
        self.waited = not shared.hold()
        return not self.waited

    def _decides_network(self) -> dict[str, Any]:
        """Returns all that decides the weights of the network that gives features."""
        config, data, pool = self.config, self.data, self.pool
        images = torch.stack([pool.parts.long(), pool.rows.long()])
        return {
            "version": 1,
            "images": data.fingerprint,
            "pool": hashlib.sha256(images.numpy().tobytes()).hexdigest(),
            "normalisation": [data.mean.tolist(), data.std.tolist()],
            "network": [config.network, config.options_for(NETWORKS, config.network)],
            "norm_statistics": config["norm_statistics"],
            "epochs": self.feature_epochs,
            "device": data.train_images.device.type,
            **{name: config[name] for name in ("seed", "batch_size", "lr")},
        }

    def chosen(self) -> tuple[Tensor, Tensor]:
        """Returns the (m, c, h, w) uint8 images chosen and their (m,) labels, on their device."""
        assert self.selection is not None
        if self.config.selector == "base":
            return self.pool.images, self._labels  # all of them, in order: no copy
        rows = self.selection.rows.to(self.pool.images.device)
        return self.pool.images[rows], self._labels[rows]

    def weights(self) -> Tensor | None:
        """Returns the (m,) float64 weights of the chosen images in training, on the CPU.

        They have mean one; None where images count equally.
        """
        assert self.selection is not None
        masses = self.selection.masses
        if not self.config.trains_with_weights or masses is None:
            return None
        return training_weights(masses)

    @property
    def _labels(self) -> Tensor:
        return self.pool.labels.to(self.pool.images.device)

    def _generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.config.seed, purpose))

    def _choose(self) -> Selection:
        points = self._points()
        selector = self.selector
        if self._needs_difficulty and isinstance(selector, NearestCenter):
            selector = dataclasses.replace(selector, difficulty=self._difficulty(points))
        selection = selector.select(
            points, self.pool.labels, self.quotas, self._generator("selection")
        )
        if self.config.trains_with_weights and selection.masses is None:
            masses = cell_masses(points, self.pool.labels, selection.rows)
            selection = dataclasses.replace(selection, masses=masses)
        if selection.plane is None and self.selector.needs_points:
            plane = principal_plane(points, FIGURE_DIM, self._generator("plane"))
            selection = dataclasses.replace(
                selection,
                plane=plane.coordinates.float().cpu(),
                counts=selection.counts | {"plane_explained": plane.explained},
            )
        if not self.published:
            rows = selection.rows.to(self.pool.images.device)
            check_no_leak(self.data.test_images, self.pool.images[rows])
        return selection

    @property
    def _needs_difficulty(self) -> bool:
        picking = getattr(self.selector, "picking", None)
        return picking is not None and picking.needs_difficulty

    @torch.no_grad()
    def _difficulty(self, features: Tensor) -> Tensor:
        """Returns the (n,) difficulty of the pool's images, on the CPU.

        Args:
            features: (n, d), which loss and margin follow from.
        """
        if self._error_norms is not None:
            return self._error_norms.scores()
        assert self._network is not None
        outputs = self._network.network.classifier(features)
        return difficulty_of(outputs, self._labels, self.config["difficulty"]).cpu()

    def _el2n_outputs(self, number: int) -> Tensor:
        """Returns the outputs of a briefly trained network for the pool's images."""
        network = Classifier(self.config, self.data, purpose=f"el2n {number}")
        for _ in range(self.config["el2n_epochs"]):
            network.run_epoch(self.pool.images, self._labels)
        network.prepare_to_score(self.pool.images)
        with torch.no_grad():
            outputs: Tensor = network.network.classifier(network.features(self.pool.images))
        return outputs

    def _points(self) -> Tensor:
        """Returns the (n, d) points of the pool's images."""
        images = self.pool.images
        if not self.selector.needs_points:
            return images.new_empty(len(images), 0, dtype=torch.float32)
        if self._network is not None:
            self._network.prepare_to_score(images)
            return self._network.features(images)
        pixels = images.flatten(start_dim=1).float().div_(255)
        if self.config["embedding"] == "pixels":
            return pixels
        dim = self.config["pca_dim"]
        return principal_plane(pixels, dim, self._generator("embedding")).coordinates

    def counts(self) -> dict[str, Any]:
        """Returns what was counted so far, under the names of the result columns."""
        counts: dict[str, Any] = {
            "n_pool": len(self.pool.rows),
            "n_duplicates": self.pool.n_duplicates,
        }
        if self.selection is None:
            return counts
        distinct = torch.unique(self.selection.rows)
        return (
            counts
            | self.selection.counts
            | {
                "n_selected": len(self.selection.rows),
                "n_distinct": len(distinct),
                "n_test_selected": int((self.pool.parts[distinct] == Part.TEST).sum()),
            }
        )

    def columns(self) -> dict[str, list[Any]]:
        """Returns the pool and what was chosen of it, one entry per image in every column.

        `part` (train, val or test), `row` (in that part), `label`, `cluster` (−1: noise, None: no
        clustering), `times_selected`, where chosen images have weights in training `weight` (None:
        not chosen), and where there is a plane, `pca_1`, `pca_2`, ….
        """
        assert self.selection is not None
        pool, selection, n = self.pool, self.selection, len(self.pool.rows)
        columns: dict[str, list[Any]] = {
            "part": [Part(part).name.lower() for part in pool.parts.tolist()],
            "row": pool.rows.tolist(),
            "label": pool.labels.tolist(),
            "cluster": [None] * n if selection.clusters is None else selection.clusters.tolist(),
            "times_selected": torch.bincount(selection.rows, minlength=n).tolist(),
        }
        weights = self.weights()
        if weights is not None:
            by_row = dict(zip(selection.rows.tolist(), weights.tolist(), strict=True))
            columns["weight"] = [by_row.get(row) for row in range(n)]
        if selection.plane is not None:
            for i, axis in enumerate(selection.plane.T.tolist(), start=1):
                columns[f"pca_{i}"] = axis
        return columns

    def grids(self) -> list[dict[str, Any]]:
        """Returns the grids that divided the plane, by the fields of `PlaneGrid`."""
        assert self.selection is not None
        return [dataclasses.asdict(grid) for grid in self.selection.grids]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to go on, as tensors and as values that JSON can hold."""
        values: dict[str, Any] = {"n_epochs": self.n_epochs, "counts": None}
        if self.selection is None:
            tensors = self._network.state() if self._network is not None else {}
            if self._error_norms is not None:
                norms, n_done = self._error_norms.state()
                tensors, values = tensors | norms, values | n_done
            return tensors, values
        values["counts"] = self.selection.counts
        values["grids"] = self.grids()
        parts = {name: getattr(self.selection, name) for name in _TENSORS}
        return {name: part for name, part in parts.items() if part is not None}, values

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Goes on from what `state` returned for an equal configuration and data set."""
        self.n_epochs = values["n_epochs"]
        if values["counts"] is not None:
            self._network = None
            self.selection = Selection(
                rows=tensors["rows"],
                clusters=tensors.get("clusters"),
                plane=tensors.get("plane"),
                masses=tensors.get("masses"),
                grids=tuple(
                    PlaneGrid(**grid | {"low": tuple(grid["low"]), "high": tuple(grid["high"])})
                    for grid in values.get("grids", ())
                ),
                counts=values["counts"],
            )
            self._error_norms = None
            return
        if self._error_norms is not None:
            self._error_norms.load_state(tensors, values)
        if self._network is not None:
            self._network.load_state(tensors)


def cap_notices(config: ResolvedSelection, data: ImageData) -> list[str]:
    """Returns a line about classes that give fewer images than asked for, if any may."""
    ipc = config["ipc"]
    if ipc is None or config.on_small_class == "error":
        return []
    selection = ImageSelection(config, data)
    sizes = [len(indices) for indices in data.class_indices]
    return describe_caps(data.class_names, sizes, {"ipc": ipc}, {"ipc": selection.quotas})


def build_selector(config: ResolvedSelection) -> Selector:
    """Builds the selector that chooses for a configuration, with its clusterer."""
    name = config.choosing_selector
    options = config.options_for(SELECTORS, name)
    for shared in (*fields_of(SelectorOptions), "embedding"):
        options.pop(shared, None)  # how many images, and what they are compared by
    if "quota" in options:
        options |= config.options_for(QUOTAS, options["quota"])
    if "clusterer" in options:
        options["clusterer"] = _build_clusterer(config, options["clusterer"])
    selector: Selector = SELECTORS.build(name, **options)
    return selector


def _build_clusterer(config: ResolvedSelection, name: str) -> Clusterer:
    clusterer: Clusterer = CLUSTERERS.build(name, **config.options_for(CLUSTERERS, name))
    return clusterer
