"""Who made a model, and what to cite: asked for, never invented. Imports little."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Author:
    """One of the people who made a model.

    Attributes
    ----------
    name : in full
    affiliation : institute, "" for none
    orcid : such as "0000-0001-2345-6789", "" for none
    github_user : name on github.com, "" for none; the zoo asks for at least one
    """

    name: str
    affiliation: str = ""
    orcid: str = ""
    github_user: str = ""


@dataclass(frozen=True)
class Citation:
    """What to cite: a text, and a DOI or an address."""

    text: str
    doi: str = ""
    url: str = ""


@dataclass(frozen=True)
class Card:
    """What is said of a model when it is handed on.

    Attributes
    ----------
    authors : at least one
    licence : SPDX identifier such as "CC-BY-4.0", "" for none
    description : one or two sentences, "" to say what the network is
    cite : what to cite
    documentation : markdown that is put into the README, "" for none
    """

    authors: tuple[Author, ...]
    licence: str = ""
    description: str = ""
    cite: tuple[Citation, ...] = ()
    documentation: str = ""
