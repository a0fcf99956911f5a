"""Reports of titled tables, as plain text and as HTML that needs nothing beside it."""

from dataclasses import dataclass
from html import escape
from textwrap import fill

_WIDTH = 100


@dataclass(frozen=True)
class Section:
    """A titled part of a report: rows of cells under a header, or a list of messages.

    Attributes
    ----------
    title : str
    header : sequence of str
        Empty for rows without one.
    rows : sequence of sequences of str
        The first cell of each is its name.
    note : str
        Beneath.
    """

    title: str
    header: tuple
    rows: list
    note: str = ""


@dataclass(frozen=True)
class Message:
    """One message at the head of a report: how grave, what, and what to do."""

    severity: str
    name: str
    words: str
    advice: str


def as_text(title, verdict, messages, sections):
    """The report as plain text."""
    blocks = [f"{title}\n{'=' * len(title)}\n{verdict}"]
    for message in messages:
        head = f"{message.severity}: {message.name}"
        body = [_wrapped(message.words), _wrapped(f"Cure: {message.advice}.")]
        blocks.append("\n".join([head, *body]))
    for section in sections:
        lines = [section.title, "-" * len(section.title), *_aligned(section)]
        if section.note:
            lines.append(fill(section.note, _WIDTH))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _wrapped(text):
    return fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _aligned(section):
    rows = ([section.header] if section.header else []) + list(section.rows)
    # The names of columns may have line breaks.
    rows = [[" ".join(cell.splitlines()) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    ]


_STYLE = """
.skvae-report {font-family: monospace; line-height: 1.3; max-width: 60em}
.skvae-report .title {font-weight: bold; padding: .3em .6em; border: 1px solid currentColor;
  border-radius: .25em; margin-bottom: .5em}
.skvae-report .message {border-left: .3em solid #999; padding: .2em .6em; margin: .4em 0}
.skvae-report .warning {border-left-color: #d55e00}
.skvae-report table {border-collapse: collapse; margin: .3em 0}
.skvae-report th, .skvae-report td {text-align: right; padding: .1em .7em}
.skvae-report th:first-child, .skvae-report td:first-child {text-align: left}
.skvae-report summary {cursor: pointer; font-weight: bold}
"""


def as_html(title, verdict, messages, sections):
    """The report as an HTML block, its style with it."""
    parts = [
        f"<style>{_STYLE}</style>",
        f'<div class="title">{escape(title)}</div>',
        f"<div>{escape(verdict)}</div>",
    ]
    for message in messages:
        kind = "message warning" if message.severity == "warning" else "message"
        parts.append(
            f'<div class="{kind}"><b>{escape(message.severity)}: {escape(message.name)}</b><br>'
            f"{escape(message.words)}<br><i>Cure: {escape(message.advice)}.</i></div>"
        )
    for section in sections:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in section.header)
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in section.rows
        )
        note = f"<div>{escape(section.note)}</div>" if section.note else ""
        parts.append(
            f"<details open><summary>{escape(section.title)}</summary><table>"
            + (f"<thead><tr>{head}</tr></thead>" if head else "")
            + f"<tbody>{rows}</tbody></table>{note}</details>"
        )
    return f'<div class="skvae-report">{"".join(parts)}</div>'
