"""The loop of DREAM (Liu et al., ICCV 2023) on top of IDC (Kim et al., ICML 2022).

Every outer iteration starts from a freshly initialised network. In each of its inner loops

1. now and then, all real images are embedded and clustered, and representatives are chosen;
2. for every class in turn, the synthetic images move so that the network's gradient on them comes
   closer to its gradient on the representatives;
3. the network trains on real images for some batches.

Under the published protocol the loop has paper 1's peculiarities: images are embedded as they are,
while the network is trained on normalised ones; during the first outer iteration the network starts
in eval mode and is left in train mode afterwards (the sound protocol embeds in eval mode and
matches in train mode throughout); weights are inert. (That paper's weights of the last class were
used for all classes; being inert, they had no effect either, so this is not reproduced.)

Shapes: c channels, h, w pixels, `n_classes`, `ipc` stored images a class.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill.augment.siamese import Augmentation, draw_uniforms
from distill.clustering.base import Clusterer, Clustering, cluster_means
from distill.clustering.embeddings import CHUNK, check_gradient_size, embed
from distill.clustering.quality import class_quality, mean_quality, stability
from distill.clustering.registry import CLUSTERERS
from distill.clustering.sizes import size_columns
from distill.config.distillation import ResolvedDistillation
from distill.config.seeds import derive_seed
from distill.datasets import ImageData
from distill.dream.image_optimizer import ImageOptimizer
from distill.dream.matching import Matcher, check_matchable, mixes_images
from distill.dream.multiformation import decode, encode
from distill.dream.network_pool import NetworkPool, trained_pool
from distill.dream.set_start import images_of_start, start_set_of
from distill.errors import DivergedError, InfeasibleClusteringError, SlowerWarning, UserError
from distill.evaluation.class_sizes import (
    check_class_sizes,
    representatives_per_class,
    stored_per_class,
)
from distill.evaluation.el2n import ErrorNorms
from distill.evaluation.recipe import network_for
from distill.evaluation.sgd import NetworkTrainer, SGDRecipe, load_network_state, network_state
from distill.networks.base import Network, reset_parameters, width_of
from distill.networks.layers import norm_relu_pool
from distill.networks.precision import precision_of, set_precision
from distill.runtime.clock import PartClock
from distill.runtime.devices import available_bytes_on, require_memory
from distill.runtime.execution import AUTOMATIC, Execution
from distill.runtime.graphs import MOST_RECORDINGS, StepGraphs
from distill.runtime.memory import readable_bytes
from distill.selection.difficulty import difficulty_of
from distill.selection.masses import class_masses, training_weights
from distill.selection.picks import Picking, build_picking
from distill.selection.registry import QUOTAS
from distill.selection.representatives import Picks, Representatives, rule_for, select

PURPOSES = ("weights", "clustering", "batches", "augmentation", "init")
"""Purposes of random numbers; each has a separate generator, on the CPU."""

PASS_VALUES = {"cpu": 2**24, "cuda": 2**27}
"""Most values of the widest maps of the images that are matched at once, by the kind of device: 64
and 512 MiB of float32. Fewer where a pass would take more than half of the memory that is left."""

_BYTES_PER_VALUE = 32
"""Memory of a pass for each of them (20 measured, `tests/benchmarks/many_classes.py`)."""


class Dream:
    """The distillation of one trial: `inner_loop` moves it on, `state` saves it.

    Args:
        config: resolved; `check_fit` passed for it and the data.
        data: the images, on the device that the loop is to run on.
        dtype: of the network and of the synthetic images.
        execution: how the arithmetic is carried out.

    Raises:
        InfeasibleClusteringError: the clustering gives no initial images.

    Attributes:
        images: (n_classes, ipc, c, h, w), the synthetic images; those of a class beyond its
            `n_stored` are unused.
        n_stored: synthetic images of each class; `ipc` unless small classes are capped.
        stored_weights: (n,) float64 weights of `stored_images` in training, with mean one, on the
            CPU: the masses of the clusters that they started from; None without weights.
        outer: outer iterations finished.
        inner: inner loops finished in the current outer iteration.
        clock: the seconds of `clustering`, `matching` and `network` updates.
        matching_loss: mean loss of a class and inner loop over the last finished outer iteration.
        cluster_statistics: means over classes at the last clustering.
        cluster_sizes: for each class the (k,) int64 sizes of its clusters at the last clustering;
            empty before there is one.
        cluster_quality: means over classes at the last clustering, by `QUALITY_COLUMNS`; empty
            before there is one, and for random choices before the last one.
    """

    def __init__(
        self,
        config: ResolvedDistillation,
        data: ImageData,
        *,
        dtype: torch.dtype = torch.float32,
        execution: Execution = AUTOMATIC,
    ) -> None:
        self.config = config
        self.data = data
        self.dtype = dtype
        self.factor = config.factor
        self.device = data.train_images.device
        self.published = config.protocol == "published"
        self.generators = {
            purpose: torch.Generator().manual_seed(derive_seed(config.seed, purpose))
            for purpose in PURPOSES
        }
        self.network = network_for(config, data, config.network, self.generators["weights"]).to(
            dtype
        )
        set_precision(self.network, execution.precision)
        norm_relu_pool.prepare(self.network)
        self._pool = self._trained_pool(execution) if config.networks == "pool" else None
        if self._pool is not None:
            self._pool.draw(self.network, self.generators["weights"])
        self.network.train(not self.published)
        self.trainer = self._new_trainer(self.network, execution)
        self.clusterer = build_clusterer(config)
        self.augment = Augmentation(strategy=config.augment)
        self.matcher = Matcher(
            match=config.match,
            metric=config.metric,
            feature_weight=config.feature_weight,
            inert_weights=config.weights == "published",
        )
        self.clock = PartClock(("clustering", "matching", "network"), self.device)
        self.outer = 0
        self.inner = 0
        self.matching_loss: float | None = None
        self.cluster_statistics: dict[str, float] = {}
        self.cluster_sizes: list[Tensor] = []
        self.cluster_quality: dict[str, float] = {}
        self._quality_sums: dict[str, tuple[float, int]] = {}
        self._last_labels: list[Tensor] = []
        self.picking = picking_of(config)
        self._error_norms: Tensor | None = None
        if self.picking is not None:
            seed = derive_seed(config.seed, "pick")
            self.generators["pick"] = torch.Generator().manual_seed(seed)
            if self.picking.needs_difficulty and config["difficulty"] == "el2n":
                with self.clock.part("network"):
                    self._error_norms = self._el2n(execution)
        self.representatives: list[tuple[Tensor, Tensor]] = []
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self._labels = torch.arange(data.n_classes, device=self.device)
        class_sizes = [len(indices) for indices in data.class_indices]
        self.n_stored = stored_per_class(config, class_sizes)
        self.n_chosen = representatives_per_class(config, class_sizes)
        self.stored_weights: Tensor | None = None
        self.images = self._initial_images().to(dtype)
        self.image_optimizer = ImageOptimizer(
            self.images, lr=config.lr_img, momentum=config.momentum_img
        )
        mixed = mixes_images(self.network)
        is_capped = len(set(self.n_stored)) > 1
        self._class_by_class = mixed or is_capped or execution.batching == "class"
        if execution.batching == "all" and mixed:
            warnings.warn(
                "batch norm mixes the images of a pass: classes are matched one by one, slower "
                "(--batching auto does not warn)",
                SlowerWarning,
                stacklevel=2,
            )
        self._passes = self._divide_classes()
        self._matching_step = StepGraphs(
            self._match,
            self.device,
            enabled=execution.uses_graphs(self.device),
            most_recordings=max(MOST_RECORDINGS, 2 * len(self._passes)),  # for two clusterings
        )

    def inner_loop(self) -> None:
        """Runs one inner loop over all classes; after the last one the outer iteration ends.

        Raises:
            DivergedError: the loss or an image is NaN or infinite.
            InfeasibleClusteringError: the clustering leaves nothing to choose from.
        """
        n_inner = self.config.n_inner
        self.prepare_loop()
        with self.clock.part("matching"):
            self.match_all()
        with self.clock.part("network"):
            self.update_network()
        self.inner += 1
        due = self.inner % self.config.cluster_interval == 0 or self.inner == n_inner
        if due and not bool(torch.isfinite(self._loss_sum + self.images.sum())):  # the only sync
            raise DivergedError(
                f"matching loss or images are no longer finite numbers in outer iteration "
                f"{self.outer + 1}, by inner loop {self.inner}; lower lr_img "
                f"(now {self.config.lr_img:g}) or net_lr (now {self.config.net_lr:g})"
            )
        if self.inner == n_inner:
            self._end_outer_iteration()

    def prepare_loop(self) -> None:
        """Does what comes before the matching: a fresh network, a clustering, when they are due."""
        if self.inner == 0:
            self._begin_outer_iteration()
        if self.outer == self.inner == 0:  # the clustering of the start has another size
            self._quality_sums, self._last_labels, self.cluster_quality = {}, [], {}
        if self.inner % self.config.cluster_interval == 0:
            with self.clock.part("clustering"):
                self._choose_representatives()

    def match_all(self) -> None:
        """Moves the synthetic images of all classes once."""
        draws = [self._draw(n_stored) for n_stored in self.n_stored]
        for classes in self._passes:
            class_draws, chosen = draws[classes], self.representatives[classes]
            weights = [weights for _, weights in chosen if len(weights)]
            counts = tuple(len(indices) for indices, _ in chosen)
            self._matching_step(
                (classes.start, classes.stop, counts),
                torch.cat([indices for indices, _ in chosen]),
                torch.cat(weights) if weights else torch.empty(0),
                torch.stack([choice for choice, _, _ in class_draws]),
                torch.cat([uniforms for _, uniforms, _ in class_draws]),
                torch.stack([order for _, _, order in class_draws]),
            )

    def _begin_outer_iteration(self) -> None:
        self.images.clamp_(0, 1)
        if self.outer > 0:  # the first network is the one that gave the initial images
            if self._pool is not None:
                self._pool.draw(self.network, self.generators["weights"])
            else:
                reset_parameters(self.network, self.generators["weights"])
            self.trainer.forget()
        self.network.train(not (self.published and self.outer == 0))
        self._loss_sum.zero_()

    def _end_outer_iteration(self) -> None:
        n_steps = self.data.n_classes * self.inner
        self.matching_loss = float(self._loss_sum) / n_steps
        self.outer += 1
        self.inner = 0
        if self.outer == self.config.outer_iterations:
            self.images.clamp_(0, 1)

    def _choose_representatives(self) -> None:
        config = self.config
        is_last = (
            self.outer == config.outer_iterations - 1
            and self.inner + config.cluster_interval >= config.n_inner
        )
        chosen = self._select_all(self.clusterer, config.clusterer, self.n_chosen, is_last=is_last)
        use_weights = config.weights != "none" and config.weights_in != "training"
        self.representatives = [
            (
                indices[found.indices],
                found.weights.to(self.images) if use_weights else torch.empty(0),
            )
            for indices, found in zip(self.data.class_indices, chosen, strict=True)
        ]

    def _select_all(
        self, clusterer: Clusterer, name: str, counts: Sequence[int], *, is_last: bool
    ) -> list[Representatives]:
        """Embeds and clusters every class and chooses so many representatives of each.

        Args:
            clusterer: that clusters.
            name: of it, which decides how representatives are chosen.
            counts: representatives of each class.
            is_last: whether no clustering follows, the only one at which random choices, which
                need no embedding, are embedded and measured.
        """
        points = self._points(clusterer, embeds_always=is_last)
        clusterings = self._cluster_all(clusterer, points, counts)
        rule, generator = rule_for(name), self.generators["clustering"]
        picks = self._picks(points) if clusterer is self.clusterer else [None] * len(points)
        chosen = [
            select(class_points, clustering, k, rule, generator, of_class)
            for class_points, clustering, k, of_class in zip(
                points, clusterings, counts, picks, strict=True
            )
        ]
        self._note_sizes(clusterings, [len(found.indices) for found in chosen])
        if clusterer.uses_points or is_last:
            self._measure(points, clusterings, chosen, over_run=clusterer.uses_points)
        return chosen

    def _picks(self, points: Sequence[Tensor]) -> Sequence[Picks | None]:
        """Returns what the images of each class are picked by; None: by their distance."""
        if self.picking is None:
            return [None] * len(points)
        difficulties: list[Tensor] | list[None] = [None] * len(points)
        if self.picking.needs_difficulty:
            difficulties = [self._difficulty(i, of_class) for i, of_class in enumerate(points)]
        return [
            Picks(picking=self.picking, difficulty=scores, generator=self.generators["pick"])
            for scores in difficulties
        ]

    @torch.no_grad()
    def _difficulty(self, label: int, points: Tensor) -> Tensor:
        """Returns the (n,) difficulty of the images of a class.

        Args:
            label: of the class.
            points: (n, d), those that are clustered.
        """
        indices = self.data.class_indices[label]
        if self._error_norms is not None:
            return self._error_norms[indices.cpu()].to(self.device)
        if self.config.embedding == "features":
            outputs = self.network.classifier(points.to(self.dtype))
        else:
            outputs = self._outputs(self.network, indices)
        labels = self._labels[label].expand(len(indices))
        return difficulty_of(outputs, labels, self.config["difficulty"])

    @torch.no_grad()
    def _outputs(self, network: Network, indices: Tensor) -> Tensor:
        """Returns the (n, n_classes) outputs for training images; eval mode."""
        was_training = network.training
        network.eval()
        images = self.data.train_images[indices]
        outputs = [network(self._network_input(chunk)) for chunk in images.split(CHUNK)]
        network.train(was_training)
        return torch.cat(outputs)

    def _el2n(self, execution: Execution) -> Tensor:
        """Returns the (n,) EL2N scores of all training images, on the CPU."""
        config, data = self.config, self.data
        everything = torch.arange(len(data.train_images), device=self.device)

        def outputs_of(number: int) -> Tensor:
            n_epochs = config["el2n_epochs"]
            network = self._briefly_trained("el2n", number, n_epochs, execution)
            return self._outputs(network, everything)

        norms = ErrorNorms(outputs_of, data.train_labels, n_networks=config["el2n_networks"])
        while not norms.done:
            norms.advance()
        return norms.scores()

    def _trained_pool(self, execution: Execution) -> NetworkPool:
        """Returns the networks that the outer iterations draw from."""
        n_epochs = self.config["pool_epochs"]
        return trained_pool(
            self.config,
            self.data,
            lambda number: self._briefly_trained("pool", number, n_epochs, execution),
            precision_of(self.network),
        )

    def _briefly_trained(
        self, purpose: str, number: int, n_epochs: int, execution: Execution
    ) -> Network:
        """Returns a network like that of the loop, trained by its recipe from fresh weights.

        Args:
            purpose: of the network; it and the number have random streams of their own.
            number: of the network.
            n_epochs: passes over all training images.
            execution: how the arithmetic is carried out.
        """
        config, data = self.config, self.data
        weights, batches, augmentation = (
            torch.Generator().manual_seed(derive_seed(config.seed, purpose, number, what))
            for what in ("weights", "batches", "augmentation")
        )
        network = network_for(config, data, config.network, weights).to(self.dtype)
        set_precision(network, execution.precision)
        norm_relu_pool.prepare(network)
        trainer = self._new_trainer(network, execution)
        for _ in range(n_epochs):
            order = torch.randperm(len(data.train_images), generator=batches)
            trainer.train(order.split(config.net_batch_size), augmentation)
        return network

    @property
    def seconds(self) -> float:
        """Seconds so far, and those that training the pool took, wherever; synchronises a GPU."""
        return sum(self.clock.seconds.values()) + self.pool_seconds

    @property
    def pool_seconds(self) -> float:
        """Seconds that training the pool took, in whichever trials; 0 without one."""
        return 0.0 if self._pool is None else self._pool.seconds

    def _note_sizes(self, clusterings: Sequence[Clustering], n_chosen: Sequence[int]) -> None:
        """Takes the sizes of the clusters of every class, and the images made or chosen of them."""
        self.cluster_sizes = [clustering.sizes for clustering in clusterings]
        shares = [
            {
                "n_representatives_mean": n,
                "n_clusters_mean": clustering.n_clusters,
                "largest_cluster_mean": int(clustering.sizes.max()) / len(clustering.labels),
                "noise_mean": clustering.n_noise / len(clustering.labels),
            }
            for clustering, n in zip(clusterings, n_chosen, strict=True)
        ]
        self.cluster_statistics = {
            name: sum(share[name] for share in shares) / len(shares) for name in shares[0]
        }

    def _measure(
        self,
        points: Sequence[Tensor],
        clusterings: Sequence[Clustering],
        chosen: Sequence[Representatives],
        *,
        over_run: bool,
    ) -> None:
        """Takes the quality of a clustering, of its embedding's points.

        Args:
            points: of every class.
            clusterings: of them.
            chosen: their representatives.
            over_run: whether it counts in the means over the run.
        """
        by_class = [
            class_quality(own_points, clustering, found.indices, found.weights)
            for own_points, clustering, found in zip(points, clusterings, chosen, strict=True)
        ]
        labels = [clustering.labels for clustering in clusterings]
        if self._last_labels:
            for quality, now, before in zip(by_class, labels, self._last_labels, strict=True):
                quality["stability"] = stability(now, before)
        self._last_labels = labels
        self.cluster_quality = mean_quality(by_class)
        if not over_run:
            return
        for name, value in self.cluster_quality.items():
            total, count = self._quality_sums.get(name, (0.0, 0))
            self._quality_sums[name] = total + value, count + 1

    def _cluster_all(
        self, clusterer: Clusterer, points: Sequence[Tensor], counts: Sequence[int]
    ) -> list[Clustering]:
        """Returns a clustering of the points of every class.

        Args:
            clusterer: that clusters.
            points: one (n, d) tensor per class.
            counts: clusters of each class.
        """
        generator = self.generators["clustering"]
        if len(set(counts)) == 1:
            return clusterer.fit_classes(points, counts[0], generator)
        return [
            clusterer.fit_classes([class_points], k, generator)[0]
            for class_points, k in zip(points, counts, strict=True)
        ]

    def _points(self, clusterer: Clusterer, *, embeds_always: bool = False) -> list[Tensor]:
        """Returns the points of every class that are clustered.

        Args:
            clusterer: that clusters.
            embeds_always: whether clusterers that do not use points get them, too.
        """
        embeds_always |= self.published or self.config["projection_dim"] is not None
        if not clusterer.uses_points and not embeds_always:
            # Positions instead of features, which cost more than the choice: the result is the
            # same. Elsewhere an embedding draws random numbers, or moves batch-norm statistics.
            return [
                torch.arange(len(indices), dtype=self.dtype, device=self.device)[:, None]
                for indices in self.data.class_indices
            ]
        n_images, space = len(self.data.train_images), self.config.embedding
        require_memory(
            4 * n_images * self._n_features,
            self.device,
            f"the {space} of {n_images:,} images",
            "take fewer images (--train-per-class), smaller ones (--image-size) or a narrower "
            "network (--width)",
        )
        was_training = self.network.training
        if not self.published:
            self.network.eval()
        points = [self._embed_class(label) for label in range(self.data.n_classes)]
        self.network.train(was_training)
        return points

    @property
    def _n_features(self) -> int:
        """The numbers of a point that is clustered."""
        height, width = self.data.image_size
        n_features, n_classes = self.network.classifier.in_features, self.data.n_classes
        return {
            "pixels": self.data.channels * height * width,
            "features": n_features,
            "predictions": n_classes,
            "gradients": self.config["projection_dim"] or n_classes * n_features,
        }[self.config.embedding]

    def _embed_class(self, label: int) -> Tensor:
        images = self.data.train_images[self.data.class_indices[label]]
        return embed(
            self.network,
            self._unit_range(images) if self.published else self._network_input(images),
            label,
            self.config.embedding,
            generator=self.generators["clustering"],
            projection_dim=self.config["projection_dim"],
        )

    def _draw(self, n_stored: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns a class's augmentation, and which of its decoded images are matched, if not all.

        On the host, so that every device and every way of batching has the same draws.

        Args:
            n_stored: synthetic images of the class.
        """
        choice, uniforms = torch.empty(()), torch.empty(1, 0)
        if self.augment.transforms:
            choice, uniforms = draw_uniforms(1, self.generators["augmentation"])
        order = torch.empty(0, dtype=torch.int64)
        n_decoded = n_stored * self.factor**2
        if n_decoded > self.config.batch_syn_max:
            order = torch.randperm(n_decoded, generator=self.generators["batches"])
            order = order[: self.config.batch_syn_max]
        return choice, uniforms, order

    def _match(
        self,
        key: Any,
        indices: Tensor,
        weights: Tensor,
        choices: Tensor,
        uniforms: Tensor,
        orders: Tensor,
    ) -> None:
        """Matches one class or several at once; may be recorded as a graph.

        Args:
            key: first class, one past the last, and for each class the number of representatives.
            indices: (n,) int64, the representatives of all of them.
            weights: (n,), or empty for equal ones.
            choices: (classes,) float64, of the augmentation.
            uniforms: (classes, `N_UNIFORMS`) float64, of the augmentation.
            orders: (classes, m) int64, which decoded images are matched; m is 0 for all.
        """
        first, end, counts = key
        classes = slice(first, end)
        real = self._network_input(self.data.train_images[indices])
        self.image_optimizer.begin(classes)
        images = self.images[classes].detach().requires_grad_()
        n_stored = self.n_stored[first]  # as many in all classes of a pass
        decoded = decode(images[:, :n_stored], self.factor)
        if orders.numel():
            decoded = decoded[self._labels[: len(counts), None], orders]
        synthetic = self.data.normalize(decoded.flatten(0, 1))
        if self.augment.transforms:
            per_class = [decoded.shape[1]] * len(counts)
            each = torch.cat(
                [
                    position.expand(n)
                    for numbers in (counts, per_class)
                    for position, n in zip(self._labels, numbers, strict=False)
                ]
            )
            alike = self.augment.prepare(choices[each], uniforms[each], real)
            of_real, of_synthetic = alike.split([len(real), len(synthetic)])
            real, synthetic = of_real(real), of_synthetic(synthetic)
        loss, gradient = self.matcher(
            self.network,
            real,
            synthetic,
            labels=self._labels[classes],
            counts=counts,
            weights=weights if len(weights) else None,
            source=images,
        )
        self.image_optimizer.step(classes, gradient)
        self._loss_sum += loss

    def _divide_classes(self) -> list[slice]:
        """Returns classes that are matched at once: one, or as many as memory allows."""
        n_classes = self.data.n_classes
        if self._class_by_class:
            return [slice(i, i + 1) for i in range(n_classes)]
        n_images = self.config.n_representatives + min(
            self.config.ipc * self.factor**2, self.config.batch_syn_max
        )
        height, width = self.data.image_size
        values = n_images * height * width * width_of(self.network)
        at_once = min(n_classes, max(1, PASS_VALUES[self.device.type] // values))
        # Half of it is less than ever was measured: surely too little.
        require_memory(
            _BYTES_PER_VALUE * values // 2,
            self.device,
            f"the maps of one class, {n_images} images,",
            "take a narrower network (--width), fewer --n-representatives or smaller images "
            "(--image-size)",
        )
        left = available_bytes_on(self.device)
        fits = at_once if left is None else max(1, left // (2 * _BYTES_PER_VALUE * values))
        if fits < at_once:
            warnings.warn(
                f"{readable_bytes(left or 0)} of memory are left: {fits} classes are matched at "
                f"once in place of {at_once}, slower (results differ by rounding); fewer trials at "
                "once (--max-concurrent) leave more",
                SlowerWarning,
                stacklevel=3,
            )
        at_once = min(at_once, fits)
        return [slice(i, min(i + at_once, n_classes)) for i in range(0, n_classes, at_once)]

    def update_network(self) -> None:
        """Trains the network on `n_net_batches` batches of a fresh shuffle of the real images."""
        self.network.train()
        config = self.config
        n_images = config.n_net_batches * config.net_batch_size
        order = torch.randperm(len(self.data.train_images), generator=self.generators["batches"])
        if n_images == 0:
            return
        batches = order[:n_images].split(config.net_batch_size)
        self.trainer.train(batches, self.generators["augmentation"])

    def _initial_images(self) -> Tensor:
        """Returns the (n_classes, ipc, c, h, w) float32 start; sets their weights."""
        config, data = self.config, self.data
        shape = (data.n_classes, config.ipc, data.channels, *data.image_size)
        if config.init == "noise":
            noise = torch.randn(shape, generator=self.generators["init"])
            return (noise / 4 + 0.5).clamp_(0, 1).to(self.device)
        if config.start_set is not None:
            return images_of_start(config, data)
        counts = [n * self.factor**2 for n in self.n_stored]
        with self.clock.part("clustering"):
            if config.init == "centroids":
                starts = self._mean_images(counts)
            else:
                starts = [
                    data.train_images[indices[positions]].float() / 255
                    for indices, positions in zip(
                        data.class_indices, self._initial_positions(counts), strict=True
                    )
                ]
        images = torch.zeros(shape, device=self.device)
        for label, start in enumerate(starts):
            images[label, : self.n_stored[label]] = encode(start, self.factor)
        return images

    def _mean_images(self, counts: Sequence[int]) -> list[Tensor]:
        """Returns the mean images, pixel by pixel, of the k largest clusters of each class.

        Every image of a cluster counts alike; noise belongs to none. As many clusters are asked
        for; a clusterer that finds more gives its largest ones (of equal ones the first).

        Args:
            counts: k of each class.

        Returns:
            One (k, c, h, w) float32 tensor in [0, 1] per class.

        Raises:
            InfeasibleClusteringError: a class has fewer clusters.
        """
        points = self._points(self.clusterer)
        clusterings = self._cluster_all(self.clusterer, points, counts)
        self._note_sizes(clusterings, counts)
        if self.clusterer.uses_points:  # measured by the image nearest to each center
            nearest = [
                select(of_class, clustering, k, "nearest_in_class", self.generators["clustering"])
                for of_class, clustering, k in zip(points, clusterings, counts, strict=True)
            ]
            self._measure(points, clusterings, nearest, over_run=True)
        means, represented = [], []
        for label, clustering in enumerate(clusterings):
            sizes, k = clustering.sizes, counts[label]
            n_clusters = int((sizes > 0).sum())
            if n_clusters < k:
                raise InfeasibleClusteringError(
                    f"the clustering of class {self.data.class_names[label]!r} gives {n_clusters} "
                    f"clusters, but {k} initial images are needed (ipc · factor²)"
                )
            largest = sizes.argsort(descending=True, stable=True)[:k]
            images = self.data.train_images[self.data.class_indices[label]]
            pixels = images.flatten(start_dim=1).float() / 255
            centroids = cluster_means(pixels, clustering.labels, len(sizes))[largest]
            means.append(centroids.unflatten(1, images.shape[1:]))
            represented.append(sizes[largest])
        if self.config.trains_with_weights:
            self.stored_weights = self._weights_of_start(represented)
        return means

    def _initial_positions(self, counts: Sequence[int]) -> list[Tensor]:
        """Returns the real images of each class that the synthetic ones start from."""
        if self.config.init == "random":
            return [
                torch.randperm(len(indices), generator=self.generators["init"])[:k].to(self.device)
                for indices, k in zip(self.data.class_indices, counts, strict=True)
            ]
        clusterer, name = self.clusterer, self.config.clusterer
        if self.config.init == "kmeans":
            name = self.config.running("clusterer", self.config.to_dict() | {"clusterer": "kmeans"})
            clusterer = CLUSTERERS.build(name)
        if name == "agglomerative_published":  # as paper 1: the first images
            return [torch.arange(k, device=self.device) for k in counts]
        is_last = self.config.outer_iterations == 0
        chosen = self._select_all(clusterer, name, counts, is_last=is_last)
        for name, found, k in zip(self.data.class_names, chosen, counts, strict=True):
            if len(found.indices) < k:
                raise InfeasibleClusteringError(
                    f"the clustering of class {name!r} gives {len(found.indices)} images, but "
                    f"{k} initial images are needed (ipc · factor²)"
                )
        if self.config.trains_with_weights:
            self.stored_weights = self._weights_of_start([found.weights for found in chosen])
        return [found.indices[:k] for found, k in zip(chosen, counts, strict=True)]

    def _weights_of_start(self, represented: Sequence[Tensor]) -> Tensor:
        """Returns `stored_weights`; a stored image has the masses of all its parts.

        Args:
            represented: of each class, the images that the first ones represent, in any unit.
        """
        masses = []
        for of_class, n, indices in zip(
            represented, self.n_stored, self.data.class_indices, strict=True
        ):
            of_parts = of_class[: n * self.factor**2].cpu().reshape(self.factor**2, n)
            masses.append(class_masses(of_parts.sum(dim=0), len(indices)))
        return training_weights(masses)

    def stored_images(self) -> Tensor:
        """Returns the (n, c, h, w) synthetic images of all classes, class by class."""
        return torch.cat([stored[:n] for stored, n in zip(self.images, self.n_stored, strict=True)])

    def stored_labels(self) -> Tensor:
        """Returns the (n,) int64 labels of `stored_images`."""
        counts = torch.tensor(self.n_stored, device=self.device)
        return self._labels.repeat_interleave(counts)

    def _unit_range(self, images: Tensor) -> Tensor:
        """Turns 8-bit images into floating point in [0, 1]."""
        return images.to(self.dtype) / 255

    def _network_input(self, images: Tensor) -> Tensor:
        return self.data.normalize(self._unit_range(images))

    def _take(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        return self._network_input(self.data.train_images[batch]), self.data.train_labels[batch]

    def _new_trainer(self, network: Network, execution: Execution) -> NetworkTrainer:
        config = self.config
        recipe = SGDRecipe(
            lr=config.net_lr,
            momentum=config.net_momentum,
            weight_decay=config.net_weight_decay,
            augment=Augmentation(strategy=config.net_augment),
            cutmix_prob=config.cutmix_prob,
            cutmix_beta=config.cutmix_beta,
        )
        n_values = self.data.train_images[0].numel()
        return NetworkTrainer(network, recipe, self._take, n_values, execution)

    def cluster_size_columns(self) -> dict[str, Any]:
        """Returns the distribution of cluster sizes at the last clustering, see `size_columns`.

        Empty before there is one.
        """
        if not self.cluster_sizes:
            return {}
        n_points = [len(indices) for indices in self.data.class_indices]
        return size_columns(self.cluster_sizes, n_points)

    def quality_columns(self) -> dict[str, float]:
        """Returns the columns `CLUSTER_QUALITY_COLUMNS` of a result, as far as they are known."""
        last = {f"{name}_last": value for name, value in self.cluster_quality.items()}
        means = {f"{name}_mean": s / n for name, (s, n) in self._quality_sums.items()}
        return last | means

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to go on between two inner loops: tensors and JSON values."""
        tensors = network_state(self.network, self.trainer.optimizer)
        tensors |= {
            f"generator/{name}": generator.get_state()
            for name, generator in self.generators.items()
        }
        tensors |= {
            "images": self.images,
            "image_momentum": self.image_optimizer.buffer,
            "loss_sum": self._loss_sum,
        }
        if self.stored_weights is not None:
            tensors["stored_weights"] = self.stored_weights
        for label, (indices, weights) in enumerate(self.representatives):
            tensors[f"representatives/{label}"] = indices
            tensors[f"representative_weights/{label}"] = weights
        for label, sizes in enumerate(self.cluster_sizes):
            tensors[f"cluster_sizes/{label}"] = sizes
        for label, labels in enumerate(self._last_labels):
            tensors[f"last_labels/{label}"] = labels
        values = {
            "outer": self.outer,
            "inner": self.inner,
            "training": self.network.training,
            "seconds": self.clock.seconds,
            "matching_loss": self.matching_loss,
            "cluster_statistics": self.cluster_statistics,
            "cluster_quality": self.cluster_quality,
            "quality_sums": self._quality_sums,
        }
        return tensors, values

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Goes on from what `state` returned for an equal configuration and data set."""
        load_network_state(self.network, self.trainer.optimizer, tensors)
        self.network.train(values["training"])
        for name, generator in self.generators.items():
            generator.set_state(tensors[f"generator/{name}"])
        self.images.copy_(tensors["images"])
        self.image_optimizer.buffer.copy_(tensors["image_momentum"])
        self._loss_sum.copy_(tensors["loss_sum"])
        if self.stored_weights is not None:
            self.stored_weights = tensors["stored_weights"].cpu()
        n_sized = sum(name.startswith("cluster_sizes/") for name in tensors)
        self.cluster_sizes = [tensors[f"cluster_sizes/{label}"] for label in range(n_sized)]
        n_labelled = sum(name.startswith("last_labels/") for name in tensors)
        self._last_labels = [tensors[f"last_labels/{label}"] for label in range(n_labelled)]
        n_chosen = sum(name.startswith("representatives/") for name in tensors)
        self.representatives = [
            (
                tensors[f"representatives/{label}"].to(self.device),
                tensors[f"representative_weights/{label}"].to(self.device),
            )
            for label in range(n_chosen)
        ]
        self.outer, self.inner = values["outer"], values["inner"]
        self.clock.seconds = values["seconds"]
        self.matching_loss = values["matching_loss"]
        self.cluster_statistics = dict(values["cluster_statistics"])
        self.cluster_quality = dict(values["cluster_quality"])
        self._quality_sums = {name: (s, n) for name, (s, n) in values["quality_sums"].items()}


def build_clusterer(config: ResolvedDistillation) -> Clusterer:
    """Builds the clusterer of a configuration."""
    clusterer: Clusterer = CLUSTERERS.build(
        config.clusterer, **config.options_for(CLUSTERERS, config.clusterer)
    )
    return clusterer


def picking_of(config: ResolvedDistillation) -> Picking | None:
    """Returns pick and quota of a configuration; None for the images nearest to the centers."""
    return build_picking(config.pick, config.quota, config.options_for(QUOTAS, config.quota))


def check_fit(config: ResolvedDistillation, data: ImageData) -> None:
    """Checks, before any work, that a configuration can be run on a data set.

    Raises:
        UserError: a class is too small, the set to start from does not fit, a network, clusterer or
            augmentation cannot be built, the network has nothing to match, or the points to be
            clustered would not fit into memory.
    """
    if config.eval_split == "val" and len(data.val_images) == 0:
        raise UserError(f"data set {data.name!r} gives no validation images; raise val_fraction")
    build_clusterer(config)
    for strategy in (config.augment, config.net_augment, config.eval_augment):
        Augmentation(strategy=strategy)
    for name in (*config.eval_networks, config.network):
        network = network_for(config, data, name, torch.Generator())
    check_matchable(network, config.network, config.match)
    sizes = [len(indices) for indices in data.class_indices]
    if config.embedding == "gradients" and config["projection_dim"] is None:
        check_gradient_size(sum(sizes), data.n_classes, network.classifier.in_features)
    check_class_sizes(config, data)
    if config.start_set is not None:
        start_set_of(config, data)
