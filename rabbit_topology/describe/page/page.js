// What the page does beyond showing: search, the way of a message, and the picture's size.
//
// The first half decides where a message goes, by the rules of routing/trace.py, and knows nothing
// of the page: a test compares the two. All text gets into the page as text, never as HTML.
"use strict";

const DEFAULT = "";
const REPLY_TO = "amq.rabbitmq.reply-to";
const OWN = "amq.";
const MOST_BYTES = 255;

/** Return a vhost's ways, ready to be asked: exchanges and queues by name. */
function network(data) {
  return {
    ...data,
    exchanges: new Map(data.exchanges.map((exchange) => [exchange.name, exchange])),
    queues: new Map(data.queues.map((queue) => [queue.name, queue])),
  };
}

/** Return the words of a routing key: the empty key has none. */
function words(key) {
  return key === "" ? [] : key.split(".");
}

/** Return whether a topic pattern takes a key; in it 1 is one word, 2 is any number of words. */
function takes(pattern, key) {
  let states = onward(pattern, new Set([0]));
  for (const word of words(key)) {
    const next = new Set();
    for (const at of states) {
      if (pattern[at] === 2) next.add(at);
      else if (pattern[at] === 1 || pattern[at] === word) next.add(at + 1);
    }
    states = onward(pattern, next);
  }
  return states.has(pattern.length);
}

function onward(pattern, states) {
  for (const at of states) if (pattern[at] === 2) states.add(at + 1); // a Set yields what is added
  return states;
}

/** Return the bindings of an exchange that take a key, or may. */
function chosen(net, name, key) {
  if (name === DEFAULT) {
    const queue = net.queues.get(key);
    return queue?.declared ? [{ kind: "queue", name: key, by: "its name", path: queue.path }] : [];
  }
  const exchange = net.exchanges.get(name);
  if (!exchange) return [];
  switch (exchange.kind) {
    case "direct":
      return exchange.ways.filter((way) => way.key === key);
    case "topic":
      return [...exchange.ways.filter((way) => takes(way.pattern, key)), ...mixedUp(net, name, key)];
    default:
      return exchange.ways;
  }
}

function mixedUp(net, name, key) {
  if (!net.mixesEmptyKeys || key !== "") return [];
  const others = [...net.exchanges.values()].filter((one) => one.kind === "topic" && one.name !== name);
  return others.flatMap((other) =>
    other.ways
      .filter((way) => way.pattern.length === 0)
      .map((way) => ({ ...way, by: "RabbitMQ 4.3.0 mixes up bindings with the empty key (#16271)" })),
  );
}

/** Return the ways on from an exchange, each with whether it is certain that a message takes it. */
function ways(net, name, key) {
  const exchange = net.exchanges.get(name);
  const kind = name === DEFAULT ? "direct" : (exchange?.kind ?? "unknown");
  const bindings = chosen(net, name, key);
  const ends = new Set(bindings.map((way) => `${way.kind} ${way.name}`));
  const open = kind === "unknown" || kind === "headers";
  const sure = !open && (kind !== "one of" || ends.size === 1);
  const list = bindings.map((way) => [way, sure]);
  if (exchange?.alternate && (open || !bindings.length)) {
    list.push([exchange.alternate, kind !== "unknown" && !bindings.length]);
  }
  return list;
}

/** Return whether a service may declare a queue or an exchange of a name. */
function declares(service, name) {
  return service.names.some((named) => {
    if (!named.endsWith("*")) return named === name;
    const begin = named.slice(0, -1);
    return name.startsWith(begin) && !(OWN.startsWith(begin) && name.startsWith(OWN));
  });
}

function notes(net, name, key) {
  if (name !== DEFAULT) {
    return net.exchanges.get(name)?.notes ?? ["what is bound to it is not on this page"];
  }
  if (net.queues.get(key)?.declared) return [];
  const list = [];
  if (key.startsWith(REPLY_TO)) list.push("whoever waits for a reply by direct reply-to gets it");
  const services = net.declares.filter((one) => declares(one, key)).map((one) => one.service);
  if (services.length) {
    list.push(`service ${services.sort().join(", ")} may have a queue of this name`);
  }
  return list;
}

/**
 * Follow a message from an exchange.
 *
 * Returns the tree of its hops, the queues that it certainly gets into and those that it may get
 * into (both sorted), and whether a part of its way is not known.
 */
function route(net, exchange, key) {
  const visited = new Map();
  const queues = new Set();
  let unknown = false;

  function visit(name, way, certain) {
    const of = net.exchanges.get(name);
    const type = name === DEFAULT ? "default" : (of?.type ?? "not declared here");
    const hop = { kind: "exchange", name, type, way, certain, seen: visited.has(name), notes: [], hops: [] };
    if (hop.seen) return hop;
    const on = ways(net, name, key);
    visited.set(name, on);
    hop.hops = on.map(([next, sure]) =>
      next.kind === "exchange" ? visit(next.name, next, certain && sure) : arrive(next, certain && sure),
    );
    hop.notes = notes(net, name, key);
    hop.byHeaders = of?.kind === "headers";
    unknown ||= hop.notes.length > 0;
    return hop;
  }

  function arrive(way, certain) {
    const queue = net.queues.get(way.name);
    const type = queue?.type ?? "not declared here";
    const hop = { kind: "queue", name: way.name, type, way, certain, seen: queues.has(way.name), notes: [], hops: [] };
    if (queue?.declared) queues.add(way.name);
    return hop;
  }

  const root = visit(exchange, null, true);
  const reaches = certainly(net, exchange, visited);
  return { root, reaches, mayReach: [...queues].sort(), unknown, dropped: !queues.size && !unknown };
}

/** Return the queues that certain ways alone lead to. */
function certainly(net, start, visited) {
  const left = [start];
  const seen = new Set(left);
  const queues = new Set();
  while (left.length) {
    for (const [way, sure] of visited.get(left.pop()) ?? []) {
      if (!sure) continue;
      if (way.kind === "queue") {
        if (net.queues.get(way.name)?.declared) queues.add(way.name);
      } else if (!seen.has(way.name)) {
        seen.add(way.name);
        left.push(way.name);
      }
    }
  }
  return [...queues].sort();
}

/** Return in one line which queues a message gets into. */
function verdict(routed) {
  const possible = routed.mayReach.filter((name) => !routed.reaches.includes(name));
  const parts = [];
  if (routed.reaches.length) parts.push(`gets into ${routed.reaches.map(visible).join(", ")}`);
  if (possible.length) parts.push(`may get into ${possible.map(visible).join(", ")}`);
  if (routed.dropped) {
    parts.push("gets into no queue: dropped, or returned to who publishes it as mandatory");
  } else if (!parts.length) {
    parts.push("gets into no queue that is known from here");
  }
  return `It ${parts.join(", ")}.`;
}

/** Return text with all that cannot be seen written as escapes, as Python writes them. */
function visible(text) {
  return text.replace(/[\p{C}\p{Z}]/gu, (one) => (one === " " ? one : escaped(one.codePointAt(0))));
}

function escaped(code) {
  const short = { 9: "\\t", 10: "\\n", 13: "\\r" }[code];
  const hex = code.toString(16);
  if (short) return short;
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

// From here on: the page.

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function hopName(hop) {
  if (hop.name === DEFAULT) return "the default exchange";
  if (hop.type === "not declared here") return `${hop.kind} ${visible(hop.name)}, not declared here`;
  return `${hop.type} ${hop.kind === "queue" && hop.type === "stream" ? "" : `${hop.kind} `}${visible(hop.name)}`;
}

function hopItem(net, hop, follow) {
  const item = element("li");
  const of = (hop.kind === "queue" ? net.queues : net.exchanges).get(hop.name);
  const name = of?.anchor ? element("a", hopName(hop), { href: `#${of.anchor}` }) : element("span", hopName(hop));
  item.append(name);
  if (hop.way) {
    item.append(` by ${visible(hop.way.by)}`);
    if (hop.way.path) item.append(" ", element("code", visible(hop.way.path), { class: "path" }));
  }
  if (!hop.certain) item.append(element("strong", " perhaps"));
  if (hop.seen) item.append(" (as above: once only)");
  const inner = element("ul");
  if (hop.byHeaders) {
    inner.append(element("li", "A headers exchange does not look at the routing key: each binding says which headers it takes."));
  }
  for (const note of hop.notes) inner.append(element("li", `Not known from here: ${visible(note)}.`));
  for (const next of hop.hops) inner.append(hopItem(net, next, follow));
  if (hop.kind === "exchange" && !hop.hops.length && !hop.seen) {
    inner.append(element("li", "No binding takes it."));
  }
  const dead = hop.kind === "queue" && !hop.seen ? of?.deadLetters : null;
  if (dead) inner.append(deadLetters(net, dead, follow));
  if (inner.childElementCount) item.append(inner);
  return item;
}

function deadLetters(net, dead, follow) {
  const where = dead.exchange === DEFAULT ? "the default exchange" : `exchange ${visible(dead.exchange)}`;
  const key = typeof dead.key === "string" ? `routing key "${visible(dead.key)}"` : "the routing key that they have";
  const item = element("li", `Its dead letters go to ${where} with ${key}. `);
  if (net.exchanges.has(dead.exchange) || dead.exchange === DEFAULT) {
    const button = element("button", "Follow them", { type: "button" });
    button.addEventListener("click", () => follow(dead));
    item.append(button);
  }
  return item;
}

function setUpWays(section, data) {
  const net = network(data);
  const form = section.querySelector("form");
  const [exchange, key] = [form.elements.exchange, form.elements.key];
  const said = section.querySelector("[role=status]");
  const tree = section.querySelector(".ways");
  for (const name of net.start) {
    exchange.append(element("option", name === DEFAULT ? "(default exchange)" : visible(name), { value: name }));
  }

  function show() {
    if (new TextEncoder().encode(key.value).length > MOST_BYTES) {
      said.textContent = `A routing key has at most ${MOST_BYTES} bytes.`;
      tree.replaceChildren();
      return;
    }
    const routed = route(net, exchange.value, key.value);
    said.textContent = verdict(routed);
    tree.replaceChildren(hopItem(net, routed.root, follow));
    mark(section.closest(".vhost"), new Set(routed.mayReach.map(visible)));
  }

  function follow(dead) {
    if (![...exchange.options].some((one) => one.value === dead.exchange)) {
      const label = dead.exchange === DEFAULT ? "(default exchange)" : visible(dead.exchange);
      exchange.append(element("option", label, { value: dead.exchange }));
    }
    exchange.value = dead.exchange;
    if (typeof dead.key === "string") key.value = dead.key;
    show();
    exchange.focus();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    show();
  });
  exchange.addEventListener("change", show);
  key.addEventListener("input", show);
}

/** Mark the queues in the picture that a message may get into. */
function mark(vhost, queues) {
  for (const node of vhost.querySelectorAll(".picture [data-queue]")) {
    node.classList.toggle("reached", queues.has(node.dataset.queue));
  }
}

function setUpPicture(figure) {
  const frame = figure.querySelector(".picture");
  const svg = frame.querySelector("svg");
  const { width, height } = svg.viewBox.baseVal;
  let scale = 1;

  function size(next) {
    scale = Math.min(Math.max(next, 0.05), 8);
    svg.style.width = `${width * scale}px`;
    svg.style.height = `${height * scale}px`;
    figure.querySelector(".scale").textContent = `${Math.round(scale * 100)} %`;
  }

  const fit = () => size(Math.min(frame.clientWidth / width, (0.7 * innerHeight) / height, 1.3));
  const does = { in: () => size(scale * 1.25), out: () => size(scale / 1.25), fit, whole: () => size(1) };
  for (const button of figure.querySelectorAll("button")) {
    button.addEventListener("click", does[button.dataset.zoom]);
  }
  const keys = { "+": does.in, "=": does.in, "-": does.out, 0: does.fit, 1: does.whole };
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  frame.addEventListener("click", (event) => {
    const node = event.target.closest("[data-anchor]");
    if (node) location.hash = node.dataset.anchor;
  });
  fit();
}

function setUpSearch() {
  const input = document.getElementById("search");
  const said = document.getElementById("search-result");
  const all = [...document.querySelectorAll("[data-find]")].map((one) => ({
    one,
    text: one.textContent.toLowerCase(),
    link: document.querySelector(`nav a[href="#${CSS.escape(one.id)}"]`)?.parentElement,
  }));

  function find() {
    const asked = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { one, text, link } of all) {
      const matches = asked.every((word) => text.includes(word));
      one.hidden = !matches;
      if (link) link.hidden = !matches;
      if (matches) shown += 1;
    }
    document.body.classList.toggle("searching", asked.length > 0);
    said.textContent = asked.length ? `${shown} of ${all.length} match` : "";
  }

  input.addEventListener("input", find);
  // A link to what the search hides shows all again.
  addEventListener("hashchange", () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target?.closest("[hidden]")) {
      input.value = "";
      find();
      target.scrollIntoView();
    }
  });
  if (input.value) find();
}

function setUp() {
  document.documentElement.classList.add("scripted");
  setUpSearch();
  const data = JSON.parse(document.getElementById("data").textContent);
  for (const section of document.querySelectorAll(".follow")) {
    setUpWays(section, data[Number(section.dataset.vhost)]);
  }
  document.querySelectorAll("figure").forEach(setUpPicture);
}

if (typeof document !== "undefined") setUp();
