"""The scenario that the edge tests share: the published table, eight Rayleigh bins, one item a slot."""

from __future__ import annotations

from dataclasses import replace

from chappe.edge.operating import published_table
from chappe.edge.scenario import Channel, Scenario


def world(**changes) -> Scenario:
    return replace(Scenario(published_table(), devices=48, channel=Channel("bins")), **changes)
