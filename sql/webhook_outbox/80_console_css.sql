-- The console's style. The page's policy names it by its hash, so no other style, and nothing else at all, is let in: keep
-- style attributes out of the page. ASCII only; and no less-than sign or ampersand, which would need to be escaped.

CREATE FUNCTION webhook_outbox.console_css() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT $css$
:root { color-scheme: light dark;
  --paper: #fff; --ink: #1b2026; --muted: #5a646f; --rule: #dfe3e7; --soft: #f4f6f8; --mark: #3a6ea8; --bar: #7fa3cc;
  --good: #1b6e40; --warn: #8a5200; --bad: #b3261e; --bar-bad: #cf5a50; }
@media screen and (prefers-color-scheme: dark) { :root {
  --paper: #14171b; --ink: #e3e7eb; --muted: #9aa5b1; --rule: #2d343b; --soft: #1c2126; --mark: #8ab4e8; --bar: #4f7fb8;
  --good: #63c48f; --warn: #e3b04b; --bad: #f58f86; --bar-bad: #d9645a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 2rem 2rem 3rem; background: var(--paper); color: var(--ink);
  font: 0.9375rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; text-size-adjust: 100%; -webkit-text-size-adjust: 100%; }
h1, h2, h3, p, dl, dd, figure, pre, ul { margin: 0; padding: 0; }
h1 { font-size: 1rem; font-weight: 600; }
h2 { font-size: 1.125rem; font-weight: 600; margin-bottom: 0.75rem; }
h2 small { font-size: 0.875rem; font-weight: 400; color: var(--muted); margin-left: 0.5rem; }
h3 { font-size: 1rem; font-weight: 600; }
h3 small { font-size: 0.875rem; font-weight: 400; }
header { display: flex; flex-wrap: wrap; gap: 0.25rem 1.5rem; justify-content: space-between; align-items: baseline; }
header p, .note, .empty, footer { color: var(--muted); font-size: 0.875rem; }
bdi, td, th, pre { unicode-bidi: isolate; }
section { border-top: 1px solid var(--rule); margin-top: 2rem; padding-top: 1.25rem; }
nav { margin-top: 1.5rem; font-size: 0.875rem; display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; }
a { color: var(--mark); text-underline-offset: 0.2em; }
.none, .dim { color: var(--muted); }

.health { margin-top: 1.25rem; padding: 0.125rem 0 0.125rem 1.125rem; border-left: 0.3125rem solid var(--muted); }
.health p:first-child { font-size: 1.5rem; line-height: 1.3; font-weight: 600; letter-spacing: -0.01em; }
.health p + p { margin-top: 0.25rem; color: var(--muted); }
.health.good { border-color: var(--good); }
.health.warn { border-color: var(--warn); }
.health.bad { border-color: var(--bad); }

.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: 1.25rem 1.5rem; margin-top: 1.75rem; }
.figures dt { color: var(--muted); font-size: 0.875rem; }
.figures dd { font-size: 1.5rem; line-height: 1.25; font-weight: 600; letter-spacing: -0.01em; white-space: nowrap; }
.figures dd + dd { font-size: 0.875rem; line-height: 1.4; font-weight: 400; letter-spacing: 0; color: var(--muted);
  white-space: normal; }

.state { white-space: nowrap; }
.state::before { display: inline-block; width: 1.15em; font-size: 0.85em; text-align: left; }
.state.good::before { content: "\25CF"; color: var(--good); }
.state.warn::before { content: "\25B2"; color: var(--warn); }
.state.bad::before { content: "\25A0"; color: var(--bad); }
.state.idle::before { content: "\25CB"; color: var(--muted); }
.state.warn { color: var(--warn); }
.state.bad { color: var(--bad); }

table { border-collapse: collapse; width: 100%; font-size: 0.875rem; }
th, td { text-align: left; vertical-align: top; padding: 0.4375rem 1.25rem 0.4375rem 0; }
th:last-child, td:last-child { padding-right: 0; }
th { color: var(--muted); font-weight: 400; white-space: nowrap; border-bottom: 1px solid var(--rule); }
td { border-bottom: 1px solid var(--rule); overflow: hidden; }
tbody tr:last-child td, tbody tr:last-child { border-bottom: 0; }
td small { display: block; font-size: 0.8125rem; color: var(--muted); }
th.n, td.n { text-align: right; }
td.n, td.short { white-space: nowrap; }
td.short small { white-space: normal; }
code { font: 0.75rem/1.75 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; white-space: nowrap; }
td.text { min-width: 5rem; }
td.name { font-weight: 600; min-width: 8rem; }
td.name small { font-weight: 400; }
tr.part td { color: var(--muted); font-size: 0.8125rem; padding-top: 1rem; }

.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.5rem 2rem; }
figure { max-width: 44rem; }
.plots svg { margin-top: 0.25rem; }
figcaption { font-size: 0.875rem; }
figcaption b { font-weight: 600; margin-right: 0.375rem; }
figcaption span { color: var(--muted); }
figure .empty { padding: 2.5rem 0; border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); margin-top: 0.5rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-size: 10.5px; fill: var(--muted); }
svg .l { text-anchor: end; }
svg .m { text-anchor: middle; }
svg .s { fill: var(--ink); }
.grid { stroke: var(--rule); stroke-width: 1; fill: none; }
.axis { stroke: var(--muted); stroke-width: 1; fill: none; }
.bar { fill: var(--bar); }
.bar.part { fill-opacity: 0.55; }
.bar.fail { fill: var(--bar-bad); }
.line { fill: none; stroke: var(--mark); stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
.line.second { stroke-width: 1.25; }
.line.third { stroke-width: 1.25; stroke-dasharray: 0.1 3; }
.line.limit { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 5 3; }
.spark { width: 8.75rem; }
td .left { display: flex; align-items: center; gap: 0.625rem; white-space: nowrap; }
.budget { width: 6.25rem; flex: none; }
.track { fill: var(--soft); stroke: var(--muted); stroke-width: 0.75; }
.left { fill: var(--bar); }
.left.low { fill: var(--bar-bad); }
.gone { stroke: var(--bad); stroke-width: 1.5; fill: none; }

pre { font: 0.8125rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; white-space: pre-wrap;
  background: var(--soft); padding: 0.5rem 0.75rem; margin-top: 0.375rem; border-radius: 3px;
  user-select: all; -webkit-user-select: all; }
.note, pre + p { margin-top: 0.75rem; }
.card { display: grid; grid-template-columns: 5rem minmax(0, 1fr); gap: 0 1.5rem; padding: 1rem 0;
  border-bottom: 1px solid var(--rule); }
.card:first-of-type { padding-top: 0; }
.card:last-of-type { border-bottom: 0; padding-bottom: 0; }
.score b { display: block; color: var(--ink); font-size: 1.5rem; line-height: 1.25; font-weight: 600; }
.score { color: var(--muted); font-size: 0.8125rem; line-height: 1.4; }
.card p { margin-top: 0.25rem; }
.card .dim { font-size: 0.875rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 0 3rem; }
footer { border-top: 1px solid var(--rule); margin-top: 2rem; padding-top: 1rem; }

@media screen and (max-width: 60rem) {
  table, tbody { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(9.5rem, 45%), 1fr)); gap: 0 1.5rem;
    padding: 0.625rem 0; border-bottom: 1px solid var(--rule); }
  td, td:last-child { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0 0.5rem; padding: 0.125rem 0; border: 0;
    text-align: right; white-space: normal; justify-items: end; }
  td small { grid-column: 2; }
  td::before { content: attr(data-label); color: var(--muted); justify-self: start; }
  td:not(.n) { grid-column: 1 / -1; }
  td.name, td.first, td.text { display: block; text-align: left; justify-items: normal; }
  td.name::before, td.first::before, td[data-label=""]::before { content: none; }
  td.text::before { margin-right: 0.5rem; }
  td.text:has(> .none:only-child) { display: none; }
  code { white-space: normal; }
  tr.part td { display: block; text-align: left; padding: 0; }
}
@media screen and (min-width: 44.01rem) and (max-width: 60rem) {
  td[data-label="state"], td.short { grid-column: auto; }
  td.plot { grid-column: auto / span 2; }
  .figures { grid-template-columns: repeat(3, 1fr); }
}
@media screen and (max-width: 44rem) {
  body { padding: 1.25rem 1rem 2rem; }
  .health p:first-child { font-size: 1.25rem; }
  .figures { grid-template-columns: 1fr 1fr; gap: 1rem; }
  svg text { font-size: 14px; }
  svg .o { display: none; }
  .card { grid-template-columns: 1fr; }
  .score { display: flex; gap: 0.75rem; align-items: baseline; }
}
@media print {
  @page { margin: 15mm; }
  html { font-size: 12px; }
  body { padding: 0; max-width: none; }
  nav { display: none; }
  .figures { grid-template-columns: repeat(3, 1fr); }
  figure, tr, .card, .health, dl, pre, h2 { break-inside: avoid; }
  h2, h3, thead { break-after: avoid; }
  .bar, .left, .track, pre { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  pre { border: 1px solid var(--rule); }
}
$css$ $$;
COMMENT ON FUNCTION webhook_outbox.console_css() IS 'the style of console(), for light and dark screens, narrow ones, and paper';
