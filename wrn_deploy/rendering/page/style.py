"""The page's style: light and dark, desk, phone and paper; system fonts, nothing loaded."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --muted: #59626c; --rule: #e1e4e8; --soft: #f6f7f9;
  --fp32: #3d6fb4; --fp16: #23866f; --int8: #c05a1c;
  --bf16: #7b4fa3; --fp8: #8a6d00; --warn: #b42318; }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #14171b; --ink: #e4e7eb; --muted: #98a2ad; --rule: #2c3239; --soft: #1b1f25;
    --fp32: #82b1ee; --fp16: #5fc7ae; --int8: #f29b63;
    --bf16: #c3a0e6; --fp8: #d9bb4a; --warn: #ff8a7a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header, main { max-width: 58.75rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 3rem; } main { padding-bottom: 4rem; }
a { color: var(--fp32); text-underline-offset: .2em; }
a:focus-visible, .scroll:focus-visible { outline: 2px solid var(--fp32); outline-offset: 4px; }
.hidden, .skip:not(:focus) { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { margin: 3.5rem 0 1rem; padding-top: 1rem; border-top: 1px solid var(--rule); font-size: 1.25rem; line-height: 1.3;
  font-weight: 600; overflow-wrap: anywhere; }
h3 { margin: 2rem 0 .75rem; font-size: 1rem; font-weight: 600; overflow-wrap: anywhere; }
p, ul { max-width: 44rem; }
.about, caption, figcaption, .caption, .notes, dt { color: var(--muted); }
.about, caption, figcaption, .caption, .notes, dl, nav { font-size: .875rem; }
.about { margin: .35rem 0 0; }
.summary { margin: 1.75rem 0 0; font-size: 1.2rem; line-height: 1.5; overflow-wrap: anywhere; }
.warning { margin: 1rem 0 0; padding: .6rem 1rem; border-left: 4px solid var(--warn); background: var(--soft);
  max-width: 44rem; font-size: .9375rem; overflow-wrap: anywhere; }
.warning b { color: var(--warn); }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; max-width: none; margin: 1.75rem 0 0; padding: 0;
  list-style: none; }
figure { margin: 0 0 2rem; }
figcaption { max-width: 44rem; margin-top: .75rem; }
svg { display: block; max-width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--ink); }
svg .label, svg .value { stroke: var(--page); stroke-width: 4px; stroke-linejoin: round; paint-order: stroke; }
svg .tick { fill: var(--muted); font-variant-numeric: tabular-nums; }
svg .grid, svg .axis, svg .leader { fill: none; stroke: var(--rule); }
svg .axis, svg .leader { stroke: var(--muted); stroke-width: .75; }
svg .whisker, svg .one { fill: none; stroke: var(--ink); stroke-width: 1.5; }
svg .one { stroke-dasharray: 5 4; }
svg .dot { fill: var(--ink); stroke: var(--page); }
svg .fp32 { fill: var(--fp32); stroke: var(--fp32); } svg .fp16 { fill: var(--fp16); stroke: var(--fp16); }
svg .int8 { fill: var(--int8); stroke: var(--int8); } svg .bf16 { fill: var(--bf16); stroke: var(--bf16); }
svg .fp8 { fill: var(--fp8); stroke: var(--fp8); } svg .other { fill: var(--muted); stroke: var(--muted); }
svg rect { stroke: none; }
svg .shape { fill-opacity: .55; stroke-width: 1; }
svg .interval { fill: none; stroke-width: 6; stroke-opacity: .6; } svg circle.mark { stroke-width: .75; }
svg .curve { fill: none; stroke-width: 1.75; }
svg .mark { stroke: var(--page); stroke-width: 1; }
svg circle.hollow { fill: var(--page); stroke-width: 1.75; }
svg .hollow.fp32 { stroke: var(--fp32); } svg .hollow.fp16 { stroke: var(--fp16); }
svg .hollow.int8 { stroke: var(--int8); } svg .hollow.bf16 { stroke: var(--bf16); }
svg .hollow.fp8 { stroke: var(--fp8); }
svg .front { fill: none; stroke: var(--muted); stroke-dasharray: 2 4; }
svg .ring { fill: none; stroke: var(--ink); stroke-width: 1.25; }
.narrow { display: none; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; min-width: 100%; font-size: .8125rem; font-variant-numeric: tabular-nums; }
caption { padding-bottom: .6rem; text-align: left; }
caption span { display: block; max-width: min(44rem, calc(100vw - 2.5rem)); }
th, td { padding: .4rem .6rem; border-top: 1px solid var(--rule); text-align: right; white-space: nowrap; }
thead th { color: var(--muted); font-weight: 500; vertical-align: bottom; }
tbody th { font-weight: 500; } tbody th, tbody td { vertical-align: top; }
th:first-child { position: sticky; left: 0; padding-left: 0; background: var(--page); text-align: left; }
td:last-child, th:last-child { padding-right: 0; }
thead th, .more td { border-top: 0; } .more td { padding-top: .1rem; }
table { border-bottom: 1px solid var(--rule); }
th.text, td.text { text-align: left; }
td.long { white-space: normal; min-width: 8rem; overflow-wrap: anywhere; }
.notes { padding-left: 1.1rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1.5rem; margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; }
dl.skipped { display: block; max-width: 44rem; } .skipped dt { color: var(--ink); font-weight: 500; }
.skipped dd { margin-bottom: .9rem; color: var(--muted); }
.changed { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1.25rem 1rem;
  max-width: none; margin: 0; padding: 0; list-style: none; font-size: .8125rem; line-height: 1.4; }
.changed img, .missing { display: block; margin-bottom: .4rem; border: 1px solid var(--rule); border-radius: 3px; }
.changed li { overflow-wrap: anywhere; } .changed small, .missing { color: var(--muted); }
.changed small { display: block; }
.squares { image-rendering: pixelated; }
.missing { width: 96px; height: 96px; padding: 2.2rem .5rem; text-align: center; }
code { font: .8125rem ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
@media screen and (max-width: 47rem) {
  header { padding-top: 1.75rem; } header, main { padding-left: .75rem; padding-right: .75rem; }
  h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; } .summary { font-size: 1.08rem; }
  .wide { display: none; } .narrow { display: block; max-width: 30rem; } .narrow svg { width: 100%; }
  tbody th { min-width: 7.2rem; white-space: normal; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .6rem; }
  .changed { grid-template-columns: repeat(auto-fill, minmax(6.6rem, 1fr)); } }
@media print {
  header, main { max-width: none; padding: 0; } body { font-size: 10pt; } nav, .skip { display: none; }
  .scroll { overflow: visible; } .summary { font-size: 12pt; } h2 { margin-top: 18pt; }
  table { font-size: 7pt; } th, td { padding: 2pt 3pt; } th:first-child { position: static; }
  h2, h3, thead, caption, p.caption { break-after: avoid; } .more { break-before: avoid; }
  tr, figure, li, p { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
