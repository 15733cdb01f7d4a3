// The status page: one stream of events from dualkv, drawn as it comes.
//
// Texts of clients and stores (keys, values, errors) only ever become text nodes: nothing here parses HTML.
"use strict";

const $ = (id) => document.getElementById(id);

function make(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

// --- numbers and times

const number = (value) => value.toLocaleString("en", {maximumFractionDigits: 0});

function short(value) {
  if (value >= 1e6) return (value / 1e6).toFixed(1) + "M";
  if (value >= 1e4) return (value / 1e3).toFixed(1) + "k";
  return value >= 100 || Number.isInteger(value) ? number(value) : value.toFixed(1);
}

function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1).replace(".0", "")} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

const milliseconds = (value) => (value === null || value === undefined ? "–" : `${value.toFixed(value < 10 ? 2 : 0)} ms`);

function size(bytes) {
  const unit = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]].find(([, length]) => bytes >= length);
  return unit ? `${Math.round(bytes / unit[1])} ${unit[0]}` : `${bytes} B`;
}

const words = (name) => name.replaceAll("_", " ");
const sum = (counts) => Object.values(counts).reduce((one, other) => one + other, 0);

// --- asking dualkv

const TOKEN = "dualkv-token";
let tokenWanted = null;

async function ask(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = {...options.headers, ...(token && {Authorization: `Bearer ${token}`})};
    const answer = await fetch(path, {...options, headers, cache: "no-store", credentials: "omit"});
    if (answer.status !== 401) return answer;
    await askForToken(token !== null);
  }
}

const change = (method, path, body) => ask(path, {method, headers: {"Content-Type": "application/json"}, body});

function askForToken(isWrong) {
  tokenWanted ??= new Promise((resolve) => {
    $("token-error").textContent = isWrong ? "This token is not right." : "";
    $("token-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, $("token").value.trim());
      $("token").value = "";
      $("token-dialog").close();
      tokenWanted = null;
      resolve();
    };
    $("token-dialog").oncancel = (event) => event.preventDefault();
    $("token-dialog").showModal();
  });
  return tokenWanted;
}

// --- the stream of events

const SILENCE_MS = 10_000;
const RETRY_MS = 2000;

async function follow() {
  for (;;) {
    try {
      await followOnce();
    } catch (error) {
      console.info("the stream of events ended", error);
    }
    $("connection").dataset.state = "lost";
    setText($("connection"), "no connection, trying again");
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function followOnce() {
  const silence = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new Error("silence")), SILENCE_MS);
  };
  try {
    const answer = await ask("/events", {signal: silence.signal});
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    heard();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ; ) {
      const {value, done} = await reader.read();
      if (done) return;
      heard();
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      events.forEach(take);
    }
  } finally {
    clearTimeout(timer);
  }
}

function take(text) {
  const fields = Object.fromEntries(text.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
  const data = JSON.parse(fields.data);
  if (fields.event === "series") series = data;
  else if (fields.event === "point") series = [...series, data].slice(-POINTS);
  else showStatus(data);
  if (fields.event !== "status") drawCharts();
}

// --- the figures

let status = null;

// Nothing is touched that stays as it is: who has selected a text, or listens to one, is not disturbed.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setList(list, texts) {
  if (list.dataset.shown === JSON.stringify(texts)) return;
  list.dataset.shown = JSON.stringify(texts);
  list.replaceChildren(...texts.map((text) => make("li", {textContent: text})));
}

function setFacts(list, facts) {
  const shown = facts.filter((fact) => fact !== null);
  if (list.dataset.shown === JSON.stringify(shown)) return;
  list.dataset.shown = JSON.stringify(shown);
  list.replaceChildren(...shown.flatMap(([name, value, isBad]) => [
    make("dt", {textContent: name}),
    make("dd", {textContent: value, className: isBad ? "bad" : ""}),
  ]));
}

function showStatus(told) {
  status = told;
  setText($("connection"), told.draining ? "shutting down" : "live");
  $("connection").dataset.state = "live";
  setText($("instance"), `${told.instance} · ${told.version} · up ${duration(told.uptime_seconds)}`);
  const {condition, title, reasons} = told.headline;
  $("headline").dataset.condition = condition;
  setText($("condition"), title);
  setList($("reasons"), reasons);
  document.title = `${{well: "✓", busy: "↻", attention: "!", trouble: "✕"}[condition] ?? ""} ${title} · dualkv`;
  setText($("mode"), told.mode);
  setText($("mode-since"), `for ${duration(told.mode_seconds)}`);
  $("change-mode").disabled = false;
  showPause(told);
  showFlow(told);
  showPanels(told);
  showTraffic(told.traffic);
  lookForDivergences(sum(told.comparing.divergences.so_far));
}

function showNode(id, title, name, figure, unit, lines) {
  const node = $(id);
  const shown = JSON.stringify([title, name, figure, unit, lines]);
  if (node.dataset.shown === shown) return;
  node.dataset.shown = shown;
  node.querySelector("h3").replaceChildren(...(name ? [make("b", {textContent: name}), ` ${title}`] : [title]));
  node.querySelector(".figure").replaceChildren(figure, " ", make("small", {textContent: unit}));
  node.querySelector(".detail").replaceChildren(...lines.map(([text, className]) => make("span", {textContent: text, className: className ?? ""})).flatMap((line, place) => (place ? [make("br"), line] : [line])));
}

function showFlow({clients, backends, traffic, stream}) {
  const limit = `at most ${number(clients.limit)}`;
  showNode("node-clients", "clients", "", number(clients.connected), "connected", [[clients.refused ? `${limit}, ${number(clients.refused)} refused` : limit]]);
  for (const role of ["answers", "follows"]) {
    const backend = Object.values(backends).find((one) => one.role === role);
    if (!backend) {
      const unused = Object.values(backends).find((one) => one.role === "unused");
      showNode("node-follows", "not used in this mode", unused.name, "–", "", [[unused.address, "state idle"]]);
      continue;
    }
    const rate = traffic.backends[backend.name] ?? {ops_per_second: 0, p99_ms: null};
    const lines = [[`${backend.state}  ${backend.address}`, backend.state === "up" ? "state" : "state bad"], [`p50 ${milliseconds(rate.p50_ms)}, p99 ${milliseconds(rate.p99_ms)}`]];
    if ("leader" in backend) lines.push([`leader ${backend.leader ?? "unknown"}`]);
    if (backend.error) lines.push([backend.error]);
    showNode(`node-${role}`, role, backend.name, traffic.over_seconds ? short(rate.ops_per_second) : "–", "ops/s", lines);
  }
  const link = $("link-stream");
  link.classList.toggle("none", stream === null);
  link.classList.toggle("broken", stream !== null && stream.state !== "flowing");
  const [figure, detail] = link.querySelectorAll("p");
  setText(figure, stream === null ? "" : stream.state);
  detail.className = stream === null || stream.state === "flowing" ? "detail" : "detail state bad";
  const isPaused = stream !== null && stream.paused_seconds !== null;
  setText(detail, stream === null ? "" : isPaused ? `for ${duration(stream.paused_seconds)}` : `${duration(stream.oldest_seconds)} behind`);
}

function showPanels({stream, ledger, convergence, comparing, selftest, readiness}) {
  $("stream").parentElement.hidden = $("repair").parentElement.hidden = stream === null;
  $("comparing").parentElement.hidden = !comparing.is_on;
  if (stream !== null) {
    const total = (account) => Object.values(stream.queues).reduce((so_far, queue) => so_far + queue[account], 0);
    const lost = (account) => total(account) - stream.queues.shadow[account];
    setFacts($("stream"), [
      ["queued", number(total("queued"))],
      ["memory", `${size(stream.bytes)} / ${size(stream.max_bytes)}`],
      ["in flight", number(ledger.in_flight)],
      ["offered", number(ledger.offered)],
      ["applied", number(ledger.applied)],
      ["left to copies", number(ledger.deferred)],
      ["failed writes", number(lost("failed")), lost("failed") > 0],
      ["dropped writes", number(lost("dropped")), lost("dropped") > 0],
      ["reads given up", number(ledger.failed + ledger.dropped - lost("failed") - lost("dropped"))],
    ]);
    showRepair(convergence, selftest);
  }
  const {coverage, divergences} = comparing;
  setFacts($("comparing"), [
    [`in ${duration(divergences.window_seconds)} / ever:`, ""],
    ...Object.entries(divergences.so_far).map(([kind, count]) => {
      const recent = divergences.recent[kind];
      return [words(kind), `${number(recent)} / ${short(count)}`, recent > 0];
    }),
    ["writes that differed", number(comparing.writes_differed), comparing.writes_differed > 0],
    ["being confirmed", number(comparing.pending_confirmations)],
    ["reads compared", short(coverage.compared)],
    ["prefixes of keys", number(coverage.prefixes)],
    ["inconclusive", short(coverage.inconclusive)],
    comparing.share < 1 ? ["share compared", `${Math.round(comparing.share * 100)} %`] : null,
  ]);
  setText($("ready"), readiness.ready ? "Nothing speaks against it." : "Not ready:");
  setList($("ready-reasons"), readiness.reasons);
}

function showRepair(convergence, selftest) {
  const {resync, journal} = convergence;
  const isRunning = resync.phase !== "idle";
  $("resync").hidden = !isRunning;
  if (isRunning) {
    const bar = $("resync").querySelector("progress");
    const isKnown = resync.phase === "copying" && resync.keys_total > 0;
    if (isKnown) bar.value = Math.min(1, resync.keys_done / resync.keys_total);
    else bar.removeAttribute("value");
    const eta = resync.eta_seconds === null ? "" : `, ${duration(resync.eta_seconds)} left`;
    setText($("resync-text"), `${resync.phase}: ${number(resync.keys_done)} of ${number(resync.keys_total)} keys, ${short(resync.keys_per_second)}/s${eta}`);
  }
  setFacts($("repair"), [
    ["dirty keys", number(convergence.dirty_keys), convergence.dirty_keys > 0],
    ...Object.entries(convergence.dirty_by_reason).map(([reason, count]) => [words(reason), number(count)]),
    convergence.dirty_for_seconds === null ? null : ["oldest", duration(convergence.dirty_for_seconds)],
    convergence.resync_required === null ? null : ["resync needed", convergence.resync_required, true],
    isRunning ? null : ["resync", resync.why ? "done" : "none"],
    journal === null ? ["journal", "off"] : ["journal", journal.gap || `whole, ${size(journal.bytes)}`, Boolean(journal.gap)],
    ["self-test", selftest.state + (selftest.why ? `: ${selftest.why}` : ""), selftest.state === "failed"],
  ]);
}

function showTraffic(traffic) {
  const rows = Object.entries(traffic.backends).flatMap(([name, rate]) => [
    ["all", name, "all", rate],
    ...traffic.classes.filter((one) => one.backend === name).map((one) => ["", "", one.class, one]),
  ]);
  $("traffic").replaceChildren(...rows.map(([className, store, kind, rate]) =>
    make("tr", {className}, ...[store, kind, number(rate.ops_per_second), number(rate.errors_per_second), milliseconds(rate.p50_ms), milliseconds(rate.p99_ms)].map((text) => make("td", {textContent: text})))));
}

// --- charts: a quarter of an hour, by hand

const SPAN_SECONDS = 900;
const POINTS = 180;
const WIDTH = 300;
const HEIGHT = 84;
const SVG = "http://www.w3.org/2000/svg";
const CHARTS = [
  {id: "chart-throughput", lines: [["answers", "ops_per_second", "first"], ["follows", "follower_ops_per_second", "second"]], show: (value) => `${short(value)}/s`, least: 10},
  {id: "chart-latency", lines: [["p99", "p99_ms", "first"], ["p50", "p50_ms", "second"]], show: milliseconds, least: 1},
  {id: "chart-age", lines: [["oldest", "stream_age_seconds", "first"]], show: duration, least: 0.01},
  {id: "chart-divergences", lines: [["differ", "divergences", "bars"], ["gaps", "gaps", "bars second"]], show: number, least: 4, isCount: true},
];
let series = [];

function draw(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function drawCharts() {
  CHARTS.forEach(drawChart);
}

function drawChart(chart) {
  const figure = $(chart.id);
  const end = series.length ? series.at(-1).time : 0;
  const x = (point) => WIDTH * (1 - (end - point.time) / SPAN_SECONDS);
  const most = Math.max(chart.least, ...chart.lines.flatMap(([, field]) => series.map((point) => point[field] ?? 0)));
  const y = (value) => HEIGHT - 2 - (HEIGHT - 6) * (value / most);
  const svg = draw("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img"});
  svg.append(draw("line", {class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1}));
  for (const [, field, style] of [...chart.lines].reverse()) {
    svg.append(...(chart.isCount ? bars(field, style, x, y) : lines(field, style, x, y)));
  }
  const last = series.at(-1);
  const value = (point, field) => (chart.isCount ? sum(series.map((one) => one[field])) : point[field]);
  const told = (point) => chart.lines.map(([label, field]) => `${label} ${chart.show(value(point, field) ?? null)}`).join(", ");
  const caption = figure.querySelector("figcaption").firstChild.textContent;
  svg.setAttribute("aria-label", last ? `${caption}: ${told(last)}; at most ${chart.show(most)} in 15 minutes` : `${caption}: no data yet`);
  const current = last ? (chart.isCount ? `${number(value(last, "divergences") + value(last, "gaps"))} in 15 min` : chart.show(last[chart.lines[0][1]] ?? null)) : "–";
  const head = make("figcaption", {}, caption, make("b", {textContent: current}));
  const labels = make("div", {className: "key"}, ...chart.lines.map(([label, , style]) => make("span", {textContent: label, className: style === "bars" ? "bad" : style.replace("bars ", "")})));
  const axis = make("div", {className: "axis"}, make("span", {textContent: "−15 min"}), make("span", {textContent: `top ${chart.show(most)}`}), make("span", {textContent: "now"}));
  figure.replaceChildren(head, svg, axis, labels);
  svg.onpointermove = (event) => point(chart, svg, head, x, event);
  svg.onpointerleave = () => drawChart(chart);
}

// Where nothing was measured, and where dualkv did not run, the line is broken.
function runs(field) {
  const found = [];
  let before = null;
  for (const one of series) {
    if (one[field] === null) before = null;
    else if (before !== null && one.time - before.time < 15) found.at(-1).push((before = one));
    else found.push([(before = one)]);
  }
  return found;
}

function lines(field, style, x, y) {
  return runs(field).flatMap((run) => {
    const path = run.map((point) => `${x(point).toFixed(1)},${y(point[field]).toFixed(1)}`).join("L");
    const line = draw("path", {class: style, d: run.length > 1 ? `M${path}` : `M${path}h1`});
    const area = draw("path", {class: "area", d: `M${x(run[0])},${HEIGHT - 1}L${path}L${x(run.at(-1))},${HEIGHT - 1}Z`});
    return style === "first" ? [area, line] : [line];
  });
}

function bars(field, style, x, y) {
  return series.filter((point) => point[field] > 0).map((point) =>
    draw("rect", {class: style, x: x(point) - 2, width: 3, y: y(point[field]), height: HEIGHT - 1 - y(point[field])}));
}

// Whoever points at a chart reads the values of that moment.
function point(chart, svg, head, x, event) {
  if (!series.length) return;
  const box = svg.getBoundingClientRect();
  const at = ((event.clientX - box.left) / box.width) * WIDTH;
  const nearest = series.reduce((one, other) => (Math.abs(x(other) - at) < Math.abs(x(one) - at) ? other : one));
  svg.querySelector(".cursor")?.remove();
  svg.append(draw("line", {class: "cursor", x1: x(nearest), x2: x(nearest), y1: 0, y2: HEIGHT}));
  const values = chart.lines.map(([, field]) => chart.show(nearest[field] ?? null)).join(" · ");
  const time = new Date(nearest.time * 1000).toLocaleTimeString([], {hour12: false});
  head.replaceChildren(time, make("b", {textContent: values}));
}

// --- divergences

const SHOWN = 100;
let known = -1;
let isLooking = false;

async function lookForDivergences(count) {
  if (count === known || isLooking) return;
  isLooking = true;
  try {
    const kind = $("kind").value;
    const answer = await ask(`/divergences?limit=${SHOWN}&kind=${encodeURIComponent(kind)}`);
    if (!answer.ok) return;
    const {divergences} = await answer.json();
    known = count;
    showDivergences(divergences.sort((one, other) => other.time.localeCompare(one.time) || other.id.localeCompare(one.id)));
  } catch (error) {
    console.info("divergences could not be asked for", error); // with the next event they are asked for again
  } finally {
    isLooking = false;
  }
}

function showDivergences(records) {
  const focused = document.activeElement?.dataset?.id;
  $("no-divergences").hidden = records.length > 0;
  setText($("no-divergences"), known === 0 ? "None has been found." : "None of this kind is remembered.");
  $("found").closest(".scroll").hidden = records.length === 0;
  $("found").replaceChildren(...records.map((record) => {
    const open = make("button", {type: "button", textContent: record.key || "(empty)", onclick: () => showRecord(record)});
    open.dataset.id = record.id;
    const time = make("time", {dateTime: record.time, textContent: new Date(record.time).toLocaleTimeString([], {hour12: false}), title: record.time});
    return make("tr", {}, make("td", {}, time), make("td", {}, open), ...[words(record.kind), record.command, words(record.cause)].map((text) => make("td", {textContent: text})));
  }));
  if (focused) [...$("found").querySelectorAll("button")].find((button) => button.dataset.id === focused)?.focus();
}

const hidden = (value) => `${number(value.bytes)} bytes, #${value.hash}`;
const valueText = (value) => (value.text === undefined ? hidden(value) : value.text);
const argument = (value) => (typeof value === "string" ? value : `<${hidden(value)}>`);

function showRecord(record) {
  const facts = [
    ["id", record.id], ["time", record.time], ["kind", words(record.kind)], ["command", record.command],
    ["database", String(record.db)], ["key", record.key], record.pattern ? ["pattern", record.pattern] : null,
    ["read", record.args.map(argument).join(" ")],
    ["answered", valueText(record.expected)], ["the other store", valueText(record.actual)],
    record.detail ? ["detail", record.detail] : null,
    ["suspected cause", words(record.cause)],
    ["confirmed by", `${record.readings} readings over ${duration(record.confirmed_over_seconds)}`],
    ["stream age then", duration(record.stream_age_seconds)],
  ].filter((fact) => fact !== null);
  const inBytes = ["key", "pattern", "read", "answered", "the other store"];
  $("record").replaceChildren(...facts.flatMap(([name, text]) => [
    make("dt", {textContent: name}),
    make("dd", {textContent: text, className: inBytes.includes(name) ? "bytes" : ""}),
  ]));
  const history = record.history.map((entry) => `${duration(entry.seconds_ago)} before: ${entry.what} ${entry.args.slice(1).map(argument).join(" ")} ${entry.detail}`);
  setList($("record-history"), history.length ? history : ["nothing is known of it"]);
  $("record-dialog").showModal();
}

// --- the mode

const MODES = {
  "redis-only": (one) => `${one} answers; nothing is mirrored`,
  "dual-write": (one, other) => `${one} answers, ${other} follows`,
  "dual-write-shadow": (one, other) => `${one} answers, ${other} follows, and reads are compared`,
  "elastickv-primary": (one, other) => `${other} answers, ${one} follows, and reads are compared`,
  "elastickv-only": (one, other) => `${other} answers; nothing is mirrored`,
};
let asked = 0;

function openModes() {
  const {primary, secondary} = status.backends;
  $("modes").replaceChildren(...Object.entries(MODES).map(([name, meaning]) => {
    const isNow = name === status.mode;
    const input = make("input", {type: "radio", name: "mode", value: name, checked: isNow, onchange: orTell(() => preview(true))});
    return make("label", {}, input, make("span", {}, isNow ? `${name} (now)` : name, make("small", {textContent: meaning(primary.name, secondary.name)})));
  }));
  $("force").checked = false;
  tell([], "Choose a mode: what a change would mean is said before it is made.");
  allow(false, false);
  $("mode-dialog").showModal();
  $("modes").querySelector("input:checked").focus();
}

const chosen = () => $("modes").querySelector("input:checked").value;

function tellIn(id, notes, text, isRefused) {
  $(id).className = isRefused ? "refused" : "";
  $(id).replaceChildren(text, ...(notes.length ? [make("ul", {}, ...notes.map((note) => make("li", {textContent: note})))] : []));
}

const tell = (notes, text, isRefused = false) => tellIn("mode-preview", notes, text, isRefused);

function allow(isPossible, isForcible) {
  $("mode-confirm").disabled = !isPossible;
  $("force-label").hidden = !isForcible;
}

function putMode(isDryRun) {
  const body = JSON.stringify({mode: chosen(), dry_run: isDryRun, force: $("force").checked});
  return change("PUT", "/api/mode", body);
}

async function preview(isNewChoice) {
  if (isNewChoice) $("force").checked = false;
  allow(false, $("force").checked);
  if (chosen() === status.mode) return tell([], "This is the mode now.");
  const number = ++asked;
  const answer = await putMode(true);
  const told = await answer.json();
  if (number !== asked) return;
  if (answer.ok) {
    tell(told.notes, told.notes.length ? "It can be done; know that:" : "It can be done. Clients wait for a moment, and see no error.");
    allow(true, $("force").checked);
  } else {
    tell([], `Refused: ${told.error}`, true);
    allow(false, answer.status === 409);
  }
}

async function changeMode() {
  allow(false, false);
  tell([], "Changing…");
  const answer = await putMode(false);
  const told = await answer.json();
  if (answer.ok) {
    $("mode-dialog").close();
  } else {
    tell([], `Not changed: ${told.error}`, true);
    allow(false, answer.status === 409);
  }
}

// --- the kill switch

const follower = ({backends}) => Object.values(backends).find((one) => one.role === "follows")?.name ?? "the other store";

function showPause(told) {
  const {stream, time} = told;
  $("pause").hidden = stream === null;
  $("paused").hidden = stream === null || stream.paused_seconds === null;
  if (stream === null) return;
  const isPaused = stream.paused_seconds !== null;
  setText($("pause"), `${isPaused ? "Resume" : "Pause"} ${follower(told)}…`);
  if (!isPaused) return;
  const since = new Date((time - stream.paused_seconds) * 1000).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", hour12: false});
  setText($("paused"), `${follower(told)} paused since ${since}, for ${duration(stream.paused_seconds)}`);
}

function openPause() {
  const action = status.stream.paused_seconds === null ? "pause" : "resume";
  const name = follower(status);
  const title = `${action === "pause" ? "Pause" : "Resume"} ${name}`;
  setText($("pause-title"), title);
  setText($("pause-confirm"), title);
  setText($("pause-cancel"), "Cancel");
  $("pause-confirm").hidden = $("pause-confirm").disabled = false;
  $("pause-confirm").onclick = () => act(action);
  const dirty = status.convergence.dirty_keys;
  if (action === "pause") {
    tellIn("pause-text", ["Clients notice nothing.", "Keys that are written are remembered, and copied afterwards.", "Reads are not compared meanwhile."], `Nothing is sent to ${name} until somebody resumes it.`);
  } else {
    tellIn("pause-text", [], `Writes flow to ${name} again. ${dirty ? `Keys to copy: ${number(dirty)}.` : "No key has to be copied."}`);
  }
  $("pause-dialog").showModal();
  $("pause-cancel").focus();
}

async function act(action) {
  $("pause-confirm").disabled = true;
  try {
    const answer = await change("POST", `/api/${action}`, "{}");
    const told = await answer.json();
    if (answer.ok && !told.notes.length) return $("pause-dialog").close();
    $("pause-confirm").hidden = answer.ok;
    $("pause-confirm").disabled = false;
    if (answer.ok) setText($("pause-cancel"), "Close");
    tellIn("pause-text", answer.ok ? told.notes : [], answer.ok ? "Done; know that:" : `Refused: ${told.error}`, !answer.ok);
    $("pause-cancel").focus();
  } catch (error) {
    tellIn("pause-text", [], `dualkv could not be asked: ${error.message}`, true);
    $("pause-confirm").disabled = false;
  }
}

// --- begin

const orTell = (action) => async (...args) => {
  try {
    await action(...args);
  } catch (error) {
    tell([], `dualkv could not be asked: ${error.message}`, true);
  }
};

$("change-mode").onclick = openModes;
$("mode-cancel").onclick = () => $("mode-dialog").close();
$("mode-confirm").onclick = orTell(changeMode);
$("pause").onclick = openPause;
$("pause-cancel").onclick = () => $("pause-dialog").close();
$("force").onchange = orTell(() => preview(false));
$("kind").onchange = () => {
  known = -1;
  if (status) lookForDivergences(sum(status.comparing.divergences.so_far));
};
drawCharts();
follow();
