"""
Mermaid's own parser, in a small JavaScript engine: what it makes of a flowchart.

The package mermaidx has Mermaid, and what it needs in place of a browser. It is not imported: to
draw, which no test does, it loads a library that reports leaks whenever it is unloaded.
"""

from __future__ import annotations

import html
import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import quickjs

_READ = """{
globalThis.read = null;
const begun = mermaid.parse("flowchart LR");
begun.then(() => mermaid.mermaidAPI.getDiagramFromText(%s)).then(diagram => {
  const db = diagram.db, list = x => x instanceof Map ? [...x.values()] : Object.values(x);
  globalThis.read = JSON.stringify({
    nodes: list(db.getVertices()).map(v => ({id: v.id, text: v.text, classes: v.classes})),
    edges: db.getEdges().map(e => ({
      start: e.start, end: e.end, text: e.text, stroke: e.stroke, style: e.style ?? []})),
    groups: db.getSubGraphs().map(g => ({id: g.id, title: g.title, nodes: g.nodes})),
  });
}).catch(error => { globalThis.read = JSON.stringify({error: String(error.message ?? error)}); });
}"""


@cache
def _context():
    assets = Path(find_spec("mermaidx").origin).parent / "assets"
    context = quickjs.Context()
    context.set_memory_limit(512 * 2**20)
    context.set_max_stack_size(4 * 2**20)
    for name in ("path_bbox.js", "dom_shim.js", "mermaid.js"):
        context.eval((assets / name).read_text(encoding="utf-8"))
    context.eval(
        "const {mermaid: loaded} = globalThis.__esbuild_esm_mermaid_nm;"
        "globalThis.mermaid = loaded.default ?? loaded;"
    )
    return context


def read(text):
    """Return the nodes, edges and groups that Mermaid finds; labels as a browser shows them."""
    context = _context()
    context.eval(_READ % json.dumps(text))
    while context.execute_pending_job():
        pass
    result = json.loads(context.eval("read.slice(0)"))  # flat: only such text gets into Python
    assert "error" not in result, result["error"]
    for one in (*result["nodes"], *result["edges"]):
        one["text"] = shown(one["text"])
    for group in result["groups"]:
        group["title"] = shown(group["title"])
    return result


def shown(text):
    """Return the lines of a label; Mermaid decodes its character codes when all is drawn.

    Only then does it look for line breaks, icons and formulas, so none may be left in one piece.
    """
    decoded = re.sub(r"ﬂ°°(\d+)¶ß", r"&#\1;", re.sub(r"ﬂ°([a-z]+)¶ß", r"&\1;", text or ""))
    lines = [html.unescape(line) for line in decoded.split("<br/>")] if text else []
    assert not [line for line in lines for late in ("\\n", ":fa-", "$$") if late in line]
    return [line.replace("\u2060", "") for line in lines]
