"""Extreme values at every flag of every command, many more than are tried with every change, and
what they mean together with the other flags as far as a dry run looks.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given, settings, strategies as st
from test_flags_of_commands import CONFIGS, config_of
from test_values_of_flags import (
    EXTREMES,
    HOW,
    any_value_at_any_flag,
    flags_with_values,
    given_or_refused,
    is_one_line,
    look,
)

from varant.errors import UserError

pytestmark = pytest.mark.long


@pytest.mark.parametrize("command", CONFIGS)
def test_many_values_at_many_flags(command: str, tally: Counter[str]) -> None:
    @settings(HOW, max_examples=400)
    @given(data=st.data())
    def tried(data: st.DataObject) -> None:
        config = any_value_at_any_flag(command, data)
        tally["refused in one line" if config is None else "what was given"] += 1
        tally.update(made=1, held=1)

    tried()


@pytest.mark.parametrize("command", CONFIGS)
def test_values_that_parse_are_planned_or_refused(command: str, tally: Counter[str]) -> None:
    @settings(HOW, max_examples=40)
    @given(data=st.data())
    def tried(data: st.DataObject) -> None:
        flag = data.draw(st.sampled_from(flags_with_values(command)))
        text = data.draw(st.sampled_from(EXTREMES) | st.integers(0, 10**6).map(str))
        assume((config := given_or_refused(type(config_of(command)), flag, text)) is not None)
        try:
            look(command, config)
            tally["planned"] += 1
        except UserError as error:
            names = (flag, text, str(Path(text)))
            assert is_one_line(error) and any(name in str(error) for name in names), str(error)
            tally["refused in one line"] += 1
        tally.update(made=1, held=1)

    tried()
