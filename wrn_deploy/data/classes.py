"""Maps a source's class indices to the network's, by name if both have names; numpy only."""

from __future__ import annotations

import functools

from wrn_deploy.data import Item, OpenedSource
from wrn_deploy.data.imagenet_classes import CLASSES, ilsvrc_indices
from wrn_deploy.data.labels import are_indices, sort_naturally
from wrn_deploy.data.sources import LazySource, items_from
from wrn_deploy.errors import DeployError
from wrn_deploy.spec import ModelSpec

__all__ = ["match_classes"]

SHOWN = 12  # names in an error


def match_classes(source: OpenedSource, spec: ModelSpec) -> OpenedSource:
    """Returns the source with the network's class indices; a doubt about them is added to its notes.

    Without class names, the source's indices are used unchanged. A folder with some of ImageNet's classes, for
    example, counts from 0 without gaps: only the names tell which classes they are. ImageNet's own names are known, so
    a network with 1,000 classes needs none; nor do the numbers 0 to 999, which are its indices.

    Raises:
        DeployError: the names do not identify the network's classes.
    """
    if not source.labels or source.labels == spec.labels:
        return source
    imagenet = _imagenet_indices(source.labels, spec) if spec.classes == CLASSES else None
    if imagenet is not None:
        return _relabel(source, spec.labels, imagenet)
    if not spec.labels:
        return _in_their_order(source, spec)
    twice = [label for label in source.labels if spec.labels.count(label) > 1]
    if twice:
        raise DeployError(
            f"{spec.name} has several classes named {twice[0]!r}: expected unique names to match those of "
            f"{source.name}; use class indices as its labels"
        )
    unknown = [label for label in source.labels if label not in spec.labels]
    if unknown:
        shown = ", ".join(unknown[:3])
        raise DeployError(
            f"{source.name} has {len(unknown)} classes that {spec.name} does not have ({shown}): expected some of "
            f"{', '.join(spec.labels[:3])}, ...; use the same names, or export with --labels FILE"
        )
    return _relabel(source, spec.labels, [spec.labels.index(label) for label in source.labels])


def _imagenet_indices(labels: tuple[str, ...], spec: ModelSpec) -> list[int] | None:
    if len(labels) == CLASSES and are_indices(labels) and not set(labels) & set(spec.labels):
        return [int(label) for label in labels]
    return ilsvrc_indices(labels, spec.labels)


def _in_their_order(source: OpenedSource, spec: ModelSpec) -> OpenedSource:
    """Takes the order of the names for that of a network without names, if nothing speaks against it."""
    labels = list(source.labels)
    if len(labels) != spec.classes:
        shown = ", ".join(labels[:SHOWN]) + (", ..." if len(labels) > SHOWN else "")
        raise DeployError(
            f"{source.name} has {len(labels)} named classes ({shown}), and {spec.name} has {spec.classes} without "
            "names: expected the same number, or names for the network's classes; export it with --labels FILE"
        )
    natural, are_numbers = sort_naturally(labels)
    is_text_order = labels == sorted(labels)
    if labels == natural and are_numbers and not is_text_order:
        return _noted(
            source, "class names are numbers, so each is used as its own index; they sort differently as text"
        )
    if labels == natural or not (are_numbers or is_text_order):
        return source
    if are_numbers:
        raise DeployError(
            f"{source.name} has numbers as class names, in the order {', '.join(labels[:SHOWN])}, which is not numeric "
            f"order, and {spec.name} has no names to compare them with: expected names of the network's classes; "
            "give them in the network's order with --labels FILE"
        )
    first = next(index for index, label in enumerate(natural) if label != labels[index])
    return _noted(
        source,
        f"class names are in text order, with {labels[first]} before {natural[first]}; if {spec.name} was trained in "
        "numeric order, give its class names with --labels FILE",
    )


def _noted(source: OpenedSource, text: str) -> OpenedSource:
    return LazySource(
        name=source.name,
        count=len(source),
        read=source.items,
        read_from=functools.partial(items_from, source),
        labels=source.labels,
        mirror=source.mirror,
        notes=(*source.notes, f"{source.name}: {text}"),
    )


def _relabel(source: OpenedSource, labels: tuple[str, ...], indices: list[int]) -> OpenedSource:
    def relabelled(item: Item) -> Item:
        return item if item.label is None else Item(item.name, indices[item.label], item.load)

    return LazySource(
        name=source.name,
        count=len(source),
        read=lambda order: map(relabelled, source.items(order)),
        read_from=lambda first: map(relabelled, items_from(source, first)),
        labels=labels,
        mirror=source.mirror,
        notes=source.notes,
    )
