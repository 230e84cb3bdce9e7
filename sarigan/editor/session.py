"""One person's work on a picture: the list of edits, undo and redo, and the pictures that result. No web code.

Everything a picture depends on is an immutable `Recipe`; an action makes a new one and keeps the old one for undo.
"""

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from sarigan.editing.edit_file import FileEdit
from sarigan.editing.group_editing import toward
from sarigan.editor.changes import Change, CodeChange, DirectionMove, HalfMixing, LayerMixing
from sarigan.editor.feature_cache import FeatureCache
from sarigan.editor.model import EditedModel
from sarigan.editor.recipe import Entry, Recipe
from sarigan.errors import InputError
from sarigan.layers.intervention import ChannelEdit, Intervention
from sarigan.layers.style import StyleCodes
from sarigan.models.synthesis import SynthesisOutput
from sarigan.seeding import MAX_SEED

MAX_ENTRIES = 1000
MAX_SINGLE = 16  # edits of a file that stand one by one in the list


@dataclass(frozen=True)
class Pictures:
    """What is shown: [1,3,R,R] on the CPU, about -1..1, not clamped."""

    original: Tensor
    edited: Tensor


class Session:
    """All actions of one person. Every method that changes the picture can be undone.

    Actions raise InputError and then leave everything as it was. `lock` is for callers that serve several requests at once.
    """

    def __init__(self, model: EditedModel) -> None:
        self.model = model
        self.lock = threading.RLock()
        self.recipe = Recipe()
        self.kept: Recipe | None = None  # the first end of a film
        self._undo: list[Recipe] = []
        self._redo: list[Recipe] = []
        self._merging: object = None  # consecutive changes of one slider are one step of undo
        self._num_entries = 0
        self._loaded = model.loaded
        self._original, self._edited = FeatureCache(), FeatureCache()

    # Pictures

    def pictures(self) -> Pictures:
        """The picture without and with the edits, under one noise."""
        edited = self._output().images.float().cpu()
        base, generator = self.recipe.base_latents(self.model.generator), self.model.generator
        original = self._original.synthesize(generator, base, self.recipe.noise_maps(generator))
        return Pictures(original.images.float().cpu(), edited)

    def codes(self, layer: str) -> StyleCodes:
        """Codes of a layer with groups or class-conditional norm, edited."""
        return self._output().codes[layer]

    def layer_input(self, layer: str) -> Tensor:
        """Features [1,c,H,W] that come into a layer, of the edited picture, before the layer's own edits act."""
        index = self.model.generator.synthesis.layer_names().index(layer)
        self._output()
        features = self._edited.input_of(index)
        if features is None:
            raise InputError(f"the features of layer {layer} are too large to be kept")
        return features

    def _output(self) -> SynthesisOutput:
        """The edited picture."""
        recipe, generator = self.recipe, self.model.generator
        return self._edited.synthesize(generator, recipe.latents(generator), recipe.noise_maps(generator), recipe.edits)

    def meet_model(self) -> str:
        """After a reload: remove edits that do not fit the new groups; one line about it, empty when all fit."""
        if self._loaded is self.model.loaded:
            return ""
        self._loaded = self.model.loaded
        try:
            self._output()
            return ""
        except InputError as error:
            self.recipe = self.recipe.without_edits()
            self._undo, self._redo = [], []
            return f"the edits were removed, since they do not fit the new weights: {error}. "

    # Undo

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether a step was taken back."""
        return bool(self._redo)

    def undo(self) -> None:
        """Take the last step back; nothing happens where there is none."""
        self._swap(self._undo, self._redo)

    def redo(self) -> None:
        """Take the last undo back."""
        self._swap(self._redo, self._undo)

    def _swap(self, source: list[Recipe], kept: list[Recipe]) -> None:
        self.settle()
        if source:
            before, self.recipe = self.recipe, source[-1]
            self._checked(before)
            kept.append(before)
            source.pop()

    def _checked(self, before: Recipe) -> None:
        """Go back to the recipe before when the new one makes no picture."""
        try:
            if not bool(self._output().images.isfinite().all()):
                raise InputError("amounts as large as these make no picture")
        except BaseException:
            self.recipe = before
            raise

    def settle(self) -> None:
        """A slider was let go: its next change is a step of its own."""
        self._merging = None

    def apply(self, recipe: Recipe, merging: object = None) -> None:
        """A new state. Consecutive ones with the same `merging` (None: never) are one step of undo."""
        before = self.recipe
        self.recipe = recipe
        self._checked(before)
        if merging is None or merging != self._merging:
            self._undo.append(before)
        self._redo.clear()
        self._merging = merging

    # The picture

    def set_seed(self, seed: int) -> None:
        """Another picture with the same edits; a projected one is left."""
        self.apply(replace(self.recipe, seed=seed, given=None), "seed")

    def set_random_seed(self) -> None:
        """`set_seed` of any seed below a million."""
        self.set_seed(secrets.randbelow(min(1_000_000, MAX_SEED)))

    def set_truncation(self, psi: float) -> None:
        """psi of w to its mean; 1: off."""
        self.apply(replace(self.recipe, truncation=psi), "truncation")

    def set_noise(self, kind: str) -> None:
        """One of `seeds.NOISES`."""
        self.apply(replace(self.recipe, noise=kind))

    def set_class(self, name: str | None) -> None:
        """None: the class that the seed draws. InputError for a class that the model does not have."""
        if name is not None:
            self.model.generator.class_index(name)
        self.apply(replace(self.recipe, class_name=name))

    def set_projection(self, latents: Tensor, edits: Sequence[FileEdit]) -> None:
        """Latents [1,L,w_dim] in place of the seed's, and the codes that belong to them, instead of all edits."""
        entries = tuple(self._entries(edits, "projection"))
        self.apply(replace(self.recipe, given=latents, entries=entries, noise="fixed"))

    # Changes

    def scale_strength(self, layer: str, group: int, amount: float) -> None:
        """h_i of a group times amount."""
        edit = Intervention(layer, group, "h", "scale", amount)
        self._put(CodeChange((edit,), f"strength h of group {group} in {layer}", f"{layer} {group} h"))

    def move_along(self, layer: str, group: int, direction: int, amount: float) -> None:
        """z_i of a group along a principal direction, in standard deviations."""
        directions, _ = self.model.group_directions(layer, group)
        if not 0 <= direction < len(directions):
            there = f"0 to {len(directions) - 1}" if len(directions) else "none, since the group is empty"
            raise InputError(f"no direction {direction} of group {group} in {layer}; there are {there}")
        edit = Intervention(layer, group, "z", "shift", amount, directions[direction])
        text = f"direction {direction} of z of group {group} in {layer}"
        self._put(CodeChange((edit,), text, f"{layer} {group} z {direction}"))

    def move_toward(self, layer: str, group: int, codes: str, seed: int, amount: float) -> None:
        """The codes (`z`, `h` or `zh`) of a group toward those of a second seed: 0 stays, 1 is there."""
        Recipe(seed=seed)  # checks the seed
        generator, sampling = self.model.generator, self.recipe.sampling
        edits = tuple(toward(generator, sampling, layer, group, code, seed)(amount) for code in codes if code in "zh")
        names = " and ".join(codes)
        text = f"{names} of group {group} in {layer} toward seed {seed}"
        self._put(CodeChange(edits, text, f"{layer} {group} {codes} toward"))

    def mix_layers(self, seed: int, layers: str, amount: float = 1.0) -> None:
        """The style of a second seed in a range of layers (`latent_range`)."""
        Recipe(seed=seed)
        self._put(LayerMixing(amount, seed, layers))

    def mix_half(self, seed: int, half: str, amount: float = 1.0) -> None:
        """w_h (`h`) or w_z (`z`) of a second seed in all layers."""
        Recipe(seed=seed)
        self._put(HalfMixing(amount, seed, half))

    def move_direction(self, number: int, amount: float, layers: tuple[str, ...] | None = None) -> None:
        """w along a direction in closed form, in standard deviations; layers None: all."""
        directions = self.model.directions(layers)
        if not 0 <= number < len(directions):
            raise InputError(f"no direction {number}; there are 0 to {len(directions) - 1}")
        self._put(DirectionMove(amount, number, directions[number], layers))

    def shift_channel(self, layer: str, channel: int, amount: float) -> None:
        """One entry of a layer's style vector plus amount (StyleSpace)."""
        edit = ChannelEdit(layer, channel, "shift", amount)
        self._put(CodeChange((edit,), f"channel {channel} of {layer}", f"{layer} channel {channel}"))

    def load(self, recipe: Recipe, edits: Sequence[FileEdit], text: str) -> None:
        """Another recipe with edits of codes, as a file has them; many with one amount become one entry."""
        self.apply(replace(recipe, entries=tuple(self._entries(edits, text))))

    def amount_of(self, place: str) -> float | None:
        """The amount of the change of a place, where the list has one."""
        return next((entry.change.amount for entry in self.recipe.entries if entry.change.place == place), None)

    # The list

    def set_amount(self, number: int, amount: float) -> None:
        """More or less of an entry."""
        entry = self._find(number)
        self._replace(replace(entry, change=entry.change.with_amount(amount)), ("amount", number))

    def switch(self, number: int, is_on: bool) -> None:
        """Switch an entry off, or on again."""
        self._replace(replace(self._find(number), is_on=is_on))

    def move(self, number: int, offset: int) -> None:
        """Move an entry in the list by -1 (earlier) or 1 (later); at an end nothing happens."""
        entries = list(self.recipe.entries)
        old = entries.index(self._find(number))
        new = min(max(old + offset, 0), len(entries) - 1)
        if new != old:
            entries.insert(new, entries.pop(old))
            self.apply(replace(self.recipe, entries=tuple(entries)))

    def remove(self, number: int) -> None:
        """Remove an entry."""
        gone = self._find(number)
        self.apply(replace(self.recipe, entries=tuple(entry for entry in self.recipe.entries if entry is not gone)))

    def remove_all(self) -> None:
        """Remove all edits; seed, truncation and noise stay."""
        if self.recipe.entries:
            self.apply(self.recipe.without_edits())

    def _find(self, number: int) -> Entry:
        found = next((entry for entry in self.recipe.entries if entry.number == number), None)
        if found is None:
            raise InputError(f"no edit {number} in the list")
        return found

    def _entry(self, change: Change) -> Entry:
        self._num_entries += 1
        return Entry(self._num_entries, change)

    def _entries(self, edits: Sequence[FileEdit], text: str) -> list[Entry]:
        """Of a file; InputError for more than the list holds."""
        if len(edits) > MAX_SINGLE and len({edit.amount for edit in edits}) == 1:
            return [self._entry(CodeChange(tuple(edits), f"{len(edits)} codes ({text})", text))]
        if len(edits) > MAX_ENTRIES:
            raise InputError(f"the list holds {MAX_ENTRIES} edits of unlike amounts, got {len(edits)}")
        return [self._entry(CodeChange((e,), f"{e.place} ({text})", f"{e.place} {text} {i}")) for i, e in enumerate(edits)]

    def _put(self, change: Change) -> None:
        """Take the place of the change of the same place, or append."""
        old = next((entry for entry in self.recipe.entries if entry.change.place == change.place), None)
        if old is not None:
            self._replace(Entry(old.number, change), ("amount", old.number))
            return
        if len(self.recipe.entries) >= MAX_ENTRIES:
            raise InputError(f"the list holds {MAX_ENTRIES} edits; remove some first")
        new = self._entry(change)
        self.apply(replace(self.recipe, entries=(*self.recipe.entries, new)), ("amount", new.number))

    def _replace(self, new: Entry, merging: object = None) -> None:
        entries = tuple(new if entry.number == new.number else entry for entry in self.recipe.entries)
        self.apply(replace(self.recipe, entries=entries), merging)
