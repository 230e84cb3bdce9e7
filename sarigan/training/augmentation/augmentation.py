"""What the discriminator's images pass through in a step, and how ADA's p follows the discriminator.

Every draw is a function of (seed, phase, step, number of the call), for the whole batch. p is in the checkpoint. So a resumed
run, other ranks and other rounds see the same transforms.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import count
from typing import Any

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.errors import InputError
from sarigan.files.weights import check_numbers
from sarigan.seeding import derive_seed
from sarigan.systems.system import Phase, Shard
from sarigan.training.augmentation.ada import ada
from sarigan.training.augmentation.config import AugmentationConfig
from sarigan.training.augmentation.diffaugment import diffaugment
from sarigan.training.augmentation.image_random import ImageRandom

PIPELINES: dict[str, Callable[..., Tensor]] = {"ada": ada, "diffaugment": diffaugment}
KEY = "augmentation"  # in a checkpoint


class Augmentation:
    """The transforms of a run; gives every shard an `augment(images)` of its own."""

    def __init__(self, config: AugmentationConfig, seed: int, batch_size: int, device: torch.device) -> None:
        self.config, self.seed, self.batch_size, self.device = config, seed, batch_size, device
        self.transforms = config.chosen()
        # p, and what has been seen since its last adjustment: the sum of the mean signs, and how many they are
        self.state = torch.zeros(3, device=device)
        if not config.is_adaptive:
            self.state[0].fill_(1.0 if config.p is None else config.p)

    @cached_property
    def _source(self) -> torch.Generator:  # made when it is first used: a dry run's device has none
        return torch.Generator(self.device)

    def prepare(self, shards: Sequence[Shard], phase: Phase, step: int, attempt: int) -> None:
        """Give each of this rank's shards of a phase its `augment`; others in another attempt, after a roll-back."""
        if not self.transforms:
            return
        first, num_shards = distributed.rank() * len(shards), distributed.world_size() * len(shards)
        batch_size = phase.batch_size or self.batch_size
        for index, shard in enumerate(shards, start=first):
            part = slice(index % batch_size, None, num_shards)
            key = (self.seed, phase.name, step, attempt)
            shard.augment = partial(self._augment, key=key, calls=count(), batch_size=batch_size, part=part)

    def _augment(self, images: Tensor, key: tuple[Any, ...], calls: "count[int]", batch_size: int, part: slice) -> Tensor:
        """images [n,3,R,R] of the rows `part` of the batch. Other draws in every call of a shard."""
        self._source.manual_seed(derive_seed(*key, "augmentation", next(calls)))
        random = ImageRandom(self._source, batch_size, part, images.dtype)
        channels_last = images.is_contiguous(memory_format=torch.channels_last)
        images = PIPELINES[self.config.name](images, self.transforms, random, self.state[0])
        return images.contiguous(memory_format=torch.channels_last) if channels_last else images

    def adapt(self, mean_sign: Tensor) -> None:
        """After a step: the mean sign of D's logits on real images, over all ranks; p is adjusted when it is due.

        p <- p + sign(mean - target) * images since the last adjustment / (1000 * speed_kimg), within 0..1.
        """
        config, (p, total, steps) = self.config, self.state.unbind()
        finite = mean_sign.isfinite()
        total, steps = total + torch.where(finite, mean_sign, 0), steps + finite
        due = steps >= config.interval
        change = config.interval * self.batch_size / (1000 * config.speed_kimg)
        adjusted = (p + change * torch.sign(total / steps.clamp(min=1) - config.target)).clamp(0, 1)
        self.state.copy_(torch.stack([torch.where(due, adjusted, p), total * ~due, steps * ~due]))

    def log_values(self) -> dict[str, float]:
        """p where it is adapted; reads from the device."""
        return {"augmentation/p": float(self.state[0])} if self.config.is_adaptive else {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: nothing where p is constant."""
        return {KEY: self.state} if self.config.is_adaptive else {}

    def load_state_dict(self, state: dict[str, Any], source: str) -> list[str]:
        """Restore; returns a line when the checkpoint `source` has no p. InputError when it has an impossible one."""
        if not self.config.is_adaptive:
            return []
        if KEY not in state:
            return ["augmentation: the checkpoint has no p, which begins at 0"]
        try:
            check_numbers(KEY, state[KEY], self.state)
            p, total, steps = (float(value) for value in state[KEY])
            if not (0 <= p <= 1 and steps >= 0 and abs(total) <= steps):
                raise ValueError(f"p must be 0 to 1, got {p}, after {steps} mean signs with the sum {total}")
        except ValueError as error:
            raise InputError(f"{source}: the checkpoint does not fit this configuration ({error})") from None
        self.state.copy_(state[KEY])
        return []
